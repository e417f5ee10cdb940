//! `PUT` and `DELETE files/{path}`.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use tokio_util::task::TaskTracker;

use crate::cluster::requests::{self, is_submitter, round_sealed};
use crate::identity::call::Call;
use crate::identity::permission::UPLOAD;
use crate::jobs::access;
use crate::limits::admission::{self, UploadAdmission};
use crate::limits::body_reader::BodyReader;
use crate::limits::buffers::BufferPool;
use crate::limits::rate::MinimumRate;
use crate::problem::Problem;
use crate::state::Gateway;
use crate::upload::headers::UploadHeaders;
use crate::upload::intake::{Destination, IntakeContext, ReceivedFile, receive};
use crate::upload::parts::PartLayout;
use crate::upload::receipts::{OpenRound, PathReservation, confirm_receipt, write_receipt};
use trevor_api::{AirlockRequest, Direction, Phase};
use trevor_core::digest::{Crc32, Sha256Hex};
use trevor_core::media_type;
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

/// Receives a file, stores it, and writes its receipt.
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
    let stated = UploadHeaders::parse(headers, body)?;
    gateway.memory.check_queue(&call.caller.user)?;
    let request = uploadable_request(&gateway, &call).await?;
    requests::check_declared(&request, &path, stated.length, stated.sha256.as_ref())?;
    let open_round = OpenRound::load(&gateway, &request).await?;
    let rules = rules(&gateway, &request).await?;
    admission::check_name_and_size(&path, stated.length, &rules)?;
    open_round.entry.receipts().check_name(&path)?;
    open_round.entry.receipts().check_versions(&path)?;
    let size = stated.length.unwrap_or(0);
    open_round
        .entry
        .receipts()
        .check_round_limits(&path, size, &rules)?;
    if requests::phase(&request) == Phase::Submitted && open_round.is_sealed(&gateway).await? {
        return Err(round_sealed());
    }

    let upload = UploadRequest {
        path: &path,
        stated: &stated,
        rules: &rules,
    };
    let received = receive_body(&gateway, &call, &open_round, upload, body).await;
    let received = received.inspect_err(|problem| {
        if problem.is_policy_refusal() {
            let (who, uid) = (&call.caller.user, &open_round.key.uid);
            gateway
                .ledger
                .refused(who, &call.namespace, &call.name, uid, "upload");
        }
    })?;
    if stated
        .sha256
        .as_ref()
        .is_some_and(|s| *s != received.sha256)
    {
        return Err(Problem::unprocessable(
            "DigestMismatch",
            "what arrived does not have the SHA-256 that was stated; nothing was stored",
        ));
    }
    requests::check_declared(&request, &path, Some(received.size), Some(&received.sha256))?;

    // The rest is finished even if the client disconnects.
    let tasks = gateway.tasks.clone();
    let finish = async move {
        let (call, request, open_round, rules) = match gateway.revalidate(&call).await? {
            None => (call, request, open_round, rules),
            Some(call) => {
                let request = uploadable_request(&gateway, &call).await?;
                requests::ensure_same_uid(&request, &open_round.key.uid)?;
                requests::check_declared(
                    &request,
                    &path,
                    Some(received.size),
                    Some(&received.sha256),
                )?;
                let open_round = OpenRound::load(&gateway, &request).await?;
                let rules = self::rules(&gateway, &request).await?;
                admission::check_name_and_size(&path, Some(received.size), &rules)?;
                if let Some(breach) = rules.content_breach(&path, &received.sniffed) {
                    return Err(Problem::refused_by_policy(breach));
                }
                (call, request, open_round, rules)
            }
        };
        store(
            &gateway,
            &call,
            &open_round,
            (&request, &rules),
            path,
            received,
        )
        .await
    };
    finish_detached(&tasks, finish).await
}

/// The request, if the caller may upload files to it now: the Job that collects for it, or its
/// submitter.
async fn uploadable_request(gateway: &Gateway, call: &Call) -> Result<AirlockRequest, Problem> {
    match access::collector(gateway, call).await? {
        Some(job) => {
            job.check_accepts_files(gateway).await?;
            Ok(job.request)
        }
        None => open_request(gateway, call, "upload").await,
    }
}

async fn finish_detached(
    tasks: &TaskTracker,
    finish: impl Future<Output = Result<Response, Problem>> + Send + 'static,
) -> Result<Response, Problem> {
    let finished = tasks.spawn(finish).await;
    finished.map_err(|_| Problem::shutting_down())?
}

/// The request, if the caller is its submitter and may change its files now.
async fn open_request(
    gateway: &Gateway,
    call: &Call,
    action: &'static str,
) -> Result<AirlockRequest, Problem> {
    gateway.require(call, UPLOAD, action).await?;
    let request = gateway
        .requests
        .get_existing(&call.namespace, &call.name)
        .await?;
    if !is_submitter(&request, &call.caller.user) {
        let uid = request.metadata.uid.as_deref().unwrap_or_default();
        return Err(gateway.refuse(
            call,
            uid,
            action,
            "only the submitter of a request changes its files".to_owned(),
        ));
    }
    if request.spec.direction == Direction::Ingress {
        requests::require_upload_round(&request)?;
    }
    let at = (call.namespace.as_str(), call.name.as_str());
    gateway.requests.wait_for_controller(at, request).await
}

