//! The routes: which path and method is answered by which handler.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Query;
use axum::response::{IntoResponse as _, Response};
use http::header::ALLOW;
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;

use crate::cluster::api_server::{is_valid_name, is_valid_namespace};
use crate::identity::call::Call;
use crate::jobs::{collection, delivery};
use crate::problem::Problem;
use crate::read::content::{ContentRequest, content};
use crate::read::crate_view::crate_view;
use crate::read::lists::{files, manifest};
use crate::read::plan::plan;
use crate::read::release::release;
use crate::serve::path::decode;
use crate::state::Gateway;
use crate::upload::files as uploads;
use trevor_serve::{Connection, Flushes};

/// Bytes of a refused body that are still read, so that its sender sees the response.
const DRAIN_LIMIT: u64 = 64 << 20;
/// The same for a caller who is not authenticated.
const DRAIN_LIMIT_UNAUTHENTICATED: u64 = 1 << 20;

/// The target of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// The liveness probe.
    Live,
    /// The readiness probe.
    Ready,
    /// A resource of a request.
    Request {
        /// The namespace, as sent.
        namespace: &'a str,
        /// The name of the request, as sent.
        name: &'a str,
        resource: Resource<'a>,
    },
}

/// A resource of a request (docs/reference/wire-formats.md#calls).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    Files,
    File(&'a str),
    Content(&'a str),
    Manifest,
    Crate,
    Plan,
    Release,
    Collection,
    Delivery,
}

impl<'a> Route<'a> {
    /// The route of a path, which is not decoded.
    #[must_use]
    pub fn of(path: &'a str) -> Option<Self> {
        match path {
            "/livez" => return Some(Self::Live),
            "/readyz" => return Some(Self::Ready),
            _ => {}
        }
        let (namespace, rest) = path
            .strip_prefix("/v1alpha1/namespaces/")?
            .split_once('/')?;
        let (name, rest) = rest.strip_prefix("airlockrequests/")?.split_once('/')?;
        let resource = match rest.split_once('/') {
            Some(("files", path)) => Resource::File(path),
            Some(("content", path)) => Resource::Content(path),
            Some(_) => return None,
            None => match rest {
                "files" => Resource::Files,
                "manifest" => Resource::Manifest,
                "crate" => Resource::Crate,
                "plan" => Resource::Plan,
                "release" => Resource::Release,
                "collection" => Resource::Collection,
                "delivery" => Resource::Delivery,
                _ => return None,
            },
        };
        Some(Self::Request {
            namespace,
            name,
            resource,
        })
    }

    /// The allowed methods.
    fn allows(self) -> &'static str {
        match self {
            Self::Request {
                resource: Resource::File(_),
                ..
            } => "PUT, DELETE",
            Self::Request {
                resource: Resource::Plan | Resource::Release,
                ..
            } => "GET",
            Self::Request {
                resource: Resource::Collection,
                ..
            } => "PUT",
            Self::Request {
                resource: Resource::Delivery,
                ..
            } => "GET, PUT",
            _ => "GET, HEAD",
        }
    }

    /// The kind of call, without names, for logs.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Live => "livez",
            Self::Ready => "readyz",
            Self::Request { resource, .. } => match resource {
                Resource::Files => "files",
                Resource::File(_) => "file",
                Resource::Content(_) => "content",
                Resource::Manifest => "manifest",
                Resource::Crate => "crate",
                Resource::Plan => "plan",
                Resource::Release => "release",
                Resource::Collection => "collection",
                Resource::Delivery => "delivery",
            },
        }
    }
}

/// The user of a call, in the extensions of its response, for the log.
#[derive(Clone, Debug)]
pub struct LoggedUser(pub String);

/// Routes and answers a call.
pub async fn answer(
    gateway: Arc<Gateway>,
    flushes: Option<Flushes>,
    request: Request<Body>,
) -> Response {
    let uri = request.uri().clone();
    let Some(route) = Route::of(uri.path()) else {
        return Problem::not_found("there is nothing at this path").into_response();
    };
    if !route
        .allows()
        .split(", ")
        .any(|m| m == request.method().as_str())
    {
        let detail = format!("this takes {} only", route.allows());
        let mut response = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", detail)
            .into_response();
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static(route.allows()));
        return response;
    }
    match route {
        Route::Live | Route::Ready => match probe(&gateway, route) {
            Some(Err(missing)) => Problem::unavailable("NotReady", missing, 2).into_response(),
            _ => "ok\n".into_response(),
        },
        Route::Request {
            namespace,
            name,
            resource,
        } => answer_request_route(gateway, flushes, request, (namespace, name), resource).await,
    }
}

