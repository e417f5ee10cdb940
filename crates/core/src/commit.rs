//! The facts that commit (docs/design.md#what-commits): each is one create-only object, and
//! status is derived from them.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::digest::Sha256Hex;
use super::format::{Kept, Unknown};
use super::ingress::FilesFact;
use super::manifest::{Manifest, PolicyRef};
use super::policy::Rules;
use super::quorum::{Quorum, ReviewFact};
use super::receipt::{Content, Receipt};
use trevor_api::{Direction, Publisher};

/// `owner.json`: whose prefix this is; stored before any byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// uid of the cluster's `kube-system` namespace.
    pub cluster: String,
    /// The project.
    pub namespace: String,
    /// The request's name.
    pub name: String,
    /// The request's uid.
    pub uid: String,
    /// Which way the files go.
    pub direction: Direction,
    /// The person who submits.
    pub submitter: String,
    /// When the request was created.
    pub created: Timestamp,
}

/// `seal.json`: no more uploads for the round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seal {
    /// The round.
    pub round: i64,
    /// Which policy applies to it.
    pub policy: PolicyRef,
    /// What it said then.
    pub rules: Kept<Rules>,
    /// Why no more uploads are taken.
    pub because: SealedBecause,
    /// When it was sealed.
    pub time: Timestamp,
}

/// Why a round was sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SealedBecause {
    /// Every declared file is there.
    Complete,
    /// They did not arrive in time.
    UploadExpired,
    /// What arrived is not what was declared (ingress): each difference, for people.
    Mismatch(Vec<String>),
    /// The Job that reads the sources failed for good.
    CollectionFailed {
        /// Its last word: one line, nothing invisible in it.
        message: String,
    },
    /// The submitter took the round back to change it.
    Recalled(Recall),
    /// The request was taken back for good.
    Withdrawn,
    /// Nobody touched the request for as long as its policy allows: withdrawn.
    Idle,
}

/// `submitted.json`: since when a round waits for its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Submitted {
    /// The round.
    pub round: i64,
    /// When it was first seen to wait.
    pub time: Timestamp,
}

/// `manifest.json`: the round frozen, or refused and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind")]
#[expect(
    clippy::large_enum_variant,
    reason = "one is kept for a round, and shared"
)]
pub enum Freeze {
    /// What is under review.
    Manifest(#[serde(with = "shared")] Arc<Manifest>),
    /// Why there is nothing to review.
    Refusal(Refusal),
}

/// Why a round was refused at its freeze.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// The round.
    pub round: i64,
    /// One CamelCase word.
    pub reason: String,
    /// For the submitter: what to do.
    pub message: String,
    /// The uploads that stood, which the next round starts from.
    pub listing: Vec<Receipt>,
    /// Who took the round back before it was frozen, if the submitter did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recalled: Option<Recall>,
    /// The digest of the last manifest of this request, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Sha256Hex>,
}

impl Freeze {
    /// The uploads that the next round starts from.
    #[must_use]
    pub fn listing(&self) -> Vec<Receipt> {
        match self {
            Self::Refusal(refusal) => refusal.listing.clone(),
            Self::Manifest(manifest) => manifest
                .files
                .iter()
                .map(|file| listed(manifest, file))
                .collect(),
        }
    }
}

/// A manifest may have ten thousand files: it is shared, and not copied.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<T: Serialize, S: Serializer>(
        shared: &Arc<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        T::serialize(shared, serializer)
    }

    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<T>, D::Error> {
        T::deserialize(deserializer).map(Arc::new)
    }
}

fn listed(manifest: &Manifest, file: &super::manifest::ManifestFile) -> Receipt {
    Receipt {
        more: Default::default(),
        path: file.path.clone(),
        version: file.version.clone(),
        round: manifest.round,
        by: file
            .collected_by
            .clone()
            .unwrap_or_else(|| manifest.submitter.clone()),
        time: Timestamp::UNIX_EPOCH,
        content: Some(Content {
            more: Default::default(),
            key: file.key.clone(),
            size: file.size,
            sha256: file.sha256.clone(),
            crc32: file.crc32,
            media_type: file.media_type.clone(),
            sniffed: file.sniffed.clone(),
            remark: file.remark.clone(),
        }),
    }
}

