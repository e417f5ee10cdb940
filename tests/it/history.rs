//! Closed requests and records leave the API when their policy's history is over, and
//! not before their files are deleted; the bucket keeps what it has.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;
use trevor_api::{AirlockPolicy, AirlockReview, Phase, ReleasePhase};

use crate::closed::in_seconds;
use crate::faults::desk;
use crate::harness::{Controller, PATIENCE, PROJECT, Request, Store, private, ready, unique};
use crate::restored::Etcd;

const DAY: i64 = 86_400;

/// It closed three days ago, and its files are due since yesterday.
async fn ages(inside: &Store, request: &Request, due: &[(&str, &str)]) {
    let at = format!("{}closed.json", request.prefix());
    let mut closed = inside.json(&at).await;
    closed["time"] = json!(in_seconds(-3 * DAY));
    for (field, what) in due {
        let due = in_seconds(-DAY);
        closed[field] = json!(due);
        let ticket = json!({"namespace": PROJECT, "uid": request.uid, "what": what, "due": due});
        let key = format!("work/retention/{due}/{}-{what}.json", request.uid);
        inside.put(&key, ticket.to_string().as_bytes()).await;
    }
    inside.put(&at, closed.to_string().as_bytes()).await;
}

#[tokio::test]
async fn what_is_closed_and_deleted_leaves_the_api_after_its_policys_history_days() {
    let env = private().await;
    let admin = env.kube("admin").await;
    let policies: Api<AirlockPolicy> = Api::all(admin.clone());
    let policy = unique("history");
    let object: AirlockPolicy = serde_json::from_value(json!({
        "apiVersion": "airlock.karectl.io/v1alpha1", "kind": "AirlockPolicy", "metadata": {"name": policy},
        "spec": {"namespaces": [PROJECT], "egress": {"historyDays": 2}},
    }))
    .unwrap();
    policies
        .create(&PostParams::default(), &object)
        .await
        .unwrap();
    let setup = Controller {
        settings: vec![("/controller/retention", json!({"look_seconds": 1}))],
        elect: false,
        ..Controller::new(&env, "history")
    };
    let mut controller = setup.start().await;
    let desk = desk(&env, "history-desk", &controller.url).await;
    let spec = json!({"direction": "Egress", "title": "Old"});
    let mut withdrawn = Vec::new();
    for stem in ["old", "old-held", "young"] {
        let request = desk.alice.creates(stem, spec.clone()).await;
        desk.alice.uploads(&request, "a.csv", "1").await;
        desk.alice.withdraws(&request).await;
        request.reaches(Phase::Withdrawn).await;
        withdrawn.push(request);
    }
    let released =
        crate::revoke::released(&desk.alice, &desk.bob, &desk.carol, "old-released").await;
    let record = released.record().await;
    let inside = env.quarantine();
    controller.kill().await;
    let quarantine = [("quarantineDue", "quarantine")];
    ages(&inside, &withdrawn[0], &quarantine).await;
    ages(&inside, &withdrawn[1], &quarantine).await;
    ages(
        &inside,
        &released,
        &[("quarantineDue", "quarantine"), ("releaseDue", "release")],
    )
    .await;
    let hold = json!({"sequence": 1, "state": "Held", "by": "olga", "time": in_seconds(0)});
    inside
        .put(
            &format!("work/holds/{}/1.json", withdrawn[1].uid),
            hold.to_string().as_bytes(),
        )
        .await;
    // The record says itself when it was released.
    let etcd = Etcd::of(&env);
    let released_at = json!(record.spec.released_time)
        .as_str()
        .unwrap()
        .to_owned();
    let aged = etcd.snapshot().await.into_iter().map(|(key, value)| {
        let text = String::from_utf8(STANDARD.decode(&value).unwrap()).unwrap_or_default();
        let ours = text.contains("\"ReleaseRecord\"") && text.contains(&released.uid);
        let old = text.replace(&released_at, &in_seconds(-3 * DAY));
        (key, if ours { STANDARD.encode(old) } else { value })
    });
    etcd.restore(&aged.collect()).await;
    let mut controller = setup.start().await;
    withdrawn[0].is_gone().await;
    released.is_gone().await;
    ready("the record is gone", PATIENCE, || async {
        released.records().await.is_empty().then_some(())
    })
    .await;
    // Held: its files are there, and so it stays; as does what is not old enough.
    withdrawn[1].says("Held", "OnHold").await;
    for stays in &withdrawn[1..] {
        assert_eq!(stays.status().await.phase, Some(Phase::Withdrawn));
        assert_eq!(
            inside
                .keys(&format!("{}files/", stays.prefix()))
                .await
                .len(),
            1
        );
    }
    // Reviews go with their namespace; the bucket keeps all of it.
    let reviews: Api<AirlockReview> = Api::namespaced(admin, PROJECT);
    let all = reviews
        .list(&kube::api::ListParams::default())
        .await
        .unwrap();
    let ours = all
        .items
        .iter()
        .filter(|r| r.spec.request_name == released.name);
    assert_eq!(ours.count(), 2);
    for key in [
        format!("records/{PROJECT}/{}.json", released.uid),
        format!("{}closed.json", released.prefix()),
        format!("{}deleted/release.json", released.prefix()),
        format!("{}deleted/quarantine.json", withdrawn[0].prefix()),
    ] {
        assert!(inside.find(&key).await.is_some(), "{key}");
    }
    assert!(controller.runs());
    assert_eq!(record.status.unwrap().phase, Some(ReleasePhase::Available));
    policies
        .delete(&policy, &DeleteParams::default())
        .await
        .unwrap();
}
