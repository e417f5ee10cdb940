//! What the gateway refuses, with which status, and that it stores nothing then.

use base64::Engine as _;
use bytes::Bytes;
use http::Method;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};
use sha2::Digest as _;
use trevor_api::{AirlockSession, Phase};

use crate::harness::{Env, PATIENCE, Person, Request, noise, ready, sha256, unique};

async fn draft(alice: &Person, files: Value) -> Request {
    let spec = json!({"direction": "Egress", "title": "Refusals", "files": files});
    let request = alice.creates("refusals", spec).await;
    request.reaches(Phase::Draft).await;
    request
}

/// No object, no receipt, no open upload.
async fn nothing_is_stored(env: &Env, request: &Request) {
    let inside = env.quarantine();
    for part in ["files/", "receipts/"] {
        let prefix = format!("{}{part}", request.prefix());
        ready(format!("{prefix} is empty"), PATIENCE, || async {
            inside.keys(&prefix).await.is_empty().then_some(())
        })
        .await;
    }
    ready("no upload is open", PATIENCE, || async {
        let open = inside.open_uploads(&request.prefix()).await;
        open.is_empty().then_some(())
    })
    .await;
}

async fn account_token(env: &Env, audience: &str) -> String {
    let accounts: Api<ServiceAccount> =
        Api::namespaced(env.kube("admin").await, crate::harness::PROJECT);
    let wanted: TokenRequest =
        serde_json::from_value(json!({"spec": {"audiences": [audience]}})).unwrap();
    let made = accounts
        .create_token_request("default", &PostParams::default(), &wanted)
        .await;
    made.unwrap().status.unwrap().token.unwrap()
}

#[tokio::test]
async fn who_is_not_known_gets_401() {
    let env = Env::shared();
    let (alice, dave) = (env.person("alice").await, env.person("dave").await);
    let request = draft(&alice, json!([])).await;
    let kubeconfig: Value =
        serde_json::from_slice(&std::fs::read(env.folder().join("kubeconfig")).unwrap()).unwrap();
    let users = kubeconfig["users"].as_array().unwrap();
    let user = users.iter().find(|u| u["name"] == "alice").unwrap();
    let own = alice.token.clone().unwrap();
    let end = own.rfind('.').unwrap();
    for (what, token) in [
        ("none", None),
        ("no token of ours", Some("nonsense".to_owned())),
        (
            "of no session",
            Some(format!("{}.{}", &own[..end], "A".repeat(43))),
        ),
        (
            "of the Kubernetes API",
            Some(user["user"]["token"].as_str().unwrap().to_owned()),
        ),
        (
            "of another project",
            Some(dave.new_session("project-b", 600).await),
        ),
        (
            "for another audience",
            Some(account_token(&env, "another").await),
        ),
    ] {
        let nobody = Person {
            token,
            ..alice.clone()
        };
        for answer in [
            nobody.gets(&request, "files").await,
            nobody.puts(&request, "a.csv", "a").await,
        ] {
            assert_eq!(answer.status, 401, "{what}: {answer:?}");
            assert_eq!(answer.reason(), "Unauthenticated", "{what}");
        }
    }
    let account = Person {
        token: Some(account_token(&env, "trevor-gateway").await),
        ..alice.clone()
    };
    account.gets(&request, "files").await.expect(403);
    nothing_is_stored(&env, &request).await;
}

