//! Takes URLs to quarantined files their object: what crossed inwards is read by
//! pre-signed URLs, which end only with the key that they name. Revoked, each file is
//! copied to a key that nobody signed for, and the key that was signed is deleted with
//! every version. The files themselves stay until their due time, as all of quarantine.
//!
//! Repeated, by anybody and from any point: the new key follows from the old one, the
//! copy is read back before anything is deleted, and what arrives late at an old key is
//! found by the next look.

use std::collections::BTreeSet;

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::bucket::Bucket;
use super::error::StorageError;
use super::hashed::{Hashed, hash_object};
use super::transfer::{COPIED, OCTETS};
use trevor_core::keys::{RequestKey, set_aside_key};
use trevor_core::manifest::ManifestFile;

/// Files that are moved at the same time.
const AT_ONCE: usize = 4;

/// Sets the files of a manifest aside, and makes sure that nothing is left where they
/// were.
///
/// # Errors
/// As the server says, when a copy is not what it is copied from, or when something is
/// still there.
pub async fn set_aside(
    quarantine: &Bucket,
    key: &RequestKey,
    files: &[ManifestFile],
) -> Result<(), StorageError> {
    set_aside_in_parts(quarantine, key, files, COPIED).await
}

/// The same; an object of more than `whole` bytes is copied in parts of so many.
///
/// # Errors
/// As [`set_aside`].
pub async fn set_aside_in_parts(
    quarantine: &Bucket,
    key: &RequestKey,
    files: &[ManifestFile],
    whole: u64,
) -> Result<(), StorageError> {
    let left = |there: &BTreeSet<String>| -> Vec<&ManifestFile> {
        let mut left: Vec<_> = files.iter().filter(|f| there.contains(&f.key)).collect();
        // Two paths may have one object, where equal content was not sent again.
        left.sort_by_key(|file| &file.key);
        left.dedup_by_key(|file| &file.key);
        left
    };
    let there = quarantine.ever_stored(&key.files()).await?;
    let work: Vec<_> = left(&there)
        .into_iter()
        .map(|file| one(quarantine, file, whole))
        .collect();
    if work.is_empty() {
        return Ok(());
    }
    stream::iter(work)
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    match left(&quarantine.ever_stored(&key.files()).await?).first() {
        None => Ok(()),
        Some(file) => Err(StorageError::Unavailable {
            operation: "revoke",
            bucket: quarantine.name().to_owned(),
            key: file.key.clone(),
            message: "something is still there after it was deleted".to_owned(),
        }),
    }
}

async fn one(quarantine: &Bucket, file: &ManifestFile, whole: u64) -> Result<(), StorageError> {
    let to = set_aside_key(&file.key);
    let is_the_file = |found: &Hashed| found.size == file.size && found.sha256 == file.sha256;
    let copied = hashed(quarantine, &to).await?;
    if !copied.as_ref().is_some_and(is_the_file) {
        move_what_is_there(quarantine, file, &to, copied, whole).await?;
    }
    quarantine.purge(&file.key).await
}

/// Copies what lies at the file's key, whatever it is by now: a URL to it must end.
async fn move_what_is_there(
    quarantine: &Bucket,
    file: &ManifestFile,
    to: &str,
    copied: Option<Hashed>,
    whole: u64,
) -> Result<(), StorageError> {
    let broken = |problem: &str| StorageError::Corrupt {
        bucket: quarantine.name().to_owned(),
        key: to.to_owned(),
        problem: problem.to_owned(),
    };
    if copied.is_none() {
        match quarantine.copy_in_parts(&file.key, to, OCTETS, whole).await {
            Ok(()) => {}
            // A delete marker, or gone since the listing.
            Err(StorageError::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    let copy = match copied {
        Some(copied) => Some(copied),
        None => hashed(quarantine, to).await?,
    };
    let copy = copy.ok_or_else(|| broken("was copied a moment ago, and is gone"))?;
    if copy.size == file.size && copy.sha256 == file.sha256 {
        return Ok(());
    }
    // The file is not the manifest's: then the copy is to be what the file is, or was: an
    // earlier look deleted it only when the copy had been read back.
    let original = hashed(quarantine, &file.key).await?;
    if original.is_none_or(|original| original == copy) {
        tracing::error!(
            key = file.key,
            "a quarantined file is not the one of its manifest; it is kept as it is"
        );
        return Ok(());
    }
    quarantine.purge(to).await?;
    Err(broken(
        "is not a copy of the file that it was copied from; it is deleted and copied again",
    ))
}

async fn hashed(bucket: &Bucket, key: &str) -> Result<Option<Hashed>, StorageError> {
    match hash_object(bucket, key, || ()).await {
        Ok(found) => Ok(Some(found)),
        Err(StorageError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
