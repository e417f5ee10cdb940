//! Who leads, who takes over, and that nothing depends on there being one leader.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::PostParams;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use serde_json::json;
use trevor_api::{AirlockAction, AirlockRequest, Phase};
use trevor_cluster::lease;

use crate::faults::{Desk, crossed_once, desk};
use crate::harness::{
    Answers, Controller, Env, Http, Keep, PATIENCE, Proxy, Receiver, Request, Spawned, private,
    ready, sha256,
};
use crate::notify::{comes, ids, secrets, webhook};

/// Where the operator of an environment keeps its Lease.
const OPERATOR: &str = "trevor-system";

async fn leads(controller: &Spawned) -> bool {
    let metrics = Http::default()
        .get(&format!("{}/metrics", controller.url))
        .await;
    String::from_utf8_lossy(&metrics.body).contains("\ntrevor_leader 1\n")
}

/// Who holds the Lease, by its name; nobody's is empty.
async fn holder(admin: &Client) -> String {
    let leases: Api<Lease> = Api::namespaced(admin.clone(), OPERATOR);
    let lease = leases.get(lease::NAME).await.unwrap();
    lease
        .spec
        .and_then(|s| s.holder_identity)
        .unwrap_or_default()
}

#[tokio::test]
async fn a_leader_that_stops_gives_the_lease_back_and_one_that_is_killed_is_followed() {
    let env = private().await;
    let admin = env.kube("admin").await;
    let (first, second) = (
        Controller::new(&env, "stops"),
        Controller::new(&env, "follows"),
    );
    let mut left = first.start().await;
    let mut right = second.follows().await;
    assert_eq!(holder(&admin).await, "stops");
    let began = Instant::now();
    left.signal("-TERM");
    ready("the other one leads", PATIENCE, || async {
        leads(&right).await.then_some(())
    })
    .await;
    let took = began.elapsed();
    println!("a leader that stops is followed after {took:?}");
    // A Lease that was not given back lives this long.
    assert!(took < lease::DURATION, "{took:?}");
    assert_eq!(left.ends().await, Some(0));
    assert_eq!(holder(&admin).await, "follows");

    let mut left = first.follows().await;
    let began = Instant::now();
    right.kill().await;
    ready("the other one leads", PATIENCE, || async {
        leads(&left).await.then_some(())
    })
    .await;
    println!(
        "a leader that is killed is followed after {:?}",
        began.elapsed()
    );
    left.signal("-TERM");
    assert_eq!(left.ends().await, Some(0));
    assert_eq!(holder(&admin).await, "");
}

/// Where the requests of a test stand, so that any later write shows.
async fn versions(requests: &[&Request]) -> Vec<String> {
    let mut found = Vec::new();
    for request in requests {
        found.push(request.live().await.metadata.resource_version.unwrap());
    }
    found
}

async fn is_revoked(person: &crate::harness::Person, request: &Request) {
    let action: AirlockAction = serde_json::from_value(json!({
        "apiVersion": "airlock.karectl.io/v1alpha1", "kind": "AirlockAction",
        "metadata": {"generateName": "revoke-"},
        "spec": {"target": {"kind": "AirlockRequest", "name": request.name, "uid": request.uid},
            "as": "Submitter", "action": "Revoke", "reason": "wrong cohort"},
    }))
    .unwrap();
    let actions: Api<AirlockAction> = Api::namespaced(person.kube.clone(), &person.project);
    actions
        .create(&PostParams::default(), &action)
        .await
        .unwrap();
    request.reaches(Phase::Revoked).await;
}

/// One leader is stopped in the middle of a release, for longer than its Lease lives;
/// what it had in hand arrives late, and it wakes to find that another one leads.
#[tokio::test]
async fn a_leader_that_was_paused_does_nothing_when_it_wakes() {
    let env = private().await;
    let proxy = Proxy::before(&env.variable("TREVOR_RELEASE_ENDPOINT")).await;
    let setup = Controller {
        release: Some(&proxy.url),
        ..Controller::new(&env, "paused")
    };
    let mut paused = setup.start().await;
    let right = Controller::new(&env, "awake").follows().await;
    let desk = desk(&env, "paused-gateway", &right.url).await;

    let revoked = desk.approved_once("paused-revoked", 1, 4096).await;
    desk.carol.approves(&revoked).await;
    revoked.reaches(Phase::Released).await;
    let reviewed = desk.approved_once("paused-reviewed", 1, 4096).await;
    let withdrawn = desk.approved_once("paused-withdrawn", 1, 4096).await;
    let released = desk.approved_once("paused-released", 2, 4096).await;
    // It has the upload in hand, and no answer.
    proxy.keeps(Keep::Instead, |call| {
        call.writes() && call.path.contains("/releases/")
    });
    desk.carol.approves(&released).await;
    ready("the package is on its way", PATIENCE, || async {
        (proxy.kept() > 0).then_some(())
    })
    .await;
    paused.signal("-STOP");
    ready("the other one leads", PATIENCE, || async {
        leads(&right).await.then_some(())
    })
    .await;

    crossed_once(&env, &released).await;
    desk.alice.withdraws(&withdrawn).await;
    withdrawn.reaches(Phase::Withdrawn).await;
    desk.carol.approves(&reviewed).await;
    crossed_once(&env, &reviewed).await;
    is_revoked(&desk.alice, &revoked).await;
    let all = [&released, &withdrawn, &reviewed, &revoked];
    let before = versions(&all).await;

    // An older attempt of the same release, which has no URL: it goes with the rest.
    let late = proxy.sends(proxy.sent_later()).await;
    println!("what it had in hand was answered late: {late:?}");
    proxy.keeps(Keep::Besides, |call| call.writes());
    paused.signal("-CONT");
    // It is awake when it answers, and it has had its time when another request,
    // which both see, has gone all the way.
    ready("it wakes, and leads no more", PATIENCE, || async {
        (!leads(&paused).await).then_some(())
    })
    .await;
    let after = desk.approved_once("paused-after", 1, 4096).await;
    desk.carol.approves(&after).await;
    crossed_once(&env, &after).await;
    assert_eq!(versions(&all).await, before);
    assert_eq!(proxy.kept(), 0, "it wrote to the release server");
    crossed_once(&env, &reviewed).await;
    let record = released.record().await;
    let package = record.spec.package.unwrap();
    let stored = env.release().get(&package.key).await;
    assert_eq!(sha256(&stored), package.sha256);
    for request in [&withdrawn, &revoked] {
        assert!(env.release().keys(&request.releases()).await.is_empty());
    }
    assert!(paused.runs());
}

