//! The pods of a Job that the gateway may believe: their uids are stored
//! (docs/design.md#volumes), and a token counts only if it is bound to one of them.
//!
//! Names and labels of pods are anybody's to choose who may create pods, and so is
//! an owner reference. So a pod counts only if it runs what the Job says: the image,
//! arguments, mounts and claims of its template, and if nothing else in it can read
//! the token. Containers that clusters add to every pod may stand beside it.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Volume};
use kube::ResourceExt as _;

use super::super::context::Context;
use super::super::error::EffectError;
use super::spec::CONTAINER;
use trevor_core::keys::RequestKey;
use trevor_core::volume::{Errand, JobPod};

/// Stores the uids of those pods of a Job that run what it says. Of one that does not,
/// gives its name and what differs. Repeated: what stands is not written again.
pub async fn record(
    ctx: &Context,
    key: &RequestKey,
    errand: Errand,
    job: &Job,
    pods: &[Pod],
) -> Result<Option<(String, &'static str)>, EffectError> {
    let work = ctx.zones.quarantine.work();
    let mut other = None;
    for pod in pods.iter().filter(|pod| is_of(job, pod) && lives(pod)) {
        if let Some(what) = differs(job, pod) {
            other = Some((pod.name_any(), what));
            continue;
        }
        let at = key.job_pod(errand, &pod.uid().unwrap_or_default());
        if !work.exists(&at).await? {
            let pod = JobPod {
                pod: pod.name_any(),
                job: job.uid().unwrap_or_default(),
            };
            work.create(&at, &pod).await?;
        }
    }
    Ok(other)
}

/// Whether a pod says that it is the Job's.
fn is_of(job: &Job, pod: &Pod) -> bool {
    let (owners, uid) = (pod.owner_references(), job.uid());
    owners
        .iter()
        .any(|owner| owner.controller == Some(true) && Some(&owner.uid) == uid.as_ref())
}

fn lives(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    pod.metadata.deletion_timestamp.is_none() && !matches!(phase, Some("Succeeded" | "Failed"))
}

/// What of a pod is not as the Job's template has it.
fn differs(job: &Job, pod: &Pod) -> Option<&'static str> {
    let template = job.spec.as_ref().and_then(|s| s.template.spec.as_ref());
    let (Some(wanted), Some(has)) = (template, pod.spec.as_ref()) else {
        return Some("its specification");
    };
    let (Some(ours), Some(runs)) = (ours(wanted), ours(has)) else {
        return Some("its containers");
    };
    let shared = has.share_process_namespace == Some(true) || has.host_pid == Some(true);
    let found = [
        (
            has.service_account_name == wanted.service_account_name,
            "its service account",
        ),
        (runs.image == ours.image, "its image"),
        (
            runs.command == ours.command && runs.args == ours.args,
            "its arguments",
        ),
        (runs.lifecycle == ours.lifecycle, "its lifecycle"),
        (
            runs.volume_mounts == ours.volume_mounts && runs.volume_devices == ours.volume_devices,
            "its mounts",
        ),
        (
            mounted(ours).all(|name| volume(has, name) == volume(wanted, name)),
            "its volumes",
        ),
        (!shared, "that others see its processes"),
        (!others_read_token(has, wanted), "who can read its token"),
    ];
    found
        .into_iter()
        .find_map(|(same, what)| (!same).then_some(what))
}

fn ours(pod: &PodSpec) -> Option<&Container> {
    pod.containers.iter().find(|c| c.name == CONTAINER)
}

fn mounted(container: &Container) -> impl Iterator<Item = &str> {
    let mounts = container.volume_mounts.iter().flatten();
    mounts.map(|mount| mount.name.as_str())
}

fn volume<'a>(pod: &'a PodSpec, name: &str) -> Option<&'a Volume> {
    pod.volumes.iter().flatten().find(|v| v.name == name)
}

/// Whether another container has a token for the gateway.
fn others_read_token(has: &PodSpec, wanted: &PodSpec) -> bool {
    let audiences: Vec<&str> = wanted.volumes.iter().flatten().flat_map(tokens).collect();
    let for_gateway = |name: &str| {
        let mut of = volume(has, name).into_iter().flat_map(tokens);
        of.any(|audience| audiences.contains(&audience))
    };
    let init = has.init_containers.iter().flatten();
    let beside = has.containers.iter().filter(|c| c.name != CONTAINER);
    let named = init.chain(beside).flat_map(mounted);
    // Debuggers that somebody adds.
    let ephemeral = has.ephemeral_containers.iter().flatten();
    let added = ephemeral
        .flat_map(|c| c.volume_mounts.iter().flatten())
        .map(|mount| mount.name.as_str());
    named.chain(added).any(for_gateway)
}

