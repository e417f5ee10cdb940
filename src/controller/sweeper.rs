//! The leader's sweeper: woken by the earliest due time, by a hold that ends, and
//! now and then besides. It writes nothing while nothing is due.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::events::{Event, EventType};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource as _};

use super::context::Context;
use super::effects::record::{self, Crossed, record_name};
use super::effects::{outbox, url};
use super::error::EffectError;
use super::observe;
use crate::api::{AirlockRequest, ReleaseRecordSpec, ReleaseType};
use crate::audit::Heads;
use crate::domain::commit::Owner;
use crate::domain::retention::What;
use crate::retention::adopt::adopt;
use crate::retention::{Done, RetentionError, Sweeper, Witness, let_go, orphans};
use crate::storage::commit::read;
use crate::storage::keys::RequestKey;

/// Looks again this long after a sweep that broke off.
const AGAIN: Duration = Duration::from_secs(5);

/// Sweeps whenever something is due. It never ends.
pub async fn serve(ctx: Arc<Context>) {
    let sweeper = Sweeper::new(
        ctx.zones.clone(),
        ctx.release.clone(),
        &ctx.cluster,
        &ctx.config.storage,
        &ctx.config.controller.retention,
        Arc::clone(&ctx.numbers),
    );
    let every = Duration::from_secs(ctx.config.controller.retention.look_seconds);
    let witness = Shows(&ctx);
    loop {
        let pause = match Box::pin(sweeper.sweep(Timestamp::now(), &witness)).await {
            Ok(found) if found.more => Duration::ZERO,
            Ok(found) => found.next.map_or(every, until).min(every),
            Err(error) => {
                tracing::warn!(reason = error.reason(), %error, "nothing was swept; it is tried again");
                AGAIN
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = ctx.sweeps.notified() => {}
        }
    }
}

/// Tells of requests that nobody closes, slowly. It never ends, and deletes nothing.
pub async fn look_for_orphans(ctx: Arc<Context>) {
    let every = Duration::from_secs(ctx.config.controller.retention.orphans_seconds);
    loop {
        let has_resource = |key: &RequestKey, owner: Option<&Owner>| match owner {
            Some(owner) => {
                let named = ObjectRef::<AirlockRequest>::new(&owner.name).within(&key.namespace);
                let found = ctx.requests.get(&named);
                found.is_some_and(|r| r.metadata.uid.as_deref() == Some(&key.uid))
            }
            None => false,
        };
        let records = ctx.zones.records.bucket();
        match orphans::scan(records, &ctx.cluster, has_resource).await {
            Ok(found) => {
                ctx.numbers.orphans.store(found.count, Relaxed);
                for key in &found.named {
                    tracing::warn!(
                        namespace = key.namespace,
                        uid = key.uid,
                        "a request has files, no resource and no closing, so that nothing deletes them: trevor retention adopt"
                    );
                }
            }
            Err(error) => tracing::warn!(%error, "the scan for orphans broke off"),
        }
        tokio::time::sleep(every).await;
    }
}

/// How long until then; due times are whole seconds, and never early.
fn until(due: Timestamp) -> Duration {
    Duration::try_from(due.duration_since(Timestamp::now()))
        .unwrap_or_default()
        .max(Duration::from_millis(50))
}

/// Shows on the resources what is done, where they are still there.
struct Shows<'a>(&'a Arc<Context>);

impl Shows<'_> {
    /// The request, as watched, if it is still there.
    fn request(&self, key: &RequestKey, owner: &Owner) -> Option<Arc<AirlockRequest>> {
        let named = ObjectRef::<AirlockRequest>::new(&owner.name).within(&key.namespace);
        let request = self.0.requests.get(&named)?;
        (request.metadata.uid.as_deref() == Some(&key.uid)).then_some(request)
    }

    fn wake(&self, request: &AirlockRequest) {
        // The receiver is gone when the process stops.
        drop(self.0.wake.send(ObjectRef::from_obj(request)));
    }

    /// Who is to be told of it is stored before it is shown.
    async fn tell(&self, done: &Done) -> Result<(), EffectError> {
        let facts = observe::facts(self.0.zones.records.bucket(), &done.key).await?;
        let events = BTreeMap::from([(done.event.id.clone(), done.event.clone())]);
        let told = outbox::told(&done.key, &facts, &events, true);
        Ok(outbox::fill_alone(self.0, &done.key, &facts, told, Some(&done.head)).await?)
    }

    async fn show(&self, done: &Done) -> Result<(), EffectError> {
        let ctx = self.0;
        ctx.claim()?;
        let crossed = Crossed {
            key: done.key.clone(),
            record: record_name(&done.owner.name, &done.key.uid),
            // The namespace may be gone: the bucket has it all.
            going: true,
        };
        for secret in &done.secrets {
            url::delete_secret(ctx, &crossed, secret).await?;
        }
        if ends_the_release(ctx, &done.key, done.receipt.what).await? {
            let time = Time(done.receipt.finished);
            record::show_deleted(ctx, &crossed, time).await?;
        }
        Ok(())
    }
}

