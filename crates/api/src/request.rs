//! AirlockRequest: a researcher's wish that files cross the boundary.

use std::borrow::Cow;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::patterns;

/// Which way the files go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Direction {
    /// Out of the research environment.
    Egress,
    /// Into the research environment.
    Ingress,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Egress => "Egress",
            Self::Ingress => "Ingress",
        })
    }
}

/// What kind of output a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the words are their own explanation")]
pub enum OutputType {
    Table,
    Figure,
    Model,
    Text,
    Code,
    Data,
    Other,
}

impl fmt::Display for OutputType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Files to move across the boundary, and the words that explain them.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "airlock.karectl.io",
    version = "v1alpha1",
    kind = "AirlockRequest",
    shortname = "alr",
    category = "airlock",
    namespaced,
    status = "AirlockRequestStatus",
    derive = "PartialEq",
    selectable = ".spec.direction",
    selectable = ".spec.submitter",
    selectable = ".status.phase",
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Direction","type":"string","jsonPath":".spec.direction"}"#,
    printcolumn = r#"{"name":"Submitter","type":"string","jsonPath":".spec.submitter"}"#,
    printcolumn = r#"{"name":"Round","type":"integer","jsonPath":".status.round"}"#,
    printcolumn = r#"{"name":"Approvals","type":"string","jsonPath":".status.approvals.summary"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    validation = Rule::new("self.metadata.name.size() <= 200").message("a request's name has at most 200 characters"),
    // Content is open in a draft, and again once a round was returned or failed
    // and not submitted anew (docs/reference/resources.md#airlockrequest). Withdrawal is
    // always open.
    validation = Rule::new(OPEN_FOR_EDITS)
        .message(Message::Expression(CLOSED.into())),
    validation = Rule::new(SUBMISSION_STEP)
        .message(Message::Expression(STEP.into())),
    validation = Rule::new("oldSelf.hasValue() || self.spec.submission == 0 || (has(self.spec.sources) && self.spec.sources.size() > 0) || (has(self.spec.files) && self.spec.files.size() > 0 && self.spec.files.all(f, !f.path.endsWith('/')))")
        .optional_old_self(true)
        .message("a request that is submitted from the start names its files by exact paths, or has sources")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.direction == oldSelf.direction").message("direction cannot change").field_path(".direction"),
    validation = Rule::new("has(self.submitter) == has(oldSelf.submitter) && (!has(self.submitter) || self.submitter == oldSelf.submitter)").message("submitter cannot change").field_path(".submitter"),
    validation = Rule::new("has(self.createdBy) == has(oldSelf.createdBy) && (!has(self.createdBy) || self.createdBy == oldSelf.createdBy)").message("createdBy cannot change"),
    validation = Rule::new("!oldSelf.withdrawn || self.withdrawn").message("a withdrawal cannot be taken back; make a new request").field_path(".withdrawn"),
    validation = Rule::new("self.direction == 'Egress' || !has(self.sources) || self.sources.size() == 0").message("sources are for egress; an ingress request declares files"),
    validation = Rule::new("self.direction == 'Ingress' || !has(self.delivery)").message("delivery is for ingress"),
    validation = Rule::new("self.direction == 'Egress' || !has(self.files) || self.files.all(f, has(f.size) && !f.path.endsWith('/'))").message("an ingress request declares each file by its exact path and size"),
    validation = Rule::new("!has(self.files) || self.files.transformMapEntry(i, f, {f.path.lowerAscii(): i}).size() == self.files.size()").message("two files have the same path (upper and lower case count as the same)").field_path(".files"),
    validation = Rule::new("!has(self.files) || self.files.all(f, f.path.size() <= 63 || f.path.split('/').all(s, bytes(s).size() <= 255))").message("a segment of a file's path has at most 255 bytes in UTF-8").field_path(".files"),
    validation = Rule::new(r"!has(self.files) || self.files.all(f, !f.path.matches('(?i)(^|/)(con|prn|aux|nul|com[0-9]|lpt[0-9])([.][^/]*)?(/|$)') && !f.path.matches('(?i)(^|/)ro-crate-'))").message("a file's name is reserved (con, prn, aux, nul, com0-9, lpt0-9, ro-crate-*)").field_path(".files"),
    validation = Rule::new(ROOM_FOR_STATUS).message("the texts, paths and patterns of a request have more than 150,000 characters in all; shorten them, or make several requests"),
)]
pub struct AirlockRequestSpec {
    /// Which way the files go. Cannot change.
    pub direction: Direction,
    /// One line: what this is.
    #[schemars(length(min = 1, max = 200), regex(pattern = patterns::WRITTEN_LINE))]
    pub title: String,
    /// Why the files should cross.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096), regex(pattern = patterns::TEXT))]
    pub description: Option<String>,
    /// Authors, for the crate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 50))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub authors: Option<Vec<Author>>,
    /// The person who submits: the authenticated user, enforced at admission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = patterns::NON_EMPTY_LINE))]
    pub submitter: Option<String>,
    /// Who created the object, where that is a delegate who submits for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = patterns::NON_EMPTY_LINE))]
    pub created_by: Option<String>,
    /// The files. Empty: whatever is uploaded before submission (at most 10,000).
    /// Not empty: complete; anything else is refused at upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 500))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub files: Option<Vec<DeclaredFile>>,
    /// Volumes that a Job collects files from (egress).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub sources: Option<Vec<Source>>,
    /// How the files reach the workspace (ingress).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// The round submitted; 0 is a draft.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub submission: i64,
    /// Takes the request back, for good.
    #[serde(default)]
    pub withdrawn: bool,
    /// E-mail addresses to tell of the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20), inner(length(max = 254), regex(pattern = patterns::EMAIL)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub recipients: Option<Vec<String>>,
}

