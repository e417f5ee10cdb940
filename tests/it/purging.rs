//! Servers that do not delete, and clocks that differ: nothing is lost, nothing is
//! counted as gone, and it is said where people look.

use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{ObjectLockRetention, ObjectLockRetentionMode};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use trevor_api::{Phase, ReleasePhase, ReleaseRecord};

use crate::actions::in_review;
use crate::faults::desk;
use crate::harness::{
    Controller, Mode, PATIENCE, PROJECT, Person, Proxy, Request, Store, fresh, private, ready,
};

/// Events of a reason on an object.
async fn told(admin: &Client, name: &str, reason: &str) -> usize {
    let events: Api<Event> = Api::namespaced(admin.clone(), PROJECT);
    let about =
        ListParams::default().fields(&format!("involvedObject.name={name},reason={reason}"));
    events.list(&about).await.unwrap().items.len()
}

async fn tickets(inside: &Store, request: &Request, what: &str) -> usize {
    let end = format!("{}-{what}.json", request.uid);
    let all = inside.keys("work/retention/").await;
    all.iter().filter(|key| key.ends_with(&end)).count()
}

/// A draft with a file, that is withdrawn.
async fn withdrawn(alice: &Person, stem: &str) -> Request {
    let request = alice
        .creates(stem, json!({"direction": "Egress", "title": "Gone"}))
        .await;
    alice.uploads(&request, "a.csv", "1,2").await;
    alice.withdraws(&request).await;
    request
}

fn soon(seconds: i64) -> Vec<(&'static str, serde_json::Value)> {
    vec![
        ("/storage/quarantine_retention_days", json!(null)),
        ("/storage/quarantine_retention_seconds", json!(seconds)),
        ("/storage/allow_short_retention", json!(true)),
    ]
}

