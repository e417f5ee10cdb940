//! The leader's sweeper: woken by the earliest due time, by a hold that ends, and
//! now and then besides. It writes nothing while nothing is due.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::events::{Event, EventType};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, CustomResourceExt as _, Resource as _};

use super::context::Context;
use super::effects::record::{self, Crossed, record_name};
use super::effects::{outbox, url};
use super::error::EffectError;
use super::find::find;
use super::retries::Thing;
use super::{kept, leftovers};
use trevor_api::{AirlockRequest, ReleaseRecord};
use trevor_core::commit::Owner;
use trevor_core::keys::RequestKey;
use trevor_core::retention::{Named, What};
use trevor_lifecycle::adopt::adopt;
use trevor_lifecycle::orphans::Mend;
use trevor_lifecycle::{
    Done, RetentionError, Sweeper, Trouble, Whose, Witness, holds, let_go, orphans,
};
use trevor_store::audit::Heads;
use trevor_store::observe;

/// A sweep as a whole; each ticket has a memory of its own.
const SWEEP: Thing = Thing::Loop("sweeper::sweep");

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
            Ok(found) => {
                ctx.numbers.clocks_disagree.store(0, Relaxed);
                ctx.retries.succeeded("", &SWEEP);
                match found.more {
                    true => Duration::ZERO,
                    false => found.next.map_or(every, until).min(every),
                }
            }
            Err(error) => {
                let clocks = matches!(error, RetentionError::Clocks { .. });
                ctx.numbers
                    .clocks_disagree
                    .store(u64::from(clocks), Relaxed);
                tracing::warn!(reason = error.reason(), %error, "nothing was swept; it is tried again");
                ctx.retries.failed("", SWEEP)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = ctx.sweeps.notified() => {}
        }
    }
}

