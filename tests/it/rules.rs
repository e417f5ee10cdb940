//! Reviews count only while the admission rules are proved to be in force.

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use trevor_api::{
    AirlockPolicy, AirlockPolicySpec, AirlockSession, Phase, ReviewDecision, ReviewState,
    SessionState,
};

use crate::faults::desk;
use crate::harness::{Controller, Env, Http, PATIENCE, Person, Private, private, ready, sha256};

/// An environment with a policy whose status tells of the rules.
pub async fn with_a_policy() -> Private {
    let env = private().await;
    a_policy_tells(&env).await;
    env
}

/// Makes the policy whose status tells of the rules.
pub async fn a_policy_tells(env: &Env) {
    let api: Api<AirlockPolicy> = Api::all(env.kube("admin").await);
    let policy = AirlockPolicy::new(
        "default",
        AirlockPolicySpec {
            default: Some(true),
            ..AirlockPolicySpec::default()
        },
    );
    api.create(&PostParams::default(), &policy).await.unwrap();
}

/// What the default policy says of the rules: whether they are live, and why not.
async fn rules_live(admin: &Client) -> Option<(bool, String)> {
    let api: Api<AirlockPolicy> = Api::all(admin.clone());
    let status = api.get("default").await.unwrap().status?;
    let condition = status
        .conditions
        .into_iter()
        .find(|c| c.type_ == "RulesLive")?;
    Some((condition.status == "True", condition.message))
}

pub async fn becomes(admin: &Client, live: bool, says: &str) {
    ready(
        format!("rules live: {live}, {says:?}"),
        PATIENCE,
        || async {
            let (now, message) = rules_live(admin).await?;
            (now == live && message.contains(says)).then_some(())
        },
    )
    .await;
}

/// What is made from now on counts.
pub async fn settled(controller: &str) {
    let (http, url) = (Http::default(), format!("{controller}/readyz"));
    ready("the epoch has settled", PATIENCE, || async {
        (http.get(&url).await.status == 200).then_some(())
    })
    .await;
}

/// The rules are proved to have been in force beyond the second in which the last of what was
/// made so far was made: times of objects are cut to the second, and when a rule goes, only what
/// is older than the last proof counts.
pub async fn proved_since(person: &Person) {
    let last = accepted_at(person).await;
    while accepted_at(person).await <= last {}
}

/// Makes a session, waits until it is accepted, which takes a verification that began after it
/// was made, and ends it. Gives its time.
async fn accepted_at(person: &Person) -> Timestamp {
    let api: Api<AirlockSession> = Api::namespaced(person.kube.clone(), &person.project);
    let token = person.new_session(&person.project, 3600).await;
    let name = format!("s-{}", &sha256(token.as_bytes())[..40]);
    // People may get their sessions, and not watch them.
    let session = ready("a word on the session", PATIENCE, || async {
        let session = api.get(&name).await.unwrap();
        let state = session.status.as_ref().and_then(|status| status.state);
        state.is_some().then_some(session)
    })
    .await;
    let state = session.status.as_ref().and_then(|status| status.state);
    assert_eq!(state, Some(SessionState::Accepted), "{session:?}");
    api.delete(&name, &DeleteParams::default()).await.unwrap();
    session.creation_timestamp().unwrap().0
}

pub async fn away(admin: &Client, name: &str) -> ValidatingAdmissionPolicyBinding {
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(admin.clone());
    let mut binding = bindings.get(name).await.unwrap();
    bindings
        .delete(name, &DeleteParams::default())
        .await
        .unwrap();
    binding.metadata.uid = None;
    binding.metadata.resource_version = None;
    binding.metadata.managed_fields = None;
    binding.metadata.creation_timestamp = None;
    binding
}

