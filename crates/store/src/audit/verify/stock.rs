//! What lies in quarantine and in the release bucket, against what must lie there.
//!
//! A live bucket changes while it is looked at: what seems to be missing is looked for
//! once more, and what explains it is read after that.

use std::collections::BTreeSet;

use futures::TryStreamExt as _;

use super::requests::read;
use super::retention::{Case, Receipts};
use super::source::{Source, SourceError};
use super::{Findings, Kind, Packages, Question};
use trevor_core::commit::PackageFact;
use trevor_core::keys::{RequestKey, set_aside_key};
use trevor_core::manifest::Manifest;
use trevor_core::retention::What;

/// Files that are named; all are counted.
const NAMED: usize = 20;

/// Quarantined files of one request.
#[derive(Debug, Default)]
pub struct Files {
    /// What is there; none: it is not looked at.
    there: Option<BTreeSet<String>>,
    /// Keys that a manifest has and that were not listed.
    missing: BTreeSet<String>,
}

impl Files {
    /// Lists them, where quarantine is at hand.
    pub async fn list(question: &Question, key: &RequestKey) -> Result<Self, SourceError> {
        let there = match &question.quarantine {
            Some(source) => Some(source.keys(&key.files()).try_collect().await?),
            None => None,
        };
        Ok(Self {
            there,
            missing: BTreeSet::new(),
        })
    }

    /// What a manifest has must be there.
    pub fn compare(&mut self, manifest: &Manifest, findings: &mut Findings<'_>) {
        let Some(there) = &self.there else { return };
        findings.summary.files += manifest.files.len() as u64;
        for file in &manifest.files {
            if !there.contains(&file.key) && !there.contains(&set_aside_key(&file.key)) {
                self.missing.insert(file.key.clone());
            }
        }
    }

    /// Says what is missing, and what is left although it was deleted.
    pub async fn verify(
        &self,
        source: &Source,
        question: &Question,
        case: &Case<'_>,
        receipts: Receipts,
        findings: &mut Findings<'_>,
    ) -> Result<(), SourceError> {
        let Some(quarantine) = &question.quarantine else {
            return Ok(());
        };
        if receipts.quarantine {
            let left = quarantine.ever_stored(&case.key.files()).await?;
            if let Some(first) = left.first() {
                let detail = format!(
                    "says that nothing was left, and {} objects are there, such as {first}",
                    left.len()
                );
                let at = case.key.deletion(What::Quarantine.word());
                findings.add(Kind::DeletionIncomplete, &at, &detail);
            }
            return Ok(());
        }
        if !case.must_be_there(What::Quarantine, question.now) {
            return Ok(());
        }
        let mut gone = Vec::new();
        for key in &self.missing {
            if !quarantine.exists(key).await? && !quarantine.exists(&set_aside_key(key)).await? {
                gone.push(key);
            }
        }
        let receipt = case.key.deletion(What::Quarantine.word());
        if gone.is_empty() || source.exists(&receipt).await? {
            return Ok(());
        }
        for key in gone.iter().take(NAMED) {
            findings.add(
                Kind::DeletedEarly,
                key,
                "is gone, with no receipt and before its due time",
            );
        }
        if gone.len() > NAMED {
            let detail = format!("{} more files are gone", gone.len() - NAMED);
            findings.add(Kind::DeletedEarly, &case.key.files(), &detail);
        }
        Ok(())
    }
}

/// The package of one request, and what else lies beside it.
pub async fn package(
    (source, packages): (&Source, &Packages),
    question: &Question,
    case: &Case<'_>,
    released: Option<&PackageFact>,
    receipts: Receipts,
    findings: &mut Findings<'_>,
) -> Result<(), SourceError> {
    let key = case.key;
    let there: Vec<String> = packages.keys(&key.releases()).try_collect().await?;
    let mut moved = BTreeSet::new();
    if released.is_some() {
        for at in source.list(&key.moves()).await? {
            let Some(to) = read(source, &at, findings).await? else {
                continue;
            };
            // A copy that is not the package was not handed out.
            if !source.exists(&key.move_failed(&to.action)).await? {
                moved.insert(to.key);
            }
        }
    }
    let known = |at: &String| moved.contains(at) || released.is_some_and(|p| p.key == *at);
    if let Some(package) = released.filter(|_| !receipts.release && !there.iter().any(known)) {
        // It may have been deleted since: what says so stands before it goes.
        let revoked = read(source, &key.revoked(), findings).await?;
        let receipt = source.exists(&key.deletion(What::Release.word())).await?;
        if revoked.is_none() && !receipt && case.must_be_there(What::Release, question.now) {
            findings.add(
                Kind::DeletedEarly,
                &package.key,
                "is gone, with no receipt, no revocation and before its due time",
            );
        }
    }
    left(packages, question, case, (&there, receipts), findings).await?;
    let mut attempts: Option<BTreeSet<String>> = None;
    for at in &there {
        if let Some(package) = released.filter(|_| known(at)) {
            let wanted = (package.sha256.as_str(), package.size);
            packages.compare(at, wanted, findings).await?;
            continue;
        }
        if attempts.is_none() {
            attempts = Some(attempted(source, key, findings).await?);
        }
        if !attempts.as_ref().is_some_and(|all| all.contains(at)) {
            findings.add(
                Kind::Unexpected,
                at,
                "is in the release bucket, and is neither the package nor of an attempt to make it",
            );
        }
    }
    Ok(())
}

/// What is there although it ought to be gone.
async fn left(
    packages: &Packages,
    question: &Question,
    case: &Case<'_>,
    (there, receipts): (&[String], Receipts),
    findings: &mut Findings<'_>,
) -> Result<(), SourceError> {
    if receipts.release {
        // Versions, too: none was left.
        let left = packages.ever_stored(&case.key.releases()).await?;
        if let Some(first) = left.first() {
            let detail = format!(
                "says that nothing was left, and {} objects are there, such as {first}",
                left.len()
            );
            let at = case.key.deletion(What::Release.word());
            findings.add(Kind::DeletionIncomplete, &at, &detail);
        }
    } else if let Some(first) = there.first()
        && case.is_late(What::Release, question)
    {
        let why = match case.revoked {
            Some(_) => "the release was revoked",
            None => "its due time is over, without a hold",
        };
        let detail = format!("is still there ({} objects), and {why}", there.len());
        findings.add(Kind::KeptTooLong, first, &detail);
    }
    Ok(())
}

/// Keys of all attempts to release, and of copies that failed.
async fn attempted(
    source: &Source,
    key: &RequestKey,
    findings: &mut Findings<'_>,
) -> Result<BTreeSet<String>, SourceError> {
    let mut found = BTreeSet::new();
    for at in source.list(&key.moves()).await? {
        let to = read(source, &at, findings).await?;
        found.extend(to.map(|to| to.key));
    }
    for round in source.folders(&key.rounds()).await? {
        let Ok(round) = round.parse::<i64>() else {
            continue;
        };
        for at in source.list(&key.attempts(round)).await? {
            let attempt = read(source, &at, findings).await?;
            found.extend(attempt.map(|attempt| attempt.key));
        }
    }
    Ok(found)
}
