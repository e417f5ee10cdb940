//! The life of a release URL: it is renewed within the window, and when the release
//! is revoked, every URL that was ever issued is dead and stays so.

use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use trevor_api::{
    AirlockAction, AirlockReviewStatus, Phase, ReleasePhase, ReleaseRecord, ReviewDecision,
    ReviewState,
};

use crate::actions::{acts, acts_on, in_review, word_on};
use crate::faults::desk;
use crate::harness::{
    Controller, Env, Http, Keep, PATIENCE, PROJECT, Person, Proxy, Request, command, private, ready,
};

/// Alice's request, released on the word of bob and carol.
pub async fn released(alice: &Person, bob: &Person, carol: &Person, stem: &str) -> Request {
    let request = in_review(alice, stem).await;
    bob.approves(&request).await;
    carol.approves(&request).await;
    request.reaches(Phase::Released).await;
    request
}

fn urls_of(request: &Request) -> String {
    format!("work/urls/{}/", request.uid)
}

/// Every URL that is recorded, with the Secret that holds it.
pub async fn recorded(env: &Env, request: &Request) -> Vec<(String, String)> {
    let inside = env.quarantine();
    let mut found = Vec::new();
    for key in inside.keys(&urls_of(request)).await {
        let issue = inside.json(&key).await;
        let text = |name: &str| issue[name].as_str().unwrap().to_owned();
        found.push((text("url"), text("secretName")));
    }
    found
}

pub async fn answers(url: &str) -> u16 {
    Http::default().get(url).await.status.as_u16()
}

/// Nothing of the release is anywhere, and none of the URLs works.
pub async fn is_dead(env: &Env, request: &Request, issued: &[(String, String)]) {
    assert!(!issued.is_empty());
    let secrets: Api<Secret> = Api::namespaced(env.kube("admin").await, PROJECT);
    for (url, secret) in issued {
        let status = answers(url).await;
        assert!(matches!(status, 403 | 404), "{secret}: {status}");
        assert!(secrets.get_opt(secret).await.unwrap().is_none(), "{secret}");
    }
    let (inside, outside) = (env.quarantine(), env.release());
    assert!(inside.keys(&urls_of(request)).await.is_empty());
    assert!(outside.keys(&request.releases()).await.is_empty());
    assert!(outside.open_uploads(&request.releases()).await.is_empty());
}

async fn record_of(client: &Client, name: &str) -> ReleaseRecord {
    let api: Api<ReleaseRecord> = Api::namespaced(client.clone(), PROJECT);
    api.get(name).await.unwrap()
}

pub fn on_record(record: &ReleaseRecord) -> Value {
    json!({"kind": "ReleaseRecord", "name": record.name_any(), "uid": record.uid().unwrap()})
}

pub async fn renews(
    who: &Person,
    role: &str,
    target: Value,
    revoke_old: bool,
) -> kube::Result<AirlockAction> {
    let object = serde_json::from_value(json!({
        "apiVersion": "airlock.karectl.io/v1alpha1", "kind": "AirlockAction",
        "metadata": {"generateName": "renew-"},
        "spec": {"target": target, "as": role, "action": "Renew", "revokeOld": revoke_old},
    }))
    .unwrap();
    let api: Api<AirlockAction> = Api::namespaced(who.kube.clone(), PROJECT);
    api.create(&PostParams::default(), &object).await
}

/// Waits for the last word on an action.
async fn last_word(who: &Person, action: &AirlockAction) -> AirlockReviewStatus {
    ready("the last word on the action", PATIENCE, || async {
        let word = word_on(who, action).await;
        (word.state != Some(ReviewState::Pending)).then_some(word)
    })
    .await
}

pub async fn counts(who: &Person, action: &AirlockAction) -> AirlockReviewStatus {
    let word = last_word(who, action).await;
    assert_eq!(word.state, Some(ReviewState::Counted), "{word:?}");
    word
}

pub async fn is_refused(who: &Person, action: &AirlockAction, reason: &str) {
    let word = last_word(who, action).await;
    assert_eq!(
        (word.state, word.reason.as_deref()),
        (Some(ReviewState::NotCounted), Some(reason))
    );
}

