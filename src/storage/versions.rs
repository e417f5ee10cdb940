//! Deletes single objects with all that a bucket keeps of them.

use std::collections::BTreeSet;

use super::bucket::Bucket;
use super::error::{StorageError, translate};

/// How often a key's versions are listed until none is left.
const LOOKS: usize = 4;

/// A version, or a delete marker.
struct Version {
    key: String,
    id: Option<String>,
    marker: bool,
}

impl Bucket {
    /// Keys under a prefix of which bytes are kept: an object, or a version of one. A
    /// delete marker is none; some servers keep that of a bucket whose versioning is
    /// suspended for ever.
    ///
    /// # Errors
    /// As the server says.
    pub async fn ever_stored(&self, prefix: &str) -> Result<BTreeSet<String>, StorageError> {
        let all = self.versions(prefix).await?;
        let bytes = all.into_iter().filter(|version| !version.marker);
        Ok(bytes.map(|version| version.key).collect())
    }

    /// Deletes one object with every version and delete marker that it ever had.
    ///
    /// # Errors
    /// As the server says.
    pub async fn purge(&self, key: &str) -> Result<(), StorageError> {
        // Whoever reads it by a URL gets nothing from here on, whatever follows.
        self.delete(&[key.to_owned()]).await?;
        // Some servers list late what was written a moment ago; and some keep a marker
        // for ever, so that there is an end to it.
        for _ in 0..LOOKS {
            if self.purge_listed(key).await? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Gives how many versions and markers there were.
    async fn purge_listed(&self, key: &str) -> Result<usize, StorageError> {
        let mut found = self.versions(key).await?;
        // A prefix finds longer keys too.
        found.retain(|version| version.key == key);
        let listed = found.len();
        for version in found {
            let deleted = self
                .client()
                .delete_object()
                .bucket(self.name())
                .key(key)
                .set_version_id(version.id)
                .send()
                .await
                .map_err(|e| translate("DeleteObject", self.name(), key, &e));
            match deleted {
                Ok(_) | Err(StorageError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(listed)
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
            let versions = page.versions().iter();
            let versions = versions.map(|v| (v.key(), v.version_id(), false));
            let markers = page.delete_markers().iter();
            let markers = markers.map(|m| (m.key(), m.version_id(), true));
            for (key, id, marker) in versions.chain(markers) {
                if let Some(key) = key.filter(|key| key.starts_with(prefix)) {
                    found.push(Version {
                        key: key.to_owned(),
                        id: id.map(str::to_owned),
                        marker,
                    });
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
