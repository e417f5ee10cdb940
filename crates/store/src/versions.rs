//! All that a bucket keeps of objects: versions and delete markers, listed a page at a
//! time, and deleted one by one.

use std::collections::BTreeSet;

use super::bucket::Bucket;
use super::error::{StorageError, translate};

/// Objects of a page, and of one call that deletes.
pub const PAGE: i32 = 1000;
/// How often a key's versions are listed until none is left.
const LOOKS: usize = 4;

/// One version of an object, or a delete marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The key.
    pub key: String,
    /// Its version, where the server names one.
    pub(super) id: Option<String>,
    /// Bytes; none: a delete marker.
    pub size: Option<u64>,
}

/// Where a listing goes on.
#[derive(Clone, Debug, Default)]
pub struct Marker {
    key: Option<String>,
    version: Option<String>,
}

/// A page of versions.
#[derive(Debug)]
pub struct Versions {
    /// What is there.
    pub found: Vec<Version>,
    /// Where the next page starts, if there is one.
    pub next: Option<Marker>,
}

impl Bucket {
    /// A page of versions and delete markers under a prefix.
    ///
    /// # Errors
    /// As the server says.
    pub(crate) async fn versions(
        &self,
        prefix: &str,
        from: Marker,
    ) -> Result<Versions, StorageError> {
        let page = self
            .client()
            .list_object_versions()
            .bucket(self.name())
            .prefix(prefix)
            .set_key_marker(from.key)
            .set_version_id_marker(from.version)
            .max_keys(PAGE)
            .send()
            .await
            .map_err(|e| translate("ListObjectVersions", self.name(), prefix, &e))?;
        let versions = page.versions().iter().map(|v| {
            let size = v.size().and_then(|n| u64::try_from(n).ok());
            (v.key(), v.version_id(), Some(size.unwrap_or(0)))
        });
        let markers = page
            .delete_markers()
            .iter()
            .map(|m| (m.key(), m.version_id(), None));
        let found = versions.chain(markers).filter_map(|(key, id, size)| {
            // Whatever the server lists, nothing beside the prefix is touched.
            let key = key.filter(|key| key.starts_with(prefix))?;
            Some(Version {
                key: key.to_owned(),
                id: id.map(str::to_owned),
                size,
            })
        });
        let next =
            (page.is_truncated() == Some(true) && page.next_key_marker().is_some()).then(|| {
                Marker {
                    key: page.next_key_marker().map(str::to_owned),
                    version: page.next_version_id_marker().map(str::to_owned),
                }
            });
        Ok(Versions {
            found: found.collect(),
            next,
        })
    }

    /// Keys under a prefix of which bytes are kept: an object, or a version of one. A
    /// delete marker is none; some servers keep that of a bucket whose versioning is
    /// suspended for ever.
    ///
    /// # Errors
    /// As the server says.
    pub(crate) async fn ever_stored(&self, prefix: &str) -> Result<BTreeSet<String>, StorageError> {
        let mut stored = BTreeSet::new();
        let mut from = Some(Marker::default());
        while let Some(marker) = from {
            let page = self.versions(prefix, marker).await?;
            let bytes = page.found.into_iter().filter(|v| v.size.is_some());
            stored.extend(bytes.map(|version| version.key));
            from = page.next;
        }
        Ok(stored)
    }

    /// Deletes what lies under a prefix with every version and delete marker that it
    /// ever had.
    ///
    /// # Errors
    /// As the server says.
    pub(crate) async fn delete_versions(&self, prefix: &str) -> Result<(), StorageError> {
        self.delete_listed(prefix, |_| true).await.map(drop)
    }

    /// Deletes one object with every version and delete marker that it ever had.
    ///
    /// # Errors
    /// As the server says.
    pub(crate) async fn purge(&self, key: &str) -> Result<(), StorageError> {
        // Whoever reads it by a URL gets nothing from here on, whatever follows.
        self.delete(&[key.to_owned()]).await?;
        // Some servers list late what was written a moment ago; and some keep a marker
        // for ever, so that there is an end to it.
        for _ in 0..LOOKS {
            // A prefix finds longer keys too.
            if self.delete_listed(key, |found| found == key).await? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Deletes, of what is listed under a prefix, the keys that are meant; gives how
    /// many versions and markers that was.
    async fn delete_listed(
        &self,
        prefix: &str,
        is_meant: impl Fn(&str) -> bool + Send,
    ) -> Result<usize, StorageError> {
        let mut deleted = 0;
        let mut from = Some(Marker::default());
        while let Some(marker) = from {
            let page = self.versions(prefix, marker).await?;
            for version in page.found.iter().filter(|v| is_meant(&v.key)) {
                self.delete_version(version).await?;
                deleted += 1;
            }
            from = page.next;
        }
        Ok(deleted)
    }

    /// One that is gone is no error.
    async fn delete_version(&self, version: &Version) -> Result<(), StorageError> {
        let deleted = self
            .client()
            .delete_object()
            .bucket(self.name())
            .key(&version.key)
            .set_version_id(version.id.clone())
            .send()
            .await
            .map_err(|e| translate("DeleteObject", self.name(), &version.key, &e));
        match deleted {
            Ok(_) | Err(StorageError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
