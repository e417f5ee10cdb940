//! URLs end with the credentials that sign them: a gateway whose credentials are
//! short-lived does not start, or says how long its URLs really live.

use std::process::Stdio;

use axum::Router;
use axum::routing::get;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::harness::{Env, PATIENCE, command, free_address, read_config, ready};
use crate::ingress::{declared, plan, spec};

/// What a pod's own identity is: credentials of a server, which end. Without a session's
/// token, since the server here knows no sessions and refuses what bears one.
async fn identity(id: &str, secret: &str, end: Timestamp) -> String {
    let told = json!({
        "AccessKeyId": id, "SecretAccessKey": secret, "Token": "", "Expiration": end,
    });
    let router = Router::new().route("/", get(move || async move { axum::Json(told) }));
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", socket.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(socket, router).await.unwrap() });
    url
}

fn setting(env: &Env, zone: &str, name: &str) -> String {
    let file = env.folder().join("gateway.env");
    let text = std::fs::read_to_string(file).unwrap();
    let name = format!("TREVOR_S3_{zone}_{name}=");
    let found = text.lines().find_map(|line| line.strip_prefix(&name));
    found.unwrap().to_owned()
}

fn gateway(env: &Env, zone: &str, identity: &str, config: &Value) -> tokio::process::Command {
    let folder = env.folder().join("signing");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("{zone}.yaml"));
    std::fs::write(&file, config.to_string()).unwrap();
    let mut command = command(env, "gateway");
    command
        .env_remove(format!("TREVOR_S3_{zone}_ACCESS_KEY_ID"))
        .env_remove(format!("TREVOR_S3_{zone}_SECRET_ACCESS_KEY"))
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", identity)
        .args(["gateway", "--config"])
        .arg(file);
    command
}

#[tokio::test]
async fn credentials_that_end_before_their_urls_stop_the_start_or_shorten_the_plan() {
    let env = Env::shared();
    let end = Timestamp::now() + SignedDuration::from_secs(1800);
    for (zone, key) in [
        ("STAGING", "storage.staging.credentials_secret"),
        ("QUARANTINE", "storage.quarantine.credentials_secret"),
    ] {
        let id = setting(&env, zone, "ACCESS_KEY_ID");
        let secret = setting(&env, zone, "SECRET_ACCESS_KEY");
        let identity = identity(&id, &secret, end).await;
        let mut config = read_config(&env, "gateway");
        config["gateway"]["listen"] = json!(free_address());
        config["gateway"]["metrics_listen"] = json!(free_address());
        let ended = gateway(&env, zone, &identity, &config).output();
        let ended = tokio::time::timeout(PATIENCE, ended).await;
        let ended = ended.expect("it ends by itself").unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(
            said.contains(key) && said.contains("allow_shorter_ttl"),
            "{said}"
        );
        assert!(!said.contains(&secret) && !said.contains(&id), "{said}");
        if zone == "QUARANTINE" {
            continue;
        }
        config["storage"]["allow_shorter_ttl"] = json!(true);
        let listen = config["gateway"]["listen"].as_str().unwrap().to_owned();
        let _running = gateway(&env, zone, &identity, &config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        ready("the gateway listens", PATIENCE, || async {
            tokio::net::TcpStream::connect(&listen).await.ok()
        })
        .await;
        let alice = env.person_at("alice", &format!("http://{listen}")).await;
        let request = alice
            .creates("short", spec(0, &[declared("a.txt", b"a")]))
            .await;
        let file = plan(&alice, &request).await.remove(0);
        let expires: Timestamp = file["expires"].as_str().unwrap().parse().unwrap();
        assert!(expires <= end, "{expires} is after {end}");
        assert!(end.duration_since(expires) < SignedDuration::from_secs(5));
    }
}
