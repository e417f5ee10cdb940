//! Which notifications follow from what happened.
//!
//! Each has an id that follows from the event it tells of, so that a crash repeats
//! none. Until something has crossed, a notice has no field that could hold a word
//! which a researcher chose: namespace, uid, phase, round and counts (docs/design.md#invariants).

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::digest::Sha256Hex;
use crate::event::Event;
use trevor_api::Phase;
use trevor_api::condition::{reason, second};

const DAY: i64 = 86_400;

/// What a notice tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the words are their own explanation")]
pub enum Kind {
    Submitted,
    ReviewWanted,
    ChangesRequested,
    Approved,
    Rejected,
    Withdrawn,
    Released,
    UrlRenewed,
    UrlEnding,
    WindowEnding,
    Overdue,
    Failed,
    Revoked,
    Deleted,
    IdleWarning,
    Held,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 16] = [
        Self::Submitted,
        Self::ReviewWanted,
        Self::ChangesRequested,
        Self::Approved,
        Self::Rejected,
        Self::Withdrawn,
        Self::Released,
        Self::UrlRenewed,
        Self::UrlEnding,
        Self::WindowEnding,
        Self::Overdue,
        Self::Failed,
        Self::Revoked,
        Self::Deleted,
        Self::IdleWarning,
        Self::Held,
    ];

    /// The kind in lower case, for ids and event types.
    #[must_use]
    pub fn slug(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::ReviewWanted => "review-wanted",
            Self::ChangesRequested => "changes-requested",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
            Self::Released => "released",
            Self::UrlRenewed => "url-renewed",
            Self::UrlEnding => "url-ending",
            Self::WindowEnding => "window-ending",
            Self::Overdue => "overdue",
            Self::Failed => "failed",
            Self::Revoked => "revoked",
            Self::Deleted => "deleted",
            Self::IdleWarning => "idle-warning",
            Self::Held => "held",
        }
    }

    /// Whether those whom the request names are told by mail.
    #[must_use]
    pub fn is_for_recipients(self) -> bool {
        matches!(
            self,
            Self::Released | Self::UrlRenewed | Self::UrlEnding | Self::Revoked
        )
    }

    /// Whether its message hands out a URL.
    #[must_use]
    pub fn hands_out(self) -> bool {
        matches!(self, Self::Released | Self::UrlRenewed)
    }
}

/// How much there is, and how far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Files of the round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<i64>,
    /// Bytes of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// Approvals that counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<i64>,
    /// Approvals that were needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required: Option<i64>,
}

/// A package that crossed. Only what is told after the release has one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Package {
    /// Name under which it is saved.
    pub filename: String,
    /// SHA-256 of the zip.
    pub sha256: Sha256Hex,
    /// Bytes of the zip.
    pub size: i64,
}

/// Something to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// Which of the request's notices it is.
    pub what: String,
    /// What it tells of.
    pub kind: Kind,
    /// The project.
    pub namespace: String,
    /// The request's uid.
    pub uid: String,
    /// The phase that the request is in by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// The round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<i64>,
    /// How much there is.
    #[serde(default)]
    pub counts: Counts,
    /// What crossed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<Package>,
    /// Which issue of the URL it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issue: Option<i64>,
    /// When what it is about ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Timestamp>,
    /// When it happened, or is to be told.
    pub time: Timestamp,
}

impl Notice {
    /// The same for ever, and of no other notice: the id of the CloudEvent, and the
    /// first half of the Message-ID.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}.{}", self.uid, self.what)
    }

    /// Whether there is a release that it is about.
    #[must_use]
    pub fn is_of_release(&self) -> bool {
        self.package.is_some() || matches!(self.phase, Some(Phase::Released | Phase::Revoked))
    }
}

/// `work/outbox/<due>/<uid>.<what>.json`: something to be told. No URL is in it; the
/// one in force is read when it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboxEntry {
    /// What.
    pub notice: Notice,
    /// By which channels.
    pub channels: Vec<String>,
    /// Whom the request names, as far as the policy lets mail go there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// Name of the request; for Events and status, never for a message.
    pub request: String,
    /// Name of its ReleaseRecord.
    pub record: String,
    /// The ledger had it at this sequence.
    #[serde(default)]
    pub sequence: i64,
}

crate::stored_fact!(OutboxEntry);

/// A release, as far as notices of its end need it.
#[derive(Clone, Debug)]
pub struct Lifetime {
    /// The URL in force: its issue, and when it ends.
    pub url: Option<(i64, Timestamp)>,
    /// Whether somebody asked for it (a renewal).
    pub renewed: bool,
    /// Seconds that a URL lives.
    pub url_seconds: i64,
    /// When the download window ends.
    pub window_end: Timestamp,
    /// Seconds of the window.
    pub window_seconds: i64,
}