#[tokio::test]
async fn a_package_under_object_lock_stays_with_its_ticket_and_the_reason_is_shown() {
    let env = private().await;
    let locked = env.release().beside("locked", true).await;
    let controller = Controller {
        window_seconds: Some(6),
        settings: vec![("/storage/release/bucket", json!(locked.bucket))],
        ..Controller::new(&env, "locked")
    };
    let controller = controller.start().await;
    let desk = desk(&env, "locked-desk", &controller.url).await;
    let request = in_review(&desk.alice, "locked").await;
    desk.bob.approves(&request).await;
    // The lock is there before the window ends.
    desk.carol.approves(&request).await;
    let package = ready("the package", PATIENCE, || async {
        locked.keys(&request.releases()).await.pop()
    })
    .await;
    let until = Timestamp::now() + SignedDuration::from_secs(25);
    let retention = ObjectLockRetention::builder()
        .mode(ObjectLockRetentionMode::Compliance)
        .retain_until_date(DateTime::from_secs(until.as_second()))
        .build();
    let lock = locked.client.put_object_retention().bucket(&locked.bucket);
    let lock = lock.key(&package).retention(retention).send().await;
    lock.unwrap();
    let released = request.reaches(Phase::Released).await;
    let record = released.release.unwrap().record_name;

    request.says("Stalled", "DeletionRefused").await;
    let admin = env.kube("admin").await;
    let records: Api<ReleaseRecord> = Api::namespaced(admin.clone(), PROJECT);
    let status = records.get(&record).await.unwrap().status.unwrap();
    let shown = status
        .conditions
        .iter()
        .find(|c| c.type_ == "Ready")
        .unwrap();
    assert_eq!(
        (shown.status.as_str(), shown.reason.as_str()),
        ("False", "DeletionRefused")
    );
    assert!(shown.message.contains("object lock"), "{}", shown.message);
    assert_eq!(tickets(&env.quarantine(), &request, "release").await, 1);
    assert_eq!(
        told(&admin, &request.name, "DeletionRefused").await.min(1),
        1
    );
    assert_eq!(
        controller.metric("trevor_retention_failing").await,
        Some(1.0)
    );
    let receipt = format!("{}deleted/release.json", request.prefix());
    assert!(env.quarantine().find(&receipt).await.is_none());
    let stands = Timestamp::now() < until;

    // By itself, once the lock ends.
    ready("the record is Deleted", PATIENCE, || async {
        let status = records.get(&record).await.unwrap().status.unwrap();
        (status.phase == Some(ReleasePhase::Deleted)).then_some(())
    })
    .await;
    assert!(stands, "the reason was shown while the lock stood");
    let receipt = env.quarantine().json(&receipt).await;
    let finished: Timestamp = receipt["finished"].as_str().unwrap().parse().unwrap();
    assert!(
        finished >= until - SignedDuration::from_secs(1),
        "{finished} {until}"
    );
    assert!(locked.keys(&request.releases()).await.is_empty());
    request
        .until("not stalled", PATIENCE, |s| {
            s.conditions
                .iter()
                .any(|c| c.type_ == "Stalled" && c.status == "False")
        })
        .await;
    ready("no ticket", PATIENCE, || async {
        (tickets(&env.quarantine(), &request, "release").await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_deletion_that_is_answered_200_with_errors_inside_is_none() {
    let env = fresh().await;
    let proxy = Proxy::before(&env.variable("TREVOR_QUARANTINE_ENDPOINT")).await;
    let controller = Controller {
        quarantine: Some(&proxy.url),
        settings: soon(2),
        ..Controller::new(&env, "kept")
    };
    let mut controller = controller.start().await;
    let desk = desk(&env, "kept-desk", &controller.url).await;
    proxy.behaves(Mode::Keeps("InternalError"));
    let request = withdrawn(&desk.alice, "kept").await;
    let status = request.says("Stalled", "DeletionRefused").await;
    let shown = status
        .conditions
        .iter()
        .find(|c| c.type_ == "Stalled")
        .unwrap();
    assert!(shown.message.contains("InternalError"), "{}", shown.message);
    let inside = env.quarantine();
    let files = format!("{}files/", request.prefix());
    assert_eq!(inside.keys(&files).await.len(), 1);
    assert_eq!(tickets(&inside, &request, "quarantine").await, 1);
    let failed = controller
        .metric("trevor_retention_failures_total")
        .await
        .unwrap();
    assert!(failed >= 1.0, "{failed}");
    assert_eq!(
        controller.metric("trevor_retention_deletions_total").await,
        Some(0.0)
    );
    let tries = |calls: Vec<crate::harness::Call>| {
        let deletes = calls.into_iter().filter(|c| c.query.starts_with("delete"));
        deletes.count()
    };
    let tried = tries(proxy.calls());
    assert!((1..=4).contains(&tried), "with pauses between: {tried}");
    proxy.behaves(Mode::AsItIs);
    request
        .until("deleted", PATIENCE, |s| {
            let deleted = s.quarantine.as_ref().and_then(|q| q.deleted_time.as_ref());
            let stalled = s
                .conditions
                .iter()
                .any(|c| c.type_ == "Stalled" && c.status == "True");
            deleted.is_some() && !stalled
        })
        .await;
    assert!(inside.keys(&files).await.is_empty());
    assert!(controller.runs());
}

#[tokio::test]
async fn nothing_is_closed_or_deleted_while_clocks_differ_by_more_than_five_minutes() {
    let env = private().await;
    let proxy = Proxy::before(&env.variable("TREVOR_QUARANTINE_ENDPOINT")).await;
    let mut settings = soon(4);
    settings.push(("/controller/retention", json!({"look_seconds": 1})));
    let controller = Controller {
        quarantine: Some(&proxy.url),
        settings,
        ..Controller::new(&env, "clocks")
    };
    let controller = controller.start().await;
    let desk = desk(&env, "clocks-desk", &controller.url).await;
    let inside = env.quarantine();
    let due = withdrawn(&desk.alice, "clocks-due").await;
    due.reaches(Phase::Withdrawn).await;
    let spec = json!({"direction": "Egress", "title": "Gone"});
    let open = desk.alice.creates("clocks-open", spec).await;
    desk.alice.uploads(&open, "a.csv", "1,2").await;
    let disagree = "trevor_retention_clocks_disagree";
    // Four minutes are no harm: what the server says is only compared.
    for (seconds, differs) in [(-240, 0.0), (360, 1.0)] {
        proxy.behaves(Mode::Later(seconds));
        if differs > 0.0 {
            desk.alice.withdraws(&open).await;
        }
        ready(format!("{seconds} s: {differs}"), PATIENCE, || async {
            let says = controller.metric(disagree).await?;
            let gone = inside
                .find(&format!("{}deleted/quarantine.json", due.prefix()))
                .await;
            (says == differs && (differs > 0.0 || gone.is_some())).then_some(())
        })
        .await;
    }
    open.says("Ready", "ClocksDisagree").await;
    assert!(
        inside
            .find(&format!("{}closed.json", open.prefix()))
            .await
            .is_none()
    );
    // What is due meanwhile stays.
    let ours = env.kube("admin").await;
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(ours);
    let cluster = namespaces.get("kube-system").await.unwrap().uid().unwrap();
    let stays = crate::closed::Closed::of(&env, &cluster, -60, 3).await;
    stays.ticket(-60).await;
    let swept = controller
        .metric("trevor_retention_last_sweep_timestamp_seconds")
        .await;
    open.until("tried again", PATIENCE, |s| {
        s.conditions
            .iter()
            .any(|c| c.reason == "ClocksDisagree" && c.message.contains("5 minutes"))
    })
    .await;
    let files = inside.keys(&format!("{}files/", open.prefix())).await;
    assert_eq!((stays.files().await, files.len()), (3, 1));
    let still = controller
        .metric("trevor_retention_last_sweep_timestamp_seconds")
        .await;
    assert_eq!(swept, still, "no sweep went through");
    proxy.behaves(Mode::AsItIs);
    stays.goes(PATIENCE).await;
    open.until("deleted", PATIENCE, |s| {
        s.quarantine
            .as_ref()
            .is_some_and(|q| q.deleted_time.is_some())
    })
    .await;
    assert_eq!(controller.metric(disagree).await, Some(0.0));
}
