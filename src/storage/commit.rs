//! Create-only facts: one key a step, the first writer wins, all others adopt.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::bucket::{Bucket, Created};
use super::error::StorageError;
use crate::domain::canonical;

/// What a commit found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Committed<T> {
    /// Ours is stored (now, or by an earlier try whose answer was lost).
    Ours(T),
    /// Somebody else's was first: adopt it.
    Theirs(T),
}

impl<T> Committed<T> {
    /// What stands, whoever wrote it.
    pub fn into_inner(self) -> T {
        match self {
            Self::Ours(fact) | Self::Theirs(fact) => fact,
        }
    }
}

/// Writes a fact as canonical JSON where none is; otherwise reads the one that
/// stands. A lost answer is settled by reading back.
///
/// # Errors
/// As the server says, or when what stands cannot be parsed.
pub async fn commit<T>(bucket: &Bucket, key: &str, fact: &T) -> Result<Committed<T>, StorageError>
where
    T: Serialize + DeserializeOwned + Clone + PartialEq,
{
    let bytes = canonical::to_vec(fact).map_err(|e| corrupt(bucket, key, &e.to_string()))?;
    let created = bucket
        .create(key, Bytes::from(bytes), "application/json")
        .await;
    if matches!(created, Ok(Created::New)) {
        return Ok(Committed::Ours(fact.clone()));
    }
    match read::<T>(bucket, key).await? {
        Some(standing) if standing == *fact => Ok(Committed::Ours(standing)),
        Some(standing) => Ok(Committed::Theirs(standing)),
        None => match created {
            Err(error) => Err(error),
            // 409 of a concurrent conditional write (AWS), and nobody won: try again.
            Ok(_) => Err(StorageError::Unavailable {
                operation: "PutObject",
                bucket: bucket.name().to_owned(),
                key: key.to_owned(),
                message: "a concurrent create-only write was refused".to_owned(),
            }),
        },
    }
}

/// Reads a fact, or `None`.
///
/// # Errors
/// As the server says, or when it cannot be parsed.
pub async fn read<T: DeserializeOwned>(
    bucket: &Bucket,
    key: &str,
) -> Result<Option<T>, StorageError> {
    match bucket.get(key).await? {
        None => Ok(None),
        Some(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| corrupt(bucket, key, &e.to_string())),
    }
}

fn corrupt(bucket: &Bucket, key: &str, problem: &str) -> StorageError {
    StorageError::Corrupt {
        bucket: bucket.name().to_owned(),
        key: key.to_owned(),
        problem: format!("is not the object that belongs here: {problem}"),
    }
}
