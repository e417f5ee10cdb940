//! `GET` and `HEAD content/{path}`: for reviewers, for the submitter after the release, and for the
//! Job that delivers during the release. A read is recorded before its first byte. It counts as
//! viewed when every byte was handed to the network.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    IF_RANGE, RANGE,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;

use crate::cluster::requests;
use crate::identity::call::Call;
use crate::problem::Problem;
use crate::read::access::content_request;
use crate::read::range::{self, RequestedRange};
use crate::read::streaming::{FileRange, ReadAuthorization, stream_body};
use crate::read::views::{FileView, record_opened};
use crate::records::frozen_rounds::{FrozenRound, not_frozen};
use crate::state::Gateway;
use trevor_core::attachment::disposition;
use trevor_core::keys::set_aside_key;
use trevor_core::manifest::ManifestFile;
use trevor_serve::Flushes;
use trevor_store::StorageError;

/// The memory of a download: socket buffers on both sides.
const BUFFERS: u64 = 512 * 1024;

/// The query: a version of the file.
#[derive(Debug, Default, Deserialize)]
pub struct VersionQuery {
    version: Option<String>,
}

/// The parameters of a call.
pub struct ContentRequest<'a> {
    pub path: &'a str,
    pub version: VersionQuery,
    /// Whether the method is `HEAD`: no body is sent, and no view is recorded.
    pub head: bool,
    pub headers: &'a HeaderMap,
    /// Reports what the connection has sent.
    pub flushes: Option<Flushes>,
}

/// Sends a file of the frozen round.
///
/// # Errors
/// Those of docs/reference/wire-formats.md#problems.
pub async fn content(
    gateway: &Arc<Gateway>,
    call: &Call,
    query: ContentRequest<'_>,
) -> Result<Response, Problem> {
    let request = content_request(gateway, call).await?;
    let key = requests::key(&request);
    let round = requests::round(&request);
    let frozen = gateway
        .frozen_rounds
        .get(&key, round)
        .await?
        .filter(|f| f.manifest().is_some())
        .ok_or_else(|| not_frozen(round))?;
    let file = find(&frozen, query.path, query.version.version.as_deref())?;
    let etag = format!("\"{}\"", file.sha256);
    let field = |name| {
        query
            .headers
            .get(name)
            .and_then(|v: &HeaderValue| v.to_str().ok())
    };
    let same = field(IF_RANGE).is_none_or(|known| known == etag);
    let range = range::parse(field(RANGE).filter(|_| same && !query.head), file.size);

    let (first, length) = match range {
        RequestedRange::Whole => (0, file.size),
        RequestedRange::Part { first, last } => (first, last - first + 1),
        RequestedRange::Unsatisfiable => return Ok(unsatisfiable(file.size)),
    };
    let mut response = head(file, &etag, range, length)?;
    if query.head {
        return Ok(response);
    }

    let permit = gateway.memory.reserve(&call.caller.user, BUFFERS).await?;
    let view = FileView::new(call, &key, round, frozen.digest(), file);
    let file_range = FileRange {
        file: file.clone(),
        first,
        length,
        whole: length == file.size,
    };
    let opened = open(gateway, &file_range).await?;
    let revalidated = gateway.revalidate(call).await?;
    let call = revalidated.as_ref().unwrap_or(call);
    if revalidated.is_some() {
        requests::ensure_same_uid(&content_request(gateway, call).await?, &key.uid)?;
    }
    record_opened(gateway, &view).await?;
    *response.body_mut() = stream_body(
        Arc::clone(gateway),
        opened,
        file_range,
        view,
        ReadAuthorization::new(call, &key, permit),
        query.flushes,
    );
    Ok(response)
}

/// The response without its body.
fn head(
    file: &ManifestFile,
    etag: &str,
    range: RequestedRange,
    length: u64,
) -> Result<Response, Problem> {
    let mut response = Response::new(Body::empty());
    if let RequestedRange::Part { first, last } = range {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let field = value(&format!("bytes {first}-{last}/{}", file.size))?;
        response.headers_mut().insert(CONTENT_RANGE, field);
    }
    let octets = HeaderValue::from_static("application/octet-stream");
    let headers = response.headers_mut();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_TYPE, octets);
    headers.insert(ETAG, value(etag)?);
    headers.insert(CONTENT_DISPOSITION, value(&disposition(&file.path))?);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    Ok(response)
}

async fn open(gateway: &Gateway, range: &FileRange) -> Result<trevor_store::ObjectBody, Problem> {
    let gone = || {
        Problem::new(
            StatusCode::GONE,
            "Deleted",
            "the file was deleted when its retention ended",
        )
    };
    let bucket = gateway.zones.quarantine.bucket();
    let mut opened = bucket.open(&range.file.key, range.range()).await;
    if matches!(opened, Err(StorageError::NotFound { .. })) {
        // Files of a revoked ingress request were moved to a key without URLs.
        let aside = set_aside_key(&range.file.key);
        opened = bucket.open(&aside, range.range()).await;
    }
    match opened {
        Ok(opened) if opened.length == range.length => Ok(opened),
        Ok(_) => Err(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "IntegrityMismatch",
            "the stored file is not the one of the manifest; tell an administrator",
        )),
        Err(StorageError::NotFound { .. }) => Err(gone()),
        Err(error) => Err(error.into()),
    }
}

fn find<'a>(
    frozen: &'a FrozenRound,
    path: &str,
    version: Option<&str>,
) -> Result<&'a ManifestFile, Problem> {
    let file = frozen
        .file(path)
        .ok_or_else(|| Problem::not_found("there is no such file in the manifest"))?;
    match version {
        Some(version) if version != file.version => Err(Problem::not_found(
            "the manifest has another version of this file",
        )),
        _ => Ok(file),
    }
}

fn unsatisfiable(size: u64) -> Response {
    use axum::response::IntoResponse as _;
    let detail = format!("the file has {size} bytes");
    let mut response = Problem::new(
        StatusCode::RANGE_NOT_SATISFIABLE,
        "RangeNotSatisfiable",
        detail,
    )
    .into_response();
    if let Ok(range) = HeaderValue::from_str(&format!("bytes */{size}")) {
        response.headers_mut().insert(CONTENT_RANGE, range);
    }
    response
}

fn value(text: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(text).map_err(|_| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Internal",
            "a header could not be written",
        )
    })
}
