//! `GET files` and `GET manifest`: lists, digests and differences; no content.

use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{CONTENT_TYPE, ETAG};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cluster::requests::{self as request, unknown};
use crate::identity::permission::LIST;
use crate::limits::response_body::{held, json_held};
use crate::problem::Problem;
use crate::records::frozen_rounds::FrozenRound;
use crate::records::receipt_cache::Entry;
use crate::state::{Call, Gateway};
use trevor_api::AirlockRequest;
use trevor_core::digest::Sha256Hex;
use trevor_core::keys::RequestKey;
use trevor_core::receipt::Receipt;
use trevor_core::rounds::changes;
use trevor_core::sniff::{self, Sniffed};

const PAGE: usize = 1000;
/// Bytes of a receipt in memory, about.
const RECEIPT: u64 = 1024;

/// Which page.
#[derive(Debug, Default, Deserialize)]
pub struct Page {
    limit: Option<usize>,
    #[serde(rename = "continue")]
    after: Option<String>,
}

/// Against which round.
#[derive(Debug, Default, Deserialize)]
pub struct Since {
    since: Option<i64>,
}

#[derive(Serialize)]
struct Files {
    round: i64,
    sealed: bool,
    files: Vec<File>,
    #[serde(rename = "continue")]
    after: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File {
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

/// The files that stand in the open round, or those of the sealed one.
///
/// # Errors
/// Those of docs/reference/wire-formats.md#problems.
pub async fn files(gateway: &Gateway, call: &Call, page: Page) -> Result<Response, Problem> {
    let request = readable(gateway, call, "list").await?;
    let key = request::key(&request);
    let open = request::open(&request);
    let round = open.unwrap_or_else(|| request::round(&request).max(1));
    let entry = gateway.index.fresh(&key, round).await?;
    let size = entry.known().len() as u64 * RECEIPT;
    let share = gateway
        .shares
        .reserve_at_most(&call.caller.user, size)
        .await?;
    still_readable(gateway, call, "list", &key).await?;
    let (sealed, standing) = match gateway.freezes.get(&key, round).await? {
        Some(frozen) => (true, listed(&entry, &frozen)),
        None => {
            let seal = key.seal(round);
            let sealed = open.is_none() || gateway.zones.records.bucket().exists(&seal).await?;
            (sealed, entry.known().standing())
        }
    };
    let after = match page.after {
        Some(token) => Some(cursor(&token)?),
        None => None,
    };
    let limit = page.limit.unwrap_or(PAGE).clamp(1, PAGE);
    let mut rest = standing
        .into_iter()
        .filter(|r| after.as_ref().is_none_or(|after| r.path > *after))
        .filter_map(file);
    let files: Vec<File> = rest.by_ref().take(limit).collect();
    let more = rest.next().is_some();
    let after = files
        .last()
        .filter(|_| more)
        .map(|last| URL_SAFE_NO_PAD.encode(&last.path));
    let answer = Files {
        round,
        sealed,
        files,
        after,
    };
    json_held(&answer, share)
}

/// The request, for one who may read lists.
async fn readable(
    gateway: &Gateway,
    call: &Call,
    action: &'static str,
) -> Result<AirlockRequest, Problem> {
    gateway.require(call, LIST, action).await?;
    gateway
        .requests
        .find(&call.namespace, &call.name)
        .await?
        .ok_or_else(unknown)
}

/// Asks again, where a call has waited for its share.
async fn still_readable(
    gateway: &Gateway,
    call: &Call,
    action: &'static str,
    key: &RequestKey,
) -> Result<(), Problem> {
    match gateway.anew(call).await? {
        Some(call) => request::same(&readable(gateway, &call, action).await?, &key.uid),
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

fn file(receipt: Receipt) -> Option<File> {
    let content = receipt.content?;
    let (sniffed, remark) = (content.sniffed.as_ref(), content.remark.as_ref());
    Some(File {
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

/// What a freeze lists, with what only the receipts say: who uploaded it, when.
fn listed(entry: &Entry, frozen: &FrozenRound) -> Vec<Receipt> {
    let known = entry.known();
    let as_written = |r: Receipt| known.receipt(&r.path, &r.version).cloned().unwrap_or(r);
    frozen.listing().into_iter().map(as_written).collect()
}

/// The manifest of the last round, as stored; or its difference from an earlier one.
///
/// # Errors
/// Those of docs/reference/wire-formats.md#problems.
pub async fn manifest(gateway: &Gateway, call: &Call, since: Since) -> Result<Response, Problem> {
    let request = readable(gateway, call, "manifest").await?;
    let key = request::key(&request);
    let round = request::round(&request);
    let now = gateway
        .freezes
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
        let share = gateway
            .shares
            .reserve_at_most(&call.caller.user, 2 * now.bytes().len() as u64)
            .await?;
        let before = gateway.freezes.get(&key, since).await?;
        still_readable(gateway, call, "manifest", &key).await?;
        let before = before
            .and_then(|f| f.frozen())
            .ok_or_else(|| not_frozen(since))?;
        let now = now.frozen().ok_or_else(|| not_frozen(round))?;
        return json_held(&changes(&before, &now.manifest), share);
    }
    let size = now.bytes().len() as u64;
    let share = gateway
        .shares
        .reserve_at_most(&call.caller.user, size)
        .await?;
    still_readable(gateway, call, "manifest", &key).await?;
    let etag = format!("\"{}\"", now.digest());
    let headers = [(CONTENT_TYPE, "application/json".to_owned()), (ETAG, etag)];
    Ok((headers, held(now.bytes().clone(), share)).into_response())
}

/// There is no manifest of a round.
#[must_use]
pub fn not_frozen(round: i64) -> Problem {
    let detail = match round {
        0 => "the request was not submitted yet, so there is no manifest".to_owned(),
        round => format!("round {round} has no manifest (it is not frozen yet, or was refused)"),
    };
    Problem {
        reason: "NotFrozen",
        ..Problem::not_found(detail)
    }
}
