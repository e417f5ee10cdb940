//! From a body to quarantine: read, hashed and sent on at the same time, in
//! buffers that the user's share allows, and stored only when it is what was
//! announced.

use bytes::Bytes;
use http::StatusCode;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::limits::admission::Gate;
use crate::limits::body_reader::Reader;
use crate::limits::buffers::{Lease, Leave};
use crate::limits::quota::{Reservation, Stored};
use crate::problem::Problem;
use crate::upload::hashing::Hashing;
use crate::upload::multipart::{CONTENT_TYPE, Multipart};
use crate::upload::parts::{Cut, MOST_PARTS};
use trevor_core::digest::{Crc32, Sha256Hex};
use trevor_core::keys::RequestKey;
use trevor_core::sniff::{HEAD, Remark, Sniffed};
use trevor_store::{Bucket, Created};

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
    /// What their first ones are.
    pub sniffed: Sniffed,
    /// What was noticed behind them.
    pub remark: Option<Remark>,
    place: Place,
    held: Held,
    room: Option<Reservation>,
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
        let stored = match self.held {
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
        };
        stored?;
        if let Some(room) = self.room {
            room.done();
        }
        Ok(())
    }
}

/// What an upload is taken in with.
pub struct Taking<'a> {
    /// Its buffers.
    pub lease: &'a Lease,
    /// Its body.
    pub reader: Reader<'a>,
    /// What the policy says to it.
    pub gate: Gate<'a>,
    /// What is stored beside it.
    pub stored: &'a Stored,
}

/// A body while it is taken in.
struct Taken<'a> {
    with: Taking<'a>,
    hashing: Hashing,
    sniffed: Option<Sniffed>,
}

/// Takes a whole body in.
///
/// # Errors
/// When client or storage fail, or the gate stays shut; nothing is left then.
pub async fn receive(place: Place, cut: Cut, with: Taking<'_>) -> Result<Arrived, Problem> {
    let mut taken = Taken {
        with,
        hashing: Hashing::default(),
        sniffed: None,
    };
    let held = match cut {
        Cut::Whole { .. } => Held::Whole(taken.buffer(cut.part()).await?),
        Cut::Buffered { .. } | Cut::Unknown => buffered(&place, cut, &mut taken).await?,
        Cut::Streamed { part, length } => streamed(&place, (part, length), &mut taken).await?,
    };
    let size = taken.with.reader.received();
    let sniffed = match taken.sniffed {
        Some(sniffed) => sniffed,
        None => taken.with.gate.look(&[])?,
    };
    let (sha256, crc32, remark) = taken.hashing.finish().await?;
    Ok(Arrived {
        size,
        sha256,
        crc32,
        sniffed,
        remark,
        place,
        held,
        room: taken.with.gate.into_room(),
    })
}

impl Taken<'_> {
    /// The next buffer, full unless the body ended; empty when it had ended before.
    /// The first bytes of all pass the gate as soon as they are there.
    async fn buffer(&mut self, size: u64) -> Result<Bytes, Problem> {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let leave = self.with.lease.buffer().await;
        let mut bytes = Vec::with_capacity(size);
        if self.sniffed.is_none() {
            self.with.reader.fill(&mut bytes, size.min(HEAD)).await?;
            self.sniffed = Some(self.with.gate.look(&bytes)?);
        }
        self.with.reader.fill(&mut bytes, size).await?;
        let received = self.with.reader.received();
        self.with.gate.take(received, self.with.stored).await?;
        let bytes = Bytes::from_owner(Filled {
            bytes,
            _leave: leave,
        });
        self.hashing.update(bytes.clone()).await?;
        Ok(bytes)
    }

    fn ended(&self) -> bool {
        self.with.reader.ended()
    }
}

async fn buffered(place: &Place, cut: Cut, taken: &mut Taken<'_>) -> Result<Held, Problem> {
    let first = taken.buffer(cut.part()).await?;
    if taken.ended() {
        return Ok(Held::Whole(first));
    }
    let mut upload = Multipart::start(&place.bucket, &place.key, &place.tasks).await?;
    upload.send(first)?;
    for _ in 1..MOST_PARTS {
        let next = taken.buffer(cut.part()).await?;
        if !next.is_empty() {
            upload.send(next)?;
        }
        if taken.ended() {
            upload.settle().await?;
            return Ok(Held::Parts(Box::new(upload)));
        }
    }
    // Exactly full, or too long to be taken without its length.
    if taken.buffer(1).await?.is_empty() {
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
    taken: &mut Taken<'_>,
) -> Result<Held, Problem> {
    let mut upload = Multipart::start(&place.bucket, &place.key, &place.tasks).await?;
    let size = Cut::Streamed { part, length }.buffer();
    let mut left = length;
    while left > 0 {
        let this = part.min(left);
        let feed = upload.stream(this);
        let mut missing = this;
        while missing > 0 {
            let bytes = taken.buffer(size.min(missing)).await?;
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
