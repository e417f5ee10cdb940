//! Loads what is stored of a request: the truth that status is derived from.

use std::sync::{Mutex, PoisonError};

use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::{Records, StorageError};
use trevor_core::commit::{Attempt, Verdict};
use trevor_core::format::{Fact, Later};
use trevor_core::keys::RequestKey;
use trevor_core::manifest::Frozen;
use trevor_core::object_key::FactKey;
use trevor_core::phase::{End, Facts, Round};

/// Reads facts of whatever format, and keeps in mind whether one was of a later one.
struct Reader<'a> {
    records: &'a Records,
    later: Mutex<Option<Later>>,
}

impl<'a> Reader<'a> {
    fn new(records: &'a Records) -> Self {
        Self {
            records,
            later: Mutex::default(),
        }
    }

    async fn read<T: Fact>(&self, key: &FactKey<T>) -> Result<Option<T>, StorageError> {
        let Some((fact, later)) = self.records.get_any(key).await? else {
            return Ok(None);
        };
        if later.is_some() {
            *self.later.lock().unwrap_or_else(PoisonError::into_inner) = later;
        }
        Ok(Some(fact))
    }

    fn later(self) -> Option<Later> {
        self.later
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// All facts of a request.
pub async fn facts(records: &Records, key: &RequestKey) -> Result<Facts, StorageError> {
    let reader = Reader::new(records);
    let (owner_key, rounds_key) = (key.owner(), key.rounds());
    let (owner, rounds) = tokio::try_join!(reader.read(&owner_key), records.folders(&rounds_key))?;
    if owner.is_none() {
        return Ok(Facts::default());
    }
    let mut numbers: Vec<i64> = rounds.iter().filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    let mut facts = Facts {
        owner,
        ..Facts::default()
    };
    let mut older = numbers.into_iter();
    for number in older.by_ref() {
        let found = round(records, key, number).await?;
        if found.seal.is_some() {
            facts.last = Some(found);
            break;
        }
    }
    facts.previous = previous(&reader, key, older).await?;
    match facts.last.as_ref().and_then(Round::end) {
        Some(End::Closed(_)) => {
            let (closed, revoked) = (key.closed(), key.revoked());
            (facts.closed, facts.revoked) =
                tokio::try_join!(reader.read(&closed), reader.read(&revoked))?;
        }
        Some(End::Returned) | None => {}
    }
    facts.later = reader.later();
    Ok(facts)
}

async fn previous(
    reader: &Reader<'_>,
    key: &RequestKey,
    older: impl Iterator<Item = i64>,
) -> Result<Option<Frozen>, StorageError> {
    for number in older {
        if let Some(freeze) = reader.read(&key.manifest(number)).await?
            && let Some(frozen) = freeze.frozen()
        {
            return Ok(Some(frozen));
        }
    }
    Ok(None)
}

/// The facts of one round.
pub async fn round(
    records: &Records,
    key: &RequestKey,
    number: i64,
) -> Result<Round, StorageError> {
    let reader = Reader::new(records);
    let (seal, manifest, decision) = (key.seal(number), key.manifest(number), key.decision(number));
    let (seen, indexed) = (key.seen(number), key.indexed(number));
    let (seal, freeze, decision, seen, indexed) = tokio::try_join!(
        reader.read(&seal),
        reader.read(&manifest),
        reader.read(&decision),
        reader.read(&seen),
        reader.read(&indexed)
    )?;
    let mut found = Round {
        round: number,
        seal,
        freeze,
        decision,
        seen,
        indexed: indexed.is_some(),
        ..Round::default()
    };
    if found
        .decision
        .as_ref()
        .is_some_and(|d| d.verdict == Verdict::Approved)
    {
        let outcome = key.outcome(number);
        let (outcome, attempts) =
            tokio::try_join!(reader.read(&outcome), attempts(&reader, key, number))?;
        found.outcome = outcome;
        found.attempts = attempts;
        if let Some(last) = found.attempts.last() {
            let failed = key.attempt_failed(number, last.attempt);
            found.failure = reader.read(&failed).await?;
        }
    }
    found.later = reader.later();
    Ok(found)
}

/// The attempts of a round, in order.
async fn attempts(
    reader: &Reader<'_>,
    key: &RequestKey,
    number: i64,
) -> Result<Vec<Attempt>, StorageError> {
    let keys = reader.records.list(&key.attempts(number)).await?;
    let mut found: Vec<Attempt> = stream::iter(keys)
        .map(|key| async move { reader.read(&key).await })
        .buffered(8)
        .try_filter_map(|attempt| async move { Ok(attempt) })
        .try_collect()
        .await?;
    found.sort_by_key(|a| a.attempt);
    Ok(found)
}
