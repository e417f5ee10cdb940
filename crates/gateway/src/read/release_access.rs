//! Checks of callers who read the URLs of a release, and the record of the release.

use http::StatusCode;
use kube::api::Api;

use crate::cluster::api_server::with_timeout;
use crate::cluster::requests::{self, is_submitter};
use crate::identity::call::Call;
use crate::identity::permission::RELEASE;
use crate::problem::Problem;
use crate::state::Gateway;
use trevor_api::{AirlockRequest, ReleasePhase, ReleaseRecord};

/// The request, if the caller may have the URLs of its release. Refusals are recorded.
///
/// # Errors
/// 403 without permission, 404 when there is no such request.
pub async fn releasable_request(gateway: &Gateway, call: &Call) -> Result<AirlockRequest, Problem> {
    gateway.require(call, RELEASE, "release").await?;
    let request = gateway
        .requests
        .get_existing(&call.namespace, &call.name)
        .await?;
    if !is_submitter(&request, &call.caller.user) {
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

/// Repeats the checks just before a URL is returned.
///
/// # Errors
/// As the first checks. 409 when another request has the name.
pub async fn recheck_releasable(gateway: &Gateway, call: &Call, uid: &str) -> Result<(), Problem> {
    match gateway.revalidate(call).await? {
        Some(call) => requests::ensure_same_uid(&releasable_request(gateway, &call).await?, uid),
        None => Ok(()),
    }
}

/// The record of a release whose files are still available.
///
/// # Errors
/// 409 when there is no record yet, 410 when the release was revoked or its files were deleted.
pub async fn available_record(
    gateway: &Gateway,
    request: &AirlockRequest,
) -> Result<ReleaseRecord, Problem> {
    let status = request.status.as_ref().and_then(|s| s.release.as_ref());
    let name = status
        .map(|r| r.record_name.clone())
        .ok_or_else(not_released)?;
    let namespace = request.metadata.namespace.as_deref().unwrap_or_default();
    let records: Api<ReleaseRecord> = Api::namespaced(gateway.client.clone(), namespace);
    let record = with_timeout("release record", records.get_opt(&name))
        .await?
        .filter(|r| Some(&r.spec.request_ref.uid) == request.metadata.uid.as_ref())
        .ok_or_else(not_released)?;
    match record.status.as_ref().and_then(|s| s.phase) {
        Some(ReleasePhase::Revoked) => Err(revoked()),
        Some(ReleasePhase::Deleted) => Err(expired()),
        Some(ReleasePhase::Available) | None => Ok(record),
    }
}

/// 409: nothing is released yet.
pub fn not_released() -> Problem {
    Problem::conflict(
        "NotReleased",
        "the request is not released, or its URL is not made yet",
    )
}

/// 410: the release was revoked.
pub fn revoked() -> Problem {
    Problem::new(StatusCode::GONE, "Revoked", "the release was revoked")
}

/// 410: the URL or the files have expired.
pub fn expired() -> Problem {
    Problem::new(
        StatusCode::GONE,
        "Expired",
        "the URL has ended; renew it within the download window, or make a new request",
    )
}
