//! The sweeper of a controller: killed, twice at once, beside another cluster, on facts
//! that are corrupt or forged, and on very many objects.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{Event, Namespace};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde_json::json;
use trevor_api::{Phase, ReleasePhase};

use crate::check::check;
use crate::closed::{Closed, in_seconds};
use crate::faults::desk;
use crate::harness::{Controller, Env, PATIENCE, PROJECT, private, ready, unique};

const LONG: Duration = Duration::from_secs(180);

async fn cluster(env: &Env) -> String {
    let namespaces: Api<Namespace> = Api::all(env.kube("admin").await);
    namespaces.get("kube-system").await.unwrap().uid().unwrap()
}

/// Deletes slowly, so that there is a time in between.
fn slowly(per_second: u32) -> Vec<(&'static str, serde_json::Value)> {
    vec![(
        "/controller/retention",
        json!({"deletes_per_second": per_second, "look_seconds": 1}),
    )]
}

/// The receipt has the totals of the plan, and the ledger has it once.
async fn went_once(case: &Closed, files: u64) {
    let receipt = case.receipt().await.unwrap();
    let totals =
        ["objects", "versions", "bytes", "remaining"].map(|f| receipt[f].as_u64().unwrap());
    assert_eq!(totals, [files, files, files * 100, 0], "{receipt}");
    assert_eq!(case.events("Deleted").await.len(), 1);
}

#[tokio::test]
async fn a_controller_killed_again_and_again_while_it_deletes_ends_with_one_receipt_each() {
    let env = private().await;
    let ours = cluster(&env).await;
    let setup = Controller {
        window_seconds: Some(15),
        settings: slowly(500),
        elect: false,
        ..Controller::new(&env, "killed-sweeper")
    };
    let mut controller = setup.start().await;
    let desk = desk(&env, "killed-sweeper-desk", &controller.url).await;
    let request = crate::revoke::released(&desk.alice, &desk.bob, &desk.carol, "swept").await;
    controller.kill().await;
    let sizes = [1500, 2500, 40];
    let mut cases = Vec::new();
    for files in sizes {
        let case = Closed::of(&env, &ours, -60, files).await;
        case.ticket(-60).await;
        cases.push(case);
    }
    let left = || async {
        let mut left = 0;
        for case in &cases {
            left += case.files().await;
        }
        left
    };
    let (mut kills, mut inside) = (0, 0);
    let mut seen = left().await;
    // Killed as soon as something went, and just after it began.
    while kills < 12 && seen > 0 {
        let mut running = setup.launch();
        let pause = Duration::from_millis(400 + 137 * kills);
        let began = std::time::Instant::now();
        while left().await == seen && began.elapsed() < Duration::from_secs(8) {
            assert!(running.runs());
        }
        tokio::time::sleep(pause / 4).await;
        running.kill().await;
        let now = left().await;
        inside += usize::from(now > 0 && now < seen);
        (kills, seen) = (kills + 1, now);
    }
    println!("{kills} kills, {inside} of them with something gone and something left");
    assert!(
        inside >= 3,
        "{inside} of {kills} kills were inside a deletion"
    );
    let controller = setup.start().await;
    for (case, files) in cases.iter().zip(sizes) {
        case.goes(LONG).await;
        went_once(case, files).await;
    }
    ready("Deleted", PATIENCE, || async {
        let status = request.record().await.status?;
        (status.phase == Some(ReleasePhase::Deleted)).then_some(())
    })
    .await;
    assert!(env.release().keys(&request.releases()).await.is_empty());
    assert_eq!(
        controller.metric("trevor_retention_failures_total").await,
        Some(0.0)
    );
}

#[tokio::test]
async fn two_that_believe_to_lead_delete_once_and_a_second_cluster_is_left_alone() {
    let env = private().await;
    let ours = cluster(&env).await;
    let [first, second] = ["sweeper-1", "sweeper-2"].map(|name| Controller {
        settings: slowly(2000),
        elect: false,
        ..Controller::new(&env, name)
    });
    let (first, second) = tokio::join!(first.start(), second.start());
    let mut cases = Vec::new();
    let mut theirs = Vec::new();
    for files in [1200, 3, 3, 3, 800] {
        cases.push((Closed::of(&env, &ours, -60, files).await, files));
        theirs.push(Closed::of(&env, &unique("cluster"), -60, 3).await);
    }
    // Not closed, without a resource: an orphan, and nobody's to delete.
    let orphan = Closed::of(&env, &theirs[0].cluster, -60, 3).await;
    orphan
        .inside
        .delete(&format!("{}closed.json", orphan.prefix()))
        .await;
    let mut tickets = Vec::new();
    for (case, _) in &cases {
        case.ticket(-60).await;
    }
    for case in &theirs {
        tickets.push(case.ticket(-60).await);
    }
    for (case, files) in &cases {
        case.goes(LONG).await;
        went_once(case, *files).await;
    }
    for process in [&first, &second] {
        assert_eq!(
            process.metric("trevor_retention_failures_total").await,
            Some(0.0)
        );
        assert_eq!(
            process.metric("trevor_retention_tickets_refused").await,
            Some(0.0)
        );
    }
    for (case, ticket) in theirs.iter().zip(&tickets) {
        assert_eq!((case.files().await, case.receipt().await), (3, None));
        assert!(case.inside.find(ticket).await.is_some());
        case.inside.delete(ticket).await;
    }
    assert_eq!(orphan.files().await, 3);
    assert!(
        orphan
            .inside
            .find(&format!("{}closed.json", orphan.prefix()))
            .await
            .is_none()
    );
}

