//! Whether everything that a request says was said by its author.
//!
//! An edit counts if it was made in an epoch. The API server shows only when the last edit
//! was made, so an edit outside an epoch would be hidden by the next one. Therefore the
//! operator keeps, in the status of each request, up to which generation the edits are
//! accounted for, and in which epoch it saw that. What it cannot account for it remembers
//! until the submitter has taken the request in hand again: by an AirlockAction Recall that
//! was made in an epoch, after which the content is submitted anew.

use jiff::Timestamp;

use super::epoch::{self, Epoch};

/// In place of an epoch: the request was seen for the first time while the rules were away.
const UNACCOUNTED: i64 = 0;

/// What is known of the edits of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edits {
    /// All edits up to this generation are accounted for, or remembered.
    pub generation: i64,
    /// The epoch in which that was seen.
    pub epoch: i64,
    /// Edits that nobody has confirmed.
    pub unconfirmed: Option<Unconfirmed>,
}

/// Edits outside an epoch, as far as can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unconfirmed {
    /// The generation at which it was noticed.
    pub generation: i64,
    /// When.
    pub noticed: Timestamp,
}

/// A request as it was read.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Its generation.
    pub generation: i64,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// When its last edit was made.
    pub edited: Option<Timestamp>,
    /// It has a status that an operator wrote which kept no account.
    pub known_before: bool,
    /// When its submitter recalled it last, by an action made in an epoch.
    pub recalled: Option<Timestamp>,
}

/// Accounts for the edits of a request, by the epochs that are known after a verification of
/// the rules. While none goes on, what is known stays, but for an edit that is outside for
/// certain.
#[must_use]
pub fn account(
    known: Option<&Edits>,
    seen: Seen,
    epochs: &[Epoch],
    now: Timestamp,
) -> Option<Edits> {
    let current = epochs.last().filter(|epoch| epoch.until.is_none());
    let Some(current) = current else {
        let unaccounted = || Edits {
            generation: seen.generation,
            epoch: UNACCOUNTED,
            unconfirmed: None,
        };
        let known = known.cloned().or((!seen.known_before).then(unaccounted));
        return known.map(|known| while_away(known, seen, epochs, now));
    };
    let accounted = known.filter(|known| known.epoch != UNACCOUNTED);
    let known_before = seen.known_before && known.is_none();
    let of = |time: Option<Timestamp>| time.and_then(|time| epoch::of(epochs, time));
    let (created, edited) = (of(seen.created), of(seen.edited));
    let borne_out = match accounted {
        // Nothing was edited since, but for labels and annotations.
        Some(known) if known.generation == seen.generation => true,
        // All that came since came in the epoch that goes on.
        Some(known) => known.epoch == current.sequence && edited == Some(current.sequence),
        None if seen.generation == 1 || known_before => created.is_some() && edited.is_some(),
        None => created == Some(current.sequence) && edited == created,
    };
    let before = known.and_then(|known| known.unconfirmed.clone());
    let before = before.filter(|before| seen.recalled.is_none_or(|at| at <= before.noticed));
    // A request that was created outside an epoch is refused for that, and not for its edits.
    let unconfirmed = match borne_out || created.is_none() {
        true => before,
        // Whatever our clock says: a recall that is older than the epoch confirms nothing.
        false => Some(Unconfirmed {
            generation: seen.generation,
            noticed: now.max(current.began),
        }),
    };
    Some(Edits {
        generation: seen.generation,
        epoch: current.sequence,
        unconfirmed,
    })
}

