//! The listeners of the gateway, and a shutdown that lets calls in flight finish.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::IntoResponse as _;
use http::header::CONTENT_TYPE;
use http::{Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::serve::middleware;
use crate::serve::routes::{Route, probe};
use crate::serve::tls::{Tls, TlsError};
use crate::state::Gateway;
use trevor_serve::{Listener, accept, serve_short};
use trevor_store::proof::ProofError;
use trevor_store::{NoCredentials, ShortLived, StorageError};

/// How long calls in flight may take to finish at a shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(25);
/// How long the process stays after calls were aborted, so that their clients see the connection
/// closed.
const LINGER: Duration = Duration::from_secs(2);

/// Why the gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The address cannot be used.
    #[error("configuration key {key}: cannot listen on {address}: {source}")]
    Listen {
        /// Key of the configuration.
        key: &'static str,
        /// Address of the key.
        address: String,
        /// Error of the system.
        source: std::io::Error,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// URLs cannot be signed.
    #[error("configuration key {key}: {source}")]
    Signing {
        /// Key of the configuration.
        key: &'static str,
        /// Error of the signer.
        source: StorageError,
    },
    /// A bucket has no credentials.
    #[error(transparent)]
    Credentials(#[from] NoCredentials),
    /// An upload URL would permit more than its upload.
    #[error(transparent)]
    Staging(#[from] ProofError),
    /// The credentials would expire before the URLs.
    #[error(transparent)]
    ShortLived(#[from] ShortLived),
}

/// Listens on an address.
///
/// # Errors
/// When the address cannot be used. The error names `key`, the key of the configuration.
pub async fn listen(key: &'static str, address: &str) -> Result<TcpListener, GatewayError> {
    let listening = TcpListener::bind(address).await;
    listening.map_err(|source| GatewayError::Listen {
        key,
        address: address.to_owned(),
        source,
    })
}

fn acceptor(tls: Option<&Tls>) -> Option<Arc<dyn Fn() -> tokio_rustls::TlsAcceptor + Send + Sync>> {
    let tls = tls?.clone();
    Some(Arc::new(move || tls.acceptor()))
}

/// Serves until `shutdown`, and lets calls in flight finish.
pub async fn run(
    gateway: Arc<Gateway>,
    socket: TcpListener,
    tls: Option<Tls>,
    shutdown: CancellationToken,
) {
    let abort = CancellationToken::new();
    let listener = Listener {
        connections: Arc::clone(&gateway.connections),
        tls: acceptor(tls.as_ref()),
        total: None,
    };
    let serving = Arc::clone(&gateway);
    let open = accept(
        socket,
        listener,
        (shutdown, abort.clone()),
        move |request, flushes| middleware::serve(Arc::clone(&serving), flushes, request),
    )
    .await;
    info!(open = open.len(), "ending: calls under way may finish");
    if tokio::time::timeout(SHUTDOWN_TIMEOUT, open.wait())
        .await
        .is_err()
    {
        warn!(open = open.len(), "ending: some calls are cut off");
        abort.cancel();
        tokio::time::sleep(LINGER).await;
    }
    gateway.tasks.close();
    let _ = tokio::time::timeout(Duration::from_secs(4), gateway.tasks.wait()).await;
}

/// Serves metrics and probes without authentication.
pub async fn run_metrics(
    gateway: Arc<Gateway>,
    tls: Option<Tls>,
    socket: TcpListener,
    shutdown: CancellationToken,
) {
    serve_short(socket, Listener::short(), shutdown, move |request| {
        let answer = answer_metrics(&gateway, tls.as_ref(), &request);
        std::future::ready(answer)
    })
    .await;
}

fn answer_metrics(gateway: &Gateway, tls: Option<&Tls>, request: &Request<Body>) -> Response<Body> {
    let path = request.uri().path();
    if path == "/metrics" {
        let text = [
            gateway
                .metrics
                .render(gateway.memory.used(), &gateway.connections),
            trevor_store::failures("trevor_storage_errors_total"),
            tls.map(Tls::metrics).unwrap_or_default(),
        ]
        .concat();
        return ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response();
    }
    match Route::of(path).and_then(|route| probe(gateway, route)) {
        Some(Ok(())) => "ok\n".into_response(),
        Some(Err(missing)) => (StatusCode::SERVICE_UNAVAILABLE, missing).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
