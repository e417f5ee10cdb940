//! `owner.json` and the finalizer, before any byte; and letting go at the end.
//!
//! Repeated: `owner.json` is create-only and equal; the finalizer is a patch that
//! tests the resourceVersion.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::super::context::Context;
use super::super::error::EffectError;
use super::super::reconcile::{Subject, has_finalizer};
use trevor_api::condition::reason;
use trevor_api::{AirlockRequest, DeliveryType, Direction, FINALIZER};
use trevor_core::commit::Owner;
use trevor_core::phase::Facts;
use trevor_lifecycle::let_go;

/// Makes sure that the request has an owner object and the finalizer; or says
/// why it cannot go on.
pub async fn ensure(
    ctx: &Context,
    subject: &mut Subject,
    facts: &mut Facts,
) -> Result<Option<(&'static str, String)>, EffectError> {
    let spec = &subject.request.spec;
    let Some(submitter) = spec.submitter.clone() else {
        return Ok(Some((
            reason::SUBMITTER_UNKNOWN,
            "spec.submitter is missing; delete the request and create it again with your user name there".into(),
        )));
    };
    if spec.direction == Direction::Ingress
        && ctx.config.storage.staging.is_none()
        && facts.owner.is_none()
    {
        return Ok(Some((
            reason::INGRESS_NOT_CONFIGURED,
            "ingress is off; a cluster admin turns it on with storage.staging".into(),
        )));
    }
    if facts.owner.is_none()
        && !subject.wish().stop
        && let Some(stalled) = too_many_open(ctx, subject)
    {
        return Ok(Some(stalled));
    }
    if facts.owner.is_none() {
        let created = subject.request.metadata.creation_timestamp.as_ref();
        let owner = Owner {
            cluster: ctx.cluster.clone(),
            namespace: subject.key.namespace.clone(),
            name: subject.name.clone(),
            uid: subject.key.uid.clone(),
            direction: spec.direction,
            submitter,
            created: created.map_or(Timestamp::UNIX_EPOCH, |Time(t)| *t),
        };
        if spec.direction == Direction::Ingress {
            super::confirm::promise(ctx, subject, owner.created).await?;
        }
        let at = subject.key.owner();
        let standing = ctx.zones.records.create(&at, &owner).await?;
        facts.owner = Some(standing.into_inner());
    }
    // Without it the gateway takes no byte.
    if !has_finalizer(&subject.request)
        && !subject.deleting()
        && !let_go::is_announced(ctx.zones.quarantine.work(), Timestamp::now()).await?
    {
        subject.request = set_finalizer(ctx, subject, true).await?;
    }
    if ctx.config.jobs.image().is_none() && !subject.wish().stop {
        return Ok(without_jobs(&subject.request));
    }
    Ok(None)
}

/// What a request asks for that is done by Jobs, where there are none.
fn without_jobs(request: &AirlockRequest) -> Option<(&'static str, String)> {
    let delivery = request.spec.delivery.as_ref();
    if delivery.is_some_and(|d| d.r#type == DeliveryType::PersistentVolumeClaim) {
        return Some((
            reason::DELIVERY_NOT_SUPPORTED,
            "delivery into volumes is not configured; a cluster admin turns it on with jobs.images, or make a new request without spec.delivery, and get the files by GET release of the gateway".into(),
        ));
    }
    let sources = request.spec.sources.as_ref();
    sources.is_some_and(|s| !s.is_empty()).then(|| {
        (
            reason::SOURCES_NOT_SUPPORTED,
            "collection from volumes is not configured; a cluster admin turns it on with jobs.images, or upload the files through the gateway and remove spec.sources".into(),
        )
    })
}

/// A namespace has only so many requests that are not closed. One that was taken counts,
/// however old it is; of those that wait, the oldest comes first. Creation times have a
/// resolution of one second, so that age alone would let the uid decide between a request
/// that is under review and one that was just made.
fn too_many_open(ctx: &Context, subject: &Subject) -> Option<(&'static str, String)> {
    let most = subject.policy.as_ref().ok()?.rules.max_open_requests;
    let others = ctx.requests.state();
    let before = others
        .iter()
        .filter(|other| comes_before(other, &subject.request));
    let open = i64::try_from(before.count()).unwrap_or(i64::MAX);
    (open >= most).then(|| {
        (
            reason::TOO_MANY_OPEN_REQUESTS,
            format!("{open} requests of this namespace are open, and the policy allows {most}; it goes on by itself when one of them closes"),
        )
    })
}

