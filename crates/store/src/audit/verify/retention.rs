//! Files deleted on time: not before their due time, not while they were on hold, and
//! not long after it unless a hold stood meanwhile; by the receipts and, where the files
//! are at hand, by what is there.

use futures::TryStreamExt as _;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::holds::Holds;
use super::requests::read_as;
use super::source::{Source, SourceError};
use super::{Findings, Kind, Question};
use trevor_core::commit::{Closed, ClosedAs, Revoked};
use trevor_core::event::Event;
use trevor_core::keys::RequestKey;
use trevor_core::retention::What;

/// A deletion's receipt, as far as it is looked at.
#[derive(Debug, Deserialize, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Deletion {
    due: Timestamp,
    started: Timestamp,
    #[serde(default)]
    finished: Option<Timestamp>,
    #[serde(default)]
    remaining: u64,
    #[serde(default)]
    objects: u64,
    #[serde(default)]
    versions: u64,
}

trevor_core::stored_fact!(Deletion);

/// What is known of one request that bears on its retention.
pub struct Case<'a> {
    /// Which.
    pub key: &'a RequestKey,
    /// Its closing.
    pub closed: Option<&'a Closed>,
    /// Its revocation.
    pub revoked: Option<&'a Revoked>,
    /// When what attempts to release left is collected, where there were any.
    pub attempts_due: Option<Timestamp>,
    /// Its holds.
    pub holds: &'a Holds,
}

/// Receipts that are there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Receipts {
    /// Of the files.
    pub quarantine: bool,
    /// Of the package.
    pub release: bool,
}

impl Case<'_> {
    /// Due times that a receipt may name.
    fn dues(&self, what: What) -> Vec<Timestamp> {
        let closed = self.closed.map(|closed| match what {
            What::Quarantine => closed.quarantine_due,
            What::Release => closed.release_due.unwrap_or(closed.time),
            // When plans end stands in the configuration alone.
            What::Staging => closed.time,
        });
        let revoked = self.revoked.filter(|_| what == What::Release);
        closed.into_iter().chain(revoked.map(|r| r.time)).collect()
    }

    /// When it is to be deleted at the latest.
    pub fn latest(&self, what: What) -> Option<Timestamp> {
        let closed = self.closed?;
        match what {
            What::Quarantine => Some(closed.quarantine_due),
            What::Release if closed.closed_as == ClosedAs::Released => closed.release_due,
            What::Release => self.attempts_due,
            What::Staging => None,
        }
    }

    /// The longest time between two moments in which it could have been deleted.
    fn without_hold(&self, what: What, from: Timestamp, to: Timestamp) -> SignedDuration {
        if what == What::Release && self.revoked.is_some() {
            // What is revoked goes in spite of a hold.
            return to.duration_since(from);
        }
        self.holds.longest_without(from, to)
    }

    /// Whether it may not be gone yet: it is not due, or on hold ever since.
    pub fn must_be_there(&self, what: What, now: Timestamp) -> bool {
        if what == What::Release && self.revoked.is_some() {
            return false;
        }
        self.latest(what)
            .is_none_or(|due| now < due || self.without_hold(what, due, now).is_zero())
    }

    /// Whether it ought to be gone.
    pub fn is_late(&self, what: What, question: &Question) -> bool {
        let latest = match self.revoked.filter(|_| what == What::Release) {
            Some(revoked) => Some(revoked.time),
            None => self.latest(what),
        };
        latest.is_some_and(|due| self.without_hold(what, due, question.now) > question.grace)
    }
}

