//! Sockets: accepting, TLS, HTTP/1.1 with bounds, and an end that lets calls
//! under way finish.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::edge;
use super::flush::Watched;
use super::state::Gateway;
use super::tls::{Tls, TlsError};
use crate::storage::{ShortLived, StorageError};

/// Open connections.
const CONNECTIONS: usize = 4096;
/// How long the head of a request may take, and a connection be idle.
const HEAD: Duration = Duration::from_secs(15);
/// Bytes of a head, and of what is read at once.
const READ_BUFFER: usize = 128 * 1024;
/// How long calls under way may take to end.
const ENDING: Duration = Duration::from_secs(25);
/// And so long the process stays, so that a call which was cut off is refused and not lost.
const HEARD: Duration = Duration::from_secs(2);

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The address cannot be used.
    #[error("configuration key {key}: cannot listen on {address}: {source}")]
    Listen {
        /// Of the configuration.
        key: &'static str,
        /// What it says.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Nothing signs URLs now.
    #[error("configuration key {key}: {source}")]
    Signing {
        /// Of the configuration.
        key: &'static str,
        /// Why not.
        source: StorageError,
    },
    /// URLs would die before their time.
    #[error(transparent)]
    ShortLived(#[from] ShortLived),
}

/// Listens on an address.
///
/// # Errors
/// With the key of the configuration.
pub async fn listen(key: &'static str, address: &str) -> Result<TcpListener, GatewayError> {
    let listening = TcpListener::bind(address).await;
    listening.map_err(|source| GatewayError::Listen {
        key,
        address: address.to_owned(),
        source,
    })
}

/// Serves until the end is asked for, and a little longer.
pub async fn run(
    gateway: Arc<Gateway>,
    listener: TcpListener,
    tls: Option<Tls>,
    end: CancellationToken,
) {
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let cut = CancellationToken::new();
    loop {
        let place = tokio::select! {
            () = end.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let stream = tokio::select! {
            () = end.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let (gateway, tls, end) = (Arc::clone(&gateway), tls.clone(), end.clone());
        let cut = cut.clone();
        connections.spawn(async move {
            let _place = place;
            let served = connection(gateway, stream, tls, end);
            cut.run_until_cancelled(served).await;
        });
    }
    drop(listener);
    info!(
        open = connections.len(),
        "ending: calls under way may finish"
    );
    connections.close();
    if tokio::time::timeout(ENDING, connections.wait())
        .await
        .is_err()
    {
        warn!(open = connections.len(), "ending: some calls are cut off");
        cut.cancel();
        // Whoever sends on hears that nobody listens, as long as there is a network to say so.
        tokio::time::sleep(HEARD).await;
    }
    gateway.tasks.close();
    let _ = tokio::time::timeout(Duration::from_secs(4), gateway.tasks.wait()).await;
}

async fn connection(
    gateway: Arc<Gateway>,
    stream: TcpStream,
    tls: Option<Tls>,
    end: CancellationToken,
) {
    let metrics = Arc::clone(&gateway.metrics);
    let _open = metrics.connection();
    let _ = stream.set_nodelay(true);
    match tls {
        None => http(gateway, stream, end).await,
        Some(tls) => match tokio::time::timeout(HEAD, tls.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => http(gateway, stream, end).await,
            Ok(Err(error)) => debug!(%error, "no TLS connection came to be"),
            Err(_) => debug!("a TLS handshake took too long"),
        },
    }
}

async fn http<S>(gateway: Arc<Gateway>, stream: S, end: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (stream, flushes) = Watched::new(stream);
    let service = service_fn(move |request: Request<Incoming>| {
        let (gateway, flushes) = (Arc::clone(&gateway), flushes.clone());
        async move { Ok::<_, Infallible>(edge::serve(gateway, flushes, request.map(Body::new)).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(READ_BUFFER)
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
}

/// Serves the numbers, to anyone who reaches the port.
pub async fn run_metrics(
    gateway: Arc<Gateway>,
    tls: Option<Tls>,
    listener: TcpListener,
    end: CancellationToken,
) {
    loop {
        let stream = tokio::select! {
            () = end.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = stream else { continue };
        let (gateway, tls) = (Arc::clone(&gateway), tls.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let known = request.uri().path() == "/metrics";
                let text = if known {
                    [
                        gateway.metrics.render(gateway.shares.used()),
                        crate::storage::failures("trevor_storage_errors_total"),
                    ]
                    .concat()
                        + &tls.as_ref().map(Tls::metrics).unwrap_or_default()
                } else {
                    String::new()
                };
                let status = if known {
                    http::StatusCode::OK
                } else {
                    http::StatusCode::NOT_FOUND
                };
                async move {
                    http::Response::builder()
                        .status(status)
                        .header("content-type", "text/plain; version=0.0.4")
                        .body(Body::from(text))
                }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            let _ = tokio::time::timeout(HEAD, connection).await;
        });
    }
}
