//! Sockets that others open: every listener of ours accepts, bounds and ends connections
//! in this one way, before anybody is known. The head of a request has at most 16 KiB and
//! 15 seconds, connections are bounded in all and by peer ([`places`]), one whose peer
//! takes nothing ends ([`flush`]), and a call under way may finish when the process ends.

mod flush;
mod places;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

pub use flush::Flushes;
use flush::Watched;
use places::Place;
pub use places::{Busy, Connection, Most, Places};

/// How long the head of a request may take, and a connection be idle.
const HEAD: Duration = Duration::from_secs(15);
/// Bytes of the head of a request, and of what is read at once.
const HEAD_BYTES: usize = 16 * 1024;

/// How a listener serves.
#[derive(Clone)]
pub struct Listener {
    /// How many connections, and of whom.
    pub places: Arc<Places>,
    /// With which certificate; it may be another for the next connection.
    pub tls: Option<Arc<dyn Fn() -> TlsAcceptor + Send + Sync>>,
    /// How long a connection may take in all, where calls are short: then it has one call.
    pub total: Option<Duration>,
}

impl Listener {
    /// For short calls, such as probes, numbers and hints.
    #[must_use]
    pub fn short() -> Self {
        let most = Most {
            connections: 256,
            per_peer: 64,
        };
        Self {
            places: Places::new(most),
            tls: None,
            total: Some(Duration::from_secs(10)),
        }
    }
}

/// Accepts connections until the end is asked for, and answers their requests. Gives those
/// that are still open.
pub async fn accept<F, A>(
    socket: TcpListener,
    listener: Listener,
    (end, cut): (CancellationToken, CancellationToken),
    answer: F,
) -> TaskTracker
where
    F: Fn(Request<Body>, Flushes) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = end.cancelled() => break,
            accepted = socket.accept() => accepted,
        };
        let (stream, from) = match accepted {
            Ok((stream, from)) => (stream, from.ip()),
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Dropped, it is closed: all places are taken by who works.
        let Some(place) = listener.places.take(from) else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (listener, answer) = (listener.clone(), answer.clone());
        let (end, cut) = (end.clone(), cut.clone());
        connections.spawn(async move {
            let displaced = place.end.clone();
            let served = connection(stream, listener, place, end, answer);
            tokio::select! {
                () = served => {}
                () = cut.cancelled() => {}
                () = displaced.cancelled() => debug!(%from, "an idle connection made room for another"),
            }
        });
    }
    drop(socket);
    connections.close();
    connections
}

/// Listens for short calls for as long as the process lives.
pub async fn serve_short<F, A>(
    socket: TcpListener,
    listener: Listener,
    end: CancellationToken,
    answer: F,
) where
    F: Fn(Request<Body>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let cut = end.clone();
    accept(socket, listener, (end, cut), move |request, _| {
        answer(request)
    })
    .await;
}

async fn connection<S, F, A>(
    stream: S,
    listener: Listener,
    place: Place,
    end: CancellationToken,
    answer: F,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Body>, Flushes) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let total = listener.total;
    let served = async {
        let Some(tls) = listener.tls.as_ref().map(|tls| tls()) else {
            return http(stream, total.is_none(), place, end, answer).await;
        };
        match tokio::time::timeout(HEAD, tls.accept(stream)).await {
            Ok(Ok(stream)) => http(stream, total.is_none(), place, end, answer).await,
            Ok(Err(error)) => debug!(%error, "no TLS connection came to be"),
            Err(_) => debug!("a TLS handshake took too long"),
        }
    };
    match total {
        None => served.await,
        Some(total) => {
            if tokio::time::timeout(total, served).await.is_err() {
                debug!("a connection took too long");
            }
        }
    }
}

async fn http<S, F, A>(stream: S, keep_alive: bool, place: Place, end: CancellationToken, answer: F)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Body>, Flushes) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let (stream, flushes) = Watched::new(stream);
    let known = place.connection();
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(known.clone());
        let answered = answer(request, flushes.clone());
        async move { Ok::<_, Infallible>(kept(answered.await)) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .keep_alive(keep_alive)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = end.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection broke off");
    }
    drop(place);
}

/// A connection is at work until the body of its answer is gone.
fn kept(mut response: Response<Body>) -> Response<Body> {
    match response.extensions_mut().remove::<Busy>() {
        Some(busy) => response.map(|body| Body::new(Kept { body, _busy: busy })),
        None => response,
    }
}

struct Kept {
    body: Body,
    _busy: Busy,
}

impl http_body::Body for Kept {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
