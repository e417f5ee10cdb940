//! Error responses: `application/problem+json` (RFC 9457), each with a reason that programs can
//! rely on (docs/reference/wire-formats.md#problems).

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use tracing::warn;

use trevor_store::StorageError;

/// An error response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub status: StatusCode,
    /// One CamelCase word, for programs.
    pub reason: &'static str,
    /// What is wrong and what to do, for people.
    pub detail: String,
    /// The `Retry-After` field of the response.
    pub retry_after: Option<Duration>,
}

/// The id of the HTTP request, which `serve::middleware` draws.
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
    /// A problem without `Retry-After`.
    #[must_use]
    pub fn new(status: StatusCode, reason: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            reason,
            detail: detail.into(),
            retry_after: None,
        }
    }

    /// 401: the caller is not authenticated.
    #[must_use]
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthenticated", detail)
    }

    /// 403: the caller has no permission.
    #[must_use]
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", detail)
    }

    /// 404.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", detail)
    }

    /// 409: the state of the request does not allow the call.
    #[must_use]
    pub fn conflict(reason: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, reason, detail)
    }

    /// 400: the call is malformed.
    #[must_use]
    pub fn bad_request(reason: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason, detail)
    }

    /// 422: what was sent breaks a rule.
    #[must_use]
    pub fn unprocessable(reason: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, reason, detail)
    }

    /// 422: the policy does not allow the upload.
    #[must_use]
    pub fn refused_by_policy(detail: impl Into<String>) -> Self {
        Self::unprocessable("RefusedByPolicy", detail)
    }

    /// 413: the file is larger than `limit`, which the policy sets.
    #[must_use]
    pub fn too_large(limit: u64) -> Self {
        let detail = format!(
            "the file has more than {limit} bytes, which is the most that the policy allows"
        );
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "TooLarge", detail)
    }

    /// Whether the policy refused the upload.
    #[must_use]
    pub fn is_policy_refusal(&self) -> bool {
        self.reason == "RefusedByPolicy" || self.status == StatusCode::PAYLOAD_TOO_LARGE
    }

    /// 400: the body ended early.
    #[must_use]
    pub fn truncated() -> Self {
        Self::bad_request("Truncated", "the body broke off; nothing was stored")
    }

    /// 503: the process is shutting down.
    #[must_use]
    pub fn shutting_down() -> Self {
        Self::unavailable("ShuttingDown", "the gateway is ending; try again", 5)
    }

    /// 503, with the time after which the client may try again.
    #[must_use]
    pub fn unavailable(reason: &'static str, detail: impl Into<String>, seconds: u64) -> Self {
        let retry_after = Some(Duration::from_secs(seconds));
        Self {
            retry_after,
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, reason, detail)
        }
    }

    /// 503: the Kubernetes API failed. The error itself is logged only.
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
    /// The error is logged only, because it names keys and servers.
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

/// Writes the body of a problem that a handler left in the extensions of the response.
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
