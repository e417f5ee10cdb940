//! The pods of a Job: the last word of one that failed, and what keeps one from
//! running.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use super::super::context::Context;
use super::super::error::EffectError;
use super::{Standing, known, place};
use trevor_api::condition::reason;
use trevor_cluster::pages;
use trevor_core::collection;
use trevor_core::keys::RequestKey;
use trevor_core::texts::harmless_line;
use trevor_core::volume::Errand;

/// Characters of what Kubernetes says.
const SHOWN: usize = 500;
/// Pods of one Job that are looked at: it has one at a time, and retries are bounded.
const PODS: usize = 50;
/// Waiting that ends by itself.
const PASSING: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// The last word of the pod of a Job that failed last.
pub async fn last_word(
    ctx: &Context,
    namespace: &str,
    job: &str,
) -> Result<Option<String>, EffectError> {
    Ok(word_of(&list(ctx, namespace, job).await?))
}

/// What the pod of a Job said that ended well.
pub async fn result(
    ctx: &Context,
    namespace: &str,
    job: &str,
) -> Result<Option<String>, EffectError> {
    let pods = list(ctx, namespace, job).await?;
    Ok(pods.iter().find_map(|pod| {
        let status = pod.status.as_ref()?;
        let ended = container(status.container_statuses.as_deref())?
            .state
            .as_ref()?;
        let ended = ended.terminated.as_ref().filter(|end| end.exit_code == 0)?;
        ended.message.clone()
    }))
}

/// How a Job stands that has not ended.
pub async fn look(
    ctx: &Context,
    key: &RequestKey,
    errand: Errand,
    job: &Job,
) -> Result<Standing, EffectError> {
    let name = job.name_any();
    let runs = || Standing::Runs(format!("the Job {name} runs"));
    let status = job.status.clone().unwrap_or_default();
    let (namespace, uid) = (place(ctx, key, errand), job.uid().unwrap_or_default());
    let pods = list(ctx, namespace, &uid).await?;
    // A packaging Job has no token, and a cloud may add its own to the pod.
    let has_token = !matches!(errand, Errand::Package { .. });
    if has_token && let Some((pod, what)) = known::record(ctx, key, errand, job, &pods).await? {
        let message = format!(
            "the pod {pod} of the Job {name} is not as the operator made it ({what}), and nothing is taken from it or given to it; whoever changes pods here leaves those of our Jobs alone, and it goes on by itself"
        );
        return Ok(Standing::Waits(reason::JOB_POD_CHANGED, message));
    }
    if status.ready.unwrap_or(0) > 0 {
        return Ok(runs());
    }
    let blocked = match pods.iter().find(|pod| phase(pod) == "Pending") {
        Some(pod) => match blocked(pod) {
            Some(what) => Some(what),
            None => warning(ctx, namespace, &pod.uid().unwrap_or_default()).await?,
        },
        // A quota, a LimitRange or an admission rule may refuse it.
        None if status.active.unwrap_or(0) == 0 && status.failed.unwrap_or(0) == 0 => {
            let refused = warning(ctx, namespace, &uid).await?;
            let refused = refused.map(|said| {
                let message = format!(
                    "the pod of the Job {name} is refused: {said}; Kubernetes tries again by itself"
                );
                Standing::Waits(reason::JOB_REFUSED, message)
            });
            return Ok(refused.unwrap_or_else(runs));
        }
        None => None,
    };
    if let Some(what) = blocked {
        let message = format!(
            "the pod of the Job {name} cannot start: {what}; it goes on by itself once that is mended"
        );
        return Ok(Standing::Waits(reason::JOB_WAITS, message));
    }
    Ok(match word_of(&pods) {
        Some(word) => Standing::Runs(format!(
            "the Job {name} tries again after its pod failed: {word}"
        )),
        None => runs(),
    })
}

async fn list(ctx: &Context, namespace: &str, job: &str) -> Result<Vec<Pod>, EffectError> {
    let api: Api<Pod> = Api::namespaced(ctx.client.clone(), namespace);
    let ours = ListParams::default().labels(&format!("batch.kubernetes.io/controller-uid={job}"));
    let mut found: Vec<Pod> = Vec::new();
    // The label is anybody's to set; what makes a pod the Job's is its owner.
    pages::visit(&api, ours, |page| {
        let owned = page.into_iter().filter(|pod| {
            let mut owners = pod.owner_references().iter();
            owners.any(|owner| owner.controller == Some(true) && owner.uid == job)
        });
        found.extend(owned.take(PODS.saturating_sub(found.len())));
    })
    .await?;
    Ok(found)
}

/// The latest warning about an object.
async fn warning(ctx: &Context, namespace: &str, uid: &str) -> Result<Option<String>, EffectError> {
    let api: Api<Event> = Api::namespaced(ctx.client.clone(), namespace);
    let about = ListParams::default().fields(&format!("involvedObject.uid={uid},type=Warning"));
    let mut last: Option<Event> = None;
    pages::visit(&api, about, |page| {
        last = latest(page.into_iter().chain(last.take()));
    })
    .await?;
    Ok(last.and_then(|last| said(last.reason.as_deref(), last.message.as_deref())))
}

fn latest(events: impl Iterator<Item = Event>) -> Option<Event> {
    let when = |event: &Event| {
        let seen = event.last_timestamp.as_ref().map(|Time(at)| *at);
        seen.or_else(|| event.event_time.as_ref().map(|at| at.0))
    };
    events.max_by_key(when)
}

