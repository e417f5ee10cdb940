//! What goes on for a while is bound to the request that it began with, by uid, and asks
//! again at its end: a slow upload, a slow reader, and a receipt that somebody planted.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::channel::mpsc;
use http::Method;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use trevor_api::{AirlockSession, Phase};

use crate::harness::{Answer, Env, PATIENCE, Person, Project, Request, bind, noise, ready, sha256};

/// After this an answer of the API server is asked for again.
const OLD: Duration = Duration::from_millis(1200);
const HERS: &[u8] = b"id,value\n1,2\n";

fn spec() -> Value {
    json!({"direction": "Egress", "title": "Results"})
}

/// An upload that has begun and waits to be told to end.
struct Slow {
    rest: mpsc::UnboundedSender<Result<Bytes, std::io::Error>>,
    answer: JoinHandle<Result<Answer, String>>,
    began: Instant,
}

impl Slow {
    /// Begins, and waits until the gateway has taken the first bytes.
    async fn upload(person: &Person, request: &Request, path: &str) -> Self {
        let (rest, pieces) = mpsc::unbounded();
        let bearer = format!("Bearer {}", person.token.as_ref().unwrap());
        let url = person.file_url(&request.name, "files", path);
        let http = person.http.clone();
        let answer = tokio::spawn(async move {
            let headers = [("authorization", bearer.as_str())];
            http.stream(Method::PUT, &url, &headers, pieces).await
        });
        rest.unbounded_send(Ok(Bytes::from_static(b"secret,value\n")))
            .unwrap();
        let began = Instant::now();
        // It was let in: the gateway's number of uploads is no measure, other tests upload
        // too; a refusal would end it at once.
        tokio::time::sleep(OLD).await;
        assert!(!answer.is_finished(), "{:?}", answer.await);
        Self {
            rest,
            answer,
            began,
        }
    }

    async fn ends(self) -> Answer {
        assert!(self.began.elapsed() >= OLD);
        self.rest
            .unbounded_send(Ok(Bytes::from_static(b"9,9\n")))
            .unwrap();
        drop(self.rest);
        self.answer.await.unwrap().unwrap()
    }
}

async fn draft(person: &Person, name: &str) -> Request {
    let made = person.tries_to_create(name, spec()).await.unwrap();
    let uid = made.metadata.uid.unwrap();
    let request = Request::new(name, &uid, person.kube.clone()).of(&person.project);
    request.reaches(Phase::Draft).await;
    request
}

/// Keys of receipts and files below a request.
async fn stored(env: &Env, request: &Request) -> Vec<String> {
    let mut keys = Vec::new();
    for what in ["receipts/", "files/"] {
        let prefix = format!("{}{what}", request.prefix());
        keys.extend(env.quarantine().keys(&prefix).await);
    }
    keys
}

#[tokio::test]
async fn a_slow_upload_into_a_request_deleted_and_remade_ends_in_an_error() {
    let env = Env::shared();
    let project = Project::new(&env, "bound").await;
    project.policy(json!({"requiredApprovals": 1})).await;
    let (alice, dave) = (project.person("alice").await, project.person("dave").await);
    let bob = project.person("bob").await;
    let first = draft(&dave, "results").await;
    let slow = Slow::upload(&dave, &first, "t.csv").await;
    dave.deletes(&first).await;
    first.is_gone().await;
    let hers = draft(&alice, "results").await;
    alice.uploads(&hers, "t.csv", HERS).await;
    let answer = slow.ends().await;
    assert_eq!(answer.status, 403, "{answer:?}");
    assert_eq!(stored(&env, &hers).await.len(), 2, "one receipt, one file");
    assert!(
        !stored(&env, &first)
            .await
            .iter()
            .any(|k| k.contains("/receipts/")),
        "nothing is receipted for a request that is gone"
    );
    alice.submits(&hers, 1).await;
    hers.reaches(Phase::InReview).await;
    let manifest = bob.gets(&hers, "manifest").await.expect(200).json();
    let files = manifest["files"].as_array().unwrap();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0]["sha256"], sha256(HERS));
    bob.approves(&hers).await;
    hers.reaches(Phase::Released).await;

    // By the same person: it is another request all the same.
    let once = draft(&dave, "again").await;
    let slow = Slow::upload(&dave, &once, "t.csv").await;
    dave.deletes(&once).await;
    once.is_gone().await;
    let twice = draft(&dave, "again").await;
    let answer = slow.ends().await.expect(409);
    assert_eq!(answer.reason(), "Replaced");
    assert_eq!(stored(&env, &twice).await, [""; 0]);

    // And gone without another.
    let gone = draft(&dave, "gone").await;
    let slow = Slow::upload(&dave, &gone, "t.csv").await;
    dave.deletes(&gone).await;
    gone.is_gone().await;
    slow.ends().await.expect(404);
    project.policy_goes().await;
}

