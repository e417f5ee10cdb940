//! The key that signs checkpoints and statements: Ed25519, as PEM for tools such as
//! cosign and as the one-line form of signed notes (C2SP `vkey`).

use std::fmt;

use aws_lc_rs::encoding::{AsBigEndian as _, Curve25519SeedBin};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::rotation::Rotation;

/// The environment variable that holds the private key (PEM; spaces may stand for
/// its line ends).
pub const VARIABLE: &str = "TREVOR_AUDIT_SIGNING_KEY";
/// The name of the signer in signed notes; keys are told apart by their id.
pub const SIGNER: &str = "trevor-audit";
/// Ed25519, in the key ids and keys of signed notes.
const ALGORITHM: u8 = 1;
/// What stands before the 32 bytes in PKCS#8 (RFC 8410).
const PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
/// What stands before the 32 bytes in SubjectPublicKeyInfo (RFC 8410).
const SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
const PRIVATE: &str = "PRIVATE KEY";
const PUBLIC: &str = "PUBLIC KEY";

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// No key of this kind is in the text.
    #[error("there is no {0} in it; make one with trevor audit keygen")]
    Missing(&'static str),
    /// It is of another kind, or cut short.
    #[error("the {0} is not an Ed25519 key in the form that trevor audit keygen writes")]
    Malformed(&'static str),
    /// The system has no randomness.
    #[error("no key could be made: the system gives no random bytes")]
    Random,
    /// What follows the key is not a rotation to it.
    #[error(
        "what follows the private key is not an older key's signature over this one; make it anew with trevor audit rotate"
    )]
    Rotation,
}

/// A public key.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

/// A private key, with the word of the key before it, if there was one.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
    rotation: Option<Rotation>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.vkey())
    }
}

impl PublicKey {
    /// From PEM or from the one-line form, whichever the text has.
    ///
    /// # Errors
    /// When it has neither.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        if let Some(der) = unwrap_pem(text, PUBLIC) {
            let raw = der.strip_prefix(&SPKI).and_then(|raw| raw.try_into().ok());
            return raw.map(Self).ok_or(KeyError::Malformed("public key"));
        }
        text.split_whitespace()
            .find_map(Self::from_vkey)
            .ok_or(KeyError::Missing("public key"))
    }

    fn from_vkey(line: &str) -> Option<Self> {
        let (_, rest) = line.split_once('+')?;
        let (_, key) = rest.split_once('+')?;
        let bytes = STANDARD.decode(key).ok()?;
        let raw = bytes.strip_prefix(&[ALGORITHM])?.try_into().ok()?;
        let found = Self(raw);
        // The id in it belongs to name and key.
        (found.vkey() == line).then_some(found)
    }

    /// The one-line form: name, id and key.
    #[must_use]
    pub fn vkey(&self) -> String {
        let mut key = vec![ALGORITHM];
        key.extend_from_slice(&self.0);
        format!(
            "{SIGNER}+{}+{}",
            hex::encode(self.id()),
            STANDARD.encode(key)
        )
    }

    /// PEM of the SubjectPublicKeyInfo.
    #[must_use]
    pub fn pem(&self) -> String {
        wrap_pem(&[&SPKI[..], &self.0].concat(), PUBLIC)
    }

    /// The id that stands before signatures in a note.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        let mut hash = Sha256::new();
        hash.update(SIGNER);
        hash.update(b"\n");
        hash.update([ALGORITHM]);
        hash.update(self.0);
        let hash: [u8; 32] = hash.finalize().into();
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// Whether `signature` is this key's over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(message, signature)
            .is_ok()
    }
}