/// What was decided on a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The quorum said yes.
    Approved,
    /// A reviewer asks for changes.
    Returned,
    /// A reviewer says no.
    Rejected,
    /// The submitter takes it back, or the request was deleted.
    Withdrawn,
}

/// `decision.json`: what follows reads only this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// The round.
    pub round: i64,
    /// What was decided.
    pub verdict: Verdict,
    /// The manifest it is about; none where the round was withdrawn before one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_digest: Option<Sha256Hex>,
    /// The policy that applied.
    pub policy: PolicyRef,
    /// What it asked for.
    pub quorum: Quorum,
    /// The reviews that counted.
    pub reviews: Vec<ReviewFact>,
    /// Who took the round back before it was decided, if the submitter did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recalled: Option<Recall>,
    /// What the release needs of the policy.
    pub terms: Terms,
    /// When it was decided; the times in the zip are this.
    pub time: Timestamp,
}

/// The submitter took a round back to change it (AirlockAction `Recall`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recall {
    /// Name of the AirlockAction.
    pub action: String,
    /// Its uid.
    pub uid: String,
    /// Who.
    pub actor: String,
    /// The round that is taken back.
    pub round: i64,
    /// When the action was created.
    pub time: Timestamp,
    /// What a later version says besides.
    #[serde(flatten)]
    pub more: Unknown,
}

/// What a release needs of policy and configuration, fixed by the decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terms {
    /// URL of the crate's license; empty: none is granted.
    pub license: String,
    /// Who publishes.
    pub publisher: Publisher,
    /// Whether the crate names the reviewers.
    pub names_reviewers: bool,
    /// Seconds that a URL lives.
    pub url_ttl_seconds: i64,
    /// Seconds that quarantined files are kept after closing.
    pub quarantine_retention_seconds: i64,
    /// Seconds that the package is kept after release.
    pub release_retention_seconds: i64,
}

impl Terms {
    /// Whether a package can say who releases it.
    #[must_use]
    pub fn names_a_publisher(&self) -> bool {
        !self.publisher.name.trim().is_empty()
    }
}

/// `attempts/<k>.json`: one try to release, recorded before its upload starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// From 1.
    pub attempt: i64,
    /// Key of the package, with a nonce of its own.
    pub key: String,
    /// Lease term of the leader that tries.
    pub term: i64,
    /// Which process that was.
    pub holder: String,
    /// Version of the packager.
    pub packager: String,
    /// When it started.
    pub time: Timestamp,
    /// A Job makes it, and not the controller itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub job: bool,
}

/// `attempts/<k>.failed.json`: why a person must act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttemptFailure {
    /// Which attempt.
    pub attempt: i64,
    /// One CamelCase word.
    pub reason: String,
    /// What is wrong, with which file, and what to do.
    pub message: String,
    /// When.
    pub time: Timestamp,
}

/// What became of an approved round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutcomeKind {
    /// It crossed.
    Released,
    /// Changes were asked for, or the round was submitted anew, before it crossed.
    Returned,
    /// Rejected before it crossed.
    Rejected,
    /// Withdrawn before it crossed.
    Withdrawn,
}

/// `outcome.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The round.
    pub round: i64,
    /// What became of it.
    pub kind: OutcomeKind,
    /// The verified package, when it crossed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<PackageFact>,
    /// The verified files, when they crossed inwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<FilesFact>,
    /// The reviews that stopped it, when it did not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reviews: Vec<ReviewFact>,
    /// When.
    pub time: Timestamp,
}

/// A package that was read back and hashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PackageFact {
    /// The release bucket.
    pub bucket: String,
    /// Object key in it.
    pub key: String,
    /// SHA-256 of the zip.
    pub sha256: Sha256Hex,
    /// Bytes of the zip.
    pub size: u64,
    /// Data files in it.
    pub files: u64,
    /// Which attempt made it.
    pub attempt: i64,
}

/// How a request closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClosedAs {
    /// Its package crossed.
    Released,
    /// A reviewer said no.
    Rejected,
    /// It was taken back.
    Withdrawn,
}

