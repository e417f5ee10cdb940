//! Gives a request that nobody closes its closing: it is withdrawn, from the bucket
//! alone, and its files are due after the retention that applied to it.
//!
//! Repeated, or against a controller that still works on it: each step is the same
//! create-only object that the controller would write, so that one of the two wins
//! and both go on from there. What was approved and not released is not released.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::error::RetentionError;
use super::{clock, tickets};
use trevor_config::Config;
use trevor_core::commit::{
    Closed, ClosedAs, Decision, Freeze, Outcome, OutcomeKind, Refusal, Seal, SealedBecause, Verdict,
};
use trevor_core::digest::Sha256Hex;
use trevor_core::event::Event;
use trevor_core::format::Kept;
use trevor_core::frozen::FrozenRound;
use trevor_core::keys::RequestKey;
use trevor_core::ledger;
use trevor_core::manifest::PolicyRef;
use trevor_core::phase::{End, Facts, Round};
use trevor_core::policy::Rules;
use trevor_core::quorum::Quorum;
use trevor_core::retention::What;
use trevor_store::audit::Chain;
use trevor_store::observe;
use trevor_store::{Records, Release, StorageError, Zones};

/// What became of it.
#[derive(Debug)]
pub enum Adopted {
    /// It had a closing already.
    AlreadyClosed(Closed),
    /// It has one now.
    Closed(Closed),
    /// It was released, and its controller did not come to close it; it has a
    /// closing now.
    Released(Closed),
}

/// Closes it. Besides the time that it is there is the time as of which it is
/// withdrawn, where that is earlier.
///
/// # Errors
/// When the clocks disagree, or as the servers say; none when there is no such
/// request.
pub async fn adopt(
    zones: &Zones,
    release: &Release,
    config: &Config,
    key: &RequestKey,
    by: &str,
    (now, as_of): (Timestamp, Timestamp),
) -> Result<Option<Adopted>, RetentionError> {
    clock::agree(zones.quarantine.work().clock(), now).await?;
    let records = &zones.records;
    let mut facts = observe::facts(records, key).await?;
    let Some(owner) = facts.owner.clone() else {
        return Ok(None);
    };
    if let Some(closed) = facts.closed.take() {
        return Ok(Some(Adopted::AlreadyClosed(closed)));
    }
    let time = match last_touched(records, key, &facts).await? {
        Some(touched) if touched > as_of => touched.min(now),
        _ => as_of,
    };
    let time = trevor_api::condition::second(time);
    let mut events = ledger::events(key, &facts);
    // Each turn commits one step; another's step is adopted, and the next follows it.
    let chain = Chain::new(key.ledger());
    let closed_as = loop {
        match facts.last.as_ref().and_then(Round::end) {
            Some(End::Closed(closed_as)) => break closed_as,
            end @ (Some(End::Returned) | None) => {
                if end.is_some() {
                    // The ledger has a round's end before the next round is opened.
                    let so_far = ledger::in_order(events.clone());
                    chain.append(records, so_far).await?;
                }
                step(records, config, &mut facts, (key, owner.direction), time).await?;
            }
        }
        events.extend(ledger::events(key, &facts));
    };
    let closed = closing(&facts, closed_as, time);
    let work = zones.quarantine.work();
    if let Some(due) = closed.release_due {
        clock::agree(release.clock(), now).await?;
        tickets::write(work, key, What::Release, due).await?;
    }
    tickets::write(work, key, What::Quarantine, closed.quarantine_due).await?;
    if zones.staging.is_some() && owner.direction == trevor_api::Direction::Ingress {
        let life = config.storage.plan_ttl_seconds() + super::SLACK_SECONDS;
        tickets::write(work, key, What::Staging, after(closed.time, life)).await?;
    }
    let closed = records.create(&key.closed(), &closed).await?.into_inner();
    facts.closed = Some(closed.clone());
    events.extend(ledger::events(key, &facts));
    let mut events = ledger::in_order(events);
    events.push(adopted(key, by, closed.time));
    chain.append(records, events).await?;
    Ok(Some(match closed_as {
        ClosedAs::Released => Adopted::Released(closed),
        ClosedAs::Rejected | ClosedAs::Withdrawn => Adopted::Closed(closed),
    }))
}

/// When the last upload came, or the last round was sealed: whoever let a request go
/// before that did not know of it.
async fn last_touched(
    records: &Records,
    key: &RequestKey,
    facts: &Facts,
) -> Result<Option<Timestamp>, StorageError> {
    let uploaded = records.last_written(&key.receipts()).await?;
    let seal = facts.last.as_ref().and_then(|last| last.seal.as_ref());
    Ok(uploaded.max(seal.map(|seal| seal.time)))
}

