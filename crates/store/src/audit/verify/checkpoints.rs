//! The chain of checkpoints: links, signatures, keys, and the checkpoints that an
//! auditor has from elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::TryStreamExt as _;
use jiff::Timestamp;

use super::source::{Source, SourceError};
use super::spool::Spool;
use super::{Findings, Kind, Trust};
use crate::audit::Head;
use crate::audit::checkpoint::{self, Checkpoint, Mark};
use trevor_core::digest::Sha256Hex;

/// What the checkpoints say.
pub struct Checkpoints {
    /// Heads of chains, to compare entries with.
    pub heads: Spool,
    /// The last of them.
    pub last: Option<Mark>,
    /// When that was made.
    pub time: Option<Timestamp>,
    /// The time of the first one: since then a key signs.
    pub since: Option<Timestamp>,
    /// The keys that signed, as far as they are trusted.
    pub trust: Trust,
}

/// Trust goes from the given keys to those that they sign, and back to those whose word
/// they carry.
pub async fn trust(source: &Source, given: Trust) -> Result<Trust, SourceError> {
    let mut changes = Vec::new();
    let mut objects = source.objects(checkpoint::PREFIX);
    while let Some((key, bytes)) = objects.try_next().await? {
        let Some((found, _)) = parse(&key, bytes.as_ref()) else {
            continue;
        };
        if let Some(change) = found.key_change.filter(|c| c.is_cross_signed())
            && let Some((from, to)) = change.keys()
        {
            changes.push((found.sequence, from, to));
        }
    }
    drop(objects);
    let mut trust = given;
    loop {
        let before = trust.0.len();
        for (sequence, from, to) in &changes {
            let forward = trust.0.contains(from);
            let backward = !forward && trust.0.contains(to) && {
                // The trusted key must itself have signed the word of the older one.
                let stored = checkpoint_of(source, *sequence).await?;
                let note = source.get(&checkpoint::note_key(*sequence)).await?;
                match (stored, note) {
                    (Some(mark), Some(note)) => {
                        let note = String::from_utf8_lossy(&note).into_owned();
                        checkpoint::signer(&note, &mark, std::iter::once(to)).is_some()
                    }
                    _ => false,
                }
            };
            if forward {
                trust.0.insert(to.clone());
            } else if backward {
                trust.0.insert(from.clone());
            }
        }
        if trust.0.len() == before {
            return Ok(trust);
        }
    }
}

async fn checkpoint_of(source: &Source, sequence: i64) -> Result<Option<Mark>, SourceError> {
    let stored = source.get(&checkpoint::key(sequence)).await?;
    Ok(stored.map(|bytes| Mark {
        sequence,
        hash: Sha256Hex::of(&bytes),
    }))
}

/// Goes through all of them.
pub async fn verify(
    source: &Source,
    trust: Trust,
    given: &[(String, String)],
    findings: &mut Findings<'_>,
) -> Result<Checkpoints, SourceError> {
    let mut pass = Pass {
        given: given_marks(&trust, given, findings),
        found: Checkpoints {
            heads: Spool::default(),
            last: None,
            time: None,
            since: None,
            trust,
        },
        key: None,
        before: checkpoint::start(),
        unsigned: None,
    };
    let mut objects = source.objects(checkpoint::PREFIX);
    while let Some((key, bytes)) = objects.try_next().await? {
        findings.looked_at_one();
        let bytes = bytes.unwrap_or_default();
        if key.ends_with(".note") {
            pass.note(&key, &bytes, findings);
        } else {
            pass.checkpoint(&key, &bytes, findings)?;
        }
    }
    pass.end(findings);
    Ok(pass.found)
}

struct Pass {
    found: Checkpoints,
    given: BTreeMap<i64, (String, BTreeSet<Sha256Hex>)>,
    /// The key that the checkpoint before named.
    key: Option<String>,
    before: Head,
    /// The last one, until its note is seen.
    unsigned: Option<(String, Mark, String)>,
}

