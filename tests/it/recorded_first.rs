//! What was committed is in the ledger before the next step is, whatever comes between.

use serde_json::{Value, json};
use trevor_api::Phase;

use crate::actions::in_review;
use crate::audit::chain;
use crate::faults::desk;
use crate::harness::{Controller, Env, Keep, PATIENCE, Proxy, Request, private, ready};

/// Ids of the events in the ledger of a request.
async fn recorded(env: &Env, request: &Request) -> Vec<String> {
    let mut ids = Vec::new();
    for key in env.quarantine().keys(&chain(request)).await {
        let entry = env.quarantine().json(&key).await;
        let events = entry["events"].as_array().unwrap().clone();
        ids.extend(events.iter().map(|e| e["id"].as_str().unwrap().to_owned()));
    }
    ids
}

#[tokio::test]
async fn the_ledger_has_a_decision_before_the_next_round_and_a_release_before_its_record() {
    let env = private().await;
    let mut controller = Controller::new(&env, "first-1").start().await;
    let desk = desk(&env, "first-gateway", &controller.url).await;
    let (alice, bob, carol) = (&desk.alice, &desk.bob, &desk.carol);
    let returned = in_review(alice, "first-returned").await;
    let released = in_review(alice, "first-released").await;
    bob.approves(&released).await;
    // Killed between a decision and its ledger entry.
    controller.kill().await;
    let inside = env.quarantine();
    let round = |name: &str| format!("{}rounds/1/{name}.json", returned.prefix());
    let seal: Value = inside.json(&round("seal")).await;
    let digest = returned.digest().await;
    let time = "2026-01-01T00:00:00Z";
    let review = json!({"name": "r", "uid": "r", "reviewer": "bob", "decision": "RequestChanges",
        "manifestDigest": digest, "time": time, "viewed": 0, "epoch": 1});
    let terms = json!({"license": "", "publisher": {"name": "p"}, "namesReviewers": false, "urlTtlSeconds": 60,
        "quarantineRetentionSeconds": 86400, "releaseRetentionSeconds": 86400});
    let decision = json!({"round": 1, "verdict": "Returned", "manifestDigest": digest, "policy": seal["policy"],
        "quorum": {"required": 2}, "reviews": [review], "terms": terms, "time": time});
    inside
        .put(&round("decision"), decision.to_string().as_bytes())
        .await;
    assert!(
        !recorded(&env, &returned)
            .await
            .contains(&"r1-3-decided".to_owned())
    );
    // It opens another round, which ends it.
    alice.withdraws(&returned).await;
    carol.approves(&released).await;

    // Killed again at the next step: neither the seal nor the record arrives.
    let proxy = Proxy::before(&env.variable("TREVOR_QUARANTINE_ENDPOINT")).await;
    proxy.keeps(Keep::Instead, |call| {
        call.writes()
            && (call.path.ends_with("/rounds/2/seal.json") || call.path.contains("/records/"))
    });
    let again = Controller {
        quarantine: Some(&proxy.url),
        ..Controller::new(&env, "first-2")
    };
    let mut controller = again.start().await;
    ready("both were asked for", PATIENCE, || async {
        (proxy.kept() >= 2).then_some(())
    })
    .await;
    controller.kill().await;
    let ids = recorded(&env, &returned).await;
    assert!(ids.contains(&"r1-3-decided".to_owned()), "{ids:?}");
    let ids = recorded(&env, &released).await;
    assert!(ids.contains(&"r1-6-outcome".to_owned()), "{ids:?}");

    let _controller = Controller::new(&env, "first-3").start().await;
    returned.reaches(Phase::Withdrawn).await;
    released.reaches(Phase::Released).await;
}
