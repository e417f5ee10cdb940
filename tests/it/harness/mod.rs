//! What the tests stand on: an environment of `tests/env`, its people, its
//! buckets, and processes of our own.

mod api_server;
mod forward;
mod http;
mod kubelet;
mod lagging;
mod packer;
mod people;
mod private;
mod process;
mod project;
mod proxy;
mod receiver;
mod request;
mod store;
mod tls;

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;

pub use api_server::{Busy, Line};
pub use forward::Forward;
pub use http::{Answer, Http};
pub use kubelet::{Ended, Kubelet, job_name};
pub use lagging::Lagging;
pub use packer::Packer;
pub use people::Person;
pub use private::{Private, fresh, private};
pub use process::{
    Controller, Gateway, Spawned, command, free_address, read_config, signal, variables,
};
pub use project::{Project, bind};
pub use proxy::{Call, Keep, Mode, Proxy};
pub use receiver::{Answers, Mailbox, Received, Receiver};
pub use request::{Request, ready};
pub use store::Store;
pub use tls::{Authority, Terminates, mounts};

/// The project in which everybody has their role.
pub const PROJECT: &str = "project-a";
/// How long anything may take that is not about long things.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A running environment.
#[derive(Clone)]
pub struct Env {
    folder: PathBuf,
    json: Value,
}

impl Env {
    /// The one that `tests/run.sh` started for this run.
    pub fn shared() -> Self {
        let folder = std::env::var("TREVOR_ENV_DIR")
            .expect("TREVOR_ENV_DIR: run `tests/run.sh test`, or source env.sh");
        Self::of(Path::new(&folder))
    }

    /// The environment in a folder.
    pub fn of(folder: &Path) -> Self {
        let text = std::fs::read_to_string(folder.join("env.json"))
            .expect("env.json: is the environment up?");
        Self {
            folder: folder.to_owned(),
            json: serde_json::from_str(&text).unwrap(),
        }
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A variable of env.sh.
    pub fn variable(&self, name: &str) -> String {
        let found = self.json["variables"][name].as_str();
        found
            .unwrap_or_else(|| panic!("env.json has no {name}"))
            .to_owned()
    }

    /// Everything in env.json that must never be seen elsewhere.
    pub fn secrets(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (name, value) in self.json["variables"].as_object().unwrap() {
            if name.starts_with("TREVOR_TOKEN_") || name.ends_with("SECRET_ACCESS_KEY") {
                found.push(value.as_str().unwrap().to_owned());
            }
        }
        found
    }

    /// A process id that the driver wrote down.
    pub fn address(&self, process: &str) -> String {
        format!(
            "http://{}",
            self.json["addresses"][process].as_str().unwrap()
        )
    }

    /// Kubernetes, as a user (a context of the kubeconfig).
    pub async fn kube(&self, user: &str) -> Client {
        let file = Kubeconfig::read_from(self.folder.join("kubeconfig")).unwrap();
        let options = KubeConfigOptions {
            context: Some(user.to_owned()),
            ..KubeConfigOptions::default()
        };
        let config = kube::Config::from_custom_kubeconfig(file, &options)
            .await
            .unwrap();
        Client::try_from(config).unwrap()
    }

    /// Kubernetes, as a process of the operator: with the token of its pod.
    pub async fn kube_of(&self, kubeconfig: &str) -> Client {
        let file = Kubeconfig::read_from(self.folder.join(kubeconfig)).unwrap();
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(file, &options).await;
        Client::try_from(config.unwrap()).unwrap()
    }

    /// A person with the session that `trevor login` made for them, if they have a role.
    pub async fn person(&self, name: &str) -> Person {
        let token = self.json["tokens"][name].as_str().map(str::to_owned);
        Person::new(name, self.kube(name).await, token, self.address("gateway"))
    }

    /// A person who logs in now, for a gateway of our own.
    pub async fn person_at(&self, name: &str, gateway: &str) -> Person {
        let mut person = Person::new(name, self.kube(name).await, None, gateway.to_owned());
        person.log_in(PROJECT, 3600).await;
        person
    }

    /// The quarantine bucket (records too), with the server's root credentials.
    pub fn quarantine(&self) -> Store {
        self.store("quarantine")
    }

    /// The staging bucket, with the server's root credentials.
    pub fn staging(&self) -> Store {
        self.store("staging")
    }

    /// The release bucket, with the server's root credentials.
    pub fn release(&self) -> Store {
        self.store("release")
    }

    fn store(&self, name: &str) -> Store {
        let bucket = &self.json["buckets"][name];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let root = &bucket["root"];
        let keys = (
            text(&root["access_key_id"]),
            text(&root["secret_access_key"]),
        );
        Store::new(&text(&bucket["endpoint"]), &text(&bucket["bucket"]), keys)
    }

    /// A kubectl of this environment, as a user.
    pub async fn kubectl(&self, user: &str, arguments: &[&str]) -> std::process::Output {
        tokio::process::Command::new(self.folder.join("bin/kubectl"))
            .env("KUBECONFIG", self.folder.join("kubeconfig"))
            .env("KUBECACHEDIR", self.folder.join("home/kube"))
            .args(["--context", user, "--namespace", PROJECT])
            .args(arguments)
            .output()
            .await
            .unwrap()
    }
}

/// The program under test.
pub fn trevor() -> PathBuf {
    std::env::var_os("TREVOR_BIN")
        .map_or_else(|| env!("CARGO_BIN_EXE_trevor").into(), PathBuf::from)
}

/// A name that no other test of this run has: one test makes two thousand.
pub fn unique(stem: &str) -> String {
    format!("{stem}-{:08x}", rand::random::<u32>())
}

/// Bytes that no compressor makes smaller, the same for the same seed.
pub fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// SHA-256 in hex.
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(bytes))
}
