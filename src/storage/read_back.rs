//! Reads a stored package back and hashes it. A few stretches are on their way at
//! once; they are hashed in order.

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::error::StorageError;
use super::zones::Release;
use crate::domain::digest::Sha256Hex;

/// Stretches on their way at once, and their bytes.
const READERS: usize = 4;
const STRETCH: usize = 4 << 20;

/// The SHA-256 of a stored package of `size` bytes; none when it has another size.
///
/// # Errors
/// As the server says.
pub async fn read_back(
    release: &Release,
    key: &str,
    size: u64,
) -> Result<Option<Sha256Hex>, StorageError> {
    // The ranges below would not see bytes behind the end.
    if release.head(key).await?.size != size {
        return Ok(None);
    }
    let (stretches, mut received) = mpsc::channel::<Bytes>(1);
    let hashing = tokio::task::spawn_blocking(move || {
        let mut hash = Sha256::new();
        while let Some(bytes) = received.blocking_recv() {
            hash.update(&bytes);
        }
        Sha256Hex::from_raw(&hash.finalize().into())
    });
    let broken = || StorageError::Unavailable {
        operation: "GetObject",
        bucket: release.name().to_owned(),
        key: key.to_owned(),
        message: "reading it back was interrupted".to_owned(),
    };
    let starts = (0..size).step_by(STRETCH);
    let mut reading = stream::iter(starts)
        .map(|start| release.read_back(key, start, size.min(start + STRETCH as u64)))
        .buffered(READERS);
    while let Some(bytes) = reading.next().await {
        if stretches.send(bytes?).await.is_err() {
            return Err(broken());
        }
    }
    drop(stretches);
    hashing.await.map(Some).map_err(|_| broken())
}
