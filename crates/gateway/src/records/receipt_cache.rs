//! Receipts of requests, read once and kept for a while: the early gate. The
//! freeze in the controller is the authority.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::problem::Problem;
use crate::records::frozen_rounds::Freezes;
use crate::records::receipt_index::Known;
use trevor_core::keys::RequestKey;
use trevor_core::receipt::Receipt;
use trevor_store::{Bucket, StorageError, commit};

/// Receipts kept of all requests together.
const KEPT: usize = 50_000;
/// Receipts read at the same time.
const READS: usize = 16;

/// Requests by uid.
pub struct Index {
    bucket: Bucket,
    freezes: Arc<Freezes>,
    requests: Mutex<HashMap<String, Arc<Entry>>>,
    clock: AtomicU64,
}

/// One request.
pub struct Entry {
    key: RequestKey,
    loaded: tokio::sync::Mutex<bool>,
    known: Mutex<Known>,
    used: AtomicU64,
}

impl Entry {
    /// What is known.
    pub fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    /// Of the records bucket.
    #[must_use]
    pub fn new(bucket: Bucket, freezes: Arc<Freezes>) -> Self {
        Self {
            bucket,
            freezes,
            requests: Mutex::default(),
            clock: AtomicU64::new(0),
        }
    }

    /// A request's receipts, read at first use, seen for `round`.
    ///
    /// # Errors
    /// As the server says.
    pub async fn entry(&self, key: &RequestKey, round: i64) -> Result<Arc<Entry>, Problem> {
        let entry = self.find(key);
        let mut loaded = entry.loaded.lock().await;
        if !*loaded {
            self.read_new(&entry, &key.receipts()).await?;
            *loaded = true;
        }
        if !entry.known().looks_at(round) {
            let carried = self.carried(key, round).await?;
            entry.known().look_at(round, carried);
        }
        drop(loaded);
        self.trim(key);
        Ok(entry)
    }

    /// As [`Self::entry`], with what other gateways wrote meanwhile.
    ///
    /// # Errors
    /// As the server says.
    pub async fn fresh(&self, key: &RequestKey, round: i64) -> Result<Arc<Entry>, Problem> {
        let entry = self.find(key);
        let mut loaded = entry.loaded.lock().await;
        self.read_new(&entry, &key.receipts()).await?;
        *loaded = true;
        drop(loaded);
        self.entry(key, round).await
    }

    /// Reads what others wrote for one path.
    ///
    /// # Errors
    /// As the server says.
    pub async fn refresh_path(&self, entry: &Entry, path: &str) -> Result<(), Problem> {
        self.read_new(entry, &entry.key.receipts_of(path)).await
    }

    fn find(&self, key: &RequestKey) -> Arc<Entry> {
        let mut requests = self.lock();
        let entry = requests.entry(key.uid.clone()).or_insert_with(|| {
            Arc::new(Entry {
                key: key.clone(),
                loaded: tokio::sync::Mutex::default(),
                known: Mutex::default(),
                used: AtomicU64::new(0),
            })
        });
        entry.used.store(self.clock.fetch_add(1, Relaxed), Relaxed);
        Arc::clone(entry)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Entry>>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read_new(&self, entry: &Entry, prefix: &str) -> Result<(), Problem> {
        let listed = self.bucket.list(prefix).await?;
        let unknown: Vec<String> = {
            let known = entry.known();
            listed
                .into_iter()
                .map(|l| l.key)
                .filter(|key| !known.has(key))
                .collect()
        };
        let mut reads = stream::iter(unknown)
            .map(|key| async move {
                let receipt = commit::read::<Receipt>(&self.bucket, &key).await?;
                Ok::<_, StorageError>((key, receipt))
            })
            .buffer_unordered(READS);
        while let Some((key, receipt)) = reads.try_next().await? {
            if let Some(receipt) = receipt {
                entry.known().add(&key, receipt);
            }
        }
        Ok(())
    }

    /// What the last freeze before `round` listed.
    async fn carried(&self, key: &RequestKey, round: i64) -> Result<Arc<Vec<Receipt>>, Problem> {
        if round <= 1 {
            return Ok(Arc::default());
        }
        let rounds = self.bucket.folders(&key.rounds()).await?;
        let mut earlier: Vec<i64> = rounds
            .iter()
            .filter_map(|r| r.parse().ok())
            .filter(|r| *r < round)
            .collect();
        earlier.sort_unstable();
        for round in earlier.into_iter().rev() {
            if let Some(frozen) = self.freezes.get(key, round).await? {
                return Ok(Arc::new(frozen.listing()));
            }
        }
        Ok(Arc::default())
    }

    /// Lets go of what was used longest ago, but not of `last`.
    fn trim(&self, last: &RequestKey) {
        let mut requests = self.lock();
        let mut total: usize = requests.values().map(|e| e.known().len() + 1).sum();
        if total <= KEPT {
            return;
        }
        let mut by_age: Vec<(u64, String, usize)> = requests
            .iter()
            .map(|(uid, e)| (e.used.load(Relaxed), uid.clone(), e.known().len() + 1))
            .collect();
        by_age.sort_unstable();
        for (_, uid, count) in by_age {
            if total <= KEPT {
                break;
            }
            if uid != last.uid {
                requests.remove(&uid);
                total -= count;
            }
        }
    }
}
