//! The manifest of a round: every byte and every word that will cross.
//!
//! Its canonical JSON is stored once (`rounds/<n>/manifest.json`), and the SHA-256 of the
//! stored bytes is the digest that reviews name ([`super::frozen`]). The crate is made from
//! it and the decision alone.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::digest::{Crc32, Sha256Hex};
use super::sniff::{self, Remark, Sniffed};
use super::{declared, format};
use trevor_api::{Author, Changes, DeclaredFile, Delivery, Direction, OutputType};

/// Bytes of a stored manifest: 10,000 files with the longest paths fit.
const MOST_BYTES: usize = 12 << 20;

/// Which policy applied, and the digest of what it said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRef {
    /// Name of the AirlockPolicy.
    pub name: String,
    /// SHA-256 of its canonical rules for the direction.
    pub digest: Sha256Hex,
}

impl From<&PolicyRef> for trevor_api::PolicySummary {
    fn from(policy: &PolicyRef) -> Self {
        Self {
            name: policy.name.clone(),
            digest: policy.digest.to_string(),
        }
    }
}

/// Everything that a round would let cross.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// See [`super::format`].
    #[serde(default = "format::first", skip_serializing_if = "format::is_first")]
    pub format: u32,
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
    /// Texts of declared folders that say something; format 2.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folders: Vec<FolderTexts>,
    /// The files, sorted by path.
    pub files: Vec<ManifestFile>,
}

/// What the researcher says of every file beneath a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FolderTexts {
    /// The folder, with a slash at its end.
    pub path: String,
    /// As of a file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// As of a file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub justification: String,
    /// As of a file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub suppression_notes: String,
    /// As of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_type: Option<OutputType>,
    /// As of a file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub statbarn: String,
}

impl FolderTexts {
    /// What an entry says of its folder; none where it is about a file, or says nothing.
    #[must_use]
    pub fn of(declared: &DeclaredFile) -> Option<Self> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let said = Self {
            path: declared.path.clone(),
            description: text(&declared.description),
            justification: text(&declared.justification),
            suppression_notes: text(&declared.suppression_notes),
            output_type: declared.output_type,
            statbarn: text(&declared.statbarn),
        };
        let nothing = said.output_type.is_none()
            && [
                &said.description,
                &said.justification,
                &said.suppression_notes,
                &said.statbarn,
            ]
            .iter()
            .all(|text| text.is_empty());
        (declared::is_folder(&declared.path) && !nothing).then_some(said)
    }
}

/// What is said of a file: of itself, or of the folder entry that covers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Texts<'a> {
    /// What the researcher says of the file; goes into the crate.
    pub description: &'a str,
    /// For reviewers only.
    pub justification: &'a str,
    /// For reviewers only.
    pub suppression_notes: &'a str,
    /// Kind of output; goes into the crate.
    pub output_type: Option<OutputType>,
    /// Statistical class, for reviewers.
    pub statbarn: &'a str,
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
    /// What its first bytes are, whatever its name says; absent in manifests of old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sniffed: Option<Sniffed>,
    /// What was noticed behind the first bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remark: Option<Remark>,
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
    /// Which of the manifest's `folders` says it, where the file itself says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<usize>,
    /// The account of the Job that read it from a volume: the namespace's word. None:
    /// the submitter uploaded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collected_by: Option<String>,
    /// Which upload of the path this is.
    pub version: String,
    /// Object key in the quarantine bucket.
    pub key: String,
}

/// A manifest with its digest; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// The parsed manifest.
    pub manifest: Arc<Manifest>,
    /// SHA-256 of the bytes that are stored: what reviews name.
    pub digest: Sha256Hex,
}

impl ManifestFile {
    /// What those who decide are told of the file, beside its name.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        sniff::warnings(&self.path, self.sniffed.as_ref(), self.remark.as_ref())
    }
}

impl Manifest {
    /// The format of a manifest that has texts of folders.
    pub const WITH_FOLDERS: u32 = 2;

