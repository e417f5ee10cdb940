//! `GET files` and `GET manifest`: names, digests and differences of files, without content.

use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{CONTENT_TYPE, ETAG};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cluster::requests;
use crate::identity::call::Call;
use crate::identity::permission::LIST;
use crate::limits::response_body::{body_with_permit, json_with_permit};
use crate::problem::Problem;
use crate::records::frozen_rounds::{FrozenRound, not_frozen};
use crate::records::receipt_cache::CachedRequest;
use crate::state::Gateway;
use trevor_api::AirlockRequest;
use trevor_core::digest::Sha256Hex;
use trevor_core::keys::RequestKey;
use trevor_core::receipt::Receipt;
use trevor_core::rounds::changes;
use trevor_core::sniff::{self, Sniffed};

const MAX_PAGE: usize = 1000;
/// About the memory of a receipt.
const RECEIPT_BYTES: u64 = 1024;

/// The query: a page of the list.
#[derive(Debug, Default, Deserialize)]
pub struct PageQuery {
    limit: Option<usize>,
    #[serde(rename = "continue")]
    after: Option<String>,
}

/// The query: the round to compare with.
#[derive(Debug, Default, Deserialize)]
pub struct SinceQuery {
    since: Option<i64>,
}

#[derive(Serialize)]
struct FileList {
    round: i64,
    sealed: bool,
    files: Vec<ListedFile>,
    #[serde(rename = "continue")]
    after: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListedFile {
    path: String,
    version: String,
    size: u64,
    sha256: Sha256Hex,
    media_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sniffed: Option<Sniffed>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    uploaded_by: String,
    uploaded_time: Timestamp,
}

/// The current files of the open round, or the files of the sealed round.
///
/// # Errors
/// Those of docs/reference/wire-formats.md#problems.
pub async fn files(gateway: &Gateway, call: &Call, page: PageQuery) -> Result<Response, Problem> {
    let request = listable_request(gateway, call, "list").await?;
    let key = requests::key(&request);
    let open = requests::open_round(&request);
    let round = open.unwrap_or_else(|| requests::round(&request).max(1));
    let entry = gateway.receipts.fresh(&key, round).await?;
    let size = entry.receipts().len() as u64 * RECEIPT_BYTES;
    let permit = gateway.reserve_estimate(call, size).await?;
    recheck_listable(gateway, call, "list", &key).await?;
    let (sealed, receipts) = match gateway.frozen_rounds.get(&key, round).await? {
        Some(frozen) => (true, listed(&entry, &frozen)),
        None => {
            let seal = key.seal(round);
            let sealed = open.is_none() || gateway.zones.records.exists(&seal).await?;
            (sealed, entry.receipts().current_files())
        }
    };
    let after = match page.after {
        Some(token) => Some(cursor(&token)?),
        None => None,
    };
    let limit = page.limit.unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
    let mut rest = receipts
        .into_iter()
        .filter(|r| after.as_ref().is_none_or(|after| r.path > *after))
        .filter_map(file);
    let files: Vec<ListedFile> = rest.by_ref().take(limit).collect();
    let more = rest.next().is_some();
    let after = files
        .last()
        .filter(|_| more)
        .map(|last| URL_SAFE_NO_PAD.encode(&last.path));
    let answer = FileList {
        round,
        sealed,
        files,
        after,
    };
    json_with_permit(&answer, permit)
}

/// The request, if the caller may read lists.
async fn listable_request(
    gateway: &Gateway,
    call: &Call,
    action: &'static str,
) -> Result<AirlockRequest, Problem> {
    gateway.require(call, LIST, action).await?;
    gateway
        .requests
        .get_existing(&call.namespace, &call.name)
        .await
}

/// Repeats the checks for a call that has waited for memory.
async fn recheck_listable(
    gateway: &Gateway,
    call: &Call,
    action: &'static str,
    key: &RequestKey,
) -> Result<(), Problem> {
    match gateway.revalidate(call).await? {
        Some(call) => {
            requests::ensure_same_uid(&listable_request(gateway, &call, action).await?, &key.uid)
        }
        None => Ok(()),
    }
}

fn cursor(token: &str) -> Result<String, Problem> {
    let path = URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    path.ok_or_else(|| {
        Problem::bad_request(
            "MalformedContinue",
            "continue is not a token that this call gave out",
        )
    })
}

fn file(receipt: Receipt) -> Option<ListedFile> {
    let content = receipt.content?;
    let (sniffed, remark) = (content.sniffed.as_ref(), content.remark.as_ref());
    Some(ListedFile {
        warnings: sniff::warnings(&receipt.path, sniffed, remark),
        path: receipt.path,
        version: receipt.version,
        size: content.size,
        sha256: content.sha256,
        media_type: content.media_type,
        sniffed: content.sniffed,
        uploaded_by: receipt.by,
        uploaded_time: receipt.time,
    })
}

/// The files of a frozen round, with the uploader and time of their receipts.
fn listed(entry: &CachedRequest, frozen: &FrozenRound) -> Vec<Receipt> {
    let receipts = entry.receipts();
    let as_written = |r: Receipt| receipts.receipt(&r.path, &r.version).cloned().unwrap_or(r);
    frozen.listing().into_iter().map(as_written).collect()
}

/// The stored manifest of the last round, or its difference to an earlier round.
///
/// # Errors
/// Those of docs/reference/wire-formats.md#problems.
pub async fn manifest(
    gateway: &Gateway,
    call: &Call,
    since: SinceQuery,
) -> Result<Response, Problem> {
    let request = listable_request(gateway, call, "manifest").await?;
    let key = requests::key(&request);
    let round = requests::round(&request);
    let now = gateway
        .frozen_rounds
        .get(&key, round)
        .await?
        .ok_or_else(|| not_frozen(round))?;
    if now.manifest().is_none() {
        return Err(not_frozen(round));
    }
    if let Some(since) = since.since {
        if !(1..=round).contains(&since) {
            return Err(not_frozen(since));
        }
        let permit = gateway
            .reserve_estimate(call, 2 * now.bytes().len() as u64)
            .await?;
        let before = gateway.frozen_rounds.get(&key, since).await?;
        recheck_listable(gateway, call, "manifest", &key).await?;
        let before = before
            .and_then(|f| f.frozen())
            .ok_or_else(|| not_frozen(since))?;
        let now = now.frozen().ok_or_else(|| not_frozen(round))?;
        return json_with_permit(&changes(&before, &now.manifest), permit);
    }
    let size = now.bytes().len() as u64;
    let permit = gateway.reserve_estimate(call, size).await?;
    recheck_listable(gateway, call, "manifest", &key).await?;
    let etag = format!("\"{}\"", now.digest());
    let headers = [(CONTENT_TYPE, "application/json".to_owned()), (ETAG, etag)];
    Ok((headers, body_with_permit(now.bytes().clone(), permit)).into_response())
}
