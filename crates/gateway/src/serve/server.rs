//! The gateway's sockets: how many connections they take, what numbers say of them, and an
//! end that lets calls under way finish.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::IntoResponse as _;
use http::header::CONTENT_TYPE;
use http::{Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::serve::middleware as edge;
use crate::serve::routes::{Route, probe};
use crate::serve::tls::{Tls, TlsError};
use crate::state::Gateway;
use trevor_serve::{self as listen, Listener, Most, Places};
use trevor_store::proof::ProofError;
use trevor_store::{NoCredentials, ShortLived, StorageError};

/// Open connections. Each takes at most some 60 KiB before anybody is known.
const MOST: Most = Most {
    connections: 2048,
    per_peer: 1024,
};
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
    /// A bucket has no credentials.
    #[error(transparent)]
    Credentials(#[from] NoCredentials),
    /// An upload URL could do more than that upload.
    #[error(transparent)]
    Staging(#[from] ProofError),
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

/// The places of the socket that serves.
#[must_use]
pub fn places() -> Arc<Places> {
    Places::new(MOST)
}

fn acceptor(tls: Option<&Tls>) -> Option<Arc<dyn Fn() -> tokio_rustls::TlsAcceptor + Send + Sync>> {
    let tls = tls?.clone();
    Some(Arc::new(move || tls.acceptor()))
}

/// Serves until the end is asked for, and a little longer.
pub async fn run(
    gateway: Arc<Gateway>,
    socket: TcpListener,
    tls: Option<Tls>,
    end: CancellationToken,
) {
    let cut = CancellationToken::new();
    let listener = Listener {
        places: Arc::clone(&gateway.places),
        tls: acceptor(tls.as_ref()),
        total: None,
    };
    let serving = Arc::clone(&gateway);
    let open = listen::accept(
        socket,
        listener,
        (end, cut.clone()),
        move |request, flushes| edge::serve(Arc::clone(&serving), flushes, request),
    )
    .await;
    info!(open = open.len(), "ending: calls under way may finish");
    if tokio::time::timeout(ENDING, open.wait()).await.is_err() {
        warn!(open = open.len(), "ending: some calls are cut off");
        cut.cancel();
        // Whoever sends on hears that nobody listens, as long as there is a network to say so.
        tokio::time::sleep(HEARD).await;
    }
    gateway.tasks.close();
    let _ = tokio::time::timeout(Duration::from_secs(4), gateway.tasks.wait()).await;
}

/// Serves the numbers, and probes besides, to anyone who reaches the port.
pub async fn run_metrics(
    gateway: Arc<Gateway>,
    tls: Option<Tls>,
    socket: TcpListener,
    end: CancellationToken,
) {
    listen::serve_short(socket, Listener::short(), end, move |request| {
        let answer = beside(&gateway, tls.as_ref(), &request);
        std::future::ready(answer)
    })
    .await;
}

fn beside(gateway: &Gateway, tls: Option<&Tls>, request: &Request<Body>) -> Response<Body> {
    let path = request.uri().path();
    if path == "/metrics" {
        let text = [
            gateway
                .metrics
                .render(gateway.shares.used(), &gateway.places),
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
