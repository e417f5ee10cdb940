//! Receives the body of an upload into quarantine. It is read, hashed and sent to the storage at
//! the same time, in buffers that the memory budget permits. It becomes an object only when the
//! caller has checked it.

use bytes::Bytes;
use http::StatusCode;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::limits::admission::UploadAdmission;
use crate::limits::body_reader::BodyReader;
use crate::limits::buffers::{BufferPermit, BufferPool};
use crate::limits::quota::{QuarantineQuota, QuotaReservation};
use crate::problem::Problem;
use crate::upload::hashing::StreamHasher;
use crate::upload::multipart::{CONTENT_TYPE, MultipartUpload};
use crate::upload::parts::{MAX_PARTS, PartLayout};
use trevor_core::digest::{Crc32, Sha256Hex};
use trevor_core::keys::RequestKey;
use trevor_core::sniff::{HEAD, Remark, Sniffed};
use trevor_store::{Bucket, Created};

/// Where a file is stored.
pub struct Destination {
    bucket: Bucket,
    /// A new random key in the bucket.
    pub key: String,
    /// Tasks that outlive the call.
    tasks: TaskTracker,
}

/// A file that was received and hashed, and is not an object yet.
pub struct ReceivedFile {
    pub size: u64,
    pub sha256: Sha256Hex,
    pub crc32: Crc32,
    /// The type by the first bytes.
    pub sniffed: Sniffed,
    /// The result of the content scan.
    pub remark: Option<Remark>,
    destination: Destination,
    payload: Payload,
    reservation: Option<QuotaReservation>,
}

enum Payload {
    Whole(Bytes),
    Parts(Box<MultipartUpload>),
}

/// A filled buffer and its permit. Both are dropped with the last reference to the bytes.
struct FilledBuffer {
    bytes: Vec<u8>,
    _permit: BufferPermit,
}

impl AsRef<[u8]> for FilledBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Destination {
    /// A new object among the files of a request.
    #[must_use]
    pub fn new(bucket: &Bucket, request: &RequestKey, tasks: &TaskTracker) -> Self {
        let key = request.file(&Uuid::new_v4().to_string());
        Self {
            bucket: bucket.clone(),
            key,
            tasks: tasks.clone(),
        }
    }

    async fn start_multipart(&self) -> Result<MultipartUpload, Problem> {
        MultipartUpload::start(&self.bucket, &self.key, &self.tasks).await
    }
}

impl ReceivedFile {
    /// The key of the object.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.destination.key
    }

    /// Stores the object. A file that is dropped instead leaves nothing.
    ///
    /// # Errors
    /// 503 when the storage fails.
    pub async fn store(self) -> Result<(), Problem> {
        let stored = match self.payload {
            Payload::Parts(upload) => upload.complete(self.size).await,
            Payload::Whole(bytes) => match self
                .destination
                .bucket
                .create(&self.destination.key, bytes, CONTENT_TYPE)
                .await?
            {
                Created::New => Ok(()),
                // The key is random, so that this is our object, from an attempt whose response was
                // lost.
                Created::Exists
                    if self
                        .destination
                        .bucket
                        .head(&self.destination.key)
                        .await?
                        .size
                        == self.size =>
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
        if let Some(reservation) = self.reservation {
            reservation.mark_stored();
        }
        Ok(())
    }
}

/// What an upload is received with.
pub struct IntakeContext<'a> {
    pub buffers: &'a BufferPool,
    pub reader: BodyReader<'a>,
    pub admission: UploadAdmission<'a>,
    pub quota: &'a QuarantineQuota,
}

/// An upload while it is received.
struct Intake<'a> {
    context: IntakeContext<'a>,
    hasher: StreamHasher,
    sniffed: Option<Sniffed>,
}

