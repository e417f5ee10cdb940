//! HTTP listeners with limits that hold before a caller is authenticated. The head of a request has
//! at most 16 KiB and 15 seconds. Connections are limited in total and by peer ([`connections`]). A
//! connection ends when its peer stalls ([`flush`]). At a shutdown calls in flight may finish.

mod connections;
mod flush;

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

use connections::ConnectionPermit;
pub use connections::{ActiveCall, Connection, ConnectionLimiter, ConnectionLimits};
pub use flush::Flushes;
use flush::MonitoredStream;

/// How long the head of a request may take, and how long a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// The largest head of a request, and the size of the read buffer.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// The configuration of a listener.
#[derive(Clone)]
pub struct Listener {
    /// Limits the connections.
    pub connections: Arc<ConnectionLimiter>,
    /// Makes the TLS acceptor of each connection, so that a renewed certificate is served. None for
    /// plain HTTP.
    pub tls: Option<Arc<dyn Fn() -> TlsAcceptor + Send + Sync>>,
    /// How long a connection may take in total. With a limit each connection serves one call.
    pub total: Option<Duration>,
}

impl Listener {
    /// For short calls, such as probes, metrics and hints.
    #[must_use]
    pub fn short() -> Self {
        let limits = ConnectionLimits {
            total: 256,
            per_peer: 64,
        };
        Self {
            connections: ConnectionLimiter::new(limits),
            tls: None,
            total: Some(Duration::from_secs(10)),
        }
    }
}

/// Accepts connections until `shutdown`, and answers their requests. Returns the connections that
/// are still open, which `abort` ends.
pub async fn accept<F, A>(
    socket: TcpListener,
    listener: Listener,
    (shutdown, abort): (CancellationToken, CancellationToken),
    answer: F,
) -> TaskTracker
where
    F: Fn(Request<Body>, Flushes) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
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
        // Without a permit the connection is closed, because `stream` is dropped.
        let Some(permit) = listener.connections.acquire(from) else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (listener, answer) = (listener.clone(), answer.clone());
        let (shutdown, abort) = (shutdown.clone(), abort.clone());
        connections.spawn(async move {
            let evicted = permit.evict.clone();
            let served = connection(stream, listener, permit, shutdown, answer);
            tokio::select! {
                () = served => {}
                () = abort.cancelled() => {}
                () = evicted.cancelled() => debug!(%from, "an idle connection made room for another"),
            }
        });
    }
    drop(socket);
    connections.close();
    connections
}

/// Accepts connections until `shutdown`, which also ends open ones. For short calls.
pub async fn serve_short<F, A>(
    socket: TcpListener,
    listener: Listener,
    shutdown: CancellationToken,
    answer: F,
) where
    F: Fn(Request<Body>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let abort = shutdown.clone();
    accept(socket, listener, (shutdown, abort), move |request, _| {
        answer(request)
    })
    .await;
}

async fn connection<S, F, A>(
    stream: S,
    listener: Listener,
    permit: ConnectionPermit,
    shutdown: CancellationToken,
    answer: F,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Body>, Flushes) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let total = listener.total;
    let served = async {
        let Some(tls) = listener.tls.as_ref().map(|tls| tls()) else {
            return http(stream, total.is_none(), permit, shutdown, answer).await;
        };
        match tokio::time::timeout(HEAD_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => http(stream, total.is_none(), permit, shutdown, answer).await,
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

async fn http<S, F, A>(
    stream: S,
    keep_alive: bool,
    permit: ConnectionPermit,
    shutdown: CancellationToken,
    answer: F,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Body>, Flushes) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let (stream, flushes) = MonitoredStream::new(stream);
    let connection = permit.connection();
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(connection.clone());
        let answered = answer(request, flushes.clone());
        async move { Ok::<_, Infallible>(track_body(answered.await)) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .keep_alive(keep_alive)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection broke off");
    }
    drop(permit);
}

/// Keeps the connection active until the body of the response is sent.
fn track_body(mut response: Response<Body>) -> Response<Body> {
    match response.extensions_mut().remove::<ActiveCall>() {
        Some(call) => response.map(|body| Body::new(TrackedBody { body, _call: call })),
        None => response,
    }
}

struct TrackedBody {
    body: Body,
    _call: ActiveCall,
}

impl http_body::Body for TrackedBody {
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
