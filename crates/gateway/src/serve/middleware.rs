//! What all responses have in common: an id, security headers, a log line and a metric.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::response::Response;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, Request, StatusCode};
use tracing::{debug, info};
use uuid::Uuid;

use crate::problem::{Instance, finish};
use crate::serve::routes::{LoggedUser, Route, answer};
use crate::state::Gateway;
use trevor_serve::Flushes;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Headers of every response. They keep browsers from interpreting content.
const HEADERS: [(HeaderName, HeaderValue); 6] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox",
        ),
    ),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        STRICT_TRANSPORT_SECURITY,
        HeaderValue::from_static("max-age=31536000"),
    ),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
];

/// Answers an HTTP request of a connection.
pub async fn serve(gateway: Arc<Gateway>, flushes: Flushes, request: Request<Body>) -> Response {
    let started = Instant::now();
    let id = Uuid::new_v4().to_string();
    let method = request.method().clone();
    let uri = request.uri().clone();
    let response = answer(Arc::clone(&gateway), Some(flushes), request).await;
    let mut response = finish(response, &Instance(format!("urn:uuid:{id}")));
    for (name, value) in &HEADERS {
        response.headers_mut().insert(name, value.clone());
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    gateway.metrics.answered(response.status());
    let user = response
        .extensions_mut()
        .remove::<LoggedUser>()
        .map(|u| u.0);
    log(
        &id,
        &method,
        Route::of(uri.path()),
        response.status(),
        user.as_deref(),
        started,
    );
    response
}

/// Logs a call. Texts of clients are escaped. Queries are not logged, because they may be
/// confidential.
fn log(
    id: &str,
    method: &http::Method,
    route: Option<Route<'_>>,
    status: StatusCode,
    user: Option<&str>,
    started: Instant,
) {
    let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (kind, status) = (route.map_or("unknown", Route::kind), status.as_u16());
    match route {
        Some(Route::Request {
            namespace, name, ..
        }) => {
            let (namespace, request) = (namespace.escape_debug(), name.escape_debug());
            let user = user.unwrap_or_default().escape_debug();
            info!(id, %method, kind, %namespace, %request, %user, status, ms, "answered");
        }
        _ => debug!(id, %method, kind, status, ms, "answered"),
    }
}
