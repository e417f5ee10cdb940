//! The statement of a release (in-toto Statement v1): which package crossed, what
//! was decided and by which policy. It goes out with the package, so that it names
//! nobody.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use trevor_api::ReviewDecision;
use trevor_core::commit::{Decision, PackageFact, Verdict};
use trevor_core::digest::Sha256Hex;
use trevor_core::manifest::PolicyRef;

/// What kind of predicate it is; `cosign verify-blob-attestation --type` wants it.
pub const PREDICATE: &str = "https://airlock.karectl.io/attestations/release/v1";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";

/// A statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// Always the same.
    #[serde(rename = "_type")]
    pub kind: String,
    /// The package.
    pub subject: Vec<Subject>,
    /// Always [`PREDICATE`].
    pub predicate_type: String,
    /// What is said of it.
    pub predicate: Predicate,
}

/// What a statement is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// File name.
    pub name: String,
    /// Its digest.
    pub digest: Digest,
}

/// A digest by algorithm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// SHA-256.
    pub sha256: Sha256Hex,
}

/// What is said of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Predicate {
    /// The project.
    pub namespace: String,
    /// uid of the request.
    pub uid: String,
    /// The round that was approved.
    pub round: i64,
    /// What the reviewers named.
    pub manifest_digest: Sha256Hex,
    /// What they decided.
    pub decision: Verdict,
    /// How many said so.
    pub approvals: usize,
    /// How many it took.
    pub required: i64,
    /// By which policy.
    pub policy: PolicyRef,
    /// When it was decided.
    pub decided_time: Timestamp,
    /// When it crossed.
    pub released_time: Timestamp,
}

impl Statement {
    /// Of a release; none where it has no manifest.
    #[must_use]
    pub fn of(
        namespace: &str,
        uid: &str,
        decision: &Decision,
        package: &PackageFact,
        released: Timestamp,
    ) -> Option<Self> {
        let name = package.key.rsplit('/').next().unwrap_or("package.zip");
        let approvals = decision
            .reviews
            .iter()
            .filter(|review| review.decision == ReviewDecision::Approve)
            .count();
        Some(Self {
            kind: STATEMENT.to_owned(),
            subject: vec![Subject {
                name: name.to_owned(),
                digest: Digest {
                    sha256: package.sha256.clone(),
                },
            }],
            predicate_type: PREDICATE.to_owned(),
            predicate: Predicate {
                namespace: namespace.to_owned(),
                uid: uid.to_owned(),
                round: decision.round,
                manifest_digest: decision.manifest_digest.clone()?,
                decision: decision.verdict,
                approvals,
                required: decision.quorum.required,
                policy: decision.policy.clone(),
                decided_time: decision.time,
                released_time: released,
            },
        })
    }
}
