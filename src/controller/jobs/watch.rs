//! What happens to our Jobs wakes their requests. Nothing of them is kept: a look
//! reads its Job afresh, by the uid that was stored.

use futures::StreamExt as _;
use k8s_openapi::api::batch::v1::Job;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::broadcast;

use super::spec::{LABEL, REQUEST};
use crate::api::AirlockRequest;

/// Wakes requests for as long as the process lives.
pub async fn wake(client: Client, seen: broadcast::Sender<ObjectRef<AirlockRequest>>) {
    let ours = watcher::Config::default().labels(LABEL);
    watcher(Api::<Job>::all(client), ours)
        .default_backoff()
        .touched_objects()
        .for_each(|job| {
            if let Ok(job) = job
                && let Some(target) = target(&job)
            {
                drop(seen.send(target));
            }
            std::future::ready(())
        })
        .await;
}

/// Whoever else uses our label and annotation can make us look, and no more.
fn target(job: &Job) -> Option<ObjectRef<AirlockRequest>> {
    let name = job.annotations().get(REQUEST)?;
    Some(ObjectRef::new(name).within(&job.namespace()?))
}
