//! Controllers and gateways of our own, with the configuration, token and keys
//! that the driver wrote, and with ports of their own.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::{Env, Http, PATIENCE, ready, trevor};

/// A process that ends with its handle.
pub struct Spawned {
    child: Child,
    pub url: String,
    /// Where its numbers are.
    pub metrics: String,
}

/// How to start a controller.
pub struct Controller<'a> {
    pub env: &'a Env,
    /// Its name in the log folder, and its identity.
    pub name: &'a str,
    /// Competes for the lease.
    pub elect: bool,
    /// Where the storage servers are, if not where they are.
    pub quarantine: Option<&'a str>,
    pub release: Option<&'a str>,
    /// How long packages can be downloaded.
    pub window_seconds: Option<i64>,
    pub staging: Option<&'a str>,
    /// `notifications` of its configuration.
    pub notifications: Option<Value>,
    /// Whatever else its configuration says.
    pub changes: Value,
    /// What of `controller.packaging` is another.
    pub packaging: Option<Value>,
    /// Variables beside those of the driver.
    pub variables: Vec<(String, String)>,
    /// Other parts of its configuration, by JSON pointer.
    pub settings: Vec<(&'a str, Value)>,
}

/// How to start a gateway.
pub struct Gateway<'a> {
    pub env: &'a Env,
    pub name: &'a str,
    /// The controller that it gives hints to.
    pub controller: &'a str,
}

impl<'a> Controller<'a> {
    pub fn new(env: &'a Env, name: &'a str) -> Self {
        Self {
            env,
            name,
            elect: true,
            quarantine: None,
            release: None,
            window_seconds: None,
            staging: None,
            notifications: None,
            changes: json!({}),
            packaging: None,
            variables: Vec::new(),
            settings: Vec::new(),
        }
    }

    /// Its configuration, with addresses of its own.
    pub fn config(&self, listen: &str) -> Value {
        let mut config = read_config(self.env, "controller");
        config["controller"]["listen"] = json!(listen);
        for (zone, endpoint) in [
            ("quarantine", self.quarantine),
            ("release", self.release),
            ("staging", self.staging),
        ] {
            if let Some(endpoint) = endpoint {
                config["storage"][zone]["endpoint"] = json!(endpoint);
            }
        }
        if let Some(packaging) = &self.packaging {
            for (key, value) in packaging.as_object().unwrap() {
                config["controller"]["packaging"][key] = value.clone();
            }
        }
        if let Some(notifications) = &self.notifications {
            config["notifications"] = notifications.clone();
        }
        if let Some(seconds) = self.window_seconds {
            let storage = config["storage"].as_object_mut().unwrap();
            storage.remove("release_retention_days");
            storage.insert("release_retention_seconds".into(), json!(seconds));
            storage.insert("allow_short_retention".into(), json!(true));
        }
        merge(&mut config, &self.changes);
        set(&mut config, &self.settings);
        config
    }

    /// Starts it, without waiting for anything.
    pub fn launch(&self) -> Spawned {
        let listen = free_address();
        let elect = format!("--leader-elect={}", self.elect);
        let child = spawn(
            self.env,
            "controller",
            self.name,
            &self.config(&listen),
            &[&elect, "--identity", self.name],
            &self.variables,
        );
        Spawned {
            child,
            url: format!("http://{listen}"),
            metrics: format!("http://{listen}/metrics"),
        }
    }

    /// Starts it and waits until it is ready, and leads: a leader that was killed
    /// before holds the Lease for a while.
    pub async fn start(&self) -> Spawned {
        let mut spawned = self.launch();
        let http = Http::default();
        spawned.is_ready(self.env, self.name, &http).await;
        let url = &spawned.metrics;
        ready(format!("{} leads", self.name), PATIENCE, || async {
            let metrics = http.get(url).await;
            let text = String::from_utf8_lossy(&metrics.body).into_owned();
            text.contains("\ntrevor_leader 1\n").then_some(())
        })
        .await;
        spawned
    }

    /// Starts it and waits until it is ready, while another one leads.
    pub async fn follows(&self) -> Spawned {
        let mut spawned = self.launch();
        spawned
            .is_ready(self.env, self.name, &Http::default())
            .await;
        spawned
    }
}

/// Sets parts of a configuration, whether they are there or not.
fn set(config: &mut Value, settings: &[(&str, Value)]) {
    for (pointer, value) in settings {
        let mut at = &mut *config;
        for part in pointer.split('/').skip(1) {
            at = &mut at[part];
        }
        *at = value.clone();
    }
}

