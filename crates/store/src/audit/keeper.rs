//! Makes checkpoints, for the leader: finds the chains that changed, stores their heads
//! and signs them.
//!
//! What this process appends it knows of by [`Heads`]. The chains of gateways are looked
//! at, the quieter the rarer. What anybody else appended (an earlier leader that was
//! killed, a command from the bucket alone) is found by going through all keys when it
//! starts and every few hours. Repeated: checkpoints are create-only with one key a
//! sequence, so that of two leaders the second adopts; signatures follow from what they
//! are over.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};

use super::chain::{Head, entry_name};
use super::checkpoint::{self, Checkpoint, Mark, Signed, Stored};
use super::heads::Heads;
use super::key::{PublicKey, SigningKey};
use super::rotation::KeyChange;
use crate::{Bucket, Records, StorageError};
use trevor_core::digest::Sha256Hex;

/// Chains of requests.
pub const REQUESTS: &str = "audit/requests/";
/// Chains of gateways.
pub const GATEWAYS: &str = "audit/gateway/";
/// Heads in one checkpoint.
const HEADS: usize = 5_000;
/// Entries read at once.
const AT_ONCE: usize = 16;
/// How often all keys are gone through.
const SCAN: Duration = Duration::from_secs(6 * 3600);
/// How far the clocks of storage and operator may be apart, and then some.
const MARGIN: SignedDuration = SignedDuration::from_mins(10);
/// The longest pause between two looks at a quiet gateway.
const LONGEST: Duration = Duration::from_secs(3600);

/// What a look came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nothing changed.
    Nothing,
    /// A checkpoint was made, or one that stood was found.
    Made(Box<Signed>),
}

/// The one who makes them.
pub struct Keeper {
    bucket: Bucket,
    signing: Arc<SigningKey>,
    heads: Arc<Heads>,
    last: Option<Last>,
    scanned: Option<Instant>,
    complete: Timestamp,
    gateways: HashMap<String, Quiet>,
}

/// The checkpoint that stands last.
struct Last {
    head: Head,
    key: Option<PublicKey>,
    complete: Timestamp,
}

/// How far the chain of a gateway is known, and when to look at it again.
struct Quiet {
    sequence: i64,
    since: Instant,
    next: Instant,
}

impl Keeper {
    /// One that knows nothing yet.
    #[must_use]
    pub fn new(records: &Records, signing: Arc<SigningKey>, heads: Arc<Heads>) -> Self {
        Self {
            bucket: records.bucket().clone(),
            signing,
            heads,
            last: None,
            scanned: None,
            complete: Timestamp::UNIX_EPOCH,
            gateways: HashMap::new(),
        }
    }

    /// One look: a checkpoint is made where something changed. To be called again soon
    /// while it makes some.
    ///
    /// # Errors
    /// As the server says, or when what is stored is not what a checkpoint may follow.
    pub async fn keep(&mut self) -> Result<Kept, StorageError> {
        let kept = self.look().await;
        if kept.is_err() {
            // What stands is read anew next time.
            self.last = None;
        }
        kept
    }

    async fn look(&mut self) -> Result<Kept, StorageError> {
        let found = self.resume().await?;
        if self.scanned.is_none_or(|at| at.elapsed() > SCAN) {
            self.scan().await?;
        }
        self.look_at_gateways().await?;
        let heads = self.heads.waiting(HEADS);
        match found {
            Some(signed) if heads.is_empty() => Ok(Kept::Made(Box::new(signed))),
            None if heads.is_empty() => Ok(Kept::Nothing),
            _ => self.make(heads).await,
        }
    }

    /// Finds the last checkpoint, once; signs it where that is missing.
    async fn resume(&mut self) -> Result<Option<Signed>, StorageError> {
        if self.last.is_some() {
            return Ok(None);
        }
        let sequence = checkpoint::last(&self.bucket).await?;
        let Some((found, hash)) = checkpoint::get(&self.bucket, sequence).await? else {
            self.last = Some(Last {
                head: checkpoint::start(),
                key: None,
                complete: Timestamp::UNIX_EPOCH,
            });
            return Ok(None);
        };
        self.adopt(found, hash).await
    }

