//! Files that change or vanish in quarantine between review and release.

use serde_json::json;
use trevor::api::Phase;

use crate::harness::{Env, Request};

const BYTES: &str = "age,count\n60,110\n";

enum Fault {
    Changed,
    Missing,
}

/// Freezes a request, spoils its only file, approves it, and waits for the failure.
async fn spoiled(env: &Env, stem: &str, fault: Fault) -> (Request, String) {
    let alice = env.person("alice").await;
    let request = alice
        .creates(stem, json!({"direction": "Egress", "title": "Spoiled"}))
        .await;
    alice.uploads(&request, "t.csv", BYTES).await;
    alice.submits(&request, 1).await;
    request.reaches(Phase::InReview).await;

    let files = format!("{}files/", request.prefix());
    let key = env.quarantine().keys(&files).await.pop().unwrap();
    match fault {
        // As long as before, so that only the digest can tell.
        Fault::Changed => {
            let other = BYTES.replace("110", "911");
            env.quarantine().put(&key, other.as_bytes()).await;
        }
        Fault::Missing => env.quarantine().delete(&key).await,
    }
    env.person("bob").await.approves(&request).await;
    env.person("carol").await.approves(&request).await;
    let status = request.reaches(Phase::Failed).await;
    let stalled = status.conditions.iter().find(|c| c.type_ == "Stalled");
    let stalled = stalled.expect("a condition says that a person must act");
    assert_eq!(stalled.status, "True");
    assert!(stalled.message.contains("t.csv"), "{}", stalled.message);
    assert_eq!(
        env.release().keys(&request.releases()).await,
        Vec::<String>::new()
    );
    assert_eq!(
        env.release().open_uploads(&request.releases()).await,
        Vec::<String>::new()
    );
    (request, stalled.reason.clone())
}

#[tokio::test]
async fn a_file_that_changed_after_its_review_is_never_released() {
    let (_, reason) = spoiled(&Env::shared(), "changed", Fault::Changed).await;
    assert_eq!(reason, "IntegrityMismatch");
}

#[tokio::test]
async fn a_missing_file_fails_the_release_and_a_new_round_heals_it() {
    let env = Env::shared();
    let (request, reason) = spoiled(&env, "missing", Fault::Missing).await;
    assert_eq!(reason, "FileMissing");
    let alice = env.person("alice").await;
    alice.uploads(&request, "t.csv", BYTES).await;
    alice.submits(&request, 2).await;
    request.round_reaches(2, Phase::InReview).await;
    env.person("bob").await.approves(&request).await;
    env.person("carol").await.approves(&request).await;
    request.reaches(Phase::Released).await;
    assert_eq!(request.records().await.len(), 1);
}
