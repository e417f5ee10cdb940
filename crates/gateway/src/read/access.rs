//! Checks of callers who read the content of a request.

use crate::cluster::requests::{self, is_submitter, request_not_found};
use crate::identity::call::Call;
use crate::identity::permission::{CANARY, LIST, may_read_content};
use crate::jobs::access::{deliverer, releasing};
use crate::problem::Problem;
use crate::state::Gateway;
use trevor_api::{AirlockRequest, Phase};

/// The request, if the caller may read its content now: the Job that delivers it, or a caller with
/// permission.
///
/// # Errors
/// As [`readable_request`] and [`releasing`].
pub async fn content_request(gateway: &Gateway, call: &Call) -> Result<AirlockRequest, Problem> {
    match deliverer(gateway, call).await? {
        Some(request) => {
            releasing(gateway, &request).await?;
            Ok(request)
        }
        None => readable_request(gateway, call).await,
    }
}

/// The request, if the caller has permission to read its content. Refusals are recorded.
///
/// # Errors
/// 403 without permission, 404 when there is no such request, 503 when the API server does not
/// answer.
pub async fn readable_request(gateway: &Gateway, call: &Call) -> Result<AirlockRequest, Problem> {
    let query = call.access_query();
    let (reviewer, wildcard, may_list, request) = futures::try_join!(
        gateway.permissions.is_reviewer(query),
        gateway.permissions.has(query, CANARY),
        gateway.permissions.has(query, LIST),
        gateway.requests.get(&call.namespace, &call.name),
    )?;
    let Some(request) = request else {
        return Err(if reviewer {
            request_not_found()
        } else {
            refuse(gateway, call, "")
        });
    };
    let uid = request.metadata.uid.clone().unwrap_or_default();
    let submitter = is_submitter(&request, &call.caller.user);
    let released = requests::phase(&request) == Phase::Released && (reviewer || may_list);
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
