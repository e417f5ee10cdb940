//! When something that failed is tried again, and whether that takes a new release
//! attempt. Time and chance are parameters.

use std::time::Duration;

use super::commit::Attempt;

/// Pauses between tries: the first, doubled after each failure in a row, up to the
/// longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    first: Duration,
    longest: Duration,
}

/// What may pass by itself: a server that does not answer, a write that lost a race.
pub const PASSING: Schedule = Schedule {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(300),
};

/// What ends access to something: a revocation that failed must not wait for long.
pub const ENDS_ACCESS: Schedule = Schedule {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(60),
};

/// Looks at a request that waits for others, most of whom say so when they are done.
pub const LOOKS: Schedule = Schedule {
    first: Duration::from_secs(2),
    longest: Duration::from_secs(120),
};

/// Verifications of admission rules that are not in force: a rule that was stored is enforced
/// up to a second later, so that the first look after a repair may come too early.
pub const RULES: Schedule = Schedule {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(30),
};

/// What a person must mend first; only another try can tell whether that was done.
pub const NEEDS_A_PERSON: Schedule = Schedule {
    first: Duration::from_secs(120),
    longest: Duration::from_secs(900),
};

/// A round has no more release attempts than this: each is a fact that is kept for ever.
pub const MOST_ATTEMPTS: usize = 100;

impl Schedule {
    /// The pause after so many failures in a row (from 1). A `share` from 0 to 1 moves it
    /// by up to a quarter either way, so that what failed together does not come back
    /// together.
    #[must_use]
    pub fn pause(&self, failures: u32, share: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        let pause = self.first.saturating_mul(1 << doublings).min(self.longest);
        pause.mul_f64(0.75 + share.clamp(0.0, 1.0) / 2.0)
    }
}

/// What a try to release goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Try {
    /// The attempt of this number, which is recorded, and of which nothing was stored.
    Again(i64),
    /// Another attempt, with another key.
    Anew,
    /// None: the round has had as many as it may have.
    Exhausted,
}

/// Which attempt the next try goes by. `unsent` is the number of an attempt of this
/// process, in this term, of which nothing can be stored: it is used again, so that a
/// server that is away costs one fact, however often it is tried.
#[must_use]
pub fn next_try(attempts: &[Attempt], unsent: Option<i64>, holder: &str, term: i64) -> Try {
    let last = attempts.last();
    let ours = |a: &&Attempt| a.holder == holder && a.term == term && !a.job;
    match last.filter(ours) {
        Some(last) if unsent == Some(last.attempt) => Try::Again(last.attempt),
        _ if attempts.len() >= MOST_ATTEMPTS => Try::Exhausted,
        _ => Try::Anew,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn pauses_double_from_the_first_to_the_longest_and_chance_moves_them_by_a_quarter() {
        for (schedule, failures, seconds) in [
            (PASSING, 0, 1),
            (PASSING, 1, 1),
            (PASSING, 2, 2),
            (PASSING, 5, 16),
            (PASSING, 9, 256),
            (PASSING, 10, 300),
            (PASSING, u32::MAX, 300),
            (RULES, 1, 1),
            (RULES, 5, 16),
            (RULES, 6, 30),
            (NEEDS_A_PERSON, 1, 120),
            (NEEDS_A_PERSON, 3, 480),
            (NEEDS_A_PERSON, 4, 900),
            (NEEDS_A_PERSON, u32::MAX, 900),
        ] {
            let middle = Duration::from_secs(seconds);
            assert_eq!(schedule.pause(failures, 0.5), middle, "{failures}");
            assert_eq!(schedule.pause(failures, 0.0), middle * 3 / 4, "{failures}");
            assert_eq!(schedule.pause(failures, 1.0), middle * 5 / 4, "{failures}");
            assert_eq!(schedule.pause(failures, 9.0), middle * 5 / 4, "{failures}");
        }
    }

    fn attempt(attempt: i64, holder: &str, term: i64, job: bool) -> Attempt {
        Attempt {
            attempt,
            key: String::new(),
            term,
            holder: holder.to_owned(),
            packager: String::new(),
            time: Timestamp::UNIX_EPOCH,
            job,
        }
    }

    #[test]
    fn an_attempt_is_used_again_only_by_whoever_recorded_it_and_stored_nothing() {
        let one = |holder, term, job| vec![attempt(1, holder, term, job)];
        let many =
            |n: i64| -> Vec<Attempt> { (1..=n).map(|k| attempt(k, "me", 2, false)).collect() };
        let most = i64::try_from(MOST_ATTEMPTS).unwrap();
        for (what, attempts, unsent, wanted) in [
            ("the first", vec![], None, Try::Anew),
            (
                "nothing was stored",
                one("me", 2, false),
                Some(1),
                Try::Again(1),
            ),
            ("something may be", one("me", 2, false), None, Try::Anew),
            ("another leader's", one("you", 2, false), Some(1), Try::Anew),
            ("an earlier term's", one("me", 1, false), Some(1), Try::Anew),
            ("a Job's", one("me", 2, true), Some(1), Try::Anew),
            ("followed by another", many(2), Some(1), Try::Anew),
            ("the last but one", many(most - 1), None, Try::Anew),
            ("too many", many(most), None, Try::Exhausted),
            (
                "too many, and usable",
                many(most),
                Some(most),
                Try::Again(most),
            ),
        ] {
            assert_eq!(next_try(&attempts, unsent, "me", 2), wanted, "{what}");
        }
    }
}
