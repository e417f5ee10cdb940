//! Resources that are older than the bucket: an etcd that was restored from yesterday.
//!
//! Requests that are not closed are looked at anyway, and what they show is derived from
//! the bucket. Those at rest are compared here with their ledger, by one listing each,
//! when a process begins to lead (a restored etcd ends every leadership) and now and
//! then besides; and so is every ReleaseRecord whose story goes on.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt as _};

use super::context::Context;
use super::effects::record::{self, Crossed};
use super::effects::{revoke, url};
use super::error::EffectError;
use super::find::find;
use super::retries::Thing;
use trevor_api::{ReleasePhase, ReleaseRecord, ReleaseRecordSpec, condition};
use trevor_cluster::pages;
use trevor_core::keys::RequestKey;
use trevor_core::phase::Facts;
use trevor_store::audit::goes_on;
use trevor_store::observe;
use trevor_store::{revocation, urls};

/// Between two that are compared.
const PAUSE: Duration = Duration::from_millis(5);
/// Comparing them all.
const LOOP: Thing = Thing::Loop("catch_up");
/// Looks again this long after something failed, at the soonest.
const AGAIN: Duration = Duration::from_secs(30);

/// Compares them all, now and then. It never ends.
pub async fn serve(ctx: Arc<Context>) {
    let every = Duration::from_secs(ctx.config.controller.retention.orphans_seconds);
    loop {
        let compared = async {
            requests(&ctx).await?;
            records(&ctx).await
        };
        let pause = match Box::pin(compared).await {
            Ok(()) => {
                ctx.retries.succeeded("", &LOOP);
                every
            }
            Err(error) => {
                tracing::warn!(%error, "requests and records could not be compared with the bucket; it is tried again");
                ctx.retries.failed("", LOOP).clamp(AGAIN.min(every), every)
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Closed requests whose ledger goes on behind what their status shows.
async fn requests(ctx: &Context) -> Result<(), EffectError> {
    for request in ctx.requests.state() {
        let Some(status) = request.status.as_ref().filter(|s| s.closed_time.is_some()) else {
            continue;
        };
        tokio::time::sleep(PAUSE).await;
        ctx.claim()?;
        let key = RequestKey {
            namespace: request.namespace().unwrap_or_default(),
            uid: request.uid().unwrap_or_default(),
        };
        let shown = status.audit.as_ref().map_or(0, |head| head.sequence);
        let behind = goes_on(&ctx.zones.records, &key.ledger(), shown).await?;
        if behind && ctx.set_behind(&key.uid, true) {
            // The receiver is gone when the process stops.
            ctx.queue.add(ObjectRef::from_obj(request.as_ref()));
        }
    }
    Ok(())
}

/// Records that say Available, of what is revoked or deleted.
async fn records(ctx: &Context) -> Result<(), EffectError> {
    let api: Api<ReleaseRecord> = Api::all(ctx.client.clone());
    let mut listed = pin!(pages::objects(&api));
    while let Some(page) = listed.try_next().await? {
        for found in &page {
            let phase = found.status.as_ref().and_then(|status| status.phase);
            if matches!(phase, Some(ReleasePhase::Revoked | ReleasePhase::Deleted)) {
                continue;
            }
            tokio::time::sleep(PAUSE).await;
            ctx.claim()?;
            let crossed = Crossed {
                key: RequestKey {
                    namespace: found.namespace().unwrap_or_default(),
                    uid: found.spec.request_ref.uid.clone(),
                },
                record: found.name_any(),
                going: found.metadata.deletion_timestamp.is_some(),
            };
            if ended(ctx, &crossed.key, &found.spec).await? {
                let facts = observe::facts(&ctx.zones.records, &crossed.key).await?;
                record(ctx, &crossed, &facts).await?;
            }
        }
    }
    Ok(())
}

async fn ended(
    ctx: &Context,
    key: &RequestKey,
    spec: &ReleaseRecordSpec,
) -> Result<bool, EffectError> {
    let records = &ctx.zones.records;
    Ok(records.exists(&key.revoked()).await?
        || records
            .exists(&key.deletion(record::kept_in(spec.r#type).word()))
            .await?)
}

/// Makes the ReleaseRecord of a closed release say what the bucket says, with the Secret
/// of the URL in force and without those of URLs that are gone. Does nothing where it
/// does so already.
pub async fn record(ctx: &Context, crossed: &Crossed, facts: &Facts) -> Result<(), EffectError> {
    let records = &ctx.zones.records;
    let Some(spec) = records.get(&crossed.key.record()).await? else {
        return Ok(());
    };
    let api: Api<ReleaseRecord> = Api::namespaced(ctx.client.clone(), &crossed.key.namespace);
    let live = find(&api, &crossed.record).await?;
    let there = live.is_some();
    let status = live.and_then(|record| record.status).unwrap_or_default();
    if !there {
        if crossed.going {
            // Its request goes, and a record may have gone before it: nobody looks there.
            return Ok(());
        }
        let made = record::make(ctx, crossed, &spec).await;
        made?;
    }
    if let Some(revoked) = &facts.revoked {
        if status.phase != Some(ReleasePhase::Revoked) {
            revoke::clear(ctx, crossed, facts).await?;
            revoke::show(ctx, crossed, revoked).await?;
        }
        return Ok(());
    }
    let receipt = crossed.key.deletion(record::kept_in(spec.r#type).word());
    if let Some(receipt) = records.get(&receipt).await? {
        if status.phase != Some(ReleasePhase::Deleted) {
            secrets_go(ctx, crossed, None).await?;
            record::show_deleted(ctx, crossed, Time(receipt.finished)).await?;
        }
        return Ok(());
    }
    let url = urls::issues(ctx.zones.quarantine.work(), &crossed.key).await?;
    let url = url.into_iter().next_back();
    let shown = status.url.as_ref().map(|url| url.issue);
    let ready = status
        .conditions
        .iter()
        .any(|c| c.type_ == condition::READY);
    if !there || !ready || shown != url.as_ref().map(|url| url.issue) {
        if let Some(url) = &url {
            crossed.tolerate_going(url::make_secret(ctx, crossed, url).await)?;
        }
        secrets_go(
            ctx,
            crossed,
            url.as_ref().map(|url| url.secret_name.as_str()),
        )
        .await?;
        record::show_available(ctx, crossed, url.as_ref()).await?;
    }
    Ok(())
}

/// Secrets of URLs that are gone may be back, but for one.
async fn secrets_go(
    ctx: &Context,
    crossed: &Crossed,
    kept: Option<&str>,
) -> Result<(), EffectError> {
    for secret in revocation::receipts_of(&ctx.zones, &crossed.key).await? {
        if Some(secret.as_str()) != kept {
            url::delete_secret(ctx, crossed, &secret).await?;
        }
    }
    Ok(())
}