/// The notices that follow from events of one request.
#[must_use]
pub fn of_events<'a>(
    namespace: &str,
    uid: &str,
    events: impl IntoIterator<Item = &'a Event>,
) -> Vec<Notice> {
    let events: Vec<&Event> = events.into_iter().collect();
    let book = Book {
        namespace,
        uid,
        events: &events,
    };
    events
        .iter()
        .flat_map(|event| book.of_event(event))
        .collect()
}

/// The notice that a phase lasts too long.
#[must_use]
pub fn overdue(
    (namespace, uid): (&str, &str),
    phase: Phase,
    round: i64,
    limit: Timestamp,
    now: Timestamp,
) -> Option<Notice> {
    // Approved and Releasing have one limit between them, and are told of once.
    let word = match phase {
        Phase::Approved | Phase::Releasing => "releasing".to_owned(),
        other => other.to_string().to_lowercase(),
    };
    (now >= limit).then(|| Notice {
        phase: Some(phase),
        ..plain(
            (namespace, uid),
            Kind::Overdue,
            format!("r{round}-overdue-{word}"),
            Some(round),
            limit,
        )
    })
}

/// The notices of a release's URL and window: a renewed URL now, their ends when it
/// is time. `released` is the notice of the release.
#[must_use]
pub fn of_lifetime(released: &Notice, life: &Lifetime) -> Vec<Notice> {
    let about = |kind, what: String, time: Timestamp, ends: Timestamp| Notice {
        what,
        kind,
        time,
        ends: Some(ends),
        ..released.clone()
    };
    let mut found = Vec::new();
    if let Some((issue, ends)) = life.url {
        let of_issue = |kind: Kind, time| Notice {
            issue: Some(issue),
            ..about(kind, format!("{}-{issue}", kind.slug()), time, ends)
        };
        if life.renewed {
            // Its own time is not stored; that it ends is, and this is the earliest.
            let made = before(ends, life.url_seconds).max(released.time);
            found.push(of_issue(Kind::UrlRenewed, made));
        }
        let warning = before(ends, (life.url_seconds / 7).min(DAY));
        found.push(of_issue(Kind::UrlEnding, warning));
    }
    let warning = before(life.window_end, (life.window_seconds / 10).min(3 * DAY));
    found.push(about(
        Kind::WindowEnding,
        Kind::WindowEnding.slug().to_owned(),
        warning,
        life.window_end,
    ));
    found
}

fn before(end: Timestamp, seconds: i64) -> Timestamp {
    second(end)
        .checked_sub(SignedDuration::from_secs(seconds.max(0)))
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

fn plain(
    (namespace, uid): (&str, &str),
    kind: Kind,
    what: String,
    round: Option<i64>,
    time: Timestamp,
) -> Notice {
    Notice {
        what,
        kind,
        namespace: namespace.to_owned(),
        uid: uid.to_owned(),
        phase: None,
        round,
        counts: Counts::default(),
        package: None,
        issue: None,
        ends: None,
        time,
    }
}

struct Book<'a> {
    namespace: &'a str,
    uid: &'a str,
    events: &'a [&'a Event],
}

