//! The watches of the controller, and what each change of a resource triggers. They run in
//! every process, so that a new leader has its caches; what is queued is acted upon by the
//! leader alone.

use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::Notify;

use super::context::Context;
use super::tasks::Tasks;
use super::{actions, cached, jobs, reviews};
use trevor_api::{AirlockAction, AirlockPolicy, AirlockRequest, AirlockReview};

type Changes<K> = BoxStream<'static, Result<K, watcher::Error>>;

/// The caches, and the streams that fill them.
pub struct Watches {
    /// All requests, without what only their readers need.
    pub requests: Store<AirlockRequest>,
    /// All policies.
    pub policies: Store<AirlockPolicy>,
    /// All reviews, without their texts.
    pub reviews: Store<AirlockReview>,
    /// All actions.
    pub actions: Store<AirlockAction>,
    changes: (
        Changes<AirlockRequest>,
        Changes<AirlockPolicy>,
        Changes<AirlockReview>,
        Changes<AirlockAction>,
    ),
}

impl Watches {
    /// The watches, which begin when they are spawned.
    pub fn new(client: &Client) -> Self {
        let (requests, writer) = reflector::store();
        let request_changes = touched(cached::requests(client), writer);
        let (policies, writer) = reflector::store();
        let policy_changes = touched(cached::watched::<AirlockPolicy>(client), writer);
        let (reviews, writer) = reflector::store();
        let review_changes = applied(cached::reviews(client), writer);
        let (actions, writer) = reflector::store();
        let action_changes = applied(cached::actions(client), writer);
        Self {
            requests,
            policies,
            reviews,
            actions,
            changes: (
                request_changes,
                policy_changes,
                review_changes,
                action_changes,
            ),
        }
    }

    /// Starts the watches, and those of Jobs where this configuration creates any.
    pub fn spawn(self, ctx: &Arc<Context>, policy_changed: &Arc<Notify>, tasks: &mut Tasks) {
        let (requests, policies, reviews, actions) = self.changes;
        let to = Arc::clone(ctx);
        tasks.spawn(
            "watch of requests",
            each(requests, move |r| request(&to, &r)),
        );
        let (to, changed) = (Arc::clone(ctx), Arc::clone(policy_changed));
        tasks.spawn(
            "watch of policies",
            each(policies, move |_| {
                to.queue.add_all(&to.requests);
                changed.notify_one();
            }),
        );
        let to = Arc::clone(ctx);
        tasks.spawn("watch of actions", each(actions, move |a| action(&to, &a)));
        let to = Arc::clone(ctx);
        let reviews = reviews.for_each(move |changed| {
            let to = Arc::clone(&to);
            async move {
                if let Ok(changed) = changed {
                    review(&to, &changed).await;
                }
            }
        });
        tasks.spawn("watch of reviews", reviews);
        if matches!(jobs::spec::Common::of(&ctx.config), Ok(Some(_))) {
            let jobs = jobs::watch(ctx.client.clone(), ctx.queue.clone());
            tasks.spawn("watch of Jobs", jobs);
        }
        if ctx.packaging.is_some() {
            let home = ctx.home.clone();
            let jobs = jobs::watch_packaging(ctx.client.clone(), home, ctx.queue.clone());
            tasks.spawn("watch of packaging Jobs", jobs);
        }
    }
}

/// Waits until every cache has what there was when its watch began.
pub async fn synced(ctx: &Context) {
    for ready in [
        ctx.requests.wait_until_ready().await.is_ok(),
        ctx.policies.wait_until_ready().await.is_ok(),
        ctx.reviews.wait_until_ready().await.is_ok(),
        ctx.actions.wait_until_ready().await.is_ok(),
    ] {
        if !ready {
            tracing::warn!("a watch ended before it was in sync");
        }
    }
}

fn touched<K>(
    events: impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send + 'static,
    writer: Writer<K>,
) -> Changes<K>
where
    K: kube::Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let events = events.reflect(writer).default_backoff();
    events.touched_objects().boxed()
}

fn applied<K>(
    events: impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send + 'static,
    writer: Writer<K>,
) -> Changes<K>
where
    K: kube::Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let events = events.reflect(writer).default_backoff();
    events.applied_objects().boxed()
}

/// A watch that broke off is taken up again by itself, with growing pauses.
async fn each<K>(changes: Changes<K>, change: impl Fn(K)) {
    changes
        .for_each(|changed| {
            if let Ok(changed) = changed {
                change(changed);
            }
            std::future::ready(())
        })
        .await;
}

fn request(ctx: &Context, request: &AirlockRequest) {
    let target = ObjectRef::from_obj(request);
    if ctx.requests.get(&target).is_none() {
        // It is gone, and an action may have named it or its record.
        ctx.strays.notify_one();
    } else if !ctx
        .echoes
        .is_news(&request.uid().unwrap_or_default(), request)
    {
        return;
    }
    ctx.queue.add(target);
}

/// A review triggers its request; one that names none is told so.
async fn review(ctx: &Context, review: &AirlockReview) {
    let namespace = review.namespace().unwrap_or_default();
    let target = ObjectRef::<AirlockRequest>::new(&review.spec.request_name).within(&namespace);
    if let Some(request) = ctx.requests.get(&target) {
        if ctx
            .echoes
            .is_news(&request.uid().unwrap_or_default(), review)
        {
            ctx.queue.add(target);
        }
        return;
    }
    let untold = review.status.as_ref().and_then(|s| s.state).is_none();
    if !untold || ctx.claim().is_err() {
        return;
    }
    // The request may be newer than the cache: ask.
    let api: Api<AirlockRequest> = Api::namespaced(ctx.client.clone(), &namespace);
    let told = match api.get_opt(&review.spec.request_name).await {
        Ok(None) => reviews::tell_unknown(ctx, review).await,
        Ok(Some(_)) => Ok(()),
        Err(error) => Err(error.into()),
    };
    if let Err(error) = told {
        tracing::warn!(review = %review.name_any(), %error, "its author could not be told");
    }
}

/// An action triggers the request that it is about, or the work on those that have none.
fn action(ctx: &Context, action: &AirlockAction) {
    if action.status.as_ref().and_then(|s| s.state).is_some() {
        return;
    }
    match actions::target(action, &ctx.requests) {
        Some(target) => ctx.queue.add(target),
        None => ctx.strays.notify_one(),
    }
}
