//! `work/urls/<uid>/<issue>.json`: a pre-signed URL and the name of its Secret,
//! stored before the Secret is made, so that after a crash a conflict is our own.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::commit::UrlDeleted;
use super::digest::Sha256Hex;

/// A pre-signed URL. It is a secret: whoever has it can read the object, so it
/// prints as nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// The URL, for its bucket object, its Secret or the one who asked for it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// From a text that was stored before.
    #[must_use]
    pub fn from_stored(url: String) -> Self {
        Self(url)
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretUrl(…)")
    }
}

/// One issue of a release URL.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UrlIssue {
    /// From 1.
    pub issue: i64,
    /// The URL: a secret.
    url: String,
    /// The Secret that holds it.
    pub secret_name: String,
    /// When it was signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued: Option<Timestamp>,
    /// When it ends.
    pub expires: Timestamp,
    /// SHA-256 of the package.
    pub sha256: Sha256Hex,
    /// Bytes of the package.
    pub size: u64,
    /// Name under which it is saved.
    pub filename: String,
    /// Key of the package that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// uid of the AirlockAction that asked for it; none: it is the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The signed statement of the release, a DSSE envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
}

crate::stored_fact!(UrlIssue);

impl UrlIssue {
    /// What stays of it when it goes.
    #[must_use]
    pub fn receipt(&self) -> UrlDeleted {
        UrlDeleted {
            issue: self.issue,
            secret_name: self.secret_name.clone(),
            expires: self.expires,
            issued: self.issued,
            sha256: Some(self.sha256.clone()),
            action: self.action.clone(),
        }
    }

    /// A new issue.
    #[must_use]
    pub fn new(
        issue: i64,
        url: &SecretUrl,
        secret_name: String,
        expires: Timestamp,
        package: (Sha256Hex, u64),
        filename: String,
    ) -> Self {
        let (sha256, size) = package;
        Self {
            issue,
            url: url.expose().to_owned(),
            secret_name,
            issued: None,
            expires,
            sha256,
            size,
            filename,
            key: None,
            action: None,
            statement: None,
        }
    }

    /// The URL.
    #[must_use]
    pub fn url(&self) -> SecretUrl {
        SecretUrl::from_stored(self.url.clone())
    }
}

impl fmt::Debug for UrlIssue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UrlIssue")
            .field("issue", &self.issue)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}
