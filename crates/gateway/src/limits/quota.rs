//! Bytes of a namespace in quarantine, every version of every request counted,
//! for policies that bound them. A listing some seconds old, and what this process
//! took in since: the bound holds here whatever is sent at the same time, and
//! across gateways as far as their listings are apart.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::limits::admission::refused;
use crate::problem::Problem;
use trevor_core::keys::is_quarantined;
use trevor_core::policy::Rules;
use trevor_store::{Bucket, StorageError};

/// How old a listing may be.
const KEPT: Duration = Duration::from_secs(5);
/// How old a listing may be by which an upload is refused.
const FRESH: Duration = Duration::from_secs(1);
/// Listing takes at most this part of the time.
const PART: u32 = 20;

/// What namespaces have stored.
pub struct Stored {
    bucket: Bucket,
    namespaces: Mutex<HashMap<String, Arc<Namespace>>>,
}

#[derive(Debug, Default)]
struct Namespace {
    turn: tokio::sync::Mutex<()>,
    sums: Mutex<Sums>,
}

#[derive(Debug, Default)]
struct Sums {
    listed: u64,
    listing: Option<(Instant, Duration)>,
    ours: HashMap<String, Ours>,
}

/// An upload that the listing does not count.
#[derive(Clone, Copy, Debug)]
struct Ours {
    bytes: u64,
    stored: bool,
}

/// Room for one upload, given back when it is dropped before it was stored.
#[derive(Debug)]
pub struct Reservation {
    name: String,
    namespace: Arc<Namespace>,
    key: String,
    bytes: u64,
    most: u64,
    stored: bool,
}

impl Sums {
    fn total(&self) -> u64 {
        let ours = self.ours.values().map(|o| o.bytes);
        self.listed.saturating_add(ours.sum())
    }

    /// Sets what an upload takes, if that fits.
    fn fits(&mut self, key: &str, bytes: u64, most: u64) -> bool {
        let held = self.ours.get(key).map_or(0, |o| o.bytes);
        let fits = (self.total() - held).saturating_add(bytes) <= most;
        if fits {
            let stored = false;
            self.ours.insert(key.to_owned(), Ours { bytes, stored });
        }
        fits
    }

    /// Uploads that were stored before a listing begins: it will have them.
    fn settled(&self) -> HashSet<String> {
        let stored = self.ours.iter().filter(|(_, ours)| ours.stored);
        stored.map(|(key, _)| key.clone()).collect()
    }

    /// Whether a listing counts a key: not what is on its way, or came meanwhile.
    fn counts(&self, key: &str, settled: &HashSet<String>) -> bool {
        settled.contains(key) || !self.ours.contains_key(key)
    }

    fn listed(&mut self, sum: u64, settled: &HashSet<String>, listing: (Instant, Duration)) {
        self.listed = sum;
        self.listing = Some(listing);
        self.ours.retain(|key, _| !settled.contains(key));
    }

    fn is_younger(&self, age: Duration) -> bool {
        self.listing
            .is_some_and(|(at, took)| at.elapsed() < age.max(took * PART))
    }
}

impl Namespace {
    fn sums(&self) -> MutexGuard<'_, Sums> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stored {
    /// In the quarantine bucket.
    #[must_use]
    pub fn new(bucket: Bucket) -> Self {
        Self {
            bucket,
            namespaces: Mutex::default(),
        }
    }

    /// Room for an upload.
    ///
    /// # Errors
    /// 422 where there is none, 503 as the server says.
    pub async fn reserve(
        &self,
        name: &str,
        key: &str,
        bytes: u64,
        most: u64,
    ) -> Result<Reservation, Problem> {
        let namespace = self.namespace(name);
        let mut room = Reservation {
            name: name.to_owned(),
            namespace,
            key: key.to_owned(),
            bytes: 0,
            most,
            stored: false,
        };
        self.list(&room.name, &room.namespace, KEPT).await?;
        room.grow(bytes, self).await?;
        Ok(room)
    }

