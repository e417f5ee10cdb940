//! Which requests are to be reconciled: the one way to ask for it, for watches, hints and
//! work that ended.

use futures::{Stream, StreamExt as _};
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::sync::broadcast;

use trevor_api::AirlockRequest;

/// Entries that wait for a leader that is slow. Beyond that it reconciles all requests.
const CAPACITY: usize = 16_384;

/// Adds requests to what the leader reconciles. Where this process does not lead, they
/// are dropped: whoever begins to lead reconciles all.
#[derive(Clone, Debug)]
pub struct Queue(broadcast::Sender<ObjectRef<AirlockRequest>>);

impl Default for Queue {
    fn default() -> Self {
        Self(broadcast::Sender::new(CAPACITY))
    }
}

impl Queue {
    /// Asks for a reconcile of a request.
    pub fn add(&self, request: ObjectRef<AirlockRequest>) {
        // Nobody receives where this process does not lead.
        let _receivers = self.0.send(request);
    }

    /// Asks for a reconcile of every request.
    pub fn add_all(&self, requests: &Store<AirlockRequest>) {
        for request in all(requests) {
            self.add(request);
        }
    }

    /// All requests that there are now, and then those that are added from now on.
    pub fn follow(
        &self,
        requests: Store<AirlockRequest>,
    ) -> impl Stream<Item = ObjectRef<AirlockRequest>> + Send + use<> {
        let added = (self.0.subscribe(), requests.clone());
        let added = futures::stream::unfold(added, |(mut added, requests)| async move {
            let targets = match added.recv().await {
                Ok(target) => vec![target],
                Err(broadcast::error::RecvError::Lagged(_)) => all(&requests),
                Err(broadcast::error::RecvError::Closed) => return None,
            };
            Some((targets, (added, requests)))
        });
        futures::stream::iter(all(&requests)).chain(added.flat_map(futures::stream::iter))
    }
}

fn all(requests: &Store<AirlockRequest>) -> Vec<ObjectRef<AirlockRequest>> {
    let requests = requests.state();
    requests
        .iter()
        .map(|request| ObjectRef::from_obj(request.as_ref()))
        .collect()
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector;
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;

    fn target(name: &str) -> ObjectRef<AirlockRequest> {
        ObjectRef::new(name).within("p")
    }

    #[tokio::test]
    async fn what_is_there_comes_first_then_what_is_added_and_all_after_too_many() {
        let (store, mut writer) = reflector::store();
        let spec = json!({"direction": "Egress", "title": "t"});
        let mut request = AirlockRequest::new("first", serde_json::from_value(spec).unwrap());
        request.metadata.namespace = Some("p".into());
        writer.apply_watcher_event(&Event::Apply(request));
        let queue = Queue::default();
        queue.add(target("nobody-leads"));
        let mut followed = Box::pin(queue.follow(store));
        queue.add(target("added"));
        assert_eq!(followed.next().await, Some(target("first")));
        assert_eq!(followed.next().await, Some(target("added")));
        for _ in 0..=CAPACITY {
            queue.add(target("often"));
        }
        assert_eq!(followed.next().await, Some(target("first")), "all, once");
        assert_eq!(followed.next().await, Some(target("often")));
    }
}
