//! Watches that lag, and writes that fail: what the API server had accepted before a
//! decision or a deletion counts, whatever the controller was told of it.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use trevor_api::{AirlockPolicy, AirlockRequestStatus, Phase, ReviewDecision, ReviewState};

use crate::actions::{acts, acts_on, in_review, word_on};
use crate::faults::{Desk, desk};
use crate::harness::{
    Controller, Lagging, PATIENCE, Person, Private, Project, Request, Spawned, private, ready,
};
use crate::revoke::{on_record, released};

struct Stage {
    env: Private,
    lagging: Lagging,
    _controller: Spawned,
    desk: Desk,
}

async fn stage(name: &str, window_seconds: Option<i64>) -> Stage {
    let env = private().await;
    let lagging = Lagging::before(&env, "controller").await;
    let setup = Controller {
        elect: false,
        window_seconds,
        variables: lagging.variables(),
        settings: vec![("/controller/retention", json!({"look_seconds": 1}))],
        ..Controller::new(&env, name)
    };
    let controller = setup.start().await;
    let desk = desk(&env, &format!("{name}-gateway"), &controller.url).await;
    Stage {
        env,
        lagging,
        _controller: controller,
        desk,
    }
}

fn approvals(wanted: &'static str) -> impl Fn(&AirlockRequestStatus) -> bool + Send + 'static {
    move |status| {
        let approvals = status.approvals.as_ref();
        approvals.is_some_and(|approvals| approvals.summary == wanted)
    }
}

#[tokio::test]
async fn a_policy_that_was_raised_before_the_last_approval_counts_though_its_watch_lags() {
    let stage = stage("lag-policy", None).await;
    let project = Project::new(&stage.env, "lag-policy").await;
    project.policy(json!({"requiredApprovals": 2})).await;
    let alice = stage.desk.alice.moves_to(&project.name).await;
    let spec = json!({"direction": "Egress", "title": "Raised"});
    let request = alice.creates("raised", spec).await;
    alice.uploads(&request, "a.csv", "1,2").await;
    alice.submits(&request, 1).await;
    request.reaches(Phase::InReview).await;
    let [bob, carol] = [&stage.desk.bob, &stage.desk.carol].map(|who| Person {
        project: project.name.clone(),
        ..who.clone()
    });
    bob.approves(&request).await;
    request.until("1/2", PATIENCE, approvals("1/2")).await;

    stage.lagging.holds("airlockpolicies");
    let policies: Api<AirlockPolicy> = Api::all(stage.env.kube("admin").await);
    let raised = json!({"spec": {"egress": {"requiredApprovals": 3}}});
    policies
        .patch(
            &project.name,
            &PatchParams::default(),
            &Patch::Merge(&raised),
        )
        .await
        .unwrap();
    carol.approves(&request).await;
    let waits = request.until("2/3", PATIENCE, approvals("2/3")).await;
    assert_eq!(waits.phase, Some(Phase::InReview));
    stage.lagging.lets_go();
    alice.withdraws(&request).await;
    request.reaches(Phase::Withdrawn).await;
    project.policy_goes().await;
}

#[tokio::test]
async fn a_recall_that_was_accepted_before_the_last_approval_returns_the_round() {
    let stage = stage("lag-recall", None).await;
    let desk = &stage.desk;
    let request = in_review(&desk.alice, "lag-recall").await;
    desk.bob.approves(&request).await;
    request.until("1/2", PATIENCE, approvals("1/2")).await;
    stage.lagging.holds("airlockactions");
    let recall = acts(&desk.alice, &request, "Submitter", "Recall")
        .await
        .unwrap();
    desk.carol.approves(&request).await;
    request.reaches(Phase::ChangesRequested).await;
    stage.lagging.lets_go();
    let said = word_on(&desk.alice, &recall).await;
    assert_eq!(said.state, Some(ReviewState::Counted), "{said:?}");
    desk.alice.withdraws(&request).await;
}

#[tokio::test]
async fn a_hold_that_was_accepted_before_files_are_due_keeps_them_though_its_watch_lags() {
    let stage = stage("lag-hold", Some(12)).await;
    let (env, desk) = (&stage.env, &stage.desk);
    let olga = Person::new("olga", env.kube("olga").await, None, String::new());
    let request = released(&desk.alice, &desk.bob, &desk.carol, "lag-hold").await;
    let record = request.record().await;
    stage.lagging.holds("airlockactions");
    let hold = acts_on(&olga, on_record(&record), "HoldOfficer", "Hold")
        .await
        .unwrap();
    // It is taken up when the package is due: the sweeper asks what was asked for.
    let word = format!("work/holds/{}/1.json", request.uid);
    ready("the hold stands in the bucket", PATIENCE, || async {
        let keys = env.quarantine().keys(&word).await;
        (!keys.is_empty()).then_some(())
    })
    .await;
    assert!(record.spec.delete_after_time.0 <= jiff::Timestamp::now());
    // Some sweeps later it is still there.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(env.release().keys(&request.releases()).await.len(), 1);
    let receipt = format!("{}deleted/release.json", request.prefix());
    assert!(env.quarantine().keys(&receipt).await.is_empty());
    stage.lagging.lets_go();
    let said = word_on(&olga, &hold).await;
    assert_eq!(said.state, Some(ReviewState::Counted), "{said:?}");
    let lift = acts(&olga, &request, "HoldOfficer", "LiftHold")
        .await
        .unwrap();
    let said = word_on(&olga, &lift).await;
    assert_eq!(said.state, Some(ReviewState::Counted), "{said:?}");
}

#[tokio::test]
async fn a_hold_that_came_after_the_files_were_deleted_says_what_had_happened() {
    let env = private().await;
    let setup = Controller {
        elect: false,
        settings: vec![
            ("/storage/quarantine_retention_days", json!(null)),
            ("/storage/quarantine_retention_seconds", json!(1)),
            ("/storage/allow_short_retention", json!(true)),
            ("/controller/retention", json!({"look_seconds": 1})),
        ],
        ..Controller::new(&env, "late-hold")
    };
    let controller = setup.start().await;
    let desk = desk(&env, "late-hold-gateway", &controller.url).await;
    let olga = Person::new("olga", env.kube("olga").await, None, String::new());
    let request = in_review(&desk.alice, "late-hold").await;
    desk.alice.withdraws(&request).await;
    request
        .until("deleted", PATIENCE, |status| {
            let quarantine = status.quarantine.as_ref();
            quarantine.is_some_and(|q| q.deleted_time.is_some())
        })
        .await;
    let hold = acts(&olga, &request, "HoldOfficer", "Hold").await.unwrap();
    let said = word_on(&olga, &hold).await;
    assert_eq!(said.state, Some(ReviewState::NotCounted), "{said:?}");
    assert_eq!(said.reason.as_deref(), Some("TooLate"));
    let message = said.message.unwrap();
    assert!(
        message.contains("the files under review") && message.contains("deleted at"),
        "{message}"
    );
}

#[tokio::test]
async fn a_review_that_decided_a_round_keeps_its_word_though_a_write_failed_and_the_next_came() {
    let stage = stage("lag-word", None).await;
    let desk = &stage.desk;
    let request = in_review(&desk.alice, "lag-word").await;
    stage
        .lagging
        .fails(Some("airlockreviews/review-".to_owned()));
    let decides = desk
        .bob
        .reviews_it(&request, ReviewDecision::RequestChanges)
        .await;
    request.reaches(Phase::ChangesRequested).await;
    assert!(stage.lagging.failed() > 0);
    desk.alice.uploads(&request, "b.csv", "3").await;
    desk.alice.submits(&request, 2).await;
    request.round_reaches(2, Phase::InReview).await;
    stage.lagging.fails(None);
    let word = request.word_on(&decides, |s| s.state.is_some()).await;
    assert_eq!(word.state, Some(ReviewState::Counted), "{word:?}");
    desk.alice.withdraws(&request).await;
}

#[tokio::test]
async fn a_recall_keeps_its_word_though_a_write_failed_and_the_next_round_came() {
    let stage = stage("lag-recalled", None).await;
    let desk = &stage.desk;
    let request: Request = in_review(&desk.alice, "lag-recalled").await;
    stage.lagging.fails(Some("airlockactions/act-".to_owned()));
    let recall = acts(&desk.alice, &request, "Submitter", "Recall")
        .await
        .unwrap();
    request.reaches(Phase::ChangesRequested).await;
    desk.alice.submits(&request, 2).await;
    request.round_reaches(2, Phase::InReview).await;
    stage.lagging.fails(None);
    let said = word_on(&desk.alice, &recall).await;
    assert_eq!(said.state, Some(ReviewState::Counted), "{said:?}");
    assert!(!recall.name_any().is_empty());
    desk.alice.withdraws(&request).await;
}