/// Sees the phase of every request, as anybody who watches does.
fn phases(admin: Client) -> Arc<Mutex<BTreeMap<String, Vec<Phase>>>> {
    let seen: Arc<Mutex<BTreeMap<String, Vec<Phase>>>> = Arc::default();
    let kept = Arc::clone(&seen);
    let api: Api<AirlockRequest> = Api::all(admin);
    tokio::spawn(async move {
        let watch = watcher(api, watcher::Config::default()).applied_objects();
        let mut watch = std::pin::pin!(watch);
        while let Ok(Some(request)) = watch.try_next().await {
            let uid = request.metadata.uid.unwrap_or_default();
            if let Some(phase) = request.status.and_then(|s| s.phase) {
                kept.lock().unwrap().entry(uid).or_default().push(phase);
            }
        }
    });
    seen
}

const ORDER: [Phase; 6] = [
    Phase::Draft,
    Phase::Submitted,
    Phase::InReview,
    Phase::Approved,
    Phase::Releasing,
    Phase::Released,
];

fn never_goes_back(phases: &[Phase]) {
    let ranks: Vec<_> = phases
        .iter()
        .map(|p| {
            ORDER
                .iter()
                .position(|o| o == p)
                .expect("a phase on the way")
        })
        .collect();
    assert!(ranks.is_sorted(), "{phases:?}");
    assert_eq!(phases.last(), Some(&Phase::Released));
}

async fn goes_all_the_way(desk: &Desk) -> Request {
    let request = desk.approved_once("both", 1, 2048).await;
    desk.carol.approves(&request).await;
    request.reaches(Phase::Released).await;
    request
}

/// At once; as many as a small project has on a busy day.
const AT_ONCE: usize = 8;

async fn both_lead(count: usize) {
    let turn = private().await;
    let env: &Env = &turn;
    let receiver = Receiver::new(Answers::Takes).await;
    let both = |name| Controller {
        elect: false,
        notifications: Some(json!({"allowed_hosts": ["127.0.0.1"],
            "channels": [webhook("desk", &receiver.url())]})),
        variables: secrets(&["desk"]),
        ..Controller::new(env, name)
    };
    let (one, other) = (both("one-leader"), both("other-leader"));
    let (mut one, mut other) = tokio::join!(one.start(), other.start());
    let seen = phases(env.kube("admin").await);
    let desk = &desk(env, "both-gateway", &one.url).await;
    let began = Instant::now();
    let requests: Vec<Request> = futures::stream::iter(0..count)
        .map(|_| goes_all_the_way(desk))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    println!("{count} requests in {:?}", began.elapsed());
    let expected = [
        "r1-submitted",
        "r1-review-wanted",
        "r1-approved",
        "r1-released",
    ];
    for request in &requests {
        crossed_once(env, request).await;
        for what in expected {
            comes(&receiver, request, what).await;
        }
        let told = ids(&receiver.got(), request);
        let told: BTreeSet<&str> = told.keys().map(String::as_str).collect();
        assert_eq!(told, expected.into(), "one id for each event");
        let name = request.uid.clone();
        let phases = ready("the watch has seen it", PATIENCE, || async {
            let all = seen.lock().unwrap();
            let phases = all.get(&name)?;
            (phases.last() == Some(&Phase::Released)).then(|| phases.clone())
        })
        .await;
        never_goes_back(&phases);
    }
    let conflicts = receiver.got().len() - requests.len() * expected.len();
    println!("{conflicts} messages came twice");
    assert!(one.runs() && other.runs());
}

#[tokio::test]
async fn two_that_both_believe_they_lead_release_each_request_once() {
    both_lead(40).await;
}

#[tokio::test]
#[ignore = "long"]
async fn two_that_both_believe_they_lead_release_two_hundred_requests_once_each() {
    both_lead(200).await;
}
