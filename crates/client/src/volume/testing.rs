//! A gateway that fails as it is told, and volumes that need a mount.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::stream;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;

use super::wire::{Gateway, Target};
use crate::transfer::{Patience, Web};
use trevor_core::digest::Sha256Hex;
use trevor_core::volume::{Collection, Delivered, Missing, VolumeFile};

/// What the gateway has, and what it got.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Files by path.
    pub(super) files: BTreeMap<String, Vec<u8>>,
    pub(super) collection: Option<Collection>,
    pub(super) receipt: Option<Delivered>,
    /// Calls, as `PUT files/a.csv`.
    pub(super) calls: Vec<String>,
    /// So many of the next calls are answered 503.
    pub(super) busy: usize,
    /// So many of the next contents break after their first byte.
    pub(super) cuts: usize,
    /// What is delivered instead of the file's bytes.
    pub(super) forged: Option<Vec<u8>>,
}

type Shared = Arc<Mutex<Held>>;

/// A running gateway.
pub(super) struct Served {
    held: Shared,
    address: String,
    token: tempfile::NamedTempFile,
    task: tokio::task::JoinHandle<()>,
}

impl Served {
    pub(super) async fn start() -> Self {
        let held = Shared::default();
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", socket.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&held));
        let task = tokio::spawn(async move { axum::serve(socket, router).await.unwrap() });
        let token = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(token.path(), "geheim").unwrap();
        Self {
            held,
            address,
            token,
            task,
        }
    }

    pub(super) fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap()
    }

    pub(super) fn client(&self) -> Gateway {
        let target = Target {
            gateway: &self.address,
            allow_http: false,
            namespace: "a",
            request: "r",
            token: self.token.path().to_owned(),
        };
        let patience = Patience {
            attempts: 4,
            first: Duration::from_millis(1),
            longest: Duration::from_millis(5),
        };
        let gateway = Gateway::new(Web::new(None).unwrap(), target).unwrap();
        gateway.with_patience(patience)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(held): State<Shared>, request: Request) -> Response {
    let prefix = "/v1alpha1/namespaces/a/airlockrequests/r/";
    let what = request.uri().path().strip_prefix(prefix).unwrap();
    let what = percent_encoding::percent_decode_str(what)
        .decode_utf8()
        .unwrap()
        .into_owned();
    let method = request.method().clone();
    let headers = request.headers().clone();
    let body = request.into_body().collect().await;
    let mut held = held.lock().unwrap();
    held.calls.push(format!("{method} {what}"));
    if headers["authorization"] != "Bearer geheim" {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if held.busy > 0 {
        held.busy -= 1;
        return (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "0")]).into_response();
    }
    let Ok(body) = body else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let body = body.to_bytes();
    match (method, what.split_once('/')) {
        (Method::PUT, Some(("files", path))) => {
            let digest = Sha256Hex::of(&body).raw();
            let digest = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest);
            if headers["content-digest"] != format!("sha-256=:{digest}:") {
                return (
                    StatusCode::UNPROCESSABLE_ENTITY,
                    r#"{"reason":"DigestMismatch"}"#,
                )
                    .into_response();
            }
            held.files.insert(path.to_owned(), body.to_vec());
            StatusCode::CREATED.into_response()
        }
        (Method::GET, Some(("content", path))) => content(&mut held, path, headers.get("range")),
        (Method::PUT, None) if what == "collection" => collection(&mut held, &body),
        (Method::GET, None) => axum::Json(Delivered {
            files: listed(&held),
        })
        .into_response(),
        (Method::PUT, None) => {
            held.receipt = Some(serde_json::from_slice(&body).unwrap());
            StatusCode::CREATED.into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn listed(held: &Held) -> Vec<VolumeFile> {
    let files = held.files.iter().map(|(path, bytes)| VolumeFile {
        path: path.clone(),
        size: bytes.len() as u64,
        sha256: Sha256Hex::of(bytes),
    });
    files.collect()
}

fn collection(held: &mut Held, body: &[u8]) -> Response {
    let list: Collection = serde_json::from_slice(body).unwrap();
    let there = listed(held);
    let missing: Vec<_> = list.files.iter().filter(|f| !there.contains(f)).collect();
    if !missing.is_empty() {
        let missing = missing.into_iter().map(|f| f.path.clone()).collect();
        return axum::Json(Missing { missing }).into_response();
    }
    held.collection = Some(list);
    StatusCode::CREATED.into_response()
}

fn content(held: &mut Held, path: &str, range: Option<&http::HeaderValue>) -> Response {
    let bytes = held
        .forged
        .clone()
        .unwrap_or_else(|| held.files[path].clone());
    let range = range.map(|r| r.to_str().unwrap().to_owned());
    let first = range.and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let status = match first {
        Some(_) => StatusCode::PARTIAL_CONTENT,
        None => StatusCode::OK,
    };
    let rest = bytes[first.unwrap_or(0)..].to_vec();
    if held.cuts > 0 {
        held.cuts -= 1;
        let first: Result<Bytes, std::io::Error> = Ok(rest[..1].to_vec().into());
        let pieces = [first, Err(std::io::Error::other("as the test wants it"))];
        return (status, Body::from_stream(stream::iter(pieces))).into_response();
    }
    (status, rest).into_response()
}

/// Runs the rest of a test again in a namespace of mounts of its own, where it may
/// mount; says whether this is that run. `test` is the test's whole name.
pub(super) fn may_mount(test: &str) -> bool {
    const INSIDE: &str = "TREVOR_TEST_MOUNTS";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--mount"]);
    let run = unshare
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    let why = String::from_utf8_lossy(&run.stderr);
    assert!(
        run.status.success() && said.contains("1 passed"),
        "{said}{why}"
    );
    false
}

/// Mounts a small file system of its own.
pub(super) fn mount(at: &Path, options: &str) {
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", options, "tmpfs"])
        .arg(at)
        .output()
        .unwrap();
    assert!(
        mount.status.success(),
        "{}",
        String::from_utf8_lossy(&mount.stderr)
    );
}

/// Writes files, with the folders that they need.
pub(super) fn write(root: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let at: PathBuf = root.join(path);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        std::fs::write(at, text).unwrap();
    }
}
