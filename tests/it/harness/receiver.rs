//! Who is told: an HTTP receiver, and a mail server that keeps what it gets.

use std::process::Stdio;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use trevor_net::tls::issue::Pair;

use super::Env;

/// How a receiver answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    Takes,
    Refuses(u16),
    /// So many times 500, then it takes.
    FailsFirst(usize),
    /// To a place where nobody must come.
    Redirects,
    Hangs,
}

/// What came.
#[derive(Clone, Debug)]
pub struct Received {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A running HTTP receiver.
pub struct Receiver {
    pub address: std::net::SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    answers: Mutex<Answers>,
    asked: Mutex<usize>,
    got: Mutex<Vec<Received>>,
}

impl Receiver {
    pub async fn new(answers: Answers) -> Self {
        let shared = Arc::new(Shared {
            answers: Mutex::new(answers),
            asked: Mutex::default(),
            got: Mutex::default(),
        });
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let router = Router::new().fallback(take).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move { axum::serve(socket, router).await.unwrap() });
        Self {
            address,
            shared,
            task,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub fn answers(&self, answers: Answers) {
        *self.shared.answers.lock().unwrap() = answers;
    }

    /// Calls so far, however they were answered.
    pub fn calls(&self) -> usize {
        *self.shared.asked.lock().unwrap()
    }

    /// Everything that was taken.
    pub fn got(&self) -> Vec<Received> {
        self.shared.got.lock().unwrap().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(shared): State<Arc<Shared>>, request: axum::extract::Request) -> Response {
    let asked = {
        let mut asked = shared.asked.lock().unwrap();
        *asked += 1;
        *asked
    };
    let answers = *shared.answers.lock().unwrap();
    let status = match answers {
        Answers::FailsFirst(times) if asked <= times => 500,
        Answers::Takes | Answers::FailsFirst(_) => 204,
        Answers::Refuses(status) => status,
        Answers::Redirects => 307,
        Answers::Hangs => std::future::pending().await,
    };
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    if status == 204 || head.uri.path() != "/hook" {
        shared.got.lock().unwrap().push(Received {
            path: head.uri.path().to_owned(),
            headers: head.headers,
            body,
        });
    }
    let mut answer = Response::builder().status(status);
    if status == 307 {
        answer = answer.header("location", "/elsewhere");
    }
    answer.body(Body::empty()).unwrap()
}

/// A running mail server.
pub struct Mailbox {
    pub port: u16,
    folder: tempfile::TempDir,
    _child: Child,
}

impl Mailbox {
    /// One that refuses some addresses.
    pub async fn new(env: &Env, refused: &[&str]) -> Self {
        Self::with(env, refused).await
    }

    /// One that speaks TLS, from the start or by STARTTLS, or pretends to (`mode`), and
    /// where `user` may log in.
    pub async fn secured(env: &Env, mode: &str, pair: &Pair, user: (&str, &str)) -> Self {
        let files = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = files.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let certificate = file("tls.crt", &pair.certificate);
        let key = file("tls.key", &pair.key);
        Self::with(
            env,
            &[
                "--mode",
                mode,
                "--certificate",
                &certificate,
                "--key",
                &key,
                "--user",
                user.0,
                "--password",
                user.1,
            ],
        )
        .await
    }

    async fn with(env: &Env, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let checkout = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new(env.variable("TREVOR_SMTP_PYTHON"))
            .arg(checkout.join("tests/it/smtp_server.py"))
            .arg(folder.path())
            .args(arguments)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines
            .next_line()
            .await
            .unwrap()
            .expect("it prints its port");
        Self {
            port: port.parse().unwrap(),
            folder,
            _child: child,
        }
    }

    /// Names that logged in or tried to, in whatever way.
    pub fn logins(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("logins.txt")).unwrap_or_default()
    }

    /// Every mail so far: recipients, and what was sent.
    pub fn mails(&self) -> Vec<(Vec<String>, String)> {
        let mut files: Vec<_> = std::fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "json"))
            .collect();
        files.sort();
        let read = |path: &std::path::PathBuf| {
            let mail: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            let to = serde_json::from_value(mail["to"].clone()).unwrap();
            (to, mail["data"].as_str().unwrap().to_owned())
        };
        files.iter().map(read).collect()
    }
}
