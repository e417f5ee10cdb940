//! Whether an AirlockAction may be carried out, from where its target stands.
//!
//! Admission has checked the permission for the role already; here it is checked
//! that who acts as the submitter is, and that there is something to do.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use trevor_api::{ActionKind, ActionRole, Phase};

/// Where the request of an action stands.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// Its phase.
    pub phase: Phase,
    /// The person who submitted it.
    pub submitter: &'a str,
    /// Whether the time is over in which what was released can be downloaded.
    pub window_over: bool,
    /// Whether it crossed inwards.
    pub inwards: bool,
    /// Whether the action was created while the admission rules were proved to be in force,
    /// so that it is its actor's.
    pub in_epoch: bool,
}

/// Whether an action loosens something: it ends a protection, or lets something out again.
/// Such an action counts only from an epoch. What stops something is carried out at once,
/// and is to be confirmed where it was made outside an epoch: a hold that is asked for
/// during an upgrade must not be void.
#[must_use]
pub fn loosens(action: ActionKind) -> bool {
    match action {
        ActionKind::Renew | ActionKind::LiftHold => true,
        ActionKind::Recall | ActionKind::Revoke | ActionKind::Hold => false,
    }
}

/// What is said of an action that stopped something and was made outside an epoch.
pub const TO_CONFIRM: &str = "carried out at once; it was made while the admission rules were not proved to be in force, so that its actor is not proved: whoever is responsible confirms it, or puts it right, by an action of their own";

/// Why an action is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Refused {
    /// It says `as: Submitter`, and somebody else is.
    NotSubmitter,
    /// There is no submitted round to recall.
    NothingToRecall,
    /// The round is decided.
    AlreadyDecided,
    /// The request is closed.
    RequestClosed,
    /// There is no release.
    NotReleased,
    /// The release is revoked.
    AlreadyRevoked,
    /// The package is past its time.
    WindowOver,
    /// What crossed inwards has no URL that could be renewed.
    NothingToRenew,
    /// No object of that name and uid is there.
    UnknownTarget,
    /// It loosens something, and was made while the admission rules were not proved live.
    OutsideEpoch,
}

impl Refused {
    /// One CamelCase word, for status.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotSubmitter => "NotSubmitter",
            Self::NothingToRecall => "NothingToRecall",
            Self::AlreadyDecided => "AlreadyDecided",
            Self::RequestClosed => "RequestClosed",
            Self::NotReleased => "NotReleased",
            Self::AlreadyRevoked => "AlreadyRevoked",
            Self::WindowOver => "WindowOver",
            Self::NothingToRenew => "NothingToRenew",
            Self::UnknownTarget => "UnknownTarget",
            Self::OutsideEpoch => "OutsideEpoch",
        }
    }

    /// What to do, for its author.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::NotSubmitter => {
                "only the submitter of the request acts as its submitter; a checker acts with as: Checker"
            }
            Self::NothingToRecall => {
                "nothing is submitted: the content is open, edit it and raise spec.submission by one"
            }
            Self::AlreadyDecided => {
                "the round is decided; set spec.withdrawn to stop the release, or wait for it and revoke it"
            }
            Self::RequestClosed => "the request is closed; make a new one",
            Self::NotReleased => {
                "nothing is released; Renew and Revoke are for a released request or its ReleaseRecord"
            }
            Self::AlreadyRevoked => "the release is revoked already, and no URL of it works",
            Self::WindowOver => {
                "the time for downloads is over (spec.deleteAfterTime of the ReleaseRecord); make a new request"
            }
            Self::NothingToRenew => {
                "an ingress request has no URL to renew: GET release of the gateway signs fresh ones at any time until spec.deleteAfterTime of the ReleaseRecord"
            }
            Self::UnknownTarget => {
                "no object of this kind, name and uid is here; compare spec.target with kubectl get -o yaml"
            }
            Self::OutsideEpoch => {
                "it was made while the admission rules were not proved to be in force; make it again once they are (condition RulesLive of the AirlockPolicy)"
            }
        }
    }
}

