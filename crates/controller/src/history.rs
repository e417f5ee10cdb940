//! Takes closed requests and their records out of the API, so many days after closing as
//! `historyDays` of their policy says, and not before their files are deleted. What the
//! bucket has of them stays; their reviews and actions stay until their namespace goes.
//!
//! Repeated: a deletion names uid and resourceVersion of what was judged, and one that
//! is gone is no error.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use jiff::{SignedDuration, Timestamp};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource, ResourceExt as _};

use super::context::Context;
use super::error::EffectError;
use super::removal;
use trevor_api::{AirlockRequest, Direction, ReleaseRecord};
use trevor_cluster::pages;
use trevor_core::keys::RequestKey;
use trevor_core::policy;
use trevor_core::retention::{What, is_history};

/// Looks now and then. It never ends.
pub async fn serve(ctx: Arc<Context>) {
    let every = Duration::from_secs(ctx.config.controller.retention.look_seconds);
    loop {
        let looked = async {
            requests(&ctx).await?;
            records(&ctx).await
        };
        if let Err(error) = Box::pin(looked).await {
            tracing::warn!(%error, "closed requests and records were not taken out of the API; it is tried again");
        }
        tokio::time::sleep(every).await;
    }
}

/// How long what is closed stays, by the policy that applies now; none: for ever.
fn kept(ctx: &Context, namespace: &str, direction: Direction) -> Option<SignedDuration> {
    let policies = ctx.policies.state();
    let applied = policy::applied(
        policies.iter().map(AsRef::as_ref),
        ctx.config.configured_policy.as_ref(),
        namespace,
        direction,
    );
    let seconds = applied.ok()?.rules.history_seconds?;
    Some(SignedDuration::from_secs(seconds))
}

async fn requests(ctx: &Context) -> Result<(), EffectError> {
    for request in ctx.requests.state() {
        let namespace = request.namespace().unwrap_or_default();
        let closed = request.status.as_ref().and_then(|s| s.closed_time.as_ref());
        let Some(kept) = kept(ctx, &namespace, request.spec.direction) else {
            continue;
        };
        let old = closed.is_some_and(|at| Timestamp::now().duration_since(at.0) >= kept);
        if !old || request.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let key = RequestKey {
            namespace,
            uid: request.uid().unwrap_or_default(),
        };
        if is_over(ctx, &key, kept).await? {
            let api: Api<AirlockRequest> = Api::namespaced(ctx.client.clone(), &key.namespace);
            take_out(ctx, &api, request.as_ref(), &key).await?;
        }
    }
    Ok(())
}

async fn records(ctx: &Context) -> Result<(), EffectError> {
    let policies = ctx.policies.state();
    let configured = ctx.config.configured_policy.iter();
    let configured = configured.flat_map(|policy| [&policy.egress, &policy.ingress]);
    let asked = policies
        .iter()
        .flat_map(|policy| [policy.spec.egress.as_ref(), policy.spec.ingress.as_ref()])
        .flatten()
        .chain(configured)
        .any(|rules| rules.history_days.is_some());
    if !asked {
        return Ok(());
    }
    let all: Api<ReleaseRecord> = Api::all(ctx.client.clone());
    let mut listed = pin!(pages::objects(&all));
    while let Some(page) = listed.try_next().await? {
        for record in &page {
            let key = RequestKey {
                namespace: record.namespace().unwrap_or_default(),
                uid: record.spec.request_ref.uid.clone(),
            };
            // A request that is there makes its record anew.
            let named = ObjectRef::<AirlockRequest>::new(&record.spec.request_ref.name);
            let request = ctx.requests.get(&named.within(&key.namespace));
            if request.is_some_and(|r| r.metadata.uid.as_deref() == Some(&key.uid)) {
                continue;
            }
            let Some(kept) = kept(ctx, &key.namespace, record.spec.direction) else {
                continue;
            };
            let since = Timestamp::now().duration_since(record.spec.released_time.0);
            if since >= kept && is_over(ctx, &key, kept).await? {
                let api: Api<ReleaseRecord> = Api::namespaced(ctx.client.clone(), &key.namespace);
                take_out(ctx, &api, record, &key).await?;
            }
        }
    }
    Ok(())
}

/// Whether the bucket says that it closed so long ago, and that all of it is deleted.
async fn is_over(
    ctx: &Context,
    key: &RequestKey,
    kept: SignedDuration,
) -> Result<bool, EffectError> {
    let records = &ctx.zones.records;
    let closed = records.get(&key.closed()).await?;
    let Some(closed) = closed.filter(|closed| is_history(closed, kept, Timestamp::now())) else {
        return Ok(false);
    };
    let packaged = closed.release_due.map(|_| What::Release);
    for what in [What::Quarantine].into_iter().chain(packaged) {
        if !records.exists(&key.deletion(what.word())).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn take_out<K>(
    ctx: &Context,
    api: &Api<K>,
    object: &K,
    key: &RequestKey,
) -> Result<(), EffectError>
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    if removal::remove(ctx, api, object).await? {
        tracing::info!(
            namespace = key.namespace,
            uid = key.uid,
            name = object.name_any(),
            "taken out of the API: its policy's historyDays are over; the bucket keeps what it has"
        );
    }
    Ok(())
}
