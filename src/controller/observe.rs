//! Loads what is stored of a request: the truth that status is derived from.

use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::domain::commit::{Attempt, Freeze, Verdict};
use crate::domain::manifest::Frozen;
use crate::domain::phase::{End, Facts, Round};
use crate::storage::commit::read;
use crate::storage::keys::RequestKey;
use crate::storage::{Bucket, StorageError};

/// All facts of a request.
pub async fn facts(records: &Bucket, key: &RequestKey) -> Result<Facts, StorageError> {
    let (owner_key, rounds_key) = (key.owner(), key.rounds());
    let (owner, rounds) =
        tokio::try_join!(read(records, &owner_key), records.folders(&rounds_key))?;
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
    facts.previous = previous(records, key, older).await?;
    match facts.last.as_ref().and_then(Round::end) {
        Some(End::Closed(_)) => {
            let (closed, revoked) = (key.closed(), key.revoked());
            (facts.closed, facts.revoked) =
                tokio::try_join!(read(records, &closed), read(records, &revoked))?;
        }
        Some(End::Returned) | None => {}
    }
    Ok(facts)
}

async fn previous(
    records: &Bucket,
    key: &RequestKey,
    older: impl Iterator<Item = i64>,
) -> Result<Option<Frozen>, StorageError> {
    for number in older {
        if let Some(freeze) = read::<Freeze>(records, &key.manifest(number)).await?
            && let Some(frozen) = freeze.frozen()
        {
            return Ok(Some(frozen));
        }
    }
    Ok(None)
}

/// The facts of one round.
pub async fn round(records: &Bucket, key: &RequestKey, number: i64) -> Result<Round, StorageError> {
    let (seal, manifest, decision) = (key.seal(number), key.manifest(number), key.decision(number));
    let (seen, indexed) = (key.seen(number), key.indexed(number));
    let (seal, freeze, decision, seen, indexed) = tokio::try_join!(
        read(records, &seal),
        read(records, &manifest),
        read(records, &decision),
        read(records, &seen),
        read::<i64>(records, &indexed)
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
            tokio::try_join!(read(records, &outcome), attempts(records, key, number))?;
        found.outcome = outcome;
        found.attempts = attempts;
        if let Some(last) = found.attempts.last() {
            found.failure = read(records, &key.attempt_failed(number, last.attempt)).await?;
        }
    }
    Ok(found)
}

/// The attempts of a round, in order.
pub async fn attempts(
    records: &Bucket,
    key: &RequestKey,
    number: i64,
) -> Result<Vec<Attempt>, StorageError> {
    let listed = records.list(&key.attempts(number)).await?;
    let keys = listed
        .into_iter()
        .map(|l| l.key)
        .filter(|k| !k.ends_with(".failed.json"));
    let mut found: Vec<Attempt> = stream::iter(keys)
        .map(|key| async move { read::<Attempt>(records, &key).await })
        .buffered(8)
        .try_filter_map(|attempt| async move { Ok(attempt) })
        .try_collect()
        .await?;
    found.sort_by_key(|a| a.attempt);
    Ok(found)
}
