//! The start-up proof of a storage server: create-only writes must hold.
//!
//! Some servers ignore `If-None-Match` without an error, others let several of
//! concurrent writers win (FACTS "S3 servers"). Everything that commits relies
//! on one winner, so the process refuses to start where that does not hold. The
//! full proof races eight writers, and is kept for a server version: it may take
//! seconds, since some servers answer the losers of a race late. Each start checks
//! that a PUT on an existing key answers 412.

use aws_sdk_s3::error::ProvideErrorMetadata as _;
use bytes::Bytes;
use futures::future::join_all;
use serde::Serialize;
use uuid::Uuid;

use super::bucket::{Bucket, Created};
use super::error::{StorageError, translate};
use super::staging_proof::prove_staging;
use super::zones::{Release, Zones};
use crate::domain::canonical;
use crate::domain::digest::Sha256Hex;

/// Writers of a race.
const WRITERS: usize = 8;
/// Races; a server that lets two of eight win now and then is caught.
const RACES: usize = 6;

/// Why a storage server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// A second PUT on a key was accepted.
    #[error(
        "storage.{zone}: the server ignores create-only writes (If-None-Match: *): a second PUT of one key was accepted; trevor cannot commit anything safely there, use a server that enforces them"
    )]
    IgnoresCreateOnly {
        /// The key of the configuration.
        zone: &'static str,
    },
    /// Several writers won.
    #[error(
        "storage.{zone}: {winners} of {WRITERS} concurrent create-only writes of one key succeeded; trevor cannot commit anything safely there, use a server that enforces them"
    )]
    ManyWinners {
        /// The key of the configuration.
        zone: &'static str,
        /// How many.
        winners: usize,
    },
    /// A stored object is not in a listing at once.
    #[error(
        "storage.{zone}: a stored object is not in the listing that follows; trevor needs a server with strong consistency"
    )]
    NotListed {
        /// The key of the configuration.
        zone: &'static str,
    },
    /// A header that nobody signed changes what a signed PUT does.
    #[error(
        "storage.staging: the server takes a signed PUT with an unsigned {header} header; whoever has an upload URL could do more than that upload, use a server that refuses it"
    )]
    TakesUnsigned {
        /// The header.
        header: &'static str,
    },
    /// A signed PUT does not work.
    #[error(
        "storage.staging: the server refuses a signed PUT; check the bucket, the endpoint and the permissions of the identity"
    )]
    RefusesSigned,
    /// The server does not do what is asked.
    #[error("storage.{zone}: {source}")]
    Storage {
        /// The key of the configuration.
        zone: &'static str,
        /// What it said.
        source: StorageError,
    },
}

/// Proves quarantine (and records, where it is a bucket of its own) and release.
///
/// # Errors
/// With the key of the configuration and what to do.
pub async fn prove(zones: &Zones, release: &Release) -> Result<(), ProofError> {
    let shared = zones.records.bucket().name() == zones.quarantine.bucket().name();
    let records = async {
        match shared {
            true => Ok(()),
            false => prove_bucket("records", zones.records.bucket()).await,
        }
    };
    let staging = async {
        match &zones.staging {
            Some(staging) => prove_staging(staging).await,
            None => Ok(()),
        }
    };
    tokio::try_join!(
        prove_bucket("quarantine", zones.quarantine.bucket()),
        prove_bucket("release", release.probe_bucket()),
        records,
        staging,
    )?;
    Ok(())
}

/// What is kept of a proof; its key is the one that each start tries to write again.
#[derive(Serialize)]
struct Proved<'a> {
    zone: &'a str,
    server: &'a str,
}

async fn prove_bucket(zone: &'static str, bucket: &Bucket) -> Result<(), ProofError> {
    let storage = |source| ProofError::Storage { zone, source };
    let server = bucket.server_version().await.map_err(storage)?;
    let name = Sha256Hex::of(format!("{zone} {} {server}", bucket.name()).as_bytes());
    let kept = format!("work/probe/proved/{}.json", name.short(16));
    if bucket.get(&kept).await.map_err(storage)?.is_none() {
        race(zone, bucket).await?;
        let proof = canonical::to_vec(&Proved {
            zone,
            server: &server,
        })
        .unwrap_or_default();
        bucket
            .create(&kept, Bytes::from(proof), "application/json")
            .await
            .map_err(storage)?;
    }
    match bucket
        .create(&kept, Bytes::from_static(b"{}"), "application/json")
        .await
    {
        Ok(Created::Exists) => Ok(()),
        Ok(Created::New) => Err(ProofError::IgnoresCreateOnly { zone }),
        Err(source) => Err(storage(source)),
    }
}

/// Races writers for keys, however often that was proved before.
///
/// # Errors
/// With the key of the configuration and what to do.
pub(super) async fn race(zone: &'static str, bucket: &Bucket) -> Result<(), ProofError> {
    let storage = |source| ProofError::Storage { zone, source };
    let prefix = format!("work/probe/{}/", Uuid::new_v4());
    let races = (0..RACES).map(|race| one_race(zone, bucket, format!("{prefix}{race}")));
    let results = join_all(races).await;
    let left = bucket.list(&prefix).await.map_err(storage)?;
    let keys: Vec<String> = left.into_iter().map(|l| l.key).collect();
    match bucket.delete(&keys).await {
        // Records of their own may be where nothing can be deleted, as they should:
        // then the few bytes of a race stay.
        Err(StorageError::Refused { .. }) if zone == "records" => {}
        deleted => deleted.map_err(storage)?,
    }
    results.into_iter().collect()
}

async fn one_race(zone: &'static str, bucket: &Bucket, key: String) -> Result<(), ProofError> {
    let storage = |source| ProofError::Storage { zone, source };
    let mut winners = 0;
    for created in join_all((0..WRITERS).map(|writer| create_once(bucket, &key, writer))).await {
        winners += usize::from(created.map_err(storage)? == Created::New);
    }
    if winners > 1 {
        return Err(ProofError::ManyWinners { zone, winners });
    }
    if create_once(bucket, &key, WRITERS).await.map_err(storage)? == Created::New {
        return Err(ProofError::IgnoresCreateOnly { zone });
    }
    // Asks for encryption of what is stored, too.
    bucket.head(&key).await.map_err(storage)?;
    if bucket.list(&key).await.map_err(storage)?.is_empty() {
        return Err(ProofError::NotListed { zone });
    }
    Ok(())
}

/// A create-only PUT that tells a conflict (409) of a race from a win.
async fn create_once(bucket: &Bucket, key: &str, writer: usize) -> Result<Created, StorageError> {
    bucket
        .create(key, Bytes::from(format!("{writer}")), "text/plain")
        .await
}

/// What each start checks of the gateway's own bucket view: that it reaches the
/// server with its identity. A listing of its prefix is all it may do.
///
/// # Errors
/// As the server says.
pub async fn reach(bucket: &Bucket) -> Result<(), StorageError> {
    let listed = bucket
        .client()
        .list_objects_v2()
        .bucket(bucket.name())
        .prefix("requests/")
        .max_keys(1)
        .send()
        .await;
    match listed {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some("AccessDenied") => Ok(()),
        Err(error) => Err(translate(
            "ListObjectsV2",
            bucket.name(),
            "requests/",
            &error,
        )),
    }
}
