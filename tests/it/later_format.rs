//! Facts that a later version wrote, as after `helm rollback`: nothing is decided on them,
//! and everything that stops goes on.

use serde_json::json;
use trevor_api::{Phase, ReviewDecision};
use trevor_core::canonical;

use crate::actions::{acts, in_review, word_on};
use crate::harness::{Env, Request, sha256};

/// Changes the stored manifest, as if another version had written it; gives its digest.
async fn written_by_another(
    env: &Env,
    request: &Request,
    change: impl Fn(&mut serde_json::Value),
) -> String {
    let (inside, at) = (
        env.quarantine(),
        format!("{}rounds/1/manifest.json", request.prefix()),
    );
    let mut manifest = inside.json(&at).await;
    change(&mut manifest);
    let bytes = canonical::to_vec(&manifest).unwrap();
    inside.put(&at, &bytes).await;
    sha256(&bytes)
}

#[tokio::test]
async fn a_later_format_stops_decisions_and_nothing_else() {
    let env = Env::shared();
    let (alice, bob, carol, olga) = (
        env.person("alice").await,
        env.person("bob").await,
        env.person("carol").await,
        env.person("olga").await,
    );
    let request = in_review(&alice, "later").await;
    let digest = written_by_another(&env, &request, |m| m["format"] = json!(99)).await;
    for who in [&bob, &carol] {
        let review = who.reviews_digest(&request.name, &digest, ReviewDecision::Approve);
        review.await.unwrap();
    }
    let status = request.says("Stalled", "LaterFormat").await;
    let stalled = status
        .conditions
        .iter()
        .find(|c| c.type_ == "Stalled")
        .unwrap();
    for said in ["rounds/1/manifest.json", "format 99", "upgraded"] {
        assert!(stalled.message.contains(said), "{}", stalled.message);
    }
    assert_eq!(status.phase, Some(Phase::InReview));
    // Held, and taken back.
    let hold = acts(&olga, &request, "HoldOfficer", "Hold").await.unwrap();
    word_on(&olga, &hold).await;
    let held = request.says("Held", "OnHold").await;
    assert_eq!(held.phase, Some(Phase::InReview));
    alice.withdraws(&request).await;
    request.reaches(Phase::Withdrawn).await;
    let closed = env
        .quarantine()
        .json(&format!("{}closed.json", request.prefix()))
        .await;
    assert_eq!(closed["closedAs"], "Withdrawn");
    let decision = env
        .quarantine()
        .json(&format!("{}rounds/1/decision.json", request.prefix()))
        .await;
    assert_eq!(decision["manifestDigest"], digest.as_str());
    assert!(env.release().keys(&request.releases()).await.is_empty());
}

#[tokio::test]
async fn a_field_that_is_not_known_is_in_the_digest_that_is_approved() {
    let env = Env::shared();
    let (alice, bob, carol) = (
        env.person("alice").await,
        env.person("bob").await,
        env.person("carol").await,
    );
    let spec = json!({"direction": "Egress", "title": "Unknown"});
    let request = alice.creates("unknown", spec).await;
    alice.uploads(&request, "a.csv", "1,2").await;
    alice.submits(&request, 1).await;
    request.reaches(Phase::InReview).await;
    // A gateway that has not read it yet serves the stored bytes.
    let digest = written_by_another(&env, &request, |m| m["x-later"] = json!({"a": [1]})).await;
    let answer = bob.gets(&request, "manifest").await.expect(200);
    assert_eq!(sha256(&answer.body), digest);
    for who in [&bob, &carol] {
        let review = who.reviews_digest(&request.name, &digest, ReviewDecision::Approve);
        review.await.unwrap();
    }
    let status = request.reaches(Phase::Released).await;
    assert_eq!(status.manifest.unwrap().digest, digest);
    assert_eq!(request.record().await.spec.manifest_digest, digest);
}
