//! Takes one object over into another bucket, if it is still the one that was
//! looked at: by the server itself, or as a stream in constant memory.

use std::time::Duration;

use aws_sdk_s3::types::{CompletedPart, MetadataDirective, TaggingDirective};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::mpsc;

use super::bucket::{Bucket, Created, ObjectBody};
use super::error::{StorageError, translate};

pub(super) const OCTETS: &str = "application/octet-stream";
/// Up to this a stream is one PUT.
const SMALL: u64 = 8 << 20;
/// Parts of a stream. They cost no memory: their bytes pass through.
const STREAMED: u64 = 64 << 20;
/// A server copies so much in one call, well within the time that we wait; S3 ends at
/// 5 GiB.
pub(super) const COPIED: u64 = 512 << 20;
/// S3 has 10,000 parts; some are left over.
const PARTS: u64 = 9_000;
/// Parts on their way at once.
const AT_ONCE: usize = 3;
/// Times that one part is tried.
const TRIES: u64 = 4;

/// What is to be taken over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    pub(super) bucket: &'a Bucket,
    pub(super) key: &'a str,
    pub(super) etag: &'a str,
    pub(super) size: u64,
    /// What the copy says it is.
    pub(super) content_type: &'a str,
    /// A server copies so much in one call, and what is larger in parts of so much.
    pub(super) whole: u64,
}

impl Source<'_> {
    fn path(&self) -> String {
        format!("{}/{}", self.bucket.name(), self.key)
    }

    /// Copied by the server of the other bucket.
    pub(super) async fn copy(&self, to: &Bucket, key: &str) -> Result<(), StorageError> {
        if self.size > self.whole {
            return self
                .in_parts(to, key, self.whole, |upload, number, range| async move {
                    self.copy_part(to, key, &upload, number, range).await
                })
                .await;
        }
        to.client()
            .copy_object()
            .bucket(to.name())
            .key(key)
            .copy_source(self.path())
            .copy_source_if_match(self.etag)
            // Nothing that the sender says of an object comes along.
            .metadata_directive(MetadataDirective::Replace)
            .tagging_directive(TaggingDirective::Replace)
            .content_type(self.content_type)
            .server_side_encryption(to.sse())
            .set_ssekms_key_id(to.kms_key_id())
            .send()
            .await
            .map_err(|e| translate("CopyObject", to.name(), key, &e))?;
        to.head(key).await.map(drop)
    }

    async fn copy_part(
        &self,
        to: &Bucket,
        key: &str,
        upload: &str,
        number: i32,
        (start, end): (u64, u64),
    ) -> Result<CompletedPart, StorageError> {
        let copied = to
            .client()
            .upload_part_copy()
            .bucket(to.name())
            .key(key)
            .upload_id(upload)
            .part_number(number)
            .copy_source(self.path())
            .copy_source_if_match(self.etag)
            .copy_source_range(format!("bytes={start}-{}", end.saturating_sub(1)))
            .send()
            .await
            .map_err(|e| translate("UploadPartCopy", to.name(), key, &e))?;
        let etag = copied.copy_part_result.and_then(|part| part.e_tag);
        Ok(CompletedPart::builder()
            .part_number(number)
            .set_e_tag(etag)
            .build())
    }

    /// Read here, and written there.
    pub(super) async fn stream(&self, to: &Bucket, key: &str) -> Result<(), StorageError> {
        if self.size > SMALL {
            return self
                .in_parts(to, key, STREAMED, |upload, number, range| async move {
                    self.stream_part(to, key, &upload, number, range).await
                })
                .await;
        }
        let opened = self.open(None).await?;
        let bytes = opened
            .body
            .collect()
            .await
            .map_err(|e| self.broken(&e.to_string()))?;
        match to
            .create(key, bytes.into_bytes(), self.content_type)
            .await?
        {
            Created::New => Ok(()),
            Created::Exists => Err(StorageError::Precondition {
                bucket: to.name().to_owned(),
                key: key.to_owned(),
            }),
        }
    }

    async fn stream_part(
        &self,
        to: &Bucket,
        key: &str,
        upload: &str,
        number: i32,
        (start, end): (u64, u64),
    ) -> Result<CompletedPart, StorageError> {
        let mut body = self
            .open(Some(format!("bytes={start}-{}", end.saturating_sub(1))))
            .await?
            .body;
        let (chunks, fed) = mpsc::channel(4);
        let feed = async move {
            while let Some(Ok(bytes)) = body.next().await {
                if chunks.send(bytes).await.is_err() {
                    return;
                }
            }
        };
        let (sent, ()) = tokio::join!(to.stream_part(key, upload, number, end - start, fed), feed);
        sent
    }

    async fn open(&self, range: Option<String>) -> Result<ObjectBody, StorageError> {
        let got = self
            .bucket
            .client()
            .get_object()
            .bucket(self.bucket.name())
            .key(self.key)
            .if_match(self.etag)
            .set_range(range)
            .send()
            .await
            .map_err(|e| translate("GetObject", self.bucket.name(), self.key, &e))?;
        let length = got.content_length().and_then(|n| u64::try_from(n).ok());
        Ok(ObjectBody {
            length: length.unwrap_or(0),
            body: got.body,
        })
    }

    fn broken(&self, message: &str) -> StorageError {
        StorageError::Unavailable {
            operation: "GetObject",
            bucket: self.bucket.name().to_owned(),
            key: self.key.to_owned(),
            message: message.to_owned(),
        }
    }

    /// One multipart upload to a key that nobody else has; aborted if it fails.
    async fn in_parts<F, Sent>(
        &self,
        to: &Bucket,
        key: &str,
        least: u64,
        send: F,
    ) -> Result<(), StorageError>
    where
        F: Fn(String, i32, (u64, u64)) -> Sent,
        Sent: Future<Output = Result<CompletedPart, StorageError>>,
    {
        let part = self.size.div_ceil(PARTS).max(least);
        let upload = to.start_upload(key, self.content_type).await?;
        let ranges = (0..self.size.div_ceil(part)).map(|index| {
            let start = index * part;
            (index, (start, self.size.min(start + part)))
        });
        let (send, id) = (&send, &upload);
        let sent: Result<Vec<CompletedPart>, StorageError> = stream::iter(ranges)
            .map(|(index, range)| async move {
                let number = i32::try_from(index + 1).unwrap_or(i32::MAX);
                patiently(|| send(id.clone(), number, range)).await
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await;
        let done = match sent {
            Ok(parts) => to.complete_upload(key, &upload, parts).await.map(drop),
            Err(error) => Err(error),
        };
        if done.is_err()
            && let Err(left) = to.abort_upload(key, &upload).await
        {
            tracing::debug!(%left, "an upload stays open until the request's files are deleted");
        }
        done
    }
}

/// Tries again what may work the next time.
async fn patiently<T, F: Future<Output = Result<T, StorageError>>>(
    work: impl Fn() -> F,
) -> Result<T, StorageError> {
    let mut tried = 1;
    loop {
        match work().await {
            Err(StorageError::Unavailable { .. }) if tried < TRIES => {
                tokio::time::sleep(Duration::from_millis(250 << tried)).await;
                tried += 1;
            }
            done => return done,
        }
    }
}
