//! What a policy says of files is kept at upload already, and at the freeze again.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use trevor_api::Phase;

use crate::harness::{Answer, Env, PATIENCE, Person, Project, Request, noise, ready};

const ELF: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";

async fn draft(alice: &Person) -> Request {
    let spec = json!({"direction": "Egress", "title": "Uploads"});
    let request = alice.creates("uploads", spec).await;
    request.reaches(Phase::Draft).await;
    request
}

/// Sends a body whose length nobody announces.
async fn puts_chunked(alice: &Person, request: &Request, path: &str, bytes: Vec<u8>) -> Answer {
    let bearer = format!("Bearer {}", alice.token.as_ref().unwrap());
    let url = alice.file_url(&request.name, "files", path);
    let pieces: Vec<Result<Bytes, std::io::Error>> = bytes
        .chunks(64 * 1024)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    let headers = [("authorization", bearer.as_str())];
    let body = futures::stream::iter(pieces);
    let answer = alice.http.stream(Method::PUT, &url, &headers, body).await;
    answer.unwrap()
}

/// Waits until the gateway has a policy that lists extensions. What it is asked for
/// is refused without one, too.
async fn in_force(alice: &Person, request: &Request) {
    ready("the gateway has the policy", PATIENCE, || async {
        let answer = alice.puts(request, "program.other", ELF).await.expect(422);
        let detail = answer.json()["detail"].to_string();
        detail.contains("of a type that the policy").then_some(())
    })
    .await;
}

async fn stored(env: &Env, request: &Request) -> usize {
    let prefix = format!("{}files/", request.prefix());
    env.quarantine().keys(&prefix).await.len()
}

#[tokio::test]
async fn a_policy_is_kept_before_the_bytes_are_taken_and_what_it_refuses_leaves_nothing() {
    let env = Env::shared();
    let project = Project::new(&env, "uploads").await;
    project
        .policy(json!({
            "allowedExtensions": ["csv", "png", "tar.gz"], "maxFileBytes": 10_000_000,
            "maxFiles": 3, "maxTotalBytes": 12_000_000,
        }))
        .await;
    let alice = project.person("alice").await;
    let request = draft(&alice).await;
    in_force(&alice, &request).await;
    let zip = [b"PK\x03\x04", noise(2000, 1).as_slice()].concat();
    let large_program = [ELF, noise(9_000_000, 2).as_slice()].concat();
    for (path, bytes, status, reason, says) in [
        (
            "a.exe",
            ELF.to_vec(),
            422,
            "RefusedByPolicy",
            "(csv, png, tar.gz)",
        ),
        ("a.csv.gz", PNG.to_vec(), 422, "RefusedByPolicy", "type"),
        (
            "table.csv",
            ELF.to_vec(),
            422,
            "RefusedByPolicy",
            "program (elf)",
        ),
        (
            "large.csv",
            large_program,
            422,
            "RefusedByPolicy",
            "program (elf)",
        ),
        (
            "table.csv",
            b"#!/bin/sh\n".to_vec(),
            422,
            "RefusedByPolicy",
            "script",
        ),
        ("table.csv", zip, 422, "RefusedByPolicy", "looks like zip"),
        (
            "plot.png",
            b"a,b\n1,2\n".to_vec(),
            422,
            "RefusedByPolicy",
            "looks like text",
        ),
        (
            "big.csv",
            b"1,2\n".repeat(2_500_001),
            413,
            "TooLarge",
            "10000000 bytes",
        ),
    ] {
        let answers = [
            alice.puts(&request, path, bytes.clone()).await,
            puts_chunked(&alice, &request, path, bytes).await,
        ];
        for answer in answers {
            assert_eq!(answer.status, status, "{path}: {answer:?}");
            assert_eq!(answer.reason(), reason, "{path}");
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains(says), "{path}: {detail}");
        }
    }
    ready("nothing is left", PATIENCE, || async {
        let inside = env.quarantine();
        let open = inside.open_uploads(&request.prefix()).await;
        let receipts = inside.keys(&format!("{}receipts/", request.prefix())).await;
        (open.is_empty() && receipts.is_empty() && stored(&env, &request).await == 0).then_some(())
    })
    .await;

    // A replaced file counts once, a dropped one not at all.
    let rows = b"1,2\n".repeat(2_000_000);
    for _ in 0..2 {
        alice.uploads(&request, "large.csv", rows.clone()).await;
    }
    let too_many = alice
        .puts(&request, "b.csv", b"1,2\n".repeat(1_250_000))
        .await
        .expect(422);
    assert_eq!(too_many.reason(), "RefusedByPolicy");
    alice.drops(&request, "large.csv").await.expect(204);
    alice
        .uploads(&request, "b.csv", b"1,2\n".repeat(1_250_000))
        .await;
    alice.uploads(&request, "plot.png", PNG).await;
    alice
        .uploads(&request, "c.csv", "MZ,intensity\n1,2\n")
        .await;
    alice.uploads(&request, "c.csv", "").await;
    let fourth = alice.puts(&request, "d.csv", "1").await.expect(422);
    assert!(
        fourth.json()["detail"]
            .as_str()
            .unwrap()
            .contains("4 files")
    );
    alice.submits(&request, 1).await;
    request.reaches(Phase::InReview).await;
    project.policy_goes().await;
}

