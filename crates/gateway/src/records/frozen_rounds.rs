//! Frozen rounds, as they are stored. They never change, so some are kept.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{Mutex, Semaphore};

use crate::problem::Problem;
pub use trevor_core::frozen::FrozenRound;
use trevor_core::keys::RequestKey;
use trevor_store::Bucket;
use trevor_store::commit::read;

/// Bytes of manifests that are kept.
const KEPT: usize = 8 << 20;
/// Manifests read at the same time; one of 10,000 files is some megabytes.
const READS: usize = 2;

type Slot = Arc<Mutex<Option<FrozenRound>>>;

/// Reads frozen rounds, each once at a time.
pub struct Freezes {
    bucket: Bucket,
    slots: std::sync::Mutex<HashMap<(String, i64), Slot>>,
    reads: Semaphore,
}

impl Freezes {
    /// Of the records bucket.
    #[must_use]
    pub fn new(bucket: Bucket) -> Self {
        Self {
            bucket,
            slots: std::sync::Mutex::default(),
            reads: Semaphore::new(READS),
        }
    }

    /// What a round's freeze stored, if it is there.
    ///
    /// # Errors
    /// As the server says.
    pub async fn get(
        &self,
        request: &RequestKey,
        round: i64,
    ) -> Result<Option<FrozenRound>, Problem> {
        let slot = self.slot(request, round);
        let mut held = slot.lock().await;
        if let Some(found) = held.as_ref() {
            return Ok(Some(found.clone()));
        }
        let key = request.manifest(round);
        let _turn = self.reads.acquire().await;
        let Some(found) = read::<FrozenRound>(&self.bucket, &key).await? else {
            drop(held);
            self.forget((&request.uid, round), slot);
            return Ok(None);
        };
        *held = Some(found.clone());
        drop(held);
        self.trim((&request.uid, round));
        Ok(Some(found))
    }

    fn slot(&self, request: &RequestKey, round: i64) -> Slot {
        let mut slots = self
            .slots
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        Arc::clone(slots.entry((request.uid.clone(), round)).or_default())
    }

    /// Lets go of a slot with nothing in it, unless others wait there.
    fn forget(&self, (uid, round): (&str, i64), slot: Slot) {
        let mut slots = self
            .slots
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        // The map's own, and this one.
        if Arc::strong_count(&slot) <= 2 {
            slots.remove(&(uid.to_owned(), round));
        }
    }

    /// Lets go of all but the last read when they are too many.
    fn trim(&self, last: (&str, i64)) {
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
        if slots.values().map(size).sum::<usize>() > KEPT {
            slots.retain(|(uid, round), _| (uid.as_str(), *round) == last);
        }
    }
}
