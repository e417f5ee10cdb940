//! The quota of a namespace in quarantine: all bytes of every version of every request, where
//! the policy bounds them. Usage is the sum of a listing that is some seconds old and of the
//! uploads of this process since. So concurrent uploads through one gateway never exceed the
//! quota. Several gateways can exceed it by what they receive between two listings.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::problem::Problem;
use trevor_core::keys::is_quarantined;
use trevor_core::policy::Rules;
use trevor_store::{Bucket, StorageError};

/// How old the listing may be that admits an upload.
const MAX_LISTING_AGE: Duration = Duration::from_secs(5);
/// How old the listing may be that refuses an upload.
const MAX_LISTING_AGE_BEFORE_REFUSAL: Duration = Duration::from_secs(1);
/// A listing is used for at least this multiple of the time that it took, so that listing takes at
/// most a twentieth of the time.
const LISTING_INTERVAL_FACTOR: u32 = 20;

/// Usage of all namespaces, each listed on demand.
pub struct QuarantineQuota {
    bucket: Bucket,
    namespaces: Mutex<HashMap<String, Arc<NamespaceUsage>>>,
}

#[derive(Debug, Default)]
struct NamespaceUsage {
    listing_lock: tokio::sync::Mutex<()>,
    usage: Mutex<Usage>,
}

#[derive(Debug, Default)]
struct Usage {
    listed: u64,
    listing: Option<(Instant, Duration)>,
    pending: HashMap<String, PendingUpload>,
}

/// An upload that the last listing does not include.
#[derive(Clone, Copy, Debug)]
struct PendingUpload {
    bytes: u64,
    stored: bool,
}

/// The part of the quota that one upload uses. It is released on drop unless the upload was stored.
#[derive(Debug)]
pub struct QuotaReservation {
    name: String,
    namespace: Arc<NamespaceUsage>,
    key: String,
    bytes: u64,
    max_bytes: u64,
    stored: bool,
}

impl Usage {
    fn total(&self) -> u64 {
        let pending = self.pending.values().map(|o| o.bytes);
        self.listed.saturating_add(pending.sum())
    }

    /// Sets the reservation of an upload to `bytes` if the quota has room for it.
    fn try_reserve(&mut self, key: &str, bytes: u64, max_bytes: u64) -> bool {
        let used = self.pending.get(key).map_or(0, |o| o.bytes);
        let fits = (self.total() - used).saturating_add(bytes) <= max_bytes;
        if fits {
            let stored = false;
            self.pending
                .insert(key.to_owned(), PendingUpload { bytes, stored });
        }
        fits
    }

    /// Uploads that were stored before a listing begins, so that it includes them.
    fn stored_before(&self) -> HashSet<String> {
        let stored = self.pending.iter().filter(|(_, pending)| pending.stored);
        stored.map(|(key, _)| key.clone()).collect()
    }

    /// Whether the size of a listed key is counted. Uploads that were not stored when the listing
    /// began are counted as pending.
    fn listing_counts(&self, key: &str, stored_before: &HashSet<String>) -> bool {
        stored_before.contains(key) || !self.pending.contains_key(key)
    }

    fn apply_listing(
        &mut self,
        sum: u64,
        stored_before: &HashSet<String>,
        listing: (Instant, Duration),
    ) {
        self.listed = sum;
        self.listing = Some(listing);
        self.pending.retain(|key, _| !stored_before.contains(key));
    }

    fn is_newer_than(&self, age: Duration) -> bool {
        self.listing
            .is_some_and(|(at, took)| at.elapsed() < age.max(took * LISTING_INTERVAL_FACTOR))
    }
}

