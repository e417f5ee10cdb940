//! What the dispatcher knows of the outbox: what is to be taken next, what is under way,
//! and what waits for its next try. All of it is bounded, and may be lost at any time.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use tokio::time::Instant;

/// Entries that are being delivered at once.
const AT_ONCE: usize = 128;
/// Entries that are due and not begun.
const READY: usize = 4_096;
/// Entries whose next try is remembered. Beyond that they are found by the next listing.
const WAITING: usize = 16_384;

/// What an entry has been through so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    /// How often it was looked at.
    pub looks: i64,
    /// Tries of each of its deliveries that is not over, by its name.
    pub slots: BTreeMap<String, i64>,
}

/// The bookkeeping.
#[derive(Debug, Default)]
pub struct Queue {
    ready: VecDeque<String>,
    queued: HashSet<String>,
    running: HashMap<String, Tries>,
    waiting: HashMap<String, (Instant, Tries)>,
    more: bool,
}

impl Queue {
    /// An entry is due. Whether there is room for more.
    pub fn found(&mut self, key: String) -> bool {
        if self.knows(&key) {
            return true;
        }
        if self.ready.len() >= READY {
            self.more = true;
            return false;
        }
        self.queued.insert(key.clone());
        self.ready.push_back(key);
        true
    }

    fn knows(&self, key: &str) -> bool {
        self.queued.contains(key)
            || self.running.contains_key(key)
            || self.waiting.contains_key(key)
    }

    /// The next to be begun, with its tries so far; none: nothing is due, or enough is
    /// under way.
    pub fn next(&mut self) -> Option<(String, Tries)> {
        if self.running.len() >= AT_ONCE {
            return None;
        }
        let key = self.ready.pop_front()?;
        self.queued.remove(&key);
        let tries = self
            .waiting
            .remove(&key)
            .map(|(_, tries)| tries)
            .unwrap_or_default();
        self.running.insert(key.clone(), tries.clone());
        Some((key, tries))
    }

    /// It is over, and gone from the outbox.
    pub fn over(&mut self, key: &str) {
        self.running.remove(key);
    }

    /// It stays in the outbox, and is not tried before then. What it has been tried is
    /// kept; none: as it was.
    pub fn later(&mut self, key: &str, until: Instant, tries: Option<Tries>) {
        let before = self.running.remove(key).unwrap_or_default();
        if self.waiting.len() < WAITING {
            self.waiting
                .insert(key.to_owned(), (until, tries.unwrap_or(before)));
        } else {
            self.more = true;
        }
    }

    /// Takes up again what has waited for long enough.
    pub fn wake(&mut self, now: Instant) {
        let room = READY.saturating_sub(self.ready.len());
        let due = self
            .waiting
            .iter()
            .filter(|(key, (until, _))| *until <= now && !self.queued.contains(*key));
        let due: Vec<String> = due.take(room).map(|(key, _)| key.clone()).collect();
        for key in due {
            // It stays among those that wait, with its tries, until it is begun.
            self.queued.insert(key.clone());
            self.ready.push_back(key);
        }
    }

    /// A channel that was in trouble is back: whatever waits is looked at again.
    pub fn wake_all(&mut self, now: Instant) {
        for (until, tries) in self.waiting.values_mut() {
            *until = now;
            tries.looks = 0;
        }
    }

    /// Whether the outbox has more than is known, and there is room for it again.
    pub fn wants_more(&mut self) -> bool {
        let room = self.ready.len() < READY / 2 && self.waiting.len() < WAITING;
        room && std::mem::take(&mut self.more)
    }

    /// All that is known of.
    pub fn len(&self) -> usize {
        let waits = self
            .waiting
            .keys()
            .filter(|key| !self.queued.contains(*key));
        self.ready.len() + self.running.len() + waits.count()
    }

    /// Whether anything waits for a later try.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn however_much_is_due_only_so_much_is_known_and_none_is_lost() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let all: Vec<String> = (0..10_000).map(|n| format!("{n:05}")).collect();
        let mut over = HashSet::new();
        let mut scans = 0;
        while over.len() < all.len() {
            scans += 1;
            let mut left = all.iter().filter(|key| !over.contains(*key));
            let room = left.all(|key| queue.found(key.clone()));
            assert!(queue.ready.len() <= READY);
            while let Some((key, _)) = queue.next() {
                assert!(queue.running.len() <= AT_ONCE);
                queue.over(&key);
                over.insert(key);
            }
            assert_eq!(queue.wants_more(), !room);
        }
        assert_eq!(scans, 3);
        assert_eq!((queue.len(), queue.next()), (0, None));
        // Enough is under way.
        for key in &all {
            queue.found(key.clone());
        }
        let begun = std::iter::from_fn(|| queue.next()).count();
        assert_eq!(begun, AT_ONCE);
        queue.later("00000", now, None);
        assert!(queue.next().is_some(), "one may follow");
    }

    #[test]
    fn what_waits_is_taken_up_in_time_with_its_tries_and_not_twice() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let second = Duration::from_secs(1);
        assert!(queue.found("a".into()) && queue.found("a".into()));
        assert_eq!(queue.next(), Some(("a".into(), Tries::default())));
        assert!(queue.found("a".into()), "it is under way");
        assert_eq!(queue.next(), None);
        let mut tries = Tries {
            looks: 1,
            slots: BTreeMap::from([("desk".to_owned(), 1)]),
        };
        queue.later("a", now + second, Some(tries.clone()));
        queue.found("a".into());
        queue.wake(now);
        assert_eq!(queue.next(), None);
        queue.wake(now + second);
        queue.wake(now + second);
        assert_eq!(queue.len(), 1);
        assert_eq!(queue.next(), Some(("a".into(), tries.clone())));
        queue.later("a", now + second, None);
        queue.wake(now);
        assert_eq!(queue.next(), None);
        queue.wake_all(now);
        queue.wake(now);
        tries.looks = 0;
        assert_eq!(queue.next(), Some(("a".into(), tries)), "tries are kept");
        queue.over("a");
        assert_eq!((queue.len(), queue.has_waiting()), (0, false));
    }
}
