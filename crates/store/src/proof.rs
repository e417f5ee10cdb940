//! The start-up proof of a storage server: create-only writes must hold.
//!
//! Some servers ignore `If-None-Match` without an error, others let several of
//! concurrent writers win (docs/design.md#what-commits). Everything that commits relies
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
use super::staging::Staging;
use super::staging_proof::{PROBES, SOURCE};
use super::versions::Marker;
use super::zones::{Release, Zones};
use trevor_config as config;
use trevor_core::canonical;
use trevor_core::digest::Sha256Hex;

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
        "storage.staging: the server takes a signed PUT with an unsigned {header} header; whoever has an upload URL could do more than that upload, take from the identity that signs (storage.staging of the gateway) every permission but to put objects and to list parts (examples/bucket-policies), or use a server that refuses such a header"
    )]
    TakesUnsigned {
        /// The header.
        header: &'static str,
    },
    /// What would be copied is not there, so that nothing is proved.
    #[error(
        "storage.staging: {place} is not there, so that it cannot be tried whether an upload URL could copy it; the controller makes it at its start"
    )]
    NoSource {
        /// Bucket and key.
        place: String,
    },
    /// Two buckets of the configuration are one.
    #[error(
        "storage.{zone}.bucket: is the same place as storage.{other}, though its address is written differently; {zone} needs a bucket of its own"
    )]
    OnePlace {
        /// The key of the configuration.
        zone: &'static str,
        /// The key of the other.
        other: &'static str,
    },
    /// Old versions cannot be listed, and so not deleted.
    #[error(
        "storage.{zone}: versions of objects cannot be listed, so that files could not be deleted for good: {}", source.of_zone(zone)
    )]
    NoVersions {
        /// The key of the configuration.
        zone: &'static str,
        /// What it said.
        source: StorageError,
    },
    /// A signed PUT does not work.
    #[error("storage.staging: the server refuses a signed PUT: {}", source.of_zone("staging"))]
    RefusesSigned {
        /// What it said.
        source: StorageError,
    },
    /// The server does not do what is asked.
    #[error("storage.{zone}: {}", source.of_zone(zone))]
    Storage {
        /// The key of the configuration.
        zone: &'static str,
        /// What it said.
        source: StorageError,
    },
}

impl ProofError {
    /// Whether the same question may be answered later.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(
            self,
            Self::NoSource { .. }
                | Self::Storage {
                    source: StorageError::Unavailable { .. },
                    ..
                }
        )
    }
}

/// Proves quarantine (and records, where it is a bucket of its own) and release.
///
/// # Errors
/// With the key of the configuration and what to do.
pub async fn prove(
    config: &config::Storage,
    zones: &Zones,
    release: &Release,
) -> Result<(), ProofError> {
    let shared = zones.records.bucket().name() == zones.quarantine.bucket().name();
    let records = async {
        match shared {
            true => Ok(()),
            false => prove_bucket("records", zones.records.bucket()).await,
        }
    };
    let staging = async {
        match &zones.staging {
            Some(staging) => look_at_staging(staging).await,
            None => Ok(()),
        }
    };
    tokio::try_join!(
        prove_bucket("quarantine", zones.quarantine.bucket()),
        prove_bucket("release", release.probe_bucket()),
        records,
        staging,
    )?;
    prove_apart(config, zones, release).await
}

/// What signs for staging is proved by the gateway, whose identity it is.
async fn look_at_staging(staging: &Staging) -> Result<(), ProofError> {
    let zone = "staging";
    let bucket = staging.probe_bucket();
    let storage = |source| ProofError::Storage { zone, source };
    bucket.server_version().await.map_err(storage)?;
    prove_versions(zone, bucket).await?;
    // Of gateways that proved it.
    staging.custody().empty(PROBES).await.map_err(storage)?;
    // The gateway, which reads nothing there, cannot see whether what is sent is encrypted.
    let key = format!("{PROBES}encrypted/{}", Uuid::new_v4());
    let encrypted = create_once(bucket, &key, 0).await;
    let gone = bucket.delete_versions(&key).await;
    encrypted.and(gone).map_err(storage)
}

/// Whether what is stored in one bucket turns up in another: their addresses may be two
/// names of one server.
///
/// # Errors
/// With the keys of the configuration.
pub(super) async fn prove_apart(
    config: &config::Storage,
    zones: &Zones,
    release: &Release,
) -> Result<(), ProofError> {
    let quarantine = ("quarantine", zones.quarantine.bucket());
    let records = ("records", zones.records.bucket());
    let mut inside = vec![quarantine];
    inside.extend(config.records.is_some().then_some(records));
    let mut others = inside.clone();
    let staging = zones.staging.as_ref().map(Staging::probe_bucket);
    others.extend(staging.map(|staging| ("staging", staging)));
    apart(("release", release.probe_bucket()), &others).await?;
    if let Some(staging) = staging
        && !config.allow_shared_bucket
    {
        apart(("staging", staging), &inside).await?;
    }
    Ok(())
}

async fn apart(
    (zone, bucket): (&'static str, &Bucket),
    others: &[(&'static str, &Bucket)],
) -> Result<(), ProofError> {
    let storage = |zone| move |source| ProofError::Storage { zone, source };
    let key = format!("{PROBES}apart/{}", Uuid::new_v4());
    if let Err(error) = create_once(bucket, &key, 0).await {
        // It may have been stored, without the encryption that was asked for.
        drop(bucket.delete_versions(&key).await);
        return Err(storage(zone)(error));
    }
    let mut found = Ok(());
    for (other, there) in others {
        match there.open(&key, None).await {
            // Found, encrypted as that bucket is to be or not.
            Ok(_) | Err(StorageError::NotEncrypted { .. }) => {
                found = Err(ProofError::OnePlace { zone, other });
            }
            Err(error @ StorageError::Unavailable { .. }) => found = Err(storage(other)(error)),
            Err(_) => {}
        }
    }
    let gone = bucket.delete_versions(&key).await;
    found.and(gone.map_err(storage(zone)))
}

/// A server that cannot list versions keeps what we delete, where it keeps versions.
async fn prove_versions(zone: &'static str, bucket: &Bucket) -> Result<(), ProofError> {
    match bucket.versions(PROBES, Marker::default()).await {
        Ok(_) => Ok(()),
        Err(source @ StorageError::Unavailable { .. }) => Err(ProofError::Storage { zone, source }),
        Err(source) => Err(ProofError::NoVersions { zone, source }),
    }
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
    // In records of their own nothing is deleted by us.
    if zone != "records" {
        prove_versions(zone, bucket).await?;
    }
    create_once(bucket, SOURCE, 0).await.map_err(storage)?;
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
pub(super) async fn reach(bucket: &Bucket) -> Result<(), StorageError> {
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
