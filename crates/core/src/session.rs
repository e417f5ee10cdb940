//! Whether a person's session may be used at the gateway.
//!
//! A session says who a person is. What it says was checked by the admission rules when it
//! was created, so it is accepted only if it was created in an epoch in which these rules
//! were proved to be in force, and if its spec was never changed since.

/// The generation of an object whose spec was never changed.
const UNCHANGED: i64 = 1;

/// Why a session is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionRefused {
    /// It was created while the admission rules were not proved to be in force.
    OutsideEpoch,
    /// Its spec is not what was created.
    Changed,
}

impl SessionRefused {
    /// One CamelCase word, for status.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::OutsideEpoch => "OutsideEpoch",
            Self::Changed => "Changed",
        }
    }

    /// What to do, for the person.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::OutsideEpoch => {
                "it was created while the admission rules were not proved to be in force; log in again once they are (condition RulesLive of the AirlockPolicy)"
            }
            Self::Changed => "its spec was changed after it was created; log in again",
        }
    }
}

/// Judges a session by the epoch in which it was created and its generation. Gives the
/// epoch.
///
/// # Errors
/// Why it is refused.
pub fn judge(epoch: Option<i64>, generation: Option<i64>) -> Result<i64, SessionRefused> {
    if generation != Some(UNCHANGED) {
        return Err(SessionRefused::Changed);
    }
    epoch.ok_or(SessionRefused::OutsideEpoch)
}

/// Whether the gateway takes a session: the operator accepted the spec that it has now,
/// and that spec is the one that was created.
#[must_use]
pub fn usable(accepted: bool, observed: Option<i64>, generation: Option<i64>) -> bool {
    accepted && generation == Some(UNCHANGED) && observed == generation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_accepted_from_an_epoch_as_it_was_created() {
        for (epoch, generation, judged) in [
            (Some(3), Some(1), Ok(3)),
            (None, Some(1), Err(SessionRefused::OutsideEpoch)),
            (Some(3), Some(2), Err(SessionRefused::Changed)),
            (None, Some(2), Err(SessionRefused::Changed)),
            (Some(3), None, Err(SessionRefused::Changed)),
        ] {
            assert_eq!(judge(epoch, generation), judged, "{epoch:?} {generation:?}");
        }
    }

    #[test]
    fn the_gateway_takes_what_was_accepted_as_it_is_now() {
        for (accepted, observed, generation, takes) in [
            (true, Some(1), Some(1), true),
            (false, Some(1), Some(1), false),
            (true, None, Some(1), false),
            (true, Some(1), Some(2), false),
            (true, Some(2), Some(2), false),
            (true, None, None, false),
        ] {
            assert_eq!(
                usable(accepted, observed, generation),
                takes,
                "{accepted} {observed:?} {generation:?}"
            );
        }
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        for refused in [SessionRefused::OutsideEpoch, SessionRefused::Changed] {
            assert_eq!(refused.reason(), format!("{refused:?}"));
            assert!(refused.message().contains("log in again"));
        }
    }
}
