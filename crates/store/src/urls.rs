//! The URLs that were made to a request's package.

use super::error::StorageError;
use super::objects::Work;
use trevor_core::keys::RequestKey;
use trevor_core::url_issue::UrlIssue;

/// All issues of a request, in order; the last is the one in force.
///
/// # Errors
/// As the server says.
pub async fn issues(work: &Work, key: &RequestKey) -> Result<Vec<UrlIssue>, StorageError> {
    let mut found = Vec::new();
    for at in work.list(&key.urls()).await? {
        // One that went since the listing was revoked.
        found.extend(work.get(&at).await?);
    }
    found.sort_by_key(|issue: &UrlIssue| issue.issue);
    Ok(found)
}
