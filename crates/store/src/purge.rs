//! Emptying a prefix for good: every version, every delete marker, every open
//! multipart upload, a page in memory at a time.
//!
//! Only what was just listed under the prefix is deleted; and a 200 with errors
//! inside is no success.

use super::bucket::Bucket;
use super::deleting::Target;
use super::error::{StorageError, translate};
use super::versions::{Marker, PAGE, Version, Versions};

/// A prefix of a bucket that may be emptied.
#[derive(Clone, Debug)]
pub struct Emptying {
    bucket: Bucket,
    prefix: String,
}

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

impl Emptying {
    pub(super) fn new(bucket: &Bucket, prefix: String) -> Self {
        Self {
            bucket: bucket.clone(),
            prefix,
        }
    }

    /// The bucket's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.bucket.name()
    }

    /// The prefix.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A page of what is there, versions and delete markers.
    ///
    /// # Errors
    /// As the server says.
    pub async fn versions(&self, from: Marker) -> Result<Versions, StorageError> {
        self.bucket.versions(&self.prefix, from).await
    }

    /// Deletes versions that were listed; gives those that the server keeps.
    ///
    /// # Errors
    /// As the server says of the call as a whole.
    pub async fn delete(&self, versions: &[Version]) -> Result<Vec<Kept>, StorageError> {
        let target = |version: &Version| (version.key.clone(), version.id.clone());
        let targets: Vec<Target> = versions.iter().map(target).collect();
        self.bucket.delete_targets(&targets).await
    }

    /// A page of open multipart uploads, as key and upload id, and whether there are more.
    ///
    /// # Errors
    /// As the server says.
    pub async fn uploads(&self) -> Result<(Vec<(String, String)>, bool), StorageError> {
        let (bucket, prefix) = (&self.bucket, self.prefix.as_str());
        let page = bucket
            .client()
            .list_multipart_uploads()
            .bucket(bucket.name())
            .prefix(prefix)
            .max_uploads(PAGE)
            .send()
            .await
            .map_err(|e| translate("ListMultipartUploads", bucket.name(), prefix, &e))?;
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
        self.bucket.abort_upload(key, upload).await
    }
}
