//! When files are deleted, and when not: tickets against closing facts, holds,
//! clocks, and requests that nobody touches.
//!
//! A ticket is a wake-up and no more. What may be deleted, and when, follows from
//! the closing facts, so that a ticket that somebody forged deletes nothing.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::commit::{Closed, Owner, Revoked, Ticket};

/// Clocks that differ by more delete nothing and close nothing.
pub const MOST_SKEW: SignedDuration = SignedDuration::from_mins(5);
/// How long before an idle request is withdrawn its people are warned.
const NOTICE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What a ticket is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// The files under review.
    Quarantine,
    /// The package.
    Release,
    /// What outsiders uploaded.
    Staging,
}

impl What {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Quarantine, Self::Release, Self::Staging];

    /// As keys, tickets and receipts have it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Quarantine => "quarantine",
            Self::Release => "release",
            Self::Staging => "staging",
        }
    }

    /// By its word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|what| what.word() == word)
    }
}

/// What a ticket's key says, before anything is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Not before.
    pub due: Timestamp,
    /// Whose.
    pub uid: String,
    /// What.
    pub what: What,
}

/// A due time as keys have it: names sort as times.
#[must_use]
pub fn due_name(due: Timestamp) -> String {
    due.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Reads a key below `work/retention/`: `<due>/<uid>-<what>.json`.
#[must_use]
pub fn named(below: &str) -> Option<Named> {
    let (written, name) = below.split_once('/')?;
    let due = written.parse::<Timestamp>().ok()?;
    // Another spelling of a time sorts elsewhere, and one that is far ahead and sorts
    // first would hide all the others.
    if due_name(due) != written {
        return None;
    }
    let (uid, what) = name.strip_suffix(".json")?.rsplit_once('-')?;
    Some(Named {
        due,
        uid: plain(uid).then(|| uid.to_owned())?,
        what: What::of(what)?,
    })
}

/// `let-go/<time>.json`: when the finalizer went, and when the files go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LetGo {
    /// When.
    pub time: Timestamp,
    /// When the quarantined files are due, if the request is gone then.
    pub quarantine_due: Timestamp,
}

crate::stored_fact!(LetGo);

/// `index/clusters/<uid>/taken-over/<uid>.json`: who takes over whose requests. Both are named by the uid of their namespace
/// `kube-system`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TakenOver {
    /// The cluster that is gone.
    pub cluster: String,
    /// The one that deletes from now on.
    pub to: String,
    /// Who says so.
    pub by: String,
    /// When.
    pub time: Timestamp,
}

crate::stored_fact!(TakenOver);

/// Whether a name is one of namespaces and uids, so that a prefix made of it is
/// nobody else's.
#[must_use]
pub fn plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 253
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

/// What is stored of the request that a ticket names.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing<'a> {
    /// `owner.json`.
    pub owner: Option<&'a Owner>,
    /// `closed.json`.
    pub closed: Option<&'a Closed>,
    /// `revoked.json`.
    pub revoked: Option<&'a Revoked>,
}

/// What a due ticket leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The closing facts agree: due since then.
    Delete(Timestamp),
    /// It is earlier than the closing facts say; the right time is this.
    Early(Timestamp),
    /// The request is not closed, so that nothing is due.
    Open,
    /// Another cluster's.
    Foreign,
    /// No request of that name: somebody else wrote it.
    Unknown,
}

/// Compares a ticket with what is stored. `plan_life` is how long a URL of an upload
/// plan can be used, clocks that differ included.
#[must_use]
pub fn judge(
    named: &Named,
    standing: Standing<'_>,
    cluster: &str,
    plan_life: SignedDuration,
    now: Timestamp,
) -> Verdict {
    let Some(owner) = standing.owner else {
        return Verdict::Unknown;
    };
    if owner.uid != named.uid {
        return Verdict::Unknown;
    }
    if owner.cluster != cluster {
        return Verdict::Foreign;
    }
    match due(named.what, standing, plan_life) {
        None => Verdict::Open,
        Some(due) if due > now => Verdict::Early(due),
        Some(due) => Verdict::Delete(due),
    }
}

/// When something is due by the closing facts; none while the request is open.
#[must_use]
pub fn due(what: What, standing: Standing<'_>, plan_life: SignedDuration) -> Option<Timestamp> {
    match (what, standing.revoked, standing.closed) {
        (What::Release, Some(revoked), _) => Some(revoked.time),
        (_, _, None) => None,
        (What::Quarantine, _, Some(closed)) => Some(closed.quarantine_due),
        // Where nothing was released, what attempts left is of no use.
        (What::Release, None, Some(closed)) => Some(closed.release_due.unwrap_or(closed.time)),
        (What::Staging, _, Some(closed)) => {
            Some(closed.time.checked_add(plan_life).unwrap_or(Timestamp::MAX))
        }
    }
}

/// Whether what closed so long ago is history, that the API need not show any more.
#[must_use]
pub fn is_history(closed: &Closed, kept: SignedDuration, now: Timestamp) -> bool {
    now.duration_since(closed.time) >= kept
}

/// Whether a body is the one that belongs under its key.
#[must_use]
pub fn belongs(named: &Named, ticket: &Ticket) -> bool {
    ticket.uid == named.uid
        && ticket.what == named.what.word()
        && ticket.due == named.due
        && plain(&ticket.namespace)
}

