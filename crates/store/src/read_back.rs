//! Reads a stored package back and hashes it. The next stretches are opened while
//! one is read; all are hashed in order.

use bytes::Bytes;
use futures::StreamExt as _;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::error::StorageError;
use super::zones::Release;
use trevor_core::digest::Sha256Hex;

/// Stretches that are opened before their turn. The network holds what it can of
/// them, our memory next to nothing.
const AHEAD: usize = 2;
/// Bytes of a stretch.
const STRETCH: u64 = 16 << 20;
/// Pieces that may wait for the hash, of some hundred KiB at most.
const PIECES: usize = 16;

/// The SHA-256 of a stored package of `size` bytes; none when it has another size.
/// `moved` is called whenever bytes have come.
///
/// # Errors
/// As the server says.
pub async fn read_back(
    release: &Release,
    key: &str,
    size: u64,
    moved: impl Fn(),
) -> Result<Option<Sha256Hex>, StorageError> {
    // The ranges below would not see bytes behind the end.
    if release.head(key).await?.size != size {
        return Ok(None);
    }
    let (pieces, mut received) = mpsc::channel::<Bytes>(PIECES);
    let hashing = tokio::task::spawn_blocking(move || {
        let mut hash = Sha256::new();
        while let Some(piece) = received.blocking_recv() {
            hash.update(&piece);
        }
        Sha256Hex::from_raw(&hash.finalize().into())
    });
    let broken = || StorageError::Unavailable {
        operation: "GetObject",
        bucket: release.name().to_owned(),
        key: key.to_owned(),
        message: "reading it back was interrupted".to_owned(),
    };
    let (opened, mut in_order) = mpsc::channel(AHEAD);
    let ahead = async move {
        for number in 0..size.div_ceil(STRETCH) {
            let start = number * STRETCH;
            let end = size.min(start + STRETCH);
            let stretch = release.read_back(key, start..end).await;
            // Who reads has given up, and says why.
            if opened.send(stretch).await.is_err() {
                return;
            }
        }
    };
    let forward = async move {
        while let Some(stretch) = in_order.recv().await {
            let mut stretch = stretch?;
            while let Some(piece) = stretch.next().await {
                moved();
                if pieces.send(piece?).await.is_err() {
                    return Err(broken());
                }
            }
        }
        Ok(())
    };
    let ((), read) = tokio::join!(ahead, forward);
    read?;
    hashing.await.map(Some).map_err(|_| broken())
}
