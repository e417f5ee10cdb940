//! After the outcome: the record, the ReleaseRecord, the URL, its Secret.
//!
//! Repeated: record and URL object are create-only; the ReleaseRecord's name is
//! derived from the uid; the Secret's name carries a nonce that the URL object
//! stored before, so that a conflict is our own.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::super::context::Context;
use super::super::error::EffectError;
use super::super::reconcile::Subject;
use crate::api::{
    Approval, PolicySummary, RELEASE_SECRET_TYPE, ReleasePhase, ReleaseRecord, ReleaseRecordSpec,
    ReleaseRecordStatus, ReleaseType, RequestRef, ReviewDecision, UrlSummary, condition,
};
use crate::domain::commit::{Decision, PackageFact};
use crate::domain::digest::Sha256Hex;
use crate::domain::phase::Facts;
use crate::storage::commit::{commit, read};
use crate::storage::{StorageError, UrlIssue, presign_get};

/// Name of the ReleaseRecord of a request (CONTRACT "Derived names").
#[must_use]
pub fn record_name(name: &str, uid: &str) -> String {
    let cut: String = name.chars().take(40).collect();
    format!(
        "{}-{}",
        cut.trim_end_matches(['-', '.']),
        Sha256Hex::of(uid.as_bytes()).short(8)
    )
}

/// Makes what the outcome promises; does nothing once the request is closed.
pub async fn deliver(
    ctx: &Context,
    subject: &Subject,
    facts: &Facts,
    round: i64,
) -> Result<(), EffectError> {
    if facts.closed.is_some() {
        return Ok(());
    }
    let Some(last) = &facts.last else {
        return Ok(());
    };
    let (Some(outcome), Some(decision), Some(frozen)) =
        (&last.outcome, &last.decision, last.frozen())
    else {
        return Ok(());
    };
    let Some(package) = &outcome.package else {
        return Ok(());
    };
    let spec = spec(
        subject,
        decision,
        package,
        frozen.digest.as_str(),
        round,
        outcome.time,
    );
    let spec = commit(ctx.zones.records.bucket(), &subject.key.record(), &spec)
        .await?
        .into_inner();
    let url = issue(ctx, subject, package, decision, &spec).await?;
    if tolerate_going(subject, make_record(ctx, subject, &spec).await)?.is_some() {
        tolerate_going(subject, make_secret(ctx, subject, &url).await)?;
        show(ctx, subject, &url).await?;
    }
    Ok(())
}

/// In a namespace that is going nothing can be created: the bucket has it all.
pub(super) fn tolerate_going<T>(
    subject: &Subject,
    result: Result<T, EffectError>,
) -> Result<Option<T>, EffectError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(EffectError::Kube(kube::Error::Api(answer)))
            if subject.deleting()
                && (answer.code == 404
                    || (answer.code == 403 && answer.message.contains("being terminated"))) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn spec(
    subject: &Subject,
    decision: &Decision,
    package: &PackageFact,
    digest: &str,
    round: i64,
    released: Timestamp,
) -> ReleaseRecordSpec {
    ReleaseRecordSpec {
        request_ref: RequestRef {
            name: subject.name.clone(),
            uid: subject.key.uid.clone(),
        },
        direction: subject.request.spec.direction,
        r#type: ReleaseType::Package,
        package: Some(crate::api::Package {
            bucket: package.bucket.clone(),
            key: package.key.clone(),
            sha256: package.sha256.to_string(),
            size: i64::try_from(package.size).unwrap_or(i64::MAX),
            files: i64::try_from(package.files).unwrap_or(i64::MAX),
        }),
        contents: None,
        manifest_digest: digest.to_owned(),
        round,
        policy: PolicySummary {
            name: decision.policy.name.clone(),
            digest: decision.policy.digest.to_string(),
        },
        approvals: approvals(decision),
        released_time: Time(released),
        delete_after_time: Time(super::close::due(
            released,
            decision.terms.release_retention_seconds,
        )),
    }
}

/// The approvals that counted.
pub(super) fn approvals(decision: &Decision) -> Vec<Approval> {
    let approvals = decision
        .reviews
        .iter()
        .filter(|r| r.decision == ReviewDecision::Approve);
    approvals
        .map(|r| Approval {
            reviewer: r.reviewer.clone(),
            review_name: r.name.clone(),
            viewed: Some(r.viewed),
            time: Time(r.time),
        })
        .collect()
}