impl Book<'_> {
    fn of_event(&self, event: &Event) -> Vec<Notice> {
        let detail = |key: &str| event.detail.get(key);
        let word = |key: &str| detail(key).and_then(Value::as_str).unwrap_or_default();
        match event.kind.as_str() {
            "Sealed" if is_complete(detail("because")) => {
                self.of_round(event, Kind::Submitted, Phase::Submitted)
            }
            "Frozen" => self.of_round(event, Kind::ReviewWanted, Phase::InReview),
            "Refused" if word("reason") == reason::WITHDRAWN => Vec::new(),
            "Refused" => self.of_round(event, Kind::ChangesRequested, Phase::ChangesRequested),
            "Decided" => self.of_end(event, word("verdict")),
            "Outcome" => self.of_end(event, word("outcome")),
            "ReleaseFailed" => {
                let mut failed = self.of_round(event, Kind::Failed, Phase::Failed);
                for notice in &mut failed {
                    let attempt = detail("attempt").and_then(Value::as_i64).unwrap_or(0);
                    notice.what = format!("{}-{attempt}", notice.what);
                }
                failed
            }
            "Revoked" => vec![self.of_release(event, Kind::Revoked, Some(Phase::Revoked))],
            "Deleted" => vec![self.of_release(event, Kind::Deleted, None)],
            "IdleWarned" | "IdleWarning" => vec![self.of_request(event, Kind::IdleWarning)],
            "Acted" if word("action") == "Hold" && detail("refused").is_none_or(Value::is_null) => {
                vec![self.of_request(event, Kind::Held)]
            }
            _ => Vec::new(),
        }
    }

    /// A verdict or an outcome.
    fn of_end(&self, event: &Event, word: &str) -> Vec<Notice> {
        let (kind, phase) = match word {
            "Approved" => (Kind::Approved, Phase::Approved),
            "Returned" => (Kind::ChangesRequested, Phase::ChangesRequested),
            "Rejected" => (Kind::Rejected, Phase::Rejected),
            "Withdrawn" => (Kind::Withdrawn, Phase::Withdrawn),
            "Released" => (Kind::Released, Phase::Released),
            _ => return Vec::new(),
        };
        let mut found = self.of_round(event, kind, phase);
        for notice in &mut found {
            self.votes(event, notice);
            if kind == Kind::Released {
                notice.package = package(event.detail.get("package"));
                notice.issue = notice.package.is_some().then_some(1);
            }
        }
        found
    }

    fn of_round(&self, event: &Event, kind: Kind, phase: Phase) -> Vec<Notice> {
        let Some(round) = round_of(event) else {
            return Vec::new();
        };
        let what = format!("r{round}-{}", kind.slug());
        let mut notice = plain(
            (self.namespace, self.uid),
            kind,
            what,
            Some(round),
            event.time,
        );
        notice.phase = Some(phase);
        self.measure(&mut notice);
        vec![notice]
    }

    /// What is about a request, whatever its round.
    fn of_request(&self, event: &Event, kind: Kind) -> Notice {
        let what = format!("{}-{}", kind.slug(), event.id);
        plain((self.namespace, self.uid), kind, what, None, event.time)
    }

    fn of_release(&self, event: &Event, kind: Kind, phase: Option<Phase>) -> Notice {
        let mut notice = self.of_request(event, kind);
        if kind == Kind::Revoked {
            kind.slug().clone_into(&mut notice.what);
        }
        notice.phase = phase;
        let outcome = self.events.iter().find(|e| {
            e.kind == "Outcome"
                && e.detail.get("outcome").and_then(Value::as_str) == Some("Released")
        });
        if let Some(outcome) = outcome {
            notice.round = round_of(outcome);
            notice.package = package(outcome.detail.get("package"));
            self.measure(&mut notice);
        }
        notice
    }

    /// Files and bytes, as the round was frozen.
    fn measure(&self, notice: &mut Notice) {
        let frozen = self
            .events
            .iter()
            .find(|e| e.kind == "Frozen" && round_of(e) == notice.round);
        if let Some(frozen) = frozen {
            notice.counts.files = frozen.detail.get("files").and_then(Value::as_i64);
            notice.counts.bytes = frozen.detail.get("bytes").and_then(Value::as_i64);
        }
    }

    /// Approvals, as they were decided upon.
    fn votes(&self, event: &Event, notice: &mut Notice) {
        let decided = self
            .events
            .iter()
            .find(|e| e.kind == "Decided" && round_of(e) == round_of(event));
        let Some(decided) = decided else { return };
        let quorum = decided.detail.get("quorum");
        notice.counts.required = quorum.and_then(|q| q.get("required")?.as_i64());
        let counted = decided.detail.get("reviews").and_then(Value::as_array);
        let approves = |uid: &str| {
            self.events.iter().any(|e| {
                e.id.strip_prefix("review-") == Some(uid)
                    && e.detail.get("decision").and_then(Value::as_str) == Some("Approve")
            })
        };
        let uids = counted.into_iter().flatten().filter_map(Value::as_str);
        let approvals = uids.filter(|uid| approves(uid)).count();
        notice.counts.approvals = i64::try_from(approvals).ok();
    }
}

fn round_of(event: &Event) -> Option<i64> {
    event.detail.get("round").and_then(Value::as_i64)
}

/// Whether the round was sealed with all its files, whatever they are.
fn is_complete(because: Option<&Value>) -> bool {
    because.is_some_and(|b| b.as_str() == Some("Complete") || b.get("Mismatch").is_some())
}

fn package(detail: Option<&Value>) -> Option<Package> {
    let detail = detail?;
    let key = detail.get("key")?.as_str()?;
    Some(Package {
        filename: key.rsplit('/').next().unwrap_or("package.zip").to_owned(),
        sha256: serde_json::from_value(detail.get("sha256")?.clone()).ok()?,
        size: detail.get("size")?.as_i64()?,
    })
}

#[cfg(test)]
#[path = "notice_tests.rs"]
mod tests;
