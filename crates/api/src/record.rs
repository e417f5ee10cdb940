//! ReleaseRecord: what crossed. Created by the operator alone.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Direction, Notification, PolicySummary, VolumePath, patterns};

/// What crossed, on whose word. The permanent copy is in the records bucket.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "airlock.karectl.io",
    version = "v1alpha1",
    kind = "ReleaseRecord",
    shortname = "alrr",
    category = "airlock",
    namespaced,
    status = "ReleaseRecordStatus",
    derive = "PartialEq",
    selectable = ".spec.direction",
    selectable = ".status.phase",
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Request","type":"string","jsonPath":".spec.requestRef.name"}"#,
    printcolumn = r#"{"name":"Files","type":"integer","jsonPath":".spec.package.files"}"#,
    printcolumn = r#"{"name":"Size","type":"integer","jsonPath":".spec.package.size"}"#,
    printcolumn = r#"{"name":"Expires","type":"string","jsonPath":".status.url.expiresTime"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("a release record cannot change"))]
pub struct ReleaseRecordSpec {
    /// The request.
    pub request_ref: RequestRef,
    /// Which way.
    pub direction: Direction,
    /// What was handed over.
    pub r#type: ReleaseType,
    /// The package (by type).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<Package>,
    /// The files, where there is no package (ingress); `manifestDigest` names each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contents: Option<Contents>,
    /// The volume that the files were written into (by type).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<VolumePath>,
    /// The manifest that was approved.
    #[schemars(length(max = 64), regex(pattern = patterns::SHA256))]
    pub manifest_digest: String,
    /// The round that was approved.
    pub round: i64,
    /// The policy of the round.
    pub policy: PolicySummary,
    /// Who approved.
    #[schemars(length(max = 50))]
    pub approvals: Vec<Approval>,
    /// When the outcome was committed.
    pub released_time: Time,
    /// When the package is deleted.
    pub delete_after_time: Time,
}

/// A request, by name and uid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestRef {
    /// Its name, in the same namespace.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its uid.
    #[schemars(length(max = 64))]
    pub uid: String,
}

/// What was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReleaseType {
    /// An RO-Crate zip in the release bucket.
    Package,
    /// URLs to quarantined files (ingress).
    Url,
    /// Files in a workspace volume (ingress).
    PersistentVolumeClaim,
}

/// A released package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Package {
    /// The release bucket.
    #[schemars(length(max = 255))]
    pub bucket: String,
    /// Object key in it.
    #[schemars(length(max = 1024))]
    pub key: String,
    /// SHA-256 of the zip, as read back.
    #[schemars(length(max = 64), regex(pattern = patterns::SHA256))]
    pub sha256: String,
    /// Bytes of the zip.
    pub size: i64,
    /// Number of data files in it.
    pub files: i64,
}

/// Released files that are not in a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Contents {
    /// Number of files.
    pub files: i64,
    /// Bytes of all of them.
    pub size: i64,
}

/// One approval that counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// Who.
    #[schemars(length(max = 253))]
    pub reviewer: String,
    /// Name of the AirlockReview.
    #[schemars(length(max = 253))]
    pub review_name: String,
    /// Files that the reviewer had read when the decision was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub viewed: Option<i64>,
    /// When the review was created.
    pub time: Time,
}

/// Where a release stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReleasePhase {
    /// It can be downloaded while its URL lives.
    Available,
    /// Taken back.
    Revoked,
    /// Its download window is over.
    Deleted,
}

/// What the operator knows of a release.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseRecordStatus {
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<ReleasePhase>,
    /// The URL in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<UrlSummary>,
    /// When the package was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_time: Option<Time>,
    /// What became of the notifications about it, the latest 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub deliveries: Vec<Notification>,
    /// Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::condition::schema")]
    pub conditions: Vec<Condition>,
}

/// A pre-signed URL, without the URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UrlSummary {
    /// The Secret that holds it.
    pub secret_name: String,
    /// Which issue it is, from 1.
    pub issue: i64,
    /// When it ends.
    pub expires_time: Time,
}
