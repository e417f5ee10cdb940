//! Emptying a prefix for good: every version, every delete marker, every open
//! multipart upload, a page in memory at a time.
//!
//! Only what was just listed under the prefix is deleted; and a 200 with errors
//! inside is no success.

use jiff::Timestamp;

use super::bucket::Bucket;
use super::deleting::Target;
use super::error::{StorageError, translate};
use super::staging::Staging;
use super::versions::{Marker, PAGE, Version, Versions};
use super::zones::Release;

/// A bucket, for whoever empties prefixes of it.
#[derive(Clone, Debug)]
pub struct Emptying(Bucket);

/// A version that the server keeps, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its key.
    pub key: String,
    /// S3 error code.
    pub code: String,
    /// Code, the server's message and what to do.
    pub words: String,
}

impl Bucket {
    /// For emptying prefixes.
    #[must_use]
    pub fn emptying(&self) -> Emptying {
        Emptying(self.clone())
    }

    /// What the server's clock says, to the second.
    ///
    /// # Errors
    /// As the server says, or when its answer has no date.
    pub async fn server_time(&self) -> Result<Timestamp, StorageError> {
        let date = self.server_date().await?;
        date.as_deref()
            .and_then(http_date)
            .ok_or_else(|| StorageError::Unavailable {
                operation: "GetObject",
                bucket: self.name().to_owned(),
                key: String::new(),
                message: "the server does not say what time it is (Date)".to_owned(),
            })
    }
}

impl Release {
    /// For emptying prefixes.
    #[must_use]
    pub fn emptying(&self) -> Emptying {
        Emptying(self.listing().clone())
    }
}

impl Staging {
    /// For emptying prefixes.
    #[must_use]
    pub fn emptying(&self) -> Emptying {
        Emptying(self.probe_bucket().clone())
    }
}

impl Emptying {
    /// The bucket's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// As [`Bucket::server_time`].
    ///
    /// # Errors
    /// As the server says, or when its answer has no date.
    pub async fn server_time(&self) -> Result<Timestamp, StorageError> {
        self.0.server_time().await
    }

    /// As [`Bucket::versions`].
    ///
    /// # Errors
    /// As the server says.
    pub async fn versions(&self, prefix: &str, from: Marker) -> Result<Versions, StorageError> {
        self.0.versions(prefix, from).await
    }

    /// Deletes versions that were listed; gives those that the server keeps.
    ///
    /// # Errors
    /// As the server says of the call as a whole.
    pub async fn delete(&self, versions: &[Version]) -> Result<Vec<Kept>, StorageError> {
        let target = |version: &Version| (version.key.clone(), version.id.clone());
        let targets: Vec<Target> = versions.iter().map(target).collect();
        self.0.delete_targets(&targets).await
    }

    /// A page of open multipart uploads under a prefix, as key and upload id, and
    /// whether there are more.
    ///
    /// # Errors
    /// As the server says.
    pub async fn uploads(
        &self,
        prefix: &str,
    ) -> Result<(Vec<(String, String)>, bool), StorageError> {
        let page = self
            .0
            .client()
            .list_multipart_uploads()
            .bucket(self.0.name())
            .prefix(prefix)
            .max_uploads(PAGE)
            .send()
            .await
            .map_err(|e| translate("ListMultipartUploads", self.0.name(), prefix, &e))?;
        let found = page.uploads().iter().filter_map(|upload| {
            let key = upload.key().filter(|key| key.starts_with(prefix))?;
            Some((key.to_owned(), upload.upload_id()?.to_owned()))
        });
        Ok((found.collect(), page.is_truncated() == Some(true)))
    }

    /// Aborts an upload that was listed; one that is gone is no error.
    ///
    /// # Errors
    /// As the server says.
    pub async fn abort(&self, (key, upload): &(String, String)) -> Result<(), StorageError> {
        self.0.abort_upload(key, upload).await
    }
}

/// A `Date` header (RFC 9110: always UTC, in English).
fn http_date(text: &str) -> Option<Timestamp> {
    Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::http_date;

    #[test]
    fn the_date_of_an_answer_is_read_as_it_is_written() {
        let time = http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(time.to_string(), "1994-11-06T08:49:37Z");
        assert_eq!(http_date("yesterday"), None);
    }
}