impl NamespaceUsage {
    fn usage(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QuarantineQuota {
    /// The quota of objects in `bucket`, which is the quarantine bucket.
    #[must_use]
    pub fn new(bucket: Bucket) -> Self {
        Self {
            bucket,
            namespaces: Mutex::default(),
        }
    }

    /// Reserves `bytes` for the upload that will be stored under `key`.
    ///
    /// # Errors
    /// 422 when the quota is exhausted, 503 when the storage does not answer.
    pub async fn reserve(
        &self,
        name: &str,
        key: &str,
        bytes: u64,
        max_bytes: u64,
    ) -> Result<QuotaReservation, Problem> {
        let namespace = self.namespace(name);
        let mut reservation = QuotaReservation {
            name: name.to_owned(),
            namespace,
            key: key.to_owned(),
            bytes: 0,
            max_bytes,
            stored: false,
        };
        self.list(&reservation.name, &reservation.namespace, MAX_LISTING_AGE)
            .await?;
        reservation.grow(bytes, self).await?;
        Ok(reservation)
    }

    fn namespace(&self, name: &str) -> Arc<NamespaceUsage> {
        let all = self.namespaces.lock();
        let mut all = all.unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(name.to_owned()).or_default())
    }

    /// Checks the quota for files that are uploaded by a plan. Nothing is reserved: the controller
    /// checks again when it confirms receipt of them.
    ///
    /// # Errors
    /// 422 when the quota is exhausted, 503 when the storage does not answer.
    pub async fn check_available(
        &self,
        name: &str,
        planned: u64,
        rules: &Rules,
    ) -> Result<(), Problem> {
        if rules.max_stored_bytes.is_none() {
            return Ok(());
        }
        let namespace = self.namespace(name);
        // Uploads by other plans are not among the pending ones here. Plans are rare enough to list
        // for each.
        self.list(name, &namespace, Duration::ZERO).await?;
        let used = namespace.usage().total();
        match rules.no_room(used, planned) {
            Some(why) => Err(Problem::refused_by_policy(why)),
            None => Ok(()),
        }
    }

    /// Lists the namespace, unless the last listing is newer than `age`.
    async fn list(
        &self,
        name: &str,
        namespace: &NamespaceUsage,
        age: Duration,
    ) -> Result<(), StorageError> {
        let _listing = namespace.listing_lock.lock().await;
        if namespace.usage().is_newer_than(age) {
            return Ok(());
        }
        let began = Instant::now();
        let stored_before = namespace.usage().stored_before();
        let prefix = format!("requests/{name}/");
        let mut sum = 0_u64;
        let each = |key: &str, size: u64| {
            if is_quarantined(key) && namespace.usage().listing_counts(key, &stored_before) {
                sum = sum.saturating_add(size);
            }
        };
        self.bucket.visit(&prefix, each).await?;
        namespace
            .usage()
            .apply_listing(sum, &stored_before, (began, began.elapsed()));
        Ok(())
    }
}

impl QuotaReservation {
    /// Extends the reservation to at least `bytes`.
    ///
    /// # Errors
    /// 422 when the quota is exhausted, 503 when the storage does not answer.
    pub async fn ensure(&mut self, bytes: u64, quota: &QuarantineQuota) -> Result<(), Problem> {
        if bytes <= self.bytes {
            return Ok(());
        }
        self.grow(bytes, quota).await
    }

    async fn grow(&mut self, bytes: u64, quota: &QuarantineQuota) -> Result<(), Problem> {
        let reserved = self
            .namespace
            .usage()
            .try_reserve(&self.key, bytes, self.max_bytes);
        if !reserved {
            // Listed objects may be deleted by now.
            quota
                .list(&self.name, &self.namespace, MAX_LISTING_AGE_BEFORE_REFUSAL)
                .await?;
            let mut usage = self.namespace.usage();
            if !usage.try_reserve(&self.key, bytes, self.max_bytes) {
                let used = usage.total().saturating_sub(self.bytes);
                return Err(Problem::refused_by_policy(format!(
                    "the project has {used} bytes in quarantine, this file has at least {bytes}, and the policy allows {} (every version counts until its retention ends); ask a cluster admin for more",
                    self.max_bytes
                )));
            }
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Records that the object is stored. It stays pending until a listing includes it.
    pub fn mark_stored(mut self) {
        self.stored = true;
        if let Some(pending) = self.namespace.usage().pending.get_mut(&self.key) {
            pending.stored = true;
        }
    }
}

impl Drop for QuotaReservation {
    fn drop(&mut self) {
        if !self.stored {
            self.namespace.usage().pending.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_its_way_counts_once_whatever_a_listing_sees_of_it() {
        let mut usage = Usage::default();
        assert!(usage.try_reserve("done", 40, 100) && usage.try_reserve("coming", 40, 100));
        assert!(!usage.try_reserve("more", 21, 100) && usage.try_reserve("more", 20, 100));
        assert!(
            !usage.try_reserve("more", 21, 100),
            "growing needs room too"
        );
        assert_eq!(usage.total(), 100);
        usage.pending.get_mut("done").unwrap().stored = true;

        let stored_before = usage.stored_before();
        // Begun, and stored, while the listing goes on.
        usage.pending.get_mut("coming").unwrap().stored = true;
        let seen = [("old", 0), ("done", 40), ("coming", 40), ("more", 20)];
        let sum = seen
            .iter()
            .filter(|(key, _)| usage.listing_counts(key, &stored_before))
            .map(|(_, size)| size)
            .sum();
        usage.apply_listing(sum, &stored_before, (Instant::now(), Duration::ZERO));
        assert_eq!((usage.listed, usage.total()), (40, 100));
        // The next one has them all.
        let stored_before = usage.stored_before();
        usage.apply_listing(80, &stored_before, (Instant::now(), Duration::ZERO));
        assert_eq!(usage.total(), 100);
        usage.pending.clear();
        assert_eq!(usage.total(), 80);
    }

    #[test]
    fn a_slow_listing_is_kept_longer() {
        let mut usage = Usage::default();
        let ago = |s| Instant::now().checked_sub(Duration::from_secs(s)).unwrap();
        usage.listing = Some((ago(10), Duration::ZERO));
        assert!(!usage.is_newer_than(MAX_LISTING_AGE));
        usage.listing = Some((ago(10), Duration::from_secs(1)));
        assert!(usage.is_newer_than(MAX_LISTING_AGE));
    }
}
