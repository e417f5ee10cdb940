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
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name":"Rules Live","type":"string","jsonPath":".status.conditions[?(@.type=='RulesLive')].status"}"#,
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

/// Rules of one direction. What is left out takes its default
/// (docs/reference/resources.md#policy-fields).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
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
    /// Whose reviews count, beside the permission to review; whoever has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewers: Option<Reviewers>,
    /// Whether an approval counts only of who has read every file; `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_viewed: Option<RequireViewed>,
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
    /// What must be said of every file; nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 5))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub required_context: Option<Vec<ContextField>>,
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
    /// Days that a draft, a returned or a failed request may rest; 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 365))]
    pub idle_days: Option<i64>,
    /// Domains to which mail may go, their subdomains not included; none: no
    /// recipient by mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 253), regex(pattern = patterns::DNS_NAME)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub recipient_domains: Option<Vec<String>>,
    /// How long a phase may last before the request counts as overdue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase_limits: Option<PhaseLimits>,
    /// Requests of a namespace that are not closed; 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_open_requests: Option<i64>,
    /// Bytes of a namespace in quarantine, every version counted; unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_i64))]
    pub max_stored_bytes: Option<i64>,
    /// Who is told; configuration's channels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notifications: Option<NotificationRules>,
    /// Days that closed requests and records stay in the API; for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 36_500))]
    pub history_days: Option<i64>,
    /// What the crate says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "crate")]
    pub crate_: Option<CrateRules>,
}

/// Whose reviews count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.type == 'Listed') == (has(self.users) && self.users.size() > 0)").message("users are for type Listed, which needs at least one"),
)]
pub struct Reviewers {
    /// `Permission`: who may create airlockrequests/review; `Listed`: of those, the
    /// users named here.
    pub r#type: ReviewersType,
    /// Users by name, as the API server knows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 253), regex(pattern = patterns::NON_EMPTY_LINE)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub users: Option<Vec<String>>,
}

/// How reviewers are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReviewersType {
    /// Everybody with the permission.
    Permission,
    /// Those with the permission whom the policy names.
    Listed,
}

/// Whether an approval counts only of who has read every file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RequireViewed {
    /// It counts.
    None,
    /// It does not count before every file was read whole, through the gateway.
    All,
}

/// Something that can be said of a file.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the fields of spec.files[] by name")]
pub enum ContextField {
    Description,
    Justification,
    SuppressionNotes,
    OutputType,
    Statbarn,
}

/// Seconds that a phase may last before the request counts as overdue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseLimits {
    /// Under review; 5 days.
    #[serde(default, rename = "InReview", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60, max = 31_536_000))]
    pub in_review: Option<i64>,
    /// From approval to release; an hour.
    #[serde(default, rename = "Releasing", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60, max = 31_536_000))]
    pub releasing: Option<i64>,
}

/// Who is told of what happens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotificationRules {
    /// Channels of the configuration, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20), inner(length(min = 1, max = 63), regex(pattern = patterns::DNS_NAME)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub channels: Option<Vec<String>>,
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
    /// `Ready`: it can be fulfilled, or why not; `RulesLive`: whether the admission
    /// rules are those of the chart, or what differs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::condition::schema")]
    pub conditions: Vec<Condition>,
    /// Namespaces with requests to which it applies, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub namespaces: Vec<String>,
}