#[tokio::test]
async fn a_slow_upload_ends_in_an_error_when_its_session_or_its_permission_is_gone() {
    let env = Env::shared();
    let project = Project::new(&env, "bound").await;
    let admin = env.kube("admin").await;
    let mut dave = project.person("dave").await;
    let request = draft(&dave, "results").await;

    let slow = Slow::upload(&dave, &request, "t.csv").await;
    log_out(&dave).await;
    slow.ends().await.expect(401);

    dave.log_in(&project.name, 3600).await;
    let slow = Slow::upload(&dave, &request, "t.csv").await;
    let bindings: Api<RoleBinding> = Api::namespaced(admin.clone(), &project.name);
    bindings
        .delete("trevor-researcher", &DeleteParams::default())
        .await
        .unwrap();
    slow.ends().await.expect(403);
    assert_eq!(stored(&env, &request).await, [""; 0]);

    // With the right again it is taken.
    bind(
        &admin,
        &project.name,
        "trevor-researcher",
        &["alice", "dave"],
    )
    .await;
    ready("dave may upload", PATIENCE, || async {
        let answer = dave.puts(&request, "u.csv", HERS).await;
        (answer.status == 201).then_some(())
    })
    .await;
    let slow = Slow::upload(&dave, &request, "t.csv").await;
    slow.ends().await.expect(201);
}

async fn log_out(person: &Person) {
    let digest = sha256(person.token.as_ref().unwrap().as_bytes());
    let sessions: Api<AirlockSession> = Api::namespaced(person.kube.clone(), &person.project);
    let name = format!("s-{}", &digest[..40]);
    sessions
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_planted_receipt_refuses_the_round_and_the_next_has_what_the_submitter_sent() {
    let env = Env::shared();
    let project = Project::new(&env, "bound").await;
    let (alice, bob) = (project.person("alice").await, project.person("bob").await);
    let hers = draft(&alice, "results").await;
    alice.uploads(&hers, "t.csv", HERS).await;
    alice.uploads(&hers, "u.csv", HERS).await;
    let store = env.quarantine();
    let receipts = store.keys(&format!("{}receipts/", hers.prefix())).await;
    assert_eq!(receipts.len(), 2);
    for (key, change) in receipts.iter().zip(["by", "key"]) {
        let mut planted = store.json(key).await;
        planted["version"] = json!("00000002");
        let elsewhere = format!("requests/{}/elsewhere/files/x", project.name);
        match change {
            "by" => planted["by"] = json!("carol"),
            _ => planted["content"]["key"] = json!(elsewhere),
        }
        let at = key.replace("00000001.json", "00000002.json");
        store.put(&at, planted.to_string().as_bytes()).await;
    }
    alice.submits(&hers, 1).await;
    let status = hers.round_reaches(1, Phase::ChangesRequested).await;
    let told = status
        .conditions
        .iter()
        .find(|c| c.message.contains("t.csv"));
    let told = told.unwrap_or_else(|| panic!("{status:?}"));
    assert!(
        told.message.contains("not sent by the submitter"),
        "{told:?}"
    );
    assert!(
        told.message.contains("not kept with this request"),
        "{told:?}"
    );
    alice.submits(&hers, 2).await;
    hers.round_reaches(2, Phase::InReview).await;
    let manifest = bob.gets(&hers, "manifest").await.expect(200).json();
    for file in manifest["files"].as_array().unwrap() {
        assert_eq!(file["version"], "00000001", "{manifest}");
        assert_eq!(file["sha256"], sha256(HERS));
    }
}

#[tokio::test]
async fn a_slow_reader_is_broken_off_when_the_session_ends() {
    let env = Env::shared();
    let project = Project::new(&env, "bound").await;
    let (alice, bob) = (project.person("alice").await, project.person("bob").await);
    let hers = draft(&alice, "results").await;
    let large = noise(48 << 20, 7);
    alice.uploads(&hers, "large.bin", large.clone()).await;
    alice.submits(&hers, 1).await;
    hers.reaches(Phase::InReview).await;

    let host = bob.gateway.strip_prefix("http://").unwrap().to_owned();
    let url = bob.file_url(&hers.name, "content", "large.bin");
    let path = url.strip_prefix(&bob.gateway).unwrap();
    let mut stream = TcpStream::connect(&host).await.unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {}\r\nconnection: close\r\n\r\n",
        bob.token.as_ref().unwrap()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut buffer = vec![0; 64 << 10];
    let mut received = stream.read(&mut buffer).await.unwrap();
    assert!(buffer.starts_with(b"HTTP/1.1 200"));
    log_out(&bob).await;
    // Longer than an answer is believed; nothing is read meanwhile.
    tokio::time::sleep(Duration::from_secs(11)).await;
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => received += read,
        }
    }
    assert!(
        received < large.len(),
        "{received} of {} bytes",
        large.len()
    );
    let viewed = env
        .quarantine()
        .keys(&format!("{}rounds/1/views/", hers.prefix()))
        .await;
    assert_eq!(viewed.len(), 1, "opened, and not viewed: {viewed:?}");
}
