//! Streams a file to a reader. The file is hashed again, so that a reader never receives a complete
//! file that differs from the manifest. A download can take hours, so the permission of the reader
//! is checked again every few seconds. The stream is aborted when the permission has ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_s3::primitives::ByteStream;
use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use http::StatusCode;
use sha2::{Digest as _, Sha256};
use tracing::{error, info};

use crate::cluster::requests;
use crate::identity::call::Call;
use crate::limits::memory::MemoryPermit;
use crate::problem::Problem;
use crate::read::access::content_request;
use crate::read::views::{FileView, record_viewed};
use crate::state::Gateway;
use trevor_core::digest::Sha256Hex;
use trevor_core::keys::RequestKey;
use trevor_core::manifest::ManifestFile;
use trevor_serve::Flushes;
use trevor_store::ObjectBody;

/// How often the permission of the reader is checked.
const RECHECK_INTERVAL: Duration = Duration::from_secs(10);
/// How long a stream goes on while the API server does not answer.
const MAX_UNCONFIRMED: Duration = Duration::from_secs(60);

/// A range of a file.
#[derive(Clone, Debug)]
pub struct FileRange {
    pub file: ManifestFile,
    /// The first byte.
    pub first: u64,
    pub length: u64,
    /// Whether the range is the whole file.
    pub whole: bool,
}

impl FileRange {
    /// The `Range` field for the storage. None for the whole file.
    #[must_use]
    pub fn range(&self) -> Option<String> {
        let last = (self.first + self.length).saturating_sub(1);
        (!self.whole).then(|| format!("bytes={}-{last}", self.first))
    }
}

/// The reader of a stream, and when the permission was last confirmed.
pub struct ReadAuthorization {
    call: Call,
    uid: String,
    checked_at: Instant,
    allowed_at: Instant,
    _permit: MemoryPermit,
}

impl ReadAuthorization {
    /// For a caller who was authorized just now. The memory is held as long as the stream.
    #[must_use]
    pub fn new(call: &Call, key: &RequestKey, permit: MemoryPermit) -> Self {
        Self {
            call: call.clone(),
            uid: key.uid.clone(),
            checked_at: Instant::now(),
            allowed_at: Instant::now(),
            _permit: permit,
        }
    }

    /// Checks the session, the permission and the uid of the request again, unless the last check
    /// is recent.
    async fn check_still_allowed(&mut self, gateway: &Gateway) -> Result<(), Problem> {
        if self.checked_at.elapsed() < RECHECK_INTERVAL {
            return Ok(());
        }
        self.checked_at = Instant::now();
        let check = async {
            let call = gateway.revalidate(&self.call).await?;
            let call = call.as_ref().unwrap_or(&self.call);
            requests::ensure_same_uid(&content_request(gateway, call).await?, &self.uid)
        };
        match check.await {
            Ok(()) => self.allowed_at = Instant::now(),
            Err(problem) => {
                let unavailable = problem.status == StatusCode::SERVICE_UNAVAILABLE;
                if !unavailable || self.allowed_at.elapsed() >= MAX_UNCONFIRMED {
                    return Err(problem);
                }
            }
        }
        Ok(())
    }
}

struct FileStream {
    gateway: Arc<Gateway>,
    bytes: ByteStream,
    range: FileRange,
    left: u64,
    sha256: Sha256,
    view: FileView,
    flushes: Option<Flushes>,
    authorization: ReadAuthorization,
}

/// A body that sends a file. It records a view when all of the file was sent.
pub fn stream_body(
    gateway: Arc<Gateway>,
    opened: ObjectBody,
    range: FileRange,
    view: FileView,
    authorization: ReadAuthorization,
    flushes: Option<Flushes>,
) -> Body {
    let left = range.length;
    let stream = FileStream {
        gateway,
        bytes: opened.body,
        range,
        left,
        sha256: Sha256::new(),
        view,
        flushes,
        authorization,
    };
    Body::from_stream(stream::unfold(Some(stream), |stream| async {
        let mut stream = stream?;
        match stream.next().await {
            Ok(Some(bytes)) => Some((Ok(bytes), Some(stream))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    }))
}

impl FileStream {
    async fn next(&mut self) -> Result<Option<Bytes>, std::io::Error> {
        if let Err(problem) = self.authorization.check_still_allowed(&self.gateway).await {
            info!(
                uid = self.authorization.uid,
                reason = problem.reason,
                "a reading is broken off: its reader may not have it any more"
            );
            return Err(std::io::Error::other(problem.detail));
        }
        let bytes = match self.bytes.next().await {
            Some(Ok(bytes)) => bytes,
            Some(Err(_)) => return Err(std::io::Error::other("the storage broke off")),
            None if self.left == 0 => return Ok(None),
            None => return Err(std::io::Error::other("the storage sent too little")),
        };
        self.gateway.metrics.bytes_out(bytes.len());
        self.left = self
            .left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| std::io::Error::other("the storage sent too much"))?;
        if self.range.whole {
            self.sha256.update(&bytes);
            if self.left == 0 {
                self.verify()?;
            }
        }
        Ok(Some(bytes))
    }

    /// Checks the digest before the last bytes are sent.
    fn verify(&self) -> Result<(), std::io::Error> {
        let raw: [u8; 32] = self.sha256.clone().finalize().into();
        if Sha256Hex::from_raw(&raw) == self.range.file.sha256 {
            return Ok(());
        }
        error!(
            key = self.range.file.key,
            "a stored file is not the one of the manifest"
        );
        Err(std::io::Error::other(
            "the stored file is not the one of the manifest",
        ))
    }
}

impl Drop for FileStream {
    fn drop(&mut self) {
        if self.left > 0 || !self.range.whole {
            return;
        }
        let (gateway, view, flushes) = (
            Arc::clone(&self.gateway),
            self.view.clone(),
            self.flushes.take(),
        );
        let sent = flushes.map(|f| f.after());
        self.gateway.tasks.spawn(async move {
            let sent = match sent {
                Some(sent) => sent.await,
                None => true,
            };
            if sent {
                record_viewed(&gateway, &view).await;
            }
        });
    }
}