#[tokio::test]
async fn a_session_that_ends_ends_at_the_gateway_within_10_s() {
    let env = Env::shared();
    let mut alice = env.person("alice").await;
    let request = draft(&alice, json!([])).await;
    let shortest = Person {
        token: Some(alice.new_session(crate::harness::PROJECT, 60).await),
        ..alice.clone()
    };
    let began = tokio::time::Instant::now();
    shortest.gets(&request, "files").await.expect(200);
    alice.log_in(crate::harness::PROJECT, 600).await;
    alice.gets(&request, "files").await.expect(200);
    let name = format!(
        "s-{}",
        &sha256(alice.token.as_ref().unwrap().as_bytes())[..40]
    );
    let sessions: Api<AirlockSession> =
        Api::namespaced(alice.kube.clone(), crate::harness::PROJECT);
    sessions
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
    for (person, patience) in [(&alice, 10), (&shortest, 70)] {
        ready("401", std::time::Duration::from_secs(patience), || async {
            (person.gets(&request, "files").await.status == 401).then_some(())
        })
        .await;
    }
    assert!(began.elapsed().as_secs() >= 58, "not before its time");
}

#[tokio::test]
async fn who_has_no_permission_gets_403_and_who_has_learns_of_404() {
    let env = Env::shared();
    let (alice, bob) = (env.person("alice").await, env.person("bob").await);
    let (dave, mut mallory) = (env.person("dave").await, env.person("mallory").await);
    // Without a role nobody can make a session: hers is as if she had lost it.
    mallory.token = Some(account_token(&env, "trevor-gateway").await);
    let request = draft(&alice, json!([])).await;
    for person in [&dave, &bob, &mallory] {
        person.puts(&request, "a.csv", "a").await.expect(403);
    }
    nothing_is_stored(&env, &request).await;
    alice.uploads(&request, "a.csv", "a").await;
    alice.submits(&request, 1).await;
    request.reaches(Phase::InReview).await;
    for person in [&alice, &dave, &mallory] {
        person.reads(&request, "a.csv").await.expect(403);
    }
    bob.reads(&request, "a.csv").await.expect(200);
    bob.reads(&request, "b.csv").await.expect(404);
    let late = alice.puts(&request, "a.csv", "b").await.expect(409);
    assert_eq!(late.reason(), "Sealed");
    let unknown = Request::new(&unique("unknown"), "0", alice.kube.clone());
    alice.gets(&unknown, "files").await.expect(404);
    alice.puts(&unknown, "a.csv", "a").await.expect(404);
    mallory.gets(&unknown, "files").await.expect(403);
}

#[tokio::test]
async fn bad_names_and_names_that_clash_are_refused() {
    let env = Env::shared();
    let alice = env.person("alice").await;
    let request = draft(&alice, json!([])).await;
    let long = "x".repeat(513);
    for name in [
        "..",
        "../x",
        "a/../x",
        "./x",
        "/etc/passwd",
        "a//b",
        "a\\b",
        "a\u{0}b",
        "a\u{1b}[31m",
        "a\nb",
        "\u{202e}fdp.exe",
        "a\u{200b}b",
        "trailing.",
        "trailing ",
        "CON",
        "x/nul.txt",
        "ro-crate-x",
        "\u{ff0e}\u{ff0e}/x.csv",
        "a:b",
        &long,
    ] {
        let answer = alice.puts(&request, name, "x").await;
        assert_eq!(answer.status, 422, "{name:?}: {answer:?}");
        assert_eq!(answer.reason(), "InvalidName", "{name:?}");
    }
    for raw in ["a%2Fb", "..%2f..%2fx", "%ff", "%zz"] {
        let url = alice.url(&request.name, &format!("files/{raw}"));
        let answer = alice.calls(Method::PUT, &url, &[], "x").await;
        assert_eq!(answer.status, 422, "{raw}: {answer:?}");
    }
    nothing_is_stored(&env, &request).await;
    alice.uploads(&request, "Data/t.csv", "x").await;
    alice.uploads(&request, "file", "x").await;
    let kept = env.quarantine().keys(&request.prefix()).await;
    for name in [
        "data/T.CSV",
        "DATA/t.csv",
        "FILE",
        "Data",
        "Data/t.csv/x",
        "file/x",
    ] {
        let answer = alice.puts(&request, name, "x").await;
        assert_eq!(answer.status, 409, "{name}: {answer:?}");
        assert_eq!(answer.reason(), "NameClash", "{name}");
    }
    assert_eq!(env.quarantine().keys(&request.prefix()).await, kept);
}