pub async fn back(admin: &Client, binding: &ValidatingAdmissionPolicyBinding) {
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(admin.clone());
    bindings
        .create(&PostParams::default(), binding)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_forged_while_a_binding_is_away_never_counts_and_the_rest_counts_again() {
    let env = with_a_policy().await;
    let setup = Controller {
        elect: false,
        ..Controller::new(&env, "rules")
    };
    let controller = setup.start().await;
    let desk = desk(&env, "rules-gateway", &controller.url).await;
    let admin = env.kube("admin").await;
    becomes(&admin, true, "those of the chart").await;

    let spec = json!({"direction": "Egress", "title": "Rules"});
    let request = desk.alice.creates("rules", spec.clone()).await;
    desk.alice.uploads(&request, "a.csv", "1,2").await;
    desk.alice.submits(&request, 1).await;
    request.reaches(Phase::InReview).await;
    let honest = desk.bob.approves(&request).await;
    request
        .until("1/2", PATIENCE, |s| {
            s.approvals.as_ref().is_some_and(|a| a.summary == "1/2")
        })
        .await;
    proved_since(&desk.bob).await;

    let binding = away(&admin, "trevor-airlockreviews").await;
    becomes(
        &admin,
        false,
        "ValidatingAdmissionPolicyBinding trevor-airlockreviews is missing",
    )
    .await;
    let forged = forge(&desk.bob, &request.name, &request.digest().await, "carol").await;
    let waiting = request.says("ReviewsWaiting", "RulesNotLive").await;
    assert_eq!(waiting.phase, Some(Phase::InReview));
    let word = request
        .word_on(&forged, |s| s.state == Some(ReviewState::NotCounted))
        .await;
    assert_eq!(word.reason.as_deref(), Some("OutsideEpoch"));

    back(&admin, &binding).await;
    becomes(&admin, true, "those of the chart").await;
    settled(&controller.url).await;
    let healed = request.says("ReviewsWaiting", "InReview").await;
    let counted: Vec<_> = healed
        .reviews
        .iter()
        .map(|r| (r.reviewer.as_str(), r.counted))
        .collect();
    assert_eq!(counted, [("bob", true), ("carol", false)]);
    let word = request
        .word_on(&honest, |s| s.state == Some(ReviewState::Counted))
        .await;
    assert_eq!(word.reason, None);
    desk.carol.approves(&request).await;
    request.reaches(Phase::Released).await;
}

/// A review in another's name, where nothing stops it.
async fn forge(who: &Person, request: &str, digest: &str, name: &str) -> trevor_api::AirlockReview {
    let review = serde_json::from_value(json!({
        "apiVersion": "airlock.karectl.io/v1alpha1", "kind": "AirlockReview",
        "metadata": {"generateName": "forged-"},
        "spec": {"requestName": request, "manifestDigest": digest, "decision": "Approve", "reviewer": name},
    }))
    .unwrap();
    // The binding's end takes up to a second to be felt.
    ready("the forged review is let through", PATIENCE, || async {
        who.reviews()
            .create(&PostParams::default(), &review)
            .await
            .ok()
    })
    .await
}

#[tokio::test]
async fn a_request_made_while_the_rules_were_away_is_to_be_made_again() {
    let env = with_a_policy().await;
    let setup = Controller {
        elect: false,
        ..Controller::new(&env, "rules-request")
    };
    let controller = setup.start().await;
    let admin = env.kube("admin").await;
    becomes(&admin, true, "those of the chart").await;
    settled(&controller.url).await;
    let desk = desk(&env, "rules-request-gateway", &controller.url).await;
    // Sessions of the second in which the rule goes are ended with it.
    proved_since(&desk.alice).await;
    let binding = away(&admin, "trevor-airlockrequests").await;
    becomes(&admin, false, "trevor-airlockrequests is missing").await;
    let spec = json!({"direction": "Egress", "title": "Made meanwhile", "submitter": "alice"});
    let request = desk.alice.creates("meanwhile", spec).await;
    back(&admin, &binding).await;
    becomes(&admin, true, "those of the chart").await;
    settled(&controller.url).await;

    desk.alice.uploads(&request, "a.csv", "1,2").await;
    desk.alice.submits(&request, 1).await;
    request.says("ReviewsWaiting", "OutsideEpoch").await;
    desk.bob.approves(&request).await;
    desk.carol.approves(&request).await;
    let waiting = request
        .until("2/2", PATIENCE, |s| {
            s.approvals.as_ref().is_some_and(|a| a.summary == "2/2")
        })
        .await;
    assert_eq!(waiting.phase, Some(Phase::InReview));
    // A no needs no proof of who submitted.
    desk.bob.reviews_it(&request, ReviewDecision::Reject).await;
    request.reaches(Phase::Rejected).await;
}

#[tokio::test]
async fn a_rule_edited_by_hand_is_named_and_restored() {
    let env = with_a_policy().await;
    let setup = Controller {
        elect: false,
        ..Controller::new(&env, "rules-edited")
    };
    let controller = setup.start().await;
    let admin = env.kube("admin").await;
    becomes(&admin, true, "those of the chart").await;

    let policies: Api<ValidatingAdmissionPolicy> = Api::all(admin.clone());
    let whole = policies.get("trevor-airlockreviews").await.unwrap();
    let mut weak = whole.clone();
    weak.spec
        .as_mut()
        .unwrap()
        .validations
        .as_mut()
        .unwrap()
        .remove(0);
    policies
        .replace("trevor-airlockreviews", &PostParams::default(), &weak)
        .await
        .unwrap();
    becomes(
        &admin,
        false,
        "ValidatingAdmissionPolicy trevor-airlockreviews is not what the chart says",
    )
    .await;
    assert!(
        alarmed(&env, &controller.url).await,
        "a metric and an Event say it"
    );
    let mut restored = policies.get("trevor-airlockreviews").await.unwrap();
    restored.spec = whole.spec;
    policies
        .replace("trevor-airlockreviews", &PostParams::default(), &restored)
        .await
        .unwrap();
    becomes(&admin, true, "those of the chart").await;

    let definitions: Api<CustomResourceDefinition> = Api::all(admin.clone());
    let name = "airlockreviews.airlock.karectl.io";
    let whole = definitions.get(name).await.unwrap();
    let mut weak = whole.clone();
    let schema = weak.spec.versions[0].schema.as_mut().unwrap();
    let properties = schema
        .open_api_v3_schema
        .as_mut()
        .unwrap()
        .properties
        .as_mut()
        .unwrap();
    properties.get_mut("spec").unwrap().x_kubernetes_validations = None;
    definitions
        .replace(name, &PostParams::default(), &weak)
        .await
        .unwrap();
    becomes(
        &admin,
        false,
        "CustomResourceDefinition airlockreviews.airlock.karectl.io is not what the chart says",
    )
    .await;
    let mut restored = definitions.get(name).await.unwrap();
    restored.spec = whole.spec;
    definitions
        .replace(name, &PostParams::default(), &restored)
        .await
        .unwrap();
    becomes(&admin, true, "those of the chart").await;
}

async fn alarmed(env: &Env, controller: &str) -> bool {
    let metrics = Http::default().get(&format!("{controller}/metrics")).await;
    let down = String::from_utf8_lossy(&metrics.body).contains("\ntrevor_rules_live 0\n");
    let events: Api<k8s_openapi::api::events::v1::Event> = Api::all(env.kube("admin").await);
    let told = ready("an Event on the policy", PATIENCE, || async {
        let all = events
            .list(&kube::api::ListParams::default())
            .await
            .unwrap();
        all.items
            .iter()
            .any(|e| {
                e.reason.as_deref() == Some("RulesNotLive") && e.type_.as_deref() == Some("Warning")
            })
            .then_some(true)
    });
    down && told.await
}
