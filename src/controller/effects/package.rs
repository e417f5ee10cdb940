//! Makes a package: reads the quarantined files, checks and frames them, sends
//! the parts to the release bucket, and reads what is stored back.
//!
//! It writes one key, that of its attempt, by one upload. Killed at any point it
//! leaves an open upload or an object that no outcome names; the next attempt
//! aborts and deletes both.

use std::sync::Arc;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::CompletedPart;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::mpsc;

use super::progress::{Progress, Server};
use crate::api::condition::reason;
use crate::config::Packaging;
use crate::domain::commit::{Attempt, Decision, PackageFact};
use crate::domain::manifest::{Frozen, ManifestFile};
use crate::domain::quorum::Approved;
use crate::package::{
    Budget, CrateInputs, OpenError, PackError, Packed, Part, PartBody, Plan, PlanError, pack,
};
use crate::storage::keys::RequestKey;
use crate::storage::{Quarantine, Release, ReleaseUpload, StorageError, download, read_back};

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
    /// Where it tells how far it is.
    pub progress: Arc<Progress>,
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
    /// A Job did not write the files into their volume.
    #[error("{0}")]
    Delivery(String),
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
            Self::Plan(_) => Some(reason::PACKAGE_IMPOSSIBLE),
            Self::Delivery(_) => Some(reason::DELIVERY_FAILED),
            _ => None,
        }
    }
}

/// Makes, stores and verifies the package of one attempt.
pub async fn run(job: Job) -> Result<PackageFact, PackagingError> {
    clear(&job).await?;
    let frozen = job.approved.get();
    let inputs = CrateInputs::decided(frozen, &job.decision);
    let plan = Plan::new(&inputs)?;
    let budget = Budget {
        memory: job.packaging.memory_budget_mib << 20,
        spool_dir: job.packaging.spool_dir.clone(),
    };
    let upload = job.release.begin(&job.approved, &job.attempt);
    let (parts, received) = mpsc::channel(1);
    let open = |file: &ManifestFile| {
        let (quarantine, key) = (job.quarantine.clone(), file.key.clone());
        let progress = Arc::clone(&job.progress);
        async move {
            match download(quarantine.bucket(), &key).await {
                Ok(body) => Ok(body.inspect(move |_| progress.moved())),
                Err(StorageError::NotFound { .. }) => Err(OpenError::Missing),
                Err(error) => Err(OpenError::Failed(error)),
            }
        }
    };
    let packing = pack(&plan, &budget, open, parts);
    let sending = send(&upload, &job.progress, plan.is_small(), received);
    let (packed, sent) = tokio::join!(packing, sending);
    let packed = match (packed, sent) {
        (Ok(packed), Ok(())) => packed,
        // The upload says why the parts had nowhere to go.
        (Err(PackError::SinkClosed), Err(error)) | (Ok(_), Err(error)) => return Err(error.into()),
        (Err(error), _) => return Err(error.into()),
    };
    job.progress.waits_for(Server::Release);
    verify(&job, &packed).await?;
    Ok(PackageFact {
        bucket: job.release.name().to_owned(),
        key: job.attempt.key.clone(),
        sha256: packed.sha256,
        size: packed.size,
        files: packed.files as u64,
        attempt: job.attempt.attempt,
    })
}

/// Ends what earlier attempts left.
async fn clear(job: &Job) -> Result<(), StorageError> {
    if job.earlier.is_empty() {
        return Ok(());
    }
    let over = |key: &String| job.earlier.iter().any(|a| a.key == *key);
    for (key, upload) in job.release.open_uploads(&job.key.releases()).await? {
        if over(&key) {
            job.release.abort_upload(&key, &upload).await?;
        }
    }
    let stored = job.release.list(&job.key.releases()).await?;
    let left: Vec<String> = stored.into_iter().map(|l| l.key).filter(over).collect();
    job.release.delete(&left).await
}

/// Sends the parts as they come. An upload that cannot be completed is aborted.
async fn send(
    upload: &ReleaseUpload<'_>,
    progress: &Progress,
    small: bool,
    mut parts: mpsc::Receiver<Part>,
) -> Result<(), StorageError> {
    if small {
        return match parts.recv().await {
            Some(Part {
                body: PartBody::Memory(bytes),
                last: true,
                ..
            }) => {
                progress.waits_for(Server::Release);
                upload.put_whole(bytes).await.map(drop)
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
    let sent = send_parts(upload, progress, &id, first, &mut parts).await;
    progress.waits_for(Server::Release);
    // Whoever makes parts must not wait for a sender that gave up.
    drop(parts);
    match sent {
        Ok(Some(completed)) => upload.complete(&id, completed).await.map(drop),
        Ok(None) => upload.abort(&id).await,
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
        PartBody::Memory(bytes) => upload.part(id, part.number, ByteStream::from(bytes)).await,
        PartBody::File(file) => {
            let body = ByteStream::from_path(file.path())
                .await
                .map_err(|e| upload.unreadable(&e.to_string()))?;
            upload.part(id, part.number, body).await
        }
    }
}

/// Reads the stored package back, before anything says that it is there.
async fn verify(job: &Job, packed: &Packed) -> Result<(), PackagingError> {
    let key = job.attempt.key.as_str();
    let found = read_back(&job.release, key, packed.size, || job.progress.moved()).await?;
    if found.as_ref() == Some(&packed.sha256) {
        Ok(())
    } else {
        Err(PackagingError::ReadBack {
            key: key.to_owned(),
        })
    }
}
