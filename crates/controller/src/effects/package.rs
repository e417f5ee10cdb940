//! Makes a package: reads the quarantined files, checks and frames them, sends
//! the parts to the release bucket ([`make`], which a packaging Job does too), and reads
//! what is stored back.
//!
//! It writes one key, that of its attempt, by one upload. Killed at any point it
//! leaves an open upload or an object that no outcome names; the next attempt
//! aborts and deletes both.

use std::sync::Arc;

use aws_sdk_s3::types::CompletedPart;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::mpsc;

use super::progress::{Progress, Server};
use trevor_api::condition::reason;
use trevor_config::Packaging;
use trevor_core::commit::{Attempt, Decision, PackageFact};
use trevor_core::keys::RequestKey;
use trevor_core::manifest::{Frozen, ManifestFile};
use trevor_core::packaging::{Refused, Sent};
use trevor_core::quorum::Approved;
use trevor_core::retry::MOST_ATTEMPTS;
use trevor_package::{
    Budget, CrateInputs, OpenError, PackError, Packed, Part, PartBody, Plan, PlanError, pack,
};
use trevor_store::{
    PartBytes, Quarantine, Release, ReleaseUpload, StorageError, download, read_back,
};

/// Parts on their way at once; more do not make one server faster.
const SENDERS: usize = 3;

/// What a task needs; it reads no cache and writes no status.
pub struct Job {
    /// Where the files are.
    pub quarantine: Quarantine,
    /// Where the package goes.
    pub release: Release,
    /// Memory and spool folder.
    pub packaging: Packaging,
    /// The request.
    pub key: RequestKey,
    /// What the quorum approved.
    pub approved: Approved<Frozen>,
    /// On which terms.
    pub decision: Decision,
    /// Which attempt this is.
    pub attempt: Attempt,
    /// Attempts whose uploads are over.
    pub earlier: Vec<Attempt>,
    /// It was tried before, and nothing of it was stored.
    pub again: bool,
    /// Where it tells how far it is.
    pub progress: Arc<Progress>,
}

/// What is needed to make the package of an attempt and send it.
pub struct Making<'a> {
    /// Where the files are.
    pub quarantine: &'a Quarantine,
    /// Where the package goes.
    pub release: &'a Release,
    /// Memory and spool folder.
    pub packaging: &'a Packaging,
    /// What the quorum approved.
    pub approved: &'a Approved<Frozen>,
    /// On which terms.
    pub decision: &'a Decision,
    /// Which attempt this is.
    pub attempt: &'a Attempt,
    /// Where it tells how far it is.
    pub progress: &'a Arc<Progress>,
    /// Who else may end it.
    pub watched: &'a dyn Watched,
}

/// Who may end an upload from outside, before it is complete.
pub trait Watched: Send + Sync {
    /// Returns when it is to end, and why.
    fn stopped(&self) -> BoxFuture<'_, PackagingError>;
    /// The last look before the package is there.
    fn may_complete(&self) -> BoxFuture<'_, Result<(), PackagingError>>;
}

/// Nobody: the task is ended by whoever started it.
pub struct Unwatched;

impl Watched for Unwatched {
    fn stopped(&self) -> BoxFuture<'_, PackagingError> {
        Box::pin(std::future::pending())
    }
    fn may_complete(&self) -> BoxFuture<'_, Result<(), PackagingError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Why there is no package.