/// Spec rule: what people write leaves etcd room for the status. A character takes up to
/// six bytes there, and an object has a megabyte and a half.
const ROOM_FOR_STATUS: &str = "\
self.title.size() + (has(self.description) ? self.description.size() : 0) \
+ (has(self.files) ? self.files.map(f, f.path.size() \
 + (has(f.description) ? f.description.size() : 0) \
 + (has(f.justification) ? f.justification.size() : 0) \
 + (has(f.suppressionNotes) ? f.suppressionNotes.size() : 0) \
 + (has(f.statbarn) ? f.statbarn.size() : 0)).sum() : 0) \
+ (has(self.authors) ? self.authors.map(a, a.name.size() + (has(a.affiliation) ? a.affiliation.name.size() : 0)).sum() : 0) \
+ (has(self.sources) ? self.sources.map(s, \
 (has(s.include) ? s.include.map(g, g.size()).sum() : 0) \
 + (has(s.exclude) ? s.exclude.map(g, g.size()).sum() : 0)).sum() : 0) \
<= 150000";

/// Root rule: the content is as it was, unless it is open.
const OPEN_FOR_EDITS: &str = "\
(oldSelf.spec.submission == (has(self.status) && has(self.status.round) ? self.status.round : 0) \
 && (!has(self.status) || !has(self.status.phase) || self.status.phase in ['Draft', 'ChangesRequested', 'Failed'])) \
|| (self.spec.title == oldSelf.spec.title \
 && has(self.spec.description) == has(oldSelf.spec.description) && (!has(self.spec.description) || self.spec.description == oldSelf.spec.description) \
 && has(self.spec.authors) == has(oldSelf.spec.authors) && (!has(self.spec.authors) || self.spec.authors == oldSelf.spec.authors) \
 && has(self.spec.files) == has(oldSelf.spec.files) && (!has(self.spec.files) || self.spec.files == oldSelf.spec.files) \
 && has(self.spec.sources) == has(oldSelf.spec.sources) && (!has(self.spec.sources) || self.spec.sources == oldSelf.spec.sources) \
 && has(self.spec.delivery) == has(oldSelf.spec.delivery) && (!has(self.spec.delivery) || self.spec.delivery == oldSelf.spec.delivery) \
 && has(self.spec.recipients) == has(oldSelf.spec.recipients) && (!has(self.spec.recipients) || self.spec.recipients == oldSelf.spec.recipients))";