#[tokio::test]
async fn what_differs_from_what_was_said_is_refused_and_not_stored() {
    let env = Env::shared();
    let alice = env.person("alice").await;
    let wanted = b"a,b\n";
    let request = draft(
        &alice,
        json!([{"path": "t.csv", "size": 4, "sha256": sha256(wanted)}, {"path": "any/"}]),
    )
    .await;
    for (path, bytes, reason) in [
        ("t.csv", "a,b", "SizeMismatch"),
        ("t.csv", "a;b\n", "DigestMismatch"),
        ("u.csv", "a,b\n", "Undeclared"),
    ] {
        let answer = alice.puts(&request, path, bytes).await.expect(422);
        assert_eq!(answer.reason(), reason);
    }
    let encoded =
        |b: &[u8]| base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(b));
    let other = format!("sha-256=:{}:", encoded(b"other"));
    // In one piece, and in several parts.
    for body in [b"bytes".to_vec(), noise(20 << 20, 9)] {
        for (digest, status) in [
            (other.as_str(), 422),
            ("sha-256=zzz", 400),
            ("sha-256=:AA==:", 400),
        ] {
            let url = alice.file_url(&request.name, "files", "any/x.bin");
            let headers = [("content-digest", digest)];
            let answer = alice.calls(Method::PUT, &url, &headers, body.clone()).await;
            assert_eq!(answer.status, status, "{digest}: {answer:?}");
        }
    }
    nothing_is_stored(&env, &request).await;
    let right = format!("sha-256=:{}:", encoded(wanted));
    let url = alice.file_url(&request.name, "files", "t.csv");
    let headers = [("content-digest", right.as_str())];
    alice
        .calls(Method::PUT, &url, &headers, wanted.to_vec())
        .await
        .expect(201);
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing() {
    let env = Env::shared();
    let alice = env.person("alice").await;
    let request = draft(&alice, json!([])).await;
    let bearer = format!("Bearer {}", alice.token.as_ref().unwrap());
    let pieces = (0..15u64).map(|seed| Ok(Bytes::from(noise(1 << 20, seed))));
    let gone = std::iter::once(Err(std::io::Error::other("gone")));
    let url = alice.file_url(&request.name, "files", "half.bin");
    let headers = [("authorization", bearer.as_str())];
    let body = futures::stream::iter(pieces.chain(gone));
    let answer = alice.http.stream(Method::PUT, &url, &headers, body).await;
    assert!(answer.is_err(), "{answer:?}");
    nothing_is_stored(&env, &request).await;
}

#[tokio::test]
async fn a_file_is_replaced_dropped_or_empty_and_what_it_was_is_kept() {
    let env = Env::shared();
    let alice = env.person("alice").await;
    let request = draft(&alice, json!([])).await;
    let first = alice.uploads(&request, "a.csv", "one").await;
    let second = alice.uploads(&request, "a.csv", "two").await;
    assert_eq!(
        (&first["version"], &second["version"]),
        (&json!("00000001"), &json!("00000002"))
    );
    let empty = alice.uploads(&request, "empty.txt", "").await;
    assert_eq!(empty["size"], 0);
    let inside = env.quarantine();
    let files = format!("{}files/", request.prefix());
    let mut stored = Vec::new();
    for key in inside.keys(&files).await {
        stored.push(inside.get(&key).await);
    }
    stored.sort();
    assert_eq!(stored, [&b""[..], b"one", b"two"]);
    alice.drops(&request, "a.csv").await.expect(204);
    alice.drops(&request, "a.csv").await.expect(404);
    let list = alice.gets(&request, "files").await.expect(200).json();
    let paths: Vec<&Value> = list["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| &f["path"])
        .collect();
    assert_eq!(paths, ["empty.txt"]);
    assert_eq!(inside.keys(&files).await.len(), 3, "kept for retention");
}
