//! `work/urls/<uid>/<issue>.json`: a pre-signed URL and the name of its Secret,
//! stored before the Secret is made, so that after a crash a conflict is our own.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::presign::SecretUrl;
use crate::domain::digest::Sha256Hex;

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
    /// When it ends.
    pub expires: Timestamp,
    /// SHA-256 of the package.
    pub sha256: Sha256Hex,
    /// Bytes of the package.
    pub size: u64,
    /// Name under which it is saved.
    pub filename: String,
}

impl UrlIssue {
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
            expires,
            sha256,
            size,
            filename,
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
