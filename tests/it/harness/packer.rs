//! A node for packaging Jobs: their pods' own command runs with what the pod says and
//! nothing else: arguments, the Secrets of the operator's namespace, its configuration.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use trevor_core::volume::Errand;

use super::{Ended, Kubelet, PATIENCE, Request, trevor};

/// The operator's namespace.
pub const HOME: &str = "trevor-system";

/// Stands in for a kubelet of the operator's namespace.
pub struct Packer {
    pub kubelet: Kubelet,
    admin: Client,
    /// Another endpoint in the place of one in the configuration.
    detours: Vec<(String, String)>,
}

/// A pod's command that runs.
pub struct Packing {
    child: Child,
    folder: tempfile::TempDir,
}

impl Packer {
    pub fn new(admin: Client) -> Self {
        Self {
            kubelet: Kubelet::new(admin.clone(), HOME),
            admin,
            detours: Vec::new(),
        }
    }

    /// Its pods reach `there` in the place of `endpoint`.
    pub fn detour(mut self, endpoint: &str, there: &str) -> Self {
        self.detours.push((endpoint.to_owned(), there.to_owned()));
        self
    }

    /// The name of the Job of an attempt of the first round.
    pub fn job_name(request: &Request, attempt: i64) -> String {
        let errand = Errand::Package { round: 1, attempt };
        errand.job_name(&request.name, &request.uid)
    }

    /// Waits for the pod of an attempt.
    pub async fn pod(&self, request: &Request, attempt: i64) -> Pod {
        let name = Self::job_name(request, attempt);
        self.kubelet.pod_of(&name).await
    }

    /// Waits for the Job of an attempt.
    pub async fn job(&self, request: &Request, attempt: i64) -> Job {
        self.kubelet.job(&Self::job_name(request, attempt)).await
    }

    /// Starts the pod's command.
    pub async fn starts(&self, pod: &Pod) -> Packing {
        let value = serde_json::to_value(pod).unwrap();
        let container = &value["spec"]["containers"][0];
        let args = container["args"].as_array().unwrap();
        let args = args.iter().map(|a| a.as_str().unwrap().to_owned());
        let env = self.variables(&container["env"]).await;
        self.runs_with(args.collect(), env).await
    }

    /// Runs the command with other arguments, as a pod of that shape would.
    pub async fn runs_with(&self, args: Vec<String>, env: Vec<(String, String)>) -> Packing {
        let folder = tempfile::tempdir().unwrap();
        self.writes_config(folder.path()).await;
        let config = folder.path().join("config");
        let mut command = Command::new(trevor());
        command
            .env_clear()
            .envs(env)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        for argument in args {
            command.arg(argument.replace("/etc/trevor/config", config.to_str().unwrap()));
        }
        command
            .arg("--termination-log")
            .arg(last_word(folder.path()));
        let child = command.spawn().unwrap();
        Packing { child, folder }
    }

    async fn writes_config(&self, folder: &Path) {
        let maps: Api<ConfigMap> = Api::namespaced(self.admin.clone(), HOME);
        let map = maps.get("trevor-config").await.unwrap();
        let spool = folder.join("spool");
        for made in [&spool, &folder.join("config")] {
            std::fs::create_dir(made).unwrap();
        }
        let mut text = map.data.unwrap()["config.yaml"].clone();
        text = text.replace("/var/spool/trevor", spool.to_str().unwrap());
        for (endpoint, there) in &self.detours {
            assert!(text.contains(endpoint), "{endpoint} is not in:\n{text}");
            text = text.replace(endpoint, there);
        }
        std::fs::write(folder.join("config/config.yaml"), text).unwrap();
    }

    /// What a kubelet makes of a container's environment.
    pub async fn variables(&self, env: &Value) -> Vec<(String, String)> {
        let secrets: Api<Secret> = Api::namespaced(self.admin.clone(), HOME);
        let mut found = Vec::new();
        for variable in env.as_array().into_iter().flatten() {
            let name = variable["name"].as_str().unwrap().to_owned();
            if let Some(value) = variable["value"].as_str() {
                found.push((name, value.to_owned()));
                continue;
            }
            let from = &variable["valueFrom"]["secretKeyRef"];
            let secret = secrets.get(from["name"].as_str().unwrap()).await.unwrap();
            let data = secret.data.unwrap();
            match data.get(from["key"].as_str().unwrap()) {
                Some(value) => found.push((name, String::from_utf8(value.0.clone()).unwrap())),
                None => assert_eq!(from["optional"], true, "{name}"),
            }
        }
        found
    }

    /// Runs the pod's own command to its end, and says so in its status.
    pub async fn runs(&self, pod: &Pod) -> Ended {
        let ended = self.starts(pod).await.ends().await;
        self.says(pod, &ended).await;
        ended
    }

    /// Writes what became of a pod.
    pub async fn says(&self, pod: &Pod, ended: &Ended) {
        let (phase, reason) = match ended.code {
            0 => ("Succeeded", "Completed"),
            137 => ("Failed", "OOMKilled"),
            _ => ("Failed", "Error"),
        };
        let end = json!({"terminated": {"exitCode": ended.code, "reason": reason, "message": ended.said}});
        let container = json!({"name": "trevor", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": end});
        self.patch(
            pod,
            json!({"phase": phase, "containerStatuses": [container]}),
        )
        .await;
    }

    /// The node was low, and threw the pod out.
    pub async fn evicts(&self, pod: &Pod) {
        let status = json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: ephemeral-storage."});
        self.patch(pod, status).await;
    }

    async fn patch(&self, pod: &Pod, status: Value) {
        let patch = Patch::Merge(json!({"status": status}));
        let (name, params) = (pod.name_any(), PatchParams::default());
        match self
            .kubelet
            .pods()
            .patch_status(&name, &params, &patch)
            .await
        {
            Ok(_) => {}
            // The controller ends a Job as soon as its work is stored.
            Err(kube::Error::Api(answer)) if answer.code == 404 => {}
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

fn last_word(folder: &Path) -> PathBuf {
    folder.join("termination-log")
}

impl Packing {
    /// Waits for its end; what it said is its termination message.
    pub async fn ends(mut self) -> Ended {
        let ended = tokio::time::timeout(PATIENCE * 3, self.child.wait()).await;
        let code = ended.expect("it ends").unwrap().code().unwrap_or(137);
        let said = std::fs::read_to_string(last_word(self.folder.path())).unwrap_or_default();
        Ended { code, said }
    }

    /// SIGTERM, as of a pod that is deleted.
    pub async fn is_told(&self) {
        let pid = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().await;
        assert!(sent.unwrap().success());
    }

    /// SIGKILL.
    pub async fn dies(mut self) -> Ended {
        self.child.kill().await.unwrap();
        Ended {
            code: 137,
            said: String::new(),
        }
    }
}
