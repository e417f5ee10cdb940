//! Writing the approved files of a request into a workspace volume.
//!
//! All places are looked at first: what stands there and is the same is kept, and
//! anything else stops the delivery before a byte is written. A run that was killed
//! anywhere is made good by the next one, which ends in the same state. At the end
//! the gateway gets the receipt.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::Method;
use http::header::{HeaderName, IF_RANGE, RANGE};
use http_body_util::{BodyExt as _, Empty};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

use super::place::{Destination, PlaceError, of};
use super::wire::{Gateway, Tries, WireError, of_file};
use trevor_core::volume::MOST_FILES;

use super::shown;
use crate::transfer::Pulse;
use trevor_core::digest::Sha256Hex;
use trevor_core::names::{self, NameError, SetError};
use trevor_core::volume::{Delivered, VolumeFile};

/// Files written at the same time.
const AT_ONCE: usize = 4;

/// Why files were not delivered.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages explain each")]
pub enum DeliverError {
    #[error("what is to be delivered: {0}")]
    List(WireError),
    #[error(
        "what is to be delivered has a file '{}': {problem}",
        shown(Path::new(path))
    )]
    Name { path: String, problem: NameError },
    #[error("what is to be delivered: {0}")]
    Names(#[from] SetError),
    #[error("more than {MOST_FILES} files are to be delivered")]
    TooMany,
    #[error("{0}")]
    Place(#[from] PlaceError),
    #[error("'{}': {problem}", shown(Path::new(path)))]
    Fetch { path: String, problem: WireError },
    #[error("all files are in the volume, but the receipt was not taken: {0}")]
    Receipt(WireError),
    #[error("the delivery broke off: {0}")]
    Broken(String),
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Files written now.
    pub written: usize,
    /// Files that were there already, the same.
    pub kept: usize,
}

/// Where to.
#[derive(Clone, Copy, Debug)]
pub struct Into<'a> {
    /// Where the volume is mounted.
    pub root: &'a Path,
    /// Folder in it; empty: its root.
    pub path: &'a str,
    /// The project and the request, whose temporary files are told from others'.
    pub whose: (&'a str, &'a str),
}

/// Delivers.
///
/// # Errors
/// With one line that names what stands in the way.
pub async fn deliver(into: Into<'_>, gateway: &Gateway) -> Result<Done, DeliverError> {
    let wanted: Delivered = gateway.get("delivery").await.map_err(DeliverError::List)?;
    check(&wanted)?;
    let (destination, missing) = prepare(into, wanted.clone()).await?;
    let written = missing.len();
    stream::iter(missing)
        .map(|file| write(gateway, &destination, file))
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<()>>()
        .await?;
    let receipt = serde_json::to_vec(&wanted).map_err(|e| DeliverError::Broken(e.to_string()))?;
    let receipt = gateway.put("delivery", &Bytes::from(receipt)).await;
    receipt.map_err(DeliverError::Receipt)?;
    Ok(Done {
        written,
        kept: wanted.files.len() - written,
    })
}

/// The gateway is not taken at its word where names become files.
fn check(wanted: &Delivered) -> Result<(), DeliverError> {
    if wanted.files.len() > MOST_FILES {
        return Err(DeliverError::TooMany);
    }
    for file in &wanted.files {
        names::check_file(&file.path).map_err(|problem| DeliverError::Name {
            path: file.path.clone(),
            problem,
        })?;
    }
    Ok(names::check_set(
        wanted.files.iter().map(|f| f.path.as_str()),
    )?)
}

/// Opens the destination, and gives the files that are not there.
async fn prepare(
    into: Into<'_>,
    wanted: Delivered,
) -> Result<(Arc<Destination>, Vec<VolumeFile>), DeliverError> {
    let (root, path) = (into.root.to_owned(), into.path.to_owned());
    let (namespace, request) = (into.whose.0.to_owned(), into.whose.1.to_owned());
    blocking(move || {
        let destination = Destination::open(&root, &path, (&namespace, &request))?;
        let missing = destination.missing(&wanted.files)?;
        destination.clear(&wanted.files)?;
        destination.has_room(&missing)?;
        let missing = missing.into_iter().cloned().collect();
        Ok((Arc::new(destination), missing))
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PlaceError> + Send + 'static,
) -> Result<T, DeliverError> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|e| DeliverError::Broken(e.to_string()))??)
}

