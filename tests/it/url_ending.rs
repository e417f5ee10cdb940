//! A warning goes out, once, before a URL ends that the gateway never handed out.

use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde_json::Value;
use trevor_api::Phase;

use crate::actions::in_review;
use crate::faults::{Desk, desk};
use crate::harness::{Controller, Env, PATIENCE, PROJECT, Request, private, ready};

/// Seconds that URLs live, with the window: warned is when a quarter is left.
const LIFE: i64 = 32;

fn setup<'a>(env: &'a Env, name: &'a str) -> Controller<'a> {
    Controller {
        elect: false,
        window_seconds: Some(LIFE),
        ..Controller::new(env, name)
    }
}

async fn released(desk: &Desk, stem: &str) -> Request {
    let request = in_review(&desk.alice, stem).await;
    desk.bob.approves(&request).await;
    desk.carol.approves(&request).await;
    request.reaches(Phase::Released).await;
    request
}

/// When the warning is due, as status says.
async fn due(request: &Request) -> Option<Timestamp> {
    let status = request.status().await;
    status.release.unwrap().warning_time.map(|time| time.0)
}

/// Kinds of the objects that warnings are about, for a request and its record.
async fn warned(env: &Env, request: &Request) -> Vec<String> {
    let api: Api<Event> = Api::namespaced(env.kube("admin").await, PROJECT);
    let all = api.list(&ListParams::default()).await.unwrap();
    let ours = all.items.into_iter().filter(|event| {
        let about = event.regarding.as_ref().and_then(|r| r.name.clone());
        event.reason.as_deref() == Some("URLEnding")
            && about.is_some_and(|name| name.starts_with(&request.name))
    });
    let mut kinds = Vec::new();
    for event in ours {
        assert_eq!(event.type_.as_deref(), Some("Warning"));
        let note = event.note.unwrap();
        assert!(note.contains("Renew") && !note.contains("X-Amz"), "{note}");
        kinds.push(event.regarding.unwrap().kind.unwrap());
    }
    kinds.sort();
    kinds
}

async fn entries(env: &Env, request: &Request) -> Vec<Value> {
    let prefix = format!("audit/requests/{PROJECT}/{}/", request.uid);
    let mut found = Vec::new();
    for key in env.quarantine().keys(&prefix).await {
        let entry = env.quarantine().json(&key).await;
        let events = entry["events"].as_array().unwrap().clone();
        found.extend(events.into_iter().filter(|e| e["kind"] == "URLEnding"));
    }
    found
}

/// One warning was given, in the ledger and to people, and nothing more is to come.
async fn is_warned_once(env: &Env, request: &Request) {
    let status = request
        .until("no warning to come", PATIENCE, |s| {
            s.release.as_ref().is_some_and(|r| r.warning_time.is_none())
        })
        .await;
    assert!(status.release.unwrap().expires_time.is_some());
    assert_eq!(
        warned(env, request).await,
        ["AirlockRequest", "ReleaseRecord"]
    );
    let entries = entries(env, request).await;
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!(entries[0]["id"], "url-ending-1");
}

async fn passes(time: Timestamp) {
    ready(format!("it is {time}"), PATIENCE, || async {
        (Timestamp::now() > time).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_url_that_nobody_asked_for_is_warned_of_once_and_one_that_somebody_has_is_not() {
    let env = private().await;
    let mut controller = setup(&env, "ending").start().await;
    let desk = desk(&env, "ending-gateway", &controller.url).await;
    let (unused, used) = tokio::join!(released(&desk, "unused"), released(&desk, "used"));
    let at = due(&unused).await.expect("a warning to come");
    let expires = unused.status().await.release.unwrap().expires_time.unwrap();
    let left = expires.0.as_second() - at.as_second();
    assert!((LIFE / 4 - 1..=LIFE / 4).contains(&left), "{left}");
    for _ in 0..2 {
        desk.alice.gets(&used, "release").await.expect(200);
    }
    assert!(warned(&env, &unused).await.is_empty(), "too early");
    // It wakes by itself, with nothing that changes.
    is_warned_once(&env, &unused).await;
    assert!(Timestamp::now() < expires.0, "too late");
    let status = used
        .until("no warning to come", PATIENCE, |s| {
            s.release.as_ref().is_some_and(|r| r.warning_time.is_none())
        })
        .await;
    assert_eq!(status.phase, Some(Phase::Released));
    assert!(warned(&env, &used).await.is_empty());
    assert!(entries(&env, &used).await.is_empty());
    // Another process has nothing to add.
    controller.kill().await;
    let mut controller = setup(&env, "ending-next").start().await;
    let word = desk.bob.approves(&unused).await;
    unused.word_on(&word, |s| s.state.is_some()).await;
    is_warned_once(&env, &unused).await;
    assert!(controller.runs());
}

#[tokio::test]
async fn a_controller_that_starts_when_a_warning_is_due_gives_it() {
    let env = private().await;
    let mut controller = setup(&env, "due").start().await;
    let desk = desk(&env, "due-gateway", &controller.url).await;
    let (early, late) = tokio::join!(released(&desk, "early"), released(&desk, "late"));
    let at = due(&early).await.unwrap().max(due(&late).await.unwrap());
    controller.kill().await;
    // This one was killed between the fact and whoever is told.
    let fact = serde_json::json!({"issue": 1, "expires": at, "time": at});
    let key = format!("{}warnings/url-1.json", late.prefix());
    env.quarantine()
        .put(&key, fact.to_string().as_bytes())
        .await;
    passes(at).await;
    let mut controller = setup(&env, "due-next").start().await;
    is_warned_once(&env, &early).await;
    is_warned_once(&env, &late).await;
    assert!(controller.runs());
}
