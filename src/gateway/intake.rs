//! From a body to quarantine: read, hashed and sent on at the same time, in
//! buffers that the user's share allows, and stored only when it is what was
//! announced.

use bytes::Bytes;
use http::StatusCode;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::buffers::{Lease, Leave};
use super::hashing::Hashing;
use super::multipart::{CONTENT_TYPE, Multipart};
use super::parts::{Cut, MOST_PARTS};
use super::problem::Problem;
use super::reader::Reader;
use crate::domain::digest::{Crc32, Sha256Hex};
use crate::storage::keys::RequestKey;
use crate::storage::{Bucket, Created};

/// Where bytes go.
#[derive(Clone)]
pub struct Place {
    /// The quarantine bucket.
    pub bucket: Bucket,
    /// A new random key in it.
    pub key: String,
    /// Keeps what must be finished after the call.
    pub tasks: TaskTracker,
}

/// Bytes that arrived: hashed, and not stored yet as an object.
pub struct Arrived {
    /// How many.
    pub size: u64,
    /// Their SHA-256.
    pub sha256: Sha256Hex,
    /// Their CRC-32.
    pub crc32: Crc32,
    place: Place,
    held: Held,
}

enum Held {
    Whole(Bytes),
    Parts(Box<Multipart>),
}

/// A filled buffer and the leave to hold it; both go when the last reader is done.
struct Filled {
    bytes: Vec<u8>,
    _leave: Leave,
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Place {
    /// A new place among the files of a request.
    #[must_use]
    pub fn new(bucket: &Bucket, request: &RequestKey, tasks: &TaskTracker) -> Self {
        let key = request.file(&Uuid::new_v4().to_string());
        Self {
            bucket: bucket.clone(),
            key,
            tasks: tasks.clone(),
        }
    }
}

impl Arrived {
    /// Key of the object.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.place.key
    }

    /// Makes it an object. What is dropped instead leaves nothing.
    ///
    /// # Errors
    /// As the server says.
    pub async fn store(self) -> Result<(), Problem> {
        match self.held {
            Held::Parts(upload) => upload.complete(self.size).await,
            Held::Whole(bytes) => match self
                .place
                .bucket
                .create(&self.place.key, bytes, CONTENT_TYPE)
                .await?
            {
                Created::New => Ok(()),
                // The key is random: it is ours, from a try whose answer was lost.
                Created::Exists
                    if self.place.bucket.head(&self.place.key).await?.size == self.size =>
                {
                    Ok(())
                }
                Created::Exists => Err(Problem::unavailable(
                    "StorageUnavailable",
                    "the storage did not take the file; try again",
                    1,
                )),
            },
        }
    }
}

/// Takes a whole body in.
///
/// # Errors
/// When client or storage fail; nothing is left then.
pub async fn receive(
    place: Place,
    cut: Cut,
    lease: &Lease,
    mut reader: Reader<'_>,
) -> Result<Arrived, Problem> {
    let mut hashing = Hashing::default();
    let held = match cut {
        Cut::Whole { .. } => {
            Held::Whole(buffer(cut.part(), lease, &mut reader, &mut hashing).await?)
        }
        Cut::Buffered { .. } | Cut::Unknown => {
            buffered(&place, cut, lease, &mut reader, &mut hashing).await?
        }
        Cut::Streamed { part, length } => {
            streamed(&place, (part, length), lease, &mut reader, &mut hashing).await?
        }
    };
    let size = reader.received();
    let (sha256, crc32) = hashing.finish().await?;
    Ok(Arrived {
        size,
        sha256,
        crc32,
        place,
        held,
    })
}

/// The next buffer, full unless the body ended; empty when it had ended before.
async fn buffer(
    size: u64,
    lease: &Lease,
    reader: &mut Reader<'_>,
    hashing: &mut Hashing,
) -> Result<Bytes, Problem> {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let leave = lease.buffer().await;
    let mut bytes = Vec::with_capacity(size);
    reader.fill(&mut bytes, size).await?;
    let bytes = Bytes::from_owner(Filled {
        bytes,
        _leave: leave,
    });
    hashing.update(bytes.clone()).await?;
    Ok(bytes)
}

async fn buffered(
    place: &Place,
    cut: Cut,
    lease: &Lease,
    reader: &mut Reader<'_>,
    hashing: &mut Hashing,
) -> Result<Held, Problem> {
    let first = buffer(cut.part(), lease, reader, hashing).await?;
    if reader.ended() {
        return Ok(Held::Whole(first));
    }
    let mut upload = Multipart::start(&place.bucket, &place.key, &place.tasks).await?;
    upload.send(first)?;
    for _ in 1..MOST_PARTS {
        let next = buffer(cut.part(), lease, reader, hashing).await?;
        if !next.is_empty() {
            upload.send(next)?;
        }
        if reader.ended() {
            upload.settle().await?;
            return Ok(Held::Parts(Box::new(upload)));
        }
    }
    // Exactly full, or too long to be taken without its length.
    if buffer(1, lease, reader, hashing).await?.is_empty() {
        upload.settle().await?;
        return Ok(Held::Parts(Box::new(upload)));
    }
    Err(Problem::new(
        StatusCode::LENGTH_REQUIRED,
        "LengthRequired",
        "a file of this size needs Content-Length; send it again with that",
    ))
}

async fn streamed(
    place: &Place,
    (part, length): (u64, u64),
    lease: &Lease,
    reader: &mut Reader<'_>,
    hashing: &mut Hashing,
) -> Result<Held, Problem> {
    let mut upload = Multipart::start(&place.bucket, &place.key, &place.tasks).await?;
    let size = Cut::Streamed { part, length }.buffer();
    let mut left = length;
    while left > 0 {
        let this = part.min(left);
        let feed = upload.stream(this);
        let mut missing = this;
        while missing > 0 {
            let bytes = buffer(size.min(missing), lease, reader, hashing).await?;
            missing = missing.saturating_sub(bytes.len() as u64);
            if bytes.is_empty() {
                return Err(broken_off());
            }
            if feed.send(bytes).await.is_err() {
                // The part ended early: storage says why.
                upload.settle().await?;
                return Err(broken_off());
            }
        }
        drop(feed);
        upload.settle().await?;
        left -= this;
    }
    Ok(Held::Parts(Box::new(upload)))
}

fn broken_off() -> Problem {
    Problem::bad_request("Truncated", "the body broke off; nothing was stored")
}
