//! Of one request: what is stored, against what its ledger says of it.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::epochs::Epochs;
use super::holds::Holds;
use super::retention::{self, Case};
use super::source::{Source, SourceError};
use super::stock::{self, Files};
use super::{Findings, Kind, Question};
use crate::api::ReviewDecision;
use crate::audit::Event;
use crate::domain::canonical;
use crate::domain::commit::{
    Closed, Decision, Freeze, Outcome, Owner, PackageFact, Revoked, Verdict,
};
use crate::domain::digest::Sha256Hex;
use crate::domain::manifest::{Frozen, Manifest};
use crate::domain::quorum::{ReviewFact, approve};
use crate::domain::receipt::{self, Receipt};
use crate::domain::retention::What;
use crate::storage::keys::RequestKey;

/// A fact younger than this before the last checkpoint may not be in the ledger yet.
const SETTLED: SignedDuration = SignedDuration::from_mins(10);
/// Receipts read at once.
const RECEIPTS: usize = 16;

/// Compares requests with their ledgers.
pub struct Requests<'a> {
    source: &'a Source,
    question: &'a Question,
    /// What is older must be in the ledger.
    settled: Option<Timestamp>,
    epochs: Epochs,
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
        Ok(Self {
            source,
            question,
            settled: newest.and_then(|time| time.checked_sub(SETTLED).ok()),
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

    /// Gives the package that crossed, and when what attempts left is collected.
    async fn round(
        &self,
        key: &RequestKey,
        round: i64,
        events: &BTreeMap<&str, &Event>,
        files: &mut Files,
        findings: &mut Findings<'_>,
    ) -> Result<(Option<PackageFact>, Option<Timestamp>), SourceError> {
        let id = |what: &str| format!("r{round}-{what}");
        let at = key.manifest(round);
        let mut frozen = None;
        if let Some(bytes) = self.source.get(&at).await? {
            let freeze = serde_json::from_slice::<Freeze>(&bytes).ok();
            let same = |f: &Freeze| canonical::to_vec(f).is_ok_and(|same| same == *bytes);
            match freeze.filter(same) {
                None => findings.add(
                    Kind::ManifestChanged,
                    &at,
                    "is no manifest as one is written",
                ),
                Some(freeze) => frozen = freeze.frozen(),
            }
            let said = events.get(id("2-frozen").as_str());
            let digest = said
                .and_then(|e| e.detail.get("digest"))
                .and_then(Value::as_str);
            if digest.is_some_and(|digest| digest != Sha256Hex::of(&bytes).as_str()) {
                findings.add(
                    Kind::ManifestChanged,
                    &at,
                    "has another digest than the ledger has",
                );
            }
        }
        if let Some(frozen) = &frozen {
            self.uploads(key, &frozen.manifest, findings).await?;
            files.compare(&frozen.manifest, findings);
        }
        let (mut released, mut attempts_due) = (None, None);
        let at = key.decision(round);
        if let Some(decision) = self.read::<Decision>(&at, findings).await? {
            let uids: Vec<&str> = decision.reviews.iter().map(|r| r.uid.as_str()).collect();
            let detail = [
                ("verdict", json(&decision.verdict)),
                ("manifestDigest", json(&decision.manifest_digest)),
                ("policy", json(&decision.policy)),
                ("quorum", json(&decision.quorum)),
                ("reviews", json(&uids)),
            ];
            self.same(
                &at,
                &id("3-decided"),
                events,
                decision.time,
                &detail,
                findings,
            );
            if events.contains_key(id("4-attempt-000001").as_str()) {
                let seconds = decision.terms.release_retention_seconds;
                let kept = SignedDuration::from_secs(seconds);
                attempts_due = decision.time.checked_add(kept).ok();
            }
            self.founded(&at, frozen.as_ref(), &decision, findings);
            self.reviewed(&at, &decision.reviews, decision.time, events, findings);
        }
        let at = key.outcome(round);
        if let Some(outcome) = self.read::<Outcome>(&at, findings).await? {
            let detail = [
                ("outcome", json(&outcome.kind)),
                ("package", json(&outcome.package)),
                ("files", json(&outcome.files)),
            ];
            self.same(
                &at,
                &id("6-outcome"),
                events,
                outcome.time,
                &detail,
                findings,
            );
            self.reviewed(&at, &outcome.reviews, outcome.time, events, findings);
            released = outcome.package;
        }
        Ok((released, attempts_due))
    }

    /// A decision follows from its reviews by the policy that it names.
    fn founded(
        &self,
        at: &str,
        frozen: Option<&Frozen>,
        decision: &Decision,
        findings: &mut Findings<'_>,
    ) {
        let has = |wanted| decision.reviews.iter().any(|r| r.decision == wanted);
        let founded = match decision.verdict {
            Verdict::Approved => frozen.is_some_and(|f| approve(f.clone(), decision).is_ok()),
            Verdict::Returned => decision.recalled.is_some() || has(ReviewDecision::RequestChanges),
            Verdict::Rejected => has(ReviewDecision::Reject),
            Verdict::Withdrawn => true,
        };
        if !founded {
            let detail = format!("{:?} does not follow from its reviews", decision.verdict);
            findings.add(Kind::DecisionUnfounded, at, &detail);
        }
        if decision.verdict != Verdict::Approved {
            return;
        }
        for review in &decision.reviews {
            if !self.epochs.cover(review.epoch, review.time) {
                let detail = format!(
                    "counts review {}, which was made while the admission rules were not proved",
                    review.name
                );
                findings.add(Kind::DecisionUnfounded, at, &detail);
            }
        }
    }

    /// Every review that counted is in the ledger, as it counted.
    fn reviewed(
        &self,
        at: &str,
        reviews: &[ReviewFact],
        time: Timestamp,
        events: &BTreeMap<&str, &Event>,
        findings: &mut Findings<'_>,
    ) {
        for review in reviews {
            let Some(event) = events.get(format!("review-{}", review.uid).as_str()) else {
                if self.must_be_recorded(time) {
                    let detail =
                        format!("counts review {}, which is not in the ledger", review.name);
                    findings.add(Kind::ReviewMissing, at, &detail);
                }
                continue;
            };
            let same = event.actor.as_deref() == Some(review.reviewer.as_str())
                && event.detail.get("decision") == Some(&json(&review.decision))
                && event.detail.get("manifestDigest") == Some(&json(&review.manifest_digest));
            if !same {
                let detail = format!("has review {} otherwise than the ledger", review.name);
                findings.add(Kind::LedgerDiffers, at, &detail);
            }
        }
    }

    /// The receipts that the manifest was made from are those that are there.
    async fn uploads(
        &self,
        key: &RequestKey,
        manifest: &Manifest,
        findings: &mut Findings<'_>,
    ) -> Result<(), SourceError> {
        let Some(wanted) = &manifest.uploads else {
            return Ok(());
        };
        let names: Vec<(usize, String)> = manifest
            .files
            .iter()
            .map(|file| key.receipt(&file.path, &file.version))
            .enumerate()
            .collect();
        let found: Vec<_> = stream::iter(names)
            .map(|(file, at)| async move {
                Ok::<_, SourceError>((file, self.source.get(&at).await?, at))
            })
            .buffered(RECEIPTS)
            .try_collect()
            .await?;
        let mut receipts = Vec::new();
        for (file, bytes, at) in found {
            let receipt = bytes.and_then(|b| serde_json::from_slice::<Receipt>(&b).ok());
            let Some(receipt) = receipt else {
                findings.add(
                    Kind::ReceiptMissing,
                    &at,
                    "is missing, and the manifest has its file",
                );
                continue;
            };
            let file = &manifest.files[file];
            let content = receipt.content.as_ref();
            if content.is_none_or(|c| c.sha256 != file.sha256 || c.key != file.key) {
                findings.add(
                    Kind::ReceiptMissing,
                    &at,
                    "is of other bytes than the manifest has",
                );
            }
            receipts.push(receipt);
        }
        if receipts.len() == manifest.files.len()
            && receipt::uploads(&receipts, manifest.round).as_ref() != Some(wanted)
        {
            findings.add(
                Kind::ReceiptMissing,
                &key.receipts(),
                &format!(
                    "is not what round {} was frozen from: a receipt was changed",
                    manifest.round
                ),
            );
        }
        Ok(())
    }

    /// An event says the same as what is stored.
    fn same(
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

    fn must_be_recorded(&self, time: Timestamp) -> bool {
        self.settled.is_some_and(|settled| time < settled)
    }

    async fn read<T: DeserializeOwned>(
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

fn json<T: serde::Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}
