//! The bytes of a file on their way to a reader: hashed again, so that a reader
//! never gets a whole file that is not the manifest's. A reader may take hours; whether
//! they still may have it is asked for again every few seconds, and what they may not have
//! any more breaks off.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_s3::primitives::ByteStream;
use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use http::StatusCode;
use sha2::{Digest as _, Sha256};
use tracing::{error, info};

use crate::cluster::requests as request;
use crate::limits::memory::Reserved;
use crate::problem::Problem;
use crate::read::content::reader;
use crate::read::views::{View, record_viewed};
use crate::state::{Call, Gateway};
use trevor_core::digest::Sha256Hex;
use trevor_core::keys::RequestKey;
use trevor_core::manifest::ManifestFile;
use trevor_serve::Flushes;
use trevor_store::ObjectBody;

/// How often it is asked whether the reader still may have the file.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// How long an answer is believed while the API server gives no other.
const BELIEVED: Duration = Duration::from_secs(60);

/// Which bytes.
#[derive(Clone, Debug)]
pub struct Source {
    /// Of which file.
    pub file: ManifestFile,
    /// From which.
    pub first: u64,
    /// How many.
    pub length: u64,
    /// Whether that is all.
    pub whole: bool,
}

impl Source {
    /// The `Range` field for storage.
    #[must_use]
    pub fn range(&self) -> Option<String> {
        let last = (self.first + self.length).saturating_sub(1);
        (!self.whole).then(|| format!("bytes={}-{last}", self.first))
    }
}

/// Who reads, and until when they were found to be allowed to.
pub struct Reading {
    call: Call,
    uid: String,
    asked: Instant,
    allowed: Instant,
    _share: Reserved,
}

impl Reading {
    /// By one who was let in just now, with a share of the memory.
    #[must_use]
    pub fn new(call: &Call, key: &RequestKey, share: Reserved) -> Self {
        Self {
            call: call.clone(),
            uid: key.uid.clone(),
            asked: Instant::now(),
            allowed: Instant::now(),
            _share: share,
        }
    }

    /// Asks again, if the last answer is old: the session, the permissions, and whether
    /// it is still this request.
    async fn goes_on(&mut self, gateway: &Gateway) -> Result<(), Problem> {
        if self.asked.elapsed() < ASK_EVERY {
            return Ok(());
        }
        self.asked = Instant::now();
        let again = async {
            let call = gateway.anew(&self.call).await?;
            let call = call.as_ref().unwrap_or(&self.call);
            request::same(&reader(gateway, call).await?, &self.uid)
        };
        match again.await {
            Ok(()) => self.allowed = Instant::now(),
            Err(problem) => {
                let silent = problem.status == StatusCode::SERVICE_UNAVAILABLE;
                if !silent || self.allowed.elapsed() >= BELIEVED {
                    return Err(problem);
                }
            }
        }
        Ok(())
    }
}

struct Sending {
    gateway: Arc<Gateway>,
    bytes: ByteStream,
    source: Source,
    left: u64,
    sha256: Sha256,
    view: View,
    flushes: Option<Flushes>,
    reading: Reading,
}

/// A body that sends a file, and records when all of it was sent.
pub fn body(
    gateway: Arc<Gateway>,
    opened: ObjectBody,
    source: Source,
    view: View,
    reading: Reading,
    flushes: Option<Flushes>,
) -> Body {
    let left = source.length;
    let sending = Sending {
        gateway,
        bytes: opened.body,
        source,
        left,
        sha256: Sha256::new(),
        view,
        flushes,
        reading,
    };
    Body::from_stream(stream::unfold(Some(sending), |sending| async {
        let mut sending = sending?;
        match sending.next().await {
            Ok(Some(bytes)) => Some((Ok(bytes), Some(sending))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    }))
}

impl Sending {
    async fn next(&mut self) -> Result<Option<Bytes>, std::io::Error> {
        if let Err(problem) = self.reading.goes_on(&self.gateway).await {
            info!(
                uid = self.reading.uid,
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
        if self.source.whole {
            self.sha256.update(&bytes);
            if self.left == 0 {
                self.verify()?;
            }
        }
        Ok(Some(bytes))
    }

    /// Before the last bytes go: a file that is not the manifest's breaks off.
    fn verify(&self) -> Result<(), std::io::Error> {
        let raw: [u8; 32] = self.sha256.clone().finalize().into();
        if Sha256Hex::from_raw(&raw) == self.source.file.sha256 {
            return Ok(());
        }
        error!(
            key = self.source.file.key,
            "a stored file is not the one of the manifest"
        );
        Err(std::io::Error::other(
            "the stored file is not the one of the manifest",
        ))
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if self.left > 0 || !self.source.whole {
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
