//! Checkpoints: the heads of the chains that changed, chained themselves and signed.
//!
//! Stored create-only as `audit/checkpoints/<20 digits>.json`, then the signed note
//! beside it. Killed between the two, whoever leads next signs what stands.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::chain::Head;
use super::key::{PublicKey, SigningKey};
use super::note::{self, Note};
use super::rotation::KeyChange;
use crate::{Bucket, Created, Records, StorageError};
use trevor_core::canonical;
use trevor_core::digest::Sha256Hex;

/// Where they are.
pub const PREFIX: &str = "audit/checkpoints/";
/// First line of the note: whose checkpoints these are.
const ORIGIN: &str = "trevor/audit";

/// One checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    /// From 1, without gaps.
    pub sequence: i64,
    /// SHA-256 of the checkpoint before, as stored; 64 zeros before the first.
    pub previous: Sha256Hex,
    /// The heads that changed since, by the prefix of their chain.
    pub heads: BTreeMap<String, Head>,
    /// All that was stored before this is covered by this checkpoint or an earlier one.
    pub complete: Timestamp,
    /// When it was made.
    pub time: Timestamp,
    /// The key that signs it, in its one-line form.
    pub key: String,
    /// How that key follows on the one before, where it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_change: Option<KeyChange>,
}

/// A checkpoint with its signed note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// SHA-256 of it as stored.
    pub hash: Sha256Hex,
    /// The signed note, which travels without the rest.
    pub note: String,
}

/// What a note says of its checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Which one.
    pub sequence: i64,
    /// SHA-256 of it as stored.
    pub hash: Sha256Hex,
}

/// Key of a checkpoint.
#[must_use]
pub fn key(sequence: i64) -> String {
    format!("{PREFIX}{sequence:020}.json")
}

/// Key of its signed note.
#[must_use]
pub fn note_key(sequence: i64) -> String {
    format!("{PREFIX}{sequence:020}.note")
}

/// What comes before the first.
#[must_use]
pub fn start() -> Head {
    Head {
        sequence: 0,
        hash: Sha256Hex::from_raw(&[0; 32]),
    }
}

impl Mark {
    /// The text of the note: origin, sequence and hash, a line each, as in the
    /// checkpoints of transparency logs (C2SP `tlog-checkpoint`).
    #[must_use]
    pub fn text(&self) -> String {
        let hash = STANDARD.encode(self.hash.raw());
        format!("{ORIGIN}\n{}\n{hash}\n", self.sequence)
    }

    /// Reads a note's text.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let (_, sequence, hash) = (
            lines.next().filter(|origin| *origin == ORIGIN)?,
            lines.next()?.parse().ok()?,
            STANDARD.decode(lines.next()?).ok()?,
        );
        let hash = Sha256Hex::from_raw(&hash.try_into().ok()?);
        let found = Self { sequence, hash };
        (found.text() == text).then_some(found)
    }

    /// Its signed note.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> String {
        note::sign(&self.text(), key)
    }
}

/// Reads a signed note of a checkpoint: what it says, and the note, whose signature
/// is still to be verified.
#[must_use]
pub fn read_note(text: &str) -> Option<(Mark, Note)> {
    let note = Note::parse(text)?;
    Some((Mark::read(&note.text)?, note))
}

/// A checkpoint's canonical bytes.
///
/// # Errors
/// None that occurs: it has no maps but with text keys.
pub fn bytes(checkpoint: &Checkpoint) -> Result<Vec<u8>, serde_json::Error> {
    canonical::to_vec(checkpoint)
}

/// A checkpoint as stored, with its hash; none where there is none.
///
/// # Errors
/// As the server says, or when it cannot be parsed.
pub(super) async fn get(
    bucket: &Bucket,
    sequence: i64,
) -> Result<Option<(Checkpoint, Sha256Hex)>, StorageError> {
    let key = key(sequence);
    let Some(stored) = bucket.get(&key).await? else {
        return Ok(None);
    };
    let checkpoint: Checkpoint =
        serde_json::from_slice(&stored).map_err(|e| corrupt(bucket, &key, &e.to_string()))?;
    if checkpoint.sequence != sequence {
        return Err(corrupt(bucket, &key, "has another's sequence"));
    }
    Ok(Some((checkpoint, Sha256Hex::of(&stored))))
}

/// The sequence of the last checkpoint, 0 where there is none: found by halving, since
/// they are numbered without gaps.
///
/// # Errors
/// As the server says, or when there is a gap: somebody took checkpoints away.
pub(super) async fn last(bucket: &Bucket) -> Result<i64, StorageError> {
    let (mut low, mut high) = (0_i64, 1_i64);
    while bucket.exists(&key(high)).await? {
        (low, high) = (high, high.saturating_mul(2));
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if bucket.exists(&key(middle)).await? {
            low = middle;
        } else {
            high = middle;
        }
    }
    // The note of the last sorts behind it.
    let behind = bucket.page(PREFIX, &note_key(low), 1).await?;
    match behind.first() {
        // Another may have been made meanwhile.
        Some(listed) if listed.key != key(low + 1) => Err(corrupt(
            bucket,
            &listed.key,
            &format!(
                "there is no checkpoint {}, and there are later ones; the ledger was changed",
                low + 1
            ),
        )),
        _ => Ok(low),
    }
}