impl Pass {
    fn checkpoint(
        &mut self,
        key: &str,
        bytes: &Bytes,
        findings: &mut Findings<'_>,
    ) -> Result<(), SourceError> {
        let Some((found, hash)) = parse(key, Some(bytes)) else {
            findings.add(Kind::Corrupt, key, "is no checkpoint");
            // What follows is compared with the bytes that are there.
            self.before = Head {
                sequence: self.before.sequence + 1,
                hash: Sha256Hex::of(bytes),
            };
            return Ok(());
        };
        let wanted = self.before.sequence + 1;
        if found.sequence > wanted {
            let missing = format!(
                "checkpoints {wanted} to {} before it are missing",
                found.sequence - 1
            );
            findings.add(Kind::CheckpointMissing, key, &missing);
        }
        if found.sequence == wanted && found.previous != self.before.hash {
            findings.add(
                Kind::CheckpointChanged,
                key,
                "does not follow on the checkpoint before it as that is stored",
            );
        }
        let changed = self.key.as_ref().is_some_and(|before| *before != found.key);
        let unsigned = self.unsigned.take();
        if let Some((key, _, _)) = unsigned.filter(|_| !changed) {
            findings.add(
                Kind::NotSigned,
                &key,
                "has no signed note, and later ones do",
            );
        }
        let said = found.key_change.as_ref();
        if changed && said.is_none_or(|c| Some(&c.from) != self.key.as_ref() || c.to != found.key) {
            findings.add(
                Kind::KeyNotTrusted,
                key,
                "is signed by another key than the one before, and does not say how that follows",
            );
        }
        if let Some((file, hashes)) = self.given.get(&found.sequence)
            && !hashes.contains(&hash)
        {
            let detail = format!("is another than the one in {file}: the ledger was rewritten");
            findings.add(Kind::Rewritten, key, &detail);
        }
        for (chain, head) in &found.heads {
            self.found.heads.push(chain, head, found.sequence)?;
        }
        let mark = Mark {
            sequence: found.sequence,
            hash: hash.clone(),
        };
        self.before = Head {
            sequence: found.sequence,
            hash,
        };
        self.found.last = Some(mark.clone());
        self.found.time = Some(found.time);
        self.found.since.get_or_insert(found.time);
        self.key = Some(found.key.clone());
        self.unsigned = Some((key.to_owned(), mark, found.key));
        Ok(())
    }

    fn note(&mut self, key: &str, bytes: &Bytes, findings: &mut Findings<'_>) {
        let note = String::from_utf8_lossy(bytes);
        let Some((_, mark, named)) = self
            .unsigned
            .take_if(|(_, mark, _)| checkpoint::note_key(mark.sequence) == key)
        else {
            findings.add(
                Kind::CheckpointMissing,
                key,
                "is a note without its checkpoint",
            );
            return;
        };
        match checkpoint::read_note(&note) {
            None => findings.add(Kind::Corrupt, key, "is no signed note of a checkpoint"),
            Some((said, _)) if said != mark => findings.add(
                Kind::CheckpointChanged,
                key,
                "is signed over another checkpoint than the one beside it",
            ),
            Some(_) => match checkpoint::signer(&note, &mark, self.found.trust.0.iter()) {
                None => findings.add(
                    Kind::KeyNotTrusted,
                    key,
                    &format!("is not signed by a key that is trusted; it names {named}"),
                ),
                Some(signer) if signer.vkey() != named => {
                    findings.add(
                        Kind::KeyNotTrusted,
                        key,
                        &format!("is signed by another key than {named}"),
                    );
                }
                Some(_) => {}
            },
        }
    }

    fn end(&mut self, findings: &mut Findings<'_>) {
        findings.summary.last_not_signed = self.unsigned.is_some();
        let last = self.found.last.as_ref().map_or(0, |mark| mark.sequence);
        for (sequence, (file, _)) in self.given.range(last + 1..) {
            let detail = format!(
                "is not there, and {file} is its note: the checkpoints end with {last}, the ledger was cut short"
            );
            findings.add(Kind::Truncated, &checkpoint::key(*sequence), &detail);
        }
    }
}

/// The checkpoints from elsewhere: each must be signed by a key that is trusted.
fn given_marks(
    trust: &Trust,
    given: &[(String, String)],
    findings: &mut Findings<'_>,
) -> BTreeMap<i64, (String, BTreeSet<Sha256Hex>)> {
    let mut marks: BTreeMap<i64, (String, BTreeSet<Sha256Hex>)> = BTreeMap::new();
    for (file, text) in given {
        let Some((mark, note)) = checkpoint::read_note(text) else {
            findings.add(Kind::Corrupt, file, "is no signed note of a checkpoint");
            continue;
        };
        if !trust.0.iter().any(|key| note.is_signed_by(key)) {
            findings.add(
                Kind::KeyNotTrusted,
                file,
                "is not signed by a key that is trusted",
            );
            continue;
        }
        let known = marks
            .entry(mark.sequence)
            .or_insert_with(|| (file.clone(), BTreeSet::new()));
        known.1.insert(mark.hash);
        if known.1.len() > 1 {
            let detail = format!(
                "and {} are two checkpoints {}, both signed: the ledger was forked",
                known.0, mark.sequence
            );
            findings.add(Kind::Fork, file, &detail);
        }
    }
    marks
}

/// A checkpoint under its own key, and the hash of its bytes.
fn parse(key: &str, bytes: Option<&Bytes>) -> Option<(Checkpoint, Sha256Hex)> {
    let bytes = bytes?;
    let found: Checkpoint = serde_json::from_slice(bytes).ok()?;
    (checkpoint::key(found.sequence) == key && checkpoint::bytes(&found).ok()? == **bytes)
        .then(|| (found, Sha256Hex::of(bytes)))
}
