//! The table of calls: which path and method is which handler.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Query;
use axum::response::{IntoResponse as _, Response};
use http::header::ALLOW;
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use serde::de::DeserializeOwned;

use crate::cluster::api_server::{is_name, is_namespace};
use crate::jobs::collection;
use crate::jobs::delivery;
use crate::problem::Problem;
use crate::read::content::{Asked, content};
use crate::read::crate_view::crate_view;
use crate::read::lists::{files, manifest};
use crate::read::plan::plan;
use crate::read::release::release;
use crate::serve::path::decode;
use crate::state::{Call, Gateway};
use crate::upload::files as upload;
use trevor_serve::{Connection, Flushes};

/// What of an early refused body is read on, so that its sender sees the answer.
const DRAINED: u64 = 64 << 20;
/// The same, for who is not known.
const DRAINED_OF_ANYONE: u64 = 1 << 20;

/// What a URL is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// The process lives.
    Live,
    /// It can work.
    Ready,
    /// Something of a request.
    Of {
        /// The project, as sent.
        namespace: &'a str,
        /// The request, as sent.
        name: &'a str,
        /// What of it.
        what: What<'a>,
    },
}

/// What of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "docs/reference/wire-formats.md#calls")]
pub enum What<'a> {
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
    /// Of a path, as sent.
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
        let what = match rest.split_once('/') {
            Some(("files", path)) => What::File(path),
            Some(("content", path)) => What::Content(path),
            Some(_) => return None,
            None => match rest {
                "files" => What::Files,
                "manifest" => What::Manifest,
                "crate" => What::Crate,
                "plan" => What::Plan,
                "release" => What::Release,
                "collection" => What::Collection,
                "delivery" => What::Delivery,
                _ => return None,
            },
        };
        Some(Self::Of {
            namespace,
            name,
            what,
        })
    }

    /// Methods that it takes.
    fn allows(self) -> &'static str {
        match self {
            Self::Of {
                what: What::File(_),
                ..
            } => "PUT, DELETE",
            Self::Of {
                what: What::Plan | What::Release,
                ..
            } => "GET",
            Self::Of {
                what: What::Collection,
                ..
            } => "PUT",
            Self::Of {
                what: What::Delivery,
                ..
            } => "GET, PUT",
            _ => "GET, HEAD",
        }
    }

    /// For logs: the kind of call, without names.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Live => "livez",
            Self::Ready => "readyz",
            Self::Of { what, .. } => match what {
                What::Files => "files",
                What::File(_) => "file",
                What::Content(_) => "content",
                What::Manifest => "manifest",
                What::Crate => "crate",
                What::Plan => "plan",
                What::Release => "release",
                What::Collection => "collection",
                What::Delivery => "delivery",
            },
        }
    }
}

/// Who called, for the log.
#[derive(Clone, Debug)]
pub struct User(pub String);

/// Answers a call.
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
        Route::Of {
            namespace,
            name,
            what,
        } => about(gateway, flushes, request, (namespace, name), what).await,
    }
}

/// What a probe is told; none where it is no probe.
pub fn probe(gateway: &Gateway, route: Route<'_>) -> Option<Result<(), &'static str>> {
    match route {
        Route::Live => Some(Ok(())),
        Route::Ready => Some(gateway.health.missing().map_or(Ok(()), Err)),
        Route::Of { .. } => None,
    }
}

async fn about(
    gateway: Arc<Gateway>,
    flushes: Option<Flushes>,
    request: Request<Body>,
    (namespace, name): (&str, &str),
    what: What<'_>,
) -> Response {
    let (parts, mut body) = request.into_parts();
    let (caller, token) = match gateway.auth.caller(&parts.headers, namespace).await {
        Ok(known) => known,
        Err(problem) => {
            tokio::spawn(upload::drain(body, DRAINED_OF_ANYONE));
            return problem.into_response();
        }
    };
    let busy = parts.extensions.get().map(Connection::busy);
    let user = User(caller.user.clone());
    let call = Call::new(caller, token, namespace, name);
    let answer = if is_namespace(namespace) && is_name(name) {
        let head = parts.method == Method::HEAD;
        handle(&gateway, call, what, &parts, head, flushes, &mut body).await
    } else {
        Err(Problem::not_found(
            "there is no such request: these are no names of Kubernetes",
        ))
    };
    let mut response = answer.unwrap_or_else(|problem| {
        tokio::spawn(upload::drain(body, DRAINED));
        problem.into_response()
    });
    response.extensions_mut().insert(user);
    if let Some(busy) = busy {
        response.extensions_mut().insert(busy);
    }
    response
}

async fn handle(
    gateway: &Arc<Gateway>,
    call: Call,
    what: What<'_>,
    parts: &http::request::Parts,
    head: bool,
    flushes: Option<Flushes>,
    body: &mut Body,
) -> Result<Response, Problem> {
    match what {
        What::Files => files(gateway, &call, query(&parts.uri)?).await,
        What::File(path) if parts.method == Method::PUT => {
            upload::put(
                Arc::clone(gateway),
                call,
                decode(path)?,
                &parts.headers,
                body,
            )
            .await
        }
        What::File(path) => upload::delete(Arc::clone(gateway), call, decode(path)?).await,
        What::Content(path) => {
            let asked = Asked {
                path: &decode(path)?,
                version: query(&parts.uri)?,
                head,
                headers: &parts.headers,
                flushes,
            };
            content(gateway, &call, asked).await
        }
        What::Manifest => manifest(gateway, &call, query(&parts.uri)?).await,
        What::Crate => crate_view(gateway, &call, query(&parts.uri)?).await,
        What::Plan => plan(gateway, &call).await,
        What::Release => release(gateway, &call).await,
        What::Collection => collection::put(gateway, &call, body).await,
        What::Delivery if parts.method == Method::PUT => delivery::put(gateway, &call, body).await,
        What::Delivery => delivery::get(gateway, &call).await,
    }
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
        let what = Route::of(&whole);
        assert!(matches!(
            what,
            Some(Route::Of {
                what: What::File("a/../b%2F"),
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
