//! Requests of ours with files, no resource and no closing: nothing will ever
//! delete what they left. They are told of, and nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::domain::commit::Owner;
use crate::domain::retention::plain;
use crate::storage::commit::read;
use crate::storage::keys::RequestKey;
use crate::storage::{Bucket, StorageError};

/// Orphans that are named; all are counted.
const NAMED: usize = 100;
/// Between two requests that are read.
const PAUSE: Duration = Duration::from_millis(20);

/// What a scan found.
#[derive(Debug, Default)]
pub struct Orphans {
    /// How many there are.
    pub count: u64,
    /// The first of them.
    pub named: Vec<RequestKey>,
    /// Owners that cannot be read.
    pub unreadable: u64,
}

/// Looks at every request of the records bucket that has no resource, slowly.
/// `has_resource` says which have one; it is asked again before one is told of.
///
/// # Errors
/// As the server says.
pub async fn scan(
    records: &Bucket,
    cluster: &str,
    has_resource: impl Fn(&RequestKey, Option<&Owner>) -> bool + Send + Sync,
) -> Result<Orphans, StorageError> {
    let mut found = Orphans::default();
    for namespace in plain_folders(records, "requests/").await? {
        for uid in plain_folders(records, &format!("requests/{namespace}/")).await? {
            let key = RequestKey {
                namespace: namespace.clone(),
                uid,
            };
            if has_resource(&key, None) {
                continue;
            }
            tokio::time::sleep(PAUSE).await;
            // What was let go has a promise.
            if records.exists(&key.closed()).await?
                || !records.page(&key.let_goes(), "", 1).await?.is_empty()
            {
                continue;
            }
            match read::<Owner>(records, &key.owner()).await {
                Ok(Some(owner))
                    if owner.cluster == cluster && !has_resource(&key, Some(&owner)) =>
                {
                    found.count += 1;
                    if found.named.len() < NAMED {
                        found.named.push(key);
                    }
                }
                Ok(_) => {}
                Err(StorageError::Corrupt { .. }) => found.unreadable += 1,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}

async fn plain_folders(records: &Bucket, prefix: &str) -> Result<BTreeSet<String>, StorageError> {
    let mut folders = records.folders(prefix).await?;
    folders.retain(|name| plain(name));
    Ok(folders)
}