/// Root rule: a submission is the next round, and the last one was returned.
const SUBMISSION_STEP: &str = "\
self.spec.submission == oldSelf.spec.submission \
|| (self.spec.submission == oldSelf.spec.submission + 1 \
 && oldSelf.spec.submission == (has(self.status) && has(self.status.round) ? self.status.round : 0) \
 && (!has(self.status) || !has(self.status.phase) || self.status.phase in ['Draft', 'ChangesRequested', 'Failed']))";

/// What a broken [`OPEN_FOR_EDITS`] says: also to whom a Git revert brought here.
/// `format`, because a sum of strings exceeds the cost limit by its estimate.
const CLOSED: &str = "\
'the content is closed from submission until the round is returned (phase ChangesRequested) or failed; it is %s: \
put back what round %d was submitted with, wait for the review, or withdraw'\
.format([has(self.status) && has(self.status.phase) ? self.status.phase : 'Draft', oldSelf.spec.submission])";

/// What a broken [`SUBMISSION_STEP`] says: the way out of a Git revert.
const STEP: &str = "\
'spec.submission grows by one: it is %d now; set it back to %d in Git, or to %d to submit again, \
once the phase is Draft, ChangesRequested or Failed (it is %s)'\
.format([oldSelf.spec.submission, oldSelf.spec.submission, oldSelf.spec.submission + 1, \
has(self.status) && has(self.status.phase) ? self.status.phase : 'Draft'])";

/// An author, for the crate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Author {
    /// The name as printed.
    #[schemars(length(min = 1, max = 200), regex(pattern = patterns::WRITTEN_LINE))]
    pub name: String,
    /// ORCID identifier, such as `0000-0002-1825-0097`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 19), regex(pattern = patterns::ORCID))]
    pub orcid: Option<String>,
    /// Where the author works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affiliation: Option<Affiliation>,
}

/// An organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Affiliation {
    /// Its name.
    #[schemars(length(min = 1, max = 200), regex(pattern = patterns::WRITTEN_LINE))]
    pub name: String,
    /// ROR identifier, such as `03f0f6041`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 9), regex(pattern = patterns::ROR))]
    pub ror: Option<String>,
}

/// A file, or with a path that ends in `/` a folder, that the request is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeclaredFile {
    /// Relative path. A decomposed one (as macOS has them) stands for the composed one.
    #[schemars(length(min = 1, max = 512), regex(pattern = patterns::PATH))]
    #[serde(deserialize_with = "normalised")]
    pub path: String,
    /// What it is; goes into the crate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 500), regex(pattern = patterns::TEXT))]
    pub description: Option<String>,
    /// Why it should cross; for reviewers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 500), regex(pattern = patterns::TEXT))]
    pub justification: Option<String>,
    /// What was done against disclosure; for reviewers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 500), regex(pattern = patterns::TEXT))]
    pub suppression_notes: Option<String>,
    /// Kind of output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_type: Option<OutputType>,
    /// The statistical class, such as `frequencies`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100), regex(pattern = patterns::LINE))]
    pub statbarn: Option<String>,
    /// What arrives must have this SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = patterns::SHA256))]
    pub sha256: Option<String>,
    /// What arrives must have this many bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 5_497_558_138_880_i64))]
    pub size: Option<i64>,
}

/// Paths are compared and stored composed, whoever wrote the request.
fn normalised<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let path = String::deserialize(from)?;
    Ok(match crate::paths::normalise(&path) {
        Cow::Owned(composed) => composed,
        Cow::Borrowed(_) => path,
    })
}

