//! Where a request stands, and what is to be done next, from the stored facts.

use jiff::{SignedDuration, Timestamp};

use super::commit::{
    Attempt, AttemptFailure, Closed, ClosedAs, Decision, Freeze, Outcome, OutcomeKind, Owner,
    PackageFact, Recall, Revoked, Seal, SealedBecause, Terms, Verdict,
};
use super::format::Later;
use super::frozen::FrozenRound;
use super::manifest::Frozen;
use super::seen::Seen;
use trevor_api::Phase;
use trevor_api::condition::reason;

/// What is stored of one round.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Round {
    /// Its number.
    pub round: i64,
    /// No more uploads.
    pub seal: Option<Seal>,
    /// Manifest or refusal.
    pub freeze: Option<FrozenRound>,
    /// What of it was seen before.
    pub seen: Option<Seen>,
    /// Whether later rounds will find it so.
    pub indexed: bool,
    /// What was decided.
    pub decision: Option<Decision>,
    /// Tries to release.
    pub attempts: Vec<Attempt>,
    /// Why the last one needs a person.
    pub failure: Option<AttemptFailure>,
    /// What became of an approval.
    pub outcome: Option<Outcome>,
    /// One of these that a later version wrote.
    pub later: Option<Later>,
}

/// What is stored of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Whose prefix it is.
    pub owner: Option<Owner>,
    /// The last round that has a seal.
    pub last: Option<Round>,
    /// The last manifest before that round's.
    pub previous: Option<Frozen>,
    /// The closing.
    pub closed: Option<Closed>,
    /// The revocation.
    pub revoked: Option<Revoked>,
    /// One of these that a later version wrote, the last round's apart.
    pub later: Option<Later>,
}

/// What the resource asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// `spec.submission`.
    pub submission: i64,
    /// `spec.withdrawn`, or the resource is being deleted.
    pub stop: bool,
    /// The round that the submitter takes back to change it.
    pub recall: Option<i64>,
    /// What was released is to be taken back, by somebody who may.
    pub revoke: bool,
}

/// Of a request whose resource is gone, or is not looked at.
pub const NOTHING_ASKED: Wish = Wish {
    submission: 0,
    stop: false,
    recall: None,
    revoke: false,
};

impl Facts {
    /// A fact that a later version wrote, if there is one: then nothing that loosens is done.
    #[must_use]
    pub fn later(&self) -> Option<&Later> {
        let of_round = self.last.as_ref().and_then(|last| last.later.as_ref());
        of_round.or(self.later.as_ref())
    }

    /// The package that crossed, and on which terms.
    #[must_use]
    pub fn released(&self) -> Option<(&PackageFact, &Terms)> {
        let last = self.last.as_ref()?;
        let package = last.outcome.as_ref()?.package.as_ref()?;
        Some((package, &last.decision.as_ref()?.terms))
    }

    /// When the outcome was committed, if it is a release.
    #[must_use]
    pub fn released_time(&self) -> Option<Timestamp> {
        let outcome = self.last.as_ref()?.outcome.as_ref()?;
        (outcome.kind == OutcomeKind::Released).then_some(outcome.time)
    }
}

impl Facts {
    /// What crossed inwards, while a URL may still reach it: none is signed beyond the
    /// time at which the files are deleted.
    #[must_use]
    pub fn within_reach(&self, now: Timestamp) -> Option<Frozen> {
        let last = self.last.as_ref()?;
        let outcome = last.outcome.as_ref()?;
        let kept = last.decision.as_ref()?.terms.quarantine_retention_seconds;
        let due = outcome.time.checked_add(SignedDuration::from_secs(kept));
        let kept = due.map_or(true, |due| now < due);
        (outcome.files.is_some() && kept)
            .then(|| last.frozen())
            .flatten()
    }
}

impl Wish {
    fn recalls(self, round: i64) -> bool {
        self.recall == Some(round)
    }
}

