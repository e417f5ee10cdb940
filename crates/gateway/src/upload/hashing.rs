//! SHA-256 and CRC-32 of what streams by, and what is to be noticed in it, on a thread
//! of their own, so that the next bytes are read and the last ones sent meanwhile.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;

use crate::problem::Problem;
use trevor_core::digest::{Crc32, Sha256Hex};
use trevor_core::sniff::{Remark, Scan};

/// Less than this is hashed at once: handing it over would cost more.
const SMALL: usize = 64 * 1024;

#[derive(Clone, Default)]
struct All {
    sha256: Sha256,
    crc32: crc32fast::Hasher,
    scan: Scan,
}

impl All {
    fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.crc32.update(bytes);
        self.scan.update(bytes);
    }
}

enum State {
    Idle(Box<All>),
    Busy(JoinHandle<Box<All>>),
}

/// Hashes one stream.
pub struct Hashing(State);

impl Default for Hashing {
    fn default() -> Self {
        Self(State::Idle(Box::default()))
    }
}

impl Hashing {
    /// Adds bytes, after waiting for those before to be done.
    ///
    /// # Errors
    /// When the process is ending.
    pub async fn update(&mut self, bytes: Bytes) -> Result<(), Problem> {
        let mut all = self.take().await?;
        self.0 = if bytes.len() < SMALL {
            all.update(&bytes);
            State::Idle(all)
        } else {
            State::Busy(tokio::task::spawn_blocking(move || {
                all.update(&bytes);
                drop(bytes);
                all
            }))
        };
        Ok(())
    }

    /// The digests of everything, and what was noticed.
    ///
    /// # Errors
    /// When the process is ending.
    pub async fn finish(mut self) -> Result<(Sha256Hex, Crc32, Option<Remark>), Problem> {
        let all = self.take().await?;
        let raw: [u8; 32] = all.sha256.finalize().into();
        let crc32 = Crc32(all.crc32.finalize());
        Ok((Sha256Hex::from_raw(&raw), crc32, all.scan.finish()))
    }

    async fn take(&mut self) -> Result<Box<All>, Problem> {
        match std::mem::replace(&mut self.0, State::Idle(Box::default())) {
            State::Idle(all) => Ok(all),
            State::Busy(task) => task.await.map_err(|_| {
                Problem::unavailable("ShuttingDown", "the gateway is ending; try again", 5)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_digests_are_those_of_the_whole_stream_in_order() {
        let bytes: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut hashing = Hashing::default();
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
        let (empty, _, _) = Hashing::default().finish().await.unwrap();
        assert_eq!(empty, Sha256Hex::of(b""));
    }
}
