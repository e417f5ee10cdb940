//! Which files of a frozen round were seen before, and the index that tells later
//! rounds of this one.
//!
//! One folder an SHA-256 and one a path: looking up costs a read a file, whatever
//! lies in the bucket. Repeated: every entry is create-only with a name of its own,
//! and `seen.json` is written once.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;

use super::super::context::Context;
use super::super::error::EffectError;
use super::super::observe;
use super::super::reconcile::Subject;
use crate::api::AirlockRequest;
use crate::domain::commit::{Owner, Revoked};
use crate::domain::digest::Sha256Hex;
use crate::domain::manifest::Frozen;
use crate::domain::names;
use crate::domain::phase::Facts;
use crate::domain::seen::{Prior, Seen, Sighting, became};
use crate::storage::commit::{commit, read};
use crate::storage::keys::RequestKey;
use crate::storage::{Bucket, StorageError};

/// Calls at the same time.
const AT_ONCE: usize = 48;
/// Rounds of this many files are looked up before they are shown; larger ones
/// while they are under review, before anything is decided.
const SMALL: usize = 500;

/// Looks back, once. False: it is under way in the background.
pub async fn look_back(
    ctx: &Context,
    subject: &Subject,
    facts: &mut Facts,
    frozen: &Frozen,
) -> Result<bool, EffectError> {
    let Some(last) = &mut facts.last else {
        return Ok(true);
    };
    let records = ctx.zones.records.bucket();
    let small = frozen.manifest.files.len() <= SMALL;
    if last.seen.is_none() && small {
        last.seen = Some(seen(records, &subject.key, frozen).await?);
    }
    if last.indexed {
        return Ok(true);
    }
    let target = ObjectRef::<AirlockRequest>::new(&subject.name).within(&subject.key.namespace);
    let (bucket, key, frozen) = (records.clone(), subject.key.clone(), frozen.clone());
    let wake = ctx.wake.clone();
    ctx.in_background(&subject.key.uid, async move {
        let done = async {
            seen(&bucket, &key, &frozen).await?;
            index(&bucket, &key, &frozen).await
        };
        match done.await {
            Ok(()) if small => {}
            Ok(()) => drop(wake.send(target)),
            Err(error) => {
                tracing::warn!(uid = key.uid, %error, "the index was not written; it is tried at the next look");
            }
        }
    });
    Ok(last.seen.is_some())
}

/// What the round has in common with earlier ones.
async fn seen(records: &Bucket, key: &RequestKey, frozen: &Frozen) -> Result<Seen, StorageError> {
    let manifest = &frozen.manifest;
    let at = key.seen(manifest.round);
    if let Some(seen) = read::<Seen>(records, &at).await? {
        return Ok(seen);
    }
    let found: Vec<(usize, Sighting)> = stream::iter(0..manifest.files.len())
        .map(|file| async move {
            let file_ = &manifest.files[file];
            let mut found = Vec::new();
            for folder in folders(&manifest.namespace, &file_.path, &file_.sha256) {
                found.extend(sightings(records, &folder).await?);
            }
            found.retain(|s| s.same(&manifest.namespace, &manifest.uid, file_).is_some());
            found.dedup();
            Ok::<_, StorageError>(
                found
                    .into_iter()
                    .map(move |s| (file, s))
                    .collect::<Vec<_>>(),
            )
        })
        .buffer_unordered(AT_ONCE)
        .try_concat()
        .await?;
    let rounds: BTreeSet<(String, String, i64)> = found
        .iter()
        .map(|(_, s)| (s.namespace.clone(), s.uid.clone(), s.round))
        .collect();
    let fates: BTreeMap<_, _> =
        stream::iter(rounds)
            .map(|round| async move {
                Ok::<_, StorageError>((round.clone(), fate(records, round).await?))
            })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
    let priors = found.into_iter().filter_map(|(file, sighting)| {
        let file = &manifest.files[file];
        let same = sighting.same(&manifest.namespace, &manifest.uid, file)?;
        let fate = fates.get(&(
            sighting.namespace.clone(),
            sighting.uid.clone(),
            sighting.round,
        ))?;
        let (decision, by) = fate.clone();
        Some(Prior {
            path: file.path.clone(),
            same,
            sighting,
            decision,
            by,
        })
    });
    let seen = Seen::new(manifest.round, priors.collect(), Timestamp::now());
    Ok(commit(records, &at, &seen).await?.into_inner())
}

/// What became of an earlier round.
async fn fate(
    records: &Bucket,
    (namespace, uid, round): (String, String, i64),
) -> Result<(crate::api::PriorDecision, Vec<String>), StorageError> {
    let key = RequestKey { namespace, uid };
    let (owner, revoked) = (key.owner(), key.revoked());
    let (round, owner, revoked) = tokio::try_join!(
        observe::round(records, &key, round),
        read::<Owner>(records, &owner),
        read::<Revoked>(records, &revoked)
    )?;
    let submitter = owner.map(|o| o.submitter).unwrap_or_default();
    let by = revoked.as_ref().map(|r| r.by.as_str());
    Ok(became(&round, &submitter, by))
}

/// The folders of a file: of its content, and of its path in the project.
fn folders(namespace: &str, path: &str, sha256: &Sha256Hex) -> [String; 2] {
    let path = Sha256Hex::of(format!("{namespace}/{}", names::folded(path)).as_bytes());
    [
        format!("index/sha256/{sha256}/"),
        format!("index/path/{path}/"),
    ]
}

/// A folder's first entry has a fixed name, so that a folder with nothing in it,
/// which nearly all are, costs one read and no listing.
fn first(folder: &str) -> String {
    format!("{folder}first.json")
}

async fn sightings(records: &Bucket, folder: &str) -> Result<Vec<Sighting>, StorageError> {
    if read::<Sighting>(records, &first(folder)).await?.is_none() {
        return Ok(Vec::new());
    }
    let listed = records.list(folder).await?;
    stream::iter(listed)
        .map(|listed| async move { read::<Sighting>(records, &listed.key).await })
        .buffer_unordered(AT_ONCE)
        .try_filter_map(|sighting| async move { Ok(sighting) })
        .try_collect()
        .await
}

/// Adds the round's files to the index.
async fn index(records: &Bucket, key: &RequestKey, frozen: &Frozen) -> Result<(), StorageError> {
    let manifest = &frozen.manifest;
    let entries = manifest.files.iter().flat_map(|file| {
        let folders = folders(&manifest.namespace, &file.path, &file.sha256);
        folders.map(|folder| (folder, Sighting::of(frozen, file)))
    });
    stream::iter(entries.collect::<Vec<_>>())
        .map(|(folder, sighting)| async move {
            let standing = commit(records, &first(&folder), &sighting)
                .await?
                .into_inner();
            if standing != sighting {
                let own = format!("{folder}{}-{}.json", sighting.uid, sighting.round);
                commit(records, &own, &sighting).await?;
            }
            Ok::<_, StorageError>(())
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    commit(records, &key.indexed(manifest.round), &manifest.round).await?;
    Ok(())
}
