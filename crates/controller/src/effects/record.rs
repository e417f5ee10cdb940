//! The record of a release: its permanent copy in the bucket, and the ReleaseRecord.
//!
//! Repeated: the copy is create-only, the resource's name is derived from the uid,
//! and its status is a patch that tests the resourceVersion.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::super::context::Context;
use super::super::error::EffectError;
use super::super::find::find;
use super::super::reconcile::Subject;
use super::super::status;
use trevor_api::condition::{self, reason};
use trevor_api::{
    Approval, Contents, PolicySummary, ReleasePhase, ReleaseRecord, ReleaseRecordSpec,
    ReleaseRecordStatus, ReleaseType, RequestRef, ReviewDecision, UrlSummary,
};
use trevor_core::commit::{Decision, Outcome, OutcomeKind, Revoked};
use trevor_core::ingress::FilesFact;
use trevor_core::keys::RequestKey;
use trevor_core::names;
use trevor_core::phase::Facts;
use trevor_core::retention::{Hold, HoldState, What};
use trevor_core::url_issue::UrlIssue;
use trevor_lifecycle::Trouble;

/// A release, as whoever acts on it needs it, with its request or without.
#[derive(Clone, Debug)]
pub struct Crossed {
    /// Its request.
    pub key: RequestKey,
    /// Name of its ReleaseRecord.
    pub record: String,
    /// Its request is going, and perhaps the namespace with it.
    pub going: bool,
}

impl Crossed {
    /// Of a request that is there.
    pub fn of(subject: &Subject) -> Self {
        Self {
            key: subject.key.clone(),
            record: record_name(&subject.name, &subject.key.uid),
            going: subject.deleting(),
        }
    }

    fn api(&self, ctx: &Context) -> Api<ReleaseRecord> {
        Api::namespaced(ctx.client.clone(), &self.key.namespace)
    }