#[derive(Debug, thiserror::Error)]
pub enum PackagingError {
    /// A file is not what was approved, or cannot be read.
    #[error(transparent)]
    Pack(#[from] PackError<StorageError>),
    /// The package cannot be laid out.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The release bucket.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What is stored is not what was sent.
    #[error("the stored package {key} is not what was sent; look at the release server")]
    ReadBack {
        /// Its key.
        key: String,
    },
    /// It is not to be made, or not any more.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A Job did not make it: its last word, and a reason where it gave one.
    #[error("{message}")]
    Job {
        /// The condition's reason.
        reason: Option<&'static str>,
        /// What it said.
        message: String,
    },
    /// A Job did not write the files into their volume.
    #[error("{0}")]
    Delivery(String),
    /// Each attempt is a fact that is kept for ever.
    #[error("{MOST_ATTEMPTS} attempts to release this round broke off, and no other is made")]
    TooManyAttempts,
    /// The task ended without a result.
    #[error("packaging was interrupted")]
    Broken,
}

impl PackagingError {
    /// The condition's reason, where trying again does not help by itself.
    pub fn needs_a_person(&self) -> Option<&'static str> {
        match self {
            Self::Pack(PackError::IntegrityMismatch { .. }) | Self::ReadBack { .. } => {
                Some(reason::INTEGRITY_MISMATCH)
            }
            Self::Pack(PackError::FileMissing { .. }) => Some(reason::FILE_MISSING),
            Self::Pack(PackError::Source { source, .. }) | Self::Storage(source) => match source {
                StorageError::NotEncrypted { .. } => Some(reason::STORAGE_NOT_ENCRYPTED),
                _ => None,
            },
            Self::TooManyAttempts => Some(reason::TOO_MANY_ATTEMPTS),
            Self::Plan(_) => Some(reason::PACKAGE_IMPOSSIBLE),
            Self::Delivery(_) => Some(reason::DELIVERY_FAILED),
            Self::Refused(Refused::NotApproved(_) | Refused::Inconsistent(_)) => {
                Some(reason::NOT_APPROVED)
            }
            Self::Job { reason, .. } => *reason,
            _ => None,
        }
    }
}

/// Makes, stores and verifies the package of one attempt.
pub async fn run(job: Job) -> Result<PackageFact, PackagingError> {
    clear(
        &job.release,
        &job.key,
        &job.earlier,
        job.again.then_some(&job.attempt),
    )
    .await?;
    let packed = make(Making {
        quarantine: &job.quarantine,
        release: &job.release,
        packaging: &job.packaging,
        approved: &job.approved,
        decision: &job.decision,
        attempt: &job.attempt,
        progress: &job.progress,
        watched: &Unwatched,
    })
    .await?;
    job.progress.waits_for(Server::Release);
    verify(&job.release, &job.attempt, &packed, &job.progress).await
}

/// Makes the package of an attempt and sends it to the attempt's key.
pub async fn make(making: Making<'_>) -> Result<Sent, PackagingError> {
    let inputs = CrateInputs::decided(making.approved.get(), making.decision);
    let plan = Plan::new(&inputs)?;
    let budget = Budget {
        memory: making.packaging.memory_budget_mib << 20,
        spool_dir: making.packaging.spool_dir.clone(),
    };
    let upload = making.release.begin(making.approved, making.attempt);
    let (parts, received) = mpsc::channel(1);
    let open = |file: &ManifestFile| {
        let (quarantine, key) = (making.quarantine.clone(), file.key.clone());
        let progress = Arc::clone(making.progress);
        async move {
            match download(quarantine.bucket(), &key).await {
                Ok(body) => Ok(body.inspect(move |_| progress.moved())),
                Err(StorageError::NotFound { .. }) => Err(OpenError::Missing),
                Err(error) => Err(OpenError::Failed(error)),
            }
        }
    };
    let packing = pack(&plan, &budget, open, parts);
    let sending = send(&upload, &making, plan.is_small(), received);
    let (packed, sent) = tokio::join!(packing, sending);
    let packed: Packed = match (packed, sent) {
        (Ok(packed), Ok(())) => packed,
        // The upload says why the parts had nowhere to go.
        (Err(PackError::SinkClosed), Err(error)) | (Ok(_), Err(error)) => return Err(error),
        (Err(error), _) => return Err(error.into()),
    };
    Ok(Sent {
        sha256: packed.sha256,
        size: packed.size,
        files: packed.files as u64,
    })
}

/// Ends what earlier attempts left, and uploads of one that is made again.
pub async fn clear(
    release: &Release,
    key: &RequestKey,
    earlier: &[Attempt],
    again: Option<&Attempt>,
) -> Result<(), StorageError> {
    if earlier.is_empty() && again.is_none() {
        return Ok(());
    }
    let over = |key: &String| earlier.iter().any(|a| a.key == *key);
    for (key, upload) in release.open_uploads(&key.releases()).await? {
        if over(&key) || again.is_some_and(|again| again.key == key) {
            release.abort_upload(&key, &upload).await?;
        }
    }
    if earlier.is_empty() {
        return Ok(());
    }
    let stored = release.list(&key.releases()).await?;
    let left: Vec<String> = stored.into_iter().map(|l| l.key).filter(over).collect();
    release.delete(&left).await
}

