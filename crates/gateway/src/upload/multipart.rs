//! One multipart upload that leaves nothing behind: whatever ends it early, a
//! client that goes away included, aborts it.

use aws_sdk_s3::types::CompletedPart;
use bytes::Bytes;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::problem::Problem;
use trevor_store::{Bucket, PartBytes, StorageError};

/// Chunks between the reader and a part that streams through.
const CHUNKS: usize = 1;
/// What is stored says nothing of its type.
pub const CONTENT_TYPE: &str = "application/octet-stream";

/// An upload that is under way.
pub struct Multipart {
    bucket: Bucket,
    key: String,
    id: String,
    tasks: TaskTracker,
    sending: JoinSet<Result<CompletedPart, StorageError>>,
    sent: Vec<CompletedPart>,
    next: i32,
    open: bool,
}

impl Multipart {
    /// Starts one. The start itself is not interrupted by a client that goes
    /// away, else its id would be lost.
    ///
    /// # Errors
    /// As the server says.
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
                open: true,
            })
        });
        Ok(started.await.map_err(|_| ending())??)
    }

    /// Sends the next part, while earlier ones may still be on their way.
    ///
    /// # Errors
    /// When an earlier part failed.
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

    /// Starts a part that streams through: `length` bytes are to be fed.
    pub fn stream(&mut self, length: u64) -> mpsc::Sender<Bytes> {
        let number = self.number();
        let (feed, chunks) = mpsc::channel(CHUNKS);
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
            self.sent.push(done.map_err(|_| ending())??);
        }
        Ok(())
    }

    /// Waits for all parts that are on their way.
    ///
    /// # Errors
    /// As the server says.
    pub async fn settle(&mut self) -> Result<(), Problem> {
        while let Some(done) = self.sending.join_next().await {
            self.sent.push(done.map_err(|_| ending())??);
        }
        Ok(())
    }

    /// Completes it; the stored object must have `size` bytes.
    ///
    /// # Errors
    /// As the server says.
    pub async fn complete(mut self, size: u64) -> Result<(), Problem> {
        self.settle().await?;
        let mut parts = std::mem::take(&mut self.sent);
        parts.sort_by_key(|part| part.part_number);
        let stored = match self
            .bucket
            .complete_upload(&self.key, &self.id, parts)
            .await
        {
            Ok(stored) => stored,
            // The answer may be lost, and the object there.
            Err(error) => self.bucket.head(&self.key).await.map_err(|_| error)?,
        };
        self.open = false;
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

impl Drop for Multipart {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let (bucket, key, id) = (self.bucket.clone(), self.key.clone(), self.id.clone());
        let mut sending = std::mem::take(&mut self.sending);
        self.tasks.spawn(async move {
            sending.shutdown().await;
            // A part that was on its way may arrive after the first abort.
            for pause in [0, 2] {
                tokio::time::sleep(Duration::from_secs(pause)).await;
                if let Err(error) = bucket.abort_upload(&key, &id).await {
                    warn!(%error, "an upload could not be aborted; it goes with the request's files");
                }
            }
        });
    }
}

fn ending() -> Problem {
    Problem::unavailable("ShuttingDown", "the gateway is ending; try again", 5)
}