/// Tells of requests that nobody closes, slowly, and deletes nothing of them; then
/// collects what uploads left that never ended. It never ends.
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
        let records = &ctx.zones.records;
        let mend = Mend {
            work: ctx.zones.quarantine.work(),
            now: Timestamp::now(),
        };
        match orphans::scan(records, &ctx.cluster, Some(mend), has_resource).await {
            Ok(found) => {
                if found.woken > 0 {
                    ctx.sweeps.notify_one();
                }
                ctx.numbers.orphans.store(found.count, Relaxed);
                if found.unreadable > 0 {
                    tracing::error!(
                        unreadable = found.unreadable,
                        "requests whose owner.json or closed.json cannot be read; nothing of them is deleted"
                    );
                }
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
        leftovers::collect(&ctx).await;
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

    /// The same, where nothing but the uid is known.
    fn by_uid(&self, uid: &str) -> Option<Arc<AirlockRequest>> {
        let is_it = |r: &Arc<AirlockRequest>| r.metadata.uid.as_deref() == Some(uid);
        self.0.requests.state().into_iter().find(is_it)
    }

    fn wake_by_uid(&self, uid: &str) {
        if let Some(request) = self.by_uid(uid) {
            self.wake(&request);
        }
    }

    /// Tells of it by an Event: on the request, or on the record where that is gone;
    /// and says so in the record's status.
    async fn alarm(&self, named: &Named, of: Option<&Whose>, trouble: &Trouble) {
        let ctx = self.0;
        if let Some(request) = self.by_uid(&named.uid) {
            let (reference, note) = (request.object_ref(&()), trouble.message.clone());
            publish(ctx, &reference, EventType::Warning, trouble.reason, note).await;
        }
        let Some(Whose { key, owner }) = of else {
            return;
        };
        let shown = async {
            if !ends_the_release(ctx, key, named.what).await? {
                return Ok(());
            }
            let crossed = crossed(key, owner);
            record::show_kept(ctx, &crossed, trouble).await?;
            let api: Api<ReleaseRecord> = Api::namespaced(ctx.client.clone(), &key.namespace);
            let record = find(&api, &crossed.record).await?;
            if let Some(record) = record {
                let (reference, note) = (record.object_ref(&()), trouble.message.clone());
                publish(ctx, &reference, EventType::Warning, trouble.reason, note).await;
            }
            Ok::<_, EffectError>(())
        };
        if let Err(error) = shown.await {
            tracing::debug!(namespace = key.namespace, uid = key.uid, %error, "the record could not be told");
        }
    }

    async fn show_held(&self, key: &RequestKey, owner: &Owner) -> Result<(), EffectError> {
        let ctx = self.0;
        let hold = holds::standing(ctx.zones.quarantine.work(), key).await?;
        match hold {
            Some(hold) => record::show_held(ctx, &crossed(key, owner), &hold).await,
            None => Ok(()),
        }
    }

    fn wake(&self, request: &AirlockRequest) {
        // The receiver is gone when the process stops.
        self.0.queue.add(ObjectRef::from_obj(request));
    }

    /// Who is to be told of it is stored before it is shown.
    async fn tell(&self, done: &Done) -> Result<(), EffectError> {
        let facts = observe::facts(&self.0.zones.records, &done.key).await?;
        let events = BTreeMap::from([(done.event.id.clone(), done.event.clone())]);
        let told = outbox::told(&done.key, &facts, &events, true);
        Ok(outbox::fill_alone(self.0, &done.key, &facts, told, Some(&done.head)).await?)
    }

    async fn show(&self, done: &Done) -> Result<(), EffectError> {
        let ctx = self.0;
        ctx.claim()?;
        let crossed = crossed(&done.key, &done.owner);
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

fn crossed(key: &RequestKey, owner: &Owner) -> Crossed {
    Crossed {
        key: key.clone(),
        record: record_name(&owner.name, &key.uid),
        // The namespace may be gone: the bucket has it all.
        going: true,
    }
}

/// Whether nothing is left of a release when this is deleted.
async fn ends_the_release(
    ctx: &Context,
    key: &RequestKey,
    what: What,
) -> Result<bool, EffectError> {
    let record = ctx.zones.records.get(&key.record()).await?;
    Ok(record.is_some_and(|record| record::kept_in(record.r#type) == what))
}

impl Witness for Shows<'_> {
    fn leads(&self) -> bool {
        self.0.claim().is_ok()
    }

    async fn asked(&self, key: &RequestKey, owner: &Owner) -> Result<(), RetentionError> {
        let asked = Box::pin(kept::take_up_holds(self.0, key, owner)).await;
        asked.map_err(|error| match error {
            EffectError::Storage(error) => RetentionError::Storage(error),
            EffectError::NotLeading => RetentionError::NotLeading,
            error => RetentionError::NotAsked(error.to_string()),
        })
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
            publish(
                self.0,
                &request.object_ref(&()),
                EventType::Normal,
                "Deleted",
                note,
            )
            .await;
            // Its status has another head of the ledger to show.
            self.0.set_behind(&done.key.uid, true);
            self.wake(&request);
        }
        Ok(())
    }

    async fn held(&self, key: &RequestKey, owner: &Owner) {
        if let Err(error) = self.show_held(key, owner).await {
            tracing::debug!(namespace = key.namespace, uid = key.uid, %error, "the hold is not shown on the record yet");
        }
        let Some(request) = self.request(key, owner) else {
            return;
        };
        // A hold that was set without the cluster is not shown yet.
        if request.status.as_ref().is_some_and(|s| s.held.is_none()) {
            self.0.set_behind(&key.uid, true);
            self.wake(&request);
        }
    }

    async fn failed(&self, named: &Named, of: Option<&Whose>, error: &RetentionError) {
        if matches!(error, RetentionError::NotLeading) {
            return;
        }
        let trouble = Trouble {
            reason: error.reason(),
            message: error.to_string(),
        };
        let news = self.0.troubles.set(&named.uid, named.what, trouble.clone());
        self.alarm(named, of, &trouble).await;
        if news {
            self.wake_by_uid(&named.uid);
        }
    }

    fn passed(&self, named: &Named) {
        if self.0.troubles.clear(&named.uid, named.what) {
            self.wake_by_uid(&named.uid);
        }
    }

    async fn refused(&self, named: &Named, why: &str) {
        if let Some(request) = self.by_uid(&named.uid) {
            let note = format!(
                "a ticket for the deletion of its files that nothing bears out deletes nothing: {why}; an administrator looks who wrote it, and deletes it"
            );
            publish(
                self.0,
                &request.object_ref(&()),
                EventType::Warning,
                "TicketRefused",
                note,
            )
            .await;
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
    let records = &ctx.zones.records;
    let Some(promise) = let_go::promised(records, key).await? else {
        return Ok(false);
    };
    let api: Api<AirlockRequest> = Api::namespaced(ctx.client.clone(), &key.namespace);
    let there = match api.get_opt(&owner.name).await {
        // Not the object but its kind is unknown: for good, or while an API server starts.
        Err(kube::Error::Api(answer)) if answer.code == 404 => {
            let kinds: Api<CustomResourceDefinition> = Api::all(ctx.client.clone());
            if kinds.get_opt(AirlockRequest::crd_name()).await?.is_some() {
                return Ok(false);
            }
            None
        }
        found => found?,
    };
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
    of: &ObjectReference,
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
    if let Err(error) = ctx.recorder.publish(&event, of).await {
        tracing::debug!(%error, "the Event was not stored");
    }
}
