//! Frozen rounds, as they are stored. They never change, so some are kept.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Mutex, Semaphore};

use super::problem::Problem;
use crate::domain::commit::Freeze;
use crate::domain::digest::Sha256Hex;
use crate::domain::manifest::{Manifest, ManifestFile};
use crate::storage::keys::RequestKey;
use crate::storage::{Bucket, StorageError};

/// Bytes of manifests that are kept.
const KEPT: usize = 8 << 20;
/// Manifests read at the same time; one of 10,000 files is some megabytes.
const READS: usize = 2;

/// What the freeze of a round stored.
#[derive(Debug)]
pub struct FrozenRound {
    /// The bytes as stored.
    pub bytes: Bytes,
    /// Their SHA-256: for a manifest, the digest that reviews name.
    pub digest: Sha256Hex,
    /// What they say.
    pub freeze: Freeze,
}

impl FrozenRound {
    /// The manifest, if the round was not refused.
    #[must_use]
    pub fn manifest(&self) -> Option<&Manifest> {
        match &self.freeze {
            Freeze::Manifest(manifest) => Some(manifest),
            Freeze::Refusal(_) => None,
        }
    }

    /// A file of the manifest.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&ManifestFile> {
        self.manifest()
            .and_then(|m| m.files.iter().find(|f| f.path == path))
    }

    /// The version of a path that counted, in manifest or refusal; `same` tells
    /// whether a path is the one.
    #[must_use]
    pub fn version_of(&self, same: impl Fn(&str) -> bool) -> Option<&str> {
        match &self.freeze {
            Freeze::Manifest(manifest) => manifest
                .files
                .iter()
                .find(|f| same(&f.path))
                .map(|f| f.version.as_str()),
            Freeze::Refusal(refusal) => refusal
                .listing
                .iter()
                .find(|r| same(&r.path))
                .map(|r| r.version.as_str()),
        }
    }
}

type Slot = Arc<Mutex<Option<Arc<FrozenRound>>>>;

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
    ) -> Result<Option<Arc<FrozenRound>>, Problem> {
        let slot = self.slot(request, round);
        let mut held = slot.lock().await;
        if let Some(found) = held.as_ref() {
            return Ok(Some(Arc::clone(found)));
        }
        let key = request.manifest(round);
        let _turn = self.reads.acquire().await;
        let Some(bytes) = self.bucket.get(&key).await? else {
            drop(held);
            self.forget((&request.uid, round), slot);
            return Ok(None);
        };
        let freeze = serde_json::from_slice(&bytes).map_err(|error| StorageError::Corrupt {
            bucket: self.bucket.name().to_owned(),
            key,
            problem: format!("is no manifest: {error}"),
        })?;
        let found = Arc::new(FrozenRound {
            digest: Sha256Hex::of(&bytes),
            bytes,
            freeze,
        });
        *held = Some(Arc::clone(&found));
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
                .and_then(|s| s.as_ref().map(|f| f.bytes.len()))
                .unwrap_or(1024)
        };
        if slots.values().map(size).sum::<usize>() > KEPT {
            slots.retain(|(uid, round), _| (uid.as_str(), *round) == last);
        }
    }
}
