//! One round: its manifest and the receipts that it was made from, its decision and the
//! reviews that this follows from, its outcome.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::requests::{About, Requests, Said, json, later_words};
use super::source::SourceError;
use super::stock::Files;
use super::{Findings, Kind};
use trevor_api::ReviewDecision;
use trevor_core::commit::{Decision, OutcomeKind, PackageFact, Seal, Verdict};
use trevor_core::event::Event;
use trevor_core::format::{Fact as _, Later};
use trevor_core::frozen::FrozenRound;
use trevor_core::keys::RequestKey;
use trevor_core::manifest::{Frozen, Manifest};
use trevor_core::object_key::FactKey;
use trevor_core::quorum::{ReviewFact, approve};
use trevor_core::receipt::{self, Receipt};
use trevor_core::{canonical, packaging};

/// Receipts read at once.
const RECEIPTS: usize = 16;

impl Requests<'_> {
    /// Gives the package that crossed, and when what attempts left is collected.
    pub(super) async fn round(
        &self,
        about: &About<'_>,
        files: &mut Files,
        findings: &mut Findings<'_>,
    ) -> Result<(Option<PackageFact>, Option<Timestamp>), SourceError> {
        let (key, round, events) = (about.key, about.round, about.events);
        let id = |what: &str| format!("r{round}-{what}");
        let seal = self.sealed(about, findings).await?;
        let frozen = self.frozen(about, seal.as_ref(), findings).await?;
        if let Some(frozen) = &frozen {
            self.uploads(key, &frozen.manifest, findings).await?;
            files.compare(&frozen.manifest, findings);
        }
        let (mut released, mut attempts_due) = (None, None);
        // The ledger has a release before its record is made.
        let crossed = self.source.exists(&key.outcome(round)).await?
            && self.source.exists(&key.record()).await?;
        let at = key.decision(round);
        if let Some(decision) = self.read(&at, findings).await? {
            let uids: Vec<&str> = decision.reviews.iter().map(|r| r.uid.as_str()).collect();
            let detail = [
                ("verdict", json(&decision.verdict)),
                ("manifestDigest", json(&decision.manifest_digest)),
                ("policy", json(&decision.policy)),
                ("quorum", json(&decision.quorum)),
                ("reviews", json(&uids)),
            ];
            let said = Said {
                key,
                at: &at,
                id: &id("3-decided"),
                time: decision.time,
                over: about.over || crossed,
            };
            self.same(said, events, &detail, findings).await?;
            if events.contains_key(id("4-attempt-000001").as_str()) {
                let seconds = decision.terms.release_retention_seconds;
                let kept = SignedDuration::from_secs(seconds);
                attempts_due = decision.time.checked_add(kept).ok();
            }
            self.founded(
                about,
                &at,
                (seal.as_ref(), frozen.as_ref()),
                &decision,
                findings,
            );
            self.reviewed(&said, &decision.reviews, events, findings)
                .await?;
        }
        let at = key.outcome(round);
        if let Some(outcome) = self.read(&at, findings).await? {
            let detail = [
                ("outcome", json(&outcome.kind)),
                ("package", json(&outcome.package)),
                ("files", json(&outcome.files)),
            ];
            let said = Said {
                key,
                at: &at,
                id: &id("6-outcome"),
                time: outcome.time,
                over: about.over || crossed,
            };
            self.same(said, events, &detail, findings).await?;
            self.reviewed(&said, &outcome.reviews, events, findings)
                .await?;
            if outcome.kind == OutcomeKind::Released
                && !crossed
                && self.must_have(&at, outcome.time, false, findings).await?
            {
                let detail = "has no record of what crossed";
                findings.add(Kind::RecordMissing, &at, detail);
            }
            released = outcome.package;
        }
        Ok((released, attempts_due))
    }

    /// What closed the round to uploads is in the ledger.
    async fn sealed(
        &self,
        about: &About<'_>,
        findings: &mut Findings<'_>,
    ) -> Result<Option<Seal>, SourceError> {
        let at = about.key.seal(about.round);
        let seal = self.read(&at, findings).await?;
        if let Some(seal) = &seal {
            let detail = [
                ("policy", json(&seal.policy)),
                ("because", json(&seal.because)),
            ];
            let said = Said {
                key: about.key,
                at: &at,
                id: &format!("r{}-1-sealed", about.round),
                time: seal.time,
                over: about.over,
            };
            self.same(said, about.events, &detail, findings).await?;
        }
        Ok(seal)
    }

    /// The manifest is the one that the ledger has the digest of.
    async fn frozen(
        &self,
        about: &About<'_>,
        seal: Option<&Seal>,
        findings: &mut Findings<'_>,
    ) -> Result<Option<Frozen>, SourceError> {
        let at = about.key.manifest(about.round);
        let Some(bytes) = self.source.get(&at).await? else {
            return Ok(None);
        };
        let Some(found) = FrozenRound::parse(&bytes)
            .ok()
            .filter(|_| canonical::is_canonical(&bytes))
        else {
            let detail = "is no manifest as one is written";
            findings.add(Kind::ManifestChanged, &at, detail);
            return Ok(None);
        };
        if let Some(later) = Later::is(&found, &at, &bytes) {
            findings.add(Kind::LaterFormat, &at, &later_words(&later));
        }
        let kind = match found.manifest() {
            Some(_) => "2-frozen",
            None => "2-refused",
        };
        let Some(said) = about
            .events
            .get(format!("r{}-{kind}", about.round).as_str())
        else {
            // It bears no time of its own.
            let time = seal.map_or(Timestamp::MAX, |seal| seal.time);
            let id = format!("r{}-{kind}", about.round);
            if self.must_have(&at, time, about.over, findings).await?
                && !self.has_now(about.key, &id).await?
            {
                findings.add(Kind::NotInLedger, &at, "is not in the ledger");
            }
            return Ok(found.frozen());
        };
        let digest = said.detail.get("digest").and_then(Value::as_str);
        if digest.is_some_and(|digest| digest != found.digest().as_str()) {
            findings.add(
                Kind::ManifestChanged,
                &at,
                "has another digest than the ledger has",
            );
        }
        Ok(found.frozen())
    }

    /// A decision follows from its reviews by the policy that it names, as a release derives
    /// it.
    fn founded(
        &self,
        about: &About<'_>,
        at: &str,
        (seal, frozen): (Option<&Seal>, Option<&Frozen>),
        decision: &Decision,
        findings: &mut Findings<'_>,
    ) {
        let has = |wanted| decision.reviews.iter().any(|r| r.decision == wanted);
        let approved = || {
            let (seal, frozen) = (seal?, frozen?);
            packaging::fit(seal, frozen, decision).ok()?;
            approve(frozen.clone(), decision).ok()
        };
        let founded = match decision.verdict {
            Verdict::Approved => approved().is_some(),
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
            if !self
                .epochs
                .cover(about.cluster, review.epoch, review.time, decision.time)
            {
                let detail = format!(
                    "counts review {}, which was made while the admission rules were not proved",
                    review.name
                );
                findings.add(Kind::DecisionUnfounded, at, &detail);
            }
        }
    }

    /// Every review that counted is in the ledger, as it counted.
    async fn reviewed(
        &self,
        said: &Said<'_>,
        reviews: &[ReviewFact],
        events: &BTreeMap<&str, &Event>,
        findings: &mut Findings<'_>,
    ) -> Result<(), SourceError> {
        let at = said.at;
        for review in reviews {
            let Some(event) = events.get(format!("review-{}", review.uid).as_str()) else {
                let id = format!("review-{}", review.uid);
                if self.must_have(at, said.time, said.over, findings).await?
                    && !self.has_now(said.key, &id).await?
                {
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
        Ok(())
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
        let names: Vec<(usize, FactKey<Receipt>)> = manifest
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
            let receipt = bytes.and_then(|b| Receipt::parse(&b).ok());
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