#[tokio::test]
async fn a_round_is_as_large_as_the_policy_says_whatever_is_sent_at_the_same_time() {
    let env = Env::shared();
    let project = Project::new(&env, "at-once").await;
    let rules = json!({"maxFiles": 5, "allowedExtensions": ["csv"]});
    project.policy(rules).await;
    let alice = project.person("alice").await;
    let request = draft(&alice).await;
    in_force(&alice, &request).await;
    let uploads = (0..12).map(|n| {
        let (alice, request) = (alice.clone(), request.clone());
        async move { alice.puts(&request, &format!("{n}.csv"), "1").await.status }
    });
    let answers = futures::future::join_all(uploads).await;
    assert_eq!(
        answers.iter().filter(|s| **s == 201).count(),
        5,
        "{answers:?}"
    );
    assert_eq!(stored(&env, &request).await, 5, "the rest left nothing");
    project.policy_goes().await;
}

#[tokio::test]
async fn a_project_stores_no_more_than_its_policy_says_old_versions_and_closed_requests_included() {
    let env = Env::shared();
    let project = Project::new(&env, "stored").await;
    let alice = project.person("alice").await;
    let closed = draft(&alice).await;
    alice.uploads(&closed, "a.bin", noise(3_000_000, 1)).await;
    alice.uploads(&closed, "a.bin", noise(3_000_000, 2)).await;
    alice.drops(&closed, "a.bin").await.expect(204);
    alice.withdraws(&closed).await;
    closed.reaches(Phase::Withdrawn).await;
    alice.deletes(&closed).await;
    closed.is_gone().await;

    let rules = json!({"maxStoredBytes": 10_000_000, "allowedExtensions": ["bin"]});
    project.policy(rules).await;
    let request = draft(&alice).await;
    in_force(&alice, &request).await;
    let answer = alice.puts(&request, "b.bin", noise(4_000_001, 3)).await;
    answer.expect(422);
    // However many come at the same time, and however their lengths are told.
    let before = stored(&env, &request).await;
    let uploads = (0..10).map(|n| {
        let (alice, request) = (alice.clone(), request.clone());
        async move {
            let (path, bytes) = (format!("{n}.bin"), noise(1_000_000, n));
            if n % 2 == 0 {
                alice.puts(&request, &path, bytes).await
            } else {
                puts_chunked(&alice, &request, &path, bytes).await
            }
        }
    });
    let answers = futures::future::join_all(uploads).await;
    let taken = answers.iter().filter(|a| a.status == 201).count();
    assert_eq!((before, taken), (0, 4), "{answers:?}");
    let refused = answers.iter().find(|a| a.status != 201).unwrap();
    assert_eq!(
        (refused.status.as_u16(), refused.reason()),
        (422, "RefusedByPolicy".into())
    );
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("10000000"), "{detail}");
    assert_eq!(stored(&env, &request).await, 4);
    project.policy_goes().await;
}

#[tokio::test]
async fn what_was_sniffed_is_held_against_the_policy_of_the_seal_in_later_rounds_too() {
    let env = Env::shared();
    let project = Project::new(&env, "sniffed").await;
    let (alice, bob) = (project.person("alice").await, project.person("bob").await);
    let request = draft(&alice).await;
    // Without a list of extensions a name is only a name.
    alice.uploads(&request, "table.csv", PNG).await;
    let program = alice.puts(&request, "tool.csv", ELF).await.expect(422);
    assert_eq!(program.reason(), "RefusedByPolicy");
    alice.submits(&request, 1).await;
    request.reaches(Phase::InReview).await;
    let receipts = env
        .quarantine()
        .keys(&format!("{}receipts/", request.prefix()))
        .await;
    let receipt: Value = env.quarantine().json(&receipts[0]).await;
    assert_eq!(receipt["content"]["sniffed"], "png");
    bob.reviews_it(&request, trevor_api::ReviewDecision::RequestChanges)
        .await;
    request.reaches(Phase::ChangesRequested).await;

    project.policy(json!({"allowedExtensions": ["csv"]})).await;
    alice.submits(&request, 2).await;
    let refused = request.says("Stalled", "SubmissionRefused").await;
    let stalled = refused
        .conditions
        .iter()
        .find(|c| c.type_ == "Stalled")
        .unwrap();
    assert!(
        stalled.message.contains("table.csv looks like png"),
        "{}",
        stalled.message
    );
    project.policy_goes().await;
}
