//! The request that a call is about, read fresh.

use std::time::Duration;

use kube::Client;
use kube::api::Api;

use crate::cluster::api_server::in_time;
use crate::problem::Problem;
use trevor_api::{AirlockRequest, Direction, FINALIZER, Phase};
use trevor_core::keys::RequestKey;
use trevor_core::phase::open_round;

/// Pauses while the controller has not taken the request up; 10 s in all.
const PAUSES_MS: [u64; 8] = [100, 200, 400, 800, 1500, 2000, 2500, 2500];

/// Reads requests.
#[derive(Clone)]
pub struct Requests(Client);

impl Requests {
    /// Through `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self(client)
    }

    /// The request, if it is there.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn find(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<AirlockRequest>, Problem> {
        let requests: Api<AirlockRequest> = Api::namespaced(self.0.clone(), namespace);
        in_time("request", requests.get_opt(name)).await
    }

    /// A request, once the controller has stored whose prefix it is: the finalizer
    /// says so.
    ///
    /// # Errors
    /// 404 when it is gone, 409 when another has its name by now, 503 when the
    /// controller does not take it up.
    pub async fn taken_up(
        &self,
        (namespace, name): (&str, &str),
        mut request: AirlockRequest,
    ) -> Result<AirlockRequest, Problem> {
        for pause in PAUSES_MS {
            if is_taken_up(&request) || request.metadata.deletion_timestamp.is_some() {
                return Ok(request);
            }
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let uid = request.metadata.uid.unwrap_or_default();
            request = self.find(namespace, name).await?.ok_or_else(unknown)?;
            same(&request, &uid)?;
        }
        Err(Problem::unavailable(
            "NotTakenUp",
            "the controller has not taken up this request yet; try again",
            5,
        ))
    }
}

/// There is no such request.
#[must_use]
pub fn unknown() -> Problem {
    Problem::not_found("there is no such request in this namespace")
}

/// Refuses to go on with another request that has the name of the one that a call began
/// with: what was sent, asked and permitted was about that uid.
///
/// # Errors
/// 409 when it is another.
pub fn same(request: &AirlockRequest, uid: &str) -> Result<(), Problem> {
    match request.metadata.uid.as_deref() {
        Some(is) if is == uid => Ok(()),
        _ => Err(Problem::conflict(
            "Replaced",
            "the request was deleted meanwhile, and another has its name; nothing of this call is stored in that one or shown of it",
        )),
    }
}

fn is_taken_up(request: &AirlockRequest) -> bool {
    request
        .metadata
        .finalizers
        .as_ref()
        .is_some_and(|all| all.iter().any(|f| f == FINALIZER))
}

/// How the buckets know it.
#[must_use]
pub fn key(request: &AirlockRequest) -> RequestKey {
    RequestKey {
        namespace: request.metadata.namespace.clone().unwrap_or_default(),
        uid: request.metadata.uid.clone().unwrap_or_default(),
    }
}

/// Its phase; a draft before the controller says anything.
#[must_use]
pub fn phase(request: &AirlockRequest) -> Phase {
    request
        .status
        .as_ref()
        .and_then(|s| s.phase)
        .unwrap_or_default()
}

/// The last round submitted; 0 before the first.
#[must_use]
pub fn round(request: &AirlockRequest) -> i64 {
    request.status.as_ref().and_then(|s| s.round).unwrap_or(0)
}

/// Whether a user is its submitter.
#[must_use]
pub fn submitted_by(request: &AirlockRequest, user: &str) -> bool {
    request.spec.submitter.as_deref() == Some(user)
}

/// The round that takes uploads, if the request is open at all.
#[must_use]
pub fn open(request: &AirlockRequest) -> Option<i64> {
    let stopped = request.spec.withdrawn || request.metadata.deletion_timestamp.is_some();
    let phase = request.status.as_ref().and_then(|s| s.phase);
    open_round(phase, round(request), request.spec.submission).filter(|_| !stopped)
}

/// The round that takes uploads.
///
/// # Errors
/// 409 with why there is none.
pub fn open_for_uploads(request: &AirlockRequest) -> Result<i64, Problem> {
    if request.spec.direction == Direction::Ingress {
        return Err(Problem::conflict(
            "IngressUsesPlan",
            "files of an ingress request are uploaded by its plan (GET plan), not here",
        ));
    }
    open_for_plans(request)
}

/// The round that takes files, whichever way they come.
///
/// # Errors
/// 409 with why there is none.
pub fn open_for_plans(request: &AirlockRequest) -> Result<i64, Problem> {
    if request.spec.withdrawn || request.metadata.deletion_timestamp.is_some() {
        return Err(Problem::conflict(
            "Closed",
            "the request was taken back; make a new one",
        ));
    }
    open(request).ok_or_else(|| match phase(request) {
        Phase::Released | Phase::Rejected | Phase::Withdrawn | Phase::Revoked => {
            Problem::conflict("Closed", "the request is closed; make a new one")
        }
        _ => sealed(),
    })
}

/// The round takes no more.
#[must_use]
pub fn sealed() -> Problem {
    Problem::conflict(
        "Sealed",
        "the round is sealed and under review; wait for changes to be requested, or withdraw it",
    )
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
        assert!(submitted_by(&request, "alice"));
        assert!(!submitted_by(&request, "pipeline"));
    }

    #[test]
    fn uploads_are_taken_in_open_rounds_of_egress_only() {
        let reason = |d, p, w| open_for_uploads(&request(d, p, w)).map_err(|p| p.reason);
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