/// Whether `other` is open and has its place before `request`, which was not taken yet.
fn comes_before(other: &AirlockRequest, request: &AirlockRequest) -> bool {
    let age = |request: &AirlockRequest| {
        let created = request.metadata.creation_timestamp.as_ref();
        (created.map(|Time(t)| *t), request.metadata.uid.clone())
    };
    let closed = other
        .status
        .as_ref()
        .is_some_and(|s| s.closed_time.is_some());
    other.metadata.namespace == request.metadata.namespace
        && other.metadata.uid != request.metadata.uid
        && other.spec.direction == request.spec.direction
        && !closed
        && (has_finalizer(other) || age(other) < age(request))
}

/// Removes the finalizer: the closing facts and their tickets are stored.
pub async fn let_go(ctx: &Context, subject: &Subject) -> Result<(), EffectError> {
    if !has_finalizer(&subject.request) {
        return Ok(());
    }
    match set_finalizer(ctx, subject, false).await {
        Ok(_) => Ok(()),
        Err(EffectError::Kube(kube::Error::Api(answer))) if answer.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}

async fn set_finalizer(
    ctx: &Context,
    subject: &Subject,
    present: bool,
) -> Result<AirlockRequest, EffectError> {
    let api: Api<AirlockRequest> = Api::namespaced(ctx.client.clone(), &subject.key.namespace);
    // The status write in between may have moved the version: read it afresh.
    let live = api.get(&subject.name).await?;
    if live.metadata.uid.as_deref() != Some(&subject.key.uid) {
        return Ok(live);
    }
    let mut finalizers = live.metadata.finalizers.clone().unwrap_or_default();
    finalizers.retain(|f| f != FINALIZER);
    if present {
        finalizers.push(FINALIZER.to_owned());
    }
    let patch = json!({"metadata": {
        "uid": subject.key.uid,
        "resourceVersion": live.metadata.resource_version,
        "finalizers": finalizers,
    }});
    let params = PatchParams::default();
    let written = api
        .patch(&subject.name, &params, &Patch::Merge(&patch))
        .await?;
    ctx.echoes.wrote(&written);
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_was_taken_counts_before_one_of_the_same_second() {
        let made = |uid: &str, second: i64, finalizers: &[&str], status: serde_json::Value| {
            serde_json::from_value::<AirlockRequest>(json!({
                "apiVersion": "airlock.karectl.io/v1alpha1",
                "kind": "AirlockRequest",
                "metadata": {
                    "name": uid,
                    "namespace": "p",
                    "uid": uid,
                    "creationTimestamp": Timestamp::from_second(second).unwrap(),
                    "finalizers": finalizers,
                },
                "spec": {"direction": "Egress", "title": "t"},
                "status": status,
            }))
            .unwrap()
        };
        let none = serde_json::Value::Null;
        let request = made("m", 10, &[], none.clone());
        let closed = json!({"closedTime": Timestamp::from_second(11).unwrap()});
        for (other, before, why) in [
            (
                made("z", 10, &[FINALIZER], none.clone()),
                true,
                "taken, of the same second",
            ),
            (
                made("z", 11, &[FINALIZER], none.clone()),
                true,
                "taken, and younger",
            ),
            (made("z", 10, &[FINALIZER], closed.clone()), false, "closed"),
            (
                made("a", 10, &[], none.clone()),
                true,
                "waits, of the same second",
            ),
            (made("z", 10, &[], none.clone()), false, "waits behind it"),
            (made("z", 9, &[], none.clone()), true, "waits, and is older"),
            (
                made("m", 10, &[FINALIZER], none),
                false,
                "the request itself",
            ),
        ] {
            assert_eq!(comes_before(&other, &request), before, "{why}");
        }
    }

    #[test]
    fn what_only_jobs_do_is_named_where_there_are_none() {
        let claim = json!({"claimName": "work"});
        for (spec, word) in [
            (json!({"direction": "Egress", "title": "t"}), None),
            (
                json!({"direction": "Egress", "title": "t", "sources": [{"persistentVolumeClaim": claim}]}),
                Some(reason::SOURCES_NOT_SUPPORTED),
            ),
            (
                json!({"direction": "Ingress", "title": "t", "delivery": {"type": "Url"}}),
                None,
            ),
            (
                json!({"direction": "Ingress", "title": "t",
                    "delivery": {"type": "PersistentVolumeClaim", "persistentVolumeClaim": claim}}),
                Some(reason::DELIVERY_NOT_SUPPORTED),
            ),
        ] {
            let request = AirlockRequest::new("r", serde_json::from_value(spec.clone()).unwrap());
            let told = without_jobs(&request).map(|(word, _)| word);
            assert_eq!(told, word, "{spec}");
        }
    }
}