pub(super) async fn make_record(
    ctx: &Context,
    subject: &Subject,
    spec: &ReleaseRecordSpec,
) -> Result<(), EffectError> {
    let api: Api<ReleaseRecord> = Api::namespaced(ctx.client.clone(), &subject.key.namespace);
    let name = record_name(&subject.name, &subject.key.uid);
    match api
        .create(
            &PostParams::default(),
            &ReleaseRecord::new(&name, spec.clone()),
        )
        .await
    {
        Ok(_) => Ok(()),
        // The name carries a hash of the uid: it is ours, of an earlier try.
        Err(kube::Error::Api(answer)) if answer.reason == "AlreadyExists" => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The first URL: signed for the endpoint that readers use, never beyond the
/// download window.
async fn issue(
    ctx: &Context,
    subject: &Subject,
    package: &PackageFact,
    decision: &Decision,
    spec: &ReleaseRecordSpec,
) -> Result<UrlIssue, EffectError> {
    const FIRST: i64 = 1;
    let bucket = ctx.zones.quarantine.bucket();
    let key = subject.key.url(FIRST);
    if let Some(standing) = read::<UrlIssue>(bucket, &key).await? {
        return Ok(standing);
    }
    let now = Timestamp::now();
    let window = spec.delete_after_time.0.as_second() - now.as_second();
    let ttl = decision.terms.url_ttl_seconds.min(window).max(1);
    let filename = package
        .key
        .rsplit('/')
        .next()
        .unwrap_or("package.zip")
        .to_owned();
    let seconds = Duration::from_secs(u64::try_from(ttl).unwrap_or(1));
    let url = presign_get(
        &ctx.signer,
        &package.bucket,
        &package.key,
        seconds,
        &filename,
    )
    .await?;
    let nonce = uuid::Uuid::new_v4().simple().to_string();
    let secret = format!(
        "{}-{}",
        record_name(&subject.name, &subject.key.uid),
        &nonce[..8]
    );
    let expires = condition::second(now)
        .checked_add(SignedDuration::from_secs(ttl))
        .unwrap_or(Timestamp::MAX);
    let made = UrlIssue::new(
        FIRST,
        &url,
        secret,
        expires,
        (package.sha256.clone(), package.size),
        filename,
    );
    Ok(commit(bucket, &key, &made).await?.into_inner())
}

async fn make_secret(ctx: &Context, subject: &Subject, url: &UrlIssue) -> Result<(), EffectError> {
    let api: Api<Secret> = Api::namespaced(ctx.client.clone(), &subject.key.namespace);
    let text = |value: String| ByteString(value.into_bytes());
    let data = BTreeMap::from([
        ("url".to_owned(), text(url.url().expose().to_owned())),
        ("sha256".to_owned(), text(url.sha256.to_string())),
        ("size".to_owned(), text(url.size.to_string())),
        ("expires".to_owned(), text(url.expires.to_string())),
        ("filename".to_owned(), text(url.filename.clone())),
    ]);
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(url.secret_name.clone()),
            ..ObjectMeta::default()
        },
        type_: Some(RELEASE_SECRET_TYPE.to_owned()),
        data: Some(data),
        ..Secret::default()
    };
    match api.create(&PostParams::default(), &secret).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(answer)) if answer.reason == "AlreadyExists" => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The record's status: available, and until when.
async fn show(ctx: &Context, subject: &Subject, url: &UrlIssue) -> Result<(), EffectError> {
    let api: Api<ReleaseRecord> = Api::namespaced(ctx.client.clone(), &subject.key.namespace);
    let name = record_name(&subject.name, &subject.key.uid);
    let Some(live) = api.get_opt(&name).await? else {
        return Ok(());
    };
    let mut status: ReleaseRecordStatus = live.status.clone().unwrap_or_default();
    status.phase = Some(status.phase.unwrap_or(ReleasePhase::Available));
    status.url = Some(UrlSummary {
        secret_name: url.secret_name.clone(),
        issue: url.issue,
        expires_time: Time(url.expires),
    });
    condition::set(
        &mut status.conditions,
        condition::READY,
        true,
        condition::reason::RELEASED,
        "the package can be downloaded by the URL in the Secret status.url.secretName",
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

/// The URL in force, for status.
pub async fn url_in_force(
    ctx: &Context,
    subject: &Subject,
) -> Result<Option<UrlIssue>, StorageError> {
    read(ctx.zones.quarantine.bucket(), &subject.key.url(1)).await
}
