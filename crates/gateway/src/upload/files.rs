//! `PUT` and `DELETE files/{path}`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use serde::Serialize;
use tokio_util::task::TaskTracker;

use crate::cluster::requests::{self as request, sealed, submitted_by};
use crate::identity::job_pods as job_token;
use crate::identity::permission::UPLOAD;
use crate::limits::admission::{self as gate, Gate};
use crate::limits::body_reader::Reader;
use crate::limits::buffers::Lease;
use crate::limits::rate::Pace;
use crate::problem::Problem;
use crate::state::{Call, Gateway};
use crate::upload::headers::{Announced, announced};
use crate::upload::intake::{Arrived, Place, Taking, receive};
use crate::upload::parts::Cut;
use crate::upload::receipts::{Claim, Open, settle, write_receipt};
use trevor_api::{AirlockRequest, Direction, Phase};
use trevor_core::declared::{self, Mismatch};
use trevor_core::digest::{Crc32, Sha256Hex};
use trevor_core::policy::Rules;
use trevor_core::receipt::{Content, Receipt};
use trevor_core::sniff::{self, Sniffed};

/// Buffers that an upload may have at the same time.
const BUFFERS: u32 = 4;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Uploaded<'a> {
    path: &'a str,
    version: &'a str,
    size: u64,
    sha256: &'a Sha256Hex,
    crc32: Crc32,
    media_type: &'a str,
    sniffed: Option<&'a Sniffed>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// Takes a file in.
///
/// # Errors
/// Those of docs/reference/wire-formats.md#problems.
pub async fn put(
    gateway: Arc<Gateway>,
    call: Call,
    path: String,
    headers: &HeaderMap,
    body: &mut Body,
) -> Result<Response, Problem> {
    let announced = announced(headers, body)?;
    gateway.shares.has_place(&call.caller.user)?;
    let request = admitted(&gateway, &call).await?;
    check_declared(&request, &path, announced.length, announced.sha256.as_ref())?;
    let open = Open::of(&gateway, &request).await?;
    let rules = rules(&gateway, &request).await?;
    gate::check(&path, announced.length, &rules)?;
    open.entry.known().check(&path)?;
    open.entry.known().check_versions(&path)?;
    let least = announced.length.unwrap_or(0);
    open.entry.known().check_room(&path, least, &rules)?;
    if request::phase(&request) == Phase::Submitted && open.is_sealed(&gateway).await? {
        return Err(sealed());
    }

    let upload = Upload {
        path: &path,
        announced: &announced,
        rules: &rules,
    };
    let arrived = take_in(&gateway, &call, &open, upload, body).await;
    let arrived = arrived.inspect_err(|problem| {
        if gate::is_refusal(problem) {
            let (who, uid) = (&call.caller.user, &open.key.uid);
            gateway
                .ledger
                .refused(who, &call.namespace, &call.name, uid, "upload");
        }
    })?;
    if announced
        .sha256
        .as_ref()
        .is_some_and(|s| *s != arrived.sha256)
    {
        return Err(Problem::unprocessable(
            "DigestMismatch",
            "what arrived does not have the SHA-256 that was stated; nothing was stored",
        ));
    }
    check_declared(&request, &path, Some(arrived.size), Some(&arrived.sha256))?;

    // From here on a client that goes away changes nothing.
    let tasks = gateway.tasks.clone();
    let finish = async move {
        let (call, request, open, rules) = match gateway.anew(&call).await? {
            None => (call, request, open, rules),
            Some(call) => {
                let request = admitted(&gateway, &call).await?;
                request::same(&request, &open.key.uid)?;
                check_declared(&request, &path, Some(arrived.size), Some(&arrived.sha256))?;
                let open = Open::of(&gateway, &request).await?;
                let rules = self::rules(&gateway, &request).await?;
                gate::check(&path, Some(arrived.size), &rules)?;
                if let Some(breach) = rules.content_breach(&path, &arrived.sniffed) {
                    return Err(gate::refused(breach));
                }
                (call, request, open, rules)
            }
        };
        store(&gateway, &call, &open, (&request, &rules), path, arrived).await
    };
    finish_detached(&tasks, finish).await
}