/// The ledger says who revoked it, once.
pub async fn the_ledger_says_who(env: &Env, request: &Request, who: &str) -> Value {
    let inside = env.quarantine();
    let mut found = Vec::new();
    for key in inside
        .keys(&format!("audit/requests/{PROJECT}/{}/", request.uid))
        .await
    {
        let entry = inside.json(&key).await;
        let events = entry["events"].as_array().unwrap().clone();
        found.extend(events.into_iter().filter(|e| e["kind"] == "Revoked"));
    }
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["actor"], who);
    assert_eq!(
        (&found[0]["before"], &found[0]["after"]),
        (&json!("Released"), &json!("Revoked"))
    );
    found.remove(0)
}

#[tokio::test]
async fn every_url_ever_issued_works_until_it_is_revoked_and_never_after() {
    let env = Env::shared();
    let (alice, bob, carol) = (
        env.person("alice").await,
        env.person("bob").await,
        env.person("carol").await,
    );
    let request = released(&alice, &bob, &carol, "url-life").await;
    let record = request.record().await;
    let mut issued = recorded(&env, &request).await;
    assert_eq!(issued.len(), 1);

    let renewed = acts(&alice, &request, "Submitter", "Renew").await.unwrap();
    counts(&alice, &renewed).await;
    let second = recorded(&env, &request).await[1].clone();
    issued.push(second);
    for (url, _) in &issued {
        assert_eq!(answers(url).await, 200);
    }
    let admin = env.kube("admin").await;
    in_force(&env, &alice, &request, 2).await;
    let secrets: Api<Secret> = Api::namespaced(admin.clone(), PROJECT);
    assert!(secrets.get_opt(&issued[0].1).await.unwrap().is_none());

    // Earlier URLs end when they are to, and the package is the same one.
    let again = renews(&bob, "Checker", on_record(&record), true)
        .await
        .unwrap();
    counts(&bob, &again).await;
    let third = recorded(&env, &request).await[2].clone();
    for (url, _) in &issued {
        let status = answers(url).await;
        assert!(matches!(status, 403 | 404), "an earlier URL: {status}");
    }
    let package = Http::default().get(&third.0).await.expect(200).body;
    let named = record.spec.package.as_ref().unwrap();
    assert_eq!(crate::harness::sha256(&package), named.sha256);
    assert_eq!(env.release().keys(&request.releases()).await.len(), 1);
    in_force(&env, &alice, &request, 3).await;
    issued.push(third);

    let revoke = acts(&alice, &request, "Submitter", "Revoke").await.unwrap();
    let status = request.reaches(Phase::Revoked).await;
    is_dead(&env, &request, &issued).await;
    counts(&alice, &revoke).await;
    let event = the_ledger_says_who(&env, &request, "alice").await;
    assert_eq!(event["detail"]["reason"], "a test");
    let shown = status.release.unwrap();
    assert_eq!((shown.secret_name, shown.expires_time), (None, None));
    let record = record_of(&admin, &record.name_any()).await;
    let shown = record.status.as_ref().unwrap();
    assert_eq!(shown.phase, Some(ReleasePhase::Revoked));
    assert!(shown.url.is_none() && shown.conditions[0].message.contains("alice"));
    let answer = alice.gets(&request, "release").await.expect(410);
    assert_eq!(answer.reason(), "Revoked");

    for (who, role, action) in [
        (&alice, "Submitter", "Renew"),
        (&bob, "Checker", "Renew"),
        (&bob, "Checker", "Revoke"),
    ] {
        let late = acts(who, &request, role, action).await.unwrap();
        is_refused(who, &late, "AlreadyRevoked").await;
    }
    is_dead(&env, &request, &issued).await;
    assert_eq!(request.status().await.phase, Some(Phase::Revoked));
}

/// Status, record, Secret and gateway say the same of the URL in force.
async fn in_force(env: &Env, alice: &Person, request: &Request, issue: i64) {
    let admin = env.kube("admin").await;
    let inside = env.quarantine();
    let key = format!("{}{issue}.json", urls_of(request));
    let stored = inside.json(&key).await;
    let secret_name = stored["secretName"].as_str().unwrap().to_owned();
    let status = request
        .until("the Secret in force", PATIENCE, move |s| {
            s.release.as_ref().and_then(|r| r.secret_name.as_ref()) == Some(&secret_name)
        })
        .await;
    let expires = stored["expires"].as_str().unwrap();
    let shown = status.release.unwrap().expires_time.unwrap().0.to_string();
    assert_eq!(shown, expires);
    let secret = request.secret(&admin).await.data.unwrap();
    assert_eq!(secret["expires"].0, expires.as_bytes());
    assert_eq!(secret["url"].0, stored["url"].as_str().unwrap().as_bytes());
    let url = request.record().await.status.unwrap().url.unwrap();
    assert_eq!((url.issue, url.expires_time.0.to_string()), (issue, shown));
    let told = alice.gets(request, "release").await.expect(200).json();
    assert_eq!(told["url"], stored["url"]);
    assert_eq!(told["expires"], stored["expires"]);
}

