//! A cache of frozen rounds. They never change once they are stored.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{Mutex, Semaphore};

use crate::problem::Problem;
pub use trevor_core::frozen::FrozenRound;
use trevor_core::keys::RequestKey;
use trevor_store::Records;

/// Bytes of manifests that are cached.
const MAX_CACHED_BYTES: usize = 8 << 20;
/// Manifests that are read at the same time. One of 10,000 files takes some megabytes.
const MAX_READS: usize = 2;

type Slot = Arc<Mutex<Option<FrozenRound>>>;

/// Reads frozen rounds. Concurrent reads of one round share one call to the storage.
pub struct FrozenRounds {
    records: Records,
    slots: std::sync::Mutex<HashMap<(String, i64), Slot>>,
    reads: Semaphore,
}

impl FrozenRounds {
    /// Reads frozen rounds of `records`.
    #[must_use]
    pub fn new(records: Records) -> Self {
        Self {
            records,
            slots: std::sync::Mutex::default(),
            reads: Semaphore::new(MAX_READS),
        }
    }

    /// A frozen round, if it is stored.
    ///
    /// # Errors
    /// 503 when the storage does not answer.
    pub async fn get(
        &self,
        request: &RequestKey,
        round: i64,
    ) -> Result<Option<FrozenRound>, Problem> {
        let slot = self.slot(request, round);
        let mut cached = slot.lock().await;
        if let Some(found) = cached.as_ref() {
            return Ok(Some(found.clone()));
        }
        let key = request.manifest(round);
        let _permit = self.reads.acquire().await;
        let Some(found) = self.records.get(&key).await? else {
            drop(cached);
            self.remove_if_empty((&request.uid, round), slot);
            return Ok(None);
        };
        *cached = Some(found.clone());
        drop(cached);
        self.evict((&request.uid, round));
        Ok(Some(found))
    }

    fn slot(&self, request: &RequestKey, round: i64) -> Slot {
        let mut slots = self
            .slots
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        Arc::clone(slots.entry((request.uid.clone(), round)).or_default())
    }

    /// Removes an empty slot, unless another call waits for it.
    fn remove_if_empty(&self, (uid, round): (&str, i64), slot: Slot) {
        let mut slots = self
            .slots
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        // The references of the map and of this call.
        if Arc::strong_count(&slot) <= 2 {
            slots.remove(&(uid.to_owned(), round));
        }
    }

    /// Evicts all rounds but the last when they take too much memory.
    fn evict(&self, last: (&str, i64)) {
        let mut slots = self
            .slots
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let size = |slot: &Slot| {
            slot.try_lock()
                .ok()
                .and_then(|s| s.as_ref().map(|f| f.bytes().len()))
                .unwrap_or(1024)
        };
        if slots.values().map(size).sum::<usize>() > MAX_CACHED_BYTES {
            slots.retain(|(uid, round), _| (uid.as_str(), *round) == last);
        }
    }
}

/// 404: a round has no manifest.
#[must_use]
pub fn not_frozen(round: i64) -> Problem {
    let detail = match round {
        0 => "the request was not submitted yet, so there is no manifest".to_owned(),
        round => format!("round {round} has no manifest (it is not frozen yet, or was refused)"),
    };
    Problem {
        reason: "NotFrozen",
        ..Problem::not_found(detail)
    }
}