/// Judges an action.
///
/// # Errors
/// Why it is not carried out.
pub fn judge(
    action: ActionKind,
    role: ActionRole,
    actor: &str,
    standing: Standing<'_>,
) -> Result<(), Refused> {
    if role == ActionRole::Submitter && actor != standing.submitter {
        return Err(Refused::NotSubmitter);
    }
    possible(action, standing)?;
    if loosens(action) && !standing.in_epoch {
        return Err(Refused::OutsideEpoch);
    }
    Ok(())
}

/// Whether there is something to do.
fn possible(action: ActionKind, standing: Standing<'_>) -> Result<(), Refused> {
    match action {
        ActionKind::Recall => match standing.phase {
            Phase::Submitted | Phase::InReview => Ok(()),
            Phase::Draft | Phase::ChangesRequested | Phase::Failed => Err(Refused::NothingToRecall),
            Phase::Approved | Phase::Releasing => Err(Refused::AlreadyDecided),
            Phase::Released | Phase::Rejected | Phase::Withdrawn | Phase::Revoked => {
                Err(Refused::RequestClosed)
            }
        },
        ActionKind::Renew | ActionKind::Revoke => match standing.phase {
            Phase::Released if action == ActionKind::Renew && standing.inwards => {
                Err(Refused::NothingToRenew)
            }
            Phase::Released if action == ActionKind::Renew && standing.window_over => {
                Err(Refused::WindowOver)
            }
            Phase::Released => Ok(()),
            Phase::Revoked => Err(Refused::AlreadyRevoked),
            _ => Err(Refused::NotReleased),
        },
        ActionKind::Hold | ActionKind::LiftHold => Ok(()),
    }
}

/// `actions/<uid>.json`: what became of an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionFact {
    /// Name of the AirlockAction.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// What it asks for.
    pub action: ActionKind,
    /// In which role.
    #[serde(rename = "as")]
    pub role: ActionRole,
    /// Who.
    pub actor: String,
    /// Why, in the actor's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The round that it is about.
    pub round: i64,
    /// Of a renewal: the earlier URLs are to end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub revoke_old: bool,
    /// Why it is not carried out; none: it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// When the action was created.
    pub time: Timestamp,
    /// It stops something, and was made while the admission rules were not proved to be in
    /// force: it was carried out, and its actor is not proved.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unconfirmed: bool,
}

crate::stored_fact!(ActionFact);

#[cfg(test)]
mod tests {
    use super::*;
    use ActionKind::{Hold, LiftHold, Recall, Renew, Revoke};
    use ActionRole::{Checker, HoldOfficer, Submitter};

    #[test]
    fn the_table_of_actions() {
        const PHASES: [Phase; 11] = [
            Phase::Draft,
            Phase::Submitted,
            Phase::InReview,
            Phase::ChangesRequested,
            Phase::Approved,
            Phase::Releasing,
            Phase::Released,
            Phase::Rejected,
            Phase::Withdrawn,
            Phase::Failed,
            Phase::Revoked,
        ];
        let (no, late, closed) = (
            Err(Refused::NothingToRecall),
            Err(Refused::AlreadyDecided),
            Err(Refused::RequestClosed),
        );
        let (none, gone) = (Err(Refused::NotReleased), Err(Refused::AlreadyRevoked));
        let recall = [
            no,
            Ok(()),
            Ok(()),
            no,
            late,
            late,
            closed,
            closed,
            closed,
            no,
            closed,
        ];
        let revoke = [
            none,
            none,
            none,
            none,
            none,
            none,
            Ok(()),
            none,
            none,
            none,
            gone,
        ];
        for (column, phase) in PHASES.into_iter().enumerate() {
            let of = |action, role, actor| {
                judge(
                    action,
                    role,
                    actor,
                    Standing {
                        phase,
                        submitter: "alice",
                        window_over: false,
                        inwards: false,
                        in_epoch: true,
                    },
                )
            };
            assert_eq!(of(Recall, Submitter, "alice"), recall[column], "{phase}");
            assert_eq!(
                of(Recall, Submitter, "dave"),
                Err(Refused::NotSubmitter),
                "{phase}"
            );
            for action in [Renew, Revoke] {
                assert_eq!(of(action, Submitter, "alice"), revoke[column], "{phase}");
                assert_eq!(of(action, Checker, "bob"), revoke[column], "{phase}");
                assert_eq!(
                    of(action, Submitter, "bob"),
                    Err(Refused::NotSubmitter),
                    "{phase}"
                );
            }
            for action in [Hold, LiftHold] {
                assert_eq!(of(action, HoldOfficer, "olga"), Ok(()), "{phase}");
            }
        }
    }

