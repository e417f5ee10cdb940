//! Conditions: their types, their reasons, and the one function that sets them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::{Schema, SchemaGenerator, json_schema};

/// The operator has nothing left to do now, waiting for people included.
pub const READY: &str = "Ready";
/// A person must act.
pub const STALLED: &str = "Stalled";
/// The round is sealed and frozen.
pub const SUBMITTED: &str = "Submitted";
/// The quorum is reached.
pub const APPROVED: &str = "Approved";
/// The package is released.
pub const RELEASED: &str = "Released";
/// Reviews are awaited, or cannot count yet, and why.
pub const REVIEWS_WAITING: &str = "ReviewsWaiting";

/// A phase lasts longer than the policy allows.
pub const OVERDUE: &str = "Overdue";
/// A hold stops deletion.
pub const HELD: &str = "Held";
/// The admission rules are those of the chart (AirlockPolicy).
pub const RULES_LIVE: &str = "RulesLive";

/// Reasons: one CamelCase word each, part of the API.
#[allow(missing_docs, reason = "the words are their own explanation")]
pub mod reason {
    pub const DRAFT: &str = "Draft";
    pub const WAITING_FOR_FILES: &str = "WaitingForFiles";
    pub const IN_REVIEW: &str = "InReview";
    pub const CONTENT_WARNING: &str = "ContentWarning";
    pub const CHANGES_REQUESTED: &str = "ChangesRequested";
    pub const SUBMISSION_REFUSED: &str = "SubmissionRefused";
    pub const UPLOAD_EXPIRED: &str = "UploadExpired";
    pub const QUORUM_REACHED: &str = "QuorumReached";
    pub const QUORUM_NOT_REACHED: &str = "QuorumNotReached";
    pub const RELEASING: &str = "Releasing";
    pub const RELEASED: &str = "Released";
    pub const REJECTED: &str = "Rejected";
    pub const WITHDRAWN: &str = "Withdrawn";
    pub const REVOKED: &str = "Revoked";
    pub const REVOKING: &str = "Revoking";
    /// Nobody touched the request for long; it is about to be withdrawn, or was.
    pub const IDLE: &str = "Idle";
    pub const URL_ENDING: &str = "URLEnding";
    pub const INTEGRITY_MISMATCH: &str = "IntegrityMismatch";
    pub const PACKAGE_IMPOSSIBLE: &str = "PackageImpossible";
    pub const NOT_APPROVED: &str = "NotApproved";
    pub const LATER_FORMAT: &str = "LaterFormat";
    pub const FILE_MISSING: &str = "FileMissing";
    pub const STORAGE_NOT_ENCRYPTED: &str = "StorageNotEncrypted";
    pub const TOO_MANY_ATTEMPTS: &str = "TooManyAttempts";
    pub const NO_POLICY: &str = "NoPolicy";
    pub const CONFLICTING_POLICIES: &str = "ConflictingPolicies";
    pub const IMPOSSIBLE_POLICY: &str = "ImpossiblePolicy";
    /// A quota of the project's namespace leaves no room for what the operator makes there.
    pub const QUOTA_EXCEEDED: &str = "QuotaExceeded";
    /// The API server, or an admission policy of somebody's, refuses what the operator makes.
    pub const API_SERVER_REFUSED: &str = "ApiServerRefused";
    pub const SECRET_MADE_AGAIN: &str = "SecretMadeAgain";
    /// The package would not say who releases it.
    pub const PUBLISHER_MISSING: &str = "PublisherMissing";
    pub const VALID: &str = "Valid";
    pub const TOO_MANY_OPEN_REQUESTS: &str = "TooManyOpenRequests";
    pub const RECALLED: &str = "Recalled";
    pub const RULES_LIVE: &str = "RulesLive";
    pub const RULES_NOT_LIVE: &str = "RulesNotLive";
    pub const OUTSIDE_EPOCH: &str = "OutsideEpoch";
    pub const TOO_LATE: &str = "TooLate";
    pub const UNCONFIRMED: &str = "Unconfirmed";
    pub const LOOKING_BACK: &str = "LookingBack";
    pub const ON_HOLD: &str = "OnHold";
    pub const NOT_HELD: &str = "NotHeld";
    pub const DELETED: &str = "Deleted";
    pub const IN_TIME: &str = "InTime";
    pub const PHASE_LIMIT_EXCEEDED: &str = "PhaseLimitExceeded";
    pub const SUBMITTER_UNKNOWN: &str = "SubmitterUnknown";
    pub const INGRESS_NOT_CONFIGURED: &str = "IngressNotConfigured";
    pub const DELIVERY_NOT_SUPPORTED: &str = "DeliveryNotSupported";
    pub const SOURCES_NOT_SUPPORTED: &str = "SourcesNotSupported";
    pub const COLLECTING: &str = "Collecting";
    pub const COLLECTION_FAILED: &str = "CollectionFailed";
    pub const DELIVERY_FAILED: &str = "DeliveryFailed";
    pub const JOB_NAME_TAKEN: &str = "JobNameTaken";
    pub const JOB_POD_CHANGED: &str = "JobPodChanged";
    pub const JOB_REFUSED: &str = "JobRefused";
    pub const JOB_WAITS: &str = "JobWaits";
}

/// Sets a condition; an unchanged status keeps its transition time, so that a
/// status write of the same facts is a no-op.
pub fn set(
    conditions: &mut Vec<Condition>,
    kind: &str,
    status: bool,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) {
    let status = if status { "True" } else { "False" };
    let since = conditions
        .iter()
        .find(|c| c.type_ == kind && c.status == status)
        .map_or_else(|| Time(second(now)), |c| c.last_transition_time.clone());
    let condition = Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.chars().take(1024).collect(),
        observed_generation: generation,
        last_transition_time: since,
    };
    match conditions.iter_mut().find(|c| c.type_ == kind) {
        Some(slot) => *slot = condition,
        None => conditions.push(condition),
    }
}

/// Cut to whole seconds, as metav1.Time is stored.
#[must_use]
pub fn second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Schema of `conditions[]`: a map list by type, as the API conventions have it.
pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {"type": "string", "maxLength": 64},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                "reason": {"type": "string", "maxLength": 64, "pattern": "^[A-Za-z]([A-Za-z0-9]*[A-Za-z0-9])?$"},
                "message": {"type": "string", "maxLength": 4096},
                "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
                "lastTransitionTime": {"type": "string", "format": "date-time"}
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unchanged_status_keeps_its_transition_time() {
        let mut conditions = Vec::new();
        let early = Timestamp::UNIX_EPOCH;
        let late = Timestamp::from_second(99).unwrap();
        set(&mut conditions, READY, true, "A", "a", Some(1), early);
        set(&mut conditions, READY, true, "B", "b", Some(2), late);
        assert_eq!(conditions.len(), 1);
        assert_eq!(conditions[0].last_transition_time.0, early);
        assert_eq!(conditions[0].reason, "B");
        set(&mut conditions, READY, false, "C", "c", Some(2), late);
        assert_eq!(conditions[0].last_transition_time.0, late);
    }
}
