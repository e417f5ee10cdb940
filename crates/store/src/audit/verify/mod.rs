//! Verifies a ledger with nothing but a bucket, or a copy of it, and a public key.
//!
//! In order, each in one pass and in bounded memory: checkpoints ([`checkpoints`]), the
//! chains against them ([`chains`]), of each request what is stored against what its
//! ledger says ([`requests`], [`retention`], [`stock`]), the records of what crossed
//! ([`records`]), and what else lies in the release bucket ([`packages`]). Whatever is
//! wrong is named, and the pass goes on.

mod chains;
mod checkpoints;
mod epochs;
#[cfg(test)]
mod fixture_tests;
mod holds;
mod packages;
mod records;
mod requests;
mod retention;
mod rounds;
mod source;
mod spool;
mod stock;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

pub use packages::Packages;
pub use source::{Source, SourceError};

use super::key::PublicKey;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[allow(missing_docs, reason = "each is said in the finding")]
pub enum Kind {
    Corrupt,
    Unexpected,
    EntryChanged,
    EntryMissing,
    OutOfOrder,
    Truncated,
    Rewritten,
    Fork,
    CheckpointChanged,
    CheckpointMissing,
    NotSigned,
    KeyNotTrusted,
    LedgerMissing,
    NotInLedger,
    LedgerDiffers,
    ManifestChanged,
    ReceiptMissing,
    DecisionMissing,
    DecisionUnfounded,
    ReviewMissing,
    RecordMissing,
    StatementMissing,
    LaterFormat,
    RecordDiffers,
    StatementDiffers,
    PackageDiffers,
    DeletedEarly,
    KeptTooLong,
    DeletionIncomplete,
}

/// One thing that is wrong, and with which object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub kind: Kind,
    /// Key of the object, or the name of a file that was given.
    pub key: String,
    /// In words.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A key in a bucket that was tampered with could hold anything.
        let plain = |text: &str| text.replace(|c: char| c.is_control(), "\u{fffd}");
        write!(
            f,
            "{:?}: {}: {}",
            self.kind,
            plain(&self.key),
            plain(&self.detail)
        )
    }
}

/// How it went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Things that are wrong.
    pub findings: u64,
    /// Entries of chains.
    pub entries: u64,
    /// Chains.
    pub chains: u64,
    /// Entries behind the last checkpoint of their chain: no signature has them yet.
    pub not_yet_covered: u64,
    /// Facts that are so new that the ledger need not have them yet.
    pub not_yet_recorded: u64,
    /// Requests whose facts were compared with their ledger.
    pub requests: u64,
    /// Records of what crossed.
    pub records: u64,
    /// Packages that were there and were hashed.
    pub packages: u64,
    /// Quarantined files that were looked for.
    pub files: u64,
    /// The last checkpoint; 0: there is none.
    pub checkpoint: i64,
    /// It is stored and not signed: the operator was at it, or somebody took the note.
    pub last_not_signed: bool,
    /// What was not at hand, so that nothing is said of it.
    pub not_looked_at: Vec<&'static str>,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Question {
    /// Keys that are trusted.
    pub keys: Vec<PublicKey>,
    /// Signed notes of checkpoints from elsewhere: file and text.
    pub checkpoints: Vec<(String, String)>,
    /// The time of the verification.
    pub now: Timestamp,
    /// How late a deletion may be.
    pub grace: SignedDuration,
    /// All files under review: the quarantine bucket, or a copy of the whole of it.
    pub quarantine: Option<Source>,
    /// All packages: the release bucket, or a copy of the whole of it.
    pub release: Option<Packages>,
}

/// The keys that are trusted.
#[derive(Clone, Debug, Default)]
pub struct Trust(BTreeSet<PublicKey>);

/// Takes findings as they come, and tells how far it is.
struct Findings<'a> {
    sink: &'a mut (dyn FnMut(Finding) + Send),
    progress: &'a mut (dyn FnMut(&str) + Send),
    summary: Summary,
    looked: u64,
    told: Instant,
    stage: &'static str,
}

impl Findings<'_> {
    fn add(&mut self, kind: Kind, key: &str, detail: &str) {
        self.summary.findings += 1;
        (self.sink)(Finding {
            kind,
            key: key.to_owned(),
            detail: detail.to_owned(),
        });
    }

    fn begin(&mut self, stage: &'static str) {
        (self.stage, self.looked) = (stage, 0);
    }

    fn looked_at_one(&mut self) {
        const EVERY: Duration = Duration::from_secs(2);
        self.looked += 1;
        if self.looked.is_multiple_of(256) && self.told.elapsed() > EVERY {
            self.told = Instant::now();
            let text = format!("{}: {} objects", self.stage, self.looked);
            (self.progress)(&text);
        }
    }
}

/// Verifies it all. Findings go to `sink` as they come, words on how far it is to
/// `progress`.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn verify(
    source: &Source,
    question: &Question,
    sink: &mut (dyn FnMut(Finding) + Send),
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<Summary, SourceError> {
    let mut findings = Findings {
        sink,
        progress,
        summary: Summary::default(),
        looked: 0,
        told: Instant::now(),
        stage: "checkpoints",
    };
    let given = Trust(question.keys.iter().cloned().collect());
    let trust = checkpoints::trust(source, given).await?;
    let found = checkpoints::verify(source, trust, &question.checkpoints, &mut findings).await?;
    let (last, time) = (found.last, found.time);
    let signed = found.since.zip(time);
    let trust = found.trust;
    findings.summary.checkpoint = last.as_ref().map_or(0, |mark| mark.sequence);
    findings.begin("entries");
    let requests = requests::Requests::load(source, question, time, &mut findings).await?;
    chains::verify(source, found.heads, &requests, &mut findings).await?;
    if last.is_none() && findings.summary.entries > 0 {
        findings.add(
            Kind::CheckpointMissing,
            super::checkpoint::PREFIX,
            "there is no checkpoint, so that nothing is proved by a signature",
        );
    }
    findings.begin("requests");
    requests.without_ledger(&mut findings).await?;
    findings.begin("records");
    let loose = match (source, &question.release) {
        (Source::Folder(folder), None) => Some(Packages::Folder(folder.clone())),
        (Source::Folder(_) | Source::Bucket(_), _) => None,
    };
    records::verify(&requests, loose.as_ref(), (&trust, signed), &mut findings).await?;
    let not_looked_at = &mut findings.summary.not_looked_at;
    if question.quarantine.is_none() {
        not_looked_at.push("whether the files under review are there");
    }
    match &question.release {
        None => not_looked_at.push("whether the packages are there, and nothing besides"),
        Some(packages) => {
            findings.begin("packages");
            packages::strays(packages, source, &mut findings).await?;
        }
    }
    Ok(findings.summary)
}
