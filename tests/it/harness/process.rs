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
    /// What of `controller.packaging` is another.
    pub packaging: Option<Value>,
    /// Variables beside those of the driver.
    pub variables: Vec<(String, String)>,
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
            packaging: None,
            variables: Vec::new(),
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
        }
    }

    /// Starts it and waits until it is ready, and leads: a leader that was killed
    /// before holds the Lease for a while.
    pub async fn start(&self) -> Spawned {
        let mut spawned = self.launch();
        spawned.is_ready(self.env, self.name).await;
        let (http, url) = (Http::default(), format!("{}/metrics", spawned.url));
        ready(format!("{} leads", self.name), PATIENCE, || async {
            let metrics = http.get(&url).await;
            let text = String::from_utf8_lossy(&metrics.body).into_owned();
            text.contains("\ntrevor_leader 1\n").then_some(())
        })
        .await;
        spawned
    }
}

impl Gateway<'_> {
    pub async fn start(&self) -> Spawned {
        let mut config = read_config(self.env, "gateway");
        let listen = free_address();
        config["gateway"]["listen"] = json!(listen);
        config["gateway"]["metrics_listen"] = json!(free_address());
        config["gateway"]["url"] = json!(format!("http://{listen}"));
        config["controller"]["url"] = json!(self.controller);
        let child = spawn(self.env, "gateway", self.name, &config, &[], &[]);
        let mut spawned = Spawned {
            child,
            url: format!("http://{listen}"),
        };
        spawned.is_ready(self.env, self.name).await;
        spawned
    }
}

impl Spawned {
    async fn is_ready(&mut self, env: &Env, name: &str) {
        let (http, url) = (Http::default(), format!("{}/readyz", self.url));
        let address = self.url.strip_prefix("http://").unwrap().to_owned();
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