    /// In a namespace that is going nothing can be created: the bucket has it all.
    pub fn tolerate_going<T>(
        &self,
        result: Result<T, EffectError>,
    ) -> Result<Option<T>, EffectError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(EffectError::Kube(kube::Error::Api(answer)))
                if self.going
                    && (answer.code == 404
                        || (answer.code == 403 && answer.message.contains("being terminated"))) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Name of the ReleaseRecord of a request.
#[must_use]
pub fn record_name(name: &str, uid: &str) -> String {
    names::derived(name, uid)
}

/// Where that lies without which nothing is left of a release.
#[must_use]
pub fn kept_in(kind: ReleaseType) -> What {
    match kind {
        ReleaseType::Package => What::Release,
        ReleaseType::Url | ReleaseType::PersistentVolumeClaim => What::Quarantine,
    }
}

/// Keeps the record of the outcome; none where nothing was released.
pub async fn keep(
    ctx: &Context,
    subject: &Subject,
    facts: &Facts,
) -> Result<Option<ReleaseRecordSpec>, EffectError> {
    let Some(last) = &facts.last else {
        return Ok(None);
    };
    let (Some(outcome), Some(decision), Some(frozen)) =
        (&last.outcome, &last.decision, last.frozen())
    else {
        return Ok(None);
    };
    if outcome.kind != OutcomeKind::Released {
        return Ok(None);
    }
    let digest = frozen.digest.as_str();
    let spec = spec(subject, decision, outcome, digest);
    let at = subject.key.record();
    let spec = ctx.zones.records.create(&at, &spec).await?;
    Ok(Some(spec.into_inner()))
}

/// Makes the ReleaseRecord.
pub async fn make(
    ctx: &Context,
    crossed: &Crossed,
    spec: &ReleaseRecordSpec,
) -> Result<(), EffectError> {
    let object = ReleaseRecord::new(&crossed.record, spec.clone());
    match crossed
        .api(ctx)
        .create(&PostParams::default(), &object)
        .await
    {
        Ok(_) => Ok(()),
        // The name carries a hash of the uid: it is ours, of an earlier try.
        Err(kube::Error::Api(answer)) if answer.reason == "AlreadyExists" => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Its status: available, and until when. What is revoked stays so. Without a URL of
/// ours the gateway signs one to each file, or they are in a volume.
pub async fn show_available(
    ctx: &Context,
    crossed: &Crossed,
    url: Option<&UrlIssue>,
) -> Result<(), EffectError> {
    show(ctx, crossed, |spec, status, generation| {
        let how = match (&spec.persistent_volume_claim, url) {
            (Some(volume), _) => format!("the files are in {volume}"),
            (None, Some(_)) => {
                "the package can be downloaded by the URL in the Secret status.url.secretName"
                    .to_owned()
            }
            (None, None) => "GET release of the gateway signs a URL to each file".to_owned(),
        };
        if matches!(
            status.phase,
            Some(ReleasePhase::Revoked | ReleasePhase::Deleted)
        ) {
            return;
        }
        status.phase = Some(status.phase.unwrap_or(ReleasePhase::Available));
        status.url = url.map(|url| UrlSummary {
            secret_name: url.secret_name.clone(),
            issue: url.issue,
            expires_time: Time(url.expires),
        });
        condition::set(
            &mut status.conditions,
            condition::READY,
            true,
            reason::RELEASED,
            &how,
            generation,
            Timestamp::now(),
        );
    })
    .await
}

/// Its status: revoked, and whether something sent before may still arrive.
pub async fn show_revoked(
    ctx: &Context,
    crossed: &Crossed,
    revoked: &Revoked,
    settled: bool,
) -> Result<(), EffectError> {
    show(ctx, crossed, |spec, status, generation| {
        let by = &revoked.by;
        let message = match (&spec.persistent_volume_claim, settled) {
            (Some(volume), _) => format!(
                "revoked by {by}; the files that were written into {volume} stay there: the operator takes nothing back from a volume, delete them there"
            ),
            (None, true) => format!("revoked by {by}; no URL of it works"),
            (None, false) => format!(
                "revoked by {by}; no URL of it works, and what was sent before may arrive until it settles: it is deleted as it comes"
            ),
        };
        status.phase = Some(ReleasePhase::Revoked);
        status.url = None;
        condition::set(
            &mut status.conditions,
            condition::READY,
            settled,
            if settled {
                reason::REVOKED
            } else {
                reason::REVOKING
            },
            &message,
            generation,
            Timestamp::now(),
        );
    })
    .await
}

/// Its status: its time is over, and nothing of it is there any more. What was
/// revoked stays so.
pub async fn show_deleted(ctx: &Context, crossed: &Crossed, time: Time) -> Result<(), EffectError> {
    show(ctx, crossed, |spec, status, generation| {
        let message = match &spec.persistent_volume_claim {
            Some(volume) => format!(
                "its time is over: the quarantined files are deleted, and the receipt is kept; what was written into {volume} stays there"
            ),
            None => "its time is over: what was released is deleted, and the receipt is kept"
                .to_owned(),
        };
        status.deleted_time = Some(status.deleted_time.take().unwrap_or(time));
        status.url = None;
        if status.phase == Some(ReleasePhase::Revoked) {
            return;
        }
        status.phase = Some(ReleasePhase::Deleted);
        condition::set(
            &mut status.conditions,
            condition::READY,
            true,
            reason::DELETED,
            &message,
            generation,
            Timestamp::now(),
        );
    })
    .await
}

/// Its status: it is due and does not go, and why.
pub async fn show_kept(
    ctx: &Context,
    crossed: &Crossed,
    trouble: &Trouble,
) -> Result<(), EffectError> {
    show(ctx, crossed, |_, status, generation| {
        condition::set(
            &mut status.conditions,
            condition::READY,
            false,
            trouble.reason,
            &trouble.message,
            generation,
            Timestamp::now(),
        );
    })
    .await
}

/// Its status: whether a hold stops the deletion of what is kept of it.
pub async fn show_held(ctx: &Context, crossed: &Crossed, hold: &Hold) -> Result<(), EffectError> {
    let held = hold.state == HoldState::Held;
    let (word, message) = match held {
        true => (
            reason::ON_HOLD,
            status::held_message(&hold.by, hold.unconfirmed),
        ),
        false => (reason::NOT_HELD, format!("lifted by {}", hold.by)),
    };
    show(ctx, crossed, |_, status, generation| {
        condition::set(
            &mut status.conditions,
            condition::HELD,
            held,
            word,
            &message,
            generation,
            Timestamp::now(),
        );
    })
    .await
}

async fn show(
    ctx: &Context,
    crossed: &Crossed,
    change: impl FnOnce(&ReleaseRecordSpec, &mut ReleaseRecordStatus, Option<i64>),
) -> Result<(), EffectError> {
    let api = crossed.api(ctx);
    let Some(live) = find(&api, &crossed.record).await? else {
        return Ok(());
    };
    let mut status: ReleaseRecordStatus = live.status.clone().unwrap_or_default();
    change(&live.spec, &mut status, live.metadata.generation);
    if live.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let mut patch =
        json!({"metadata": {"resourceVersion": live.resource_version()}, "status": status});
    if status.url.is_none() {
        // A merge patch removes what is null.
        patch["status"]["url"] = serde_json::Value::Null;
    }
    match api
        .patch_status(
            &crossed.record,
            &PatchParams::default(),
            &Patch::Merge(&patch),
        )
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn spec(
    subject: &Subject,
    decision: &Decision,
    outcome: &Outcome,
    digest: &str,
) -> ReleaseRecordSpec {
    let int = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let approvals = decision
        .reviews
        .iter()
        .filter(|r| r.decision == ReviewDecision::Approve);
    // What crosses inwards stays in quarantine, and is kept as long as that is.
    let kept = if outcome.package.is_some() {
        decision.terms.release_retention_seconds
    } else {
        decision.terms.quarantine_retention_seconds
    };
    let volume = outcome.files.as_ref().and_then(FilesFact::volume);
    ReleaseRecordSpec {
        request_ref: RequestRef {
            name: subject.name.clone(),
            uid: subject.key.uid.clone(),
        },
        direction: subject.request.spec.direction,
        r#type: match (&outcome.package, volume) {
            (Some(_), _) => ReleaseType::Package,
            (None, Some(_)) => ReleaseType::PersistentVolumeClaim,
            (None, None) => ReleaseType::Url,
        },
        package: outcome.package.as_ref().map(|package| trevor_api::Package {
            bucket: package.bucket.clone(),
            key: package.key.clone(),
            sha256: package.sha256.to_string(),
            size: int(package.size),
            files: int(package.files),
        }),
        contents: outcome.files.as_ref().map(|files| Contents {
            files: int(files.files()),
            size: int(files.bytes()),
        }),
        persistent_volume_claim: volume.cloned(),
        manifest_digest: digest.to_owned(),
        round: outcome.round,
        policy: PolicySummary {
            name: decision.policy.name.clone(),
            digest: decision.policy.digest.to_string(),
        },
        approvals: approvals
            .map(|r| Approval {
                reviewer: r.reviewer.clone(),
                review_name: r.name.clone(),
                viewed: Some(r.viewed),
                time: Time(r.time),
            })
            .collect(),
        released_time: Time(outcome.time),
        delete_after_time: Time(super::close::due(outcome.time, kept)),
    }
}