/// `closed.json`: when, and what is due when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Closed {
    /// How.
    pub closed_as: ClosedAs,
    /// The last round.
    pub round: i64,
    /// When: of decision or outcome.
    pub time: Timestamp,
    /// When the quarantined files are deleted.
    pub quarantine_due: Timestamp,
    /// When the package is deleted, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_due: Option<Timestamp>,
    /// The policy that said so.
    pub policy: PolicyRef,
}

/// `revoked.json`: the release is taken back, for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revoked {
    /// Who.
    pub by: String,
    /// By what.
    pub through: RevokedThrough,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When.
    pub time: Timestamp,
}

/// By what a release was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub enum RevokedThrough {
    /// An AirlockAction `Revoke`.
    Action {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
    /// `spec.withdrawn` of the request.
    Withdrawal,
    /// An AirlockReview that rejects what was released.
    Review {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
    /// `trevor release revoke`, from the bucket alone.
    Administrator,
}

/// `moves/<action uid>.json`: where a package goes whose old URLs are to die,
/// recorded before it is copied there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Move {
    /// uid of the AirlockAction that asks for it.
    pub action: String,
    /// Key of the copy, with a nonce of its own.
    pub key: String,
}

/// `moves-failed/<action uid>.json`: why a package stays where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MoveFailure {
    /// What is wrong, and what to do.
    pub message: String,
    /// When.
    pub time: Timestamp,
}

/// `deleted/url-<Secret>.json`: a URL was deleted, and which Secret held it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UrlDeleted {
    /// Which issue it was.
    pub issue: i64,
    /// The Secret that held it.
    pub secret_name: String,
    /// When it would have ended.
    pub expires: Timestamp,
    /// When it was signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued: Option<Timestamp>,
    /// SHA-256 of the package, so that the ledger can tell of a URL that it had not
    /// told of when it went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256Hex>,
    /// uid of the AirlockAction that asked for it; none: it is the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
}

/// `work/retention/…`: a wake-up for the sweeper; the closing facts decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ticket {
    /// The project.
    pub namespace: String,
    /// The request's uid.
    pub uid: String,
    /// `quarantine` or `release`.
    pub what: String,
    /// Not before.
    pub due: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::super::frozen::FrozenRound;
    use super::*;

    fn frozen() -> Freeze {
        let manifest = serde_json::from_value(serde_json::json!({
            "namespace": "a", "name": "r", "uid": "u", "round": 2, "direction": "Egress",
            "submitter": "alice", "policy": {"name": "p", "digest": Sha256Hex::of(b"p")},
            "title": "t", "files": [{"path": "t.csv", "size": 3, "sha256": Sha256Hex::of(b"a,b"),
                "crc32": "00000007", "mediaType": "text/csv", "version": "00000004", "key": "k"}],
        }));
        Freeze::Manifest(Arc::new(manifest.unwrap()))
    }

    #[test]
    fn the_next_round_starts_from_what_was_frozen() {
        let listing = frozen().listing();
        let content = Content {
            more: Default::default(),
            key: "k".into(),
            size: 3,
            sha256: Sha256Hex::of(b"a,b"),
            crc32: super::super::digest::Crc32(7),
            media_type: "text/csv".into(),
            sniffed: None,
            remark: None,
        };
        let receipt = Receipt {
            more: Default::default(),
            path: "t.csv".into(),
            version: "00000004".into(),
            round: 2,
            by: "alice".into(),
            time: Timestamp::UNIX_EPOCH,
            content: Some(content),
        };
        assert_eq!(listing, [receipt]);
    }

    #[test]
    fn what_a_job_brought_is_still_known_for_that_in_the_next_round() {
        let mut freeze = frozen();
        let account = "system:serviceaccount:a:default";
        if let Freeze::Manifest(manifest) = &mut freeze {
            Arc::make_mut(manifest).files[0].collected_by = Some(account.into());
        }
        assert_eq!(freeze.listing()[0].by, account);
    }

    #[test]
    fn a_refused_round_has_no_digest_and_keeps_its_uploads_for_the_next() {
        let listing = frozen().listing();
        let refused = Freeze::Refusal(Refusal {
            round: 2,
            reason: "SubmissionRefused".into(),
            message: String::new(),
            listing: listing.clone(),
            recalled: None,
            previous: None,
        });
        assert_eq!(refused.listing(), listing);
        assert_eq!(FrozenRound::of(refused).unwrap().frozen(), None);
    }
}
