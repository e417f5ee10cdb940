//! Confirmation of what outsiders sent: by the storage server itself or as a
//! stream, by a controller that is killed on the way, and never twice.

use http::Method;
use serde_json::json;
use trevor_api::Phase;

use crate::harness::{
    Controller, Gateway, Http, PATIENCE, Person, Private, Proxy, Request, noise, private, ready,
    sha256,
};

/// One file above and one below what goes in one part of a stream.
struct Sent {
    request: Request,
    files: Vec<(&'static str, Vec<u8>)>,
}

async fn send(alice: &Person, stem: &str, size: usize) -> Sent {
    let files = vec![
        ("big.bin", noise(size, 21)),
        ("small.txt", b"small".to_vec()),
    ];
    let declared: Vec<_> = files
        .iter()
        .map(|(path, bytes)| json!({"path": path, "size": bytes.len(), "sha256": sha256(bytes)}))
        .collect();
    let spec = json!({"direction": "Ingress", "title": "In", "files": declared});
    let request = alice.creates(stem, spec).await;
    let plan = alice.gets(&request, "plan").await.expect(200).json();
    for file in plan["files"].as_array().unwrap() {
        let (_, bytes) = files
            .iter()
            .find(|(path, _)| file["path"] == *path)
            .unwrap();
        for part in file["parts"].as_array().unwrap() {
            let range = |name: &str| usize::try_from(part[name].as_u64().unwrap()).unwrap();
            let bytes = &bytes[range("offset")..range("offset") + range("size")];
            let headers = part["headers"].as_object().unwrap();
            let headers: Vec<(&str, &str)> = headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
                .collect();
            let url = part["url"].as_str().unwrap();
            let (http, bytes) = (Http::default(), bytes.to_vec());
            let put = http.call(Method::PUT, url, &headers, bytes).await;
            put.expect(200);
        }
    }
    Sent { request, files }
}

impl Sent {
    /// Each file stands once, as it was sent, and staging is empty.
    async fn stands(&self, env: &Private) {
        let frozen = self.request.reaches(Phase::InReview).await;
        for (path, bytes) in &self.files {
            let file = frozen.files.iter().find(|f| f.path == *path).unwrap();
            assert_eq!(file.sha256, sha256(bytes), "{path}");
        }
        let receipts = format!("{}receipts/", self.request.prefix());
        assert_eq!(
            env.quarantine().keys(&receipts).await.len(),
            self.files.len()
        );
        let staged = format!("{}/", self.request.uid);
        assert!(env.staging().keys(&staged).await.is_empty());
        assert!(env.staging().open_uploads(&staged).await.is_empty());
    }
}

/// Calls that read a file of a request out of staging.
fn reads(proxy: &Proxy, sent: &Sent) -> usize {
    let folder = format!("trevor-staging/{}/1/", sent.request.uid);
    let calls = proxy.calls();
    calls
        .iter()
        .filter(|c| {
            c.method == Method::GET && c.path.starts_with(&folder) && !c.query.contains("uploadId")
        })
        .count()
}

#[tokio::test]
async fn the_server_copies_where_it_can_and_a_stream_does_the_same_elsewhere() {
    let env = private().await;
    let both = Proxy::before(&env.variable("TREVOR_QUARANTINE_ENDPOINT")).await;
    let staging = Proxy::before(&env.variable("TREVOR_STAGING_ENDPOINT")).await;
    for beside in [true, false] {
        let mut controller = Controller::new(&env, if beside { "copies" } else { "streams" });
        controller.elect = false;
        controller.quarantine = Some(&both.url);
        controller.staging = Some(if beside { &both.url } else { &staging.url });
        let running = controller.start().await;
        let gateway = Gateway {
            env: &env,
            name: "confirming",
            controller: &running.url,
        };
        let gateway = gateway.start().await;
        let alice = env.person_at("alice", &gateway.url).await;
        let sent = send(&alice, "confirmed", 140 << 20).await;
        alice.submits(&sent.request, 1).await;
        sent.stands(&env).await;
        match beside {
            true => assert_eq!(
                reads(&both, &sent),
                0,
                "nothing passes through the controller"
            ),
            false => assert!(reads(&staging, &sent) >= 4),
        }
    }
}

#[tokio::test]
async fn a_controller_that_is_killed_while_it_confirms_ends_with_each_file_once() {
    let env = private().await;
    let elsewhere = env
        .variable("TREVOR_STAGING_ENDPOINT")
        .replace("127.0.0.1", "localhost");
    let mut controller = Controller::new(&env, "killed");
    // As a stream, which takes long enough to be killed at any point of it.
    controller.staging = Some(&elsewhere);
    controller.elect = false;
    let mut running = controller.start().await;
    let gateway = Gateway {
        env: &env,
        name: "confirming",
        controller: &running.url,
    };
    let gateway = gateway.start().await;
    let alice = env.person_at("alice", &gateway.url).await;
    let sent = send(&alice, "killed", 300 << 20).await;
    alice.submits(&sent.request, 1).await;
    let files = format!("{}files/", sent.request.prefix());
    let began = || async {
        let open = env.quarantine().open_uploads(&files).await.len();
        let stored = env.quarantine().keys(&files).await.len();
        (open + stored > 0).then_some(())
    };
    ready("the first copy is under way", PATIENCE, began).await;
    running.kill().await;
    let receipts = format!("{}receipts/", sent.request.prefix());
    assert!(
        env.quarantine().keys(&receipts).await.len() < 2,
        "killed too late"
    );
    drop(running);
    let _running = controller.start().await;
    sent.stands(&env).await;
    let manifest = env
        .quarantine()
        .json(&format!("{}rounds/1/manifest.json", sent.request.prefix()))
        .await;
    for file in manifest["files"].as_array().unwrap() {
        let stored = env.quarantine().get(file["key"].as_str().unwrap()).await;
        assert_eq!(sha256(&stored), file["sha256"].as_str().unwrap());
    }
}