/// Sends the parts as they come. An upload that cannot be completed is aborted.
async fn send(
    upload: &ReleaseUpload<'_>,
    making: &Making<'_>,
    small: bool,
    mut parts: mpsc::Receiver<Part>,
) -> Result<(), PackagingError> {
    let progress = making.progress;
    if small {
        return match parts.recv().await {
            Some(Part {
                body: PartBody::Memory(bytes),
                last: true,
                ..
            }) => {
                progress.waits_for(Server::Release);
                making.watched.may_complete().await?;
                Ok(progress.stores(upload.put_whole(bytes)).await.map(drop)?)
            }
            // The packer says why there is no package.
            _ => Ok(()),
        };
    }
    let Some(first) = parts.recv().await else {
        return Ok(());
    };
    progress.waits_for(Server::Release);
    let id = upload.start().await?;
    let sent = tokio::select! {
        sent = send_parts(upload, progress, &id, first, &mut parts) => {
            sent.map_err(PackagingError::from)
        }
        why = making.watched.stopped() => Err(why),
    };
    progress.waits_for(Server::Release);
    // Whoever makes parts must not wait for a sender that gave up.
    drop(parts);
    let sent = match sent {
        Ok(Some(completed)) => making.watched.may_complete().await.map(|()| completed),
        Ok(None) => return Ok(upload.abort(&id).await?),
        Err(error) => Err(error),
    };
    match sent {
        Ok(completed) => {
            progress.completes();
            Ok(progress.stores(upload.complete(&id, completed)).await?)
        }
        Err(error) => {
            if let Err(left) = upload.abort(&id).await {
                tracing::debug!(%left, "an upload stays open for the next attempt to abort");
            }
            Err(error)
        }
    }
}

/// All parts in order of number; none when the packer ended before the last.
async fn send_parts(
    upload: &ReleaseUpload<'_>,
    progress: &Progress,
    id: &str,
    first: Part,
    parts: &mut mpsc::Receiver<Part>,
) -> Result<Option<Vec<CompletedPart>>, StorageError> {
    let mut sending = FuturesUnordered::new();
    let mut completed = Vec::new();
    let mut complete = first.last;
    sending.push(send_part(upload, id, first));
    loop {
        tokio::select! {
            part = parts.recv(), if sending.len() < SENDERS && !complete => match part {
                Some(part) => {
                    complete = part.last;
                    sending.push(send_part(upload, id, part));
                    progress.waits_for(Server::Release);
                }
                None => return Ok(None),
            },
            Some(sent) = sending.next() => {
                completed.push(sent?);
                progress.waits_for(if sending.is_empty() { Server::Quarantine } else { Server::Release });
                if complete && sending.is_empty() {
                    completed.sort_by_key(CompletedPart::part_number);
                    return Ok(Some(completed));
                }
            }
        }
    }
}

async fn send_part(
    upload: &ReleaseUpload<'_>,
    id: &str,
    part: Part,
) -> Result<CompletedPart, StorageError> {
    match part.body {
        PartBody::Memory(bytes) => {
            let bytes = PartBytes::Memory(bytes);
            upload.part(id, part.number, bytes).await
        }
        PartBody::File(file) => {
            let bytes = PartBytes::File(file.path().to_owned());
            upload.part(id, part.number, bytes).await
        }
    }
}

/// Reads the stored package of an attempt back, before anything says that it is there.
pub async fn verify(
    release: &Release,
    attempt: &Attempt,
    sent: &Sent,
    progress: &Progress,
) -> Result<PackageFact, PackagingError> {
    let key = attempt.key.clone();
    let found = read_back(release, &key, sent.size, || progress.moved()).await?;
    if found.as_ref() != Some(&sent.sha256) {
        return Err(PackagingError::ReadBack { key });
    }
    Ok(PackageFact {
        bucket: release.name().to_owned(),
        key,
        sha256: sent.sha256.clone(),
        size: sent.size,
        files: sent.files,
        attempt: attempt.attempt,
    })
}