/// The rules of the policy that applies now.
async fn rules(gateway: &Gateway, request: &AirlockRequest) -> Result<Rules, Problem> {
    let namespace = request.metadata.namespace.as_deref().unwrap_or_default();
    gateway
        .policies
        .rules(namespace, request.spec.direction)
        .await
}

/// What is known of an upload before its body is read.
struct UploadRequest<'a> {
    path: &'a str,
    stated: &'a UploadHeaders,
    rules: &'a Rules,
}

async fn receive_body(
    gateway: &Gateway,
    call: &Call,
    open_round: &OpenRound,
    UploadRequest {
        path,
        stated,
        rules,
    }: UploadRequest<'_>,
    body: &mut Body,
) -> Result<ReceivedFile, Problem> {
    let _upload = gateway.metrics.upload();
    let destination = Destination::new(
        gateway.zones.quarantine.bucket(),
        &open_round.key,
        &gateway.tasks,
    );
    let at = (call.namespace.as_str(), destination.key.as_str());
    let admission = UploadAdmission::open(&gateway.quota, at, (path, stated.length), rules).await?;
    let layout = PartLayout::for_length(stated.length);
    let permit = gateway
        .memory
        .reserve(&call.caller.user, layout.buffer_size())
        .await?;
    let buffers = BufferPool::new(permit, BUFFERS);
    let reader = BodyReader::new(
        body,
        MinimumRate::new(gateway.config.gateway.min_rate_kib_s),
        admission::max_file_bytes(rules),
        &gateway.metrics,
    );
    let context = IntakeContext {
        buffers: &buffers,
        reader,
        admission,
        quota: &gateway.quota,
    };
    let received = receive(destination, layout, context).await?;
    match stated.length {
        Some(length) if length != received.size => Err(Problem::truncated()),
        _ => Ok(received),
    }
}

async fn store(
    gateway: &Gateway,
    call: &Call,
    open_round: &OpenRound,
    (request, rules): (&AirlockRequest, &Rules),
    path: String,
    received: ReceivedFile,
) -> Result<Response, Problem> {
    let content = Content {
        more: Default::default(),
        key: received.key().to_owned(),
        size: received.size,
        sha256: received.sha256.clone(),
        crc32: received.crc32,
        media_type: media_type::of(&path).to_owned(),
        sniffed: Some(received.sniffed.clone()),
        remark: received.remark.clone(),
    };
    // Before the object is stored, so that a refused file leaves nothing.
    let reservation = PathReservation::new(open_round, &path, content.size, rules)?;
    received.store().await?;
    // Completing a large file may take the storage minutes. A refusal here leaves an object without
    // a receipt, which the scan of the controller deletes.
    if let Some(call) = gateway.revalidate(call).await? {
        requests::ensure_same_uid(
            &uploadable_request(gateway, &call).await?,
            &open_round.key.uid,
        )?;
    }
    let receipt = receipt(call, open_round, path.clone(), Some(content));
    let receipt = write_receipt(gateway, open_round, receipt).await?;
    drop(reservation);
    confirm_receipt(gateway, open_round, &receipt).await?;
    let declared = request.spec.files.as_deref().unwrap_or_default();
    let awaits_files = request.spec.submission >= open_round.round && !declared.is_empty();
    if awaits_files && open_round.entry.receipts().has_all(declared) {
        gateway.reconcile_hints.send(&call.namespace, &call.name);
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

fn receipt(call: &Call, open_round: &OpenRound, path: String, content: Option<Content>) -> Receipt {
    Receipt {
        more: Default::default(),
        path,
        version: String::new(),
        round: open_round.round,
        by: call.caller.user.clone(),
        time: Timestamp::now(),
        content,
    }
}

/// Removes a file from the round.
///
/// # Errors
/// Those of docs/reference/wire-formats.md#problems.
pub async fn delete(gateway: Arc<Gateway>, call: Call, path: String) -> Result<Response, Problem> {
    let request = open_request(&gateway, &call, "remove").await?;
    let round = requests::require_upload_round(&request)?;
    let key = requests::key(&request);
    let open_round = OpenRound {
        entry: gateway.receipts.fresh(&key, round).await?,
        key,
        round,
    };
    if !open_round.entry.receipts().has_current(&path) {
        return Err(Problem::not_found("there is no such file in this round"));
    }
    if let Some(call) = gateway.revalidate(&call).await? {
        let request = open_request(&gateway, &call, "remove").await?;
        requests::ensure_same_uid(&request, &open_round.key.uid)?;
    }
    let tasks = gateway.tasks.clone();
    let finish = async move {
        let removal = receipt(&call, &open_round, path, None);
        let removal = write_receipt(&gateway, &open_round, removal).await?;
        confirm_receipt(&gateway, &open_round, &removal).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    };
    finish_detached(&tasks, finish).await
}
