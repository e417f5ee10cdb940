//! What a packaging Job may do, from stored facts alone: the quorum is derived from the
//! rules that the round was sealed with, and the approval from the reviews. And what
//! such a Job says when it is done.
//!
//! The facts vouch for each other: reviews name the digest of the manifest, the manifest
//! has the digest of the rules, and the rules say how many reviews it takes. So nobody
//! who can write one of them, or run the Job, gets anything out by that.

use serde::{Deserialize, Serialize};

use super::commit::{Attempt, Decision, Seal};
use super::digest::Sha256Hex;
use super::frozen::FrozenRound;
use super::manifest::Frozen;
use super::policy;
use super::quorum::{Approved, NotApproved, Quorum, approve};
use trevor_api::Direction;

/// Which attempt a Job is to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The project.
    pub namespace: &'a str,
    /// The request's uid.
    pub uid: &'a str,
    /// The round.
    pub round: i64,
    /// The attempt, from 1.
    pub attempt: i64,
    /// Prefix of the request's packages in the release bucket.
    pub releases: &'a str,
}

/// What is stored of the round.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// Under which rules it was sealed.
    pub seal: Option<Seal>,
    /// What was frozen.
    pub freeze: Option<FrozenRound>,
    /// What was decided.
    pub decision: Option<Decision>,
    /// The attempt.
    pub attempt: Option<Attempt>,
    /// What ended it meanwhile, if anything did.
    pub over: Option<Over>,
}

/// What ends an attempt, whoever makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// The release was taken back.
    Revoked,
    /// The request is closed.
    Closed,
    /// What became of the round is committed.
    Decided,
    /// Another attempt follows it.
    Superseded,
}

/// `work/jobs/<uid>/….over.json`: an attempt ended without a package. Create-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttemptOver {
    /// Why.
    pub message: String,
}

crate::stored_fact!(AttemptOver);

/// Why a Job makes no package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is nothing to make, or not by a Job.
    #[error("there is no such attempt of a Job's")]
    NoAttempt,
    /// The facts are about another request, or do not fit each other.
    #[error("the stored facts do not belong together: {0}")]
    Inconsistent(&'static str),
    /// Nobody approved it.
    #[error("{0}")]
    NotApproved(#[from] NotApproved),
    /// It is too late.
    #[error("the attempt is over: {}", .0.because())]
    Over(Over),
}

impl Over {
    fn because(self) -> &'static str {
        match self {
            Self::Revoked => "the release was revoked",
            Self::Closed => "the request is closed",
            Self::Decided => "what became of the round is decided",
            Self::Superseded => "another attempt follows it",
        }
    }
}

/// Derives the approval of an attempt anew, and the attempt's one key.
///
/// # Errors
/// When the facts do not approve it, or it is over.
pub fn derive(
    asked: &Asked<'_>,
    stored: Stored,
) -> Result<(Approved<Frozen>, Decision, Attempt), Refused> {
    if let Some(over) = stored.over {
        return Err(Refused::Over(over));
    }
    let attempt = stored
        .attempt
        .filter(|a| a.job && a.attempt == asked.attempt)
        .ok_or(Refused::NoAttempt)?;
    let beneath = attempt.key.strip_prefix(asked.releases);
    if beneath.is_none_or(|rest| rest.split('/').count() != 2 || rest.split('/').any(is_no_name)) {
        return Err(Refused::Inconsistent(
            "the attempt's key is not among the request's packages",
        ));
    }
    let (Some(seal), Some(decision)) = (stored.seal, stored.decision) else {
        return Err(Refused::Inconsistent("the round was not decided"));
    };
    let frozen = stored
        .freeze
        .and_then(|freeze| freeze.frozen())
        .ok_or(Refused::Inconsistent("the round has no manifest"))?;
    check_rounds(asked, &seal, &frozen)?;
    fit(&seal, &frozen, &decision)?;
    let approved = approve(frozen, &decision)?;
    Ok((approved, decision, attempt))
}

/// Whether seal, manifest and decision vouch for each other: the manifest names the rules
/// that the round was sealed with, and the decision asked for no less than they do.
///
/// # Errors
/// When they do not.
pub fn fit(seal: &Seal, frozen: &Frozen, decision: &Decision) -> Result<(), Refused> {
    let manifest = &frozen.manifest;
    if manifest.policy != seal.policy || seal.policy.digest != seal.rules.digest() {
        return Err(Refused::Inconsistent(
            "the seal's rules are not those that the manifest names",
        ));
    }
    let least = policy::quorum(&seal.rules, None, manifest);
    if !at_least(&decision.quorum, &least) {
        return Err(Refused::Inconsistent(
            "the decision asked for less than the policy",
        ));
    }
    Ok(())
}

fn is_no_name(part: &str) -> bool {
    matches!(part, "" | "." | "..")
}

fn check_rounds(asked: &Asked<'_>, seal: &Seal, frozen: &Frozen) -> Result<(), Refused> {
    let manifest = &frozen.manifest;
    if manifest.namespace != asked.namespace || manifest.uid != asked.uid {
        return Err(Refused::Inconsistent(
            "the manifest is of another request's",
        ));
    }
    if manifest.round != asked.round || seal.round != asked.round {
        return Err(Refused::Inconsistent("the facts are of different rounds"));
    }
    if manifest.direction != Direction::Egress {
        return Err(Refused::Inconsistent("what goes inwards is never packaged"));
    }
    Ok(())
}

/// Whether a quorum asks for no less than another.
fn at_least(quorum: &Quorum, least: &Quorum) -> bool {
    let listed = match (&quorum.reviewers, &least.reviewers) {
        (_, None) => true,
        (Some(some), Some(all)) => some.is_subset(all),
        (None, Some(_)) => false,
    };
    listed && quorum.required >= least.required && (quorum.require_viewed || !least.require_viewed)
}

/// What a Job says of the package that it sent: the last line of its termination
/// message. The controller stores it, and reads the package back before it counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sent {
    /// SHA-256 of the zip.
    pub sha256: Sha256Hex,
    /// Bytes of the zip.
    pub size: u64,
    /// Data files in it.
    pub files: u64,
}

impl Sent {
    /// The line.
    ///
    /// # Errors
    /// When it cannot be written, which it has no reason to.
    pub fn line(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    /// From what a container said.
    #[must_use]
    pub fn of(said: &str) -> Option<Self> {
        serde_json::from_str(said.lines().next_back()?).ok()
    }
}

#[cfg(test)]
#[path = "packaging_tests.rs"]
mod tests;
