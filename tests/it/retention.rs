//! Files go when the closing facts say so, with a receipt, and never before: each
//! case is its own cluster's, so that only the sweep of this test takes it up.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::closed::Closed;
use crate::harness::{PROJECT, command};

#[tokio::test]
async fn what_is_due_goes_once_with_plan_receipt_and_ledger_and_two_sweepers_agree() {
    let case = Closed::due_in(-60).await;
    let upload = case
        .inside
        .client
        .create_multipart_upload()
        .bucket(&case.inside.bucket)
        .key(format!("{}files/open", case.prefix()))
        .send()
        .await;
    upload.unwrap();
    let ticket = case.ticket(-60).await;
    tokio::join!(case.sweep(), case.sweep());
    assert_eq!(case.files().await, 0);
    assert!(case.inside.open_uploads(&case.prefix()).await.is_empty());
    assert!(
        case.inside.find(&ticket).await.is_none(),
        "the ticket goes last"
    );
    let below = |name: &str| format!("{}{name}", case.prefix());
    let receipt = case.inside.json(&below("deleted/quarantine.json")).await;
    let plan = case
        .inside
        .json(&below("deleted/quarantine.plan.json"))
        .await;
    for (field, wanted) in [
        ("what", json!("quarantine")),
        ("objects", json!(3)),
        ("versions", json!(3)),
        ("bytes", json!(300)),
        ("uploads", json!(1)),
        ("remaining", json!(0)),
        ("prefix", json!(below("files/"))),
        ("bucket", json!(case.inside.bucket)),
    ] {
        assert_eq!(receipt[field], wanted, "{field}: {receipt}");
        assert!(
            field == "remaining" || plan[field] == wanted,
            "{field}: {plan}"
        );
    }
    assert_eq!(case.events("Deleted").await.len(), 1);
    // Facts stay.
    assert!(
        case.inside
            .find(&below("receipts/x/1.json"))
            .await
            .is_some()
    );
    // A ticket that comes back finds it done.
    case.ticket(-60).await;
    case.sweep().await;
    assert_eq!(case.events("Deleted").await.len(), 1);
    assert_eq!(
        case.inside.json(&below("deleted/quarantine.json")).await,
        receipt
    );
}

#[tokio::test]
async fn an_early_ticket_deletes_nothing_and_is_put_right() {
    let case = Closed::due_in(3600).await;
    let ticket = case.ticket(-60).await;
    case.sweep().await;
    assert_eq!(case.files().await, 3);
    assert!(case.inside.find(&ticket).await.is_none());
    let all = case.inside.keys("work/retention/").await;
    assert!(
        all.iter().any(|key| key.contains(&case.uid)),
        "one at the right time"
    );
    assert!(case.events("Deleted").await.is_empty());
}

#[tokio::test]
async fn a_corrupt_ticket_or_one_of_nobody_deletes_nothing_and_stops_nobody_else() {
    let (corrupt, unknown, foreign) = (
        Closed::due_in(-60).await,
        Closed::due_in(-60).await,
        Closed::due_in(-60).await,
    );
    let good = Closed {
        cluster: corrupt.cluster.clone(),
        ..Closed::due_in(-50).await
    };
    good.owner(&corrupt.cluster).await;
    let key = corrupt.ticket(-60).await;
    corrupt.inside.put(&key, b"{not json").await;
    let owner = format!("{}owner.json", unknown.prefix());
    let of_nobody = unknown.ticket(-60).await;
    unknown.inside.delete(&owner).await;
    let theirs = foreign.ticket(-60).await;
    good.ticket(-50).await;
    let said = good.sweep().await;
    assert!(said.contains(&key) && said.contains(&of_nobody), "{said}");
    assert!(!said.contains(&theirs), "{said}");
    for case in [&corrupt, &unknown, &foreign] {
        assert_eq!(case.files().await, 3);
    }
    assert_eq!(good.files().await, 0);
    for key in [key, of_nobody, theirs] {
        assert!(corrupt.inside.find(&key).await.is_some(), "{key} stays");
        corrupt.inside.delete(&key).await;
    }
}

#[tokio::test]
async fn a_hold_stops_what_is_due_until_it_is_lifted_and_the_ledger_has_both() {
    let case = Closed::due_in(-60).await;
    let ticket = case.ticket(-60).await;
    let named = format!("{PROJECT}/{}", case.uid);
    case.trevor(&["hold", &named, "--reason", "a dispute", "--by", "olga"])
        .await;
    case.sweep().await;
    assert_eq!(case.files().await, 3);
    assert!(
        case.inside.find(&ticket).await.is_some(),
        "its ticket stays"
    );
    case.trevor(&["lift", &named, "--reason", "settled", "--by", "olga"])
        .await;
    case.sweep().await;
    assert_eq!(case.files().await, 0);
    assert!(case.inside.find(&ticket).await.is_none());
    let held = case.events("Held").await;
    assert_eq!((held.len(), &held[0]["actor"]), (1, &json!("olga")));
    assert_eq!(case.events("HoldLifted").await.len(), 1);
}

#[tokio::test]
async fn a_hold_that_cannot_be_read_is_a_hold() {
    let case = Closed::due_in(-60).await;
    let ticket = case.ticket(-60).await;
    let word = format!("work/holds/{}/1.json", case.uid);
    case.inside.put(&word, b"?").await;
    let config = case.env.folder().join("controller.yaml");
    let mut sweep = command(&case.env, "controller");
    sweep
        .args(["retention", "sweep", "--cluster", &case.cluster, "--config"])
        .arg(config);
    assert!(!sweep.output().await.unwrap().status.success());
    assert_eq!(case.files().await, 3);
    case.inside.delete(&word).await;
    case.sweep().await;
    assert_eq!(case.files().await, 0);
    assert!(case.inside.find(&ticket).await.is_none());
}

#[tokio::test]
async fn what_nobody_closes_is_adopted_and_goes_after_its_time() {
    let case = Closed::due_in(-60).await;
    case.inside
        .delete(&format!("{}closed.json", case.prefix()))
        .await;
    let ticket = case.ticket(-60).await;
    case.sweep().await;
    assert_eq!(
        case.files().await,
        3,
        "an open request has nothing that is due"
    );
    let named = format!("{PROJECT}/{}", case.uid);
    let orphans = ["orphans", "--cluster", &case.cluster];
    let listed = case.trevor(&orphans).await;
    assert_eq!(listed.lines().next(), Some(named.as_str()), "{listed}");
    let of_another = case.trevor(&["orphans", "--cluster", "another"]).await;
    assert!(!of_another.contains(&case.uid), "{of_another}");
    // A cluster that is there has no such request, and is not its cluster.
    let here = case.trevor(&["orphans"]).await;
    assert!(!here.contains(&case.uid), "{here}");
    case.trevor(&["adopt", &named, "--cluster-gone"]).await;
    let left = case.trevor(&orphans).await;
    assert!(left.starts_with("0 requests"), "{left}");
    let closed = case
        .inside
        .json(&format!("{}closed.json", case.prefix()))
        .await;
    assert_eq!(closed["closedAs"], "Withdrawn");
    let due: Timestamp = closed["quarantineDue"].as_str().unwrap().parse().unwrap();
    assert!(due > Timestamp::now() + SignedDuration::from_hours(24 * 89));
    case.sweep().await;
    assert_eq!(case.files().await, 3);
    assert!(case.inside.find(&ticket).await.is_none(), "it is put right");
    let again = case.trevor(&["adopt", &named, "--cluster-gone"]).await;
    assert!(again.contains("was closed before"), "{again}");
    assert_eq!(case.events("Adopted").await.len(), 1);
}
