//! Requests of ours with files, no resource and no closing: nothing will ever
//! delete what they left. They are told of, and nothing else. What is closed and due,
//! and lost its ticket, gets it again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::tickets;
use trevor_core::commit::{Closed, Owner};
use trevor_core::keys::RequestKey;
use trevor_core::retention::{What, plain};
use trevor_store::{Records, StorageError, Work};

/// Orphans that are named; all are counted.
const NAMED: usize = 100;
/// Between two requests that are read.
const PAUSE: Duration = Duration::from_millis(20);

/// What is due for longer and neither deleted nor ticketed has lost its ticket.
const LOST: SignedDuration = SignedDuration::from_hours(1);

/// What a scan found.
#[derive(Debug, Default)]
pub struct Orphans {
    /// How many there are.
    pub count: u64,
    /// The first of them.
    pub named: Vec<RequestKey>,
    /// Owners and closings that cannot be read.
    pub unreadable: u64,
    /// Tickets that were lost, and are written again.
    pub woken: u64,
    /// Requests that are not closed, of other clusters, by cluster.
    pub elsewhere: BTreeMap<String, u64>,
}

/// Writes the tickets of what is due and has none: a lifecycle rule, or somebody, took
/// them. They only wake, so that one too many does no harm.
#[derive(Clone, Copy, Debug)]
pub struct Mend<'a> {
    /// Where tickets are.
    pub work: &'a Work,
    /// Now.
    pub now: Timestamp,
}

/// Looks at every request of the records bucket that has no resource, slowly.
/// `has_resource` says which have one; it is asked again before one is told of.
///
/// # Errors
/// As the server says.
pub async fn scan(
    records: &Records,
    cluster: &str,
    mend: Option<Mend<'_>>,
    has_resource: impl Fn(&RequestKey, Option<&Owner>) -> bool + Send + Sync,
) -> Result<Orphans, StorageError> {
    look(records, cluster, mend, NAMED, has_resource).await
}

/// All requests of a cluster that is gone, which are not closed.
///
/// # Errors
/// As the server says.
pub async fn all_of(records: &Records, cluster: &str) -> Result<Orphans, StorageError> {
    look(records, cluster, None, usize::MAX, |_, _| false).await
}

async fn look(
    records: &Records,
    cluster: &str,
    mend: Option<Mend<'_>>,
    most: usize,
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
            match records.get(&key.closed()).await {
                Ok(None) => {}
                Ok(Some(closed)) => {
                    if let Some(mend) = mend {
                        found.woken += wake(records, &key, cluster, &closed, mend).await?;
                    }
                    continue;
                }
                Err(StorageError::Corrupt { .. }) => {
                    found.unreadable += 1;
                    continue;
                }
                Err(error) => return Err(error),
            }
            // What was let go has a promise.
            if !records.page(&key.let_goes(), "", 1).await?.0.is_empty() {
                continue;
            }
            match records.get(&key.owner()).await {
                Ok(Some(owner))
                    if owner.cluster == cluster && !has_resource(&key, Some(&owner)) =>
                {
                    found.count += 1;
                    if found.named.len() < most {
                        found.named.push(key);
                    }
                }
                Ok(Some(owner)) if owner.cluster != cluster => {
                    *found.elsewhere.entry(owner.cluster).or_default() += 1;
                }
                Ok(_) => {}
                Err(StorageError::Corrupt { .. }) => found.unreadable += 1,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}

/// Gives how many tickets were written again.
async fn wake(
    records: &Records,
    key: &RequestKey,
    cluster: &str,
    closed: &Closed,
    mend: Mend<'_>,
) -> Result<u64, StorageError> {
    let dues = [
        (What::Quarantine, Some(closed.quarantine_due)),
        (What::Release, closed.release_due),
    ];
    let mut woken = 0;
    for (what, due) in dues {
        let Some(due) = due.filter(|due| mend.now.duration_since(*due) > LOST) else {
            continue;
        };
        let ticket = tickets::at(key, what, due);
        if records.exists(&key.deletion(what.word())).await? || mend.work.exists(&ticket).await? {
            continue;
        }
        let owner = records.get(&key.owner()).await.unwrap_or_default();
        if owner.is_some_and(|owner| owner.cluster == cluster) {
            tracing::warn!(namespace = key.namespace, uid = key.uid, what = what.word(), %due, "the ticket of a deletion that is due was lost; it is written again");
            tickets::write(mend.work, key, what, due).await?;
            woken += 1;
        }
    }
    Ok(woken)
}

async fn plain_folders(records: &Records, prefix: &str) -> Result<BTreeSet<String>, StorageError> {
    let mut folders = records.folders(prefix).await?;
    folders.retain(|name| plain(name));
    Ok(folders)
}