#[tokio::test]
async fn a_checker_a_withdrawal_and_a_late_rejection_revoke_too() {
    let env = Env::shared();
    let (alice, bob, carol) = (
        env.person("alice").await,
        env.person("bob").await,
        env.person("carol").await,
    );
    let (acted, withdrawn, rejected) = tokio::join!(
        released(&alice, &bob, &carol, "revoke-checker"),
        released(&alice, &bob, &carol, "revoke-withdrawn"),
        released(&alice, &bob, &carol, "revoke-rejected"),
    );
    let mut issued = Vec::new();
    for request in [&acted, &withdrawn, &rejected] {
        issued.push(recorded(&env, request).await);
    }
    // A rejection of something else changes nothing.
    let other = "0".repeat(64);
    let stray = carol
        .reviews_digest(&rejected.name, &other, ReviewDecision::Reject)
        .await
        .unwrap();
    let word = rejected.word_on(&stray, |s| s.state.is_some()).await;
    assert_eq!(word.reason.as_deref(), Some("OtherDigest"));
    assert_eq!(rejected.status().await.phase, Some(Phase::Released));

    let revoke = acts(&bob, &acted, "Checker", "Revoke").await.unwrap();
    alice.withdraws(&withdrawn).await;
    let review = carol.reviews_it(&rejected, ReviewDecision::Reject).await;
    for (request, issued, who) in [
        (&acted, &issued[0], "bob"),
        (&withdrawn, &issued[1], "alice"),
        (&rejected, &issued[2], "carol"),
    ] {
        request.reaches(Phase::Revoked).await;
        is_dead(&env, request, issued).await;
        the_ledger_says_who(&env, request, who).await;
    }
    counts(&bob, &revoke).await;
    let word = rejected.word_on(&review, |s| s.state.is_some()).await;
    assert_eq!(word.state, Some(ReviewState::Counted), "{word:?}");
}

#[tokio::test]
async fn a_release_whose_request_is_deleted_is_renewed_and_revoked_by_its_record() {
    let env = Env::shared();
    let (alice, bob, carol) = (
        env.person("alice").await,
        env.person("bob").await,
        env.person("carol").await,
    );
    let dave = env.person("dave").await;
    let request = released(&alice, &bob, &carol, "revoke-record").await;
    let record = request.record().await;
    alice.deletes(&request).await;
    request.is_gone().await;
    let first = recorded(&env, &request).await;
    assert_eq!(answers(&first[0].0).await, 200);

    let foreign = renews(&dave, "Submitter", on_record(&record), false)
        .await
        .unwrap();
    is_refused(&dave, &foreign, "NotSubmitter").await;
    let renewed = renews(&alice, "Submitter", on_record(&record), true)
        .await
        .unwrap();
    counts(&alice, &renewed).await;
    let issued = recorded(&env, &request).await;
    assert_eq!(issued.len(), 2);
    assert_eq!(answers(&issued[1].0).await, 200);
    assert!(matches!(answers(&issued[0].0).await, 403 | 404));

    let revoke = acts_on(&bob, on_record(&record), "Checker", "Revoke")
        .await
        .unwrap();
    counts(&bob, &revoke).await;
    is_dead(&env, &request, &issued).await;
    the_ledger_says_who(&env, &request, "bob").await;
    let record = record_of(&bob.kube, &record.name_any()).await;
    let shown = record.status.as_ref().unwrap();
    assert_eq!(shown.phase, Some(ReleasePhase::Revoked));
    let late = acts_on(&bob, on_record(&record), "Checker", "Revoke")
        .await
        .unwrap();
    is_refused(&bob, &late, "AlreadyRevoked").await;
}

