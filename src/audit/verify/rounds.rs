//! One round: its manifest and the receipts that it was made from, its decision and the
//! reviews that this follows from, its outcome.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::requests::{Requests, json};
use super::source::SourceError;
use super::stock::Files;
use super::{Findings, Kind};
use crate::api::ReviewDecision;
use crate::audit::Event;
use crate::domain::canonical;
use crate::domain::commit::{Decision, Freeze, Outcome, PackageFact, Verdict};
use crate::domain::digest::Sha256Hex;
use crate::domain::manifest::{Frozen, Manifest};
use crate::domain::quorum::{ReviewFact, approve};
use crate::domain::receipt::{self, Receipt};
use crate::storage::keys::RequestKey;

/// Receipts read at once.
const RECEIPTS: usize = 16;

impl Requests<'_> {
    /// Gives the package that crossed, and when what attempts left is collected.
    pub(super) async fn round(
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
            if !self.epochs.cover(review.epoch, review.time, decision.time) {
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
}
