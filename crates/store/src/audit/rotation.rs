//! From one signing key to the next: the old key signs the new one, and the
//! checkpoint with which the new key begins has that word in it.

use serde::{Deserialize, Serialize};

use super::key::{PublicKey, SigningKey};
use super::note::{self, Note};

/// A change of keys. Without the old key's signature it says no more than that there
/// was one: the old key was lost, and who verifies must know the new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The key before.
    pub from: PublicKey,
    /// The key from here on.
    pub to: PublicKey,
    note: String,
}

/// As it is stored in a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyChange {
    /// The key before, in its one-line form.
    pub from: String,
    /// The key from here on.
    pub to: String,
    /// The old key's word, a signed note; none: the old key is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub word: Option<String>,
}

const TITLE: &str = "trevor audit key rotation";

impl Rotation {
    /// Label of its block in a key file.
    pub const LABEL: &'static str = "TREVOR KEY ROTATION";

    /// The old key's word for the new one.
    #[must_use]
    pub fn sign(old: &SigningKey, new: &PublicKey) -> Self {
        let text = text(old.public(), new);
        Self {
            from: old.public().clone(),
            to: new.clone(),
            note: note::sign(&text, old),
        }
    }

    /// Reads it; see [`Self::is_signed`].
    #[must_use]
    pub fn from_note(bytes: &[u8]) -> Option<Self> {
        let note = std::str::from_utf8(bytes).ok()?;
        let read = Note::parse(note)?;
        let mut lines = read.text.lines();
        let (title, from, to) = (lines.next()?, lines.next()?, lines.next()?);
        let (from, to) = (PublicKey::parse(from).ok()?, PublicKey::parse(to).ok()?);
        (title == TITLE && read.text == text(&from, &to)).then(|| Self {
            from,
            to,
            note: note.to_owned(),
        })
    }

    /// Whether the old key signed it.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        Note::parse(&self.note).is_some_and(|note| note.is_signed_by(&self.from))
    }

    /// The signed note.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.note
    }
}

impl KeyChange {
    /// From the key of the last checkpoint to this one, with its word if it has one.
    #[must_use]
    pub fn to(from: &PublicKey, key: &SigningKey) -> Self {
        let word = key.rotation().filter(|rotation| rotation.from == *from);
        Self {
            from: from.vkey(),
            to: key.public().vkey(),
            word: word.map(|rotation| rotation.note().to_owned()),
        }
    }

    /// Both keys, where they are keys.
    #[must_use]
    pub fn keys(&self) -> Option<(PublicKey, PublicKey)> {
        let from = PublicKey::parse(&self.from).ok()?;
        Some((from, PublicKey::parse(&self.to).ok()?))
    }

    /// Whether the old key's word is there and right.
    #[must_use]
    pub fn is_cross_signed(&self) -> bool {
        let rotation = self
            .word
            .as_ref()
            .and_then(|word| Rotation::from_note(word.as_bytes()));
        rotation.is_some_and(|rotation| {
            rotation.is_signed()
                && rotation.from.vkey() == self.from
                && rotation.to.vkey() == self.to
        })
    }
}

fn text(from: &PublicKey, to: &PublicKey) -> String {
    format!("{TITLE}\n{}\n{}\n", from.vkey(), to.vkey())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_keys_is_cross_signed_only_with_the_old_keys_word_on_these_two() {
        let (old, other) = (
            SigningKey::from_seed([1; 32]),
            SigningKey::from_seed([2; 32]),
        );
        let new = SigningKey::from_seed([3; 32]).after(&old);
        let change = KeyChange::to(old.public(), &new);
        assert!(change.is_cross_signed());
        assert_eq!(
            change.keys(),
            Some((old.public().clone(), new.public().clone()))
        );
        let lost = KeyChange::to(other.public(), &new);
        assert!(!lost.is_cross_signed());
        let mixed = KeyChange {
            to: other.public().vkey(),
            ..change.clone()
        };
        assert!(!mixed.is_cross_signed());
        let forged = KeyChange {
            word: Some(note::sign(&text(old.public(), new.public()), &other)),
            ..change
        };
        assert!(!forged.is_cross_signed());
    }
}