/// Whom the tokens in a volume are for.
fn tokens(volume: &Volume) -> Vec<&str> {
    let sources = volume.projected.iter().flat_map(|p| p.sources.iter());
    sources
        .flatten()
        .filter_map(|s| s.service_account_token.as_ref()?.audience.as_deref())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec() -> Value {
        let token = |name: &str, audience: &str| json!({"name": name, "projected": {"sources": [{"serviceAccountToken": {"audience": audience, "path": "token"}}]}});
        json!({
            "serviceAccountName": "default",
            "containers": [{"name": "trevor", "image": "trevor:1", "args": ["collect"], "volumeMounts": [
                {"name": "source-0", "mountPath": "/sources/0"}, {"name": "token", "mountPath": "/var/run/trevor"}]}],
            "volumes": [
                {"name": "source-0", "persistentVolumeClaim": {"claimName": "work", "readOnly": true}},
                token("token", "trevor-gateway"),
            ],
        })
    }

    fn job() -> Job {
        serde_json::from_value(
            json!({"metadata": {"uid": "j-1"}, "spec": {"template": {"spec": spec()}}}),
        )
        .unwrap()
    }

    fn pod(spec: &Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
    }

    #[test]
    fn a_pod_runs_what_the_job_says_or_is_not_known() {
        let sidecar =
            |mounts: Value| json!({"name": "mesh", "image": "mesh", "volumeMounts": mounts});
        let second = json!({"name": "mine", "projected": {"sources": [{"serviceAccountToken":
            {"audience": "trevor-gateway", "path": "t"}}]}});
        let (token, mine) = (
            json!([{"name": "token", "mountPath": "/t"}]),
            json!([{"name": "mine", "mountPath": "/t"}]),
        );
        for (pointer, value, what) in [
            ("", json!({}), None),
            (
                "/containers/0/resources",
                json!({"limits": {"cpu": "1"}}),
                None,
            ),
            ("/nodeName", json!("node-1"), None),
            ("/containers/1", sidecar(json!([])), None),
            (
                "/serviceAccountName",
                json!("other"),
                Some("its service account"),
            ),
            ("/containers/0/image", json!("mine:1"), Some("its image")),
            ("/containers/0/name", json!("mine"), Some("its containers")),
            (
                "/containers/0/command",
                json!(["sh"]),
                Some("its arguments"),
            ),
            (
                "/containers/0/args/0",
                json!("deliver"),
                Some("its arguments"),
            ),
            (
                "/containers/0/lifecycle",
                json!({"postStart": {"exec": {"command": ["sh"]}}}),
                Some("its lifecycle"),
            ),
            (
                "/containers/0/volumeMounts/2",
                json!({"name": "x", "mountPath": "/sources/0/x"}),
                Some("its mounts"),
            ),
            (
                "/containers/0/volumeMounts/0/subPath",
                json!("x"),
                Some("its mounts"),
            ),
            (
                "/volumes/0/persistentVolumeClaim/claimName",
                json!("other"),
                Some("its volumes"),
            ),
            (
                "/shareProcessNamespace",
                json!(true),
                Some("that others see its processes"),
            ),
            (
                "/hostPID",
                json!(true),
                Some("that others see its processes"),
            ),
            (
                "/containers/1",
                sidecar(token.clone()),
                Some("who can read its token"),
            ),
            (
                "/initContainers",
                json!([sidecar(token.clone())]),
                Some("who can read its token"),
            ),
            (
                "/ephemeralContainers",
                json!([sidecar(token)]),
                Some("who can read its token"),
            ),
        ] {
            let mut spec = spec();
            set(&mut spec, pointer, value);
            assert_eq!(differs(&job(), &pod(&spec)), what, "{pointer}");
        }
        let mut two = spec();
        set(&mut two, "/volumes/2", second);
        assert_eq!(
            differs(&job(), &pod(&two)),
            None,
            "a token that nobody mounts"
        );
        set(&mut two, "/containers/1", sidecar(mine));
        assert_eq!(differs(&job(), &pod(&two)), Some("who can read its token"));
    }

    /// Sets one place, the next of a list included.
    fn set(spec: &mut Value, pointer: &str, value: Value) {
        let Some((parent, name)) = pointer.rsplit_once('/') else {
            return;
        };
        match spec.pointer_mut(parent).unwrap() {
            Value::Array(list) if name == list.len().to_string() => list.push(value),
            Value::Array(list) => list[name.parse::<usize>().unwrap()] = value,
            Value::Object(map) => drop(map.insert(name.to_owned(), value)),
            other => panic!("{pointer}: {other}"),
        }
    }

    #[test]
    fn a_pod_is_the_jobs_by_its_controller_while_it_lives() {
        let owned = |uid: &str, controller: bool| -> Pod {
            serde_json::from_value(
                json!({"metadata": {"ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job",
                "name": "j", "uid": uid, "controller": controller}]}}),
            )
            .unwrap()
        };
        for (uid, controller, is) in [
            ("j-1", true, true),
            ("j-1", false, false),
            ("j-2", true, false),
        ] {
            assert_eq!(
                is_of(&job(), &owned(uid, controller)),
                is,
                "{uid} {controller}"
            );
        }
        for (phase, alive) in [
            ("Pending", true),
            ("Running", true),
            ("Failed", false),
            ("Succeeded", false),
        ] {
            let pod = serde_json::from_value(json!({"status": {"phase": phase}})).unwrap();
            assert_eq!(lives(&pod), alive, "{phase}");
        }
    }
}
