//! The manifest of a round: every byte and every word that will cross.
//!
//! Its canonical JSON is stored once (`rounds/<n>/manifest.json`) and its
//! SHA-256 is the digest that reviews name (DESIGN §3). The crate is made from
//! it and the decision alone.

use serde::{Deserialize, Serialize};

use super::digest::{Crc32, Sha256Hex};
use crate::api::{Author, Changes, Delivery, Direction, OutputType};

/// Which policy applied, and the digest of what it said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRef {
    /// Name of the AirlockPolicy.
    pub name: String,
    /// SHA-256 of its canonical rules for the direction.
    pub digest: Sha256Hex,
}

/// Everything that a round would let cross.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The project.
    pub namespace: String,
    /// The request's name; it names the package.
    pub name: String,
    /// The request's uid.
    pub uid: String,
    /// The round, from 1.
    pub round: i64,
    /// Out of the research environment, or into it.
    pub direction: Direction,
    /// The person who submits.
    pub submitter: String,
    /// Who created the object, where that is a delegate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// The policy in force at the freeze.
    pub policy: PolicyRef,
    /// The digest of the last manifest of this request, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Sha256Hex>,
    /// What changed against that manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// One line: what this is.
    pub title: String,
    /// Why it should cross.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Authors for the crate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authors: Vec<Author>,
    /// E-mail addresses to tell of the release.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// How ingress files reach the workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// SHA-256 over the receipts of this round's uploads ([`super::receipt::uploads`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uploads: Option<Sha256Hex>,
    /// The files, sorted by path.
    pub files: Vec<ManifestFile>,
}

/// One file of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestFile {
    /// Relative path, checked by [`super::names`].
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256, taken at intake.
    pub sha256: Sha256Hex,
    /// CRC-32, taken at intake.
    pub crc32: Crc32,
    /// Media type, from the name.
    pub media_type: String,
    /// What the researcher says of the file; goes into the crate.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// For reviewers only.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub justification: String,
    /// For reviewers only.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub suppression_notes: String,
    /// Kind of output; goes into the crate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_type: Option<OutputType>,
    /// Statistical class, for reviewers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub statbarn: String,
    /// The account of the Job that read it from a volume: the namespace's word. None:
    /// the submitter uploaded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collected_by: Option<String>,
    /// Which upload of the path this is.
    pub version: String,
    /// Object key in the quarantine bucket.
    pub key: String,
}

/// A manifest with the bytes it is stored as and their digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// The parsed manifest.
    pub manifest: Manifest,
    /// SHA-256 of the canonical bytes: what reviews name.
    pub digest: Sha256Hex,
}

impl Manifest {
    /// Bytes of all files.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|f| f.size).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::examples;

    #[test]
    fn the_bytes_of_a_manifest_are_those_of_all_its_files() {
        let files = [
            examples::file("a", "abc"),
            examples::file("b", &"x".repeat(40)),
        ];
        let mut manifest: Manifest = serde_json::from_value(examples::manifest(1, &files)).unwrap();
        assert_eq!(manifest.total_bytes(), 43);
        manifest.files.clear();
        assert_eq!(manifest.total_bytes(), 0);
    }
}
