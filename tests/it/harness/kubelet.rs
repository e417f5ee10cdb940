//! What a kubelet does for the pods of our Jobs. The light environment has a real job
//! controller, which makes them, and no node: here their own command runs, against
//! folders, with a token bound to the pod, and their status is written as a kubelet
//! would.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use futures::StreamExt as _;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use super::{PATIENCE, Request, trevor};

/// Stands in for the kubelets of a project.
pub struct Kubelet {
    admin: Client,
    project: String,
    claims: BTreeMap<String, PathBuf>,
}

/// How a pod's command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub said: String,
}

impl Kubelet {
    pub fn new(admin: Client, project: &str) -> Self {
        Self {
            admin,
            project: project.to_owned(),
            claims: BTreeMap::new(),
        }
    }

    /// What a claim is on this node.
    pub fn mounts(mut self, claim: &str, folder: &Path) -> Self {
        self.claims.insert(claim.to_owned(), folder.to_owned());
        self
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.admin.clone(), &self.project)
    }

    pub fn jobs(&self) -> Api<Job> {
        Api::namespaced(self.admin.clone(), &self.project)
    }

    /// Waits for a pod of a Job, by the Job's name, that has not run.
    #[track_caller]
    pub fn pod_of(&self, job: &str) -> impl Future<Output = Pod> {
        let ours =
            watcher::Config::default().labels(&format!("batch.kubernetes.io/job-name={job}"));
        let (pods, job) = (self.pods(), job.to_owned());
        let caller = std::panic::Location::caller();
        async move {
            let waits = |pod: &Pod| {
                let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
                phase == Some("Pending") && pod.metadata.deletion_timestamp.is_none()
            };
            let mut seen = watcher(pods, ours).applied_objects().boxed();
            let found = async {
                loop {
                    if let Some(Ok(pod)) = seen.next().await
                        && waits(&pod)
                    {
                        return pod;
                    }
                }
            };
            let waited = tokio::time::timeout(PATIENCE, found).await;
            waited.unwrap_or_else(|_| panic!("{caller}: no pod of {job}"))
        }
    }

    /// Waits until a Job is gone, with its pods.
    pub async fn is_gone(&self, job: &Job) {
        let (name, uid) = (job.name_any(), job.uid().unwrap());
        let ours =
            ListParams::default().labels(&format!("batch.kubernetes.io/controller-uid={uid}"));
        super::ready(format!("{name} is gone"), PATIENCE, || async {
            let found = self.jobs().get_opt(&name).await.unwrap();
            let gone = found.is_none_or(|j| j.uid().as_deref() != Some(uid.as_str()));
            let pods = self.pods().list(&ours).await.unwrap();
            (gone && pods.items.is_empty()).then_some(())
        })
        .await;
    }

    /// Waits for a Job of a request, by name.
    pub async fn job(&self, name: &str) -> Job {
        super::ready(format!("{name} is made"), PATIENCE, || async {
            self.jobs().get_opt(name).await.unwrap()
        })
        .await
    }

    /// Runs the pod's own command to its end, and says so in its status.
    pub async fn runs(&self, pod: &Pod) -> Ended {
        let folder = tempfile::tempdir().unwrap();
        let ended = self.command(pod, folder.path()).await;
        match ended.code {
            0 => self.succeeds(pod).await,
            _ => self.fails(pod, &ended.said).await,
        }
        ended
    }

    async fn command(&self, pod: &Pod, folder: &Path) -> Ended {
        let value = serde_json::to_value(pod).unwrap();
        let container = &value["spec"]["containers"][0];
        let token_folder = folder.join("token");
        std::fs::create_dir(&token_folder).unwrap();
        std::fs::write(token_folder.join("token"), self.token(pod).await).unwrap();
        let places = self.places(&value, &token_folder);
        let mut command = tokio::process::Command::new(trevor());
        command.env_clear().stdin(Stdio::null()).kill_on_drop(true);
        for argument in container["args"].as_array().unwrap() {
            command.arg(placed(argument.as_str().unwrap(), &places));
        }
        for variable in container["env"].as_array().into_iter().flatten() {
            let (name, value) = (&variable["name"], &variable["value"]);
            command.env(name.as_str().unwrap(), value.as_str().unwrap());
        }
        let done = tokio::time::timeout(PATIENCE, command.output()).await;
        let done = done.expect("it ends").unwrap();
        let said = [done.stdout, done.stderr].concat();
        Ended {
            code: done.status.code().unwrap_or(137),
            said: String::from_utf8_lossy(&said).into_owned(),
        }
    }

    /// Where each mount of the container lies.
    fn places(&self, pod: &Value, token: &Path) -> Vec<(String, PathBuf)> {
        let volumes = pod["spec"]["volumes"].as_array().unwrap();
        let mounts = pod["spec"]["containers"][0]["volumeMounts"]
            .as_array()
            .unwrap();
        let lies = |name: &Value| {
            let volume = volumes.iter().find(|v| v["name"] == *name).unwrap();
            match volume["persistentVolumeClaim"]["claimName"].as_str() {
                Some(claim) => self.claims[claim].clone(),
                None => token.to_owned(),
            }
        };
        let mount = |m: &Value| {
            (
                m["mountPath"].as_str().unwrap().to_owned(),
                lies(&m["name"]),
            )
        };
        mounts.iter().map(mount).collect()
    }

    /// The token that the pod's projected volume would hold.
    async fn token(&self, pod: &Pod) -> String {
        let spec = pod.spec.as_ref().unwrap();
        let account = spec.service_account_name.clone().unwrap();
        let projected = spec.volumes.iter().flatten().find_map(|v| {
            let sources = v.projected.as_ref()?.sources.as_ref()?;
            sources.first()?.service_account_token.clone()
        });
        let projected = projected.unwrap();
        let request: TokenRequest = serde_json::from_value(json!({"spec": {
            "audiences": [projected.audience.unwrap()], "expirationSeconds": projected.expiration_seconds,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod.name_any(), "uid": pod.uid()},
        }}))
        .unwrap();
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin.clone(), &self.project);
        let params = PostParams::default();
        let made = accounts.create_token_request(&account, &params, &request);
        let made = serde_json::to_value(made.await.unwrap()).unwrap();
        made["status"]["token"].as_str().unwrap().to_owned()
    }

    pub async fn succeeds(&self, pod: &Pod) {
        let ended = json!({"terminated": {"exitCode": 0, "reason": "Completed"}});
        self.says(
            pod,
            json!({"phase": "Succeeded", "containerStatuses": [container(&ended)]}),
        )
        .await;
    }

    /// The pod fails, and what it said is its termination message.
    pub async fn fails(&self, pod: &Pod, said: &str) {
        let ended = json!({"terminated": {"exitCode": 1, "reason": "Error", "message": said}});
        self.says(
            pod,
            json!({"phase": "Failed", "containerStatuses": [container(&ended)]}),
        )
        .await;
    }

    /// No node takes the pod, as the scheduler would say.
    pub async fn cannot_schedule(&self, pod: &Pod, message: &str) {
        let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message});
        self.says(pod, json!({"phase": "Pending", "conditions": [condition]}))
            .await;
    }

    async fn says(&self, pod: &Pod, status: Value) {
        let patch = Patch::Merge(json!({"status": status}));
        let pods = self.pods();
        let name = pod.name_any();
        match pods
            .patch_status(&name, &PatchParams::default(), &patch)
            .await
        {
            Ok(_) => {}
            // The controller ends a Job as soon as its work is stored.
            Err(kube::Error::Api(answer)) if answer.code == 404 => {}
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

fn container(state: &Value) -> Value {
    json!({"name": "trevor", "image": "trevor:light", "imageID": "", "ready": false, "restartCount": 0, "state": state})
}

/// An argument as the container has it, with this machine's folders.
fn placed(argument: &str, places: &[(String, PathBuf)]) -> String {
    let mut argument = argument.replace("$$", "$");
    for (mount, place) in places {
        argument = argument.replace(mount, place.to_str().unwrap());
    }
    argument
}

/// Name of the Job of an errand for a request: `collect-1`, `deliver`.
pub fn job_name(request: &Request, errand: &str) -> String {
    format!(
        "{}-{errand}",
        trevor_core::names::derived(&request.name, &request.uid)
    )
}
