//! Files cross inwards: no package is made. Every quarantined file is read
//! through its hash once more and compared with the manifest that was approved;
//! from then on the gateway signs URLs to exactly these.
//!
//! Repeated: hashing changes nothing; record and ReleaseRecord as for a package.

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::super::context::Context;
use super::super::error::EffectError;
use super::super::reconcile::Subject;
use super::deliver::{approvals, make_record, record_name, tolerate_going};
use super::package::PackagingError;
use super::progress::{Progress, Server};
use crate::api::{
    Contents, PolicySummary, ReleasePhase, ReleaseRecord, ReleaseRecordSpec, ReleaseType,
    RequestRef, condition,
};
use crate::domain::commit::Decision;
use crate::domain::ingress::FilesFact;
use crate::domain::manifest::{Frozen, ManifestFile};
use crate::domain::phase::Facts;
use crate::domain::quorum::Approved;
use crate::package::{Mismatch, PackError};
use crate::storage::commit::commit;
use crate::storage::{Quarantine, StorageError, hash_object};

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
        Err(error) => return Err(error.into()),
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

/// The record of what crossed; does nothing where a package did, or once closed.
pub async fn deliver(
    ctx: &Context,
    subject: &Subject,
    facts: &Facts,
    round: i64,
) -> Result<(), EffectError> {
    let Some(last) = facts.last.as_ref().filter(|_| facts.closed.is_none()) else {
        return Ok(());
    };
    let (Some(outcome), Some(decision)) = (&last.outcome, &last.decision) else {
        return Ok(());
    };
    let (Some(files), Some(frozen)) = (&outcome.files, last.frozen()) else {
        return Ok(());
    };
    let spec = spec(subject, decision, files, &frozen, round, outcome.time);
    let spec = commit(ctx.zones.records.bucket(), &subject.key.record(), &spec)
        .await?
        .into_inner();
    if tolerate_going(subject, make_record(ctx, subject, &spec).await)?.is_some() {
        show(ctx, subject).await?;
    }
    Ok(())
}

fn spec(
    subject: &Subject,
    decision: &Decision,
    files: &FilesFact,
    frozen: &Frozen,
    round: i64,
    released: Timestamp,
) -> ReleaseRecordSpec {
    let kept = decision.terms.quarantine_retention_seconds;
    ReleaseRecordSpec {
        request_ref: RequestRef {
            name: subject.name.clone(),
            uid: subject.key.uid.clone(),
        },
        direction: subject.request.spec.direction,
        r#type: ReleaseType::Url,
        package: None,
        contents: Some(Contents {
            files: i64::try_from(files.files()).unwrap_or(i64::MAX),
            size: i64::try_from(files.bytes()).unwrap_or(i64::MAX),
        }),
        manifest_digest: frozen.digest.to_string(),
        round,
        policy: PolicySummary {
            name: decision.policy.name.clone(),
            digest: decision.policy.digest.to_string(),
        },
        approvals: approvals(decision),
        released_time: Time(released),
        delete_after_time: Time(super::close::due(released, kept)),
    }
}

/// The record's status: available.
async fn show(ctx: &Context, subject: &Subject) -> Result<(), EffectError> {
    let api: Api<ReleaseRecord> = Api::namespaced(ctx.client.clone(), &subject.key.namespace);
    let name = record_name(&subject.name, &subject.key.uid);
    let Some(live) = api.get_opt(&name).await? else {
        return Ok(());
    };
    let mut status = live.status.clone().unwrap_or_default();
    status.phase = Some(status.phase.unwrap_or(ReleasePhase::Available));
    condition::set(
        &mut status.conditions,
        condition::READY,
        true,
        condition::reason::RELEASED,
        "GET release of the gateway signs a URL to each file",
        live.metadata.generation,
        Timestamp::now(),
    );
    if live.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let patch = json!({"metadata": {"resourceVersion": live.resource_version()}, "status": status});
    api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch))
        .await?;
    Ok(())
}
