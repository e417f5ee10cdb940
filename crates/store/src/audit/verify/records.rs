//! Records of what crossed: each has its outcome, its decision and its statement, and
//! where the package is at hand, its bytes.

use futures::TryStreamExt as _;
use jiff::Timestamp;

use super::requests::{Requests, read};
use super::source::{Source, SourceError};
use super::{Findings, Kind, Packages, Trust};
use crate::audit::dsse;
use crate::audit::statement::{PREDICATE, Statement};
use trevor_api::{ReleaseRecordSpec, ReviewDecision};
use trevor_core::commit::{Decision, OutcomeKind, Verdict};
use trevor_core::keys::RequestKey;

const PREFIX: &str = "records/";

/// Goes through all records. Packages that lie in `loose` are read; where they all are
/// at hand they were looked at with their requests.
///
/// `signed`: from when to when checkpoints are signed, so that releases have statements.
pub async fn verify(
    requests: &Requests<'_>,
    loose: Option<&Packages>,
    (trust, signed): (&Trust, Option<(Timestamp, Timestamp)>),
    findings: &mut Findings<'_>,
) -> Result<(), SourceError> {
    let source = requests.source;
    let mut keys = source.keys(PREFIX);
    while let Some(at) = keys.try_next().await? {
        findings.looked_at_one();
        let named = at[PREFIX.len()..].split_once('/');
        let Some((namespace, file)) = named else {
            findings.add(Kind::Unexpected, &at, "is no record");
            continue;
        };
        let key = |uid: &str| RequestKey {
            namespace: namespace.to_owned(),
            uid: uid.to_owned(),
        };
        if let Some(uid) = file.strip_suffix(".dsse.json") {
            statement(source, &key(uid), trust, findings).await?;
        } else if let Some(uid) = file.strip_suffix(".json") {
            record(requests, loose, (&key(uid), signed), findings).await?;
        } else {
            findings.add(Kind::Unexpected, &at, "is no record");
        }
    }
    Ok(())
}

async fn record(
    requests: &Requests<'_>,
    loose: Option<&Packages>,
    (key, signed): (&RequestKey, Option<(Timestamp, Timestamp)>),
    findings: &mut Findings<'_>,
) -> Result<(), SourceError> {
    let source = requests.source;
    findings.summary.records += 1;
    let at = key.record();
    let Some(record) = read(source, &at, findings).await? else {
        return Ok(());
    };
    if record.request_ref.uid != key.uid {
        let detail = "names another request than the one that it is kept for";
        findings.add(Kind::RecordDiffers, &at, detail);
    }
    let round = record.round;
    // Nothing of a release is told before its ledger has it.
    let released = record.released_time.0;
    let outcome = format!("r{round}-6-outcome");
    if !requests.has_now(key, &outcome).await?
        && requests.must_have(&at, released, true, findings).await?
    {
        let detail = format!(
            "is of a release that the ledger of {} does not have",
            key.uid
        );
        findings.add(Kind::NotInLedger, &at, &detail);
    }
    if record.package.is_some()
        && signed.is_some_and(|(since, until)| (since..=until).contains(&released))
        && source.get(&key.statement()).await?.is_none()
        && requests.must_have(&at, released, false, findings).await?
    {
        let detail = "has no signed statement, although a key signed at the time";
        findings.add(Kind::StatementMissing, &at, detail);
    }
    let decision = read(source, &key.decision(round), findings).await?;
    let outcome = read(source, &key.outcome(round), findings).await?;
    match &decision {
        None => {
            let detail = format!("has no decision of round {round}");
            findings.add(Kind::DecisionMissing, &at, &detail);
        }
        Some(decision) => differences(&at, &record, decision, findings),
    }
    match &outcome {
        Some(outcome) if outcome.kind == OutcomeKind::Released => {
            let same = outcome
                .package
                .as_ref()
                .map(|p| (p.sha256.to_string(), &p.key))
                == record.package.as_ref().map(|p| (p.sha256.clone(), &p.key));
            if !same || outcome.time != record.released_time.0 {
                findings.add(
                    Kind::RecordDiffers,
                    &at,
                    "is of another package than the outcome",
                );
            }
        }
        _ => findings.add(
            Kind::DecisionMissing,
            &at,
            "has no outcome that says Released",
        ),
    }
    if let (Some(package), Some(packages)) = (&record.package, loose) {
        let size = u64::try_from(package.size).unwrap_or(0);
        let wanted = (package.sha256.as_str(), size);
        packages.compare(&package.key, wanted, findings).await?;
    }
    Ok(())
}

fn differences(
    at: &str,
    record: &ReleaseRecordSpec,
    decision: &Decision,
    findings: &mut Findings<'_>,
) {
    if decision.verdict != Verdict::Approved {
        let detail = format!("is of a round that was decided {:?}", decision.verdict);
        findings.add(Kind::DecisionMissing, at, &detail);
    }
    let digest = decision.manifest_digest.as_ref().map(ToString::to_string);
    if digest.as_deref() != Some(record.manifest_digest.as_str()) {
        findings.add(
            Kind::RecordDiffers,
            at,
            "is of another manifest than the decision",
        );
    }
    let said: Vec<(&str, &str)> = record
        .approvals
        .iter()
        .map(|a| (a.reviewer.as_str(), a.review_name.as_str()))
        .collect();
    let stored: Vec<(&str, &str)> = decision
        .reviews
        .iter()
        .filter(|r| r.decision == ReviewDecision::Approve)
        .map(|r| (r.reviewer.as_str(), r.name.as_str()))
        .collect();
    if said != stored {
        findings.add(
            Kind::ReviewMissing,
            at,
            "has other approvals than the decision",
        );
    }
}

async fn statement(
    source: &Source,
    key: &RequestKey,
    trust: &Trust,
    findings: &mut Findings<'_>,
) -> Result<(), SourceError> {
    let at = key.statement();
    let Some(envelope) = read(source, &at, findings).await? else {
        return Ok(());
    };
    let Some(payload) = dsse::open(&envelope, trust.0.iter()) else {
        findings.add(
            Kind::KeyNotTrusted,
            &at,
            "is not signed by a key that is trusted",
        );
        return Ok(());
    };
    let record = read(source, &key.record(), findings).await?;
    let wanted = record.as_ref().and_then(|r| r.package.as_ref());
    let said = serde_json::from_slice::<Statement>(&payload).ok();
    let same = said.as_ref().zip(wanted).is_some_and(|(said, package)| {
        said.predicate_type == PREDICATE
            && said.predicate.uid == key.uid
            && said.subject.len() == 1
            && said.subject[0].digest.sha256.as_str() == package.sha256
    });
    if !same {
        findings.add(
            Kind::StatementDiffers,
            &at,
            "is not of the package that its record has",
        );
    }
    Ok(())
}