    /// Goes on behind a checkpoint that stands, and signs it if that is still to be done
    /// and it is what this process would sign.
    async fn adopt(
        &mut self,
        found: Checkpoint,
        hash: Sha256Hex,
    ) -> Result<Option<Signed>, StorageError> {
        let mark = Mark {
            sequence: found.sequence,
            hash: hash.clone(),
        };
        let mut note = checkpoint::stored_note(&self.bucket, found.sequence).await?;
        if note.is_none() {
            self.check(&found).await?;
        }
        // What an earlier key did not get to sign is covered by what follows on it.
        if note.is_none() && found.key == self.signing.public().vkey() {
            note = Some(checkpoint::sign(&self.bucket, &mark, &self.signing).await?);
        }
        self.heads.covered(&found.heads);
        self.last = Some(Last {
            head: Head {
                sequence: found.sequence,
                hash: hash.clone(),
            },
            key: PublicKey::parse(&found.key).ok(),
            complete: found.complete,
        });
        Ok(note.map(|note| Signed {
            checkpoint: found,
            hash,
            note,
        }))
    }

    /// Nothing is signed that does not follow on what stands.
    async fn check(&self, found: &Checkpoint) -> Result<(), StorageError> {
        let wrong = |key: String, problem: &str| StorageError::Corrupt {
            bucket: self.bucket.name().to_owned(),
            key,
            problem: problem.to_owned(),
        };
        let before = match checkpoint::get(&self.bucket, found.sequence - 1).await? {
            Some((_, hash)) => hash,
            None => checkpoint::start().hash,
        };
        if found.previous != before {
            return Err(wrong(
                checkpoint::key(found.sequence),
                "does not follow on the checkpoint before, and is not signed; the ledger was changed",
            ));
        }
        for (prefix, head) in &found.heads {
            let key = format!("{prefix}{}", entry_name(head.sequence));
            let stored = self.bucket.get(&key).await?;
            if stored.is_none_or(|bytes| Sha256Hex::of(&bytes) != head.hash) {
                return Err(wrong(
                    key,
                    "is not what an unsigned checkpoint says of it; the ledger was changed",
                ));
            }
        }
        Ok(())
    }

    async fn make(&mut self, heads: BTreeMap<String, Head>) -> Result<Kept, StorageError> {
        let last = self.last.as_ref();
        let before = last.map_or_else(checkpoint::start, |last| last.head.clone());
        let public = self.signing.public();
        let other = last
            .and_then(|last| last.key.as_ref())
            .filter(|key| *key != public);
        let known = last.map_or(Timestamp::UNIX_EPOCH, |last| last.complete);
        // While more heads wait than one checkpoint takes, nothing is complete.
        let complete = if heads.len() < HEADS {
            known.max(self.complete)
        } else {
            known
        };
        let made = Checkpoint {
            sequence: before.sequence + 1,
            previous: before.hash,
            complete,
            time: Timestamp::now(),
            key: public.vkey(),
            key_change: other.map(|key| KeyChange::to(key, &self.signing)),
            heads,
        };
        if made
            .key_change
            .as_ref()
            .is_some_and(|c| !c.is_cross_signed())
        {
            tracing::error!(
                key = made.key,
                "checkpoints are signed by a new key without the word of the old one; whoever verifies must be given both"
            );
        }
        let (standing, hash) = match checkpoint::store(&self.bucket, &made).await? {
            Stored::Ours(hash) => (made, hash),
            // Another leader was first: what is left goes into the next.
            Stored::Theirs(theirs, hash) => (theirs, hash),
        };
        let signed = self.adopt(standing, hash).await?;
        Ok(signed.map_or(Kept::Nothing, |signed| Kept::Made(Box::new(signed))))
    }

