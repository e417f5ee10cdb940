//! SHA-256 and CRC-32 of a stored object, read from its first byte to its last.

use futures::StreamExt as _;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::bucket::Bucket;
use super::download::download;
use super::error::StorageError;
use trevor_core::digest::{Crc32, Sha256Hex};
use trevor_core::sniff::{HEAD, Remark, Scan};

/// What an object holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// Bytes that were read.
    pub size: u64,
    /// Their SHA-256.
    pub sha256: Sha256Hex,
    /// Their CRC-32.
    pub crc32: Crc32,
    /// The first of them, by which its type is told.
    pub head: Vec<u8>,
    /// What was noticed behind them.
    pub remark: Option<Remark>,
}

/// Reads an object through its hashes, on a thread of their own; `moved` is called
/// as bytes come.
///
/// # Errors
/// As the server says.
pub async fn hash_object(
    bucket: &Bucket,
    key: &str,
    moved: impl Fn(),
) -> Result<Hashed, StorageError> {
    let interrupted = || StorageError::Unavailable {
        operation: "GetObject",
        bucket: bucket.name().to_owned(),
        key: key.to_owned(),
        message: "hashing was interrupted".to_owned(),
    };
    let mut body = download(bucket, key).await?;
    let (pieces, mut received) = mpsc::channel::<bytes::Bytes>(4);
    let hashing = tokio::task::spawn_blocking(move || {
        let (mut sha256, mut crc32, mut size) = (Sha256::new(), crc32fast::Hasher::new(), 0);
        let (mut head, mut scan) = (Vec::new(), Scan::default());
        while let Some(bytes) = received.blocking_recv() {
            sha256.update(&bytes);
            crc32.update(&bytes);
            size += bytes.len() as u64;
            head.extend(bytes.iter().take(HEAD - head.len()));
            scan.update(&bytes);
        }
        Hashed {
            size,
            sha256: Sha256Hex::from_raw(&sha256.finalize().into()),
            crc32: Crc32(crc32.finalize()),
            head,
            remark: scan.finish(),
        }
    });
    while let Some(bytes) = body.next().await {
        moved();
        pieces.send(bytes?).await.map_err(|_| interrupted())?;
    }
    drop(pieces);
    hashing.await.map_err(|_| interrupted())
}
