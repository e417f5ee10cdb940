//! AirlockAction: any act on a request or a release that is not a review.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AirlockReviewStatus, patterns};

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ActionKind {
    /// Back to the submitter, who asks for it.
    Recall,
    /// A new URL within the window.
    Renew,
    /// Every URL ever issued dies.
    Revoke,
    /// Deletion stops.
    Hold,
    /// Deletion resumes.
    LiftHold,
}

/// In which role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "docs/reference/resources.md#airlockaction")]
pub enum ActionRole {
    Submitter,
    Checker,
    HoldOfficer,
}

/// What it is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the kinds by name")]
pub enum TargetKind {
    AirlockRequest,
    ReleaseRecord,
}

/// The object that an action is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActionTarget {
    /// Its kind.
    pub kind: TargetKind,
    /// Its name, in the same namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = patterns::DNS_NAME))]
    pub name: String,
    /// Its uid.
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[0-9a-fA-F-]+$"))]
    pub uid: String,
}

/// An act on a request or a release. Immutable: acts are objects, so that GitOps
/// never reverts them.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "airlock.karectl.io",
    version = "v1alpha1",
    kind = "AirlockAction",
    shortname = "alact",
    category = "airlock",
    namespaced,
    status = "AirlockReviewStatus",
    derive = "PartialEq",
    selectable = ".spec.target.name",
    printcolumn = r#"{"name":"Action","type":"string","jsonPath":".spec.action"}"#,
    printcolumn = r#"{"name":"Target","type":"string","jsonPath":".spec.target.name"}"#,
    printcolumn = r#"{"name":"Actor","type":"string","jsonPath":".spec.actor"}"#,
    printcolumn = r#"{"name":"State","type":"string","jsonPath":".status.state"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self == oldSelf").message("an action cannot change; make another"),
    validation = Rule::new("self.action in {'Submitter': ['Recall', 'Renew', 'Revoke'], 'Checker': ['Renew', 'Revoke'], 'HoldOfficer': ['Hold', 'LiftHold']}[self.as]").message("this role cannot do that: Submitter: Recall, Renew, Revoke; Checker: Renew, Revoke; HoldOfficer: Hold, LiftHold"),
    validation = Rule::new("!has(self.revokeOld) || self.action == 'Renew'").message("revokeOld is for Renew; Revoke ends every URL").field_path(".revokeOld"),
    validation = Rule::new("self.action != 'Recall' || self.target.kind == 'AirlockRequest'").message("Recall is for a request"),
)]
pub struct AirlockActionSpec {
    /// What it is done to.
    pub target: ActionTarget,
    /// Who: the authenticated user, enforced at admission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = patterns::NON_EMPTY_LINE))]
    pub actor: Option<String>,
    /// In which role.
    pub r#as: ActionRole,
    /// What.
    pub action: ActionKind,
    /// Renew: the URLs that were issued before die at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoke_old: Option<bool>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000), regex(pattern = patterns::TEXT))]
    pub reason: Option<String>,
}
