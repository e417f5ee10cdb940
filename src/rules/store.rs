//! Epochs as they are kept: two create-only objects each, under `audit/epochs/`.

use std::collections::{BTreeMap, BTreeSet};

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
    /// Those that cannot be read.
    lost: BTreeSet<i64>,
}

impl Stored {
    /// Reads all epochs. One that cannot be read counts for nothing, and what follows
    /// it is numbered behind it; what does not belong here is passed over.
    pub async fn load(bucket: &Bucket) -> Result<Self, StorageError> {
        let mut stored = Self::default();
        for listed in bucket.list(PREFIX).await? {
            let name = &listed.key[PREFIX.len()..];
            let ends = name.ends_with(".ended.json");
            let Some(sequence) = name.split('.').next().and_then(|n| n.parse::<i64>().ok()) else {
                tracing::warn!(key = listed.key, "is no epoch");
                continue;
            };
            let found = if ends {
                read::<Ended>(bucket, &listed.key).await.map(|ended| {
                    stored.ended.extend(ended.map(|ended| (sequence, ended)));
                })
            } else {
                read::<Began>(bucket, &listed.key).await.map(|began| {
                    stored.began.extend(began.map(|began| (sequence, began)));
                })
            };
            match found {
                Ok(()) => {}
                Err(StorageError::Corrupt { problem, .. }) => {
                    tracing::error!(
                        key = listed.key,
                        problem,
                        "an epoch is lost: what was made in it counts no more"
                    );
                    stored.lost.insert(sequence);
                }
                Err(error) => return Err(error),
            }
        }
        for sequence in &stored.lost {
            stored.began.remove(sequence);
            stored.ended.remove(sequence);
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
