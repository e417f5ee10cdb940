//! DSSE envelopes: a signed statement as one JSON object.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::key::{PublicKey, SigningKey};

/// The payload type of in-toto statements.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// An envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// What the payload is.
    pub payload_type: String,
    /// The payload, in base64.
    pub payload: String,
    /// Who signed it.
    pub signatures: Vec<Signature>,
}

trevor_core::stored_fact!(Envelope);

/// One signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The key, in its one-line form; a hint only.
    pub keyid: String,
    /// In base64.
    pub sig: String,
}

impl Envelope {
    /// Signs a statement.
    #[must_use]
    pub fn sign(payload: &[u8], key: &SigningKey) -> Self {
        Self {
            payload_type: IN_TOTO.to_owned(),
            payload: STANDARD.encode(payload),
            signatures: vec![Signature {
                keyid: key.public().vkey(),
                sig: STANDARD.encode(key.sign(&encoded(IN_TOTO, payload))),
            }],
        }
    }

    /// The payload, if one of the keys signed it.
    #[must_use]
    pub fn open<'a>(&self, keys: impl Iterator<Item = &'a PublicKey>) -> Option<Vec<u8>> {
        let payload = STANDARD.decode(&self.payload).ok()?;
        let signed = encoded(&self.payload_type, &payload);
        let mut keys = keys;
        keys.any(|key| {
            self.signatures.iter().any(|signature| {
                let sig = STANDARD.decode(&signature.sig);
                sig.is_ok_and(|sig| key.verifies(&signed, &sig))
            })
        })
        .then_some(payload)
    }
}

/// What is signed: type and payload with their lengths (the pre-authentication encoding).
fn encoded(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    );
    // The payload need not be text.
    let mut signed = std::mem::take(&mut bytes).into_bytes();
    signed.extend_from_slice(payload);
    signed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_as_the_specification_has_it() {
        assert_eq!(
            encoded("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn an_envelope_opens_for_its_key_and_unchanged_only() {
        let (key, other) = (
            SigningKey::from_seed([1; 32]),
            SigningKey::from_seed([2; 32]),
        );
        let envelope = Envelope::sign(b"{}", &key);
        assert_eq!(envelope, Envelope::sign(b"{}", &key), "the same again");
        assert_eq!(
            envelope.open([key.public()].into_iter()),
            Some(b"{}".to_vec())
        );
        assert_eq!(envelope.open([other.public()].into_iter()), None);
        let changed = Envelope {
            payload: STANDARD.encode(b"[]"),
            ..envelope
        };
        assert_eq!(changed.open([key.public()].into_iter()), None);
    }
}
