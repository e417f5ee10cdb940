//! A cache of the receipts of requests. The gateway checks uploads against it early. The freeze in
//! the controller decides.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::problem::Problem;
use crate::records::frozen_rounds::FrozenRounds;
use crate::records::receipt_index::ReceiptIndex;
use trevor_core::keys::RequestKey;
use trevor_core::object_key::{FactKey, FactPrefix};
use trevor_core::receipt::Receipt;
use trevor_store::{Records, StorageError};

/// Receipts of all requests together that are cached.
const MAX_CACHED_RECEIPTS: usize = 50_000;
const CONCURRENT_READS: usize = 16;

/// Receipts of requests, by the uid of the request.
pub struct ReceiptCache {
    records: Records,
    frozen_rounds: Arc<FrozenRounds>,
    requests: Mutex<HashMap<String, Arc<CachedRequest>>>,
    clock: AtomicU64,
}

/// The receipts of one request.
pub struct CachedRequest {
    key: RequestKey,
    loaded: tokio::sync::Mutex<bool>,
    receipts: Mutex<ReceiptIndex>,
    last_used: AtomicU64,
}

impl CachedRequest {
    /// The receipts that were read, and the files of the round.
    pub fn receipts(&self) -> MutexGuard<'_, ReceiptIndex> {
        self.receipts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReceiptCache {
    /// Reads receipts of `records`.
    #[must_use]
    pub fn new(records: Records, frozen_rounds: Arc<FrozenRounds>) -> Self {
        Self {
            records,
            frozen_rounds,
            requests: Mutex::default(),
            clock: AtomicU64::new(0),
        }
    }

    /// The receipts of a request, indexed for `round`. They are read at first use.
    ///
    /// # Errors
    /// 503 when the storage does not answer.
    pub async fn entry(&self, key: &RequestKey, round: i64) -> Result<Arc<CachedRequest>, Problem> {
        let entry = self.find(key);
        let mut loaded = entry.loaded.lock().await;
        if !*loaded {
            self.read_new(&entry, &key.receipts()).await?;
            *loaded = true;
        }
        if !entry.receipts().is_for_round(round) {
            let carried_over = self.carried_over(key, round).await?;
            entry.receipts().set_round(round, carried_over);
        }
        drop(loaded);
        self.evict(key);
        Ok(entry)
    }

    /// As [`Self::entry`], with receipts that other gateways wrote meanwhile.
    ///
    /// # Errors
    /// As [`Self::entry`].
    pub async fn fresh(&self, key: &RequestKey, round: i64) -> Result<Arc<CachedRequest>, Problem> {
        let entry = self.find(key);
        let mut loaded = entry.loaded.lock().await;
        self.read_new(&entry, &key.receipts()).await?;
        *loaded = true;
        drop(loaded);
        self.entry(key, round).await
    }

    /// Reads the receipts of one path that other gateways wrote meanwhile.
    ///
    /// # Errors
    /// As [`Self::entry`].
    pub async fn refresh_path(&self, entry: &CachedRequest, path: &str) -> Result<(), Problem> {
        self.read_new(entry, &entry.key.receipts_of(path)).await
    }

    fn find(&self, key: &RequestKey) -> Arc<CachedRequest> {
        let mut requests = self.lock();
        let entry = requests.entry(key.uid.clone()).or_insert_with(|| {
            Arc::new(CachedRequest {
                key: key.clone(),
                loaded: tokio::sync::Mutex::default(),
                receipts: Mutex::default(),
                last_used: AtomicU64::new(0),
            })
        });
        entry
            .last_used
            .store(self.clock.fetch_add(1, Relaxed), Relaxed);
        Arc::clone(entry)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<CachedRequest>>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read_new(
        &self,
        entry: &CachedRequest,
        prefix: &FactPrefix<Receipt>,
    ) -> Result<(), Problem> {
        let mut missing: Vec<FactKey<Receipt>> = self.records.list(prefix).await?;
        {
            let receipts = entry.receipts();
            missing.retain(|key| !receipts.contains(key));
        }
        let mut reads = stream::iter(missing)
            .map(|key| async move {
                let receipt = self.records.get(&key).await?;
                Ok::<_, StorageError>((key, receipt))
            })
            .buffer_unordered(CONCURRENT_READS);
        while let Some((key, receipt)) = reads.try_next().await? {
            if let Some(receipt) = receipt {
                entry.receipts().add(&key, receipt);
            }
        }
        Ok(())
    }

    /// The files that the last frozen round before `round` lists.
    async fn carried_over(
        &self,
        key: &RequestKey,
        round: i64,
    ) -> Result<Arc<Vec<Receipt>>, Problem> {
        if round <= 1 {
            return Ok(Arc::default());
        }
        let rounds = self.records.folders(&key.rounds()).await?;
        let mut earlier: Vec<i64> = rounds
            .iter()
            .filter_map(|r| r.parse().ok())
            .filter(|r| *r < round)
            .collect();
        earlier.sort_unstable();
        for round in earlier.into_iter().rev() {
            if let Some(frozen) = self.frozen_rounds.get(key, round).await? {
                return Ok(Arc::new(frozen.listing()));
            }
        }
        Ok(Arc::default())
    }

    /// Evicts the least recently used requests, but not `last`.
    fn evict(&self, last: &RequestKey) {
        let mut requests = self.lock();
        let mut total: usize = requests.values().map(|e| e.receipts().len() + 1).sum();
        if total <= MAX_CACHED_RECEIPTS {
            return;
        }
        let mut by_age: Vec<(u64, String, usize)> = requests
            .iter()
            .map(|(uid, e)| {
                (
                    e.last_used.load(Relaxed),
                    uid.clone(),
                    e.receipts().len() + 1,
                )
            })
            .collect();
        by_age.sort_unstable();
        for (_, uid, count) in by_age {
            if total <= MAX_CACHED_RECEIPTS {
                break;
            }
            if uid != last.uid {
                requests.remove(&uid);
                total -= count;
            }
        }
    }
}