/// While no epoch goes on: an edit that no epoch covers is outside for certain.
fn while_away(known: Edits, seen: Seen, epochs: &[Epoch], now: Timestamp) -> Edits {
    let covered = |time: Option<Timestamp>| time.and_then(|time| epoch::of(epochs, time)).is_some();
    let noticed = known.unconfirmed.as_ref().map(|before| before.generation);
    let edited = known.generation != seen.generation && noticed != Some(seen.generation);
    if edited && covered(seen.created) && !covered(seen.edited) {
        let over = epochs.iter().filter_map(|epoch| epoch.until).max();
        let unconfirmed = Some(Unconfirmed {
            generation: seen.generation,
            noticed: over.map_or(now, |over| now.max(over)),
        });
        return Edits {
            unconfirmed,
            ..known
        };
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// The first epoch lasts from 10 to 100, the second from 200 on.
    fn epochs(live: bool) -> Vec<Epoch> {
        let mut epochs = vec![Epoch {
            sequence: 1,
            began: at(10),
            until: Some(at(100)),
        }];
        epochs.extend(live.then(|| Epoch {
            sequence: 2,
            began: at(200),
            until: None,
        }));
        epochs
    }

    fn known(generation: i64, epoch: i64) -> Edits {
        Edits {
            generation,
            epoch,
            unconfirmed: None,
        }
    }

    fn seen(generation: i64, created: i64, edited: i64) -> Seen {
        Seen {
            generation,
            created: Some(at(created)),
            edited: Some(at(edited)),
            known_before: false,
            recalled: None,
        }
    }

    #[test]
    fn the_table_of_edits() {
        let of_old = |seen: Seen| Seen {
            known_before: true,
            ..seen
        };
        for (name, before, seen, borne_out) in [
            ("new", None, seen(1, 300, 300), true),
            ("new, edited", None, seen(3, 300, 310), true),
            ("never edited", None, seen(1, 50, 50), true),
            ("seen first after a gap", None, seen(2, 50, 300), false),
            (
                "known to an older operator",
                None,
                of_old(seen(2, 50, 300)),
                true,
            ),
            (
                "the same, edited in the gap",
                None,
                of_old(seen(2, 50, 150)),
                false,
            ),
            ("as it was", Some(known(2, 1)), seen(2, 50, 60), true),
            (
                "edited in this epoch",
                Some(known(2, 2)),
                seen(5, 50, 300),
                true,
            ),
            (
                "edited in the gap",
                Some(known(2, 1)),
                seen(3, 50, 150),
                false,
            ),
            // The last edit is the author's, and hides one before.
            (
                "edited in the gap and after it",
                Some(known(2, 1)),
                seen(4, 50, 300),
                false,
            ),
            // Times of managedFields can be written by whoever edits.
            (
                "edited in the gap, dated before",
                Some(known(2, 1)),
                seen(3, 50, 90),
                false,
            ),
            (
                "edited just now, dated before",
                Some(known(2, 2)),
                seen(3, 50, 90),
                false,
            ),
        ] {
            let found = account(before.as_ref(), seen, &epochs(true), at(400)).unwrap();
            assert_eq!(found.unconfirmed.is_none(), borne_out, "{name}");
            assert_eq!(
                (found.generation, found.epoch),
                (seen.generation, 2),
                "{name}"
            );
        }
    }

    #[test]
    fn while_the_rules_are_away_what_is_known_stays_but_for_edits_that_are_outside() {
        let before = known(2, 1);
        let found = account(Some(&before), seen(3, 50, 90), &epochs(false), at(160));
        assert_eq!(found.as_ref(), Some(&before));
        let found = account(Some(&before), seen(3, 50, 150), &epochs(false), at(160)).unwrap();
        assert_eq!((found.generation, found.epoch), (2, 1));
        let noticed = found.unconfirmed.clone().unwrap();
        assert_eq!((noticed.generation, noticed.noticed), (3, at(160)));
        // It is told once.
        let again = account(Some(&found), seen(3, 50, 150), &epochs(false), at(170));
        assert_eq!(again, Some(found));
        // Seen for the first time then, it is not taken for one of an older operator later.
        let first = account(None, seen(2, 50, 60), &epochs(false), at(160)).unwrap();
        let hidden = Seen {
            known_before: true,
            ..seen(4, 50, 300)
        };
        let found = account(Some(&first), hidden, &epochs(true), at(310)).unwrap();
        assert!(found.unconfirmed.is_some());
        let never = account(Some(&first), seen(1, 50, 50), &epochs(true), at(310)).unwrap();
        assert!(never.unconfirmed.is_none());
    }

    #[test]
    fn an_edit_outside_an_epoch_is_remembered_until_the_submitter_recalls_the_request() {
        let gap = account(Some(&known(2, 1)), seen(3, 50, 150), &epochs(true), at(210)).unwrap();
        assert_eq!(
            gap.unconfirmed,
            Some(Unconfirmed {
                generation: 3,
                noticed: at(210)
            })
        );
        // The author's own edits do not undo it.
        let later = account(Some(&gap), seen(5, 50, 300), &epochs(true), at(310)).unwrap();
        assert_eq!(later.unconfirmed, gap.unconfirmed);
        for (recalled, confirmed) in [(205, false), (210, false), (320, true)] {
            let seen = Seen {
                recalled: Some(at(recalled)),
                ..seen(5, 50, 300)
            };
            let found = account(Some(&later), seen, &epochs(true), at(330)).unwrap();
            assert_eq!(found.unconfirmed.is_none(), confirmed, "{recalled}");
        }
    }

    #[test]
    fn a_recall_of_before_an_edit_does_not_confirm_it_though_our_clock_is_behind() {
        // By our clock it is still 90 when the edit of 150 is noticed.
        for live in [true, false] {
            let gap = account(Some(&known(2, 1)), seen(3, 50, 150), &epochs(live), at(90));
            let recalled = Seen {
                recalled: Some(at(95)),
                ..seen(3, 50, 150)
            };
            let found = account(gap.as_ref(), recalled, &epochs(true), at(91)).unwrap();
            assert!(found.unconfirmed.is_some(), "{live}");
        }
    }
}
