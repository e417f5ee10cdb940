//! SHA-256, CRC-32 and the content scan of a stream. They run on a blocking thread, so that the
//! next bytes are read and earlier ones are sent at the same time.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;

use crate::problem::Problem;
use trevor_core::digest::{Crc32, Sha256Hex};
use trevor_core::sniff::{Remark, Scan};

/// Less than this is hashed inline, because a thread switch would cost more.
const INLINE_BYTES: usize = 64 * 1024;

#[derive(Clone, Default)]
struct Digests {
    sha256: Sha256,
    crc32: crc32fast::Hasher,
    scan: Scan,
}

impl Digests {
    fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.crc32.update(bytes);
        self.scan.update(bytes);
    }
}

enum HasherState {
    Idle(Box<Digests>),
    Busy(JoinHandle<Box<Digests>>),
}

/// Hashes one stream.
pub struct StreamHasher(HasherState);

impl Default for StreamHasher {
    fn default() -> Self {
        Self(HasherState::Idle(Box::default()))
    }
}

impl StreamHasher {
    /// Adds bytes, after the previous ones are hashed.
    ///
    /// # Errors
    /// 503 when the process is shutting down.
    pub async fn update(&mut self, bytes: Bytes) -> Result<(), Problem> {
        let mut digests = self.wait().await?;
        self.0 = if bytes.len() < INLINE_BYTES {
            digests.update(&bytes);
            HasherState::Idle(digests)
        } else {
            HasherState::Busy(tokio::task::spawn_blocking(move || {
                digests.update(&bytes);
                drop(bytes);
                digests
            }))
        };
        Ok(())
    }

    /// The digests of the stream, and the result of the scan.
    ///
    /// # Errors
    /// 503 when the process is shutting down.
    pub async fn finish(mut self) -> Result<(Sha256Hex, Crc32, Option<Remark>), Problem> {
        let digests = self.wait().await?;
        let raw: [u8; 32] = digests.sha256.finalize().into();
        let crc32 = Crc32(digests.crc32.finalize());
        Ok((Sha256Hex::from_raw(&raw), crc32, digests.scan.finish()))
    }

    async fn wait(&mut self) -> Result<Box<Digests>, Problem> {
        match std::mem::replace(&mut self.0, HasherState::Idle(Box::default())) {
            HasherState::Idle(digests) => Ok(digests),
            HasherState::Busy(task) => task.await.map_err(|_| Problem::shutting_down()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_digests_are_those_of_the_whole_stream_in_order() {
        let bytes: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut hashing = StreamHasher::default();
        for (at, chunk) in bytes.chunks(100_000).enumerate() {
            for piece in chunk.chunks(if at % 2 == 0 { 100_000 } else { 1000 }) {
                hashing.update(Bytes::copy_from_slice(piece)).await.unwrap();
            }
        }
        let mut crc = crc32fast::Hasher::new();
        crc.update(&bytes);
        assert_eq!(
            hashing.finish().await.unwrap(),
            (Sha256Hex::of(&bytes), Crc32(crc.finalize()), None)
        );
        let (empty, _, _) = StreamHasher::default().finish().await.unwrap();
        assert_eq!(empty, Sha256Hex::of(b""));
    }
}