#[tokio::test]
async fn a_leader_that_was_paused_while_it_deleted_stops_when_another_leads() {
    let env = private().await;
    let ours = cluster(&env).await;
    let [first, second] = ["paused-1", "paused-2"].map(|name| Controller {
        settings: slowly(300),
        ..Controller::new(&env, name)
    });
    let first = first.start().await;
    let case = Closed::of(&env, &ours, -60, 3000).await;
    case.ticket(-60).await;
    ready("some are gone", PATIENCE, || async {
        (case.files().await < 3000).then_some(())
    })
    .await;
    first.signal("-STOP");
    let second = second.start().await;
    case.goes(LONG).await;
    first.signal("-CONT");
    ready("it leads no more", PATIENCE, || async {
        (first.metric("trevor_leader").await == Some(0.0)).then_some(())
    })
    .await;
    went_once(&case, 3000).await;
    assert_eq!(second.metric("trevor_leader").await, Some(1.0));
}

#[tokio::test]
async fn corrupt_and_forged_facts_are_named_and_delete_nothing_and_others_proceed() {
    let env = private().await;
    let ours = cluster(&env).await;
    let setup = Controller {
        settings: slowly(1000),
        ..Controller::new(&env, "corrupt")
    };
    let mut controller = setup.start().await;
    let desk = desk(&env, "corrupt-desk", &controller.url).await;
    let spec = json!({"direction": "Egress", "title": "Open"});
    let open = desk.alice.creates("forged", spec.clone()).await;
    desk.alice.uploads(&open, "a.csv", "1").await;
    let torn = desk.alice.creates("torn", spec).await;
    desk.alice.uploads(&torn, "a.csv", "1").await;
    torn.reaches(Phase::Draft).await;
    let inside = env.quarantine();
    let mut litter = Vec::new();
    // A ticket for a request that is open; one whose body is torn.
    let due = in_seconds(-60);
    let body = |ns: &str, uid: &str| {
        json!({"namespace": ns, "uid": uid, "what": "quarantine", "due": due}).to_string()
    };
    for (name, body) in [
        (
            format!("{due}/{}-quarantine.json", open.uid),
            body(PROJECT, &open.uid),
        ),
        (
            format!("{due}/{}-quarantine.json", torn.uid),
            "{".to_owned(),
        ),
        (
            format!("{due}/{}-staging.json", open.uid),
            body("project-b", &open.uid),
        ),
        (format!("{due}/..-quarantine.json"), body(PROJECT, "..")),
        (
            format!("{due}/{}-release.json", unique("u")),
            body(PROJECT, "../../records"),
        ),
        // It would sort first, and hide all the others.
        (
            "+002100-01-01T00:00:00Z/u-quarantine.json".to_owned(),
            body(PROJECT, "u"),
        ),
    ] {
        let key = format!("work/retention/{name}");
        inside.put(&key, body.as_bytes()).await;
        litter.push(key);
    }
    let mut bad = Vec::new();
    for fact in [
        "owner.json",
        "closed.json",
        "revoked.json",
        "deleted/quarantine.plan.json",
    ] {
        let case = Closed::of(&env, &ours, -60, 3).await;
        case.inside
            .put(&format!("{}{fact}", case.prefix()), b"{torn")
            .await;
        litter.push(case.ticket(-60).await);
        bad.push((fact, case));
    }
    // Found only after the files went, as they were to: the receipt and the ledger.
    let (receipt, ledger) = (
        Closed::of(&env, &ours, -60, 3).await,
        Closed::of(&env, &ours, -60, 3).await,
    );
    receipt
        .stores("deleted/quarantine.json", &json!("torn"))
        .await;
    let entry = format!("audit/requests/{PROJECT}/{}/{:020}.json", ledger.uid, 1);
    inside.put(&entry, b"{torn").await;
    litter.push(receipt.ticket(-60).await);
    litter.push(ledger.ticket(-60).await);
    let good = Closed::of(&env, &ours, -50, 3).await;
    good.ticket(-50).await;
    good.goes(PATIENCE).await;

    let (failing, refused) = (
        "trevor_retention_failing",
        "trevor_retention_tickets_refused",
    );
    ready("six fail, and five are refused", PATIENCE, || async {
        let numbers = (
            controller.metric(failing).await?,
            controller.metric(refused).await?,
        );
        (numbers == (6.0, 5.0)).then_some(())
    })
    .await;
    for (fact, case) in &bad {
        assert_eq!(
            (case.files().await, case.receipt().await),
            (3, None),
            "{fact}"
        );
    }
    for request in [&open, &torn] {
        let files = format!("{}files/", request.prefix());
        assert_eq!(inside.keys(&files).await.len(), 1);
        assert_eq!(request.status().await.phase, Some(Phase::Draft));
    }
    for key in &litter {
        assert!(inside.find(key).await.is_some(), "{key} stays");
    }
    // Named in the log; and on the request, where there is one.
    let log = env.folder().join("log/corrupt.log");
    let log = std::fs::read_to_string(log).unwrap();
    for key in &litter {
        let open = key.contains(&open.uid) && key.contains("-quarantine");
        assert!(open || log.contains(key.as_str()), "{key} is in the log");
    }
    let events: Api<Event> = Api::namespaced(env.kube("admin").await, PROJECT);
    for request in [&open, &torn] {
        let about = format!("involvedObject.name={},reason=TicketRefused", request.name);
        ready("an Event", PATIENCE, || async {
            let found = events
                .list(&ListParams::default().fields(&about))
                .await
                .unwrap();
            (!found.items.is_empty()).then_some(())
        })
        .await;
    }
    assert!(controller.runs());
    // What is put right goes by itself.
    for (fact, case) in &bad {
        let key = format!("{}{fact}", case.prefix());
        match *fact {
            "owner.json" => case.owner(&ours).await,
            "closed.json" => {
                let closed = json!({
                    "closedAs": "Withdrawn", "round": 1, "time": in_seconds(-86_400 * 91), "quarantineDue": in_seconds(-60),
                    "policy": {"name": "p", "digest": "0".repeat(64)},
                });
                case.stores(fact, &closed).await;
            }
            _ => inside.delete(&key).await,
        }
    }
    for key in litter {
        if !bad.iter().any(|(_, case)| key.contains(&case.uid)) {
            inside.delete(&key).await;
        }
    }
    for (_, case) in &bad {
        case.goes(LONG).await;
    }
    desk.alice.withdraws(&open).await;
    desk.alice.withdraws(&torn).await;
    open.reaches(Phase::Withdrawn).await;
    torn.reaches(Phase::Withdrawn).await;
}

