//! `GET release`: the URL of the package, for the submitter of a request.

use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::cluster::requests;
use crate::identity::call::Call;
use crate::problem::Problem;
use crate::read::release_access::{
    available_record, expired, not_released, recheck_releasable, releasable_request, revoked,
};
use crate::read::release_urls::release_urls;
use crate::records::ledger::AuditAction;
use crate::state::Gateway;
use trevor_api::{AirlockRequest, Direction, Phase};
use trevor_core::digest::Sha256Hex;
use trevor_core::url_ending::UrlRead;

#[derive(Serialize)]
struct PackageRelease<'a> {
    r#type: &'static str,
    url: &'a str,
    expires: Timestamp,
    sha256: &'a Sha256Hex,
    size: u64,
    filename: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    statement: Option<Value>,
}

/// Returns the valid URL of the release.
///
/// # Errors
/// Those of docs/reference/wire-formats.md#problems.
pub async fn release(gateway: &Gateway, call: &Call) -> Result<Response, Problem> {
    let request = releasable_request(gateway, call).await?;
    let key = requests::key(&request);
    if request.spec.direction == Direction::Ingress {
        return release_urls(gateway, call, &request).await;
    }
    let issue = valid_issue(gateway, &request).await?;
    let stored = gateway.zones.quarantine.work().get(&key.url(issue)).await?;
    let stored = stored.ok_or_else(revoked)?;
    if stored.expires <= Timestamp::now() {
        return Err(expired());
    }
    recheck_releasable(gateway, call, &key.uid).await?;
    let detail = json!({"issue": stored.issue, "expires": stored.expires});
    let action = AuditAction {
        kind: "UrlRead",
        actor: &call.caller.user,
        namespace: &key.namespace,
        uid: &key.uid,
        detail,
    };
    gateway.ledger.record(action).await?;
    // The URL counts as used, so that no warning about its end is sent.
    let mark = UrlRead {
        issue: stored.issue,
        by: call.caller.user.clone(),
        time: Timestamp::now(),
    };
    let at = key.url_read(requests::round(&request), stored.issue);
    gateway.zones.records.create(&at, &mark).await?;
    let url = stored.url();
    let released = PackageRelease {
        r#type: "Package",
        url: url.expose(),
        expires: stored.expires,
        sha256: &stored.sha256,
        size: stored.size,
        filename: &stored.filename,
        statement: stored
            .statement
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok()),
    };
    Ok(axum::Json(released).into_response())
}

/// The number of the URL that is valid now.
async fn valid_issue(gateway: &Gateway, request: &AirlockRequest) -> Result<i64, Problem> {
    match requests::phase(request) {
        Phase::Released => {}
        Phase::Revoked => return Err(revoked()),
        Phase::Rejected | Phase::Withdrawn => {
            return Err(Problem::conflict(
                "NotReleased",
                "the request was rejected or withdrawn, and nothing of it is released; make a new one",
            ));
        }
        _ => return Err(not_released()),
    }
    let record = available_record(gateway, request).await?;
    let url = record.status.and_then(|status| status.url);
    url.map(|url| url.issue).ok_or_else(not_released)
}
