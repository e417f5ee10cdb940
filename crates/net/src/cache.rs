//! A bounded map whose entries end after a while: for answers of the API
//! server, which are asked for again at most some seconds later.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Entries by key, each until its time.
#[derive(Debug)]
pub struct Cache<K, V> {
    most: usize,
    entries: Mutex<HashMap<K, (Instant, V)>>,
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    /// An empty cache of at most `most` entries.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            most,
            entries: Mutex::new(HashMap::new()),
        }
    }

    /// The value, while its time lasts.
    pub fn get(&self, key: &K) -> Option<V> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .get(key)
            .filter(|(until, _)| Instant::now() < *until)
            .map(|(_, value)| value.clone())
    }

    /// Keeps a value for `ttl`. A full cache first drops what has ended, then
    /// everything: it is only a cache.
    pub fn put(&self, key: K, value: V, ttl: Duration) {
        let now = Instant::now();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= self.most {
            entries.retain(|_, (until, _)| now < *until);
            if entries.len() >= self.most {
                entries.clear();
            }
        }
        entries.insert(key, (now + ttl, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_end_and_their_number_is_bounded() {
        let cache = Cache::new(2);
        cache.put(1, "a", Duration::ZERO);
        assert_eq!(cache.get(&1), None);
        for key in 0..100 {
            cache.put(key, "b", Duration::from_secs(60));
            assert_eq!(cache.get(&key), Some("b"));
            assert!(cache.entries.lock().unwrap().len() <= 2);
        }
    }
}