/// The request, if this caller may send it files now: the Job that collects for it, or
/// its submitter.
async fn admitted(gateway: &Gateway, call: &Call) -> Result<AirlockRequest, Problem> {
    match job_token::collector(gateway, call).await? {
        Some(job) => {
            job.takes_files(gateway).await?;
            Ok(job.request)
        }
        None => open_request(gateway, call, "upload").await,
    }
}

async fn finish_detached(
    tasks: &TaskTracker,
    finish: impl Future<Output = Result<Response, Problem>> + Send + 'static,
) -> Result<Response, Problem> {
    let ending = |_| Problem::unavailable("ShuttingDown", "the gateway is ending; try again", 5);
    tasks.spawn(finish).await.map_err(ending)?
}

/// The request, if this caller may change its files now.
async fn open_request(
    gateway: &Gateway,
    call: &Call,
    action: &'static str,
) -> Result<AirlockRequest, Problem> {
    gateway.require(call, UPLOAD, action).await?;
    let request = gateway.requests.find(&call.namespace, &call.name).await?;
    let request = request.ok_or_else(request::unknown)?;
    if !submitted_by(&request, &call.caller.user) {
        let uid = request.metadata.uid.as_deref().unwrap_or_default();
        return Err(gateway.refuse(
            call,
            uid,
            action,
            "only the submitter of a request changes its files".to_owned(),
        ));
    }
    if request.spec.direction == Direction::Ingress {
        request::open_for_uploads(&request)?;
    }
    let at = (call.namespace.as_str(), call.name.as_str());
    gateway.requests.taken_up(at, request).await
}

pub(crate) fn check_declared(
    request: &AirlockRequest,
    path: &str,
    size: Option<u64>,
    sha256: Option<&Sha256Hex>,
) -> Result<(), Problem> {
    let files = request.spec.files.as_deref().unwrap_or_default();
    declared::check(files, path, size, sha256.map(Sha256Hex::as_str)).map_err(|mismatch| {
        let reason = match mismatch {
            Mismatch::Undeclared => "Undeclared",
            Mismatch::Size { .. } => "SizeMismatch",
            Mismatch::Digest => "DigestMismatch",
        };
        Problem::unprocessable(reason, mismatch.to_string())
    })
}

/// The rules of the policy that applies now.
async fn rules(gateway: &Gateway, request: &AirlockRequest) -> Result<Rules, Problem> {
    let namespace = request.metadata.namespace.as_deref().unwrap_or_default();
    gateway
        .policies
        .rules(namespace, request.spec.direction)
        .await
}

/// What is known of an upload before its bytes come.
struct Upload<'a> {
    path: &'a str,
    announced: &'a Announced,
    rules: &'a Rules,
}

async fn take_in(
    gateway: &Gateway,
    call: &Call,
    open: &Open,
    Upload {
        path,
        announced,
        rules,
    }: Upload<'_>,
    body: &mut Body,
) -> Result<Arrived, Problem> {
    let _upload = gateway.metrics.upload();
    let place = Place::new(gateway.zones.quarantine.bucket(), &open.key, &gateway.tasks);
    let at = (call.namespace.as_str(), place.key.as_str());
    let gate = Gate::open(&gateway.stored, at, (path, announced.length), rules).await?;
    let cut = Cut::of(announced.length);
    let share = gateway
        .shares
        .reserve(&call.caller.user, cut.buffer())
        .await?;
    let lease = Lease::new(share, BUFFERS);
    let reader = Reader::new(
        body,
        Pace::new(gateway.config.gateway.min_rate_kib_s),
        gate::most(rules),
        &gateway.metrics,
    );
    let with = Taking {
        lease: &lease,
        reader,
        gate,
        stored: &gateway.stored,
    };
    let arrived = receive(place, cut, with).await?;
    match announced.length {
        Some(length) if length != arrived.size => Err(Problem::bad_request(
            "Truncated",
            "the body broke off; nothing was stored",
        )),
        _ => Ok(arrived),
    }
}

