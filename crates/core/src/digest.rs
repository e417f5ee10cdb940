//! Digests as they are written everywhere: lower-case hex.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest in 64 lower-case hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256Hex(String);

/// Why a text is not a SHA-256 digest.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a SHA-256 digest is 64 lower-case hex digits")]
pub struct NotADigest;

impl Sha256Hex {
    /// The digest of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(hex::encode(Sha256::digest(bytes)))
    }

    /// The digest from its 32 raw bytes.
    #[must_use]
    pub fn from_raw(raw: &[u8; 32]) -> Self {
        Self(hex::encode(raw))
    }

    /// The 64 hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 32 raw bytes, as `Content-Digest` (RFC 9530) and S3 checksums carry them.
    #[must_use]
    pub fn raw(&self) -> Vec<u8> {
        hex::decode(&self.0).unwrap_or_default()
    }

    /// The first `digits` hex digits, for derived names.
    #[must_use]
    pub fn short(&self, digits: usize) -> &str {
        self.0.get(..digits).unwrap_or(&self.0)
    }
}

impl TryFrom<String> for Sha256Hex {
    type Error = NotADigest;

    fn try_from(text: String) -> Result<Self, NotADigest> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() == 64 && text.bytes().all(hex) {
            Ok(Self(text))
        } else {
            Err(NotADigest)
        }
    }
}

impl std::str::FromStr for Sha256Hex {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        Self::try_from(text.to_owned())
    }
}

impl From<Sha256Hex> for String {
    fn from(digest: Sha256Hex) -> Self {
        digest.0
    }
}

impl fmt::Display for Sha256Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A CRC-32 (the polynomial of zip, ISO 3309) in 8 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Crc32(pub u32);

impl fmt::Display for Crc32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl From<Crc32> for String {
    fn from(crc: Crc32) -> Self {
        crc.to_string()
    }
}

impl TryFrom<String> for Crc32 {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        u32::from_str_radix(&text, 16).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_64_lower_case_hex_digits_are_a_digest() {
        let good = Sha256Hex::of(b"");
        assert_eq!(
            good.as_str(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(Sha256Hex::try_from(good.to_string()), Ok(good.clone()));
        for bad in [
            "",
            "e3b0",
            &good.as_str().to_uppercase(),
            &format!("{good}0"),
        ] {
            assert_eq!(Sha256Hex::try_from(bad.to_owned()), Err(NotADigest));
        }
    }

    #[test]
    fn a_digest_is_the_same_as_text_as_bytes_and_in_short() {
        let digest = Sha256Hex::of(b"");
        let raw: [u8; 32] = digest.raw().try_into().unwrap();
        assert_eq!(raw[..3], [0xe3, 0xb0, 0xc4]);
        assert_eq!(Sha256Hex::from_raw(&raw), digest);
        assert_eq!(digest.as_str().parse(), Ok(digest.clone()));
        assert_eq!(digest.short(6), "e3b0c4");
        assert_eq!(digest.short(65), digest.as_str());
        assert_eq!(String::from(digest.clone()), digest.as_str());
    }

    #[test]
    fn a_crc_is_8_digits_and_reads_back() {
        let crc = Crc32(0xab_cdef);
        assert_eq!(crc.to_string(), "00abcdef");
        assert_eq!(String::from(crc), "00abcdef");
        assert_eq!(Crc32::try_from("00abcdef".to_owned()), Ok(crc));
        assert!(Crc32::try_from("none".to_owned()).is_err());
    }
}
