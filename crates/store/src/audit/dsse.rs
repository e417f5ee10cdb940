//! DSSE envelopes: a signed statement as one JSON object.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::key::{PublicKey, SigningKey};
use trevor_core::envelope::{Envelope, Signature};

/// The payload type of in-toto statements.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// Signs a statement.
#[must_use]
pub fn sign(payload: &[u8], key: &SigningKey) -> Envelope {
    Envelope {
        payload_type: IN_TOTO.to_owned(),
        payload: STANDARD.encode(payload),
        signatures: vec![Signature {
            keyid: key.public().vkey(),
            sig: STANDARD.encode(key.sign(&encoded(IN_TOTO, payload))),
        }],
    }
}

/// The payload of an envelope, if one of the keys signed it.
#[must_use]
pub fn open<'a>(
    envelope: &Envelope,
    mut keys: impl Iterator<Item = &'a PublicKey>,
) -> Option<Vec<u8>> {
    let payload = STANDARD.decode(&envelope.payload).ok()?;
    let signed = encoded(&envelope.payload_type, &payload);
    keys.any(|key| {
        envelope.signatures.iter().any(|signature| {
            let sig = STANDARD.decode(&signature.sig);
            sig.is_ok_and(|sig| key.verifies(&signed, &sig))
        })
    })
    .then_some(payload)
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
        let envelope = sign(b"{}", &key);
        assert_eq!(envelope, sign(b"{}", &key), "the same again");
        assert_eq!(
            open(&envelope, [key.public()].into_iter()),
            Some(b"{}".to_vec())
        );
        assert_eq!(open(&envelope, [other.public()].into_iter()), None);
        let changed = Envelope {
            payload: STANDARD.encode(b"[]"),
            ..envelope
        };
        assert_eq!(open(&changed, [key.public()].into_iter()), None);
    }
}