/// Whether nothing is left of a release when this is deleted.
async fn ends_the_release(
    ctx: &Context,
    key: &RequestKey,
    what: What,
) -> Result<bool, EffectError> {
    let record: Option<ReleaseRecordSpec> = read(ctx.zones.records.bucket(), &key.record()).await?;
    Ok(match (record.map(|record| record.r#type), what) {
        (Some(ReleaseType::Package), What::Release) => true,
        (Some(ReleaseType::Url | ReleaseType::PersistentVolumeClaim), What::Quarantine) => true,
        (Some(_), _) | (None, _) => false,
    })
}

impl Witness for Shows<'_> {
    fn leads(&self) -> bool {
        self.0.claim().is_ok()
    }

    fn heads(&self) -> Arc<Heads> {
        Arc::clone(&self.0.heads)
    }

    async fn deleted(&self, done: &Done) -> Result<(), String> {
        Box::pin(self.tell(done))
            .await
            .map_err(|error| error.to_string())?;
        Box::pin(self.show(done))
            .await
            .map_err(|error| error.to_string())?;
        if let Some(request) = self.request(&done.key, &done.owner) {
            let note = format!(
                "{} objects ({} bytes) were deleted from {}; the receipt is deleted/{}.json",
                done.receipt.totals.objects,
                done.receipt.totals.bytes,
                done.receipt.bucket,
                done.receipt.what.word()
            );
            publish(self.0, &request, EventType::Normal, "Deleted", note).await;
            self.wake(&request);
        }
        Ok(())
    }

    async fn held(&self, key: &RequestKey, owner: &Owner) {
        let Some(request) = self.request(key, owner) else {
            return;
        };
        // A hold that was set without the cluster is not shown yet.
        if request.status.as_ref().is_some_and(|s| s.held.is_none()) {
            self.wake(&request);
        }
    }

    async fn failed(&self, key: &RequestKey, owner: &Owner, error: &RetentionError) {
        if matches!(error, RetentionError::NotLeading) {
            return;
        }
        if let Some(request) = self.request(key, owner) {
            let note = error.to_string();
            publish(self.0, &request, EventType::Warning, error.reason(), note).await;
        }
    }

    async fn open(&self, key: &RequestKey, owner: &Owner) -> bool {
        match Box::pin(close_what_went(self.0, key, owner)).await {
            Ok(closed) => closed,
            Err(error) => {
                tracing::warn!(namespace = key.namespace, uid = key.uid, %error, "a request that was let go could not be closed; it is tried again");
                false
            }
        }
    }
}

/// A request that was let go while the operator was removed, and went before it came
/// back, is closed as of then. The API server is asked, not the cache.
async fn close_what_went(
    ctx: &Context,
    key: &RequestKey,
    owner: &Owner,
) -> Result<bool, EffectError> {
    let records = ctx.zones.records.bucket();
    let Some(promise) = let_go::promised(records, key).await? else {
        return Ok(false);
    };
    let api: Api<AirlockRequest> = Api::namespaced(ctx.client.clone(), &key.namespace);
    let there = api.get_opt(&owner.name).await?;
    if there.is_some_and(|r| r.metadata.uid.as_deref() == Some(&key.uid)) {
        return Ok(false);
    }
    ctx.claim()?;
    let times = (Timestamp::now(), promise.time);
    let closed = adopt(&ctx.zones, &ctx.release, &ctx.config, key, "trevor", times).await?;
    Ok(closed.is_some())
}

async fn publish(
    ctx: &Context,
    request: &AirlockRequest,
    type_: EventType,
    reason: &str,
    note: String,
) {
    let event = Event {
        type_,
        reason: reason.to_owned(),
        note: Some(note.chars().take(900).collect()),
        action: "Sweep".to_owned(),
        secondary: None,
    };
    if let Err(error) = ctx.recorder.publish(&event, &request.object_ref(&())).await {
        tracing::debug!(%error, "the Event was not stored");
    }
}