#[tokio::test]
async fn a_url_is_never_renewed_beyond_the_window_and_revoked_even_then() {
    const WINDOW: i64 = 15;
    let env = private().await;
    let setup = Controller {
        elect: false,
        window_seconds: Some(WINDOW),
        ..Controller::new(&env, "window")
    };
    let controller = setup.start().await;
    let desk = desk(&env, "window-gateway", &controller.url).await;
    let request = released(&desk.alice, &desk.bob, &desk.carol, "window").await;
    let end = request.record().await.spec.delete_after_time.0;
    let renewed = acts(&desk.alice, &request, "Submitter", "Renew")
        .await
        .unwrap();
    counts(&desk.alice, &renewed).await;
    let issue = env
        .quarantine()
        .json(&format!("{}2.json", urls_of(&request)))
        .await;
    let expires: jiff::Timestamp = issue["expires"].as_str().unwrap().parse().unwrap();
    assert!(expires <= end, "{expires} is after {end}");
    // They go with the package when the window is over.
    let issued = recorded(&env, &request).await;
    assert_eq!(issued.len(), 2);
    ready("the window is over", PATIENCE, || async {
        (jiff::Timestamp::now() > end).then_some(())
    })
    .await;
    for revoke_old in [false, true] {
        let target = json!({"kind": "AirlockRequest", "name": request.name, "uid": request.uid});
        let late = renews(&desk.bob, "Checker", target, revoke_old)
            .await
            .unwrap();
        is_refused(&desk.bob, &late, "WindowOver").await;
    }
    let revoke = acts(&desk.bob, &request, "Checker", "Revoke")
        .await
        .unwrap();
    counts(&desk.bob, &revoke).await;
    is_dead(&env, &request, &issued).await;
}

