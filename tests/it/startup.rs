//! What stops the process at start: one line that names the key, and exit 1.

use serde_json::{Value, json};

use crate::harness::{Controller, Env, Mode, PATIENCE, Proxy, command, read_config};

/// Runs a process with a configuration until it ends; gives its exit code and
/// what it said on standard error.
async fn run(process: &str, config: &str) -> (Option<i32>, String) {
    let env = Env::shared();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, config).unwrap();
    let ended = command(&env, process)
        .arg(process)
        .arg("--config")
        .arg(&file)
        .output();
    let ended = tokio::time::timeout(PATIENCE, ended)
        .await
        .expect("it ends by itself")
        .unwrap();
    (
        ended.status.code(),
        String::from_utf8(ended.stderr).unwrap(),
    )
}

#[tokio::test]
async fn wrong_configuration_ends_the_process_with_one_line_that_names_the_key() {
    type Change = fn(&mut Value);
    let rows: &[(&str, Change)] = &[
        ("storage.quarantine.bucket", |c| {
            c["storage"]["quarantine"]["bucket"] = json!("")
        }),
        ("storage.quarantine.endpoint", |c| {
            c["storage"]["quarantine"]["endpoint"] = json!("not a url")
        }),
        ("storage.quarantine.endpoint", |c| {
            c["storage"]["allow_http"] = json!(false)
        }),
        ("storage.release.bucket", |c| {
            c["storage"]["release"] = c["storage"]["quarantine"].clone()
        }),
        ("storage.presigned_url_ttl_seconds", |c| {
            c["storage"]["presigned_url_ttl_seconds"] = json!(604_801)
        }),
        ("storage.quarantine_retention_days", |c| {
            c["storage"]["quarantine_retention_days"] = json!(0)
        }),
        ("storage.release_retention_seconds", |c| {
            c["storage"]["release_retention_seconds"] = json!(5)
        }),
        ("storage.retention", |c| {
            c["storage"]["retention"] = json!(5)
        }),
        ("gateway.tls", |c| {
            c["gateway"]["tls"]["allow_plaintext"] = json!(false)
        }),
        ("gateway.memory_budget_mib", |c| {
            c["gateway"]["memory_budget_mib"] = json!(1)
        }),
        ("controller.listen", |c| {
            c["controller"]["listen"] = json!("nowhere")
        }),
        ("controller.concurrency", |c| {
            c["controller"]["concurrency"] = json!(0)
        }),
        ("notifications.channels[0].webhook.url", |c| {
            let hook = json!({"url": "https://hooks.example/"});
            c["notifications"] = json!({"channels": [{"name": "desk", "webhook": hook}]});
        }),
    ];
    let good = read_config(&Env::shared(), "controller");
    for process in ["controller", "gateway"] {
        for (key, change) in rows {
            let mut config = good.clone();
            change(&mut config);
            let (code, said) = run(process, &config.to_string()).await;
            assert_eq!(code, Some(1), "{process} {key}: {said}");
            assert_eq!(said.lines().count(), 1, "{process} {key}: {said}");
            let last = key.rsplit('.').next().unwrap();
            assert!(
                said.contains(key) || (key == &"storage.retention" && said.contains(last)),
                "{process} {key}: {said}"
            );
        }
    }
}

#[tokio::test]
async fn missing_configuration_is_said_in_one_line() {
    let missing_part =
        json!({"storage": {"quarantine": {"bucket": "trevor-quarantine"}}}).to_string();
    for (config, word) in [
        ("", "storage"),
        (missing_part.as_str(), "release"),
        ("storage: [", "config.yaml"),
    ] {
        let (code, said) = run("controller", config).await;
        assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
        assert!(said.contains(word), "{said:?} does not name {word}");
    }
    let env = Env::shared();
    let ended = command(&env, "controller")
        .args(["controller", "--config", "/nowhere.yaml"])
        .output()
        .await
        .unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        String::from_utf8(ended.stderr)
            .unwrap()
            .contains("--config")
    );
}

#[tokio::test]
async fn a_server_that_ignores_create_only_writes_is_refused_at_start() {
    let env = Env::shared();
    for zone in ["quarantine", "release"] {
        let store = if zone == "quarantine" {
            env.variable("TREVOR_QUARANTINE_ENDPOINT")
        } else {
            env.variable("TREVOR_RELEASE_ENDPOINT")
        };
        let proxy = Proxy::before(&store).await;
        proxy.behaves(Mode::IgnoresCreateOnly);
        let mut controller = Controller::new(&env, "careless");
        if zone == "quarantine" {
            controller.quarantine = Some(&proxy.url);
        } else {
            controller.release = Some(&proxy.url);
        }
        let (code, said) = run("controller", &controller.config("127.0.0.1:0").to_string()).await;
        assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
        assert!(
            said.contains(&format!("storage.{zone}")) && said.contains("create-only"),
            "{said}"
        );
    }
}
