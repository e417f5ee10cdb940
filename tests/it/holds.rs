//! Holds by action, and a window that ends, with a controller at work.

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::runtime::wait::await_condition;
use kube::{Client, ResourceExt as _};
use trevor_api::{Phase, ReleasePhase, ReleaseRecord, ReviewState};

use crate::actions::{acts, acts_on, in_review, word_on};
use crate::faults::desk;
use crate::harness::{Controller, Env, PATIENCE, PROJECT, private};
use crate::revoke::{on_record, released};

#[tokio::test]
async fn a_hold_officer_holds_and_lifts_and_the_hold_stands_before_it_is_shown() {
    let env = Env::shared();
    let (alice, olga) = (env.person("alice").await, env.person("olga").await);
    let request = in_review(&alice, "held").await;
    let hold = acts(&olga, &request, "HoldOfficer", "Hold").await.unwrap();
    assert_eq!(
        word_on(&olga, &hold).await.state,
        Some(ReviewState::Counted)
    );
    let word = format!("work/holds/{}/1.json", request.uid);
    assert_eq!(env.quarantine().json(&word).await["state"], "Held");
    let held = request.says("Held", "OnHold").await.held.unwrap();
    assert_eq!(
        (held.by.as_str(), held.reason.as_deref()),
        ("olga", Some("a test"))
    );
    alice.withdraws(&request).await;
    request.reaches(Phase::Withdrawn).await;
    // Closed, and still a hold officer's to decide.
    let lift = acts(&olga, &request, "HoldOfficer", "LiftHold")
        .await
        .unwrap();
    assert_eq!(
        word_on(&olga, &lift).await.state,
        Some(ReviewState::Counted)
    );
    assert!(request.says("Held", "NotHeld").await.held.is_none());
}

#[tokio::test]
async fn a_hold_on_a_release_is_shown_on_its_record_until_it_is_lifted() {
    let env = Env::shared();
    let (alice, bob, carol, olga) = (
        env.person("alice").await,
        env.person("bob").await,
        env.person("carol").await,
        env.person("olga").await,
    );
    let request = released(&alice, &bob, &carol, "held-release").await;
    let record = request.record().await;
    let records: Api<ReleaseRecord> = Api::namespaced(env.kube("admin").await, PROJECT);
    for (action, held) in [("Hold", true), ("LiftHold", false)] {
        let act = acts_on(&olga, on_record(&record), "HoldOfficer", action).await;
        let word = word_on(&olga, &act.unwrap()).await;
        assert_eq!(word.state, Some(ReviewState::Counted), "{word:?}");
        let shown = records.get(&record.name_any()).await.unwrap();
        let conditions = shown.status.unwrap().conditions;
        let found = conditions.iter().find(|c| c.type_ == "Held").unwrap();
        assert_eq!(found.status == "True", held, "{found:?}");
        let reason = if held { "OnHold" } else { "NotHeld" };
        assert!(request.says("Held", reason).await.held.is_some() == held);
    }
}

async fn record_is_deleted(admin: &Client, name: &str) -> ReleaseRecord {
    let api: Api<ReleaseRecord> = Api::namespaced(admin.clone(), PROJECT);
    let deleted = |o: Option<&ReleaseRecord>| {
        let status = o.and_then(|o| o.status.as_ref());
        status.is_some_and(|s| s.phase == Some(ReleasePhase::Deleted))
    };
    let waited = tokio::time::timeout(PATIENCE, await_condition(api, name, deleted)).await;
    waited.expect("the record is Deleted").unwrap().unwrap()
}

#[tokio::test]
async fn a_package_goes_when_its_window_ends_with_its_url_and_secret() {
    let env = private().await;
    let controller = Controller {
        window_seconds: Some(8),
        ..Controller::new(&env, "window-ends")
    };
    let controller = controller.start().await;
    let desk = desk(&env, "window-ends-desk", &controller.url).await;
    let (alice, bob, carol) = (&desk.alice, &desk.bob, &desk.carol);
    let request = in_review(alice, "window").await;
    bob.approves(&request).await;
    carol.approves(&request).await;
    request.reaches(Phase::Released).await;
    let admin = env.kube("admin").await;
    let record = request.record().await;
    let secret = request.status().await.release.unwrap().secret_name.unwrap();
    let record = record_is_deleted(&admin, &record.name_any()).await;
    let status = record.status.unwrap();
    assert!(
        status.deleted_time.unwrap().0 >= record.spec.delete_after_time.0,
        "not early"
    );
    assert!(status.url.is_none());
    assert!(env.release().keys(&request.releases()).await.is_empty());
    let secrets: Api<Secret> = Api::namespaced(admin, PROJECT);
    assert!(secrets.get_opt(&secret).await.unwrap().is_none());
    let urls = format!("work/urls/{}/", request.uid);
    assert!(env.quarantine().keys(&urls).await.is_empty());
    let receipt = format!("{}deleted/release.json", request.prefix());
    let receipt = env.quarantine().json(&receipt).await;
    assert_eq!(
        (&receipt["objects"], &receipt["remaining"]),
        (&1.into(), &0.into())
    );
    // The originals are kept for their own time.
    let files = format!("{}files/", request.prefix());
    assert_eq!(env.quarantine().keys(&files).await.len(), 1);
}
