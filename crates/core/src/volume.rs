//! Jobs: what is stored of one, and what those that move files between workspace
//! volumes and quarantine say when they are done (docs/design.md#volumes).
//!
//! Gateway, controller and the Job itself all use these, so that they never differ.

use serde::{Deserialize, Serialize};

use super::digest::Sha256Hex;
use super::names;

/// The most files that one Job moves.
pub const MOST_FILES: usize = 10_000;

/// What a Job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Errand {
    /// It reads the sources of a round (egress).
    Collect {
        /// The round.
        round: i64,
    },
    /// It writes what was approved into a volume (ingress).
    Deliver,
    /// It makes the package of an attempt (egress), in the operator's namespace.
    Package {
        /// The round.
        round: i64,
        /// The attempt.
        attempt: i64,
    },
}

impl Errand {
    /// Value of the label `airlock.karectl.io/job`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Collect { .. } => "collect",
            Self::Deliver => "deliver",
            Self::Package { .. } => "package",
        }
    }

    /// Its own part of names: of the Job, and of the objects in `work/jobs/<uid>/`.
    #[must_use]
    pub fn slug(self) -> String {
        match self {
            Self::Collect { round } => format!("collect-{round}"),
            Self::Deliver => "deliver".to_owned(),
            Self::Package { round, attempt } => format!("package-{round}-{attempt}"),
        }
    }

    /// Name of the Job of a request (docs/reference/resources.md#derived-names). One that runs
    /// in the operator's namespace, beside those of other projects, has no word of a request's.
    #[must_use]
    pub fn job_name(self, request: &str, uid: &str) -> String {
        match self {
            Self::Package { .. } => {
                let of = Sha256Hex::of(uid.as_bytes());
                format!("{}-{}", self.slug(), of.short(16))
            }
            _ => format!("{}-{}", names::derived(request, uid), self.slug()),
        }
    }
}

/// `work/jobs/<uid>/<slug>.json`: a Job that is about to be made. Create-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobIntent {
    /// Its name.
    pub job: String,
    /// What an annotation of ours says, so that after a crash it is known again.
    pub nonce: String,
    /// The account that its pod runs as.
    pub service_account: String,
}

/// `work/jobs/<uid>/<slug>.uid.json`: the Job that was made. Create-only: a Job of
/// the same name and another uid is not ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobMade {
    /// Its uid.
    pub uid: String,
}

/// `work/jobs/<uid>/<slug>.pods/<pod's uid>.json`: a pod of that Job, which runs what it
/// says. Create-only: the gateway takes tokens that are bound to one of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobPod {
    /// Its name.
    pub pod: String,
    /// Uid of the Job.
    pub job: String,
}

/// A file as a Job read or wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeFile {
    /// The path in the request.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of them.
    pub sha256: Sha256Hex,
}

/// `work/jobs/<uid>/collect-<round>.list.json`: everything that the sources hold.
/// Create-only; the freeze of the round waits for it. Also the body of
/// `PUT collection`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Collection {
    /// The round.
    pub round: i64,
    /// Sorted by path.
    pub files: Vec<VolumeFile>,
}

/// Answer of `PUT collection` while files of it are not in quarantine yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Missing {
    /// Paths that are to be sent.
    pub missing: Vec<String>,
}

/// `work/jobs/<uid>/deliver.receipt.json`: what stands in the volume. Create-only.
/// Also the body of `PUT delivery`, and of the answer to `GET delivery`: what is
/// to be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivered {
    /// Sorted by path.
    pub files: Vec<VolumeFile>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_named_by_its_request_and_errand() {
        let uid = "6d0b5c0e-0000-4000-8000-000000000001";
        let long = "a".repeat(39) + "-more-than-fits";
        for (errand, end) in [
            (Errand::Collect { round: 12 }, "-collect-12"),
            (Errand::Deliver, "-deliver"),
        ] {
            let name = errand.job_name(&long, uid);
            assert!(
                name.starts_with(&"a".repeat(39)) && name.ends_with(end),
                "{name}"
            );
            assert!(name.len() <= 63, "{name}");
        }
        let package = Errand::Package {
            round: 12,
            attempt: 345,
        };
        let name = package.job_name(&long, uid);
        assert!(
            name.starts_with("package-12-345-") && name.len() <= 63,
            "{name}"
        );
        assert!(!name.contains("aa"), "{name}");
        assert_ne!(name, package.job_name(&long, "another"));
    }
}
