//! Appending to a chain: the key of the next sequence is created or not; who
//! finds it taken reads it, and goes on behind it.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::heads::Heads;
use crate::{Bucket, Created, Records, StorageError};
use trevor_core::canonical;
use trevor_core::digest::Sha256Hex;
use trevor_core::event::{Entry, Event};

/// Event ids kept to recognise a repetition.
const REMEMBERED: usize = 10_000;

/// The last entry of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its sequence; 0 before the first.
    pub sequence: i64,
    /// SHA-256 of its bytes; 64 zeros before the first.
    pub hash: Sha256Hex,
}

#[derive(Debug)]
struct Known {
    head: Head,
    ids: HashSet<String>,
}

/// One chain under a prefix that ends in `/`.
#[derive(Debug)]
pub struct Chain {
    prefix: String,
    known: Mutex<Option<Known>>,
    heads: Arc<Heads>,
}

fn start() -> Known {
    let hash = Sha256Hex::from_raw(&[0; 32]);
    Known {
        head: Head { sequence: 0, hash },
        ids: HashSet::new(),
    }
}

/// Name of an entry's object: 20 digits, so that names sort as numbers.
#[must_use]
pub fn entry_name(sequence: i64) -> String {
    format!("{sequence:020}.json")
}

/// Whether a chain has an entry behind a sequence.
///
/// # Errors
/// As the server says.
pub async fn goes_on(records: &Records, chain: &str, sequence: i64) -> Result<bool, StorageError> {
    let after = format!("{chain}{}", entry_name(sequence));
    let page = records.bucket().page(chain, &after, 1).await?;
    Ok(!page.is_empty())
}

impl Chain {
    /// A chain that may have entries; they are read at the first append.
    #[must_use]
    pub fn new(prefix: String) -> Self {
        Self {
            prefix,
            known: Mutex::new(None),
            heads: Arc::default(),
        }
    }

    /// A chain that nobody wrote to before (its prefix is unique to this process).
    #[must_use]
    pub fn fresh(prefix: String) -> Self {
        Self {
            prefix,
            known: Mutex::new(Some(start())),
            heads: Arc::default(),
        }
    }

    /// Tells of what is appended, for the next checkpoint.
    #[must_use]
    pub fn telling(mut self, heads: Arc<Heads>) -> Self {
        self.heads = heads;
        self
    }

    /// Appends those events that the chain does not have, as one entry, and
    /// returns the head.
    ///
    /// # Errors
    /// As the server says. The next append goes on from what is known: if this entry was
    /// stored after all, it is found under its name. Only a chain that is not what it
    /// should be is read anew.
    pub async fn append(
        &self,
        records: &Records,
        events: Vec<Event>,
    ) -> Result<Head, StorageError> {
        let bucket = records.bucket();
        let mut slot = self.known.lock().await;
        if slot.is_none() {
            *slot = Some(self.load(bucket).await?);
        }
        let known = slot.get_or_insert_with(start);
        let result = self.append_to(bucket, known, events).await;
        // Not read anew after any failure, nor when whoever waits for it goes away: the
        // gateway may not list its chain, and one failed write would be its last.
        if matches!(result, Err(StorageError::Corrupt { .. })) {
            *slot = None;
        }
        result
    }

    async fn append_to(
        &self,
        bucket: &Bucket,
        known: &mut Known,
        mut events: Vec<Event>,
    ) -> Result<Head, StorageError> {
        loop {
            events.retain(|event| !known.ids.contains(&event.id));
            if events.is_empty() {
                return Ok(known.head.clone());
            }
            let entry = Entry {
                sequence: known.head.sequence + 1,
                previous: known.head.hash.clone(),
                events: events.clone(),
            };
            let key = format!("{}{}", self.prefix, entry_name(entry.sequence));
            let bytes = Bytes::from(
                canonical::to_vec(&entry).map_err(|e| corrupt(bucket, &key, &e.to_string()))?,
            );
            let stored = match bucket
                .create(&key, bytes.clone(), "application/json")
                .await?
            {
                Created::New => bytes,
                Created::Exists => bucket
                    .get(&key)
                    .await?
                    .ok_or_else(|| corrupt(bucket, &key, "was there a moment ago, and is gone"))?,
            };
            absorb(known, bucket, &key, &stored)?;
            self.heads.changed(&self.prefix, &known.head);
        }
    }

    async fn load(&self, bucket: &Bucket) -> Result<Known, StorageError> {
        let mut known = start();
        let keys = bucket.list(&self.prefix).await?;
        let mut entries = stream::iter(keys)
            .map(|listed| async move {
                let bytes = bucket.get(&listed.key).await?;
                let bytes =
                    bytes.ok_or_else(|| corrupt(bucket, &listed.key, "is listed, and gone"))?;
                Ok::<_, StorageError>((listed.key, bytes))
            })
            .buffered(8);
        while let Some((key, bytes)) = entries.try_next().await? {
            absorb(&mut known, bucket, &key, &bytes)?;
        }
        Ok(known)
    }
}

fn absorb(known: &mut Known, bucket: &Bucket, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
    let entry: Entry =
        serde_json::from_slice(bytes).map_err(|e| corrupt(bucket, key, &e.to_string()))?;
    if entry.sequence != known.head.sequence + 1 || entry.previous != known.head.hash {
        return Err(corrupt(
            bucket,
            key,
            "does not continue its chain; the ledger was changed",
        ));
    }
    known.head = Head {
        sequence: entry.sequence,
        hash: Sha256Hex::of(bytes),
    };
    if known.ids.len() > REMEMBERED {
        known.ids.clear();
    }
    known
        .ids
        .extend(entry.events.into_iter().map(|event| event.id));
    Ok(())
}

fn corrupt(bucket: &Bucket, key: &str, problem: &str) -> StorageError {
    StorageError::Corrupt {
        bucket: bucket.name().to_owned(),
        key: key.to_owned(),
        problem: problem.to_owned(),
    }
}
