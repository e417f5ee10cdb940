//! Between a process and the API server: a line that can be cut, and a server in front
//! that is busy, has conflicts, and ends watches early.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use http::Method;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::config::Kubeconfig;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::Env;
use super::http::{connector, roots};

/// A process's kubeconfig, read and with its server exchanged.
pub struct Account {
    config: Kubeconfig,
    folder: tempfile::TempDir,
}

impl Account {
    pub fn of(env: &Env, process: &str) -> Self {
        let file = env.folder().join(format!("{process}.kubeconfig"));
        Self {
            config: Kubeconfig::read_from(file).unwrap(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn cluster(&mut self) -> &mut kube::config::Cluster {
        self.config.clusters[0].cluster.as_mut().unwrap()
    }

    /// The server, as `https://host:port`.
    pub fn server(&mut self) -> String {
        self.cluster().server.clone().unwrap()
    }

    /// Whose word the server has, in PEM as base64.
    pub fn authority(&mut self) -> String {
        self.cluster().certificate_authority_data.clone().unwrap()
    }

    pub fn points_at(&mut self, url: &str) {
        self.cluster().server = Some(url.to_owned());
        let text = serde_yaml::to_string(&self.config).unwrap();
        std::fs::write(self.file(), text).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    pub fn variables(&self) -> Vec<(String, String)> {
        let file = self.file().to_str().unwrap().to_owned();
        vec![("KUBECONFIG".to_owned(), file)]
    }
}

/// The way to the API server, which can be cut.
pub struct Line {
    account: Account,
    address: String,
    server: String,
    open: Option<JoinHandle<()>>,
}

impl Line {
    /// Of a process, and open.
    pub async fn of(env: &Env, process: &str) -> Self {
        let mut account = Account::of(env, process);
        let server = account.server();
        let address = super::free_address();
        account.points_at(&format!("https://{address}"));
        let mut line = Self {
            account,
            address,
            server: server.trim_start_matches("https://").to_owned(),
            open: None,
        };
        line.mend().await;
        line
    }

    /// For the process, so that it goes this way.
    pub fn variables(&self) -> Vec<(String, String)> {
        self.account.variables()
    }

    /// Connections break, and new ones are refused.
    pub async fn cut(&mut self) {
        if let Some(open) = self.open.take() {
            open.abort();
            let _ = open.await;
        }
    }

    /// Open again.
    pub async fn mend(&mut self) {
        let listener = TcpListener::bind(&self.address).await.unwrap();
        let server = self.server.clone();
        self.open = Some(tokio::spawn(async move {
            // Aborted with this task.
            let mut connections = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let server = server.clone();
                connections.spawn(async move {
                    let mut far = TcpStream::connect(server).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        }));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(open) = &self.open {
            open.abort();
        }
    }
}

/// How long the busy server keeps a watch open.
const WATCH: Duration = Duration::from_secs(2);

/// A server that answers every tenth call with 429, every fifth write with 409, and
/// ends each watch after two seconds.
pub struct Busy {
    account: Account,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    behind: String,
    client: Client<HttpsConnector<HttpConnector>, Body>,
    calls: AtomicUsize,
    writes: AtomicUsize,
    refused: Mutex<[usize; 2]>,
}

impl Busy {
    /// Before the API server of a process.
    pub async fn before(env: &Env, process: &str) -> Self {
        let mut account = Account::of(env, process);
        let behind = account.server();
        let authority = account.cluster().certificate_authority_data.clone();
        let shared = Arc::new(Shared {
            behind,
            client: client(&authority.unwrap()),
            calls: AtomicUsize::default(),
            writes: AtomicUsize::default(),
            refused: Mutex::default(),
        });
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        account.points_at(&format!("http://{}", socket.local_addr().unwrap()));
        let router = Router::new().fallback(pass).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move { axum::serve(socket, router).await.unwrap() });
        Self {
            account,
            shared,
            task,
        }
    }

    /// For the process, so that it goes this way.
    pub fn variables(&self) -> Vec<(String, String)> {
        self.account.variables()
    }

    /// How many calls were answered with 429, and how many with 409.
    pub fn refused(&self) -> [usize; 2] {
        *self.shared.refused.lock().unwrap()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn client(authority: &str) -> Client<HttpsConnector<HttpConnector>, Body> {
    let pem = STANDARD.decode(authority).unwrap();
    let roots = roots(std::str::from_utf8(&pem).unwrap());
    Client::builder(TokioExecutor::new()).build(connector(roots))
}

async fn pass(State(shared): State<Arc<Shared>>, mut request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let writes = *request.method() != Method::GET && !query.contains("dryRun=");
    let watches = query.contains("watch=");
    let every = |nth, count: &AtomicUsize| count.fetch_add(1, Relaxed) % nth == nth - 1;
    if every(10, &shared.calls) {
        shared.refused.lock().unwrap()[0] += 1;
        return refusal(429, "TooManyRequests");
    }
    if writes && every(5, &shared.writes) {
        shared.refused.lock().unwrap()[1] += 1;
        return refusal(409, "Conflict");
    }
    let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
    *request.uri_mut() = format!("{}{path}", shared.behind).parse().unwrap();
    request.headers_mut().remove(http::header::HOST);
    let answer = shared.client.request(request).await.unwrap().map(Body::new);
    if !watches {
        return answer;
    }
    answer.map(|body| {
        let end = Box::pin(tokio::time::sleep(WATCH));
        Body::from_stream(body.into_data_stream().take_until(end))
    })
}

pub fn refusal(code: u16, reason: &str) -> Response {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
        "code": code, "reason": reason, "message": "as the test wants it"});
    let answer = Response::builder()
        .status(code)
        .header("content-type", "application/json");
    let answer = if code == 429 {
        answer.header("retry-after", "1")
    } else {
        answer
    };
    answer.body(Body::from(status.to_string())).unwrap()
}
