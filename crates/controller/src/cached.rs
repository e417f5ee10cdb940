//! The watches, and what of their objects is kept in memory: ten thousand requests fit,
//! because an effect reads its request again and none of this is what it acts upon.

use futures::Stream;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};

use trevor_api::{
    AirlockAction, AirlockRequest, AirlockRequestSpec, AirlockRequestStatus, AirlockReview,
    FINALIZER, ReleaseSummary,
};

/// Objects of a page of a list: the largest that the schemas allow are near a megabyte,
/// and a page is held as text and as objects until each was taken out of it what is kept.
const PAGE: u32 = 25;

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
    let config = watcher::Config::default().page_size(PAGE);
    watcher(Api::<K>::all(client.clone()), config).modify(|object| {
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

/// Reviews without words: what is judged is read again.
pub fn reviews(
    client: &Client,
) -> impl Stream<Item = Result<watcher::Event<AirlockReview>, watcher::Error>> + Send + use<> {
    watched::<AirlockReview>(client).modify(trim_review)
}

fn trim_review(review: &mut AirlockReview) {
    review.metadata = kept(std::mem::take(&mut review.metadata));
    review.spec.comment = None;
    review.spec.findings = None;
    if let Some(status) = &mut review.status {
        status.message = None;
    }
}

/// Actions without the words of those that have their answer.
pub fn actions(
    client: &Client,
) -> impl Stream<Item = Result<watcher::Event<AirlockAction>, watcher::Error>> + Send + use<> {
    watched::<AirlockAction>(client).modify(trim_action)
}

fn trim_action(action: &mut AirlockAction) {
    action.metadata = kept(std::mem::take(&mut action.metadata));
    if let Some(status) = &mut action.status {
        status.message = None;
        if status.state.is_some() {
            action.spec.reason = None;
        }
    }
}

/// Names and times, and whether our finalizer is there: nothing that its author may make long.
fn kept(metadata: ObjectMeta) -> ObjectMeta {
    let ours = metadata
        .finalizers
        .is_some_and(|all| all.iter().any(|one| one == FINALIZER));
    ObjectMeta {
        finalizers: ours.then(|| vec![FINALIZER.to_owned()]),
        name: metadata.name,
        namespace: metadata.namespace,
        uid: metadata.uid,
        resource_version: metadata.resource_version,
        generation: metadata.generation,
        creation_timestamp: metadata.creation_timestamp,
        deletion_timestamp: metadata.deletion_timestamp,
        ..ObjectMeta::default()
    }
}

/// Takes out what neither counting, nor waking, nor the test whether a request is at
/// rest reads.
fn trim(request: &mut AirlockRequest) {
    request.metadata = kept(std::mem::take(&mut request.metadata));
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_kept_of_a_review_and_an_action_has_no_words_of_any_length() {
        let words = "\u{1f600}".repeat(1000);
        let metadata = json!({"name": "x", "namespace": "a", "uid": "u", "resourceVersion": "7",
            "labels": {"l": words}, "annotations": {"n": words}, "ownerReferences": [],
            "finalizers": [words, FINALIZER]});
        let review = json!({
            "apiVersion": "airlock.karectl.io/v1alpha1", "kind": "AirlockReview", "metadata": metadata,
            "spec": {"requestName": "r", "manifestDigest": "d", "reviewer": "bob", "decision": "Reject",
                "comment": words, "findings": [{"path": words, "decision": "Reject", "comment": words}]},
            "status": {"state": "NotCounted", "reason": "OtherDigest", "message": words},
        });
        let mut review: AirlockReview = serde_json::from_value(review).unwrap();
        trim_review(&mut review);
        let text = serde_json::to_string(&review).unwrap();
        assert!(!text.contains('\u{1f600}'), "{text}");
        assert_eq!(review.spec.request_name, "r");
        assert_eq!(review.metadata.resource_version.as_deref(), Some("7"));
        assert_eq!(review.metadata.finalizers, Some(vec![FINALIZER.to_owned()]));

        let action = |state: Option<&str>| -> AirlockAction {
            serde_json::from_value(json!({
                "apiVersion": "airlock.karectl.io/v1alpha1", "kind": "AirlockAction", "metadata": metadata,
                "spec": {"target": {"kind": "AirlockRequest", "name": "r", "uid": "1"}, "actor": "olga",
                    "as": "HoldOfficer", "action": "Hold", "reason": words},
                "status": {"state": state, "message": words},
            }))
            .unwrap()
        };
        for (state, keeps) in [(None, true), (Some("Counted"), false)] {
            let mut action = action(state);
            trim_action(&mut action);
            assert_eq!(action.spec.reason.is_some(), keeps);
            let text = serde_json::to_string(&(&action.metadata, &action.status)).unwrap();
            assert!(!text.contains('\u{1f600}'), "{text}");
        }
    }
}
