//! Of one request: what is stored, against what its ledger says of it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::epochs::Epochs;
use super::holds::Holds;
use super::retention::{self, Case};
use super::source::{Source, SourceError};
use super::stock::{self, Files};
use super::{Findings, Kind, Question};
use crate::audit::Event;
use crate::domain::commit::{Closed, Owner, Revoked};
use crate::domain::retention::What;
use crate::storage::keys::RequestKey;

/// A fact younger than this before the last checkpoint may not be in the ledger yet.
const SETTLED: SignedDuration = SignedDuration::from_mins(10);
/// In a bucket that is at work, a fact that is so old is in the ledger.
const WAITS: SignedDuration = SignedDuration::from_hours(48);

/// Compares requests with their ledgers.
pub struct Requests<'a> {
    pub(super) source: &'a Source,
    question: &'a Question,
    /// What is older must be in the ledger.
    settled: Option<Timestamp>,
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
                let Some(owner) = self.read::<Owner>(&key.owner(), findings).await? else {
                    continue;
                };
                if self.must_be_recorded(owner.created) {
                    let detail = "has files or facts, and no first entry in the ledger";
                    findings.add(Kind::LedgerMissing, &key.owner(), detail);
                }
            }
        }
        Ok(())
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
        for round in self.source.folders(&key.rounds()).await? {
            if let Ok(round) = round.parse::<i64>() {
                let (package, due) = self
                    .round(&key, round, &by_id, &mut files, findings)
                    .await?;
                released = package.or(released);
                attempts_due = due.max(attempts_due);
            }
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
        let closed = self.read::<Closed>(&at, findings).await?;
        if let Some(closed) = &closed {
            let detail = [
                ("as", json(&closed.closed_as)),
                ("quarantineDue", json(&closed.quarantine_due)),
                ("releaseDue", json(&closed.release_due)),
            ];
            self.same(&at, "closed", events, closed.time, &detail, findings);
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
        let revoked = self.read::<Revoked>(&at, findings).await?;
        if let Some(revoked) = &revoked {
            let detail = [
                ("reason", json(&revoked.reason)),
                ("through", json(&revoked.through)),
            ];
            self.same(&at, "revoked", events, revoked.time, &detail, findings);
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
            ("Decided", Some(round)) => key.decision(round),
            ("Frozen", Some(round)) => key.manifest(round),
            ("Outcome", Some(round)) => key.outcome(round),
            ("Closed", _) if id == "closed" => key.closed(),
            ("Revoked", _) if id == "revoked" => key.revoked(),
            ("Deleted", _) => match id.strip_prefix("deleted-").and_then(What::of) {
                Some(what) => key.deletion(what.word()),
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
    pub(super) fn same(
        &self,
        at: &str,
        id: &str,
        events: &BTreeMap<&str, &Event>,
        time: Timestamp,
        detail: &[(&str, Value)],
        findings: &mut Findings<'_>,
    ) {
        let Some(event) = events.get(id) else {
            if self.must_be_recorded(time) {
                findings.add(Kind::NotInLedger, at, "is not in the ledger");
            }
            return;
        };
        if event.time != time {
            findings.add(
                Kind::LedgerDiffers,
                at,
                "has another time than the ledger has",
            );
        }
        for (name, value) in detail {
            if event.detail.get(*name).unwrap_or(&Value::Null) != value {
                let detail = format!("has another {name} than the ledger has");
                findings.add(Kind::LedgerDiffers, at, &detail);
            }
        }
    }

    pub(super) fn must_be_recorded(&self, time: Timestamp) -> bool {
        self.settled.is_some_and(|settled| time < settled)
    }

    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        at: &str,
        findings: &mut Findings<'_>,
    ) -> Result<Option<T>, SourceError> {
        read(self.source, at, findings).await
    }
}

/// Reads a fact; one that cannot be read is named and passed over.
pub async fn read<T: DeserializeOwned>(
    source: &Source,
    at: &str,
    findings: &mut Findings<'_>,
) -> Result<Option<T>, SourceError> {
    let Some(bytes) = source.get(at).await? else {
        return Ok(None);
    };
    match serde_json::from_slice(&bytes) {
        Ok(fact) => Ok(Some(fact)),
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

pub(super) fn json<T: serde::Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}
