//! `GET` and `HEAD content/{path}`: for reviewers, after the release for the submitter,
//! and during it for the Job that delivers. Recorded before the first byte; counted as viewed when every byte
//! was handed to the network.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    IF_RANGE, RANGE,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;

use crate::cluster::requests::{self as request, submitted_by, unknown};
use crate::identity::job_pods::{deliverer, releasing};
use crate::identity::permission::{CANARY, LIST, may_read_content};
use crate::problem::Problem;
use crate::read::lists::not_frozen;
use crate::read::range::{Wanted, wanted};
use crate::read::streaming::{Reading, Source, body};
use crate::read::views::{View, record_opened};
use crate::records::frozen_rounds::FrozenRound;
use crate::state::{Call, Gateway};
use trevor_api::{AirlockRequest, Phase};
use trevor_core::attachment::disposition;
use trevor_core::keys::set_aside_key;
use trevor_core::manifest::ManifestFile;
use trevor_serve::Flushes;
use trevor_store::StorageError;

/// Memory of a download: buffers of sockets on both sides.
const BUFFERS: u64 = 512 * 1024;

/// Which version.
#[derive(Debug, Default, Deserialize)]
pub struct Version {
    version: Option<String>,
}

/// How it is asked for.
pub struct Asked<'a> {
    /// Path of the file.
    pub path: &'a str,
    /// Version, if one is named.
    pub version: Version,
    /// No body, and not counted.
    pub head: bool,
    /// Headers of the call.
    pub headers: &'a HeaderMap,
    /// What the connection has sent.
    pub flushes: Option<Flushes>,
}

/// Shows a file of the frozen round.
///
/// # Errors
/// Those of docs/reference/wire-formats.md#problems.
pub async fn content(
    gateway: &Arc<Gateway>,
    call: &Call,
    asked: Asked<'_>,
) -> Result<Response, Problem> {
    let request = reader(gateway, call).await?;
    let key = request::key(&request);
    let round = request::round(&request);
    let frozen = gateway
        .freezes
        .get(&key, round)
        .await?
        .filter(|f| f.manifest().is_some())
        .ok_or_else(|| not_frozen(round))?;
    let file = find(&frozen, asked.path, asked.version.version.as_deref())?;
    let etag = format!("\"{}\"", file.sha256);
    let field = |name| {
        asked
            .headers
            .get(name)
            .and_then(|v: &HeaderValue| v.to_str().ok())
    };
    let same = field(IF_RANGE).is_none_or(|known| known == etag);
    let wanted = wanted(field(RANGE).filter(|_| same && !asked.head), file.size);

    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(ETAG, value(&etag)?);
    headers.insert(CONTENT_DISPOSITION, value(&disposition(&file.path))?);
    let (first, length) = match wanted {
        Wanted::Whole => (0, file.size),
        Wanted::Part { first, last } => {
            headers.insert(
                CONTENT_RANGE,
                value(&format!("bytes {first}-{last}/{}", file.size))?,
            );
            (first, last - first + 1)
        }
        Wanted::Unsatisfiable => return Ok(unsatisfiable(file.size)),
    };
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    if asked.head {
        return Ok(response);
    }
    if wanted != Wanted::Whole {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }

    let share = gateway.shares.reserve(&call.caller.user, BUFFERS).await?;
    let view = View::new(call, &key, round, frozen.digest(), file);
    let source = Source {
        file: file.clone(),
        first,
        length,
        whole: length == file.size,
    };
    let opened = open(gateway, &source).await?;
    let asked_again = gateway.anew(call).await?;
    let call = asked_again.as_ref().unwrap_or(call);
    if asked_again.is_some() {
        request::same(&reader(gateway, call).await?, &key.uid)?;
    }
    record_opened(gateway, &view).await?;
    *response.body_mut() = body(
        Arc::clone(gateway),
        opened,
        source,
        view,
        Reading::new(call, &key, share),
        asked.flushes,
    );
    Ok(response)
}

/// The request, for one who may have its content now: the Job that delivers it, or
/// somebody who may read it.
pub(crate) async fn reader(gateway: &Gateway, call: &Call) -> Result<AirlockRequest, Problem> {
    match deliverer(gateway, call).await? {
        Some(request) => {
            releasing(gateway, &request).await?;
            Ok(request)
        }
        None => readable(gateway, call).await,
    }
}

async fn open(gateway: &Gateway, source: &Source) -> Result<trevor_store::ObjectBody, Problem> {
    let gone = || {
        Problem::new(
            StatusCode::GONE,
            "Deleted",
            "the file was deleted when its retention ended",
        )
    };
    let bucket = gateway.zones.quarantine.bucket();
    let mut opened = bucket.open(&source.file.key, source.range()).await;
    if matches!(opened, Err(StorageError::NotFound { .. })) {
        // What crossed inwards and was revoked lies where no URL reaches it.
        let aside = set_aside_key(&source.file.key);
        opened = bucket.open(&aside, source.range()).await;
    }
    match opened {
        Ok(opened) if opened.length == source.length => Ok(opened),
        Ok(_) => Err(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "IntegrityMismatch",
            "the stored file is not the one of the manifest; tell an administrator",
        )),
        Err(StorageError::NotFound { .. }) => Err(gone()),
        Err(error) => Err(error.into()),
    }
}

/// The request, for one who may read its content.
pub(crate) async fn readable(gateway: &Gateway, call: &Call) -> Result<AirlockRequest, Problem> {
    let on = call.on();
    let (reviewer, wildcard, reader, request) = futures::try_join!(
        gateway.permissions.reviews(on),
        gateway.permissions.has(on, CANARY),
        gateway.permissions.has(on, LIST),
        gateway.requests.find(&call.namespace, &call.name),
    )?;
    let Some(request) = request else {
        return Err(if reviewer {
            unknown()
        } else {
            refuse(gateway, call, "")
        });
    };
    let uid = request.metadata.uid.clone().unwrap_or_default();
    let submitter = submitted_by(&request, &call.caller.user);
    let released = request::phase(&request) == Phase::Released && (reviewer || reader);
    if may_read_content(reviewer, wildcard, submitter, released) {
        Ok(request)
    } else {
        Err(refuse(gateway, call, &uid))
    }
}

fn refuse(gateway: &Gateway, call: &Call, uid: &str) -> Problem {
    let detail = "content is for reviewers with get airlockrequests/content and create airlockrequests/review by name, never for the submitter before the release";
    gateway.refuse(call, uid, "content", detail.to_owned())
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
