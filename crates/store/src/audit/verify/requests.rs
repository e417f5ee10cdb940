//! Of one request: what is stored, against what its ledger says of it.

use std::collections::BTreeMap;

use futures::TryStreamExt as _;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::epochs::Epochs;
use super::holds::Holds;
use super::retention::{self, Case};
use super::source::{Source, SourceError};
use super::stock::{self, Files};
use super::{Findings, Kind, Question};
use trevor_core::commit::{Closed, Revoked};
use trevor_core::event::Entry;
use trevor_core::event::Event;
use trevor_core::format::{Fact, Later};
use trevor_core::keys::RequestKey;
use trevor_core::object_key::FactKey;
use trevor_core::retention::What;

/// A fact younger than this before the last checkpoint may not be in the ledger yet.
const SETTLED: SignedDuration = SignedDuration::from_mins(10);
/// In a bucket that is at work, a fact that is so old is in the ledger.
const WAITS: SignedDuration = SignedDuration::from_hours(48);

/// How far a clock may be ahead of the one here.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// Compares requests with their ledgers.
pub struct Requests<'a> {
    pub(super) source: &'a Source,
    question: &'a Question,
    /// What is said to be later is not yet: no time in an object is believed.
    latest: Timestamp,
    /// What is older must be in the ledger.
    settled: Option<Timestamp>,
    /// When the last checkpoint was made.
    newest: Option<Timestamp>,
    pub(super) epochs: Epochs,
}

impl<'a> Requests<'a> {
    /// Reads the epochs; `newest` is the time of the last checkpoint.
    pub async fn load(
        source: &'a Source,
        question: &'a Question,
        newest: Option<Timestamp>,
        findings: &mut Findings<'_>,
    ) -> Result<Self, SourceError> {
        let epochs = Epochs::load(source, findings).await?;
        let settled = newest.and_then(|time| time.checked_sub(SETTLED).ok());
        // In the bucket itself nothing waits for days, whatever became of the checkpoints.
        // Of a copy nobody knows when it was made.
        let days_ago = match source {
            Source::Bucket(_) => question.now.checked_sub(WAITS.max(question.grace)).ok(),
            Source::Folder(_) => None,
        };
        Ok(Self {
            source,
            question,
            newest,
            latest: question.now.checked_add(AHEAD).unwrap_or(question.now),
            settled: settled.max(days_ago),
            epochs,
        })
    }

    /// Requests that have facts and no ledger.
    pub async fn without_ledger(&self, findings: &mut Findings<'_>) -> Result<(), SourceError> {
        for namespace in self.source.folders("requests/").await? {
            for uid in self
                .source
                .folders(&format!("requests/{namespace}/"))
                .await?
            {
                findings.looked_at_one();
                let key = RequestKey {
                    namespace: namespace.clone(),
                    uid,
                };
                if self.source.get(&key.ledger_entry(1)).await?.is_some() {
                    continue;
                }
                let owner = self.read(&key.owner(), findings).await?;
                // The owner is stored before anything else, and a release is in the ledger
                // before anybody is told of it.
                let must = match &owner {
                    Some(owner) => {
                        let over = self.has_outcome(&key).await?;
                        let at = key.owner();
                        self.must_have(&at, owner.created, over, findings).await?
                    }
                    None => true,
                };
                if must {
                    let detail = "has files or facts, and no first entry in the ledger";
                    findings.add(Kind::LedgerMissing, &key.owner(), detail);
                }
            }
        }
        Ok(())
    }

