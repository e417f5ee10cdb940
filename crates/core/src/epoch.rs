//! Epochs: stretches of time in which the admission rules were proved to be in
//! force, so that what was made in one was made by whom it names
//! (docs/design.md#who-is-who-and-whether-that-can-be-believed).
//!
//! An epoch is the time between two changes of the rules, told apart by uid and
//! generation of policies, bindings and definitions: as long as these are the same
//! the rules cannot have been away meanwhile, looked at or not.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::digest::Sha256Hex;

/// The API server may enforce a policy up to a second after it is stored; what is made in the first seconds of an epoch does not count.
const SETTLING: SignedDuration = SignedDuration::from_secs(2);

/// A look at a request that takes longer is broken off, so that a decision bears a time at
/// most so long after the proof that it was made with.
pub const LONGEST_LOOK: Duration = Duration::from_secs(300);

/// `audit/epochs/<cluster>/<sequence>.json` (without the cluster: of old): from when on the rules are in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Began {
    /// Rising.
    pub sequence: i64,
    /// SHA-256 of what the rules say.
    pub rules: Sha256Hex,
    /// uid and generation of each object, by kind and name.
    pub objects: std::collections::BTreeMap<String, String>,
    /// When, by the API server's clock.
    pub time: Timestamp,
}

/// `audit/epochs/<cluster>/<sequence>.ended.json`: until when they were.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// Which epoch.
    pub sequence: i64,
    /// The last moment for which it is proved, by the API server's clock.
    pub until: Timestamp,
    /// When it was seen that they are others, by the same clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noticed: Option<Timestamp>,
    /// What differed then, for people.
    pub because: String,
}

/// One epoch, as far as it is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Its sequence.
    pub sequence: i64,
    /// From when on.
    pub began: Timestamp,
    /// Until when; none: it goes on, and was verified after everything that is asked
    /// about was read.
    pub until: Option<Timestamp>,
}

impl Epoch {
    /// Whether something that bears this time (in whole seconds, as the API server
    /// cuts them) was made in it.
    #[must_use]
    pub fn covers(&self, time: Timestamp) -> bool {
        let settled = self.began.checked_add(SETTLING).unwrap_or(Timestamp::MAX);
        time >= settled && self.until.is_none_or(|until| time < until)
    }
}

/// The epoch in which something was made.
#[must_use]
pub fn of(epochs: &[Epoch], time: Timestamp) -> Option<i64> {
    epochs
        .iter()
        .find(|epoch| epoch.covers(time))
        .map(|epoch| epoch.sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn what_was_made_in_an_epoch_counts_but_for_its_first_two_seconds() {
        let epochs = [
            Epoch {
                sequence: 1,
                began: at(10),
                until: Some(at(20)),
            },
            Epoch {
                sequence: 2,
                began: at(30),
                until: None,
            },
        ];
        for (time, epoch) in [
            (9, None),
            (10, None),
            (11, None),
            (12, Some(1)),
            (19, Some(1)),
            (20, None),
            (25, None),
            (31, None),
            (32, Some(2)),
            (1_000_000, Some(2)),
        ] {
            assert_eq!(of(&epochs, at(time)), epoch, "{time}");
        }
        assert_eq!(of(&[], at(5)), None);
    }
}