/// A volume that files are collected from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// The claim, in the request's namespace.
    pub persistent_volume_claim: VolumePath,
    /// Globs of what to take; none: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 50), inner(length(min = 1, max = 256), regex(pattern = patterns::WRITTEN_LINE)))]
    pub include: Option<Vec<String>>,
    /// Globs of what to leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 50), inner(length(min = 1, max = 256), regex(pattern = patterns::WRITTEN_LINE)))]
    pub exclude: Option<Vec<String>>,
}

/// A folder of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumePath {
    /// Name of the PersistentVolumeClaim.
    #[schemars(length(min = 1, max = 253), regex(pattern = patterns::DNS_NAME))]
    pub claim_name: String,
    /// Folder in it; none: its root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = patterns::PATH))]
    pub path: Option<String>,
}

impl fmt::Display for VolumePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let folder = self.path.as_deref().unwrap_or("/");
        write!(f, "the volume {}, folder {folder}", self.claim_name)
    }
}

/// How ingress files reach the workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.type == 'PersistentVolumeClaim') == has(self.persistentVolumeClaim)").message("persistentVolumeClaim is for type PersistentVolumeClaim, which needs it"),
)]
pub struct Delivery {
    /// `Url`, or into a volume.
    pub r#type: DeliveryType,
    /// Where to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<VolumePath>,
}

/// How ingress files reach the workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeliveryType {
    /// Pre-signed URLs to the quarantined files.
    Url,
    /// A Job writes them into a volume.
    PersistentVolumeClaim,
}

/// Where a request stands: one word, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "docs/design.md#the-life-of-a-request")]
pub enum Phase {
    #[default]
    Draft,
    Submitted,
    InReview,
    ChangesRequested,
    Approved,
    Releasing,
    Released,
    Rejected,
    Withdrawn,
    Failed,
    Revoked,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 11] = [
        Self::Draft,
        Self::Submitted,
        Self::InReview,
        Self::ChangesRequested,
        Self::Approved,
        Self::Releasing,
        Self::Released,
        Self::Rejected,
        Self::Withdrawn,
        Self::Failed,
        Self::Revoked,
    ];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// What the operator knows of a request. Output only; the truth is in the bucket.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AirlockRequestStatus {
    /// Where the request stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Since when it stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase_time: Option<Time>,
    /// The last round submitted; 0 before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<i64>,
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Stalled, Submitted, Approved, Released, ReviewsWaiting.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::condition::schema")]
    pub conditions: Vec<Condition>,
    /// Attempts to release this round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<i64>,
    /// The manifest under review or released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<ManifestSummary>,
    /// Files of the manifest, largest first, at most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub files: Vec<FileSummary>,
    /// Whether `files` leaves some out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_truncated: Option<bool>,
    /// What changed against the round before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// The latest review of each reviewer, at most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub reviews: Vec<ReviewSummary>,
    /// Files of this round that earlier requests had, the refused ones first, at
    /// most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub prior_releases: Vec<PriorSighting>,
    /// How many such files there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prior_releases_total: Option<i64>,
    /// The policy of the round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicySummary>,
    /// How many approvals there are and must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<Approvals>,
    /// The release, once it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseSummary>,
    /// When the request closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_time: Option<Time>,
    /// What becomes of the quarantined files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<QuarantineSummary>,
    /// The hold that stops deletion, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldSummary>,
    /// Head of the request's ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditHead>,
    /// Up to where the operator has accounted for edits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edits: Option<EditsSummary>,
}

/// Edits, and the epochs of the admission rules in which they were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EditsSummary {
    /// Edits up to this generation are accounted for, or remembered below.
    pub generation: i64,
    /// The epoch in which that was seen; 0: the admission rules were not in force.
    pub epoch: i64,
    /// Edits were made while the admission rules were not proved to be in force, noticed at
    /// this generation, and nobody has confirmed them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unconfirmed_generation: Option<i64>,
    /// When that was noticed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unconfirmed_time: Option<Time>,
}

/// Digest and sizes of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManifestSummary {
    /// SHA-256 of the canonical manifest: what a review names.
    pub digest: String,
    /// Number of files.
    pub files: i64,
    /// Bytes of all files.
    pub bytes: i64,
    /// Number of files that have warnings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnings: Option<i64>,
}

