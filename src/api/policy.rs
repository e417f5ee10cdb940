//! AirlockPolicy: the rules of the cluster's admins, by direction.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::patterns;

/// Rules for some namespaces, or for all that no other policy names.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "airlock.karectl.io",
    version = "v1alpha1",
    kind = "AirlockPolicy",
    plural = "airlockpolicies",
    shortname = "alpol",
    category = "airlock",
    status = "AirlockPolicyStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Default","type":"boolean","jsonPath":".spec.default"}"#,
    printcolumn = r#"{"name":"Egress","type":"integer","jsonPath":".spec.egress.requiredApprovals"}"#,
    printcolumn = r#"{"name":"Ingress","type":"integer","jsonPath":".spec.ingress.requiredApprovals"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.default) && self.default) != (has(self.namespaces) && self.namespaces.size() > 0)").message("a policy names its namespaces, or is the default: one of the two"),
)]
pub struct AirlockPolicySpec {
    /// Applies where no other policy names the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<bool>,
    /// Namespaces, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 63), regex(pattern = patterns::DNS_NAME)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub namespaces: Option<Vec<String>>,
    /// Rules for what leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<DirectionRules>,
    /// Rules for what enters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<DirectionRules>,
}

/// Rules of one direction. What is left out takes the default of CONTRACT.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DirectionRules {
    /// Distinct reviewers who must approve; egress 2, ingress 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 5))]
    pub required_approvals: Option<i64>,
    /// Approvals more, where a delegate created the request; 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2))]
    pub delegated_extra_approvals: Option<i64>,
    /// Files of a round; 10,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_files: Option<i64>,
    /// Bytes of one file; 5 TiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 5_497_558_138_880_i64))]
    pub max_file_bytes: Option<i64>,
    /// Bytes of a round; 5 TiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 5_497_558_138_880_i64))]
    pub max_total_bytes: Option<i64>,
    /// Extensions that a file's name may have; empty: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 16), regex(pattern = patterns::EXTENSION)))]
    pub allowed_extensions: Option<Vec<String>>,
    /// Life of a pre-signed URL; configuration's (egress), 3,600 (ingress).
    #[serde(
        default,
        rename = "urlTTLSeconds",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(range(min = 60, max = 604_800))]
    pub url_ttl_seconds: Option<i64>,
    /// Days that quarantined files are kept after closing; configuration's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3650))]
    pub quarantine_retention_days: Option<i64>,
    /// Days that a package is kept after release; configuration's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3650))]
    pub release_retention_days: Option<i64>,
    /// Days that a submission waits for its files; 7.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 365))]
    pub submitted_days: Option<i64>,
    /// What the crate says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "crate")]
    pub crate_: Option<CrateRules>,
}

/// What the crate says beside the request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CrateRules {
    /// URL of the license; configuration's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 8, max = 500), regex(pattern = "^https?://[^\\s]+$"))]
    pub license: Option<String>,
    /// The publisher; configuration's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publisher: Option<Publisher>,
    /// Whether the crate names the reviewers; no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names_reviewers: Option<bool>,
}

/// The organisation that releases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Publisher {
    /// Its name.
    #[schemars(length(min = 1, max = 200), regex(pattern = patterns::NON_EMPTY_LINE))]
    pub name: String,
    /// Its ROR, as a URL or without its host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 100),
        regex(pattern = "^(https://ror[.]org/)?0[a-hj-km-np-tv-z0-9]{6}[0-9]{2}$")
    )]
    pub ror: Option<String>,
    /// Its home page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 500), regex(pattern = "^https?://[^\\s]+$"))]
    pub url: Option<String>,
    /// Where to write to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 254), regex(pattern = patterns::EMAIL))]
    pub email: Option<String>,
}

/// What the operator made of a policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AirlockPolicyStatus {
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready: valid, or why not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::condition::schema")]
    pub conditions: Vec<Condition>,
}
