//! The watches, and what of their objects is kept in memory: ten thousand requests fit,
//! because an effect reads its request again and none of this is what it acts upon.

use futures::Stream;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};

use crate::api::{AirlockRequest, AirlockRequestSpec, AirlockRequestStatus, ReleaseSummary};

/// A watch whose objects carry no managedFields: they are large, and not needed.
pub fn watched<K>(
    client: &Client,
) -> impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send + use<K>
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + 'static,
{
    watcher(Api::<K>::all(client.clone()), watcher::Config::default()).modify(|object| {
        object.managed_fields_mut().clear();
        object
            .annotations_mut()
            .remove("kubectl.kubernetes.io/last-applied-configuration");
    })
}

/// Requests without the texts, lists and messages that only their readers need.
pub fn requests(
    client: &Client,
) -> impl Stream<Item = Result<watcher::Event<AirlockRequest>, watcher::Error>> + Send + use<> {
    watched::<AirlockRequest>(client).modify(trim)
}

/// Takes out what neither counting, nor waking, nor the test whether a request is at
/// rest reads.
fn trim(request: &mut AirlockRequest) {
    let metadata = std::mem::take(&mut request.metadata);
    request.metadata = ObjectMeta {
        name: metadata.name,
        namespace: metadata.namespace,
        uid: metadata.uid,
        resource_version: metadata.resource_version,
        generation: metadata.generation,
        creation_timestamp: metadata.creation_timestamp,
        deletion_timestamp: metadata.deletion_timestamp,
        ..ObjectMeta::default()
    };
    let spec = &request.spec;
    request.spec = AirlockRequestSpec {
        direction: spec.direction,
        title: String::new(),
        description: None,
        authors: None,
        submitter: None,
        created_by: None,
        files: None,
        sources: None,
        delivery: None,
        submission: spec.submission,
        withdrawn: spec.withdrawn,
        recipients: None,
    };
    let Some(status) = request.status.take() else {
        return;
    };
    let mut conditions = status.conditions;
    for condition in &mut conditions {
        condition.message = String::new();
    }
    conditions.shrink_to_fit();
    request.status = Some(AirlockRequestStatus {
        phase: status.phase,
        phase_time: status.phase_time,
        observed_generation: status.observed_generation,
        conditions,
        release: status.release.map(|release| ReleaseSummary {
            record_name: String::new(),
            secret_name: None,
            expires_time: None,
            warning_time: release.warning_time,
        }),
        closed_time: status.closed_time,
        quarantine: status.quarantine,
        audit: status.audit,
        ..AirlockRequestStatus::default()
    });
}