/// A file of the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FileSummary {
    /// Relative path.
    pub path: String,
    /// Bytes.
    pub size: i64,
    /// SHA-256.
    pub sha256: String,
    /// What its first bytes are, in one word such as `text`, `png` or `parquet`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sniffed: Option<String>,
    /// What to know before deciding, such as content that is not what the name says; at most 3.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    pub warnings: Vec<String>,
}

/// The difference between two rounds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Changes {
    /// Digest of the manifest it is against.
    pub since: String,
    /// Paths that are new, at most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub added: Vec<String>,
    /// Paths that are gone, at most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub removed: Vec<String>,
    /// Paths with other bytes, at most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub replaced: Vec<ReplacedFile>,
    /// Names of texts that changed (`title`, `files[path].description`), at most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub texts: Vec<String>,
    /// Whether any list is cut.
    #[serde(default)]
    pub truncated: bool,
}

/// A file whose bytes changed between rounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplacedFile {
    /// Relative path.
    pub path: String,
    /// SHA-256 before.
    pub from: String,
    /// SHA-256 now.
    pub to: String,
}

/// One reviewer's latest review.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReviewSummary {
    /// Who.
    pub reviewer: String,
    /// Name of the AirlockReview.
    pub name: String,
    /// Approve, RequestChanges or Reject.
    pub decision: super::ReviewDecision,
    /// The digest it names.
    pub manifest_digest: String,
    /// Whether it counts.
    pub counted: bool,
    /// Why not, in one CamelCase word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Files of the manifest that the reviewer had read whole.
    #[serde(default)]
    pub viewed: i64,
    /// Files of the manifest.
    #[serde(default)]
    pub files: i64,
}

/// A file, or its path, that was seen in an earlier request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PriorSighting {
    /// Path in this request.
    pub path: String,
    /// What is the same.
    pub same: Same,
    /// Name of the earlier request; none: it is of another project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Its round.
    pub round: i64,
    /// What became of that round.
    pub decision: PriorDecision,
    /// Who decided: the reviewers whose word counted, or who took it back; at most 5.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub by: Vec<String>,
}

/// What two files of two requests have in common.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Same {
    /// The bytes.
    Content,
    /// The path, with other bytes.
    Path,
    /// Both.
    ContentAndPath,
}

/// What became of an earlier round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the words are their own explanation")]
pub enum PriorDecision {
    InReview,
    Approved,
    Released,
    Revoked,
    Returned,
    Rejected,
    Withdrawn,
}

/// Which policy applies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicySummary {
    /// Name of the AirlockPolicy; of the configuration's policy, followed by `(configuration)`.
    pub name: String,
    /// SHA-256 of its rules for the direction.
    pub digest: String,
}

/// How far the quorum is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Approvals {
    /// Approvals that the policy asks for.
    pub required: i64,
    /// Approvals that count.
    pub counted: i64,
    /// Both, as `1/2`, for the printer column.
    pub summary: String,
}

/// Where the release is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseSummary {
    /// Name of the ReleaseRecord.
    pub record_name: String,
    /// Name of the Secret with the URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// When the URL ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_time: Option<Time>,
    /// When a warning goes out if the gateway has not handed the URL out by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning_time: Option<Time>,
}

/// What becomes of the quarantined files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuarantineSummary {
    /// When they are deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_after_time: Option<Time>,
    /// When they were deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_time: Option<Time>,
    /// How many there were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<i64>,
    /// How many bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
}

/// A hold that stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeldSummary {
    /// Who asked for it.
    pub by: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when.
    pub since: Time,
    /// It was asked for while the admission rules were not proved to be in force: it holds,
    /// and a hold officer confirms it by an AirlockAction Hold, or lifts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unconfirmed: Option<bool>,
}

/// Head of a ledger chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditHead {
    /// Sequence of the last entry.
    pub sequence: i64,
    /// SHA-256 of the last entry.
    pub hash: String,
}
