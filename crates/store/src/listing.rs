//! Listings that need not be whole: a page behind a key, and keys with their times.

use jiff::Timestamp;

use super::bucket::{Bucket, Listed};
use super::error::{StorageError, translate};

impl Bucket {
    /// The first keys behind `after` (or all, where it is empty) under a prefix, in
    /// order, at most `limit` (1,000).
    ///
    /// # Errors
    /// As the server says.
    pub(crate) async fn page(
        &self,
        prefix: &str,
        after: &str,
        limit: i32,
    ) -> Result<Vec<Listed>, StorageError> {
        self.page_of(prefix, after, limit).await.map(|page| page.0)
    }

    /// The same, and whether there are more: a server may give fewer than it is asked for.
    ///
    /// # Errors
    /// As the server says.
    pub(crate) async fn page_of(
        &self,
        prefix: &str,
        after: &str,
        limit: i32,
    ) -> Result<(Vec<Listed>, bool), StorageError> {
        let page = self
            .client()
            .list_objects_v2()
            .bucket(self.name())
            .prefix(prefix)
            .set_start_after((!after.is_empty()).then(|| after.to_owned()))
            .max_keys(limit)
            .send()
            .await
            .map_err(|e| translate("ListObjectsV2", self.name(), prefix, &e))?;
        let listed = page.contents().iter().filter_map(|object| {
            Some(Listed {
                key: object.key()?.to_owned(),
                size: object
                    .size()
                    .and_then(|n| u64::try_from(n).ok())
                    .unwrap_or(0),
            })
        });
        Ok((listed.collect(), page.is_truncated() == Some(true)))
    }

    /// Every key under a prefix, in order, with the second in which it was stored by
    /// the server's clock, a page in memory at a time.
    ///
    /// # Errors
    /// As the server says.
    pub async fn visit_times(
        &self,
        prefix: &str,
        mut each: impl FnMut(&str, Option<i64>) + Send,
    ) -> Result<(), StorageError> {
        let mut pages = self
            .client()
            .list_objects_v2()
            .bucket(self.name())
            .prefix(prefix)
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| translate("ListObjectsV2", self.name(), prefix, &e))?;
            for object in page.contents() {
                if let Some(key) = object.key() {
                    each(key, object.last_modified().map(|time| time.secs()));
                }
            }
        }
        Ok(())
    }

    /// When something under a prefix was last written; none: nothing is there.
    ///
    /// # Errors
    /// As the server says.
    pub(crate) async fn last_written(
        &self,
        prefix: &str,
    ) -> Result<Option<Timestamp>, StorageError> {
        let mut newest = None;
        self.visit_times(prefix, |_, time| newest = newest.max(time))
            .await?;
        Ok(newest.and_then(|seconds| Timestamp::from_second(seconds).ok()))
    }
}
