//! Requests that closed, as the bucket has them: no resource, no ledger, and files.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::harness::{Env, PROJECT, Store, command, noise, ready, unique};

/// A request that closed, as the bucket has it, of a cluster of its own.
pub struct Closed {
    pub env: Env,
    pub inside: Store,
    pub cluster: String,
    pub uid: String,
}

pub fn in_seconds(seconds: i64) -> String {
    let time = Timestamp::now() + SignedDuration::from_secs(seconds);
    Timestamp::from_second(time.as_second())
        .unwrap()
        .to_string()
}

impl Closed {
    /// Files of a request whose files are due in so many seconds, of a cluster of its own.
    pub async fn due_in(seconds: i64) -> Self {
        Self::of(&Env::shared(), &unique("cluster"), seconds, 3).await
    }

    /// One of a cluster, in an environment, with so many files of 100 bytes.
    pub async fn of(env: &Env, cluster: &str, seconds: i64, files: u64) -> Self {
        let case = Self {
            inside: env.quarantine(),
            cluster: cluster.to_owned(),
            uid: unique("u"),
            env: env.clone(),
        };
        case.owner(&case.cluster).await;
        let closed = json!({
            "closedAs": "Withdrawn", "round": 1, "time": in_seconds(-86_400 * 91),
            "quarantineDue": in_seconds(seconds), "policy": {"name": "p", "digest": "0".repeat(64)},
        });
        case.stores("closed.json", &closed).await;
        case.stores("receipts/x/1.json", &json!({})).await;
        let put = |file| {
            let (inside, key) = (
                case.inside.clone(),
                format!("{}files/{file}", case.prefix()),
            );
            async move { inside.put(&key, &noise(100, file)).await }
        };
        stream::iter(0..files)
            .map(put)
            .buffer_unordered(16)
            .collect::<()>()
            .await;
        case
    }

    /// The receipt of what went.
    pub async fn receipt(&self) -> Option<Value> {
        let key = format!("{}deleted/quarantine.json", self.prefix());
        let found = self.inside.find(&key).await?;
        serde_json::from_slice(&found).ok()
    }

    /// Waits until its files are gone with a receipt, and its ticket too.
    pub async fn goes(&self, patience: Duration) {
        ready(format!("{} is gone", self.uid), patience, || async {
            self.receipt().await?;
            let all = self.inside.keys("work/retention/").await;
            (!all.iter().any(|key| key.contains(&self.uid))).then_some(())
        })
        .await;
        assert_eq!(self.files().await, 0);
    }

    pub async fn owner(&self, cluster: &str) {
        let owner = json!({
            "cluster": cluster, "namespace": PROJECT, "name": "r", "uid": self.uid,
            "direction": "Egress", "submitter": "alice", "created": in_seconds(-86_400 * 92),
        });
        self.stores("owner.json", &owner).await;
    }

    pub fn prefix(&self) -> String {
        format!("requests/{PROJECT}/{}/", self.uid)
    }

    pub async fn stores(&self, below: &str, fact: &Value) {
        let key = format!("{}{below}", self.prefix());
        self.inside.put(&key, fact.to_string().as_bytes()).await;
    }

    /// A ticket that was due so many seconds from now; gives its key.
    pub async fn ticket(&self, seconds: i64) -> String {
        let due = in_seconds(seconds);
        let body = json!({"namespace": PROJECT, "uid": self.uid, "what": "quarantine", "due": due});
        let key = format!("work/retention/{due}/{}-quarantine.json", self.uid);
        self.inside.put(&key, body.to_string().as_bytes()).await;
        key
    }

    pub async fn files(&self) -> usize {
        self.inside
            .keys(&format!("{}files/", self.prefix()))
            .await
            .len()
    }

    /// `trevor retention …`; gives what it says.
    pub async fn trevor(&self, arguments: &[&str]) -> String {
        let config = self.env.folder().join("controller.yaml");
        let mut command = command(&self.env, "controller");
        command
            .arg("retention")
            .args(arguments)
            .arg("--config")
            .arg(config);
        let done = command.output().await.unwrap();
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(
            done.status.success(),
            "{said}{}",
            String::from_utf8_lossy(&done.stderr)
        );
        said
    }

    pub async fn sweep(&self) -> String {
        self.trevor(&["sweep", "--cluster", &self.cluster]).await
    }

    pub async fn events(&self, kind: &str) -> Vec<Value> {
        let mut found = Vec::new();
        for key in self
            .inside
            .keys(&format!("audit/requests/{PROJECT}/{}/", self.uid))
            .await
        {
            let entry = self.inside.json(&key).await;
            let events = entry["events"].as_array().unwrap().clone();
            found.extend(events.into_iter().filter(|e| e["kind"] == kind));
        }
        found
    }
}
