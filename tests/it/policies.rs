//! What policies say is kept, and what they cannot say is shown.

use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};
use trevor_api::{AirlockPolicy, Phase, ReviewState};

use crate::faults::desk;
use crate::harness::{
    Controller, Env, PATIENCE, PROJECT, Private, Project, private, ready, unique,
};

struct Policy {
    api: Api<AirlockPolicy>,
    name: String,
}

impl Policy {
    async fn of_the_project(env: &Env, egress: Value) -> Self {
        let api: Api<AirlockPolicy> = Api::all(env.kube("admin").await);
        let name = unique("policy");
        let policy = serde_json::from_value(json!({
            "apiVersion": "airlock.karectl.io/v1alpha1", "kind": "AirlockPolicy", "metadata": {"name": name},
            "spec": {"namespaces": [PROJECT], "egress": egress},
        }))
        .unwrap();
        api.create(&PostParams::default(), &policy).await.unwrap();
        Self { api, name }
    }

    async fn says(&self, kind: &str, reason: &str) -> String {
        ready(format!("{kind} {reason}"), PATIENCE, || async {
            let status = self.api.get(&self.name).await.unwrap().status?;
            let found = status
                .conditions
                .into_iter()
                .find(|c| c.type_ == kind && c.reason == reason);
            found.map(|c| c.message)
        })
        .await
    }

    async fn goes(self) {
        self.api
            .delete(&self.name, &DeleteParams::default())
            .await
            .unwrap();
    }
}

async fn started(env: &Private, name: &str) -> (crate::harness::Spawned, crate::faults::Desk) {
    let setup = Controller {
        elect: false,
        ..Controller::new(env, name)
    };
    let controller = setup.start().await;
    let desk = desk(env, &format!("{name}-gateway"), &controller.url).await;
    (controller, desk)
}

#[tokio::test]
async fn an_impossible_or_conflicting_policy_makes_reviews_wait_and_says_so() {
    let env = private().await;
    let (_controller, desk) = started(&env, "impossible").await;
    let policy = Policy::of_the_project(
        &env,
        json!({"requiredApprovals": 2, "reviewers": {"type": "Listed", "users": ["bob", "alice"]}}),
    )
    .await;
    policy.says("Ready", "Valid").await;
    let spec = json!({"direction": "Egress", "title": "Impossible"});
    let request = desk.alice.creates("impossible", spec).await;
    desk.alice.uploads(&request, "a.csv", "1").await;
    desk.alice.submits(&request, 1).await;
    // The submitter is one of the two who are named.
    request.says("ReviewsWaiting", "ImpossiblePolicy").await;
    desk.bob.approves(&request).await;
    let stranger = desk.carol.approves(&request).await;
    let word = request
        .word_on(&stranger, |s| s.state == Some(ReviewState::NotCounted))
        .await;
    assert_eq!(word.reason.as_deref(), Some("NotAmongReviewers"));
    assert_eq!(request.status().await.phase, Some(Phase::InReview));

    let other = Policy::of_the_project(&env, json!({"requiredApprovals": 1})).await;
    other.says("Ready", "ConflictingPolicies").await;
    policy.says("Ready", "ConflictingPolicies").await;
    request.says("ReviewsWaiting", "ConflictingPolicies").await;
    policy.goes().await;
    // During a round the stricter of what was frozen and what holds now applies.
    request.says("ReviewsWaiting", "ImpossiblePolicy").await;
    other.goes().await;
    desk.alice.withdraws(&request).await;
    request.reaches(Phase::Withdrawn).await;
}

#[tokio::test]
async fn required_words_and_recipients_are_kept() {
    let env = private().await;
    let (_controller, desk) = started(&env, "words").await;
    let project = Project::new(&env, "words").await;
    let alice = desk.alice.moves_to(&project.name).await;
    let egress = json!({
        "requiredContext": ["justification", "statbarn"], "recipientDomains": ["uni.example"],
    });
    project.policy(egress).await;
    let spec = json!({
        "direction": "Egress", "title": "Words", "recipients": ["a@elsewhere.example"],
        "files": [{"path": "a.csv", "justification": "for the paper"}],
    });
    let request = alice.creates("words", spec).await;
    alice.uploads(&request, "a.csv", "1").await;
    alice.submits(&request, 1).await;
    let refused = request.says("Stalled", "SubmissionRefused").await;
    let stalled = refused
        .conditions
        .iter()
        .find(|c| c.type_ == "Stalled")
        .unwrap();
    for word in ["a.csv has no statbarn", "a@elsewhere.example"] {
        assert!(stalled.message.contains(word), "{}", stalled.message);
    }
    assert!(
        !stalled.message.contains("has no justification"),
        "{}",
        stalled.message
    );
    let mended = json!({
        "recipients": ["a@uni.example"], "submission": 2,
        "files": [{"path": "a.csv", "justification": "for the paper", "statbarn": "frequencies"}],
    });
    alice.edits(&request, mended).await.unwrap();
    request.round_reaches(2, Phase::InReview).await;
    alice.withdraws(&request).await;
    request.reaches(Phase::Withdrawn).await;
    project.policy_goes().await;
}

#[tokio::test]
async fn a_request_too_many_waits_until_another_closes() {
    let env = private().await;
    let (_controller, desk) = started(&env, "many").await;
    // Nobody else opens or closes requests here while they are counted.
    let project = Project::new(&env, "many").await;
    let alice = desk.alice.moves_to(&project.name).await;
    let spec = json!({"direction": "Egress", "title": "The first"});
    let request = alice.creates("many", spec).await;
    alice.uploads(&request, "a.csv", "1").await;
    alice.submits(&request, 1).await;
    request.reaches(Phase::InReview).await;

    project.policy(json!({"maxOpenRequests": 1})).await;
    let spec = json!({"direction": "Egress", "title": "One too many"});
    let second = alice.creates("second", spec).await;
    second.says("Stalled", "TooManyOpenRequests").await;
    alice.withdraws(&request).await;
    request.reaches(Phase::Withdrawn).await;
    second.reaches(Phase::Draft).await;
    second.says("Ready", "Draft").await;
    alice.withdraws(&second).await;
    second.reaches(Phase::Withdrawn).await;
    project.policy_goes().await;
}

#[tokio::test]
async fn an_upload_that_never_completes_ends_in_changes_requested() {
    let env = Env::shared();
    let alice = env.person("alice").await;
    let spec = json!({
        "direction": "Egress", "title": "Late",
        "files": [{"path": "a.csv"}, {"path": "b.csv"}],
    });
    let request = alice.creates("late", spec).await;
    alice.uploads(&request, "a.csv", "1").await;
    // It was submitted eight days ago; the default policy waits seven.
    let since = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(8 * 24);
    let fact = json!({"round": 1, "time": since.to_string()});
    let key = format!("{}rounds/1/submitted.json", request.prefix());
    env.quarantine()
        .put(&key, fact.to_string().as_bytes())
        .await;
    alice.submits(&request, 1).await;
    let expired = request.says("Stalled", "UploadExpired").await;
    assert_eq!(expired.phase, Some(Phase::ChangesRequested));
    let stalled = expired
        .conditions
        .iter()
        .find(|c| c.type_ == "Stalled")
        .unwrap();
    assert!(
        stalled.message.contains("b.csv") && stalled.message.contains("submission to 2"),
        "{}",
        stalled.message
    );
    alice.uploads(&request, "b.csv", "2").await;
    alice.submits(&request, 2).await;
    request.round_reaches(2, Phase::InReview).await;
}
