//! Deletes single objects with all that a bucket keeps of them.

use std::collections::BTreeSet;

use super::bucket::Bucket;
use super::error::{StorageError, translate};

/// A version, or a delete marker: key and id.
type Version = (String, Option<String>);

impl Bucket {
    /// Keys under a prefix of which anything is kept: an object, an old version, a
    /// delete marker.
    ///
    /// # Errors
    /// As the server says.
    pub async fn ever_stored(&self, prefix: &str) -> Result<BTreeSet<String>, StorageError> {
        let all = self.versions(prefix).await?;
        Ok(all.into_iter().map(|(key, _)| key).collect())
    }

    /// Deletes one object with every version and delete marker that it ever had.
    ///
    /// # Errors
    /// As the server says.
    pub async fn purge(&self, key: &str) -> Result<(), StorageError> {
        // Whoever reads it by a URL gets nothing from here on, whatever follows.
        self.delete(&[key.to_owned()]).await?;
        for (found, version) in self.versions(key).await? {
            // A prefix finds longer keys too.
            if found != key {
                continue;
            }
            let deleted = self
                .client()
                .delete_object()
                .bucket(self.name())
                .key(key)
                .set_version_id(version)
                .send()
                .await
                .map_err(|e| translate("DeleteObject", self.name(), key, &e));
            match deleted {
                Ok(_) | Err(StorageError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn versions(&self, prefix: &str) -> Result<Vec<Version>, StorageError> {
        let mut found = Vec::new();
        let (mut key_marker, mut version_marker) = (None, None);
        loop {
            let page = self
                .client()
                .list_object_versions()
                .bucket(self.name())
                .prefix(prefix)
                .set_key_marker(key_marker)
                .set_version_id_marker(version_marker)
                .send()
                .await
                .map_err(|e| translate("ListObjectVersions", self.name(), prefix, &e))?;
            let versions = page.versions().iter().map(|v| (v.key(), v.version_id()));
            let markers = page
                .delete_markers()
                .iter()
                .map(|m| (m.key(), m.version_id()));
            for (key, version) in versions.chain(markers) {
                if let Some(key) = key.filter(|key| key.starts_with(prefix)) {
                    found.push((key.to_owned(), version.map(str::to_owned)));
                }
            }
            if page.is_truncated() != Some(true) || page.next_key_marker().is_none() {
                return Ok(found);
            }
            key_marker = page.next_key_marker().map(str::to_owned);
            version_marker = page.next_version_id_marker().map(str::to_owned);
        }
    }
}
