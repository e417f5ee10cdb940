//! Files cross inwards: no package is made. Every quarantined file is read
//! through its hash once more and compared with the manifest that was approved;
//! from then on the gateway signs URLs to exactly these.
//!
//! Repeated: hashing changes nothing.

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::package::PackagingError;
use super::progress::{Progress, Server};
use trevor_core::ingress::FilesFact;
use trevor_core::manifest::{Frozen, ManifestFile};
use trevor_core::quorum::Approved;
use trevor_package::{Mismatch, PackError};
use trevor_store::{Quarantine, StorageError, hash_object};

/// Files read at the same time.
const READS: usize = 4;

/// What a task needs.
pub struct Job {
    /// Where the files are.
    pub quarantine: Quarantine,
    /// What the quorum approved.
    pub approved: Approved<Frozen>,
    /// Who is waited for.
    pub progress: Arc<Progress>,
}

/// Hashes every file against the manifest.
pub async fn run(job: Job) -> Result<FilesFact, PackagingError> {
    job.progress.waits_for(Server::Quarantine);
    let files = &job.approved.get().manifest.files;
    let checks: Vec<_> = files.iter().map(|f| check(&job, f)).collect();
    stream::iter(checks)
        .buffer_unordered(READS)
        .try_collect::<()>()
        .await?;
    Ok(FilesFact::of(&job.approved))
}

async fn check(job: &Job, file: &ManifestFile) -> Result<(), PackagingError> {
    let path = || file.path.clone();
    let found = match hash_object(job.quarantine.bucket(), &file.key, || job.progress.moved()).await
    {
        Ok(found) => found,
        Err(StorageError::NotFound { .. }) => {
            return Err(PackError::FileMissing { path: path() }.into());
        }
        Err(source) => {
            let path = path();
            return Err(PackError::Source { path, source }.into());
        }
    };
    let differs = if found.size != file.size {
        Mismatch::Size
    } else if found.sha256 != file.sha256 {
        Mismatch::Sha256
    } else if found.crc32 != file.crc32 {
        Mismatch::Crc32
    } else {
        return Ok(());
    };
    Err(PackError::IntegrityMismatch {
        path: path(),
        what: differs,
    }
    .into())
}
