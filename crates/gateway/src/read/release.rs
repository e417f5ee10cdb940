//! `GET release`: the URL of the package, for the submitter.

use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use jiff::Timestamp;
use kube::api::Api;
use serde::Serialize;
use serde_json::{Value, json};

use crate::cluster::api_server::in_time;
use crate::cluster::requests::{self as request, submitted_by, unknown};
use crate::identity::permission::RELEASE;
use crate::problem::Problem;
use crate::read::release_urls::release_urls;
use crate::records::ledger::Act;
use crate::state::{Call, Gateway};
use trevor_api::{AirlockRequest, Direction, Phase, ReleasePhase, ReleaseRecord};
use trevor_core::digest::Sha256Hex;
use trevor_core::url_ending::UrlRead;
use trevor_store::{UrlIssue, commit};

#[derive(Serialize)]
struct Released<'a> {
    r#type: &'static str,
    url: &'a str,
    expires: Timestamp,
    sha256: &'a Sha256Hex,
    size: u64,
    filename: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    statement: Option<Value>,
}

/// Hands out the URL in force.
///
/// # Errors
/// Those of docs/reference/wire-formats.md#problems.
pub async fn release(gateway: &Gateway, call: &Call) -> Result<Response, Problem> {
    let request = released_to(gateway, call).await?;
    let key = request::key(&request);
    if request.spec.direction == Direction::Ingress {
        return release_urls(gateway, call, &request).await;
    }
    let issue = issue_in_force(gateway, call, &request).await?;
    let stored: Option<UrlIssue> =
        commit::read(gateway.zones.quarantine.bucket(), &key.url(issue)).await?;
    let stored = stored.ok_or_else(revoked)?;
    if stored.expires <= Timestamp::now() {
        return Err(expired());
    }
    still_released_to(gateway, call, &key.uid).await?;
    let detail = json!({"issue": stored.issue, "expires": stored.expires});
    let act = Act {
        kind: "UrlRead",
        actor: &call.caller.user,
        namespace: &key.namespace,
        uid: &key.uid,
        detail,
    };
    gateway.ledger.record(act).await?;
    // It is in use from here on: nobody is warned that it ends.
    let mark = UrlRead {
        issue: stored.issue,
        by: call.caller.user.clone(),
        time: Timestamp::now(),
    };
    let records = gateway.zones.records.bucket();
    let at = key.url_read(request::round(&request), stored.issue);
    commit::commit(records, &at, &mark).await?;
    let url = stored.url();
    let released = Released {
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

/// The request, for the one who gets the URLs of its release.
async fn released_to(gateway: &Gateway, call: &Call) -> Result<AirlockRequest, Problem> {
    gateway.require(call, RELEASE, "release").await?;
    let request = gateway
        .requests
        .find(&call.namespace, &call.name)
        .await?
        .ok_or_else(unknown)?;
    if !submitted_by(&request, &call.caller.user) {
        let uid = request.metadata.uid.as_deref().unwrap_or_default();
        return Err(gateway.refuse(
            call,
            uid,
            "release",
            "only the submitter gets the URL of a release".to_owned(),
        ));
    }
    Ok(request)
}

/// Asks again just before a URL is handed out, where the first answers are old by now.
///
/// # Errors
/// As the first time; 409 when another request has the name.
pub(crate) async fn still_released_to(
    gateway: &Gateway,
    call: &Call,
    uid: &str,
) -> Result<(), Problem> {
    match gateway.anew(call).await? {
        Some(call) => request::same(&released_to(gateway, &call).await?, uid),
        None => Ok(()),
    }
}

async fn issue_in_force(
    gateway: &Gateway,
    call: &Call,
    request: &AirlockRequest,
) -> Result<i64, Problem> {
    match request::phase(request) {
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
    let name = request
        .status
        .as_ref()
        .and_then(|s| s.release.as_ref())
        .map(|r| r.record_name.clone())
        .ok_or_else(not_released)?;
    let records: Api<ReleaseRecord> = Api::namespaced(gateway.client.clone(), &call.namespace);
    let record = in_time("release record", records.get_opt(&name))
        .await?
        .ok_or_else(not_released)?;
    if Some(&record.spec.request_ref.uid) != request.metadata.uid.as_ref() {
        return Err(not_released());
    }
    let status = record.status.unwrap_or_default();
    match status.phase {
        Some(ReleasePhase::Revoked) => Err(revoked()),
        Some(ReleasePhase::Deleted) => Err(expired()),
        Some(ReleasePhase::Available) | None => {
            status.url.map(|u| u.issue).ok_or_else(not_released)
        }
    }
}

pub(crate) fn not_released() -> Problem {
    Problem::conflict(
        "NotReleased",
        "the request is not released, or its URL is not made yet",
    )
}

pub(crate) fn revoked() -> Problem {
    Problem::new(StatusCode::GONE, "Revoked", "the release was revoked")
}

pub(crate) fn expired() -> Problem {
    Problem::new(
        StatusCode::GONE,
        "Expired",
        "the URL has ended; renew it within the download window, or make a new request",
    )
}
