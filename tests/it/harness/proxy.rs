//! A proxy before a storage server: counts what passes, and can behave as other
//! servers do. Headers pass as they are, `Host` included, so that signatures hold.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{Method, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// How the server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As it is.
    AsItIs,
    /// A create-only write of a key that is there is answered as if it had worked.
    IgnoresCreateOnly,
    /// Headers of this name have no effect and no part in signatures: as if the
    /// server took them without asking who signed them.
    Takes(&'static str),
    /// Objects are kept, and the answer is 200 with an error inside for one of them.
    Keeps(&'static str),
    /// Answers say that it is so many seconds later than it is.
    Later(i64),
    /// Every call is answered with a status and an S3 error code.
    Refuses(u16, &'static str),
    /// An operation that is not there, by the word that its query begins with: 501.
    Lacks(&'static str),
    /// Calls whose bucket and key have this in them are answered with 503.
    Busy(&'static str),
}

/// What becomes of the calls that are picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// They do not arrive, and are not answered.
    Instead,
    /// They arrive, and a copy of each is kept.
    Besides,
}

/// Picks calls.
pub type Pick = fn(&Call) -> bool;

/// One call that passed.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: Method,
    /// Bucket and key.
    pub path: String,
    pub query: String,
}

impl Call {
    /// Whether it changes something (all POSTs of S3 do).
    pub fn writes(&self) -> bool {
        matches!(self.method, Method::PUT | Method::POST | Method::DELETE)
    }
}

/// A running proxy.
pub struct Proxy {
    pub url: String,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    behind: String,
    mode: Mutex<Mode>,
    calls: Mutex<Vec<Call>>,
    keeps: Mutex<Option<(Keep, Pick)>>,
    kept: Mutex<Vec<http::Request<Bytes>>>,
    client: Client<HttpConnector, Body>,
}

impl Proxy {
    pub async fn before(endpoint: &str) -> Self {
        let shared = Arc::new(Shared {
            behind: endpoint.to_owned(),
            mode: Mutex::new(Mode::AsItIs),
            calls: Mutex::default(),
            keeps: Mutex::default(),
            kept: Mutex::default(),
            client: Client::builder(TokioExecutor::new()).build_http(),
        });
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        let router = Router::new().fallback(pass).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move { axum::serve(socket, router).await.unwrap() });
        Self { url, shared, task }
    }

    pub fn behaves(&self, mode: Mode) {
        *self.shared.mode.lock().unwrap() = mode;
    }

    /// Keeps those calls that are picked, from now on.
    pub fn keeps(&self, keep: Keep, pick: Pick) {
        *self.shared.keeps.lock().unwrap() = Some((keep, pick));
    }

    /// How many were kept.
    pub fn kept(&self) -> usize {
        self.shared.kept.lock().unwrap().len()
    }

    /// Takes out what was kept.
    pub fn sent_later(&self) -> Vec<http::Request<Bytes>> {
        std::mem::take(&mut *self.shared.kept.lock().unwrap())
    }

    /// Sends what was kept, late; gives how each was answered.
    pub async fn sends(&self, kept: Vec<http::Request<Bytes>>) -> Vec<StatusCode> {
        let mut answers = Vec::new();
        for request in kept {
            let sent = self.shared.client.request(request.map(Body::from)).await;
            answers.push(sent.unwrap().status());
        }
        answers
    }

    /// What passed since the last time this was asked.
    pub fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.shared.calls.lock().unwrap())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(State(shared): State<Arc<Shared>>, mut request: Request) -> Response {
    let mode = *shared.mode.lock().unwrap();
    let call = Call {
        method: request.method().clone(),
        path: request.uri().path().trim_start_matches('/').to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
    };
    shared.calls.lock().unwrap().push(call.clone());
    let refused = match mode {
        Mode::Refuses(status, code) => Some((status, code)),
        Mode::Lacks(operation) if call.query.starts_with(operation) => {
            Some((501, "NotImplemented"))
        }
        Mode::Busy(place) if call.path.contains(place) => Some((503, "SlowDown")),
        _ => None,
    };
    if let Some((status, code)) = refused {
        let body = format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>as the test wants it</Message></Error>"
        );
        return Response::builder()
            .status(status)
            .header("content-type", "application/xml")
            .body(Body::from(body))
            .unwrap();
    }
    if let Mode::Keeps(code) = mode
        && call.method == Method::POST
        && call.query.starts_with("delete")
    {
        let body = format!(
            "<?xml version=\"1.0\"?><DeleteResult><Error><Key>as/the/test/wants</Key><Code>{code}</Code></Error></DeleteResult>"
        );
        let answer = Response::builder().header("content-type", "application/xml");
        return answer.body(Body::from(body)).unwrap();
    }
    if let Mode::Takes(header) = mode {
        request.headers_mut().remove(header);
    }
    let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
    *request.uri_mut() = format!("{}{path}", shared.behind).parse().unwrap();
    let keeps = *shared.keeps.lock().unwrap();
    if let Some((keep, _)) = keeps.filter(|(_, pick)| pick(&call)) {
        let (head, body) = request.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let whole = http::Request::from_parts(head, bytes);
        shared.kept.lock().unwrap().push(whole.clone());
        if keep == Keep::Instead {
            std::future::pending::<()>().await;
        }
        request = whole.map(Body::from);
    }
    match shared.client.request(request).await {
        Ok(answer)
            if mode == Mode::IgnoresCreateOnly
                && answer.status() == StatusCode::PRECONDITION_FAILED =>
        {
            let ok = Response::builder()
                .header("etag", "\"0\"")
                .header("x-amz-server-side-encryption", "AES256");
            ok.body(Body::empty()).unwrap()
        }
        Ok(mut answer) => {
            if let Mode::Later(seconds) = mode {
                let then = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
                let date = then.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
                answer.headers_mut().insert("date", date.parse().unwrap());
            }
            answer.map(Body::new)
        }
        Err(error) => Response::builder()
            .status(502)
            .body(Body::from(error.to_string()))
            .unwrap(),
    }
}
