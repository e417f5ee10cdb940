//! From when until when a request was on hold: by its ledger, and by the words that
//! are stored, which must say the same.

use std::collections::BTreeMap;

use futures::TryStreamExt as _;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::source::{Source, SourceError};
use super::{Findings, Kind};
use trevor_core::event::Event;
use trevor_core::keys::RequestKey;
use trevor_core::retention::{Hold, HoldState};

/// One word: whether it is held from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word {
    held: bool,
    time: Timestamp,
}

/// A time in which nothing was to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// From then on.
    pub from: Timestamp,
    /// Until it was lifted; none: it stands.
    pub until: Option<Timestamp>,
}

/// All of them, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holds(Vec<Held>);

impl Holds {
    /// Reads them. `stored` is where the words are: the quarantine bucket, or a copy
    /// that may have them. The ledger has these events, and `last` is its last entry;
    /// `must_be_recorded` says of which times it must have all.
    pub async fn read(
        stored: &Source,
        records: &Source,
        key: &RequestKey,
        (events, last): (&[Event], i64),
        must_be_recorded: impl Fn(Timestamp) -> bool,
        findings: &mut Findings<'_>,
    ) -> Result<Self, SourceError> {
        let mut words: BTreeMap<i64, Word> = events.iter().filter_map(recorded).collect();
        let mut unreadable = None;
        let mut objects = stored.objects(&key.holds());
        while let Some((at, bytes)) = objects.try_next().await? {
            let hold: Option<Hold> = bytes.and_then(|b| serde_json::from_slice(&b).ok());
            let Some(hold) = hold.filter(|hold| *key.hold(hold.sequence) == *at) else {
                // Whoever deletes takes it for a hold, and so does whoever verifies.
                findings.add(Kind::Corrupt, &at, "is no word on a hold");
                unreadable = Some(Timestamp::MIN);
                continue;
            };
            let word = Word {
                held: hold.state == HoldState::Held,
                time: hold.time,
            };
            match words.get(&hold.sequence) {
                Some(known) if *known == word => {}
                Some(_) => findings.add(
                    Kind::LedgerDiffers,
                    &at,
                    "says another thing than the ledger has",
                ),
                None => {
                    // It may have been said while the ledger was read.
                    let later = records.get(&key.ledger_entry(last + 1)).await?;
                    if must_be_recorded(hold.time) && later.is_none() {
                        findings.add(Kind::NotInLedger, &at, "is not in the ledger");
                    }
                    words.insert(hold.sequence, word);
                }
            }
        }
        let mut holds = Self::of(words.into_values());
        holds
            .0
            .extend(unreadable.map(|from| Held { from, until: None }));
        holds.0.sort_by_key(|held| held.from);
        Ok(holds)
    }

    /// From words in their order.
    fn of(words: impl Iterator<Item = Word>) -> Self {
        let mut found: Vec<Held> = Vec::new();
        for word in words {
            let open = found.last_mut().filter(|held| held.until.is_none());
            match (open, word.held) {
                (Some(held), false) => held.until = Some(word.time),
                (None, true) => found.push(Held {
                    from: word.time,
                    until: None,
                }),
                (Some(_), true) | (None, false) => {}
            }
        }
        // Words that came out of order cover nothing.
        found.retain(|held| held.until.is_none_or(|until| until > held.from));
        found.sort_by_key(|held| held.from);
        Self(found)
    }

    /// The longest time between two moments in which no hold stood.
    pub fn longest_without(&self, from: Timestamp, to: Timestamp) -> SignedDuration {
        let (mut at, mut longest) = (from, SignedDuration::ZERO);
        for held in &self.0 {
            if held.from >= to {
                break;
            }
            longest = longest.max(held.from.duration_since(at));
            at = at.max(held.until.unwrap_or(Timestamp::MAX));
        }
        if at < to {
            longest = longest.max(to.duration_since(at));
        }
        longest
    }

    /// The hold that had been asked for before a time, and stood then.
    pub fn standing_at(&self, time: Timestamp) -> Option<Held> {
        let stood = |held: &&Held| held.from < time && held.until.is_none_or(|until| time < until);
        self.0.iter().find(stood).copied()
    }
}

fn recorded(event: &Event) -> Option<(i64, Word)> {
    let held = match event.kind.as_str() {
        "Held" => true,
        "HoldLifted" => false,
        _ => return None,
    };
    let sequence = event.detail.get("sequence").and_then(Value::as_i64)?;
    let time = event.time;
    Some((sequence, Word { held, time }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn holds(words: &[(bool, i64)]) -> Holds {
        Holds::of(words.iter().map(|(held, second)| Word {
            held: *held,
            time: at(*second),
        }))
    }

    #[test]
    fn only_the_time_that_a_hold_stood_is_explained_by_it() {
        for (words, from, to, longest) in [
            (&[][..], 0, 100, 100),
            (&[(true, 10)], 0, 100, 10),
            (&[(true, 10), (false, 20)], 0, 100, 80),
            (&[(true, 10), (false, 20)], 15, 100, 80),
            (&[(true, 10), (false, 200)], 15, 100, 0),
            (&[(true, 200)], 0, 100, 100),
            (
                &[(false, 5), (true, 10), (true, 20), (false, 60), (true, 90)],
                0,
                100,
                30,
            ),
            (&[(true, 10), (false, 5)], 0, 100, 100),
            (&[(true, 10)], 100, 50, 0),
        ] {
            let found = holds(words).longest_without(at(from), at(to));
            assert_eq!(found.as_secs(), longest, "{words:?} {from} {to}");
        }
    }

    #[test]
    fn a_hold_counts_against_a_deletion_from_the_second_after_it_was_asked_for() {
        let holds = holds(&[(true, 100), (false, 200)]);
        for (time, stands) in [
            (99, false),
            (100, false),
            (101, true),
            (199, true),
            (200, false),
        ] {
            assert_eq!(holds.standing_at(at(time)).is_some(), stands, "{time}");
        }
    }
}
