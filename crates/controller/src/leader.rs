//! What the leader alone does: it reconciles requests, and runs the loops beside them.

use std::sync::Arc;

use futures::StreamExt as _;
use kube::runtime::controller::{self, Action, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::error::EffectError;
use super::reconcile::{error_policy, reconcile};
use super::{
    catch_up, certificate, checkpoints, history, links, sessions, strays, sweeper, unknown,
};
use trevor_api::AirlockRequest;
use trevor_notify::dispatch::{self, Dispatcher};

/// Requests that may wait for their turn to be looked at. kube's own limit takes those
/// that wait in no order, and one of them could wait for ever while others are busy.
const WAITING: u16 = 256;

/// Reconciles while this process leads: everything once, then what is queued. When it
/// is to stop, what is in hand is finished, and nothing new begun.
pub async fn lead(ctx: Arc<Context>, stop: CancellationToken) {
    let requests = ctx.requests.clone();
    let queued = ctx.queue.follow(requests.clone());
    let reconciles = Controller::for_stream(futures::stream::pending(), requests)
        .with_config(controller::Config::default().concurrency(WAITING))
        .reconcile_on(queued)
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile, error_policy, Arc::clone(&ctx))
        .for_each(
            |result: Result<
                (ObjectRef<AirlockRequest>, Action),
                controller::Error<EffectError, watcher::Error>,
            >| {
                if let Err(controller::Error::QueueError(error)) = result {
                    tracing::warn!(%error, "a watch broke off and is taken up again");
                }
                std::future::ready(())
            },
        );
    tokio::select! {
        () = reconciles => {}
        () = strays::serve(Arc::clone(&ctx)) => {}
        () = dispatch::serve(dispatcher(&ctx)) => {}
        () = sweeper::serve(Arc::clone(&ctx)) => {}
        () = sweeper::look_for_orphans(Arc::clone(&ctx)) => {}
        () = catch_up::serve(Arc::clone(&ctx)) => {}
        () = history::serve(Arc::clone(&ctx)) => {}
        () = links::serve(Arc::clone(&ctx)) => {}
        () = sessions::serve(Arc::clone(&ctx)) => {}
        () = unknown::serve(Arc::clone(&ctx)) => {}
        () = checkpoints::serve(Arc::clone(&ctx), ctx.home.clone()) => {}
        () = certificate::serve(Arc::clone(&ctx), ctx.home.clone()) => {}
    }
}

fn dispatcher(ctx: &Context) -> Dispatcher {
    Dispatcher {
        zones: ctx.zones.clone(),
        client: ctx.client.clone(),
        recorder: ctx.recorder.clone(),
        leadership: ctx.leadership.clone(),
        outbox: Arc::clone(&ctx.outbox),
        cluster: ctx.cluster.clone(),
        heads: Arc::clone(&ctx.heads),
        // Three are due in that time; then it goes out without one.
        checkpoint_patience: ctx
            .signing
            .as_ref()
            .map(|_| checkpoints::every(&ctx.config) * 3),
    }
}
