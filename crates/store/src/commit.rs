//! Create-only facts: one key a step, the first writer wins, all others adopt.

use super::bucket::{Bucket, Created};
use super::error::StorageError;
use trevor_core::format::{Fact, Later};

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
/// As the server says, or when what stands cannot be parsed or a later version wrote it.
pub async fn commit<T>(bucket: &Bucket, key: &str, fact: &T) -> Result<Committed<T>, StorageError>
where
    T: Fact + Clone + PartialEq,
{
    let bytes = fact
        .to_bytes()
        .map_err(|e| corrupt(bucket, key, &e.to_string()))?;
    let created = bucket.create(key, bytes, "application/json").await;
    if matches!(created, Ok(Created::New)) {
        return Ok(Committed::Ours(fact.clone()));
    }
    match read_known::<T>(bucket, key).await? {
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

/// Reads a fact whatever its format; with it, that it is of a later one.
///
/// # Errors
/// As the server says, or when it cannot be parsed.
pub async fn read_any<T: Fact>(
    bucket: &Bucket,
    key: &str,
) -> Result<Option<(T, Option<Later>)>, StorageError> {
    let Some(bytes) = bucket.get(key).await? else {
        return Ok(None);
    };
    match T::parse(&bytes) {
        Ok(fact) => {
            let later = Later::is(&fact, key, &bytes);
            Ok(Some((fact, later)))
        }
        Err(error) => Err(match Later::unread::<T>(key, &bytes) {
            Some(later) => too_late(bucket, &later),
            None => corrupt(bucket, key, &error.to_string()),
        }),
    }
}

/// Reads a fact for what loosens, so that it must be of a format that this version knows.
///
/// # Errors
/// As [`read`], and when a later version wrote it.
pub async fn read_known<T: Fact>(bucket: &Bucket, key: &str) -> Result<Option<T>, StorageError> {
    match read_any(bucket, key).await? {
        Some((_, Some(later))) => Err(too_late(bucket, &later)),
        found => Ok(found.map(|(fact, _)| fact)),
    }
}

/// Reads a fact, or `None`; of whatever format: for what stops, closes, deletes or shows.
///
/// # Errors
/// As the server says, or when it cannot be parsed.
pub async fn read<T: Fact>(bucket: &Bucket, key: &str) -> Result<Option<T>, StorageError> {
    let found = read_any(bucket, key).await?;
    Ok(found.map(|(fact, _)| fact))
}

/// An error for whoever must know the fact.
#[must_use]
pub fn too_late(bucket: &Bucket, later: &Later) -> StorageError {
    StorageError::Corrupt {
        bucket: bucket.name().to_owned(),
        key: later.key.clone(),
        problem: later.to_string(),
    }
}

fn corrupt(bucket: &Bucket, key: &str, problem: &str) -> StorageError {
    StorageError::Corrupt {
        bucket: bucket.name().to_owned(),
        key: key.to_owned(),
        problem: format!("is not the object that belongs here: {problem}"),
    }
}
