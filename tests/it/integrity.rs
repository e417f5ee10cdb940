//! A quarantined file that changes behind our back never crosses.

use serde_json::json;
use trevor_api::{AirlockRequestStatus, Phase};

use crate::harness::{Env, Person, Request, noise};

struct People {
    alice: Person,
    bob: Person,
    carol: Person,
}

async fn people(env: &Env) -> People {
    let (alice, bob, carol) =
        tokio::join!(env.person("alice"), env.person("bob"), env.person("carol"));
    People { alice, bob, carol }
}

const TABLE: &[u8] = b"age,n\n60-69,120\n";

/// A request with a large file before the one that is going to change, under
/// review and approved once; gives also the key of the latter.
async fn approved_once(env: &Env, people: &People, stem: &str) -> (Request, String) {
    let spec = json!({"direction": "Egress", "title": "Integrity"});
    let request = people.alice.creates(stem, spec).await;
    let (alice, large) = (&people.alice, noise(24 << 20, 17));
    alice.uploads(&request, "a-large.bin", large).await;
    alice.uploads(&request, "t.csv", TABLE).await;
    alice.submits(&request, 1).await;
    request.reaches(Phase::InReview).await;
    people.bob.approves(&request).await;
    let manifest = env
        .quarantine()
        .json(&format!("{}rounds/1/manifest.json", request.prefix()))
        .await;
    let files = manifest["files"].as_array().unwrap();
    let table = files.iter().find(|f| f["path"] == "t.csv").unwrap();
    (request, table["key"].as_str().unwrap().to_owned())
}

/// It failed for this reason, which names the file, and nothing crossed.
async fn failed_for(env: &Env, request: &Request, reason: &str) {
    let status = request.reaches(Phase::Failed).await;
    let ready = condition(&status, "Ready");
    assert_eq!(ready.reason, reason, "{}", ready.message);
    assert!(
        ready.message.contains("t.csv") && ready.message.contains("submission to 2"),
        "it names the file and says what to do: {}",
        ready.message
    );
    assert_eq!(condition(&status, "Stalled").status, "True");
    let outside = env.release();
    assert!(outside.keys(&request.releases()).await.is_empty());
    assert!(outside.open_uploads(&request.releases()).await.is_empty());
    assert!(request.records().await.is_empty());
}

fn condition<'a>(
    status: &'a AirlockRequestStatus,
    kind: &str,
) -> &'a k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition {
    let found = status.conditions.iter().find(|c| c.type_ == kind);
    found.unwrap_or_else(|| panic!("no condition {kind}: {:?}", status.conditions))
}

/// The file is sent again, reviewed again, and released.
async fn is_healed_by_a_new_round(people: &People, request: &Request) {
    let healed = b"age,n\n60-69,121\n";
    people.alice.uploads(request, "t.csv", &healed[..]).await;
    people.alice.submits(request, 2).await;
    let again = request.round_reaches(2, Phase::InReview).await;
    assert_eq!(
        again.approvals.map(|a| a.counted),
        Some(0),
        "the approvals of the first round do not count"
    );
    people.bob.approves(request).await;
    people.carol.approves(request).await;
    request.reaches(Phase::Released).await;
    assert_eq!(request.record().await.spec.round, 2);
    assert_eq!(request.records().await.len(), 1);
}

#[tokio::test]
async fn a_file_overwritten_after_the_freeze_is_not_released() {
    let env = Env::shared();
    let people = people(&env).await;
    let (request, key) = approved_once(&env, &people, "overwritten").await;
    // As long as before: only its bytes tell.
    let other = TABLE.to_ascii_uppercase();
    env.quarantine().put(&key, &other).await;
    people.carol.approves(&request).await;
    failed_for(&env, &request, "IntegrityMismatch").await;
    is_healed_by_a_new_round(&people, &request).await;
}

#[tokio::test]
async fn a_file_deleted_after_the_freeze_is_not_released() {
    let env = Env::shared();
    let people = people(&env).await;
    let (request, key) = approved_once(&env, &people, "deleted").await;
    env.quarantine().delete(&key).await;
    people.carol.approves(&request).await;
    failed_for(&env, &request, "FileMissing").await;
    is_healed_by_a_new_round(&people, &request).await;
}

#[tokio::test]
async fn a_file_stored_again_without_encryption_fails_the_request_and_one_attempt_is_kept() {
    let env = Env::shared();
    let people = people(&env).await;
    let (request, key) = approved_once(&env, &people, "unencrypted").await;
    env.quarantine().put_plain(&key, TABLE).await;
    people.carol.approves(&request).await;
    failed_for(&env, &request, "StorageNotEncrypted").await;
    // It is not tried again at once, and what failed is said once.
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    failed_for(&env, &request, "StorageNotEncrypted").await;
    let attempts = format!("{}rounds/1/attempts/", request.prefix());
    let kept = env.quarantine().keys(&attempts).await;
    assert_eq!(kept.len(), 2, "an attempt, and why it failed: {kept:?}");
    is_healed_by_a_new_round(&people, &request).await;
}
