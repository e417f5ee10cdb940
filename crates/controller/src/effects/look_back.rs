//! Which files of a frozen round were seen before, and the index that tells later
//! rounds of this one.
//!
//! One folder an SHA-256 and one a path: looking up costs a read a file, whatever
//! lies in the bucket. Repeated: every entry is create-only with a name of its own,
//! and `seen.json` is written once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;

use super::super::context::Context;
use super::super::error::EffectError;
use super::super::past::{Past, Sighted};
use super::super::reconcile::Subject;
use super::super::retries::Thing;
use trevor_api::AirlockRequest;
use trevor_core::keys::{RequestKey, index_entry, index_first, index_of};
use trevor_core::manifest::Frozen;
use trevor_core::object_key::FactPrefix;
use trevor_core::phase::Facts;
use trevor_core::seen::{Prior, Seen, Sighting};
use trevor_store::{Records, StorageError};

/// Calls at the same time.
const AT_ONCE: usize = 48;
/// Sightings that are read of a folder, the newest ones.
const READ: usize = 500;
/// Rounds of this many files are looked up and indexed before they are shown; larger
/// ones while they are under review, before anything is decided.
const SMALL: usize = 500;

/// Looks back, once. False: it is under way in the background.
///
/// Nothing but a withdrawal is decided before the index has the round: content that
/// was refused is what later rounds must be told of first of all, and nobody comes
/// back to a decided round.
pub async fn look_back(
    ctx: &Context,
    subject: &Subject,
    facts: &mut Facts,
    frozen: &Frozen,
) -> Result<bool, EffectError> {
    let Some(last) = &mut facts.last else {
        return Ok(true);
    };
    if last.seen.is_some() && last.indexed {
        return Ok(true);
    }
    let records = &ctx.zones.records;
    if frozen.manifest.files.len() <= SMALL {
        last.seen = Some(seen(records, &ctx.past, &subject.key, frozen).await?);
        index(records, &subject.key, frozen).await?;
        last.indexed = true;
        return Ok(true);
    }
    let target = ObjectRef::<AirlockRequest>::new(&subject.name).within(&subject.key.namespace);
    let (records, key, frozen) = (records.clone(), subject.key.clone(), frozen.clone());
    let (past, queue) = (Arc::clone(&ctx.past), ctx.queue.clone());
    let retries = Arc::clone(&ctx.retries);
    ctx.in_background(&subject.key.uid, async move {
        let done = async {
            seen(&records, &past, &key, &frozen).await?;
            index(&records, &key, &frozen).await
        };
        let thing = Thing::Effect("look_back::look_back");
        match done.await {
            Ok(()) => retries.succeeded(&key.uid, &thing),
            Err(error) => {
                let pause = retries.failed(&key.uid, thing);
                tracing::warn!(uid = key.uid, %error, ?pause, "the index was not written; it is tried again");
                tokio::time::sleep(pause).await;
            }
        }
        queue.add(target);
    });
    Ok(false)
}

/// What the round has in common with earlier ones.
async fn seen(
    records: &Records,
    past: &Past,
    key: &RequestKey,
    frozen: &Frozen,
) -> Result<Seen, StorageError> {
    let manifest = &frozen.manifest;
    let at = key.seen(manifest.round);
    if let Some(seen) = records.get(&at).await? {
        return Ok(seen);
    }
    let found: Vec<(usize, Found)> = stream::iter(0..manifest.files.len())
        .map(|file| async move {
            let file_ = &manifest.files[file];
            let mut all = Found::default();
            for folder in index_of(&manifest.namespace, &file_.path, &file_.sha256) {
                all.add(sightings(records, past, &folder).await?);
            }
            all.sightings
                .retain(|s| s.same(&manifest.namespace, &manifest.uid, file_).is_some());
            Ok::<_, StorageError>((file, all))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let more = found.iter().map(|(_, found)| found.more).sum();
    let rounds: BTreeSet<Sighted> = found
        .iter()
        .flat_map(|(_, found)| found.sightings.iter().map(Sighted::of))
        .collect();
    let fates: BTreeMap<_, _> = stream::iter(rounds)
        .map(|round| async move {
            let fate = past.fate(records, &round).await?;
            Ok::<_, StorageError>((round, fate))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let priors = found
        .iter()
        .flat_map(|(file, found)| found.sightings.iter().map(move |s| (*file, s)))
        .filter_map(|(file, sighting)| {
            let file = &manifest.files[file];
            let same = sighting.same(&manifest.namespace, &manifest.uid, file)?;
            let (decision, by) = fates.get(&Sighted::of(sighting))?.clone();
            Some(Prior {
                path: file.path.clone(),
                same,
                sighting: (**sighting).clone(),
                decision,
                by,
            })
        });
    let seen = Seen::new(manifest.round, priors.collect(), more, Timestamp::now());
    Ok(records.create(&at, &seen).await?.into_inner())
}

/// What lies in folders of the index.
#[derive(Default)]
struct Found {
    sightings: Vec<Arc<Sighting>>,
    /// Older ones, which were not read.
    more: usize,
}

impl Found {
    /// A file that is the same in content and path lies in both of its folders.
    fn add(&mut self, other: Self) {
        for sighting in other.sightings {
            if !self.sightings.contains(&sighting) {
                self.sightings.push(sighting);
            }
        }
        self.more = self.more.max(other.more);
    }
}

async fn sightings(
    records: &Records,
    past: &Past,
    folder: &FactPrefix<Sighting>,
) -> Result<Found, StorageError> {
    let first = past.sighting(records, &index_first(folder)).await?;
    if first.is_none() {
        return Ok(Found::default());
    }
    let mut keys = Vec::new();
    records
        .visit(folder, |key, time| keys.push((time, key)))
        .await?;
    keys.sort_by(|a, b| b.cmp(a));
    let more = keys.len().saturating_sub(READ);
    keys.truncate(READ);
    let sightings = stream::iter(keys)
        .map(|(_, key)| async move { past.sighting(records, &key).await })
        .buffer_unordered(AT_ONCE)
        .try_filter_map(|sighting| async move { Ok(sighting) })
        .try_collect()
        .await?;
    Ok(Found { sightings, more })
}

/// Adds the round's files to the index.
async fn index(records: &Records, key: &RequestKey, frozen: &Frozen) -> Result<(), StorageError> {
    let manifest = &frozen.manifest;
    let entries = manifest.files.iter().flat_map(|file| {
        let folders = index_of(&manifest.namespace, &file.path, &file.sha256);
        folders.map(|folder| (folder, Sighting::of(frozen, file)))
    });
    stream::iter(entries.collect::<Vec<_>>())
        .map(|(folder, sighting)| async move {
            let first = records.create(&index_first(&folder), &sighting).await?;
            if first.into_inner() != sighting {
                let own = index_entry(&folder, &sighting.uid, sighting.round);
                records.create(&own, &sighting).await?;
            }
            Ok::<_, StorageError>(())
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    let indexed = key.indexed(manifest.round);
    records.create(&indexed, &manifest.round).await?;
    Ok(())
}
