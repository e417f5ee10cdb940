//! What a sweeper remembers of tickets; it may be lost at any time.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

/// Pauses after failures: doubling, from and to, in seconds.
const PAUSES: (i64, i64) = (5, 900);
/// Entries of each kind.
pub const REMEMBERED: usize = 10_000;

/// What is remembered, by key of the ticket.
#[derive(Debug, Default)]
pub struct Memory {
    /// How often each failed, and until when it rests.
    failures: HashMap<String, (u32, Timestamp)>,
    /// Refused, and told of.
    reported: HashSet<String>,
    /// Of other clusters, and of which: an owner never changes.
    foreign: HashMap<String, String>,
}

impl Memory {
    /// Until when a ticket rests, if it does.
    pub fn rests(&self, key: &str, now: Timestamp) -> Option<Timestamp> {
        let (_, until) = self.failures.get(key)?;
        (*until > now).then_some(*until)
    }

    /// It failed; gives when it is tried again.
    pub fn failed(&mut self, key: &str, now: Timestamp) -> Timestamp {
        if self.failures.len() >= REMEMBERED {
            self.failures.clear();
        }
        let entry = self.failures.entry(key.to_owned()).or_insert((0, now));
        let pause = (PAUSES.0 << entry.0.min(10)).min(PAUSES.1);
        let until = now.checked_add(SignedDuration::from_secs(pause));
        *entry = (entry.0 + 1, until.unwrap_or(Timestamp::MAX));
        entry.1
    }

    /// It did not fail; gives whether it had.
    pub fn passed(&mut self, key: &str) -> bool {
        self.failures.remove(key).is_some()
    }

    /// It is refused; gives whether that is to be told.
    pub fn refused(&mut self, key: &str) -> bool {
        if self.reported.len() >= REMEMBERED {
            self.reported.clear();
        }
        self.reported.insert(key.to_owned())
    }

    /// It is another cluster's.
    pub fn foreign(&mut self, key: &str, cluster: &str) {
        if self.foreign.len() < REMEMBERED {
            self.foreign.insert(key.to_owned(), cluster.to_owned());
        }
    }

    /// The other cluster that it is known to be of.
    pub fn foreign_cluster(&self, key: &str) -> Option<String> {
        self.foreign.get(key).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_quarter_of_an_hour_and_start_small_again() {
        let (mut memory, now) = (Memory::default(), Timestamp::UNIX_EPOCH);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            pauses.push(memory.failed("t", now).as_second());
        }
        assert_eq!(pauses[..4], [5, 10, 20, 40]);
        assert_eq!(pauses[11], 900);
        assert!(memory.rests("t", now).is_some());
        assert!(memory.passed("t") && !memory.passed("t"));
        assert_eq!(memory.rests("t", now), None);
        assert_eq!(memory.failed("t", now).as_second(), 5);
    }

    #[test]
    fn what_is_refused_is_told_once() {
        let mut memory = Memory::default();
        assert!(memory.refused("t") && !memory.refused("t") && memory.refused("u"));
    }
}