impl SigningKey {
    /// A new key.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn generate() -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::Random)?;
        Self::of(pair)
    }

    /// From its 32 bytes; for tests that need the same key twice.
    #[cfg(test)]
    pub(crate) fn from_seed(seed: [u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        Self::of(pair).unwrap()
    }

    fn of(pair: Ed25519KeyPair) -> Result<Self, KeyError> {
        let raw = pair.public_key().as_ref().try_into();
        let public = PublicKey(raw.map_err(|_| KeyError::Malformed("private key"))?);
        Ok(Self {
            pair,
            public,
            rotation: None,
        })
    }

    /// From a key file, or from the variable that holds one.
    ///
    /// # Errors
    /// When it is none, or of another kind.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        const WHAT: &str = "private key";
        let der = unwrap_pem(text, PRIVATE).ok_or(KeyError::Missing(WHAT))?;
        let seed = der.strip_prefix(&PKCS8).ok_or(KeyError::Malformed(WHAT))?;
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Malformed(WHAT))?;
        let mut key = Self::of(pair)?;
        if let Some(note) = unwrap_pem(text, Rotation::LABEL) {
            let rotation = Rotation::from_note(&note).ok_or(KeyError::Rotation)?;
            if rotation.to != key.public || !rotation.is_signed() {
                return Err(KeyError::Rotation);
            }
            key.rotation = Some(rotation);
        }
        Ok(key)
    }

    /// From the environment.
    ///
    /// # Errors
    /// When what is there is no key; nothing there is no error.
    pub fn from_environment() -> Result<Option<Self>, KeyError> {
        match std::env::var(VARIABLE) {
            Ok(text) if !text.trim().is_empty() => Self::parse(&text).map(Some),
            _ => Ok(None),
        }
    }

    /// The key that follows on `older`, with that one's word for it.
    #[must_use]
    pub fn after(mut self, older: &Self) -> Self {
        self.rotation = Some(Rotation::sign(older, &self.public));
        self
    }

    /// The text of the key file: PEM, and the older key's word where there is one.
    ///
    /// # Errors
    /// When the key cannot be exported.
    pub fn file(&self) -> Result<String, KeyError> {
        let seed = self.pair.seed().map_err(|_| KeyError::Random)?;
        let seed: Curve25519SeedBin<'_> = seed.as_be_bytes().map_err(|_| KeyError::Random)?;
        let key = wrap_pem(&[&PKCS8[..], seed.as_ref()].concat(), PRIVATE);
        let word = self
            .rotation
            .as_ref()
            .map(|rotation| wrap_pem(rotation.note().as_bytes(), Rotation::LABEL));
        Ok(key + word.as_deref().unwrap_or_default())
    }

    /// Its public key.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The word of the key before it.
    #[must_use]
    pub fn rotation(&self) -> Option<&Rotation> {
        self.rotation.as_ref()
    }

    /// Signs; the same message has the same signature.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

fn wrap_pem(der: &[u8], label: &str) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

/// The bytes of the first block of that label; line ends may have become spaces or
/// `\n` on the way through an environment file.
fn unwrap_pem(text: &str, label: &str) -> Option<Vec<u8>> {
    let begin = format!("-----BEGIN {label}-----");
    let body = text.split_once(&begin)?.1;
    let body = body.split_once(&format!("-----END {label}-----"))?.0;
    let plain: String = body
        .replace("\\n", "")
        .chars()
        .filter(|c| !c.is_whitespace())
        .collect();
    STANDARD.decode(plain).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_reads_back_also_on_one_line() {
        let key = SigningKey::generate().unwrap();
        let file = key.file().unwrap();
        for text in [
            file.clone(),
            file.replace('\n', " "),
            file.replace('\n', "\\n"),
        ] {
            let read = SigningKey::parse(&text).unwrap();
            assert_eq!(read.public(), key.public());
            assert!(key.public().verifies(b"m", &read.sign(b"m")));
            assert!(!key.public().verifies(b"n", &read.sign(b"m")));
        }
        assert!(!format!("{key:?}").contains(&file[30..60]));
    }

    #[test]
    fn a_public_key_reads_back_in_both_forms() {
        let key = SigningKey::from_seed([7; 32]);
        let public = key.public();
        assert_eq!(PublicKey::parse(&public.pem()).as_ref(), Ok(public));
        assert_eq!(PublicKey::parse(&public.vkey()).as_ref(), Ok(public));
        let other = public.vkey().replace(SIGNER, "other");
        assert!(
            PublicKey::parse(&other).is_err(),
            "the id is not of that name"
        );
        assert!(PublicKey::parse("").is_err());
        assert!(SigningKey::parse(&public.pem()).is_err());
    }

    #[test]
    fn the_forms_are_those_of_openssl_and_of_signed_notes() {
        // RFC 8410, section 10.3 and 10.1.
        let key = SigningKey::parse(
            "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n",
        )
        .unwrap();
        assert_eq!(
            key.public().pem(),
            "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n"
        );
        assert_eq!(key.file().unwrap().lines().nth(1).unwrap().len(), 64);
    }

    #[test]
    fn a_key_that_follows_another_carries_its_word_and_nobody_elses() {
        let (old, other) = (
            SigningKey::from_seed([1; 32]),
            SigningKey::from_seed([2; 32]),
        );
        let new = SigningKey::from_seed([3; 32]).after(&old);
        let read = SigningKey::parse(&new.file().unwrap()).unwrap();
        let rotation = read.rotation().unwrap();
        assert_eq!((&rotation.from, &rotation.to), (old.public(), new.public()));
        // The word for one key does not do for another.
        let word = new.file().unwrap().split_off(key_length(&new));
        let mixed = other.file().unwrap() + &word;
        assert_eq!(SigningKey::parse(&mixed).unwrap_err(), KeyError::Rotation);
    }

    fn key_length(key: &SigningKey) -> usize {
        let file = key.file().unwrap();
        file.find("-----BEGIN TREVOR").unwrap()
    }
}
