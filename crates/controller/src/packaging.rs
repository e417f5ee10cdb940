//! What a packaging Job does: it derives the approval of its attempt from the bucket,
//! makes the package and sends it to the attempt's key. It writes nothing else, and
//! reads nothing of the release bucket.
//!
//! It looks again every now and then, and once more just before the package is
//! complete, whether somebody ended the attempt: whoever does so commits it first and
//! aborts the upload then, so that one of the two always holds.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::effects::package::{Making, PackagingError, Watched, make};
use super::effects::progress::Progress;
use crate::shutdown;
use trevor_config::Config;
use trevor_core::keys::RequestKey;
use trevor_core::packaging::{Asked, Over, Refused, Sent, Stored, derive};
use trevor_store::{Records, Release, StorageError, Zones};

/// How often it looks whether it is to go on.
const EVERY: Duration = Duration::from_secs(20);

/// Which attempt.
#[derive(Clone, Debug)]
pub struct Errand {
    /// The request.
    pub key: RequestKey,
    /// The round.
    pub round: i64,
    /// The attempt, from 1.
    pub attempt: i64,
}

/// How a Job failed.
#[derive(Debug, thiserror::Error)]
#[error("{}{cause}", .reason.map(|r| format!("{r}: ")).unwrap_or_default())]
pub struct Failed {
    reason: Option<&'static str>,
    cause: PackagingError,
}

impl From<PackagingError> for Failed {
    fn from(cause: PackagingError) -> Self {
        Self {
            reason: cause.needs_a_person(),
            cause,
        }
    }
}

/// Makes the package of an attempt; gives what was sent.
///
/// # Errors
/// When it is not approved, over, or cannot be made.
pub async fn package(config: &Config, errand: Errand) -> Result<Sent, Failed> {
    let told = CancellationToken::new();
    // From the beginning: as the first process of a container it would be deaf otherwise.
    let tells = told.clone();
    tokio::spawn(async move {
        shutdown::signalled().await;
        tells.cancel();
    });
    let zones = Zones::connect(&config.storage).await;
    let release = Release::connect(&config.storage).await;
    Ok(run(config, &zones, &release, errand, told).await?)
}

async fn run(
    config: &Config,
    zones: &Zones,
    release: &Release,
    errand: Errand,
    told: CancellationToken,
) -> Result<Sent, PackagingError> {
    let records = &zones.records;
    let stored = observe(records, &errand).await?;
    let asked = Asked {
        namespace: &errand.key.namespace,
        uid: &errand.key.uid,
        round: errand.round,
        attempt: errand.attempt,
        releases: &errand.key.releases(),
    };
    let (approved, decision, attempt) = derive(&asked, stored)?;
    let progress = Arc::new(Progress::of("the package is being made"));
    let watched = Watch {
        records: records.clone(),
        errand,
        told,
    };
    let packaging = &config.controller.packaging;
    let making = Making {
        quarantine: &zones.quarantine,
        release,
        packaging,
        approved: &approved,
        decision: &decision,
        attempt: &attempt,
        progress: &progress,
        watched: &watched,
    };
    make(making).await
}

async fn observe(records: &Records, errand: &Errand) -> Result<Stored, StorageError> {
    let (key, round) = (&errand.key, errand.round);
    let (seal, manifest, decision) = (key.seal(round), key.manifest(round), key.decision(round));
    let attempt = key.attempt(round, errand.attempt);
    let (seal, freeze, decision, attempt, over) = tokio::try_join!(
        records.get_known(&seal),
        records.get_known(&manifest),
        records.get_known(&decision),
        records.get_known(&attempt),
        over(records, errand),
    )?;
    Ok(Stored {
        seal,
        freeze,
        decision,
        attempt,
        over,
    })
}

/// What ended the attempt meanwhile. The order is that of their weight.
async fn over(records: &Records, errand: &Errand) -> Result<Option<Over>, StorageError> {
    let (key, round) = (&errand.key, errand.round);
    let next = key.attempt(round, errand.attempt + 1);
    Ok(if records.exists(&key.revoked()).await? {
        Some(Over::Revoked)
    } else if records.exists(&key.outcome(round)).await? {
        Some(Over::Decided)
    } else if records.exists(&key.closed()).await? {
        Some(Over::Closed)
    } else if records.exists(&next).await? {
        Some(Over::Superseded)
    } else {
        None
    })
}

struct Watch {
    records: Records,
    errand: Errand,
    /// The process is told to stop.
    told: CancellationToken,
}

impl Watched for Watch {
    fn stopped(&self) -> BoxFuture<'_, PackagingError> {
        Box::pin(async {
            loop {
                tokio::select! {
                    () = self.told.cancelled() => return PackagingError::Broken,
                    () = tokio::time::sleep(EVERY) => {}
                }
                // A look that fails says nothing; the last one must not fail.
                if let Ok(Some(over)) = over(&self.records, &self.errand).await {
                    return Refused::Over(over).into();
                }
            }
        })
    }

    fn may_complete(&self) -> BoxFuture<'_, Result<(), PackagingError>> {
        Box::pin(async {
            if self.told.is_cancelled() {
                return Err(PackagingError::Broken);
            }
            match over(&self.records, &self.errand).await? {
                Some(over) => Err(Refused::Over(over).into()),
                None => Ok(()),
            }
        })
    }
}
