//! A request that nobody touches is withdrawn, never without a warning about that.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;
use trevor_api::Phase;

use crate::faults::desk;
use crate::harness::{Controller, PATIENCE, PROJECT, Request, private, ready};

/// Since when nobody touched it, as the operator reckons: its last edit.
async fn touched(request: &Request) -> jiff::Timestamp {
    let object = request.api().get(&request.name).await.unwrap();
    let edits = object.metadata.managed_fields.iter().flatten();
    let edits = edits.filter(|entry| entry.subresource.as_deref() != Some("status"));
    let last = edits
        .filter_map(|e| e.time.as_ref().map(|Time(t)| *t))
        .max();
    last.unwrap()
}

#[tokio::test]
async fn a_draft_that_was_warned_is_withdrawn_unless_somebody_touched_it_since() {
    let env = private().await;
    let setup = Controller::new(&env, "idle-1");
    let mut controller = setup.start().await;
    let desk = desk(&env, "idle-gateway", &controller.url).await;
    let spec = json!({"direction": "Egress", "title": "Idle"});
    let (left, touched_again) = (
        desk.alice.creates("idle-left", spec.clone()).await,
        desk.alice.creates("idle-touched", spec).await,
    );
    for request in [&left, &touched_again] {
        desk.alice.uploads(request, "a.csv", "1").await;
        request.reaches(Phase::Draft).await;
        request.says("Ready", "Draft").await;
    }
    // The operator's finalizer is on them: it is no edit that comes later.
    controller.kill().await;
    // Thirty days went by since then, and the warning that ran out was about the time
    // of the last edit; uploads came before it, or in the same second.
    for request in [&left, &touched_again] {
        desk.alice
            .edits(request, json!({"description": "later"}))
            .await
            .unwrap();
        let since = touched(request).await;
        let ago = |days: i64| {
            (jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * days)).to_string()
        };
        let fact = json!({"since": since.to_string(), "warned": ago(0), "withdraw": ago(1)});
        let key = format!("{}idle/{}.json", request.prefix(), since.as_second());
        env.quarantine()
            .put(&key, fact.to_string().as_bytes())
            .await;
    }
    let at = touched(&touched_again).await;
    // An edit in a later second makes another time of it.
    ready("a later second", PATIENCE, || async {
        (jiff::Timestamp::now().as_second() > at.as_second()).then_some(())
    })
    .await;
    desk.alice
        .edits(&touched_again, json!({"description": "later still"}))
        .await
        .unwrap();

    // Nobody listens there: what is to be told stays in the outbox.
    let nowhere = json!({"allowed_hosts": ["127.0.0.1"], "channels": [
        {"name": "nowhere", "webhook": {"url": "http://127.0.0.1:9/", "allow_plaintext": true, "allow_unsigned": true}}]});
    let again = Controller {
        notifications: Some(nowhere),
        ..Controller::new(&env, "idle-2")
    };
    let _controller = again.start().await;
    left.reaches(Phase::Withdrawn).await;
    let refusal = env
        .quarantine()
        .json(&format!("{}rounds/1/manifest.json", left.prefix()))
        .await;
    assert_eq!(refusal["reason"], "Withdrawn");
    let said = refusal["message"].as_str().unwrap();
    assert!(said.contains("nobody touched"), "{said}");
    // A warning that stands is in the ledger and told, whoever was killed after it.
    let ledger = format!("audit/requests/{PROJECT}/{}/", left.uid);
    let mut kinds = Vec::new();
    for key in env.quarantine().keys(&ledger).await {
        let entry = env.quarantine().json(&key).await;
        let events = entry["events"].as_array().unwrap().iter();
        kinds.extend(events.map(|e| e["kind"].as_str().unwrap().to_owned()));
    }
    assert_eq!(kinds.iter().filter(|k| *k == "IdleWarning").count(), 1);
    let waiting = env.quarantine().keys("work/outbox/").await;
    let told = |key: &&String| key.contains(&left.uid) && key.contains("idle-warning");
    assert_eq!(waiting.iter().filter(told).count(), 1, "{waiting:?}");
    // It was looked at as well, and stands.
    desk.alice.uploads(&touched_again, "b.csv", "2").await;
    desk.alice.submits(&touched_again, 1).await;
    touched_again.reaches(Phase::InReview).await;
    desk.alice.withdraws(&touched_again).await;
    touched_again.reaches(Phase::Withdrawn).await;
}