/// Why a round is sealed, or refused at its freeze, whatever its files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The request is taken back for good.
    Withdrawn,
    /// The round is taken back to be changed.
    Recalled,
    /// Its files did not arrive in time.
    UploadExpired,
    /// The Job that reads its sources failed for good.
    CollectionFailed,
}

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Back to the submitter, who may submit the next.
    Returned,
    /// The request is over.
    Closed(ClosedAs),
}

impl Round {
    /// How it ended, if it did.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        if let Some(outcome) = &self.outcome {
            return Some(match outcome.kind {
                OutcomeKind::Released => End::Closed(ClosedAs::Released),
                OutcomeKind::Returned => End::Returned,
                OutcomeKind::Rejected => End::Closed(ClosedAs::Rejected),
                OutcomeKind::Withdrawn => End::Closed(ClosedAs::Withdrawn),
            });
        }
        if let Some(decision) = &self.decision {
            return match decision.verdict {
                Verdict::Approved => None,
                Verdict::Returned => Some(End::Returned),
                Verdict::Rejected => Some(End::Closed(ClosedAs::Rejected)),
                Verdict::Withdrawn => Some(End::Closed(ClosedAs::Withdrawn)),
            };
        }
        match self.freeze.as_deref() {
            // A withdrawn round is refused first, so that uploads find an answer.
            Some(Freeze::Refusal(refusal)) if refusal.reason == reason::WITHDRAWN => None,
            Some(Freeze::Refusal(_)) => Some(End::Returned),
            _ => None,
        }
    }

    /// The recall that ended it, if one did.
    #[must_use]
    pub fn recalled(&self) -> Option<&Recall> {
        let decided = self.decision.as_ref().and_then(|d| d.recalled.as_ref());
        match self.freeze.as_deref() {
            Some(Freeze::Refusal(refusal)) => decided.or(refusal.recalled.as_ref()),
            _ => decided,
        }
    }

    /// The manifest with its digest.
    #[must_use]
    pub fn frozen(&self) -> Option<Frozen> {
        self.freeze.as_ref().and_then(FrozenRound::frozen)
    }

    fn approved(&self) -> bool {
        self.decision
            .as_ref()
            .is_some_and(|d| d.verdict == Verdict::Approved)
    }

    fn phase(&self) -> Phase {
        match self.end() {
            Some(End::Returned) => Phase::ChangesRequested,
            Some(End::Closed(ClosedAs::Released)) => Phase::Released,
            Some(End::Closed(ClosedAs::Rejected)) => Phase::Rejected,
            Some(End::Closed(ClosedAs::Withdrawn)) => Phase::Withdrawn,
            None if self.approved() && self.failure.is_some() => Phase::Failed,
            None if self.approved() && self.attempts.is_empty() => Phase::Approved,
            None if self.approved() => Phase::Releasing,
            None if matches!(self.freeze.as_deref(), Some(Freeze::Manifest(_))) => Phase::InReview,
            None => Phase::Submitted,
        }
    }
}

/// The phase and the round that it is about.
#[must_use]
pub fn standing(facts: &Facts, wish: Wish) -> (Phase, i64) {
    if facts.revoked.is_some() {
        return (Phase::Revoked, facts.last.as_ref().map_or(0, |r| r.round));
    }
    match &facts.last {
        None if wish.submission > 0 => (Phase::Submitted, wish.submission),
        None => (Phase::Draft, 0),
        Some(last) if last.end() == Some(End::Returned) && wish.submission > last.round => {
            (Phase::Submitted, wish.submission)
        }
        Some(last) => (last.phase(), last.round),
    }
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// A draft, or a returned round: wait for the submitter.
    Rest,
    /// Look whether the round's files are there, and seal it.
    Gather {
        /// The round.
        round: i64,
    },
    /// Seal the round at once, because it is taken back.
    Seal {
        /// The round.
        round: i64,
        /// How.
        ended: Ended,
    },
    /// Freeze the sealed round.
    Freeze {
        /// The round.
        round: i64,
        /// Refuse it, and why.
        refuse: Option<Ended>,
    },
    /// Commit that the frozen round is returned, because its submitter asks.
    Recall {
        /// The round.
        round: i64,
    },
    /// Commit that the refused round is withdrawn.
    Withdraw {
        /// The round.
        round: i64,
    },
    /// Look at the reviews.
    Review {
        /// The round.
        round: i64,
    },
    /// Release, unless something stops it.
    Release {
        /// The round.
        round: i64,
    },
    /// Released: make record, URL and Secret, and close.
    Deliver {
        /// The round.
        round: i64,
    },
    /// Released, and taken back: what lies outside dies, and the request closes.
    Revoke {
        /// The round.
        round: i64,
    },
    /// Rejected or withdrawn: close.
    Close {
        /// The round.
        round: i64,
        /// How.
        closed_as: ClosedAs,
    },
}

