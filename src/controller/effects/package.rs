//! Makes a package: stream, hash, upload, read back.
use crate::config::Packaging;
use crate::domain::commit::{Attempt, Decision, PackageFact};
use crate::domain::manifest::Frozen;
use crate::domain::quorum::Approved;
use crate::storage::keys::RequestKey;
use crate::storage::{Quarantine, Records, Release};

pub struct Job {
    pub records: Records,
    pub quarantine: Quarantine,
    pub release: Release,
    pub packaging: Packaging,
    pub key: RequestKey,
    pub approved: Approved<Frozen>,
    pub decision: Decision,
    pub attempt: Attempt,
    pub earlier: Vec<Attempt>,
}

#[derive(Debug, thiserror::Error)]
pub enum PackagingError {
    #[error("superseded")]
    Superseded,
    #[error("broken")]
    Broken,
}
impl PackagingError {
    pub fn needs_a_person(&self) -> Option<&'static str> {
        None
    }
}

pub async fn run(_job: Job) -> Result<PackageFact, PackagingError> {
    Err(PackagingError::Broken)
}