impl Gateway<'_> {
    pub async fn start(&self) -> Spawned {
        self.start_set(&[]).await
    }

    /// With other parts of its configuration, by JSON pointer.
    pub async fn start_set(&self, settings: &[(&str, Value)]) -> Spawned {
        let mut changes = json!({});
        set(&mut changes, settings);
        self.start_with(&changes, &[], &Http::default()).await
    }

    /// With another configuration and more variables; ready when this client says so.
    pub async fn start_with(
        &self,
        changes: &Value,
        variables: &[(String, String)],
        http: &Http,
    ) -> Spawned {
        let mut config = read_config(self.env, "gateway");
        let listen = free_address();
        config["gateway"]["listen"] = json!(listen);
        config["gateway"]["metrics_listen"] = json!(free_address());
        config["controller"]["url"] = json!(self.controller);
        merge(&mut config, changes);
        let listen = config["gateway"]["listen"].as_str().unwrap().to_owned();
        let secure = config["gateway"]["tls"]["secret"].is_string();
        let url = format!("{}://{listen}", if secure { "https" } else { "http" });
        config["gateway"]["url"] = json!(url);
        let metrics = config["gateway"]["metrics_listen"].as_str().unwrap();
        let metrics = format!("http://{metrics}/metrics");
        let child = spawn(self.env, "gateway", self.name, &config, &[], variables);
        let mut spawned = Spawned {
            child,
            url,
            metrics,
        };
        spawned.is_ready(self.env, self.name, http).await;
        spawned
    }
}

impl Spawned {
    async fn is_ready(&mut self, env: &Env, name: &str, http: &Http) {
        let url = format!("{}/readyz", self.url);
        let address = self.url.rsplit('/').next().unwrap().to_owned();
        let log = env.folder().join("log").join(format!("{name}.log"));
        let up = ready(
            format!("{name} is ready ({})", log.display()),
            PATIENCE,
            || async {
                tokio::net::TcpStream::connect(&address).await.ok()?;
                (http.get(&url).await.status == 200).then_some(())
            },
        );
        tokio::select! {
            () = up => {}
            ended = self.child.wait() => panic!("{name} ended with {ended:?}: {}", std::fs::read_to_string(log).unwrap()),
        }
    }

    /// The most memory that it ever held, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let pid = self.child.id().expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib << 10
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends it a signal, by its word for `kill`.
    pub fn signal(&self, word: &str) {
        signal(word, &self.pid().to_string());
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// A number among its metrics.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let metrics = Http::default().get(&format!("{}/metrics", self.url)).await;
        let text = String::from_utf8_lossy(&metrics.body).into_owned();
        let line = text.lines().find(|l| l.split(' ').next() == Some(name))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// SIGKILL, and gone.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Waits for its end; gives its exit code.
    pub async fn ends(&mut self) -> Option<i32> {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        ended.expect("it ends").unwrap().code()
    }
}

/// Puts changes into a tree, key by key.
fn merge(tree: &mut Value, changes: &Value) {
    match changes {
        Value::Object(changes) if tree.is_object() => {
            for (key, value) in changes {
                merge(&mut tree[key.as_str()], value);
            }
        }
        other => *tree = other.clone(),
    }
}

/// What a process of the driver is configured with.
pub fn read_config(env: &Env, process: &str) -> Value {
    let text = std::fs::read_to_string(env.folder().join(format!("{process}.yaml"))).unwrap();
    serde_yaml::from_str(&text).unwrap()
}

/// The environment that the driver gives a process.
pub fn variables(env: &Env, process: &str) -> HashMap<String, String> {
    let text = std::fs::read_to_string(env.folder().join(format!("{process}.env"))).unwrap();
    text.lines()
        .filter_map(|l| l.split_once('='))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

fn spawn(
    env: &Env,
    process: &str,
    name: &str,
    config: &Value,
    arguments: &[&str],
    more: &[(String, String)],
) -> Child {
    // The driver makes the folder only for an operator of its own.
    std::fs::create_dir_all(env.folder().join("spool")).unwrap();
    let file = env.folder().join(format!("{name}.yaml"));
    std::fs::write(&file, config.to_string()).unwrap();
    let out = log(&env.folder().join("log").join(format!("{name}.log")));
    command(env, process)
        .env(
            "TREVOR_ENV_PROCESS",
            format!("{}#{name}", env.folder().display()),
        )
        .envs(more.iter().cloned())
        .arg(process)
        .arg("--config")
        .arg(file)
        .args(arguments)
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .spawn()
        .unwrap()
}

/// The program with the environment of a process, ended with its handle.
pub fn command(env: &Env, process: &str) -> Command {
    let mut command = Command::new(trevor());
    command
        .env_clear()
        .envs(variables(env, process))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

fn log(path: &Path) -> std::fs::File {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap()
}

/// An address that is free now.
pub fn free_address() -> String {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().to_string()
}