    #[test]
    fn what_was_released_is_always_revoked_and_renewed_where_there_is_a_url_in_its_window() {
        let of = |action, phase, window_over, inwards| {
            let standing = Standing {
                phase,
                submitter: "alice",
                window_over,
                inwards,
                in_epoch: true,
            };
            judge(action, Checker, "bob", standing)
        };
        for (window_over, inwards, renew) in [
            (false, false, Ok(())),
            (true, false, Err(Refused::WindowOver)),
            (false, true, Err(Refused::NothingToRenew)),
            (true, true, Err(Refused::NothingToRenew)),
        ] {
            let released = |action| of(action, Phase::Released, window_over, inwards);
            assert_eq!(released(Renew), renew, "{window_over} {inwards}");
            assert_eq!(released(Revoke), Ok(()), "{window_over} {inwards}");
        }
        // What is missing is said first.
        let before = of(Renew, Phase::InReview, false, true);
        assert_eq!(before, Err(Refused::NotReleased));
        let after = of(Renew, Phase::Revoked, false, true);
        assert_eq!(after, Err(Refused::AlreadyRevoked));
    }

    #[test]
    fn outside_an_epoch_what_stops_counts_and_what_loosens_does_not() {
        let of = |action, role, phase, in_epoch| {
            let standing = Standing {
                phase,
                submitter: "alice",
                window_over: false,
                inwards: false,
                in_epoch,
            };
            judge(action, role, "alice", standing)
        };
        let outside = Err(Refused::OutsideEpoch);
        for (action, role, phase, judged) in [
            (Recall, Submitter, Phase::InReview, Ok(())),
            (Revoke, Submitter, Phase::Released, Ok(())),
            (Revoke, Checker, Phase::Released, Ok(())),
            (Hold, HoldOfficer, Phase::Released, Ok(())),
            (Hold, HoldOfficer, Phase::Draft, Ok(())),
            (LiftHold, HoldOfficer, Phase::Released, outside),
            (LiftHold, HoldOfficer, Phase::Draft, outside),
            (Renew, Submitter, Phase::Released, outside),
            (Renew, Checker, Phase::Released, outside),
        ] {
            let name = format!("{action:?} {role:?} {phase}");
            assert_eq!(of(action, role, phase, false), judged, "{name}");
            assert_eq!(of(action, role, phase, true), Ok(()), "{name}");
            assert_eq!(loosens(action), judged.is_err(), "{name}");
        }
        // What is missing is said first.
        let none = of(Renew, Checker, Phase::Draft, false);
        assert_eq!(none, Err(Refused::NotReleased));
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        for refused in [
            Refused::NotSubmitter,
            Refused::NothingToRecall,
            Refused::AlreadyDecided,
            Refused::RequestClosed,
            Refused::NotReleased,
            Refused::AlreadyRevoked,
            Refused::WindowOver,
            Refused::NothingToRenew,
            Refused::UnknownTarget,
            Refused::OutsideEpoch,
        ] {
            assert_eq!(refused.reason(), format!("{refused:?}"));
            assert!(refused.message().len() > 20);
        }
    }
}
