//! Checksums that go along with what is written: a server that locks objects by default
//! refuses a PUT without one. None of them goes as a trailer (aws-chunked), which some
//! servers store as part of the object's encoding.

use std::path::PathBuf;

use aws_sdk_s3::primitives::ByteStream;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use md5::Md5;
use sha2::{Digest as _, Sha256};

/// Bytes that are read from a file at once.
const CHUNK: usize = 1 << 20;

/// `Content-MD5` of a body.
pub(super) fn md5_of(body: &[u8]) -> String {
    STANDARD.encode(Md5::digest(body))
}

/// `x-amz-checksum-sha256` of a body.
pub(super) fn sha256_of(body: &[u8]) -> String {
    STANDARD.encode(Sha256::digest(body))
}

/// The bytes of a part of an upload, which can be read twice.
#[derive(Debug)]
pub enum PartBytes {
    /// In memory.
    Memory(Bytes),
    /// In a file.
    File(PathBuf),
}

impl PartBytes {
    /// Their `Content-MD5`, and the body that is sent. A checksum of S3's own would have
    /// to be announced when the upload starts and repeated when it is completed.
    pub(super) async fn with_md5(self) -> std::io::Result<(String, ByteStream)> {
        let (md5, this) = tokio::task::spawn_blocking(move || {
            let md5 = match &self {
                Self::Memory(bytes) => md5_of(bytes),
                Self::File(path) => md5_of_file(path)?,
            };
            Ok::<_, std::io::Error>((md5, self))
        })
        .await
        .map_err(std::io::Error::other)??;
        let body = match this {
            Self::Memory(bytes) => ByteStream::from(bytes),
            Self::File(path) => ByteStream::from_path(path)
                .await
                .map_err(std::io::Error::other)?,
        };
        Ok((md5, body))
    }
}

fn md5_of_file(path: &std::path::Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut md5 = Md5::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        match std::io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(STANDARD.encode(md5.finalize())),
            read => md5.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_has_the_same_digest_in_memory_and_in_a_file() {
        let bytes = vec![7; 3 * CHUNK / 2];
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let (in_file, body) = PartBytes::File(file.path().to_owned())
            .with_md5()
            .await
            .unwrap();
        assert_eq!(body.collect().await.unwrap().to_vec(), bytes);
        let (in_memory, _) = PartBytes::Memory(bytes.into()).with_md5().await.unwrap();
        assert_eq!(in_file, in_memory);
        assert_eq!(md5_of(b""), "1B2M2Y8AsgTpgAmY7PhCfg==");
        assert_eq!(
            sha256_of(b""),
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
        );
    }
}
