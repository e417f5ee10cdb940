//! A server in front of the API server that holds watches of a kind back, as a watch lags,
//! and fails chosen writes.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use futures::StreamExt as _;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Env;
use super::api_server::{Account, client, refusal};

/// Before the API server of a process.
pub struct Lagging {
    account: Account,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    behind: String,
    client: Client<HttpsConnector<HttpConnector>, Body>,
    /// The kind whose watches tell nothing, by its plural.
    held: watch::Sender<Option<&'static str>>,
    /// So many writes to what has this in its path are answered with 500.
    fails: Mutex<Option<(String, usize)>>,
    failed: Mutex<usize>,
}

impl Lagging {
    pub async fn before(env: &Env, process: &str) -> Self {
        let mut account = Account::of(env, process);
        let behind = account.server();
        let authority = account.authority();
        let shared = Arc::new(Shared {
            behind,
            client: client(&authority),
            held: watch::Sender::new(None),
            fails: Mutex::default(),
            failed: Mutex::default(),
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

    /// Watches of a kind tell nothing more from now on, until they are let go.
    pub fn holds(&self, plural: &'static str) {
        self.shared.held.send_replace(Some(plural));
    }

    /// They tell what they held back.
    pub fn lets_go(&self) {
        self.shared.held.send_replace(None);
    }

    /// Writes to what has this in its path fail from now on.
    pub fn fails(&self, path: Option<String>) {
        *self.shared.fails.lock().unwrap() = path.map(|path| (path, usize::MAX));
    }

    /// The next so many writes to what has this in its path fail.
    pub fn fails_times(&self, path: String, times: usize) {
        *self.shared.fails.lock().unwrap() = Some((path, times));
    }

    /// How many did.
    pub fn failed(&self) -> usize {
        *self.shared.failed.lock().unwrap()
    }
}

impl Shared {
    fn is_to_fail(&self, path: &str) -> bool {
        let mut fails = self.fails.lock().unwrap();
        let Some((part, times)) = fails.as_mut() else {
            return false;
        };
        if *times == 0 || !path.contains(part.as_str()) {
            return false;
        }
        *times -= 1;
        true
    }
}

impl Drop for Lagging {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(State(shared): State<Arc<Shared>>, mut request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let path = request.uri().path().to_owned();
    let writes = *request.method() != http::Method::GET;
    if writes && shared.is_to_fail(&path) {
        *shared.failed.lock().unwrap() += 1;
        return refusal(500, "InternalError");
    }
    let target = request.uri().path_and_query().map_or("/", |p| p.as_str());
    *request.uri_mut() = format!("{}{target}", shared.behind).parse().unwrap();
    request.headers_mut().remove(http::header::HOST);
    let answer = shared.client.request(request).await.unwrap().map(Body::new);
    if !query.contains("watch=") {
        return answer;
    }
    let kind = path.rsplit('/').next().unwrap_or_default().to_owned();
    let held = shared.held.subscribe();
    answer.map(|body| {
        Body::from_stream(body.into_data_stream().then(move |chunk| {
            let (kind, mut held) = (kind.clone(), held.clone());
            async move {
                let free = |held: &Option<&'static str>| *held != Some(kind.as_str());
                // The sender is gone when the server is.
                drop(held.wait_for(free).await);
                chunk
            }
        }))
    })
}
