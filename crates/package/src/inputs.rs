//! What a package is made from.

use jiff::Timestamp;

use trevor_api::{Author, Publisher};
use trevor_core::commit::Decision;
use trevor_core::digest::Sha256Hex;
use trevor_core::manifest::{Frozen, Manifest, ManifestFile, Texts};

/// Everything that a package is made from: the manifest, and what the decision
/// says. Submitter, justifications, suppression notes and comments are in the
/// manifest or near it, and stay out of the package.
#[derive(Clone, Debug)]
pub struct CrateInputs<'a> {
    /// What was approved.
    pub manifest: &'a Manifest,
    /// The digest that the reviews name.
    pub digest: &'a Sha256Hex,
    /// When the decision was made: every time in the package is this one.
    pub decided: Timestamp,
    /// Approvals that counted.
    pub approvals: usize,
    /// The reviewers' names, where the policy says that the crate names them.
    pub reviewers: Option<Vec<String>>,
    /// URL of the license; none: none is granted.
    pub license: Option<String>,
    /// The organisation that releases.
    pub publisher: Publisher,
}

impl<'a> CrateInputs<'a> {
    /// Everything of a released crate comes from manifest and decision.
    #[must_use]
    pub fn decided(frozen: &'a Frozen, decision: &Decision) -> Self {
        let reviewers = || {
            decision
                .reviews
                .iter()
                .map(|r| r.reviewer.clone())
                .collect()
        };
        Self {
            manifest: &frozen.manifest,
            digest: &frozen.digest,
            decided: decision.time,
            approvals: decision.reviews.len(),
            reviewers: decision.terms.names_reviewers.then(reviewers),
            license: Some(decision.terms.license.clone()).filter(|url| !url.is_empty()),
            publisher: decision.terms.publisher.clone(),
        }
    }
}

impl CrateInputs<'_> {
    /// The time of the decision to the second, in UTC, as text.
    pub(super) fn decided_text(&self) -> String {
        self.decided.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// The description, or a sentence in its place.
    pub(super) fn description(&self) -> String {
        match self.manifest.description.trim() {
            "" => format!(
                "Outputs of a research environment, released by {}",
                self.publisher.name
            ),
            description => description.to_owned(),
        }
    }

    /// One sentence on the approval.
    pub(super) fn approval(&self) -> String {
        let count = match self.approvals {
            1 => "one reviewer".to_owned(),
            n => format!("{n} reviewers"),
        };
        let names = match &self.reviewers {
            Some(names) if !names.is_empty() => format!(" ({})", names.join(", ")),
            _ => String::new(),
        };
        format!(
            "Approved by {count}{names} under the policy {}",
            self.manifest.policy.name
        )
    }

    /// What is said where no license is granted.
    pub(super) fn no_license(&self) -> String {
        let publisher = &self.publisher;
        let contact = publisher.email.as_ref().or(publisher.url.as_ref());
        let contact = contact.map_or_else(String::new, |at| format!(" ({at})"));
        format!(
            "No license is granted: all rights are reserved. Whoever wants to use this dataset asks {}{contact}",
            publisher.name
        )
    }

    /// All authors in one line, if there are any.
    pub(super) fn credit(&self) -> Option<String> {
        let credit = |author: &Author| {
            let mut text = author.name.clone();
            if let Some(orcid) = &author.orcid {
                text.push_str(", ORCID ");
                text.push_str(orcid);
            }
            if let Some(affiliation) = &author.affiliation {
                text.push_str(", ");
                text.push_str(&affiliation.name);
            }
            text
        };
        let all: Vec<String> = self.manifest.authors.iter().map(credit).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// Where a file lies in the package.
pub(super) fn entry_name(file: &ManifestFile) -> String {
    format!("data/{}", file.path)
}

/// A file's place as a relative URI reference: what has a meaning in URIs or no
/// place there is percent-encoded, letters of any script stay as they are.
pub(super) fn entry_uri(file: &ManifestFile) -> String {
    let mut uri = String::with_capacity(file.path.len() + 8);
    uri.push_str("data/");
    for c in file.path.chars() {
        let plain = c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=@/".contains(c);
        if plain || !c.is_ascii() {
            uri.push(c);
        } else {
            uri.push_str(&format!("%{:02X}", u32::from(c)));
        }
    }
    uri
}

/// What is said of a file that the researcher said nothing of.
pub(super) fn file_description(said: &Texts<'_>, file: &ManifestFile) -> String {
    match (said.description.trim(), said.output_type) {
        ("", Some(kind)) => format!("{kind} ({})", file.media_type),
        ("", None) => format!("File ({})", file.media_type),
        (description, _) => description.to_owned(),
    }
}