async fn write(
    gateway: &Gateway,
    destination: &Arc<Destination>,
    file: VolumeFile,
) -> Result<(), DeliverError> {
    let (at, begun) = (Arc::clone(destination), file.clone());
    let (writing, open) = blocking(move || at.begin(&begun)).await?;
    let mut fetching = Fetching {
        file: &file,
        into: tokio::fs::File::from_std(open),
        hash: Sha256::new(),
        at: 0,
    };
    fetching.all(gateway).await?;
    let is = Sha256Hex::from_raw(&fetching.hash.finalize().into());
    if is != file.sha256 {
        return Err(PlaceError::Another(file.path).into());
    }
    let written = fetching.into.into_std().await;
    let at = Arc::clone(destination);
    blocking(move || at.place(writing, &written, &file)).await
}

/// One file on its way into the volume. A connection that breaks is taken up where
/// it broke: the hash goes over all bytes, whichever connection brought them.
struct Fetching<'a> {
    file: &'a VolumeFile,
    into: tokio::fs::File,
    hash: Sha256,
    at: u64,
}

impl Fetching<'_> {
    async fn all(&mut self, gateway: &Gateway) -> Result<(), DeliverError> {
        let mut tries = gateway.tries();
        while self.at < self.file.size {
            if let Err(problem) = self.some(gateway, &mut tries).await? {
                let path = &self.file.path;
                let waited = tries.after(problem).await;
                waited.map_err(|problem| DeliverError::Fetch {
                    path: path.clone(),
                    problem,
                })?;
            }
        }
        let flushed = self.into.flush().await;
        Ok(flushed.map_err(|e| of(self.file, e))?)
    }

    /// Reads on until all is there or the connection breaks, which is the inner error.
    async fn some(
        &mut self,
        gateway: &Gateway,
        tries: &mut Tries,
    ) -> Result<Result<(), WireError>, DeliverError> {
        let empty = Empty::new().map_err(|e| match e {}).boxed_unsync();
        let what = of_file("content", &self.file.path);
        let headers = self.rest();
        let pulse = Pulse::default();
        let called = gateway.call(Method::GET, &what, &headers, empty, &pulse);
        let answer = match called.await {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(error)),
        };
        if self.at > 0 && answer.status() != http::StatusCode::PARTIAL_CONTENT {
            let error = "it was sent from its beginning, and only its rest is wanted";
            return Ok(Err(WireError::Answer(error.to_owned())));
        }
        let mut body = answer.into_body();
        loop {
            match gateway.next(&mut body).await {
                Ok(Some(piece)) => self.take(&piece).await?,
                Ok(None) if self.at == self.file.size => return Ok(Ok(())),
                Ok(None) => return Ok(Err(WireError::Answer("it ended too early".to_owned()))),
                Err(error) => return Ok(Err(error)),
            }
            tries.got_on();
        }
    }

    async fn take(&mut self, piece: &Bytes) -> Result<(), DeliverError> {
        self.at += piece.len() as u64;
        if self.at > self.file.size {
            return Err(PlaceError::Another(self.file.path.clone()).into());
        }
        self.hash.update(piece);
        let written = self.into.write_all(piece).await;
        Ok(written.map_err(|e| of(self.file, e))?)
    }

    fn rest(&self) -> Vec<(HeaderName, String)> {
        if self.at == 0 {
            return Vec::new();
        }
        vec![
            (RANGE, format!("bytes={}-", self.at)),
            (IF_RANGE, format!("\"{}\"", self.file.sha256)),
        ]
    }
}

#[cfg(test)]
#[path = "deliver_tests.rs"]
mod tests;