/// What became of a try to store a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is ours, with this hash.
    Ours(Sha256Hex),
    /// Another leader was first.
    Theirs(Checkpoint, Sha256Hex),
}

/// Stores a checkpoint where none of its sequence is.
///
/// # Errors
/// As the server says.
pub(super) async fn store(
    bucket: &Bucket,
    checkpoint: &Checkpoint,
) -> Result<Stored, StorageError> {
    let key = key(checkpoint.sequence);
    let bytes = bytes(checkpoint).map_err(|e| corrupt(bucket, &key, &e.to_string()))?;
    let hash = Sha256Hex::of(&bytes);
    let created = bucket
        .create(&key, Bytes::from(bytes), "application/json")
        .await;
    if matches!(created, Ok(Created::New)) {
        return Ok(Stored::Ours(hash));
    }
    match (get(bucket, checkpoint.sequence).await?, created) {
        (Some((standing, standing_hash)), _) if standing_hash == hash => {
            drop(standing);
            Ok(Stored::Ours(hash))
        }
        (Some((standing, hash)), _) => Ok(Stored::Theirs(standing, hash)),
        (None, Err(error)) => Err(error),
        (None, Ok(_)) => Err(corrupt(bucket, &key, "was there a moment ago, and is gone")),
    }
}

/// Signs a checkpoint that is stored, unless it is; gives the note that stands.
///
/// # Errors
/// As the server says.
pub(super) async fn sign(
    bucket: &Bucket,
    mark: &Mark,
    signing: &SigningKey,
) -> Result<String, StorageError> {
    let (key, note) = (note_key(mark.sequence), mark.sign(signing));
    let created = bucket
        .create(&key, Bytes::from(note.clone().into_bytes()), "text/plain")
        .await?;
    if created == Created::New {
        return Ok(note);
    }
    read_text(bucket, &key).await.map(Option::unwrap_or_default)
}

/// The signed note of a checkpoint, if it has one.
///
/// # Errors
/// As the server says.
pub(super) async fn stored_note(
    bucket: &Bucket,
    sequence: i64,
) -> Result<Option<String>, StorageError> {
    read_text(bucket, &note_key(sequence)).await
}

/// Which of the keys signed the note of this checkpoint.
#[must_use]
pub fn signer<'a>(
    note: &str,
    mark: &Mark,
    mut keys: impl Iterator<Item = &'a PublicKey>,
) -> Option<&'a PublicKey> {
    let (said, note) = read_note(note)?;
    if said != *mark {
        return None;
    }
    keys.find(|key| note.is_signed_by(key))
}

/// The newest signed checkpoint that has the chain at `sequence` or later; it goes out
/// with what was recorded there. None: there is none yet. Looks back no further than
/// `since`, when the entry was written.
///
/// # Errors
/// As the server says.
pub async fn covering(
    records: &Records,
    prefix: &str,
    sequence: i64,
    since: Timestamp,
) -> Result<Option<Signed>, StorageError> {
    let bucket = records.bucket();
    let mut at = last(bucket).await?;
    while at > 0 {
        let Some((checkpoint, hash)) = get(bucket, at).await? else {
            return Ok(None);
        };
        let has = checkpoint.heads.get(prefix);
        if has.is_some_and(|head| head.sequence >= sequence) {
            let note = stored_note(bucket, at).await?;
            return Ok(note.map(|note| Signed {
                checkpoint,
                hash,
                note,
            }));
        }
        if checkpoint.time < since {
            return Ok(None);
        }
        at -= 1;
    }
    Ok(None)
}

async fn read_text(bucket: &Bucket, key: &str) -> Result<Option<String>, StorageError> {
    let stored = bucket.get(key).await?;
    Ok(stored.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn corrupt(bucket: &Bucket, key: &str, problem: &str) -> StorageError {
    StorageError::Corrupt {
        bucket: bucket.name().to_owned(),
        key: key.to_owned(),
        problem: problem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_says_which_checkpoint_it_is_of_and_nothing_else_reads_as_one() {
        let key = SigningKey::from_seed([9; 32]);
        let mark = Mark {
            sequence: 12,
            hash: Sha256Hex::of(b"checkpoint"),
        };
        let note = mark.sign(&key);
        let (said, read) = read_note(&note).unwrap();
        assert_eq!(said, mark);
        assert!(read.is_signed_by(key.public()));
        assert_eq!(
            signer(&note, &mark, [key.public()].into_iter()),
            Some(key.public())
        );
        let other = Mark {
            sequence: 13,
            ..mark.clone()
        };
        assert_eq!(signer(&note, &other, [key.public()].into_iter()), None);
        for bad in [
            "",
            "other\n1\nAAAA\n",
            &mark.text().replace("12", "012"),
            &format!("{}x\n", mark.text()),
        ] {
            assert_eq!(Mark::read(bad), None, "{bad:?}");
        }
    }
}
