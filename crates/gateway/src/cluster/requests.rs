//! The request that a call is about. It is read anew for each call.

use std::time::Duration;

use kube::Client;
use kube::api::Api;

use crate::cluster::api_server::with_timeout;
use crate::problem::Problem;
use trevor_api::{AirlockRequest, Direction, FINALIZER, Phase};
use trevor_core::declared::{self, Mismatch};
use trevor_core::digest::Sha256Hex;
use trevor_core::keys::RequestKey;

/// Pauses between reads of a request that the controller has not accepted yet; 10 s in total.
const PAUSES_MS: [u64; 8] = [100, 200, 400, 800, 1500, 2000, 2500, 2500];

/// Reads requests.
#[derive(Clone)]
pub struct Requests(Client);

impl Requests {
    /// Reads with `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self(client)
    }

    /// The request, if it exists.
    ///
    /// # Errors
    /// 503 when the API server does not answer.
    pub async fn get(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<AirlockRequest>, Problem> {
        let requests: Api<AirlockRequest> = Api::namespaced(self.0.clone(), namespace);
        with_timeout("request", requests.get_opt(name)).await
    }

    /// The request.
    ///
    /// # Errors
    /// 404 when it does not exist, 503 when the API server does not answer.
    pub async fn get_existing(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<AirlockRequest, Problem> {
        let found = self.get(namespace, name).await?;
        found.ok_or_else(request_not_found)
    }

    /// Waits until the controller has accepted the request: it stores who owns the prefix of the
    /// request, and then adds its finalizer.
    ///
    /// # Errors
    /// 404 when the request is gone, 409 when another request has its name, 503 when the
    /// controller does not accept it in time.
    pub async fn wait_for_controller(
        &self,
        (namespace, name): (&str, &str),
        mut request: AirlockRequest,
    ) -> Result<AirlockRequest, Problem> {
        for pause in PAUSES_MS {
            if is_accepted(&request) || request.metadata.deletion_timestamp.is_some() {
                return Ok(request);
            }
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let uid = request.metadata.uid.unwrap_or_default();
            request = self.get_existing(namespace, name).await?;
            ensure_same_uid(&request, &uid)?;
        }
        Err(Problem::unavailable(
            "NotTakenUp",
            "the controller has not taken up this request yet; try again",
            5,
        ))
    }
}

/// 404: there is no such request.
#[must_use]
pub fn request_not_found() -> Problem {
    Problem::not_found("there is no such request in this namespace")
}

/// Checks that a request is the one that the call began with. Content and permissions of the call
/// are for that uid, and not for a later request of the same name.
///
/// # Errors
/// 409 when the uid differs.
pub fn ensure_same_uid(request: &AirlockRequest, uid: &str) -> Result<(), Problem> {
    match request.metadata.uid.as_deref() {
        Some(is) if is == uid => Ok(()),
        _ => Err(Problem::conflict(
            "Replaced",
            "the request was deleted meanwhile, and another has its name; nothing of this call is stored in that one or shown of it",
        )),
    }
}

fn is_accepted(request: &AirlockRequest) -> bool {
    request
        .metadata
        .finalizers
        .as_ref()
        .is_some_and(|all| all.iter().any(|f| f == FINALIZER))
}

/// The key of the request in the buckets.
#[must_use]
pub fn key(request: &AirlockRequest) -> RequestKey {
    RequestKey {
        namespace: request.metadata.namespace.clone().unwrap_or_default(),
        uid: request.metadata.uid.clone().unwrap_or_default(),
    }
}

/// The phase of the request. It is a draft until the controller writes its status.
#[must_use]
pub fn phase(request: &AirlockRequest) -> Phase {
    request
        .status
        .as_ref()
        .and_then(|s| s.phase)
        .unwrap_or_default()
}

/// The last submitted round; 0 before the first.
#[must_use]
pub fn round(request: &AirlockRequest) -> i64 {
    request.status.as_ref().and_then(|s| s.round).unwrap_or(0)
}

/// Whether a user is the submitter of the request.
#[must_use]
pub fn is_submitter(request: &AirlockRequest, user: &str) -> bool {
    request.spec.submitter.as_deref() == Some(user)
}

/// The round that accepts files, if the request is open.
#[must_use]
pub fn open_round(request: &AirlockRequest) -> Option<i64> {
    let stopped = request.spec.withdrawn || request.metadata.deletion_timestamp.is_some();
    let phase = request.status.as_ref().and_then(|s| s.phase);
    trevor_core::phase::open_round(phase, round(request), request.spec.submission)
        .filter(|_| !stopped)
}

/// The round that accepts uploads by `PUT files/{path}`.
///
/// # Errors
/// 409 with the reason when there is none.
pub fn require_upload_round(request: &AirlockRequest) -> Result<i64, Problem> {
    if request.spec.direction == Direction::Ingress {
        return Err(Problem::conflict(
            "IngressUsesPlan",
            "files of an ingress request are uploaded by its plan (GET plan), not here",
        ));
    }
    require_open_round(request)
}

/// The round that accepts files, by upload or by plan.
///
/// # Errors
/// 409 with the reason when there is none.
pub fn require_open_round(request: &AirlockRequest) -> Result<i64, Problem> {
    if request.spec.withdrawn || request.metadata.deletion_timestamp.is_some() {
        return Err(Problem::conflict(
            "Closed",
            "the request was taken back; make a new one",
        ));
    }
    open_round(request).ok_or_else(|| match phase(request) {
        Phase::Released | Phase::Rejected | Phase::Withdrawn | Phase::Revoked => {
            Problem::conflict("Closed", "the request is closed; make a new one")
        }
        _ => round_sealed(),
    })
}

/// 409: the round accepts no more files.
#[must_use]
pub fn round_sealed() -> Problem {
    Problem::conflict(
        "Sealed",
        "the round is sealed and under review; wait for changes to be requested, or withdraw it",
    )
}

/// Checks a file against the files that the request declares, where it declares any.
///
/// # Errors
/// 422 when the file is not declared, or has another size or digest.
pub fn check_declared(
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

#[cfg(test)]
mod tests {
    use super::*;
    use trevor_api::{AirlockRequestSpec, AirlockRequestStatus};

    fn request(direction: Direction, phase: Option<Phase>, withdrawn: bool) -> AirlockRequest {
        let spec: AirlockRequestSpec = serde_json::from_value(serde_json::json!({
            "direction": direction, "title": "t", "submitter": "alice", "submission": 1, "withdrawn": withdrawn,
        }))
        .unwrap();
        let mut request = AirlockRequest::new("r", spec);
        request.status = phase.map(|p| AirlockRequestStatus {
            phase: Some(p),
            round: Some(1),
            ..Default::default()
        });
        request
    }

    #[test]
    fn who_created_a_request_for_another_is_not_its_submitter() {
        let mut request = request(Direction::Egress, None, false);
        request.spec.created_by = Some("pipeline".into());
        assert!(is_submitter(&request, "alice"));
        assert!(!is_submitter(&request, "pipeline"));
    }

    #[test]
    fn uploads_are_taken_in_open_rounds_of_egress_only() {
        let reason = |d, p, w| require_upload_round(&request(d, p, w)).map_err(|p| p.reason);
        use Direction::{Egress, Ingress};
        for (direction, phase, withdrawn, expected) in [
            (Egress, None, false, Ok(1)),
            (Egress, Some(Phase::Submitted), false, Ok(1)),
            (Egress, Some(Phase::ChangesRequested), false, Ok(2)),
            (Egress, Some(Phase::Failed), false, Ok(2)),
            (Egress, Some(Phase::InReview), false, Err("Sealed")),
            (Egress, Some(Phase::Releasing), false, Err("Sealed")),
            (Egress, Some(Phase::Released), false, Err("Closed")),
            (Egress, Some(Phase::Revoked), false, Err("Closed")),
            (Egress, None, true, Err("Closed")),
            (Ingress, None, false, Err("IngressUsesPlan")),
        ] {
            assert_eq!(
                reason(direction, phase, withdrawn),
                expected,
                "{direction} {phase:?} {withdrawn}"
            );
        }
    }
}