/// The last word of the pod that failed last.
fn word_of(pods: &[Pod]) -> Option<String> {
    let failed: BTreeMap<Option<Timestamp>, &Pod> = pods
        .iter()
        .filter(|pod| phase(pod) == "Failed")
        .map(|pod| {
            (
                pod.metadata.creation_timestamp.as_ref().map(|Time(t)| *t),
                pod,
            )
        })
        .collect();
    let status = failed.into_values().next_back()?.status.as_ref()?;
    let ended = container(status.container_statuses.as_deref())
        .and_then(|container| container.state.as_ref()?.terminated.as_ref());
    if let Some(ended) = ended
        && let Some(word) = collection::last_word(ended.message.as_deref().unwrap_or_default())
    {
        return Some(word);
    }
    let ended = ended.map(|ended| {
        let why = ended.reason.as_deref().unwrap_or("Error");
        format!("{why}: it ended with exit code {}", ended.exit_code)
    });
    ended.or_else(|| said(status.reason.as_deref(), status.message.as_deref()))
}

/// What keeps a pod from running, as its own status says.
fn blocked(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let unscheduled = status
        .conditions
        .iter()
        .flatten()
        .find(|c| c.type_ == "PodScheduled" && c.status == "False");
    if let Some(condition) = unscheduled {
        return said(condition.reason.as_deref(), condition.message.as_deref());
    }
    let container = container(status.container_statuses.as_deref())?;
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let why = waiting.reason.as_deref()?;
    if PASSING.contains(&why) {
        return None;
    }
    said(Some(why), waiting.message.as_deref())
}

fn container(statuses: Option<&[ContainerStatus]>) -> Option<&ContainerStatus> {
    statuses?.iter().find(|s| s.name == super::spec::CONTAINER)
}

fn phase(pod: &Pod) -> &str {
    let status = pod.status.as_ref();
    status.and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

fn said(reason: Option<&str>, message: Option<&str>) -> Option<String> {
    let words: Vec<&str> = reason.into_iter().chain(message).collect();
    (!words.is_empty()).then(|| harmless_line(&words.join(": "), SHOWN))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(created: &str, status: &Value) -> Pod {
        serde_json::from_value(
            json!({"metadata": {"creationTimestamp": created}, "status": status}),
        )
        .unwrap()
    }

    fn failed(created: &str, terminated: &Value) -> Pod {
        let container = json!({"name": "trevor", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": terminated}});
        pod(
            created,
            &json!({"phase": "Failed", "containerStatuses": [container]}),
        )
    }

    #[test]
    fn the_last_word_is_that_of_the_pod_that_failed_last() {
        let first = "2026-01-01T00:00:00Z";
        let second = "2026-01-01T00:00:01Z";
        let ended = |message: &str| json!({"exitCode": 1, "reason": "Error", "message": message});
        let runs = pod("2026-01-01T00:00:02Z", &json!({"phase": "Running"}));
        let pods = [
            failed(second, &ended("log\nthe link leads out\n")),
            failed(first, &ended("another")),
            runs.clone(),
        ];
        assert_eq!(word_of(&pods).as_deref(), Some("the link leads out"));
        assert_eq!(word_of(&[runs]), None);
        let killed = failed(first, &json!({"exitCode": 137, "reason": "OOMKilled"}));
        let word = word_of(&[killed]);
        assert_eq!(
            word.as_deref(),
            Some("OOMKilled: it ended with exit code 137")
        );
        let evicted =
            json!({"phase": "Failed", "reason": "Evicted", "message": "the node was low"});
        assert_eq!(
            word_of(&[pod(first, &evicted)]).as_deref(),
            Some("Evicted: the node was low")
        );
    }

    #[test]
    fn what_keeps_a_pod_from_running_is_told_and_what_passes_is_not() {
        let waiting = |why: &str| {
            json!({"phase": "Pending", "containerStatuses": [{"name": "trevor", "image": "", "imageID": "",
                "ready": false, "restartCount": 0, "state": {"waiting": {"reason": why, "message": "m"}}}]})
        };
        let unscheduled = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "persistentvolumeclaim \"work\" not found"}]});
        for (status, told) in [
            (json!({"phase": "Pending"}), None),
            (waiting("ContainerCreating"), None),
            (waiting("ImagePullBackOff"), Some("ImagePullBackOff: m")),
            (
                unscheduled,
                Some("Unschedulable: persistentvolumeclaim \"work\" not found"),
            ),
        ] {
            let pod = pod("2026-01-01T00:00:00Z", &status);
            assert_eq!(blocked(&pod).as_deref(), told, "{status}");
        }
    }

    #[test]
    fn of_several_warnings_the_latest_is_told() {
        let event = |time: &str, message: &str| -> Event {
            serde_json::from_value(
                json!({"metadata": {}, "involvedObject": {}, "lastTimestamp": time,
                "reason": "FailedCreate", "message": message}),
            )
            .unwrap()
        };
        let events = vec![
            event("2026-01-01T00:00:01Z", "exceeded quota"),
            event("2026-01-01T00:00:00Z", "before"),
        ];
        let last = latest(events.into_iter()).and_then(|event| event.message);
        assert_eq!(last.as_deref(), Some("exceeded quota"));
        assert_eq!(latest(std::iter::empty()), None);
    }
}