    async fn has_outcome(&self, key: &RequestKey) -> Result<bool, SourceError> {
        for round in self.source.folders(&key.rounds()).await? {
            let Ok(round) = round.parse::<i64>() else {
                continue;
            };
            if self.source.exists(&key.outcome(round)).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// One request with its ledger.
    pub async fn compare(
        &self,
        (namespace, uid): (&str, &str),
        (events, last): (&[Event], i64),
        findings: &mut Findings<'_>,
    ) -> Result<(), SourceError> {
        findings.summary.requests += 1;
        let key = RequestKey {
            namespace: namespace.to_owned(),
            uid: uid.to_owned(),
        };
        let by_id: BTreeMap<&str, &Event> = events.iter().map(|e| (e.id.as_str(), e)).collect();
        let mut files = Files::list(self.question, &key).await?;
        let (mut released, mut attempts_due) = (None, None);
        let owner = self.read(&key.owner(), findings).await?;
        let named = owner
            .as_ref()
            .is_some_and(|owner| owner.uid == key.uid && owner.namespace == key.namespace);
        if !named {
            findings.add(
                Kind::Unexpected,
                &key.owner(),
                "does not say that the facts beside it are of this request",
            );
        }
        let rounds = self.source.folders(&key.rounds()).await?;
        let mut rounds: Vec<i64> = rounds.iter().filter_map(|n| n.parse().ok()).collect();
        rounds.sort_unstable();
        let newest = rounds.last().copied();
        let cluster = owner.map(|owner| owner.cluster).unwrap_or_default();
        for round in rounds {
            let about = About {
                key: &key,
                round,
                over: Some(round) != newest,
                cluster: &cluster,
                events: &by_id,
            };
            let (package, due) = self.round(&about, &mut files, findings).await?;
            released = package.or(released);
            attempts_due = due.max(attempts_due);
        }
        for (id, event) in &by_id {
            self.promised(&key, id, event, findings).await?;
        }
        let closed = self.closed(&key, &by_id, findings).await?;
        let revoked = self.revoked(&key, &by_id, findings).await?;
        let recorded = |time| self.must_be_recorded(time);
        let words = self.question.quarantine.as_ref().unwrap_or(self.source);
        let holds =
            Holds::read(words, self.source, &key, (events, last), recorded, findings).await?;
        let case = Case {
            key: &key,
            closed: closed.as_ref(),
            revoked: revoked.as_ref(),
            attempts_due,
            holds: &holds,
        };
        let event_of = |id: &str| by_id.get(id).map(|event| (*event).clone());
        let receipts = retention::verify(
            self.source,
            self.question,
            &case,
            event_of,
            recorded,
            findings,
        )
        .await?;
        files
            .verify(self.source, self.question, &case, receipts, findings)
            .await?;
        if let Some(packages) = &self.question.release {
            let from = (self.source, packages);
            let released = released.as_ref();
            stock::package(from, self.question, &case, released, receipts, findings).await?;
        }
        Ok(())
    }

    async fn closed(
        &self,
        key: &RequestKey,
        events: &BTreeMap<&str, &Event>,
        findings: &mut Findings<'_>,
    ) -> Result<Option<Closed>, SourceError> {
        let at = key.closed();
        let closed = self.read(&at, findings).await?;
        if let Some(closed) = &closed {
            let detail = [
                ("as", json(&closed.closed_as)),
                ("quarantineDue", json(&closed.quarantine_due)),
                ("releaseDue", json(&closed.release_due)),
            ];
            let said = Said {
                key,
                at: &at,
                id: "closed",
                time: closed.time,
                over: false,
            };
            self.same(said, events, &detail, findings).await?;
        }
        Ok(closed)
    }

    async fn revoked(
        &self,
        key: &RequestKey,
        events: &BTreeMap<&str, &Event>,
        findings: &mut Findings<'_>,
    ) -> Result<Option<Revoked>, SourceError> {
        let at = key.revoked();
        let revoked = self.read(&at, findings).await?;
        if let Some(revoked) = &revoked {
            let detail = [
                ("reason", json(&revoked.reason)),
                ("through", json(&revoked.through)),
            ];
            let said = Said {
                key,
                at: &at,
                id: "revoked",
                time: revoked.time,
                over: false,
            };
            self.same(said, events, &detail, findings).await?;
            let by = events.get("revoked").and_then(|event| event.actor.as_ref());
            if by.is_some_and(|by| *by != revoked.by) {
                findings.add(
                    Kind::LedgerDiffers,
                    &at,
                    "names somebody else than the ledger",
                );
            }
        }
        Ok(revoked)
    }

    /// What the ledger has must be there.
    async fn promised(
        &self,
        key: &RequestKey,
        id: &str,
        event: &Event,
        findings: &mut Findings<'_>,
    ) -> Result<(), SourceError> {
        let round = event.detail.get("round").and_then(Value::as_i64);
        let at = match (event.kind.as_str(), round) {
            ("Decided", Some(round)) => String::from(key.decision(round)),
            ("Frozen", Some(round)) => key.manifest(round).into(),
            ("Outcome", Some(round)) => key.outcome(round).into(),
            ("Closed", _) if id == "closed" => key.closed().into(),
            ("Revoked", _) if id == "revoked" => key.revoked().into(),
            ("Deleted", _) => match id.strip_prefix("deleted-").and_then(What::of) {
                Some(what) => key.deletion(what.word()).into(),
                None => return Ok(()),
            },
            _ => return Ok(()),
        };
        if self.source.get(&at).await?.is_none() {
            let kind = match event.kind.as_str() {
                "Decided" => Kind::DecisionMissing,
                "Deleted" => Kind::ReceiptMissing,
                _ => Kind::LedgerDiffers,
            };
            findings.add(kind, &at, "is gone, and the ledger has it");
        }
        Ok(())
    }

    /// An event says the same as what is stored.
    pub(super) async fn same(
        &self,
        Said {
            key,
            at,
            id,
            time,
            over,
        }: Said<'_>,
        events: &BTreeMap<&str, &Event>,
        detail: &[(&str, Value)],
        findings: &mut Findings<'_>,
    ) -> Result<(), SourceError> {
        let Some(event) = events.get(id) else {
            if self.must_have(at, time, over, findings).await? && !self.has_now(key, id).await? {
                findings.add(Kind::NotInLedger, at, "is not in the ledger");
            }
            return Ok(());
        };
        if event.time != time {
            findings.add(
                Kind::LedgerDiffers,
                at,
                "has another time than the ledger has",
            );
        }
        for (name, value) in detail {
            let told = event.detail.get(*name).unwrap_or(&Value::Null);
            if told != value && !self.is_stored(at, name, told).await? {
                let detail = format!("has another {name} than the ledger has");
                findings.add(Kind::LedgerDiffers, at, &detail);
            }
        }
        Ok(())
    }

    /// Whether a fact has this as it is stored, known to this version or not.
    async fn is_stored(&self, at: &str, name: &str, told: &Value) -> Result<bool, SourceError> {
        let field = match name {
            "as" => "closedAs",
            "outcome" => "kind",
            same => same,
        };
        let stored = self.source.get(at).await?;
        let stored = stored.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        Ok(stored.is_some_and(|stored| stored.get(field) == Some(told)))
    }

    /// Whether the ledger must have a fact by now. In a bucket the server says when it was
    /// stored; what the fact says of that is believed in a copy alone, and never of the
    /// future.
    ///
    /// `over`: something is stored that follows on its ledger entry. Then only what is newer
    /// than the last checkpoint may be missing, and in a copy alone, whose facts were copied
    /// after its ledger.
    pub(super) async fn must_have(
        &self,
        at: &str,
        time: Timestamp,
        over: bool,
        findings: &mut Findings<'_>,
    ) -> Result<bool, SourceError> {
        let must = match (self.source, over) {
            (Source::Bucket(_), true) => true,
            (Source::Bucket(_), false) => {
                let stored = self.source.stored(at).await?;
                time > self.latest || self.must_be_recorded(stored.unwrap_or(time))
            }
            (Source::Folder(_), true) => {
                time > self.latest || self.newest.is_none_or(|newest| time <= newest)
            }
            (Source::Folder(_), false) => self.must_be_recorded(time),
        };
        if !must {
            findings.summary.not_yet_recorded += 1;
        }
        Ok(must)
    }

    /// Whether the chain of a request has an event by now: it may have been appended since
    /// the chain was gone through.
    pub(super) async fn has_now(&self, key: &RequestKey, id: &str) -> Result<bool, SourceError> {
        let chain = key.ledger();
        let mut entries = self.source.objects(&chain);
        while let Some((_, bytes)) = entries.try_next().await? {
            let entry = bytes.and_then(|bytes| serde_json::from_slice::<Entry>(&bytes).ok());
            if entry.is_some_and(|entry| entry.events.iter().any(|event| event.id == id)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn must_be_recorded(&self, time: Timestamp) -> bool {
        time > self.latest || self.settled.is_some_and(|settled| time < settled)
    }

    pub(super) async fn read<T: Fact>(
        &self,
        at: &FactKey<T>,
        findings: &mut Findings<'_>,
    ) -> Result<Option<T>, SourceError> {
        read(self.source, at, findings).await
    }
}

/// A fact that the ledger must have under an id.
#[derive(Clone, Copy)]
pub(super) struct Said<'a> {
    pub key: &'a RequestKey,
    pub at: &'a str,
    pub id: &'a str,
    pub time: Timestamp,
    /// See [`Requests::must_have`].
    pub over: bool,
}

/// One round of a request.
pub(super) struct About<'a> {
    pub key: &'a RequestKey,
    pub round: i64,
    /// Another round follows it.
    pub over: bool,
    /// uid of the cluster that it was made on.
    pub cluster: &'a str,
    /// The request's ledger.
    pub events: &'a BTreeMap<&'a str, &'a Event>,
}

/// Reads a fact; one that cannot be read is named and passed over, and so is one of a later
/// format, since what it says is not known here.
pub async fn read<T: Fact>(
    source: &Source,
    at: &FactKey<T>,
    findings: &mut Findings<'_>,
) -> Result<Option<T>, SourceError> {
    read_as(source, at, findings).await
}

/// The same, as a type of the verification's own.
pub async fn read_as<T: Fact>(
    source: &Source,
    at: &str,
    findings: &mut Findings<'_>,
) -> Result<Option<T>, SourceError> {
    let Some(bytes) = source.get(at).await? else {
        return Ok(None);
    };
    match T::parse(&bytes) {
        Ok(fact) => {
            if let Some(later) = Later::is(&fact, at, &bytes) {
                findings.add(Kind::LaterFormat, at, &later_words(&later));
            }
            Ok(Some(fact))
        }
        Err(error) => {
            findings.add(
                Kind::Corrupt,
                at,
                &format!("is not what belongs there: {error}"),
            );
            Ok(None)
        }
    }
}

/// What to do about a fact of a later format.
pub(super) fn later_words(later: &Later) -> String {
    format!(
        "has format {}, and this version knows {}: verify with the version that wrote it",
        later.format, later.known
    )
}

pub(super) fn json<T: serde::Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}