/// Receives a whole body.
///
/// # Errors
/// When the client or the storage fails, or the policy does not admit the file. Nothing is stored
/// then.
pub async fn receive(
    destination: Destination,
    layout: PartLayout,
    context: IntakeContext<'_>,
) -> Result<ReceivedFile, Problem> {
    let mut intake = Intake {
        context,
        hasher: StreamHasher::default(),
        sniffed: None,
    };
    let payload = match layout {
        PartLayout::Whole { .. } => Payload::Whole(intake.read_buffer(layout.part_size()).await?),
        PartLayout::Buffered { .. } | PartLayout::Unknown => {
            receive_buffered(&destination, layout, &mut intake).await?
        }
        PartLayout::Streamed { part, length } => {
            receive_streamed(&destination, (part, length), &mut intake).await?
        }
    };
    let size = intake.context.reader.received();
    let sniffed = match intake.sniffed {
        Some(sniffed) => sniffed,
        None => intake.context.admission.check_content(&[])?,
    };
    let (sha256, crc32, remark) = intake.hasher.finish().await?;
    Ok(ReceivedFile {
        size,
        sha256,
        crc32,
        sniffed,
        remark,
        destination,
        payload,
        reservation: intake.context.admission.into_reservation(),
    })
}

impl Intake<'_> {
    /// The next buffer. It is full unless the body ends, and empty after the end. The content check
    /// is made as soon as the first bytes are read.
    async fn read_buffer(&mut self, size: u64) -> Result<Bytes, Problem> {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let permit = self.context.buffers.acquire().await;
        let mut bytes = Vec::with_capacity(size);
        if self.sniffed.is_none() {
            self.context.reader.fill(&mut bytes, size.min(HEAD)).await?;
            self.sniffed = Some(self.context.admission.check_content(&bytes)?);
        }
        self.context.reader.fill(&mut bytes, size).await?;
        let received = self.context.reader.received();
        self.context
            .admission
            .reserve_received(received, self.context.quota)
            .await?;
        let bytes = Bytes::from_owner(FilledBuffer {
            bytes,
            _permit: permit,
        });
        self.hasher.update(bytes.clone()).await?;
        Ok(bytes)
    }

    fn ended(&self) -> bool {
        self.context.reader.ended()
    }
}

async fn receive_buffered(
    destination: &Destination,
    layout: PartLayout,
    intake: &mut Intake<'_>,
) -> Result<Payload, Problem> {
    let first = intake.read_buffer(layout.part_size()).await?;
    if intake.ended() {
        return Ok(Payload::Whole(first));
    }
    let mut upload = destination.start_multipart().await?;
    upload.send(first)?;
    for _ in 1..MAX_PARTS {
        let next = intake.read_buffer(layout.part_size()).await?;
        if !next.is_empty() {
            upload.send(next)?;
        }
        if intake.ended() {
            upload.wait_for_parts().await?;
            return Ok(Payload::Parts(Box::new(upload)));
        }
    }
    // The file fills all parts exactly, or is too long for an unknown length.
    if intake.read_buffer(1).await?.is_empty() {
        upload.wait_for_parts().await?;
        return Ok(Payload::Parts(Box::new(upload)));
    }
    Err(Problem::new(
        StatusCode::LENGTH_REQUIRED,
        "LengthRequired",
        "a file of this size needs Content-Length; send it again with that",
    ))
}

async fn receive_streamed(
    destination: &Destination,
    (part, length): (u64, u64),
    intake: &mut Intake<'_>,
) -> Result<Payload, Problem> {
    let mut upload = destination.start_multipart().await?;
    let size = PartLayout::Streamed { part, length }.buffer_size();
    let mut left = length;
    while left > 0 {
        let length = part.min(left);
        let chunks = upload.stream(length);
        let mut missing = length;
        while missing > 0 {
            let bytes = intake.read_buffer(size.min(missing)).await?;
            missing = missing.saturating_sub(bytes.len() as u64);
            if bytes.is_empty() {
                return Err(Problem::truncated());
            }
            if chunks.send(bytes).await.is_err() {
                // The part failed. The storage says why.
                upload.wait_for_parts().await?;
                return Err(Problem::truncated());
            }
        }
        drop(chunks);
        upload.wait_for_parts().await?;
        left -= length;
    }
    Ok(Payload::Parts(Box::new(upload)))
}
