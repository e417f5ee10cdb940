//! What becomes of a release, and of a request that is put on hold, is told by webhook
//! and by mail: renewed, revoked, deleted, held. Kubernetes Events say it, too.

use std::collections::BTreeSet;

use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::json;
use trevor_api::{AirlockAction, Phase, ReviewDecision};

use crate::actions::{acts_on, in_review};
use crate::faults::desk;
use crate::harness::{
    Answers, Controller, Env, Mailbox, PATIENCE, Person, Receiver, Request, private, ready,
};
use crate::notify::{CANARY, comes, full_of_canaries, ids, mail, project, secrets, webhook};

async fn released(alice: &Person, bob: &Person, carol: &Person) -> Request {
    let request = full_of_canaries(alice).await;
    alice.submits(&request, 1).await;
    request.reaches(Phase::InReview).await;
    bob.approves(&request).await;
    carol.approves(&request).await;
    request.reaches(Phase::Released).await;
    request
}

/// An act on a request of a project of the test's own.
async fn acts_in(who: &Person, namespace: &str, request: &Request, role: &str, action: &str) {
    let object: AirlockAction = serde_json::from_value(json!({
        "apiVersion": "airlock.karectl.io/v1alpha1", "kind": "AirlockAction",
        "metadata": {"generateName": "act-"},
        "spec": {"target": {"kind": "AirlockRequest", "name": request.name, "uid": request.uid},
            "as": role, "action": action, "reason": "a test"},
    }))
    .unwrap();
    let api: Api<AirlockAction> = Api::namespaced(who.kube.clone(), namespace);
    api.create(&PostParams::default(), &object).await.unwrap();
}

/// Reasons of the Events on an object.
async fn reasons(env: &Env, namespace: &str, uid: &str) -> BTreeSet<String> {
    let api: Api<Event> = Api::namespaced(env.kube("admin").await, namespace);
    let all = api.list(&ListParams::default()).await.unwrap().items;
    let on = |event: &Event| event.regarding.as_ref().and_then(|r| r.uid.as_deref()) == Some(uid);
    let ours = all.into_iter().filter(on);
    ours.filter_map(|event| event.reason).collect()
}

async fn events_say(env: &Env, namespace: &str, uid: &str, wanted: &[&str]) {
    let wanted: BTreeSet<String> = wanted.iter().map(ToString::to_string).collect();
    ready(format!("Events {wanted:?}"), PATIENCE, || async {
        let found = reasons(env, namespace, uid).await;
        found.is_superset(&wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn renewed_revoked_deleted_and_held_are_told_by_webhook_mail_and_event() {
    let env = private().await;
    let hook = Receiver::new(Answers::Takes).await;
    let mailbox = Mailbox::new(&env, &[]).await;
    let setup = Controller {
        elect: false,
        window_seconds: Some(40),
        notifications: Some(json!({"allowed_hosts": ["127.0.0.1"],
            "channels": [webhook("desk", &hook.url()), mail(mailbox.port)]})),
        variables: secrets(&["desk"]),
        ..Controller::new(&env, "tells-ends")
    };
    let controller = setup.start().await;
    let desk = desk(&env, "tells-ends-gateway", &controller.url).await;
    let (project, [alice, bob, carol]) = project(&env, &desk).await;
    let olga = env
        .person_at("olga", &controller.url)
        .await
        .moves_to(&project.name)
        .await;
    let namespace = project.name.as_str();
    let renewed = released(&alice, &bob, &carol).await;
    acts_in(&alice, namespace, &renewed, "Submitter", "Renew").await;
    comes(&hook, &renewed, "url-renewed-2").await;
    let revoked = released(&alice, &bob, &carol).await;
    acts_in(&bob, namespace, &revoked, "Checker", "Revoke").await;
    revoked.reaches(Phase::Revoked).await;
    let held = full_of_canaries(&alice).await;
    alice.submits(&held, 1).await;
    held.reaches(Phase::InReview).await;
    acts_in(&olga, namespace, &held, "HoldOfficer", "Hold").await;
    held.says("Held", "OnHold").await;

    let told = |request: &Request, start: &str| {
        let all = ids(&hook.got(), request);
        all.into_keys().find(|what| what.starts_with(start))
    };
    let mut expected = Vec::new();
    for (request, start) in [
        (&renewed, "url-renewed-2"),
        (&revoked, "revoked"),
        (&held, "held-"),
        (&renewed, "deleted-"),
    ] {
        let what = ready(format!("{start} is told"), PATIENCE, || async {
            told(request, start)
        })
        .await;
        expected.push(format!("<{}.{what}@tre.example>", request.uid));
    }
    for id in &expected {
        ready(format!("a mail {id}"), PATIENCE, || async {
            mailbox
                .mails()
                .iter()
                .any(|(_, text)| text.contains(id))
                .then_some(())
        })
        .await;
    }
    // Once each, and what is not of a release says no word of a researcher.
    let got = hook.got();
    let all: BTreeSet<&str> = got.iter().map(|one| one.header("webhook-id")).collect();
    assert_eq!(all.len(), got.len());
    for one in got
        .iter()
        .filter(|one| one.header("webhook-id").starts_with(&held.uid))
    {
        let said = format!("{:?} {}", one.headers, String::from_utf8_lossy(&one.body));
        assert!(!said.contains(CANARY), "{said}");
    }
    for (_, text) in mailbox
        .mails()
        .iter()
        .filter(|(_, text)| text.contains(&held.uid))
    {
        assert!(!text.contains(CANARY), "{text}");
    }
    // Nothing hands out what was revoked.
    let after = got
        .iter()
        .rfind(|one| one.header("webhook-id") == format!("{}.revoked", revoked.uid));
    assert!(after.unwrap().json()["data"]["url"].is_null());

    let steps = ["Submitted", "InReview", "Approved", "Released"];
    events_say(
        &env,
        namespace,
        &renewed.uid,
        &[&steps[..], &["Deleted"]].concat(),
    )
    .await;
    events_say(&env, namespace, &revoked.uid, &["Revoked"]).await;
    project.policy_goes().await;
}

#[tokio::test]
async fn a_review_that_does_not_count_has_an_event_and_so_has_a_refused_action() {
    let env = Env::shared();
    let (alice, bob, carol) = (
        env.person("alice").await,
        env.person("bob").await,
        env.person("carol").await,
    );
    let request = in_review(&alice, "refused").await;
    let other = "0".repeat(64);
    let review = bob
        .reviews_digest(&request.name, &other, ReviewDecision::Approve)
        .await
        .unwrap();
    let namespace = crate::harness::PROJECT;
    events_say(
        &env,
        namespace,
        &review.metadata.uid.unwrap(),
        &["OtherDigest"],
    )
    .await;
    let gone = json!({"kind": "AirlockRequest", "name": request.name, "uid": "not-this-one"});
    let action = acts_on(&carol, gone, "Checker", "Revoke").await;
    if let Ok(action) = action {
        let uid = action.metadata.uid.unwrap();
        ready("an Event on the action", PATIENCE, || async {
            (!reasons(&env, namespace, &uid).await.is_empty()).then_some(())
        })
        .await;
    }
}
