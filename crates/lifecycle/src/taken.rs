//! `index/clusters/<uid>/taken-over/<uid>.json`: a cluster is gone, and another deletes
//! what is due of its requests.

use trevor_core::keys::taken_over;
use trevor_core::retention::{TakenOver, plain};
use trevor_store::{Records, StorageError};

/// Whether a cluster's requests were taken over by another.
///
/// # Errors
/// As the server says.
pub async fn is_taken(records: &Records, cluster: &str, to: &str) -> Result<bool, StorageError> {
    if !plain(cluster) || !plain(to) {
        return Ok(false);
    }
    let found = records.get(&taken_over(cluster, to)).await?;
    Ok(found.is_some_and(|taken| taken.cluster == cluster && taken.to == to))
}

/// Takes over; what was taken before stays as it was.
///
/// # Errors
/// As the server says.
pub async fn take(records: &Records, taken: &TakenOver) -> Result<TakenOver, StorageError> {
    let at = taken_over(&taken.cluster, &taken.to);
    let stored = records.create(&at, taken).await?;
    Ok(stored.into_inner())
}
