//! Files that went early, stayed long, or are not where they must be.

use serde_json::{Value, json};

use super::{Kind, LATER, Made, first};

const SOON: &str = "1971-01-01T01:00:00Z";
const MUCH_LATER: &str = "1972-01-01T00:00:00Z";

fn receipt(what: &str, (due, started, finished): (&str, &str, &str), remaining: u64) -> Value {
    json!({"what": what, "due": due, "started": started, "finished": finished, "prefix": "p",
        "bucket": "b", "objects": 1, "versions": 1, "bytes": 1, "uploads": 0, "remaining": remaining})
}

fn hold(sequence: i64, state: &str, time: &str) -> Value {
    json!({"sequence": sequence, "state": state, "by": "olga", "time": time})
}

/// One request that was released, with receipts and holds.
struct Case {
    made: Made,
}

impl Case {
    fn new() -> Self {
        let mut made = Made::new(6, 1);
        made.whole = false;
        Self { made }
    }

    /// The same, with its files and its package at hand.
    fn whole() -> Self {
        Self {
            made: Made::new(6, 1),
        }
    }

    fn receipt(self, what: &str, times: (&str, &str, &str), remaining: u64) -> Self {
        let at = format!("{}deleted/{what}.json", first().prefix());
        self.made.put(&at, &receipt(what, times, remaining));
        self
    }

    fn holds(self, words: &[(&str, &str)]) -> Self {
        for (sequence, (state, time)) in (1..).zip(words) {
            let at = first().hold(sequence);
            self.made.put(&at, &hold(sequence, state, time));
        }
        self
    }

    fn revoked(self, time: &str) -> Self {
        let fact = json!({"by": "bob", "through": {"kind": "Action", "name": "n", "uid": "u"}, "time": time});
        self.made.put(&first().revoked(), &fact);
        self
    }

    fn without(self, key: &str) -> Self {
        std::fs::remove_file(self.made.path(key)).unwrap();
        self
    }

    async fn found(&self, now: &str) -> Vec<Kind> {
        let (found, _) = self.made.asked(&[&self.made.keys[0]], &[], now).await;
        found.into_iter().map(|finding| finding.kind).collect()
    }
}

const BEFORE: &str = "1970-12-31T23:59:59Z";

#[tokio::test]
async fn receipts_are_compared_with_due_times() {
    let times = (LATER, LATER, SOON);
    for (quarantine, remaining, wanted) in [
        (times, 0, &[][..]),
        ((LATER, BEFORE, SOON), 0, &[Kind::DeletedEarly]),
        ((LATER, LATER, MUCH_LATER), 0, &[Kind::KeptTooLong]),
        (times, 2, &[Kind::DeletionIncomplete]),
        ((SOON, SOON, SOON), 0, &[Kind::LedgerDiffers]),
    ] {
        let case = Case::new()
            .receipt("quarantine", quarantine, remaining)
            .receipt("release", times, 0);
        assert_eq!(case.found(MUCH_LATER).await, wanted, "{quarantine:?}");
    }
    // Neither was deleted.
    let kinds = Case::new().found(MUCH_LATER).await;
    assert_eq!(kinds, [Kind::KeptTooLong, Kind::KeptTooLong]);
}

#[tokio::test]
async fn a_hold_explains_the_time_that_it_stood_and_no_other() {
    let kept = [Kind::KeptTooLong, Kind::KeptTooLong];
    for (words, wanted) in [
        (&[("Held", BEFORE)][..], &[][..]),
        (&[("Held", "1971-01-01T20:00:00Z")], &[]),
        // Too late, lifted long ago, or for another time.
        (&[("Held", "1971-02-01T00:00:00Z")], &kept),
        (
            &[("Held", BEFORE), ("Lifted", "1971-02-01T00:00:00Z")],
            &kept,
        ),
        (
            &[
                ("Held", "1970-06-01T00:00:00Z"),
                ("Lifted", "1970-07-01T00:00:00Z"),
            ],
            &kept,
        ),
        // Lifted a moment ago.
        (&[("Held", BEFORE), ("Lifted", "1971-12-31T20:00:00Z")], &[]),
    ] {
        let mut found = Case::new().holds(words).found(MUCH_LATER).await;
        // The ledger of the example has no holds: it must have the older ones.
        found.retain(|kind| *kind != Kind::NotInLedger);
        assert_eq!(found, wanted, "{words:?}");
    }
    // What went while it stood.
    let gone = (LATER, LATER, "1971-01-02T12:00:00Z");
    let case = Case::new()
        .holds(&[("Held", "1971-01-01T12:00:00Z")])
        .receipt("quarantine", gone, 0)
        .receipt("release", (LATER, LATER, SOON), 0);
    assert_eq!(case.found(MUCH_LATER).await, [Kind::DeletedEarly]);
    // By a second, too; and not what went before it was asked for.
    for (asked, wanted) in [
        ("1971-01-01T00:59:59Z", &[Kind::DeletedEarly; 2][..]),
        ("1971-01-01T01:00:00Z", &[]),
        ("1971-01-01T01:00:01Z", &[]),
    ] {
        let case = Case::new()
            .holds(&[("Held", asked)])
            .receipt("quarantine", (LATER, LATER, SOON), 0)
            .receipt("release", (LATER, LATER, SOON), 0);
        let mut found = case.found(MUCH_LATER).await;
        found.retain(|kind| *kind != Kind::NotInLedger);
        assert_eq!(found, wanted, "{asked}");
    }
    // A hold that nobody can read is one, and is told.
    let case = Case::new();
    case.made.put_bytes(&first().hold(1), b"?");
    assert_eq!(case.found(MUCH_LATER).await, [Kind::Corrupt]);
}

