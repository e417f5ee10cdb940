//! What stops the process at start: one line that names the key, and exit 1.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use trevor_net::tls::issue::Pair;

use crate::harness::{
    Controller, Env, Mode, PATIENCE, Proxy, Terminates, command, free_address, mounts, read_config,
};

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

#[tokio::test]
async fn a_server_that_cannot_list_versions_is_refused_at_start() {
    let env = Env::shared();
    for zone in ["quarantine", "release", "staging"] {
        let store = match zone {
            "release" => env.variable("TREVOR_RELEASE_ENDPOINT"),
            _ => env.variable("TREVOR_QUARANTINE_ENDPOINT"),
        };
        let proxy = Proxy::before(&store).await;
        proxy.behaves(Mode::Lacks("versions"));
        let mut controller = Controller::new(&env, "forgetful");
        match zone {
            "quarantine" => controller.quarantine = Some(&proxy.url),
            "release" => controller.release = Some(&proxy.url),
            _ => controller.staging = Some(&proxy.url),
        }
        let (code, said) = run("controller", &controller.config("127.0.0.1:0").to_string()).await;
        assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
        for word in [&format!("storage.{zone}"), "versions", "deleted"] {
            assert!(said.contains(word), "{word:?}: {said}");
        }
        assert!(!said.contains("tried again"), "{said}");
    }
}

/// As openssl makes one by default: its own authority, and a server's at once.
fn signed_by_itself() -> Pair {
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    Pair {
        certificate,
        key: key.serialize_pem(),
    }
}

#[tokio::test]
async fn a_certificate_that_is_its_own_authority_is_named_as_such_of_storage_and_of_the_gateway() {
    let env = Env::shared();
    let pair = signed_by_itself();
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("ca.pem");
    std::fs::write(&bundle, &pair.certificate).unwrap();
    for zone in ["quarantine", "release"] {
        let endpoint = env.variable(&format!("TREVOR_{}_ENDPOINT", zone.to_uppercase()));
        let server = Terminates::before(&endpoint, &pair).await;
        let mut config = Controller::new(&env, "itself").config("127.0.0.1:0");
        config["storage"][zone]["endpoint"] = json!(server.url());
        config["storage"][zone]["ca_bundle"] = json!(bundle);
        let (code, said) = run("controller", &config.to_string()).await;
        assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
        for word in [&format!("storage.{zone}"), "CA:TRUE", "CA:FALSE"] {
            assert!(said.contains(word), "{word:?}: {said}");
        }
        assert!(!said.contains("CaUsedAsEndEntity"), "{said}");
    }

    // The gateway says so of its own, before a client meets it.
    mounts(folder.path(), &pair);
    let mut config = read_config(&env, "gateway");
    config["gateway"]["listen"] = json!(free_address());
    config["gateway"]["metrics_listen"] = json!(free_address());
    config["gateway"]["tls"] = json!({"secret": "itself"});
    config["gateway"]["url"] = json!("https://127.0.0.1");
    let file = folder.path().join("gateway.yaml");
    std::fs::write(&file, config.to_string()).unwrap();
    let mut gateway = command(&env, "gateway")
        .env("TREVOR_GATEWAY_TLS_DIR", folder.path())
        .args(["gateway", "--config"])
        .arg(&file)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(gateway.stderr.take().unwrap()).lines();
    let says = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("CA:TRUE") {
                return line;
            }
        }
        panic!("it ended without a word on its certificate");
    };
    let line = tokio::time::timeout(PATIENCE, says).await.unwrap();
    assert!(line.contains("gateway.tls.secret"), "{line}");
    gateway.kill().await.unwrap();
}
