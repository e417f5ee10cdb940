//! Takes back what a request released: whatever lies outside, and every URL.
//!
//! All of it can be repeated, by anybody and from any point: `revoked.json` is
//! there before anything is deleted, and whatever completes later is found by the
//! next sweep. Nothing here needs the cluster.

use jiff::SignedDuration;

use super::error::StorageError;
use super::urls::issues;
use super::zones::{Release, Zones};
use trevor_core::keys::RequestKey;

/// How long after a revocation something may still arrive that was sent before it:
/// servers refuse signatures of more than 15 minutes ago, and clocks may differ by
/// as much again.
pub const LATE: SignedDuration = SignedDuration::from_mins(30);
/// Sweeps at once, where something arrives while it is swept.
const TRIES: usize = 5;

/// Deletes what lies outside, and stores a receipt of every URL before it goes.
/// Gives the names of the Secrets that held them. The URLs themselves stay until
/// [`forget`], so that no Secret is forgotten.
///
/// # Errors
/// As the servers say, or when something is still there.
pub async fn sweep(
    zones: &Zones,
    release: &Release,
    key: &RequestKey,
) -> Result<Vec<String>, StorageError> {
    empty(release, &key.releases()).await?;
    receipts(zones, key).await
}

/// Stores a receipt of every URL, and gives the names of all Secrets that ever held
/// one.
///
/// # Errors
/// As the servers say.
pub async fn receipts(zones: &Zones, key: &RequestKey) -> Result<Vec<String>, StorageError> {
    for issue in issues(zones.quarantine.work(), key).await? {
        let receipt = issue.receipt();
        let at = key.url_deleted(&receipt.secret_name);
        zones.records.create(&at, &receipt).await?;
    }
    receipts_of(zones, key).await
}

/// The names of the Secrets of URLs that are gone, or about to go.
///
/// # Errors
/// As the server says.
pub async fn receipts_of(zones: &Zones, key: &RequestKey) -> Result<Vec<String>, StorageError> {
    let mut secrets = Vec::new();
    for at in zones.records.list(&key.urls_deleted()).await? {
        let receipt = zones.records.get(&at).await?;
        secrets.extend(receipt.map(|receipt| receipt.secret_name));
    }
    Ok(secrets)
}

/// Deletes the URLs, with every version of them.
///
/// # Errors
/// As the server says.
pub async fn forget(zones: &Zones, key: &RequestKey) -> Result<(), StorageError> {
    let work = zones.quarantine.work();
    work.delete_all_versions(&key.urls()).await?;
    if work.list(&key.urls()).await?.is_empty() {
        Ok(())
    } else {
        Err(still_there(work.name(), &key.urls()))
    }
}

/// The package first, since its URLs work as long as it is there.
async fn empty(release: &Release, prefix: &str) -> Result<(), StorageError> {
    for _ in 0..TRIES {
        let stored = release.list(prefix).await?;
        let keys: Vec<String> = stored.into_iter().map(|l| l.key).collect();
        release.delete(&keys).await?;
        let open = release.open_uploads(prefix).await?;
        if keys.is_empty() && open.is_empty() {
            return Ok(());
        }
        for (key, upload) in open {
            release.abort_upload(&key, &upload).await?;
        }
    }
    Err(still_there(release.name(), prefix))
}

fn still_there(bucket: &str, prefix: &str) -> StorageError {
    StorageError::Unavailable {
        operation: "revoke",
        bucket: bucket.to_owned(),
        key: prefix.to_owned(),
        message: "something is still there after it was deleted".to_owned(),
    }
}
