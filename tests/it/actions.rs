//! AirlockActions: a recall works whole, and everybody is told what became of theirs.

use kube::api::PostParams;
use kube::runtime::wait::await_condition;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use trevor_api::{AirlockAction, AirlockReviewStatus, Phase, ReviewState};

use crate::harness::{Env, PATIENCE, PROJECT, Person, Request};

pub async fn acts(
    who: &Person,
    request: &Request,
    role: &str,
    action: &str,
) -> kube::Result<AirlockAction> {
    let target = json!({"kind": "AirlockRequest", "name": request.name, "uid": request.uid});
    acts_on(who, target, role, action).await
}

pub async fn acts_on(
    who: &Person,
    target: Value,
    role: &str,
    action: &str,
) -> kube::Result<AirlockAction> {
    let object = serde_json::from_value(json!({
        "apiVersion": "airlock.karectl.io/v1alpha1", "kind": "AirlockAction",
        "metadata": {"generateName": "act-"},
        "spec": {"target": target, "as": role, "action": action, "reason": "a test"},
    }))
    .unwrap();
    api(who).create(&PostParams::default(), &object).await
}

fn api(who: &Person) -> Api<AirlockAction> {
    Api::namespaced(who.kube.clone(), PROJECT)
}

pub async fn word_on(who: &Person, action: &AirlockAction) -> AirlockReviewStatus {
    let told = |o: Option<&AirlockAction>| {
        o.and_then(|o| o.status.as_ref()).is_some_and(|s| {
            s.state.is_some() && (s.state != Some(ReviewState::Pending) || s.reason.is_some())
        })
    };
    let name = action.name_any();
    let waited = tokio::time::timeout(PATIENCE, await_condition(api(who), &name, told));
    waited
        .await
        .expect("a word on the action")
        .unwrap()
        .unwrap()
        .status
        .unwrap()
}

pub async fn in_review(alice: &Person, stem: &str) -> Request {
    let spec = json!({"direction": "Egress", "title": "Actions"});
    let request = alice.creates(stem, spec).await;
    alice.uploads(&request, "a.csv", "1,2").await;
    alice.submits(&request, 1).await;
    request.reaches(Phase::InReview).await;
    request
}

#[tokio::test]
async fn a_recalled_round_is_changed_and_earlier_approvals_do_not_count() {
    let env = Env::shared();
    let (alice, bob, carol) = (
        env.person("alice").await,
        env.person("bob").await,
        env.person("carol").await,
    );
    let request = in_review(&alice, "recalled").await;
    let first = request.digest().await;
    bob.approves(&request).await;
    let recall = acts(&alice, &request, "Submitter", "Recall").await.unwrap();
    let returned = request.reaches(Phase::ChangesRequested).await;
    let ready = returned
        .conditions
        .iter()
        .find(|c| c.type_ == "Ready")
        .unwrap();
    assert_eq!(ready.reason, "Recalled");
    assert!(
        ready.message.contains("submission to 2"),
        "{}",
        ready.message
    );
    assert_eq!(
        word_on(&alice, &recall).await.state,
        Some(ReviewState::Counted)
    );

    // Nothing is changed, and still it is another manifest.
    alice.submits(&request, 2).await;
    let again = request.round_reaches(2, Phase::InReview).await;
    assert_ne!(again.manifest.unwrap().digest, first);
    assert_eq!(again.approvals.unwrap().counted, 0);
    bob.approves(&request).await;
    carol.approves(&request).await;
    request.reaches(Phase::Released).await;
}

#[tokio::test]
async fn a_submission_that_waits_for_files_is_recalled() {
    let env = Env::shared();
    let alice = env.person("alice").await;
    let spec = json!({"direction": "Egress", "title": "Waits", "files": [{"path": "a.csv"}], "submission": 1});
    let request = alice.creates("recall-early", spec).await;
    request.says("Ready", "WaitingForFiles").await;
    acts(&alice, &request, "Submitter", "Recall").await.unwrap();
    let returned = request.reaches(Phase::ChangesRequested).await;
    assert!(
        !returned
            .conditions
            .iter()
            .any(|c| c.type_ == "Stalled" && c.status == "True")
    );
    alice
        .edits(&request, json!({"files": [{"path": "b.csv"}]}))
        .await
        .unwrap();
    alice.uploads(&request, "b.csv", "1").await;
    alice.submits(&request, 2).await;
    request.round_reaches(2, Phase::InReview).await;
}

#[tokio::test]
async fn an_action_that_cannot_be_carried_out_tells_its_author_why() {
    let env = Env::shared();
    let (alice, dave, bob, olga) = (
        env.person("alice").await,
        env.person("dave").await,
        env.person("bob").await,
        env.person("olga").await,
    );
    let request = in_review(&alice, "refused-acts").await;
    let foreign = json!({"kind": "AirlockRequest", "name": request.name, "uid": "00000000-0000-0000-0000-000000000000"});
    let unknown = json!({"kind": "ReleaseRecord", "name": "no-such-record", "uid": "00000000-0000-0000-0000-000000000000"});
    let rows = [
        (
            &dave,
            acts(&dave, &request, "Submitter", "Recall").await.unwrap(),
            "NotSubmitter",
        ),
        (
            &alice,
            acts_on(&alice, foreign, "Submitter", "Recall")
                .await
                .unwrap(),
            "UnknownTarget",
        ),
        (
            &alice,
            acts_on(&alice, unknown, "Submitter", "Revoke")
                .await
                .unwrap(),
            "UnknownTarget",
        ),
        (
            &bob,
            acts(&bob, &request, "Checker", "Revoke").await.unwrap(),
            "NotReleased",
        ),
    ];
    for (who, action, reason) in rows {
        let word = word_on(who, &action).await;
        assert_eq!(
            (word.state, word.reason.as_deref()),
            (Some(ReviewState::NotCounted), Some(reason))
        );
        assert!(word.message.is_some_and(|m| m.len() > 20));
    }
    assert_eq!(request.status().await.phase, Some(Phase::InReview));
    // Whoever lacks the permission is refused at the door.
    for (who, role, action) in [
        (&bob, "Submitter", "Recall"),
        (&alice, "Checker", "Revoke"),
        (&bob, "HoldOfficer", "Hold"),
        (&olga, "Checker", "Revoke"),
    ] {
        match acts(who, &request, role, action).await {
            Err(kube::Error::Api(answer)) => assert_eq!(answer.code, 403, "{}", answer.message),
            other => panic!("{role} {action}: {other:?}"),
        }
    }
    alice.withdraws(&request).await;
    request.reaches(Phase::Withdrawn).await;
    let late = acts(&alice, &request, "Submitter", "Recall").await.unwrap();
    assert_eq!(
        word_on(&alice, &late).await.reason.as_deref(),
        Some("RequestClosed")
    );
}