#[tokio::test]
async fn a_hold_between_two_batches_stops_the_rest_and_a_lift_resumes() {
    let env = private().await;
    let ours = cluster(&env).await;
    let controller = Controller {
        settings: slowly(150),
        ..Controller::new(&env, "between")
    };
    let controller = controller.start().await;
    let case = Closed::of(&env, &ours, -60, 2500).await;
    let ticket = case.ticket(-60).await;
    ready("the first batch is gone", PATIENCE, || async {
        (case.files().await < 2500).then_some(())
    })
    .await;
    let named = format!("{PROJECT}/{}", case.uid);
    case.trevor(&["hold", &named, "--reason", "a dispute", "--by", "olga"])
        .await;
    ready("held", PATIENCE, || async {
        (controller.metric("trevor_retention_held").await == Some(1.0)).then_some(())
    })
    .await;
    let left = case.files().await;
    assert!(left > 0 && left < 2500, "{left}");
    assert!(case.receipt().await.is_none() && case.inside.find(&ticket).await.is_some());
    case.trevor(&["lift", &named, "--reason", "settled", "--by", "olga"])
        .await;
    case.goes(LONG).await;
    went_once(&case, 2500).await;
    assert_eq!(
        (
            case.events("Held").await.len(),
            case.events("HoldLifted").await.len()
        ),
        (1, 1)
    );
}

#[tokio::test]
async fn what_is_due_and_lost_its_ticket_gets_it_again_and_of_another_cluster_does_not() {
    let env = private().await;
    let ours = cluster(&env).await;
    let controller = Controller {
        settings: vec![(
            "/controller/retention",
            json!({"look_seconds": 1, "orphans_seconds": 1}),
        )],
        ..Controller::new(&env, "lost")
    };
    let theirs = Closed::of(&env, &unique("cluster"), -7200, 3).await;
    let young = Closed::of(&env, &ours, 3600, 3).await;
    let lost = Closed::of(&env, &ours, -7200, 3).await;
    let _controller = controller.start().await;
    lost.goes(LONG).await;
    went_once(&lost, 3).await;
    for case in [&theirs, &young] {
        assert_eq!((case.files().await, case.receipt().await), (3, None));
    }
    let tickets = theirs.inside.keys("work/retention/").await;
    assert!(!tickets.iter().any(|key| key.contains(&theirs.uid)));
}