#[tokio::test]
async fn what_was_revoked_may_go_at_once_and_needs_no_receipt() {
    let revoked = "1970-06-01T00:00:00Z";
    let case = Case::new().revoked(revoked);
    let gone = (LATER, LATER, SOON);
    let case = case.receipt("quarantine", gone, 0);
    assert_eq!(
        case.found(MUCH_LATER).await,
        [Kind::NotInLedger],
        "the revocation"
    );
    // The sweeper comes by at the end of the window, or at once.
    for times in [(revoked, LATER, SOON), (revoked, revoked, revoked)] {
        let case = Case::new().revoked(revoked);
        let case = case
            .receipt("quarantine", gone, 0)
            .receipt("release", times, 0);
        let mut found = case.found(MUCH_LATER).await;
        // The receipt is older than the last checkpoint, and the ledger has nothing of it.
        found.retain(|kind| *kind != Kind::NotInLedger);
        assert_eq!(found, [], "{times:?}");
    }
    let early = "1970-05-01T00:00:00Z";
    let case = Case::new()
        .revoked(revoked)
        .receipt("release", (revoked, early, revoked), 0);
    assert!(case.found(LATER).await.contains(&Kind::DeletedEarly));
}

#[tokio::test]
async fn files_and_packages_that_must_be_there_are_missed() {
    let key = first();
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(Case::whole().made.path(&key.manifest(1))).unwrap())
            .unwrap();
    let file = manifest["files"][0]["key"].as_str().unwrap().to_owned();
    let package = format!("releases/{}/{}/n/p.zip", key.namespace, key.uid);
    assert_eq!(Case::whole().found(BEFORE).await, []);
    assert_eq!(
        Case::whole().without(&file).found(BEFORE).await,
        [Kind::DeletedEarly]
    );
    assert_eq!(
        Case::whole().without(&package).found(BEFORE).await,
        [Kind::DeletedEarly]
    );
    // Due, and on hold ever since: both must be there still.
    let held = || Case::whole().holds(&[("Held", BEFORE)]);
    assert_eq!(held().found(MUCH_LATER).await, []);
    assert_eq!(
        held().without(&file).found(MUCH_LATER).await,
        [Kind::DeletedEarly]
    );
    assert_eq!(
        held().without(&package).found(MUCH_LATER).await,
        [Kind::DeletedEarly]
    );
    // Where nobody gave them, nothing is said of them, and that is said.
    let case = Case::new();
    let (found, summary) = case.made.asked(&[&case.made.keys[0]], &[], BEFORE).await;
    assert_eq!((found.len(), summary.not_looked_at.len()), (0, 2));
}

#[tokio::test]
async fn what_is_there_although_it_went_or_crossed_without_a_decision_is_found() {
    let key = first();
    let case = Case::whole()
        .receipt("quarantine", (LATER, LATER, SOON), 0)
        .receipt("release", (LATER, LATER, SOON), 0);
    let both = [Kind::DeletionIncomplete, Kind::DeletionIncomplete];
    assert_eq!(case.found(SOON).await, both);
    let case = Case::whole().revoked("1970-06-01T00:00:00Z");
    assert!(case.found(BEFORE).await.contains(&Kind::KeptTooLong));
    for (at, wanted) in [
        (
            format!("releases/{}/{}/x/p.zip", key.namespace, key.uid),
            Kind::Unexpected,
        ),
        ("releases/a/nobody/n/p.zip".to_owned(), Kind::Unexpected),
    ] {
        let case = Case::whole();
        case.made.put_bytes(&at, b"zip");
        assert_eq!(case.found(BEFORE).await, [wanted], "{at}");
    }
    // A package that was moved for a renewal is the package.
    let case = Case::whole();
    let to = format!("releases/{}/{}/m/p.zip", key.namespace, key.uid);
    case.made
        .put(&key.moved("act"), &json!({"action": "act", "key": to}));
    case.made.put_bytes(&to, b"zip");
    assert_eq!(case.found(BEFORE).await, []);
    case.made.put_bytes(&to, b"zap");
    assert_eq!(case.found(BEFORE).await, [Kind::PackageDiffers]);
}

#[tokio::test]
async fn an_epoch_that_ended_covers_no_later_review() {
    let case = Case::new();
    let end = json!({"sequence": 1, "until": "1969-06-01T00:00:00Z", "because": "changed"});
    case.made
        .put("audit/epochs/00000000000000000001.ended.json", &end);
    assert_eq!(case.found(BEFORE).await, [Kind::DecisionUnfounded]);
}

#[tokio::test]
async fn a_decision_before_it_was_noticed_that_an_epoch_is_over_had_a_proof_of_its_own() {
    for (noticed, wanted) in [
        ("1970-01-01T00:00:01Z", vec![]),
        ("1969-12-31T00:00:00Z", vec![Kind::DecisionUnfounded]),
    ] {
        let case = Case::new();
        let end = json!({"sequence": 1, "until": "1969-06-01T00:00:00Z", "noticed": noticed,
            "because": "changed"});
        case.made
            .put("audit/epochs/00000000000000000001.ended.json", &end);
        assert_eq!(case.found(BEFORE).await, wanted, "{noticed}");
    }
}
