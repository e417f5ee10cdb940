//! AirlockSession: how a person meets the gateway (docs/reference/resources.md#airlocksession).

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::patterns;

/// Groups that a session holds.
pub const SESSION_GROUPS: usize = 1000;
/// Characters of a user's or a group's name that a session holds.
pub const SESSION_NAME: usize = 253;

/// A person's session with the gateway, made with their own Kubernetes
/// credentials, named by the hash of its token. Immutable.
#[derive(CustomResource, KubeSchema, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "airlock.karectl.io",
    version = "v1alpha1",
    kind = "AirlockSession",
    shortname = "alsess",
    category = "airlock",
    namespaced,
    status = "AirlockSessionStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name":"User","type":"string","jsonPath":".spec.user"}"#,
    printcolumn = r#"{"name":"TTL","type":"integer","jsonPath":".spec.ttlSeconds"}"#,
    printcolumn = r#"{"name":"State","type":"string","jsonPath":".status.state"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    validation = Rule::new("self.metadata.name == 's-' + self.spec.tokenSHA256.substring(0, 40)").message("a session is named s-<first 40 digits of its tokenSHA256>")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("a session cannot change; log in again"))]
pub struct AirlockSessionSpec {
    /// The user: the authenticated one, enforced at admission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = patterns::NON_EMPTY_LINE))]
    pub user: Option<String>,
    /// The user's groups: the authenticated ones, enforced at admission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = SESSION_GROUPS), inner(length(max = SESSION_NAME)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub groups: Option<Vec<String>>,
    /// SHA-256 of the whole token.
    #[serde(rename = "tokenSHA256")]
    #[schemars(length(max = 64), regex(pattern = patterns::SHA256))]
    pub token_sha256: String,
    /// Seconds from creation that it lives, at most 12 h.
    #[schemars(range(min = 60, max = 43_200))]
    pub ttl_seconds: i64,
}

/// Whether the gateway takes a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SessionState {
    /// It was created while the admission rules were proved to be in force.
    Accepted,
    /// It is not taken, and `reason` says why.
    Refused,
}

/// What the operator made of a session. The gateway takes no session that it has not
/// accepted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AirlockSessionStatus {
    /// Whether the gateway takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<SessionState>,
    /// Why not, in one CamelCase word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same for people, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The epoch of the admission rules in which it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    /// The generation that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When this was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_time: Option<Time>,
}

impl fmt::Debug for AirlockSessionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AirlockSessionSpec")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}