    /// What is said of one of its files.
    #[must_use]
    pub fn texts<'a>(&'a self, file: &'a ManifestFile) -> Texts<'a> {
        match file.folder.and_then(|at| self.folders.get(at)) {
            Some(folder) => Texts {
                description: &folder.description,
                justification: &folder.justification,
                suppression_notes: &folder.suppression_notes,
                output_type: folder.output_type,
                statbarn: &folder.statbarn,
            },
            None => Texts {
                description: &file.description,
                justification: &file.justification,
                suppression_notes: &file.suppression_notes,
                output_type: file.output_type,
                statbarn: &file.statbarn,
            },
        }
    }

    /// Why a manifest that takes so many bytes is not taken, if it is not: whoever reviews
    /// or packages it has it in memory.
    #[must_use]
    pub fn too_large(bytes: usize) -> Option<String> {
        (bytes > MOST_BYTES).then(|| format!(
            "the list of files with its texts takes {bytes} bytes, more than {MOST_BYTES}; shorten texts and paths, or submit fewer files at once"
        ))
    }

    /// Bytes of all files.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|f| f.size).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples;

    fn folder(path: &str, description: &str) -> DeclaredFile {
        serde_json::from_value(serde_json::json!({"path": path, "description": description,
            "justification": "aggregates", "outputType": "Figure"}))
        .unwrap()
    }

    #[test]
    fn a_folder_that_says_something_stands_once_and_speaks_for_its_files() {
        let said = FolderTexts::of(&folder("figures/", "All figures")).unwrap();
        assert_eq!(
            (said.path.as_str(), said.description.as_str()),
            ("figures/", "All figures")
        );
        assert_eq!(FolderTexts::of(&folder("figures.csv", "A file")), None);
        let silent = serde_json::from_value(serde_json::json!({"path": "figures/"})).unwrap();
        assert_eq!(FolderTexts::of(&silent), None);

        let mut files =
            ["figures/a.csv", "figures/b.csv", "own.csv"].map(|p| examples::file(p, "x"));
        files[0]["folder"] = serde_json::json!(0);
        files[1]["folder"] = serde_json::json!(0);
        files[2]["description"] = serde_json::json!("Its own");
        let mut value = examples::manifest(1, &files);
        value["folders"] = serde_json::json!([said]);
        let manifest: Manifest = serde_json::from_value(value).unwrap();
        let texts: Vec<&str> = manifest
            .files
            .iter()
            .map(|file| manifest.texts(file).description)
            .collect();
        assert_eq!(texts, ["All figures", "All figures", "Its own"]);
        assert_eq!(
            manifest.texts(&manifest.files[0]).output_type,
            Some(OutputType::Figure)
        );
        assert_eq!(
            manifest.texts(&manifest.files[1]).justification,
            "aggregates"
        );
    }

    #[test]
    fn a_manifest_of_the_first_format_has_the_texts_in_its_files() {
        let mut file = examples::file("figures/a.csv", "x");
        file["description"] = serde_json::json!("All figures");
        let bytes = serde_json::to_vec(&examples::manifest(1, &[file])).unwrap();
        let manifest: Manifest = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(manifest.format, 1);
        assert_eq!(
            manifest.texts(&manifest.files[0]).description,
            "All figures"
        );
        // What is written of it is what it was.
        let written = serde_json::to_value(&manifest).unwrap();
        assert!(written.get("format").is_none() && written.get("folders").is_none());
        assert!(written["files"][0].get("folder").is_none());
    }

    #[test]
    fn a_manifest_that_is_too_large_says_what_to_do() {
        assert_eq!(Manifest::too_large(MOST_BYTES), None);
        let why = Manifest::too_large(MOST_BYTES + 1).unwrap();
        assert!(why.contains("12582913") && why.contains("shorten"), "{why}");
        // Ten thousand files with the longest paths are taken.
        let file = examples::file(&"表".repeat(170), "x");
        let mut file: ManifestFile = serde_json::from_value(file).unwrap();
        file.key = format!(
            "requests/{}/{}/files/{}",
            "n".repeat(63),
            "u".repeat(36),
            "f".repeat(36)
        );
        file.collected_by = Some(format!(
            "system:serviceaccount:{}:{}",
            "n".repeat(63),
            "a".repeat(63)
        ));
        let bytes = 10_000 * (serde_json::to_vec(&file).unwrap().len() + 1);
        assert_eq!(Manifest::too_large(bytes + 100_000), None, "{bytes}");
    }

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