#[tokio::test]
async fn revoke_old_is_for_renewals_only() {
    let env = Env::shared();
    let alice = env.person("alice").await;
    let target = json!({"kind": "AirlockRequest", "name": "any", "uid": "0"});
    let object = serde_json::from_value(json!({
        "apiVersion": "airlock.karectl.io/v1alpha1", "kind": "AirlockAction",
        "metadata": {"generateName": "act-"},
        "spec": {"target": target, "as": "Submitter", "action": "Revoke", "revokeOld": true},
    }))
    .unwrap();
    let api: Api<AirlockAction> = Api::namespaced(alice.kube.clone(), PROJECT);
    match api.create(&PostParams::default(), &object).await {
        Err(kube::Error::Api(answer)) => {
            assert_eq!(answer.code, 422, "{}", answer.message);
            assert!(answer.message.contains("revokeOld is for Renew"));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_completes_after_the_revocation_is_swept() {
    let env = private().await;
    let proxy = Proxy::before(&env.variable("TREVOR_RELEASE_ENDPOINT")).await;
    let slow = Controller {
        elect: false,
        release: Some(&proxy.url),
        ..Controller::new(&env, "slow")
    };
    let mut controller = slow.start().await;
    let desk = desk(&env, "slow-gateway", &controller.url).await;
    let outside = env.release();

    // The Complete of the first attempt is on its way when its controller dies.
    let large = desk.approved_once("slow-complete", 1, 24 << 20).await;
    proxy.keeps(Keep::Instead, |call| {
        call.method == http::Method::POST && call.query.contains("uploadId=")
    });
    desk.carol.approves(&large).await;
    ready("a Complete is held", PATIENCE, || async {
        (proxy.kept() > 0).then_some(())
    })
    .await;
    controller.kill().await;
    // The next one's small package arrives, and once more much later.
    proxy.keeps(Keep::Besides, |call| {
        call.method == http::Method::PUT && call.path.ends_with(".zip") && call.query.is_empty()
            || call.path.ends_with(".zip") && call.query == "x-id=PutObject"
    });
    let held = proxy.sent_later();
    let mut controller = slow.start().await;
    let small = desk.approved_once("slow-put", 1, 1000).await;
    desk.carol.approves(&small).await;
    for request in [&large, &small] {
        request.reaches(Phase::Released).await;
    }
    assert!(proxy.kept() > 0, "the package was kept");
    let mut issued = Vec::new();
    for request in [&large, &small] {
        let recorded = recorded(&env, request).await;
        assert_eq!(answers(&recorded[0].0).await, 200);
        let revoke = acts(&desk.bob, request, "Checker", "Revoke").await.unwrap();
        counts(&desk.bob, &revoke).await;
        is_dead(&env, request, &recorded).await;
        issued.push(recorded);
    }
    let late = proxy.sends(held).await;
    assert_eq!(late, [http::StatusCode::NOT_FOUND], "its upload is aborted");
    let late = proxy.sends(proxy.sent_later()).await;
    assert!(late.contains(&http::StatusCode::OK), "it arrived: {late:?}");
    for (request, issued) in [(&large, &issued[0]), (&small, &issued[1])] {
        ready("what arrived late is gone", PATIENCE, || async {
            let left = outside.keys(&request.releases()).await;
            left.is_empty().then_some(())
        })
        .await;
        is_dead(&env, request, issued).await;
    }
    // The work is handed on: another process sweeps what arrives in its time.
    assert!(controller.runs());
    controller.kill().await;
    let lost = format!("{}late/lost.zip", small.releases());
    outside.put(&lost, b"late").await;
    let _next = Controller {
        elect: false,
        ..Controller::new(&env, "slow-next")
    }
    .start()
    .await;
    ready("it is swept after a restart", PATIENCE, || async {
        outside.find(&lost).await.is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_revocation_that_is_killed_anywhere_goes_on() {
    let env = private().await;
    let inside = Proxy::before(&env.variable("TREVOR_QUARANTINE_ENDPOINT")).await;
    let outside = Proxy::before(&env.variable("TREVOR_RELEASE_ENDPOINT")).await;
    let cut = Controller {
        elect: false,
        quarantine: Some(&inside.url),
        release: Some(&outside.url),
        ..Controller::new(&env, "cut")
    };
    let straight = Controller {
        elect: false,
        ..Controller::new(&env, "straight")
    };
    let mut controller = straight.start().await;
    let desk = desk(&env, "cut-gateway", &controller.url).await;
    type Stage = (&'static str, bool, fn(&crate::harness::Call) -> bool);
    let stages: [Stage; 4] = [
        ("revoked.json", true, |c| {
            c.path.ends_with("/revoked.json") && c.writes()
        }),
        ("the package", false, |c| c.query.starts_with("delete")),
        ("the receipts", true, |c| {
            c.path.contains("/deleted/") && c.writes()
        }),
        ("the URLs", true, |c| {
            c.method == http::Method::DELETE && c.path.contains("/work/urls/")
        }),
    ];
    for (what, within, pick) in stages {
        let request = released(&desk.alice, &desk.bob, &desk.carol, "cut").await;
        let renewed = acts(&desk.alice, &request, "Submitter", "Renew")
            .await
            .unwrap();
        counts(&desk.alice, &renewed).await;
        let issued = recorded(&env, &request).await;
        assert_eq!(issued.len(), 2, "{what}");
        controller.kill().await;
        let mut broken = cut.start().await;
        let proxy = if within { &inside } else { &outside };
        let before = proxy.kept();
        proxy.keeps(Keep::Instead, pick);
        let revoke = acts(&desk.bob, &request, "Checker", "Revoke")
            .await
            .unwrap();
        ready(format!("stopped at {what}"), PATIENCE, || async {
            (proxy.kept() > before).then_some(())
        })
        .await;
        broken.kill().await;
        proxy.keeps(Keep::Instead, |_| false);
        controller = straight.start().await;
        request.reaches(Phase::Revoked).await;
        counts(&desk.bob, &revoke).await;
        is_dead(&env, &request, &issued).await;
        the_ledger_says_who(&env, &request, "bob").await;
    }
    assert!(controller.runs());
}

#[tokio::test]
async fn a_closed_request_at_rest_costs_no_call_and_still_wakes() {
    let env = private().await;
    let inside = Proxy::before(&env.variable("TREVOR_QUARANTINE_ENDPOINT")).await;
    let outside = Proxy::before(&env.variable("TREVOR_RELEASE_ENDPOINT")).await;
    let setup = Controller {
        elect: false,
        quarantine: Some(&inside.url),
        release: Some(&outside.url),
        ..Controller::new(&env, "rests")
    };
    let controller = setup.start().await;
    let desk = desk(&env, "rests-gateway", &controller.url).await;
    let request = released(&desk.alice, &desk.bob, &desk.carol, "rests").await;
    let settled = desk.carol.approves(&request).await;
    request.word_on(&settled, |s| s.state.is_some()).await;
    drop((inside.calls(), outside.calls()));
    // That its author is told shows that the request was looked at.
    let late = desk.bob.approves(&request).await;
    let word = request.word_on(&late, |s| s.state.is_some()).await;
    assert_eq!(word.reason.as_deref(), Some("RequestClosed"));
    let calls: Vec<_> = inside.calls().into_iter().chain(outside.calls()).collect();
    // The ledger has reviews that came too late as well.
    let ledger = format!("/audit/requests/{PROJECT}/{}/", request.uid);
    let about: Vec<_> = calls
        .iter()
        .filter(|c| c.path.contains(&request.uid) && !c.path.contains(&ledger))
        .collect();
    assert!(about.is_empty(), "{about:?}");
    desk.carol
        .reviews_it(&request, ReviewDecision::Reject)
        .await;
    request.reaches(Phase::Revoked).await;
}

#[tokio::test]
async fn two_leaders_renew_and_revoke_once() {
    let env = private().await;
    let leads = |name| Controller {
        elect: false,
        ..Controller::new(&env, name)
    };
    let (left, right) = (leads("left-url"), leads("right-url"));
    let (mut left, mut right) = tokio::join!(left.start(), right.start());
    let desk = desk(&env, "two-url", &left.url).await;
    let request = released(&desk.alice, &desk.bob, &desk.carol, "two-url").await;
    let target = json!({"kind": "AirlockRequest", "name": request.name, "uid": request.uid});
    let (one, two, three) = tokio::join!(
        renews(&desk.alice, "Submitter", target.clone(), true),
        renews(&desk.bob, "Checker", target.clone(), true),
        renews(&desk.bob, "Checker", target.clone(), false),
    );
    counts(&desk.alice, &one.unwrap()).await;
    counts(&desk.bob, &two.unwrap()).await;
    counts(&desk.bob, &three.unwrap()).await;
    let issued = recorded(&env, &request).await;
    assert_eq!(issued.len(), 4, "one URL for each action");
    ready("one package, and the last URL works", PATIENCE, || async {
        let stored = env.release().keys(&request.releases()).await.len();
        (stored == 1 && answers(&issued[3].0).await == 200).then_some(())
    })
    .await;
    assert!(matches!(answers(&issued[0].0).await, 403 | 404));
    let revoke = acts(&desk.bob, &request, "Checker", "Revoke")
        .await
        .unwrap();
    request.reaches(Phase::Revoked).await;
    counts(&desk.bob, &revoke).await;
    ready("no Secret is left", PATIENCE, || async {
        let secrets: Api<Secret> = Api::namespaced(env.kube("admin").await, PROJECT);
        for (_, secret) in &issued {
            secrets
                .get_opt(secret)
                .await
                .unwrap()
                .is_none()
                .then_some(())?;
        }
        Some(())
    })
    .await;
    is_dead(&env, &request, &issued).await;
    the_ledger_says_who(&env, &request, "bob").await;
    assert!(left.runs() && right.runs());
}

#[tokio::test]
async fn without_a_cluster_a_release_is_revoked_from_the_buckets_alone() {
    let env = private().await;
    let setup = Controller::new(&env, "gone");
    let mut controller = setup.start().await;
    let desk = desk(&env, "gone-gateway", &controller.url).await;
    let request = released(&desk.alice, &desk.bob, &desk.carol, "gone").await;
    let draft = in_review(&desk.alice, "gone-draft").await;
    let issued = recorded(&env, &request).await;
    assert_eq!(answers(&issued[0].0).await, 200);
    controller.kill().await;
    let revoke = async |uid: &str| {
        command(&env, "controller")
            .env_remove("KUBECONFIG")
            .args([
                "release",
                "revoke",
                &format!("{PROJECT}/{uid}"),
                "--by",
                "olga",
            ])
            .args(["--reason", "the cluster burned"])
            .arg("--config")
            .arg(env.folder().join("controller.yaml"))
            .output()
            .await
            .unwrap()
    };
    for (uid, why) in [
        ("00000000-0000-0000-0000-000000000000", "no such request"),
        (draft.uid.as_str(), "nothing of it is released"),
    ] {
        let refused = revoke(uid).await;
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && said.contains(why), "{said}");
    }
    for _ in 0..2 {
        let done = revoke(&request.uid).await;
        let said = String::from_utf8(done.stdout).unwrap();
        assert!(done.status.success(), "{:?}", done.stderr);
        assert!(said.contains("revoked by olga"), "{said}");
        assert!(said.contains(&issued[0].1), "names the Secret: {said}");
    }
    let status = answers(&issued[0].0).await;
    assert!(matches!(status, 403 | 404), "{status}");
    let event = the_ledger_says_who(&env, &request, "olga").await;
    assert_eq!(event["detail"]["reason"], "the cluster burned");
    let answer = desk.alice.gets(&request, "release").await.expect(410);
    assert_eq!(answer.reason(), "Revoked");

    // Where the cluster is there after all, the next word on the release shows it.
    let _controller = setup.start().await;
    let late = acts(&desk.bob, &request, "Checker", "Revoke")
        .await
        .unwrap();
    is_refused(&desk.bob, &late, "AlreadyRevoked").await;
    request.reaches(Phase::Revoked).await;
    is_dead(&env, &request, &issued).await;
}
