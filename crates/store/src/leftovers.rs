//! When something last came for what is not finished, by the server's clock.

use jiff::Timestamp;

use super::bucket::Bucket;
use super::error::{StorageError, translate};

/// An open multipart upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenUpload {
    /// Of which key.
    pub key: String,
    /// Its id.
    pub upload: String,
    /// When it began, if the server says so.
    pub began: Option<Timestamp>,
}

impl Bucket {
    /// Open multipart uploads under a prefix, with the times at which they began.
    ///
    /// # Errors
    /// As the server says.
    pub async fn uploads_since(&self, prefix: &str) -> Result<Vec<OpenUpload>, StorageError> {
        let mut found = Vec::new();
        let (mut key_marker, mut id_marker) = (None, None);
        loop {
            let page = self
                .client()
                .list_multipart_uploads()
                .bucket(self.name())
                .prefix(prefix)
                .set_key_marker(key_marker)
                .set_upload_id_marker(id_marker)
                .send()
                .await
                .map_err(|e| translate("ListMultipartUploads", self.name(), prefix, &e))?;
            found.extend(page.uploads().iter().filter_map(|upload| {
                let key = upload.key().filter(|k| k.starts_with(prefix))?;
                Some(OpenUpload {
                    key: key.to_owned(),
                    upload: upload.upload_id()?.to_owned(),
                    began: upload.initiated().and_then(time),
                })
            }));
            if page.is_truncated() != Some(true) || page.next_key_marker().is_none() {
                return Ok(found);
            }
            key_marker = page.next_key_marker().map(str::to_owned);
            id_marker = page.next_upload_id_marker().map(str::to_owned);
        }
    }

    /// When the last part of an upload was stored, or else when it began; none where the
    /// server says neither, or the upload is gone.
    ///
    /// # Errors
    /// As the server says.
    pub async fn last_part(&self, open: &OpenUpload) -> Result<Option<Timestamp>, StorageError> {
        let mut pages = self
            .client()
            .list_parts()
            .bucket(self.name())
            .key(&open.key)
            .upload_id(&open.upload)
            .into_paginator()
            .send();
        let mut last = open.began;
        while let Some(page) = pages.next().await {
            let page = match page.map_err(|e| translate("ListParts", self.name(), &open.key, &e)) {
                Ok(page) => page,
                Err(StorageError::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(error),
            };
            for part in page.parts() {
                // A part whose time nobody says may have come just now.
                let Some(stored) = part.last_modified().and_then(time) else {
                    return Ok(None);
                };
                last = last.max(Some(stored));
            }
        }
        Ok(last)
    }
}

fn time(of: &aws_sdk_s3::primitives::DateTime) -> Option<Timestamp> {
    Timestamp::from_second(of.secs()).ok()
}