/// `work/holds/<uid>/<seq>.json`: one word on whether deletion stops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// From 1; the highest wins.
    pub sequence: i64,
    /// Whether deletion stops.
    pub state: HoldState,
    /// Who says so.
    pub by: String,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// uid of the AirlockAction; none: `trevor retention`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// When.
    pub time: Timestamp,
    /// It was asked for while the admission rules were not proved to be in force: it holds
    /// all the same, and a hold officer is to confirm it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unconfirmed: bool,
}

/// Whether deletion stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HoldState {
    /// It does.
    Held,
    /// It resumes.
    Lifted,
}

/// Whether a hold stops this deletion. What is revoked goes from the release bucket
/// all the same, since its URLs must die; its originals in quarantine are kept.
#[must_use]
pub fn stops(hold: Option<&Hold>, what: What, revoked: bool) -> bool {
    let held = hold.is_some_and(|hold| hold.state == HoldState::Held);
    held && !(what == What::Release && revoked)
}

/// What a hold found deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeldAfter {
    /// The files that it was to keep; with what had happened, for people.
    All(String),
    /// Something else; the files are kept.
    Part(String),
}

/// Whether a hold came after a deletion, by the receipts of what was deleted.
#[must_use]
pub fn held_after(deleted: &[Deletion]) -> Option<HeldAfter> {
    if deleted.is_empty() {
        return None;
    }
    let what: Vec<String> = deleted
        .iter()
        .map(|deletion| {
            let what = match deletion.what {
                What::Quarantine => "the files under review",
                What::Release => "the package",
                What::Staging => "what was left of the uploads",
            };
            format!(
                "{what} (due {}) {} deleted at {}",
                deletion.due,
                if deletion.what == What::Quarantine {
                    "were"
                } else {
                    "was"
                },
                deletion.finished
            )
        })
        .collect();
    let what = what.join("; ");
    let all = deleted.iter().any(|d| d.what == What::Quarantine);
    Some(if all {
        HeldAfter::All(format!(
            "{what}, before this hold was carried out; it stands for whatever is left"
        ))
    } else {
        HeldAfter::Part(format!(
            "{what}, before this hold was carried out; the files under review are kept"
        ))
    })
}

/// `deleted/<what>.plan.json`: what is to go, counted before the first of it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeletionPlan {
    /// What.
    pub what: What,
    /// Since when it is due.
    pub due: Timestamp,
    /// When it was counted.
    pub started: Timestamp,
    /// All under this prefix.
    pub prefix: String,
    /// In this bucket.
    pub bucket: String,
    /// How much that is.
    #[serde(flatten)]
    pub totals: Totals,
}

/// How much lies under a prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Keys.
    pub objects: u64,
    /// Versions and delete markers of them.
    pub versions: u64,
    /// Bytes of all versions.
    pub bytes: u64,
    /// Multipart uploads that are open.
    pub uploads: u64,
}

impl Totals {
    /// Whether nothing is there.
    #[must_use]
    pub fn nothing(&self) -> bool {
        self.versions == 0 && self.uploads == 0
    }
}

/// `deleted/<what>.json`: the receipt of a deletion; what is listed afterwards is
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deletion {
    /// What.
    pub what: What,
    /// Since when it was due.
    pub due: Timestamp,
    /// When it was counted.
    pub started: Timestamp,
    /// When it was listed for the last time, and nothing was there.
    pub finished: Timestamp,
    /// All under this prefix.
    pub prefix: String,
    /// In this bucket.
    pub bucket: String,
    /// How much went.
    #[serde(flatten)]
    pub totals: Totals,
    /// What the last listing found: nothing.
    pub remaining: u64,
}

impl DeletionPlan {
    /// The receipt of what was carried out.
    #[must_use]
    pub fn done(self, finished: Timestamp) -> Deletion {
        Deletion {
            what: self.what,
            due: self.due,
            started: self.started,
            finished,
            prefix: self.prefix,
            bucket: self.bucket,
            totals: self.totals,
            remaining: 0,
        }
    }
}

/// Whether two clocks are near enough for due times to mean the same.
#[must_use]
pub fn clocks_agree(ours: Timestamp, theirs: Timestamp) -> bool {
    ours.duration_since(theirs).abs() <= MOST_SKEW
}

/// `idle/<since>.json`: the warning that a request will be withdrawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdleWarning {
    /// Since when nobody touched it.
    pub since: Timestamp,
    /// When it was said.
    pub warned: Timestamp,
    /// When it is withdrawn, if nobody does until then.
    pub withdraw: Timestamp,
}

/// What follows from how long a request was not touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Nothing, until then.
    Rests(Timestamp),
    /// Its people are told that it is withdrawn then.
    Warn(Timestamp),
    /// It is withdrawn.
    Withdraw,
}

/// Judges a request that nobody touched since `since`. It is never withdrawn without
/// a warning about this very time, and the notice is never shorter than promised,
/// however late the warning went out.
#[must_use]
pub fn idle(
    since: Timestamp,
    allowed: SignedDuration,
    warning: Option<&IdleWarning>,
    now: Timestamp,
) -> Idle {
    let after = |time: Timestamp, by| time.checked_add(by).unwrap_or(Timestamp::MAX);
    match warning.filter(|warning| warning.since == since) {
        Some(warning) if warning.withdraw <= now => Idle::Withdraw,
        Some(warning) => Idle::Rests(warning.withdraw),
        None => {
            let notice = NOTICE.min(allowed / 4);
            let warn = after(since, allowed - notice);
            if now < warn {
                Idle::Rests(warn)
            } else {
                Idle::Warn(after(now, notice).max(after(since, allowed)))
            }
        }
    }
}

#[cfg(test)]
#[path = "retention_tests.rs"]
mod tests;