/// Compares due times, holds and receipts of one request; gives which receipts there are.
pub async fn verify(
    source: &Source,
    question: &Question,
    case: &Case<'_>,
    event_of: impl Fn(&str) -> Option<Event>,
    must_be_recorded: impl Fn(Timestamp) -> bool,
    findings: &mut Findings<'_>,
) -> Result<Receipts, SourceError> {
    let folder = format!("{}deleted/", case.key.prefix());
    let mut receipts = Receipts::default();
    let mut keys = source.keys(&folder);
    while let Some(at) = keys.try_next().await? {
        // Receipts of URLs have another form, and no due time; a plan deletes nothing.
        let Some(what) = What::of(at[folder.len()..].trim_end_matches(".json")) else {
            continue;
        };
        match what {
            What::Quarantine => receipts.quarantine = true,
            What::Release => receipts.release = true,
            What::Staging => {}
        }
        let Some(deletion) = read_as::<Deletion>(source, &at, findings).await? else {
            continue;
        };
        in_time(&at, what, &deletion, question, case, findings);
        match event_of(&format!("deleted-{}", what.word())) {
            Some(event) => same(&at, &deletion, &event, findings),
            None if deletion.finished.is_some_and(&must_be_recorded) => {
                findings.add(Kind::NotInLedger, &at, "is not in the ledger");
            }
            None => {}
        }
    }
    for (what, seen) in [
        (What::Quarantine, receipts.quarantine),
        (What::Release, receipts.release),
    ] {
        let of_release = what == What::Release;
        let nothing = of_release
            && (case.revoked.is_some()
                || case
                    .closed
                    .is_some_and(|c| c.closed_as != ClosedAs::Released));
        if !seen
            && !nothing
            && case.is_late(what, question)
            && let Some(due) = case.latest(what)
        {
            let what = what.word();
            let detail =
                format!("{what} was due at {due}, and there is no receipt of its deletion");
            findings.add(Kind::KeptTooLong, &case.key.closed(), &detail);
        }
    }
    Ok(receipts)
}

/// One receipt against due times and holds.
fn in_time(
    at: &str,
    what: What,
    deletion: &Deletion,
    question: &Question,
    case: &Case<'_>,
    findings: &mut Findings<'_>,
) {
    let dues = case.dues(what);
    let Some(first) = dues.iter().min().copied() else {
        let detail = "is of a request that was not closed: nothing of it was due";
        return findings.add(Kind::DeletedEarly, at, detail);
    };
    let named = match what {
        What::Staging => deletion.due >= first,
        What::Quarantine | What::Release => dues.contains(&deletion.due),
    };
    let due = if named { deletion.due } else { first };
    if !named {
        let detail = format!("names the due time {}, and the closing {due}", deletion.due);
        findings.add(Kind::LedgerDiffers, at, &detail);
    }
    if deletion.started < due {
        let detail = format!("began at {}, before its due time {due}", deletion.started);
        findings.add(Kind::DeletedEarly, at, &detail);
    }
    let ended = deletion.finished.unwrap_or(question.now);
    let stops = what != What::Release || case.revoked.is_none_or(|revoked| revoked.time > ended);
    if let Some(held) = case.holds.standing_at(ended).filter(|_| stops) {
        let detail = format!(
            "ended at {ended}, and a hold was asked for at {}",
            held.from
        );
        findings.add(Kind::DeletedEarly, at, &detail);
    }
    if deletion.remaining > 0 {
        let detail = format!("left {} objects", deletion.remaining);
        findings.add(Kind::DeletionIncomplete, at, &detail);
    }
    let latest = case.latest(what).unwrap_or(due).max(due);
    if case.without_hold(what, latest, ended) > question.grace {
        let detail = format!("ended at {ended}, long after its due time {latest}, without a hold");
        findings.add(Kind::KeptTooLong, at, &detail);
    }
}

/// The ledger says the same of a deletion as its receipt.
fn same(at: &str, deletion: &Deletion, event: &Event, findings: &mut Findings<'_>) {
    let said = |name: &str| event.detail.get(name).unwrap_or(&Value::Null);
    for (name, value) in [
        ("due", json!(deletion.due)),
        ("objects", json!(deletion.objects)),
        ("versions", json!(deletion.versions)),
    ] {
        if *said(name) != value {
            let detail = format!("has another {name} than the ledger has");
            findings.add(Kind::LedgerDiffers, at, &detail);
        }
    }
    if deletion.finished != Some(event.time) {
        findings.add(
            Kind::LedgerDiffers,
            at,
            "has another time than the ledger has",
        );
    }
}
