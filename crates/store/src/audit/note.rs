//! Signed notes (C2SP `signed-note`): a text, an empty line, and lines of
//! signatures. A checkpoint travels as one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::key::{PublicKey, SIGNER, SigningKey};

/// A note as read; whose signatures are right is another question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The text that is signed, with its last line end.
    pub text: String,
    signatures: Vec<([u8; 4], Vec<u8>)>,
}

/// Signs a text that ends in a line end.
#[must_use]
pub fn sign(text: &str, key: &SigningKey) -> String {
    let mut signed = key.public().id().to_vec();
    signed.extend(key.sign(text.as_bytes()));
    format!("{text}\n— {SIGNER} {}\n", STANDARD.encode(signed))
}

impl Note {
    /// Reads a note; signatures of other names and kinds are passed over.
    #[must_use]
    pub fn parse(note: &str) -> Option<Self> {
        let split = note.rfind("\n\n")?;
        let (text, lines) = (&note[..=split], &note[split + 2..]);
        if text.chars().any(|c| c < ' ' && c != '\n') || !note.ends_with('\n') {
            return None;
        }
        let mut signatures = Vec::new();
        for line in lines.lines() {
            let (name, signed) = line.strip_prefix("— ")?.split_once(' ')?;
            let signed = STANDARD.decode(signed).ok()?;
            let (id, signature) = signed.split_first_chunk::<4>()?;
            if name == SIGNER {
                signatures.push((*id, signature.to_vec()));
            }
        }
        Some(Self {
            text: text.to_owned(),
            signatures,
        })
    }

    /// Whether the key signed it.
    #[must_use]
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        let id = key.id();
        let mut ours = self.signatures.iter().filter(|(of, _)| *of == id);
        ours.any(|(_, signature)| key.verifies(self.text.as_bytes(), signature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_signed_by_its_key_and_no_change_goes_unseen() {
        let (key, other) = (
            SigningKey::from_seed([1; 32]),
            SigningKey::from_seed([2; 32]),
        );
        let note = sign("origin\n3\nabc=\n", &key);
        let read = Note::parse(&note).unwrap();
        assert_eq!(read.text, "origin\n3\nabc=\n");
        assert!(read.is_signed_by(key.public()));
        assert!(!read.is_signed_by(other.public()));
        for (at, byte) in note.bytes().enumerate() {
            let mut changed = note.clone().into_bytes();
            changed[at] = if byte == b'A' { b'B' } else { b'A' };
            let signed = String::from_utf8(changed)
                .ok()
                .and_then(|text| Note::parse(&text))
                .is_some_and(|n| n.is_signed_by(key.public()));
            // The last bits of base64 may say nothing, and the decoder refuses that.
            assert!(!signed, "byte {at}");
        }
    }

    #[test]
    fn what_is_no_note_is_none() {
        for bad in [
            "",
            "x",
            "x\n",
            "x\n\n— a b",
            "x\n\nno dash\n",
            "x\u{7}\n\n— a AAAAAA==\n",
        ] {
            assert_eq!(Note::parse(bad), None, "{bad:?}");
        }
    }
}
