//! A multipart upload that is aborted if it is dropped before it is complete, also when the client
//! disconnects.

use aws_sdk_s3::types::CompletedPart;
use bytes::Bytes;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::problem::Problem;
use trevor_store::{Bucket, PartBytes, StorageError};

/// Chunks that are queued between the reader and a streamed part.
const CHANNEL_CAPACITY: usize = 1;
/// The type of all stored objects. Media types of files are in their receipts.
pub const CONTENT_TYPE: &str = "application/octet-stream";

/// A multipart upload in progress.
pub struct MultipartUpload {
    bucket: Bucket,
    key: String,
    id: String,
    tasks: TaskTracker,
    sending: JoinSet<Result<CompletedPart, StorageError>>,
    sent: Vec<CompletedPart>,
    next: i32,
    incomplete: bool,
}

impl MultipartUpload {
    /// Starts an upload. It runs as a task of its own, because the id of the upload would be lost
    /// if the call were cancelled by a client that disconnects.
    ///
    /// # Errors
    /// 503 when the storage does not answer.
    pub async fn start(bucket: &Bucket, key: &str, tasks: &TaskTracker) -> Result<Self, Problem> {
        let (bucket, key, tracker) = (bucket.clone(), key.to_owned(), tasks.clone());
        let started = tasks.spawn(async move {
            let id = bucket.start_upload(&key, CONTENT_TYPE).await?;
            Ok::<_, StorageError>(Self {
                bucket,
                key,
                id,
                tasks: tracker,
                sending: JoinSet::new(),
                sent: Vec::new(),
                next: 1,
                incomplete: true,
            })
        });
        Ok(started.await.map_err(|_| Problem::shutting_down())??)
    }

    /// Starts to send the next part, without waiting for earlier ones.
    ///
    /// # Errors
    /// 503 when an earlier part failed.
    pub fn send(&mut self, bytes: Bytes) -> Result<(), Problem> {
        self.collect_done()?;
        let number = self.number();
        let (bucket, key, id) = (self.bucket.clone(), self.key.clone(), self.id.clone());
        self.sending.spawn(async move {
            bucket
                .put_part(&key, &id, number, PartBytes::Memory(bytes))
                .await
        });
        Ok(())
    }

    /// Starts a streamed part. The caller must send `length` bytes to the channel.
    pub fn stream(&mut self, length: u64) -> mpsc::Sender<Bytes> {
        let number = self.number();
        let (feed, chunks) = mpsc::channel(CHANNEL_CAPACITY);
        let (bucket, key, id) = (self.bucket.clone(), self.key.clone(), self.id.clone());
        self.sending
            .spawn(async move { bucket.stream_part(&key, &id, number, length, chunks).await });
        feed
    }

    fn number(&mut self) -> i32 {
        let number = self.next;
        self.next += 1;
        number
    }

    fn collect_done(&mut self) -> Result<(), Problem> {
        while let Some(done) = self.sending.try_join_next() {
            self.sent.push(done.map_err(|_| Problem::shutting_down())??);
        }
        Ok(())
    }

    /// Waits for all parts that are being sent.
    ///
    /// # Errors
    /// 503 when one of them failed.
    pub async fn wait_for_parts(&mut self) -> Result<(), Problem> {
        while let Some(done) = self.sending.join_next().await {
            self.sent.push(done.map_err(|_| Problem::shutting_down())??);
        }
        Ok(())
    }

    /// Completes the upload, and checks that the object has `size` bytes.
    ///
    /// # Errors
    /// 503 when a part or the completion failed, or when the size differs.
    pub async fn complete(mut self, size: u64) -> Result<(), Problem> {
        self.wait_for_parts().await?;
        let mut parts = std::mem::take(&mut self.sent);
        parts.sort_by_key(|part| part.part_number);
        let stored = match self
            .bucket
            .complete_upload(&self.key, &self.id, parts)
            .await
        {
            Ok(stored) => stored,
            // The upload may be complete although the response was lost.
            Err(error) => self.bucket.head(&self.key).await.map_err(|_| error)?,
        };
        self.incomplete = false;
        if stored.size == size {
            return Ok(());
        }
        warn!(
            key = self.key,
            stored = stored.size,
            size,
            "a stored object has another size than what was sent"
        );
        Err(Problem::unavailable(
            "StorageUnavailable",
            "the storage kept something else than what was sent; try again",
            5,
        ))
    }
}

impl Drop for MultipartUpload {
    fn drop(&mut self) {
        if !self.incomplete {
            return;
        }
        let (bucket, key, id) = (self.bucket.clone(), self.key.clone(), self.id.clone());
        let mut sending = std::mem::take(&mut self.sending);
        self.tasks.spawn(async move {
            sending.shutdown().await;
            // A part that was being sent may arrive after the first abort.
            for pause in [0, 2] {
                tokio::time::sleep(Duration::from_secs(pause)).await;
                if let Err(error) = bucket.abort_upload(&key, &id).await {
                    warn!(%error, "an upload could not be aborted; it goes with the request's files");
                }
            }
        });
    }
}