#[tokio::test]
async fn files_of_a_cluster_that_is_gone_are_counted_named_and_taken_over_by_one_command() {
    let env = private().await;
    let gone = unique("cluster");
    let due = Closed::of(&env, &gone, -7200, 3).await;
    due.ticket(-7200).await;
    let open = Closed::of(&env, &gone, -7200, 3).await;
    let closing = format!("{}closed.json", open.prefix());
    open.inside.delete(&closing).await;
    let setup = Controller {
        elect: false,
        settings: vec![("/controller/retention", json!({"look_seconds": 1}))],
        ..Controller::new(&env, "heir")
    };
    let controller = setup.start().await;
    ready("what nobody deletes is counted", PATIENCE, || async {
        let counted = controller.metric("trevor_retention_abandoned").await?;
        (counted >= 1.0).then_some(())
    })
    .await;
    assert_eq!(due.files().await, 3);
    let others = async || {
        let (_, rows) = check(&env, "controller", &[], |_| {}).await;
        let row = rows
            .into_iter()
            .find(|row| row["check"] == "other clusters");
        let row = row.unwrap();
        (
            row["state"].clone(),
            row["detail"].as_str().unwrap().to_owned(),
        )
    };
    let (state, said) = others().await;
    assert_eq!(state, "Warning", "{said}");
    let what = format!("trevor retention take-over --cluster {gone} --cluster-gone");
    assert!(said.contains(&what), "{said}");

    let take = [
        "take-over",
        "--cluster",
        &gone,
        "--cluster-gone",
        "--by",
        "olga",
    ];
    let said = due.trevor(&take).await;
    assert!(said.contains("1 of its requests were open"), "{said}");
    due.goes(LONG).await;
    went_once(&due, 3).await;
    // What was open has its whole time before it.
    let closed = open.inside.json(&closing).await;
    assert_eq!(closed["closedAs"], "Withdrawn");
    assert_eq!(open.files().await, 3);
    let (_, said) = others().await;
    assert!(!said.contains(&gone), "{said}");
}

/// So many objects of so many requests and of one more, at once; the memory of the
/// controller stays within a bound.
async fn drain(requests: u64, each: u64, one: u64, patience: Duration) {
    let env = private().await;
    let ours = cluster(&env).await;
    let controller = Controller {
        settings: vec![(
            "/controller/retention",
            json!({"deletes_per_second": 100_000, "deletes_per_sweep": (requests * each + one) / 4, "look_seconds": 1}),
        )],
        ..Controller::new(&env, "drain")
    };
    let make = |files: u64| {
        let (env, ours) = (&*env, &ours);
        async move { Closed::of(env, ours, -60, files).await }
    };
    let mut cases: Vec<Closed> = stream::iter(0..requests)
        .map(|_| make(each))
        .buffer_unordered(8)
        .collect()
        .await;
    cases.push(make(one).await);
    let controller = controller.start().await;
    let before = controller.peak_memory() >> 20;
    let began = std::time::Instant::now();
    stream::iter(&cases)
        .for_each_concurrent(8, |case| async { drop(case.ticket(-60).await) })
        .await;
    ready("all are gone", patience, || async {
        let done = controller
            .metric("trevor_retention_deletions_total")
            .await?;
        (done >= cases.len() as f64).then_some(())
    })
    .await;
    let (took, peak) = (
        began.elapsed().as_secs_f64(),
        controller.peak_memory() >> 20,
    );
    println!(
        "{} objects of {} requests: {took:.1} s, {before} MiB before and {peak} MiB at most",
        requests * each + one,
        requests + 1
    );
    for (case, files) in [(&cases[0], each), (&cases[cases.len() - 1], one)] {
        case.goes(PATIENCE).await;
        went_once(case, files).await;
    }
    for case in &cases {
        assert_eq!(case.files().await, 0);
    }
    assert!(peak <= before + 48, "{before} MiB, and then {peak} MiB");
}

#[tokio::test]
async fn two_thousand_objects_that_are_due_at_once_drain_in_bounded_memory() {
    drain(50, 10, 1500, LONG).await;
}

#[tokio::test]
#[ignore = "100,000 objects; make test-long"]
async fn a_hundred_thousand_objects_that_are_due_at_once_drain_in_bounded_memory() {
    drain(2000, 25, 50_000, Duration::from_secs(3000)).await;
}