/// The next step on the way to a withdrawn request.
async fn step(
    records: &Records,
    config: &Config,
    facts: &mut Facts,
    (key, direction): (&RequestKey, trevor_api::Direction),
    now: Timestamp,
) -> Result<(), StorageError> {
    let ended = facts.last.as_ref().filter(|last| last.end().is_some());
    if facts.last.is_none() || ended.is_some() {
        let before = facts.last.take();
        let round = before.as_ref().map_or(0, |last| last.round) + 1;
        let known = before.as_ref().and_then(|last| last.seal.as_ref());
        let seal = Seal {
            round,
            policy: known.map_or_else(no_policy, |seal| seal.policy.clone()),
            rules: known.map_or_else(
                || Kept::of(Rules::of(direction, None)),
                |seal| seal.rules.clone(),
            ),
            because: SealedBecause::Withdrawn,
            time: now,
        };
        records.create(&key.seal(round), &seal).await?;
        if let Some(frozen) = before.as_ref().and_then(Round::frozen) {
            facts.previous = Some(frozen);
        }
        facts.last = Some(observe::round(records, key, round).await?);
        return Ok(());
    }
    let Some(last) = facts.last.as_mut() else {
        return Ok(());
    };
    let round = last.round;
    let Some(seal) = last.seal.clone() else {
        return Ok(());
    };
    if last.freeze.is_none() {
        let refusal = Freeze::Refusal(Refusal {
            round,
            reason: trevor_api::condition::reason::WITHDRAWN.to_owned(),
            message: "its request is gone; it was withdrawn by an administrator".to_owned(),
            listing: Vec::new(),
            recalled: None,
            previous: facts.previous.as_ref().map(|frozen| frozen.digest.clone()),
        });
        let at = key.manifest(round);
        let refusal = FrozenRound::of(refusal).map_err(|e| StorageError::Corrupt {
            bucket: records.name().to_owned(),
            key: at.to_string(),
            problem: format!("cannot be written: {e}"),
        })?;
        last.freeze = Some(records.create(&at, &refusal).await?.into_inner());
    } else if last.decision.is_none() {
        let decision = Decision {
            round,
            verdict: Verdict::Withdrawn,
            manifest_digest: last.frozen().map(|frozen| frozen.digest),
            policy: seal.policy.clone(),
            quorum: Quorum {
                required: 0,
                reviewers: None::<BTreeSet<String>>,
                require_viewed: false,
                fold_names: false,
            },
            reviews: Vec::new(),
            recalled: None,
            terms: config.terms(direction, &seal.rules),
            time: now,
        };
        last.decision = Some(
            records
                .create(&key.decision(round), &decision)
                .await?
                .into_inner(),
        );
    } else {
        let outcome = Outcome {
            round,
            kind: OutcomeKind::Withdrawn,
            package: None,
            files: None,
            reviews: Vec::new(),
            time: now,
        };
        last.outcome = Some(
            records
                .create(&key.outcome(round), &outcome)
                .await?
                .into_inner(),
        );
    }
    Ok(())
}

/// The closing that follows from decision and outcome.
fn closing(facts: &Facts, closed_as: ClosedAs, now: Timestamp) -> Closed {
    let last = facts.last.as_ref();
    let decision = last.and_then(|last| last.decision.as_ref());
    let outcome = last.and_then(|last| last.outcome.as_ref());
    let decided = decision.map(|decision| decision.time);
    let time = outcome
        .map(|outcome| outcome.time)
        .or(decided)
        .unwrap_or(now);
    let terms = decision.map(|decision| &decision.terms);
    let kept = terms.map_or(90 * 86_400, |terms| terms.quarantine_retention_seconds);
    let package = outcome.is_some_and(|outcome| outcome.package.is_some());
    let offered = terms
        .filter(|_| package)
        .map(|terms| terms.release_retention_seconds);
    Closed {
        closed_as,
        round: last.map_or(0, |last| last.round),
        time,
        quarantine_due: after(time, kept),
        release_due: offered.map(|seconds| after(time, seconds)),
        policy: decision.map_or_else(no_policy, |decision| decision.policy.clone()),
    }
}

fn after(time: Timestamp, seconds: i64) -> Timestamp {
    trevor_api::condition::second(time)
        .checked_add(SignedDuration::from_secs(seconds))
        .unwrap_or(Timestamp::MAX)
}

fn no_policy() -> PolicyRef {
    PolicyRef {
        name: String::new(),
        digest: Sha256Hex::of(b""),
    }
}

fn adopted(key: &RequestKey, by: &str, time: Timestamp) -> Event {
    Event {
        id: "adopted".to_owned(),
        kind: "Adopted".to_owned(),
        actor: Some(by.to_owned()),
        namespace: key.namespace.clone(),
        uid: key.uid.clone(),
        before: None,
        after: None,
        detail: serde_json::Map::new(),
        time,
    }
}