    /// Goes through all keys for entries that are in no checkpoint.
    async fn scan(&mut self) -> Result<(), StorageError> {
        let cutoff = self
            .last
            .as_ref()
            .map_or(Timestamp::UNIX_EPOCH, |last| last.complete);
        let began = Timestamp::now();
        let covered = self.covered_since(cutoff).await?;
        for prefix in [REQUESTS, GATEWAYS] {
            let mut new: BTreeMap<String, i64> = BTreeMap::new();
            let mut ends: HashMap<String, i64> = HashMap::new();
            let gateways = prefix == GATEWAYS;
            let each = |key: &str, stored: Option<i64>| {
                let Some((chain, sequence)) = entry(key) else {
                    return;
                };
                if gateways {
                    ends.insert(chain.to_owned(), sequence);
                }
                if stored.is_none_or(|at| at >= cutoff.as_second())
                    && covered.get(chain).is_none_or(|known| *known < sequence)
                {
                    new.insert(chain.to_owned(), sequence);
                }
            };
            self.bucket.visit_times(prefix, each).await?;
            let keeper = &*self;
            stream::iter(new)
                .map(|(chain, sequence)| async move { keeper.changed(&chain, sequence).await })
                .buffer_unordered(AT_ONCE)
                .try_collect::<()>()
                .await?;
            let now = Instant::now();
            for (chain, sequence) in ends {
                let quiet = Quiet {
                    sequence,
                    since: now,
                    next: now,
                };
                self.gateways.entry(chain).or_insert(quiet);
            }
        }
        self.complete = began.checked_sub(MARGIN).unwrap_or(Timestamp::UNIX_EPOCH);
        self.scanned = Some(Instant::now());
        Ok(())
    }

    /// How far the checkpoints since a time have each chain.
    async fn covered_since(&self, since: Timestamp) -> Result<HashMap<String, i64>, StorageError> {
        let mut covered = HashMap::new();
        let mut at = self.last.as_ref().map_or(0, |last| last.head.sequence);
        while at > 0 {
            let Some((found, _)) = checkpoint::get(&self.bucket, at).await? else {
                break;
            };
            for (chain, head) in found.heads {
                covered.entry(chain).or_insert(head.sequence);
            }
            if found.time < since {
                break;
            }
            at -= 1;
        }
        Ok(covered)
    }

    async fn look_at_gateways(&mut self) -> Result<(), StorageError> {
        let now = Instant::now();
        for instance in self.bucket.folders(GATEWAYS).await? {
            let chain = format!("{GATEWAYS}{instance}/");
            let known = self.gateways.get(&chain);
            if known.is_some_and(|known| known.next > now) {
                continue;
            }
            let before = known.map_or(0, |known| known.sequence);
            let since = known.map_or(now, |known| known.since);
            let sequence = self.end(&chain, before).await?;
            let since = if sequence > before { now } else { since };
            if sequence > before {
                self.changed(&chain, sequence).await?;
            }
            let pause = (now.duration_since(since) / 10).min(LONGEST);
            let quiet = Quiet {
                sequence,
                since,
                next: now + pause,
            };
            self.gateways.insert(chain, quiet);
        }
        Ok(())
    }

    /// The last sequence of a chain that has `known`.
    async fn end(&self, chain: &str, known: i64) -> Result<i64, StorageError> {
        const PAGE: i32 = 1000;
        let mut last = known;
        loop {
            let after = format!("{chain}{}", entry_name(last));
            let (page, more) = self.bucket.page_of(chain, &after, PAGE).await?;
            let found = page.iter().filter_map(|listed| Some(entry(&listed.key)?.1));
            let before = last;
            last = found.max().map_or(last, |found| found.max(last));
            if last == before || !more {
                return Ok(last);
            }
        }
    }

    async fn changed(&self, chain: &str, sequence: i64) -> Result<(), StorageError> {
        let key = format!("{chain}{}", entry_name(sequence));
        if let Some(bytes) = self.bucket.get(&key).await? {
            let hash = Sha256Hex::of(&bytes);
            self.heads.changed(chain, &Head { sequence, hash });
        }
        Ok(())
    }
}

/// The chain and the sequence of an entry's key.
#[must_use]
pub fn entry(key: &str) -> Option<(&str, i64)> {
    let (chain, name) = key.split_at(key.rfind('/')? + 1);
    let digits = name.strip_suffix(".json").filter(|d| d.len() == 20)?;
    digits
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| digits.parse().ok())?
        .map(|sequence| (chain, sequence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_known_by_its_key() {
        let name = entry_name(7);
        assert_eq!(
            entry(&format!("audit/requests/a/u/{name}")),
            Some(("audit/requests/a/u/", 7))
        );
        for bad in [
            "",
            "x",
            "a/7.json",
            "a/0000000000000000000x.json",
            &format!("a/{name}.bak"),
        ] {
            assert_eq!(entry(bad), None, "{bad:?}");
        }
    }
}
