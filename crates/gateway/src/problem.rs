//! Errors on the wire: `application/problem+json` (RFC 9457), each with a
//! one-word reason that programs can rely on.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use tracing::warn;

use trevor_store::StorageError;

/// Why a call is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// HTTP status.
    pub status: StatusCode,
    /// One CamelCase word.
    pub reason: &'static str,
    /// For people: what is wrong, and what to do.
    pub detail: String,
    /// When to come back.
    pub retry_after: Option<Duration>,
}

/// Which occurrence this is: the request's id, stated by `edge`.
#[derive(Clone, Debug)]
pub struct Instance(pub String);

#[derive(Serialize)]
struct Wire<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    reason: &'static str,
}

impl Problem {
    /// A problem with nothing to wait for.
    #[must_use]
    pub fn new(status: StatusCode, reason: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            reason,
            detail: detail.into(),
            retry_after: None,
        }
    }

    /// Who calls is not known.
    #[must_use]
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthenticated", detail)
    }

    /// Who calls may not.
    #[must_use]
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", detail)
    }

    /// It is not there.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", detail)
    }

    /// The state of the request stands against it.
    #[must_use]
    pub fn conflict(reason: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, reason, detail)
    }

    /// The request as sent makes no sense.
    #[must_use]
    pub fn bad_request(reason: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason, detail)
    }

    /// What is sent breaks a rule.
    #[must_use]
    pub fn unprocessable(reason: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, reason, detail)
    }

    /// Not now; come back.
    #[must_use]
    pub fn unavailable(reason: &'static str, detail: impl Into<String>, seconds: u64) -> Self {
        let retry_after = Some(Duration::from_secs(seconds));
        Self {
            retry_after,
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, reason, detail)
        }
    }

    /// Kubernetes does not answer as it should; what it said is for the log.
    #[must_use]
    pub fn kubernetes(what: &'static str, error: &dyn std::fmt::Display) -> Self {
        warn!(what, %error, "the Kubernetes API did not answer as it should");
        Self::unavailable(
            "KubernetesUnavailable",
            "the Kubernetes API does not answer; try again",
            2,
        )
    }
}

impl From<StorageError> for Problem {
    /// Keys and servers are for the log, not for the caller.
    fn from(error: StorageError) -> Self {
        warn!(%error, "storage did not answer as it should");
        Self::unavailable(
            "StorageUnavailable",
            "the storage does not answer as it should; try again",
            5,
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes the body of a problem that a handler left in the extensions, now that
/// the occurrence has an id.
pub fn finish(response: Response, instance: &Instance) -> Response {
    let (mut parts, body) = response.into_parts();
    let Some(problem) = parts.extensions.remove::<Problem>() else {
        return Response::from_parts(parts, body);
    };
    let wire = Wire {
        r#type: "about:blank",
        title: problem.status.canonical_reason().unwrap_or("Error"),
        status: problem.status.as_u16(),
        detail: &problem.detail,
        instance: &instance.0,
        reason: problem.reason,
    };
    parts.headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    if let Some(after) = problem.retry_after {
        parts
            .headers
            .insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    if problem.status == StatusCode::UNAUTHORIZED {
        parts.headers.insert(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"trevor\""),
        );
    }
    let body = serde_json::to_vec(&wire).unwrap_or_default();
    Response::from_parts(parts, Body::from(body))
}
