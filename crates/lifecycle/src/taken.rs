//! `index/clusters/<uid>/taken-over/<uid>.json`: a cluster is gone, and another deletes
//! what is due of its requests.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use trevor_core::retention::plain;
use trevor_store::commit::{commit, read};
use trevor_store::{Bucket, StorageError};

/// Who takes over whose requests. Both are named by the uid of their namespace
/// `kube-system`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TakenOver {
    /// The cluster that is gone.
    pub cluster: String,
    /// The one that deletes from now on.
    pub to: String,
    /// Who says so.
    pub by: String,
    /// When.
    pub time: Timestamp,
}

trevor_core::stored_fact!(TakenOver);

fn key(cluster: &str, to: &str) -> String {
    format!("index/clusters/{cluster}/taken-over/{to}.json")
}

/// Whether a cluster's requests were taken over by another.
///
/// # Errors
/// As the server says.
pub async fn is_taken(records: &Bucket, cluster: &str, to: &str) -> Result<bool, StorageError> {
    if !plain(cluster) || !plain(to) {
        return Ok(false);
    }
    let found: Option<TakenOver> = read(records, &key(cluster, to)).await?;
    Ok(found.is_some_and(|taken| taken.cluster == cluster && taken.to == to))
}

/// Takes over; what was taken before stays as it was.
///
/// # Errors
/// As the server says.
pub async fn take(records: &Bucket, taken: &TakenOver) -> Result<TakenOver, StorageError> {
    let stored = commit(records, &key(&taken.cluster, &taken.to), taken).await?;
    Ok(stored.into_inner())
}
