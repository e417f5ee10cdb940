//! Empties one prefix: counts it, stores the plan, deletes a page at a time, and
//! lists what is left.
//!
//! Killed at any point: the plan stands, and whatever is left is found by the next
//! listing. Two at once delete the same, which is no error.

use jiff::Timestamp;

use super::error::RetentionError;
use super::pace::Pace;
use trevor_core::keys::RequestKey;
use trevor_core::retention::{DeletionPlan, Totals, What};
use trevor_store::purge::Emptying;
use trevor_store::versions::Marker;
use trevor_store::{Records, StorageError};

/// Times that a prefix is gone through, where something appears meanwhile.
const PASSES: usize = 3;

/// Asked before each batch.
pub trait Gate: Sync {
    /// Whether the next batch may go.
    fn open(&self) -> impl Future<Output = Result<bool, RetentionError>> + Send;
}

/// How far it came.
#[derive(Debug, PartialEq, Eq)]
pub enum Emptied {
    /// Nothing is listed any more.
    All,
    /// The rest is for the next sweep.
    Part,
    /// A hold came between.
    Held,
}

/// Counts what lies under a prefix.
pub async fn count(place: &Emptying) -> Result<Totals, StorageError> {
    let mut totals = Totals::default();
    let mut from = Some(Marker::default());
    let mut last = None;
    while let Some(marker) = from {
        let page = place.versions(marker).await?;
        for version in page.found {
            totals.versions += 1;
            totals.bytes += version.size.unwrap_or(0);
            // Versions of one key follow each other, and so do its markers.
            if last.as_ref() != Some(&version.key) {
                totals.objects += 1;
                last = Some(version.key);
            }
        }
        from = page.next;
    }
    // A page of uploads has no way on but by aborting: the count is of the first.
    let (uploads, _) = place.uploads().await?;
    totals.uploads = uploads.len() as u64;
    Ok(totals)
}

/// The plan that stands; made and stored, unless an earlier sweep did.
pub async fn plan(
    records: &Records,
    key: &RequestKey,
    place: &Emptying,
    (what, due, now): (What, Timestamp, Timestamp),
) -> Result<DeletionPlan, StorageError> {
    let at = key.deletion_plan(what.word());
    if let Some(standing) = records.get(&at).await? {
        return Ok(standing);
    }
    let plan = DeletionPlan {
        what,
        due,
        started: trevor_api::condition::second(now),
        prefix: place.prefix().to_owned(),
        bucket: place.name().to_owned(),
        totals: count(place).await?,
    };
    Ok(records.create(&at, &plan).await?.into_inner())
}

/// Deletes what lies under a prefix, at most `left` of it, and lists afterwards.
pub async fn empty(
    place: &Emptying,
    gate: &impl Gate,
    pace: &Pace,
    left: &mut u64,
) -> Result<Emptied, RetentionError> {
    for _ in 0..PASSES {
        if let Some(stopped) = uploads(place, gate, pace, left).await? {
            return Ok(stopped);
        }
        if let Some(stopped) = versions(place, gate, pace, left).await? {
            return Ok(stopped);
        }
        if count(place).await?.nothing() {
            return Ok(Emptied::All);
        }
    }
    let totals = count(place).await?;
    Err(RetentionError::StillThere {
        bucket: place.name().to_owned(),
        prefix: place.prefix().to_owned(),
        left: totals.versions + totals.uploads,
    })
}

async fn uploads(
    place: &Emptying,
    gate: &impl Gate,
    pace: &Pace,
    left: &mut u64,
) -> Result<Option<Emptied>, RetentionError> {
    loop {
        let (open, more) = place.uploads().await?;
        for upload in &open {
            if let Some(stopped) = stopped(gate, *left).await? {
                return Ok(Some(stopped));
            }
            pace.take(1).await;
            place.abort(upload).await?;
            *left = left.saturating_sub(1);
        }
        if open.is_empty() || !more {
            return Ok(None);
        }
    }
}

async fn versions(
    place: &Emptying,
    gate: &impl Gate,
    pace: &Pace,
    left: &mut u64,
) -> Result<Option<Emptied>, RetentionError> {
    let mut kept: Option<(String, String, u64)> = None;
    let mut from = Some(Marker::default());
    while let Some(marker) = from {
        let page = place.versions(marker).await?;
        if !page.found.is_empty() {
            if let Some(stopped) = stopped(gate, *left).await? {
                return Ok(Some(stopped));
            }
            pace.take(page.found.len()).await;
            for refused in place.delete(&page.found).await? {
                let first = kept.get_or_insert((refused.key, refused.words, 0));
                first.2 += 1;
            }
            *left = left.saturating_sub(page.found.len() as u64);
        }
        from = page.next;
    }
    match kept {
        None => Ok(None),
        Some((key, why, count)) => Err(RetentionError::Kept {
            bucket: place.name().to_owned(),
            prefix: place.prefix().to_owned(),
            key,
            code: why,
            count,
        }),
    }
}

async fn stopped(gate: &impl Gate, left: u64) -> Result<Option<Emptied>, RetentionError> {
    if left == 0 {
        return Ok(Some(Emptied::Part));
    }
    Ok((!gate.open().await?).then_some(Emptied::Held))
}