/// Decides. A request taken back is withdrawn from any phase before Released.
#[must_use]
pub fn next(facts: &Facts, wish: Wish) -> Next {
    let Some(last) = &facts.last else {
        return open(0, wish);
    };
    let round = last.round;
    match last.end() {
        Some(End::Returned) => open(round, wish),
        Some(End::Closed(ClosedAs::Released)) if facts.revoked.is_some() || wish.revoke => {
            Next::Revoke { round }
        }
        Some(End::Closed(ClosedAs::Released)) => Next::Deliver { round },
        Some(End::Closed(closed_as)) => Next::Close { round, closed_as },
        None => match (last.freeze.as_deref(), last.approved()) {
            (None, _) => Next::Freeze {
                round,
                refuse: refuse(last, wish),
            },
            (Some(Freeze::Refusal(_)), _) => Next::Withdraw { round },
            (Some(Freeze::Manifest(_)), false) if wish.recalls(round) && !wish.stop => {
                Next::Recall { round }
            }
            (Some(Freeze::Manifest(_)), false) => Next::Review { round },
            (Some(Freeze::Manifest(_)), true) => Next::Release { round },
        },
    }
}

fn open(ended: i64, wish: Wish) -> Next {
    let round = wish.submission.max(ended + 1);
    if wish.stop {
        Next::Seal {
            round,
            ended: Ended::Withdrawn,
        }
    } else if wish.submission <= ended {
        Next::Rest
    } else if wish.recalls(round) {
        Next::Seal {
            round,
            ended: Ended::Recalled,
        }
    } else {
        Next::Gather { round }
    }
}

/// What the seal says of the round, or what was asked since.
fn refuse(sealed: &Round, wish: Wish) -> Option<Ended> {
    if wish.stop {
        return Some(Ended::Withdrawn);
    }
    match sealed.seal.as_ref().map(|seal| &seal.because) {
        Some(SealedBecause::Withdrawn | SealedBecause::Idle) => Some(Ended::Withdrawn),
        Some(SealedBecause::Recalled(_)) => Some(Ended::Recalled),
        Some(SealedBecause::UploadExpired) => Some(Ended::UploadExpired),
        Some(SealedBecause::CollectionFailed { .. }) => Some(Ended::CollectionFailed),
        Some(SealedBecause::Complete | SealedBecause::Mismatch(_)) | None => {
            wish.recalls(sealed.round).then_some(Ended::Recalled)
        }
    }
}

/// The round that takes uploads, from what the resource says (the seal decides).
#[must_use]
pub fn open_round(phase: Option<Phase>, round: i64, submission: i64) -> Option<i64> {
    match phase.unwrap_or_default() {
        Phase::Draft => Some(submission.max(1)),
        Phase::Submitted => Some(submission.max(round).max(1)),
        Phase::ChangesRequested | Phase::Failed => Some(submission.max(round + 1)),
        _ => None,
    }
}

#[cfg(test)]
#[path = "phase_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "phase_tables.rs"]
mod tables;
