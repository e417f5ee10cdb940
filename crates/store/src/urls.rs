//! `work/urls/<uid>/<issue>.json`: a pre-signed URL and the name of its Secret,
//! stored before the Secret is made, so that after a crash a conflict is our own.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::bucket::Bucket;
use super::commit::read;
use super::error::StorageError;
use super::presign::SecretUrl;
use trevor_core::commit::UrlDeleted;
use trevor_core::digest::Sha256Hex;
use trevor_core::keys::RequestKey;

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

trevor_core::stored_fact!(UrlIssue);

/// All issues of a request, in order; the last is the one in force.
///
/// # Errors
/// As the server says.
pub async fn issues(bucket: &Bucket, key: &RequestKey) -> Result<Vec<UrlIssue>, StorageError> {
    let mut found = Vec::new();
    for listed in bucket.list(&key.urls()).await? {
        // One that went since the listing was revoked.
        found.extend(read::<UrlIssue>(bucket, &listed.key).await?);
    }
    found.sort_by_key(|issue: &UrlIssue| issue.issue);
    Ok(found)
}

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
