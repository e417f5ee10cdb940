//! A storage server that fails as it is told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::HeaderMap;
use http_body_util::BodyExt as _;

use crate::transfer::Address;

/// What one call gets instead of its due.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// A status, and the name of an error.
    Status(u16, &'static str),
    /// The connection breaks after so many bytes of the answer, or of the request.
    Cut(usize),
    /// Nothing comes.
    Silence,
}

#[derive(Debug, Default)]
struct Shared {
    object: Mutex<(Vec<u8>, String)>,
    no_ranges: bool,
    faults: Mutex<Vec<Fault>>,
    seen: Mutex<Vec<HeaderMap>>,
    stored: Mutex<BTreeMap<String, Vec<u8>>>,
    under_way: AtomicUsize,
    most: AtomicUsize,
    sent: AtomicUsize,
}

/// A running server.
pub(super) struct Server {
    shared: Arc<Shared>,
    address: String,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(super) async fn with(object: Vec<u8>) -> Self {
        Self::start(object, false).await
    }

    pub(super) async fn without_ranges(object: Vec<u8>) -> Self {
        Self::start(object, true).await
    }

    async fn start(object: Vec<u8>, no_ranges: bool) -> Self {
        let shared = Arc::new(Shared {
            object: Mutex::new((object, "\"one\"".to_owned())),
            no_ranges,
            ..Shared::default()
        });
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", socket.local_addr().unwrap());
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move { axum::serve(socket, router).await.unwrap() });
        Self {
            shared,
            address,
            task,
        }
    }

    pub(super) fn url(&self, path: &str) -> Address {
        let text = format!("{}/{path}?X-Amz-Signature=geheim", self.address);
        Address::parse(&text, false).unwrap()
    }

    /// The next calls fail so, one after the other.
    pub(super) fn fails(&self, faults: impl IntoIterator<Item = Fault>) {
        let mut next: Vec<Fault> = faults.into_iter().collect();
        next.reverse();
        *self.shared.faults.lock().unwrap() = next;
    }

    pub(super) fn replace(&self, object: Vec<u8>, etag: &str) {
        *self.shared.object.lock().unwrap() = (object, etag.to_owned());
    }

    /// The fields of every call since the last look.
    pub(super) fn seen(&self) -> Vec<HeaderMap> {
        std::mem::take(&mut self.shared.seen.lock().unwrap())
    }

    pub(super) fn stored(&self, path: &str) -> Option<Vec<u8>> {
        self.shared.stored.lock().unwrap().get(path).cloned()
    }

    /// Calls at the same time, at most.
    pub(super) fn most(&self) -> usize {
        self.shared.most.load(Ordering::Relaxed)
    }

    /// Bytes that went out.
    pub(super) fn sent(&self) -> usize {
        self.shared.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    shared.seen.lock().unwrap().push(request.headers().clone());
    let fault = shared.faults.lock().unwrap().pop();
    match fault {
        Some(Fault::Status(status, code)) => {
            let _ = request.into_body().collect().await;
            let text = format!("<Error><Code>{code}</Code><Resource>geheim</Resource></Error>");
            return Response::builder()
                .status(status)
                .body(text.into())
                .unwrap();
        }
        Some(Fault::Silence) => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
        _ => {}
    }
    let cut = match fault {
        Some(Fault::Cut(after)) => Some(after),
        _ => None,
    };
    if request.method() == http::Method::PUT {
        take(&shared, request, cut).await
    } else {
        give(&shared, &request, cut)
    }
}

async fn take(shared: &Shared, request: Request, cut: Option<usize>) -> Response {
    let now = shared.under_way.fetch_add(1, Ordering::Relaxed) + 1;
    shared.most.fetch_max(now, Ordering::Relaxed);
    let path = request.uri().path().trim_start_matches('/').to_owned();
    let mut body = request.into_body().into_data_stream();
    let mut bytes = Vec::new();
    while let Some(Ok(piece)) = body.next().await {
        bytes.extend_from_slice(&piece);
        if cut.is_some_and(|after| bytes.len() > after) {
            shared.under_way.fetch_sub(1, Ordering::Relaxed);
            // An answer that breaks, while the rest of the request is not read.
            return broken(Vec::new());
        }
    }
    shared.stored.lock().unwrap().insert(path, bytes);
    shared.under_way.fetch_sub(1, Ordering::Relaxed);
    Response::new(Body::empty())
}

fn give(shared: &Shared, request: &Request, cut: Option<usize>) -> Response {
    let (object, etag) = shared.object.lock().unwrap().clone();
    let field = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok());
    let range = field("range")
        .filter(|_| !shared.no_ranges)
        .filter(|_| field("if-range").is_none_or(|wanted| wanted == etag));
    let mut answer = Response::builder().header("etag", &etag).header(
        "content-disposition",
        "attachment; filename=\"frailty-1a2b.zip\"",
    );
    let bytes = match range {
        Some(range) => {
            let (first, last) = range
                .strip_prefix("bytes=")
                .and_then(|r| r.split_once('-'))
                .unwrap();
            let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
            if first >= object.len() {
                return Response::builder().status(416).body(Body::empty()).unwrap();
            }
            let last = last.min(object.len() - 1);
            let whole = format!("bytes {first}-{last}/{}", object.len());
            answer = answer.status(206).header("content-range", whole);
            object[first..=last].to_vec()
        }
        None => object,
    };
    if let Some(after) = cut.filter(|after| *after < bytes.len()) {
        shared.sent.fetch_add(after, Ordering::Relaxed);
        let mut response = broken(bytes[..after].to_vec());
        let (parts, _) = answer.body(()).unwrap().into_parts();
        *response.status_mut() = parts.status;
        response.headers_mut().extend(parts.headers);
        return response;
    }
    shared.sent.fetch_add(bytes.len(), Ordering::Relaxed);
    answer
        .header("content-length", bytes.len())
        .body(bytes.into())
        .unwrap()
}

/// A body that ends with its connection.
fn broken(bytes: Vec<u8>) -> Response {
    let pieces = [
        Ok(Bytes::from(bytes)),
        Err(std::io::Error::other("as the test wants it")),
    ];
    // Not at once, so that the first bytes are on their way.
    let slow = stream::iter(pieces).then(|piece| async {
        if piece.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        piece
    });
    Response::new(Body::from_stream(slow))
}
