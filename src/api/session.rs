//! AirlockSession: how a person meets the gateway (DESIGN §2).

use std::fmt;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::patterns;

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
    derive = "PartialEq",
    printcolumn = r#"{"name":"User","type":"string","jsonPath":".spec.user"}"#,
    printcolumn = r#"{"name":"TTL","type":"integer","jsonPath":".spec.ttlSeconds"}"#,
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
    #[schemars(length(max = 1000), inner(length(max = 253)))]
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

impl fmt::Debug for AirlockSessionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AirlockSessionSpec")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}