async fn store(
    gateway: &Gateway,
    call: &Call,
    open: &Open,
    (request, rules): (&AirlockRequest, &Rules),
    path: String,
    arrived: Arrived,
) -> Result<Response, Problem> {
    let content = Content {
        more: Default::default(),
        key: arrived.key().to_owned(),
        size: arrived.size,
        sha256: arrived.sha256.clone(),
        crc32: arrived.crc32,
        media_type: media_type(&path).to_owned(),
        sniffed: Some(arrived.sniffed.clone()),
        remark: arrived.remark.clone(),
    };
    // Before the object is there: what has no place in the round leaves nothing.
    let claim = Claim::new(open, &path, content.size, rules)?;
    arrived.store().await?;
    // Completing a large file may take the server minutes. What is refused here leaves an
    // object that no receipt names: the controller's scan deletes it.
    if let Some(call) = gateway.anew(call).await? {
        request::same(&admitted(gateway, &call).await?, &open.key.uid)?;
    }
    let receipt = receipt(call, open, path.clone(), Some(content));
    let receipt = write_receipt(gateway, open, receipt).await?;
    drop(claim);
    settle(gateway, open, &receipt).await?;
    let declared = request.spec.files.as_deref().unwrap_or_default();
    let waits = request.spec.submission >= open.round && !declared.is_empty();
    if waits && open.entry.known().covers(declared) {
        gateway.hints.send(&call.namespace, &call.name);
    }
    let Some(content) = &receipt.content else {
        return Ok(StatusCode::CREATED.into_response());
    };
    let uploaded = Uploaded {
        path: &receipt.path,
        version: &receipt.version,
        size: content.size,
        sha256: &content.sha256,
        crc32: content.crc32,
        media_type: &content.media_type,
        sniffed: content.sniffed.as_ref(),
        warnings: sniff::warnings(
            &receipt.path,
            content.sniffed.as_ref(),
            content.remark.as_ref(),
        ),
    };
    Ok((StatusCode::CREATED, axum::Json(uploaded)).into_response())
}

fn receipt(call: &Call, open: &Open, path: String, content: Option<Content>) -> Receipt {
    Receipt {
        more: Default::default(),
        path,
        version: String::new(),
        round: open.round,
        by: call.caller.user.clone(),
        time: Timestamp::now(),
        content,
    }
}

/// Drops a file from the round.
///
/// # Errors
/// Those of docs/reference/wire-formats.md#problems.
pub async fn delete(gateway: Arc<Gateway>, call: Call, path: String) -> Result<Response, Problem> {
    let request = open_request(&gateway, &call, "remove").await?;
    let round = request::open_for_uploads(&request)?;
    let key = request::key(&request);
    let open = Open {
        entry: gateway.index.fresh(&key, round).await?,
        key,
        round,
    };
    if !open.entry.known().stands(&path) {
        return Err(Problem::not_found("there is no such file in this round"));
    }
    if let Some(call) = gateway.anew(&call).await? {
        let request = open_request(&gateway, &call, "remove").await?;
        request::same(&request, &open.key.uid)?;
    }
    let tasks = gateway.tasks.clone();
    let finish = async move {
        let removal = receipt(&call, &open, path, None);
        let removal = write_receipt(&gateway, &open, removal).await?;
        settle(&gateway, &open, &removal).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    };
    finish_detached(&tasks, finish).await
}

/// The media type that a name suggests.
fn media_type(path: &str) -> &'static str {
    trevor_core::media_type::of(path)
}

/// Reads on for a while after an early answer, so that a client which sends all
/// before it reads gets to see it.
pub async fn drain(mut body: Body, most: u64) {
    let read = async {
        let mut left = most;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, |d| d.len() as u64));
            if left == 0 {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(10), read).await;
}
