//! AirlockReview: a checker's word on one manifest.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::patterns;

/// What a reviewer says. A value that this version does not know never counts as a yes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum ReviewDecision {
    /// It may cross.
    Approve,
    /// Back to the submitter.
    RequestChanges,
    /// It must not cross; the request closes.
    Reject,
}

/// A checker's word on one manifest. Immutable; of several by one reviewer the
/// last counts.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "airlock.karectl.io",
    version = "v1alpha1",
    kind = "AirlockReview",
    shortname = "alrev",
    category = "airlock",
    namespaced,
    status = "AirlockReviewStatus",
    derive = "PartialEq",
    selectable = ".spec.requestName",
    selectable = ".spec.reviewer",
    printcolumn = r#"{"name":"Request","type":"string","jsonPath":".spec.requestName"}"#,
    printcolumn = r#"{"name":"Reviewer","type":"string","jsonPath":".spec.reviewer"}"#,
    printcolumn = r#"{"name":"Decision","type":"string","jsonPath":".spec.decision"}"#,
    printcolumn = r#"{"name":"State","type":"string","jsonPath":".status.state"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self == oldSelf").message("a review cannot change; make another, of one reviewer the last counts"),
    validation = Rule::new("self.decision != 'Approve' || !has(self.findings) || self.findings.all(f, f.decision == 'Approve')").message("an Approve carries no adverse finding").field_path(".findings"),
    validation = Rule::new("(has(self.comment) ? self.comment.size() : 0) + (has(self.findings) ? self.findings.map(f, f.path.size() + (has(f.comment) ? f.comment.size() : 0)).sum() : 0) <= 24000").message("comments and paths of a review have more than 24,000 characters in all; say less, or in several reviews"),
)]
pub struct AirlockReviewSpec {
    /// Name of the AirlockRequest, in the same namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = patterns::DNS_NAME))]
    pub request_name: String,
    /// The manifest it is about (`status.manifest.digest` of the request).
    #[schemars(length(max = 64), regex(pattern = patterns::SHA256))]
    pub manifest_digest: String,
    /// Who reviews: the authenticated user, enforced at admission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = patterns::NON_EMPTY_LINE))]
    pub reviewer: Option<String>,
    /// What the reviewer says.
    pub decision: ReviewDecision,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096), regex(pattern = patterns::TEXT))]
    pub comment: Option<String>,
    /// By file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub findings: Option<Vec<Finding>>,
}

/// A word on one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The file.
    #[schemars(length(min = 1, max = 512), regex(pattern = patterns::PATH))]
    pub path: String,
    /// What the reviewer says of it.
    pub decision: ReviewDecision,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000), regex(pattern = patterns::TEXT))]
    pub comment: Option<String>,
}

/// Whether a review counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReviewState {
    /// It counts, or counted in the decision.
    Counted,
    /// It does not, and `reason` says why.
    NotCounted,
    /// Not known yet.
    Pending,
}

/// What the operator made of a review.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AirlockReviewStatus {
    /// Whether it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ReviewState>,
    /// Why not, in one CamelCase word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same for people, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When this was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_time: Option<Time>,
}
