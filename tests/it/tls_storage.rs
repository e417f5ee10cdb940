//! Storage behind TLS of a private authority: used with that authority, and with no other.

use std::path::Path;

use serde_json::{Value, json};
use trevor_api::Phase;

use crate::harness::{
    Authority, Controller, Env, Gateway, Http, PATIENCE, Private, Terminates, command, private,
    read_config,
};

/// Both servers, each behind TLS of its own.
struct Servers {
    quarantine: Terminates,
    release: Terminates,
}

async fn servers(env: &Env, authority: &Authority, name: &str) -> Servers {
    let pair = authority.signs(name, 3600);
    let (quarantine, release) = (
        env.variable("TREVOR_QUARANTINE_ENDPOINT"),
        env.variable("TREVOR_RELEASE_ENDPOINT"),
    );
    let (quarantine, release) = tokio::join!(
        Terminates::before(&quarantine, &pair),
        Terminates::before(&release, &pair)
    );
    Servers {
        quarantine,
        release,
    }
}

/// A process's configuration with these servers, and authorities for them.
fn config(env: &Env, process: &str, servers: &Servers, bundle: Option<&Path>) -> Value {
    let mut config = read_config(env, process);
    for (zone, server) in [
        ("quarantine", &servers.quarantine),
        ("release", &servers.release),
        ("staging", &servers.quarantine),
    ] {
        config["storage"][zone]["endpoint"] = json!(server.url());
        config["storage"][zone]["ca_bundle"] = json!(bundle);
    }
    config
}

/// Runs a controller until it ends by itself.
async fn ends(env: &Private, config: &Value, more: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, config.to_string()).unwrap();
    let ended = command(env, "controller")
        .args(["controller", "--leader-elect=false", "--config"])
        .arg(&file)
        .envs(more.iter().copied())
        .output();
    let ended = tokio::time::timeout(PATIENCE, ended).await;
    let ended = ended.expect("it ends by itself").unwrap();
    assert_eq!(ended.status.code(), Some(1));
    String::from_utf8(ended.stderr).unwrap()
}

#[tokio::test]
async fn a_request_is_released_through_servers_of_a_private_authority() {
    let env = private().await;
    let ours = Authority::default();
    let servers = servers(&env, &ours, "127.0.0.1").await;
    let mut setup = Controller::new(&env, "secure-storage");
    setup.elect = false;
    let bundle = ours.file();
    let whole = config(&env, "controller", &servers, Some(&bundle));
    setup.changes = json!({"storage": whole["storage"]});
    let controller = setup.start().await;
    let gateway = Gateway {
        env: &env,
        name: "secure-storage-gateway",
        controller: &controller.url,
    };
    let whole = config(&env, "gateway", &servers, Some(&bundle));
    let changes = json!({"storage": whole["storage"]});
    let gateway = gateway.start_with(&changes, &[], &Http::default()).await;
    let (alice, bob, carol) = tokio::join!(
        env.person_at("alice", &gateway.url),
        env.person_at("bob", &gateway.url),
        env.person_at("carol", &gateway.url)
    );
    let request = alice
        .creates("secure", json!({"direction": "Egress", "title": "Secure"}))
        .await;
    alice.uploads(&request, "a.csv", "a,1\n").await;
    // In parts.
    let large = crate::harness::noise(9 << 20, 7);
    alice.uploads(&request, "b.bin", large).await;
    alice.submits(&request, 1).await;
    request.reaches(Phase::InReview).await;
    bob.approves(&request).await;
    carol.approves(&request).await;
    request.reaches(Phase::Released).await;
}

#[tokio::test]
async fn a_server_of_another_authority_or_name_is_not_spoken_with() {
    let env = private().await;
    let (ours, other) = (Authority::default(), Authority::default());
    let right = servers(&env, &ours, "127.0.0.1").await;
    let wrong = servers(&env, &ours, "s3.example").await;
    let (ours_file, other_file) = (ours.file(), other.file());
    let folder = ours.folder().display().to_string();
    let trust = [("SSL_CERT_DIR", folder.as_str())];
    for (servers, bundle, more) in [
        (&right, Some(other_file.as_path()), &trust[..]),
        (&right, None, &[][..]),
        (&wrong, Some(ours_file.as_path()), &[][..]),
        (&wrong, None, &trust[..]),
    ] {
        let said = ends(&env, &config(&env, "controller", servers, bundle), more).await;
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(
            said.contains("storage.") && said.contains("certificate is not trusted"),
            "{said}"
        );
    }
}

/// The chart's `trust.storage`: besides the public ones.
#[tokio::test]
async fn authorities_of_a_folder_are_trusted_for_storage_too() {
    let env = private().await;
    let ours = Authority::default();
    let servers = servers(&env, &ours, "127.0.0.1").await;
    let mut setup = Controller::new(&env, "trusting-storage");
    setup.elect = false;
    setup.changes = json!({"storage": config(&env, "controller", &servers, None)["storage"]});
    setup.variables = vec![(
        "SSL_CERT_DIR".to_owned(),
        ours.folder().display().to_string(),
    )];
    // Ready: it has proved both servers.
    setup.start().await;
}

#[tokio::test]
async fn a_bundle_that_is_none_ends_the_process_with_one_line_that_names_the_key() {
    let env = private().await;
    let ours = Authority::default();
    let servers = servers(&env, &ours, "127.0.0.1").await;
    let empty = ours.folder().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    for (zone, path, word) in [
        ("quarantine", "/nowhere.pem", "No such file"),
        ("release", empty.to_str().unwrap(), "no certificate in it"),
        ("staging", empty.to_str().unwrap(), "no certificate in it"),
    ] {
        let mut config = config(&env, "controller", &servers, None);
        config["storage"][zone]["ca_bundle"] = json!(path);
        let said = ends(&env, &config, &[]).await;
        assert_eq!(said.lines().count(), 1, "{said}");
        let key = format!("storage.{zone}.ca_bundle");
        assert!(said.contains(&key) && said.contains(word), "{said}");
    }
}