/// The result of a probe. None when the route is not a probe.
pub fn probe(gateway: &Gateway, route: Route<'_>) -> Option<Result<(), &'static str>> {
    match route {
        Route::Live => Some(Ok(())),
        Route::Ready => Some(gateway.readiness.missing().map_or(Ok(()), Err)),
        Route::Request { .. } => None,
    }
}

async fn answer_request_route(
    gateway: Arc<Gateway>,
    flushes: Option<Flushes>,
    request: Request<Body>,
    (namespace, name): (&str, &str),
    resource: Resource<'_>,
) -> Response {
    let (parts, mut body) = request.into_parts();
    let (caller, token) = match gateway.auth.authenticate(&parts.headers, namespace).await {
        Ok(authenticated) => authenticated,
        Err(problem) => {
            tokio::spawn(drain(body, DRAIN_LIMIT_UNAUTHENTICATED));
            return problem.into_response();
        }
    };
    let active = parts.extensions.get().map(Connection::begin_call);
    let user = LoggedUser(caller.user.clone());
    let call = Call::new(caller, token, namespace, name);
    let answer = if is_valid_namespace(namespace) && is_valid_name(name) {
        let head = parts.method == Method::HEAD;
        handle(&gateway, call, resource, &parts, head, flushes, &mut body).await
    } else {
        Err(Problem::not_found(
            "there is no such request: these are no names of Kubernetes",
        ))
    };
    let mut response = answer.unwrap_or_else(|problem| {
        tokio::spawn(drain(body, DRAIN_LIMIT));
        problem.into_response()
    });
    response.extensions_mut().insert(user);
    if let Some(active) = active {
        response.extensions_mut().insert(active);
    }
    response
}

async fn handle(
    gateway: &Arc<Gateway>,
    call: Call,
    resource: Resource<'_>,
    parts: &http::request::Parts,
    head: bool,
    flushes: Option<Flushes>,
    body: &mut Body,
) -> Result<Response, Problem> {
    match resource {
        Resource::Files => files(gateway, &call, query(&parts.uri)?).await,
        Resource::File(path) if parts.method == Method::PUT => {
            uploads::put(
                Arc::clone(gateway),
                call,
                decode(path)?,
                &parts.headers,
                body,
            )
            .await
        }
        Resource::File(path) => uploads::delete(Arc::clone(gateway), call, decode(path)?).await,
        Resource::Content(path) => {
            let request = ContentRequest {
                path: &decode(path)?,
                version: query(&parts.uri)?,
                head,
                headers: &parts.headers,
                flushes,
            };
            content(gateway, &call, request).await
        }
        Resource::Manifest => manifest(gateway, &call, query(&parts.uri)?).await,
        Resource::Crate => crate_view(gateway, &call, query(&parts.uri)?).await,
        Resource::Plan => plan(gateway, &call).await,
        Resource::Release => release(gateway, &call).await,
        Resource::Collection => collection::put(gateway, &call, body).await,
        Resource::Delivery if parts.method == Method::PUT => {
            delivery::put(gateway, &call, body).await
        }
        Resource::Delivery => delivery::get(gateway, &call).await,
    }
}

/// Reads the rest of a body after an early response, within a limit. A client that sends its whole
/// body before it reads would not see the response otherwise.
async fn drain(mut body: Body, limit: u64) {
    let read = async {
        let mut left = limit;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, |d| d.len() as u64));
            if left == 0 {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(10), read).await;
}

fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    Query::try_from_uri(uri)
        .map(|Query(value)| value)
        .map_err(|_| Problem::bad_request("MalformedQuery", "the query of the URL cannot be read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_of_the_contract_is_one_route_and_the_rest_of_a_file_stays_as_sent() {
        let base = "/v1alpha1/namespaces/project-a/airlockrequests/r";
        let of = |rest: &str| {
            Route::of(&format!("{base}/{rest}")).map(|r| format!("{} {:?}", r.kind(), r))
        };
        for (rest, kind) in [
            ("files", "files"),
            ("files/a/b%2Fc", "file"),
            ("content/x", "content"),
            ("manifest", "manifest"),
            ("crate", "crate"),
            ("plan", "plan"),
            ("release", "release"),
            ("collection", "collection"),
            ("delivery", "delivery"),
        ] {
            assert!(of(rest).is_some_and(|r| r.starts_with(kind)), "{rest}");
        }
        let whole = format!("{base}/files/a/../b%2F");
        let resource = Route::of(&whole);
        assert!(matches!(
            resource,
            Some(Route::Request {
                resource: Resource::File("a/../b%2F"),
                namespace: "project-a",
                name: "r"
            })
        ));
        for path in [
            "/",
            "",
            "/v1alpha1",
            base,
            "/v1alpha1/namespaces/a/airlockrequests/r/",
            "/v1alpha1/namespaces/a/secrets/r/files",
            "/v2/namespaces/a/airlockrequests/r/files",
            "//livez",
        ] {
            assert_eq!(Route::of(path), None, "{path}");
        }
        assert_eq!(of("other"), None);
        assert_eq!(of("release/x"), None);
    }
}
