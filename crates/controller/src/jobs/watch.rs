//! A change of a Job of ours queues its request. Nothing of Jobs is cached: a reconcile
//! reads its Job afresh, by the uid that was stored.

use futures::StreamExt as _;
use k8s_openapi::api::batch::v1::Job;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};

use super::spec::{LABEL, REQUEST};
use super::template::REQUEST_NAMESPACE;
use crate::queue::Queue;
use trevor_api::AirlockRequest;

type Target = ObjectRef<AirlockRequest>;

/// Queues requests when Jobs of their projects change, for as long as the process lives.
pub async fn watch(client: Client, queue: Queue) {
    follow(Api::all(client), queue, target).await;
}

/// Queues requests when the Jobs change that package for them in the operator's namespace.
pub async fn watch_packaging(client: Client, namespace: String, queue: Queue) {
    follow(Api::namespaced(client, &namespace), queue, packaged).await;
}

async fn follow(
    jobs: Api<PartialObjectMeta<Job>>,
    queue: Queue,
    target: fn(&PartialObjectMeta<Job>) -> Option<Target>,
) {
    // Their metadata alone: our label is anybody's to set, on Jobs of any size.
    let ours = watcher::Config::default().labels(LABEL).page_size(100);
    watcher(jobs, ours)
        .default_backoff()
        .touched_objects()
        .for_each(|job| {
            if let Ok(job) = job
                && let Some(target) = target(&job)
            {
                queue.add(target);
            }
            std::future::ready(())
        })
        .await;
}

/// Whoever else uses our label and annotation can make us look, and no more.
fn target(job: &PartialObjectMeta<Job>) -> Option<Target> {
    let name = job.annotations().get(REQUEST)?;
    Some(ObjectRef::new(name).within(&job.namespace()?))
}

fn packaged(job: &PartialObjectMeta<Job>) -> Option<Target> {
    let name = job.annotations().get(REQUEST)?;
    let namespace = job.annotations().get(REQUEST_NAMESPACE)?;
    Some(ObjectRef::new(name).within(namespace))
}
