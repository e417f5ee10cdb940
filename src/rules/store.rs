//! Epochs as they are kept: two create-only objects each, under `audit/epochs/`.

use std::collections::BTreeMap;

use crate::domain::epoch::{Began, Ended, Epoch};
use crate::storage::commit::{commit, read};
use crate::storage::{Bucket, StorageError};

const PREFIX: &str = "audit/epochs/";

fn began_key(sequence: i64) -> String {
    format!("{PREFIX}{sequence:020}.json")
}

fn ended_key(sequence: i64) -> String {
    format!("{PREFIX}{sequence:020}.ended.json")
}

/// What is stored.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// When each epoch began, by sequence.
    pub began: BTreeMap<i64, Began>,
    /// When it ended, by sequence.
    pub ended: BTreeMap<i64, Ended>,
}

impl Stored {
    /// Reads all epochs.
    pub async fn load(bucket: &Bucket) -> Result<Self, StorageError> {
        let mut stored = Self::default();
        for listed in bucket.list(PREFIX).await? {
            if listed.key.ends_with(".ended.json") {
                if let Some(ended) = read::<Ended>(bucket, &listed.key).await? {
                    stored.ended.insert(ended.sequence, ended);
                }
            } else if let Some(began) = read::<Began>(bucket, &listed.key).await? {
                stored.began.insert(began.sequence, began);
            }
        }
        Ok(stored)
    }

    /// The last epoch, unless it ended.
    pub fn current(&self) -> Option<&Began> {
        let (sequence, began) = self.began.last_key_value()?;
        (!self.ended.contains_key(sequence)).then_some(began)
    }

    /// Ends the current epoch; who ends it second adopts the first.
    pub async fn end(&mut self, bucket: &Bucket, ended: Ended) -> Result<(), StorageError> {
        let key = ended_key(ended.sequence);
        let ended = commit(bucket, &key, &ended).await?.into_inner();
        self.ended.insert(ended.sequence, ended);
        Ok(())
    }

    /// Begins the next epoch; false: another process did first.
    pub async fn begin(&mut self, bucket: &Bucket, began: Began) -> Result<bool, StorageError> {
        let key = began_key(began.sequence);
        let stored = commit(bucket, &key, &began).await?.into_inner();
        let ours = stored == began;
        self.began.insert(stored.sequence, stored);
        Ok(ours)
    }

    /// The next sequence.
    pub fn next(&self) -> i64 {
        self.began
            .last_key_value()
            .map_or(0, |(sequence, _)| *sequence)
            + 1
    }

    /// As the quorum asks for them; the current one is open only while `verified`.
    pub fn epochs(&self, verified: bool) -> Vec<Epoch> {
        self.began
            .values()
            .filter_map(|began| {
                let ended = self.ended.get(&began.sequence);
                (ended.is_some() || verified).then(|| Epoch {
                    sequence: began.sequence,
                    began: began.time,
                    until: ended.map(|ended| ended.until),
                })
            })
            .collect()
    }
}