    fn namespace(&self, name: &str) -> Arc<Namespace> {
        let all = self.namespaces.lock();
        let mut all = all.unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(name.to_owned()).or_default())
    }

    /// Whether there is room for what comes by another way. Nothing is kept for it: the
    /// confirmation counts again.
    ///
    /// # Errors
    /// 422 where there is none, 503 as the server says.
    pub async fn has_room(&self, name: &str, coming: u64, rules: &Rules) -> Result<(), Problem> {
        if rules.max_stored_bytes.is_none() {
            return Ok(());
        }
        let namespace = self.namespace(name);
        // Plans are few, and what came in by another plan is in no sum of ours.
        self.list(name, &namespace, Duration::ZERO).await?;
        let held = namespace.sums().total();
        match rules.no_room(held, coming) {
            Some(why) => Err(refused(why)),
            None => Ok(()),
        }
    }

    /// Lists, unless a listing is young enough.
    async fn list(
        &self,
        name: &str,
        namespace: &Namespace,
        age: Duration,
    ) -> Result<(), StorageError> {
        let _turn = namespace.turn.lock().await;
        if namespace.sums().is_younger(age) {
            return Ok(());
        }
        let began = Instant::now();
        let settled = namespace.sums().settled();
        let prefix = format!("requests/{name}/");
        let mut sum = 0_u64;
        let each = |key: &str, size: u64| {
            if is_quarantined(key) && namespace.sums().counts(key, &settled) {
                sum = sum.saturating_add(size);
            }
        };
        self.bucket.visit(&prefix, each).await?;
        namespace
            .sums()
            .listed(sum, &settled, (began, began.elapsed()));
        Ok(())
    }
}

impl Reservation {
    /// Room for at least so many bytes.
    ///
    /// # Errors
    /// 422 where there is none.
    pub async fn cover(&mut self, bytes: u64, stored: &Stored) -> Result<(), Problem> {
        if bytes <= self.bytes {
            return Ok(());
        }
        self.grow(bytes, stored).await
    }

    async fn grow(&mut self, bytes: u64, stored: &Stored) -> Result<(), Problem> {
        let fits = self.namespace.sums().fits(&self.key, bytes, self.most);
        if !fits {
            // What was listed may be gone since.
            stored.list(&self.name, &self.namespace, FRESH).await?;
            let mut sums = self.namespace.sums();
            if !sums.fits(&self.key, bytes, self.most) {
                let held = sums.total().saturating_sub(self.bytes);
                return Err(refused(format!(
                    "the project has {held} bytes in quarantine, this file has at least {bytes}, and the policy allows {} (every version counts until its retention ends); ask a cluster admin for more",
                    self.most
                )));
            }
        }
        self.bytes = bytes;
        Ok(())
    }

    /// The object is there: it counts until the next listing has it.
    pub fn done(mut self) {
        self.stored = true;
        if let Some(ours) = self.namespace.sums().ours.get_mut(&self.key) {
            ours.stored = true;
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.stored {
            self.namespace.sums().ours.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_its_way_counts_once_whatever_a_listing_sees_of_it() {
        let mut sums = Sums::default();
        assert!(sums.fits("done", 40, 100) && sums.fits("coming", 40, 100));
        assert!(!sums.fits("more", 21, 100) && sums.fits("more", 20, 100));
        assert!(!sums.fits("more", 21, 100), "growing needs room too");
        assert_eq!(sums.total(), 100);
        sums.ours.get_mut("done").unwrap().stored = true;

        let settled = sums.settled();
        // Begun, and stored, while the listing goes on.
        sums.ours.get_mut("coming").unwrap().stored = true;
        let seen = [("old", 0), ("done", 40), ("coming", 40), ("more", 20)];
        let sum = seen
            .iter()
            .filter(|(key, _)| sums.counts(key, &settled))
            .map(|(_, size)| size)
            .sum();
        sums.listed(sum, &settled, (Instant::now(), Duration::ZERO));
        assert_eq!((sums.listed, sums.total()), (40, 100));
        // The next one has them all.
        let settled = sums.settled();
        sums.listed(80, &settled, (Instant::now(), Duration::ZERO));
        assert_eq!(sums.total(), 100);
        sums.ours.clear();
        assert_eq!(sums.total(), 80);
    }

    #[test]
    fn a_slow_listing_is_kept_longer() {
        let mut sums = Sums::default();
        let ago = |s| Instant::now().checked_sub(Duration::from_secs(s)).unwrap();
        sums.listing = Some((ago(10), Duration::ZERO));
        assert!(!sums.is_younger(KEPT));
        sums.listing = Some((ago(10), Duration::from_secs(1)));
        assert!(sums.is_younger(KEPT));
    }
}
