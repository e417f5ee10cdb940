//! Looks whether a round's files are there, and seals it.
//!
//! Repeated: the seal is create-only; reading changes nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};

use super::super::context::Context;
use super::super::error::EffectError;
use super::super::reconcile::{Rest, Subject};
use super::collect;
use super::confirm::{Confirmed, confirm};
use trevor_api::Direction;
use trevor_core::commit::{Seal, SealedBecause, Submitted};
use trevor_core::digest::Sha256Hex;
use trevor_core::format::Kept;
use trevor_core::manifest::PolicyRef;
use trevor_core::origin::{self, Origin};
use trevor_core::phase::{Facts, Round};
use trevor_core::policy::{Applied, Rules};
use trevor_core::receipt::{self, Receipt};
use trevor_core::volume::Errand;
use trevor_core::{collection, declared};
use trevor_store::{StorageError, observe_previous};

/// Receipts read at once.
const READERS: usize = 48;

/// Seals the round when every declared file is there; otherwise says what is
/// missing.
pub async fn gather(
    ctx: &Context,
    subject: &Subject,
    facts: &mut Facts,
    round: i64,
) -> Result<Option<Rest>, EffectError> {
    if let Err(problem) = &subject.policy {
        return Ok(Some(Rest {
            stalled: Some((problem.reason(), problem.to_string())),
            ..Rest::default()
        }));
    }
    let because = match arrived(ctx, subject, facts, round).await? {
        Confirmed::All => SealedBecause::Complete,
        Confirmed::Mismatch(problems) => SealedBecause::Mismatch(problems),
        Confirmed::CollectionFailed(message) => SealedBecause::CollectionFailed { message },
        Confirmed::Busy => {
            return Ok(Some(Rest {
                missing: Some(Vec::new()),
                ..Rest::default()
            }));
        }
        Confirmed::Queued => {
            return Ok(Some(Rest {
                missing: Some(Vec::new()),
                after: Some(ctx.patience(&subject.key.uid)),
                ..Rest::default()
            }));
        }
        Confirmed::Rests(left, why) => {
            return Ok(Some(Rest {
                missing: Some(Vec::new()),
                failing: Some((why.reason, why.message)),
                after: Some(left),
                ..Rest::default()
            }));
        }
        Confirmed::Missing(missing) => {
            let rest = Rest {
                missing: Some(missing),
                ..Rest::default()
            };
            match in_time(ctx, subject, round, rest).await? {
                Some(rest) => return Ok(Some(rest)),
                None => SealedBecause::UploadExpired,
            }
        }
        Confirmed::Waits(rest) => match in_time(ctx, subject, round, *rest).await? {
            Some(rest) => return Ok(Some(rest)),
            None => SealedBecause::UploadExpired,
        },
    };
    seal(ctx, subject, facts, round, because).await?;
    Ok(None)
}

/// Waits on, while the round may; and looks again now and then.
async fn in_time(
    ctx: &Context,
    subject: &Subject,
    round: i64,
    rest: Rest,
) -> Result<Option<Rest>, EffectError> {
    let left = time_left(ctx, subject, round).await?;
    if !left.is_positive() {
        return Ok(None);
    }
    let left = Duration::try_from(left).unwrap_or_default();
    let after = Some(ctx.patience(&subject.key.uid).min(left));
    Ok(Some(Rest { after, ..rest }))
}

/// Whether every declared file is there, whichever way it comes.
async fn arrived(
    ctx: &Context,
    subject: &Subject,
    facts: &Facts,
    round: i64,
) -> Result<Confirmed, EffectError> {
    if subject.request.spec.direction == Direction::Ingress {
        return confirm(ctx, subject, facts, round).await;
    }
    if collect::has_sources(subject) {
        return collect::collect(ctx, subject, facts, round).await;
    }
    let wanted = subject.request.spec.files.as_deref().unwrap_or_default();
    if wanted.is_empty() {
        return Ok(Confirmed::All);
    }
    let standing = standing(ctx, subject, facts, round).await?;
    let missing = declared::missing(wanted, &collection::counting(&standing, None));
    Ok(if missing.is_empty() {
        Confirmed::All
    } else {
        Confirmed::Missing(missing)
    })
}

/// How long the round still waits for its files.
async fn time_left(
    ctx: &Context,
    subject: &Subject,
    round: i64,
) -> Result<SignedDuration, EffectError> {
    let now = Timestamp::now();
    let since = Submitted {
        round,
        time: trevor_api::condition::second(now),
    };
    let records = &ctx.zones.records;
    let since = records
        .create(&subject.key.submitted(round), &since)
        .await?
        .into_inner();
    let allowed = subject
        .policy
        .as_ref()
        .map_or(0, |p| p.rules.submitted_seconds);
    Ok(SignedDuration::from_secs(allowed) - now.duration_since(since.time))
}

/// No more uploads for the round.
pub async fn seal(
    ctx: &Context,
    subject: &Subject,
    facts: &mut Facts,
    round: i64,
    because: SealedBecause,
) -> Result<(), EffectError> {
    let applied = subject
        .policy
        .clone()
        .unwrap_or_else(|_| no_policy(subject));
    let seal = Seal {
        round,
        policy: applied.policy,
        rules: Kept::of(applied.rules),
        because,
        time: Timestamp::now(),
    };
    let records = &ctx.zones.records;
    let seal = records
        .create(&subject.key.seal(round), &seal)
        .await?
        .into_inner();
    let before = facts.last.take();
    if let Some(frozen) = before.as_ref().and_then(Round::frozen) {
        facts.previous = Some(frozen);
    }
    facts.last = Some(Round {
        round,
        seal: Some(seal),
        ..Round::default()
    });
    Ok(())
}

/// Only what is taken back is sealed without a policy: nothing is reviewed under it.
fn no_policy(subject: &Subject) -> Applied {
    Applied {
        policy: PolicyRef {
            name: String::new(),
            digest: Sha256Hex::of(b""),
        },
        rules: Rules::of(subject.request.spec.direction, None),
    }
}

/// The uploads that stand for a round now.
pub async fn standing(
    ctx: &Context,
    subject: &Subject,
    facts: &Facts,
    round: i64,
) -> Result<Vec<Receipt>, EffectError> {
    let carried = carried(ctx, subject, facts, round).await?;
    let receipts = all_receipts(ctx, subject).await?;
    Ok(receipt::standing(&carried, &receipts, round))
}

/// The uploads of the request's own people that stand for a round now, and for people
/// where others' receipts would change that.
pub async fn own_standing(
    ctx: &Context,
    subject: &Subject,
    facts: &Facts,
    round: i64,
) -> Result<(Vec<Receipt>, Vec<String>), EffectError> {
    let carried = carried(ctx, subject, facts, round).await?;
    let receipts = all_receipts(ctx, subject).await?;
    let collected = carried.iter().chain(&receipts);
    let collected = collected.filter(|r| collection::is_collected(r));
    let rounds: BTreeSet<i64> = collected.map(|r| r.round).collect();
    let origin = origin(ctx, subject, facts, &rounds).await?;
    Ok(origin::own_standing(&origin, &carried, &receipts, round))
}

/// Who may have sent files: the submitter, the delegate, and the accounts of the Jobs that
/// collected in `rounds`.
async fn origin(
    ctx: &Context,
    subject: &Subject,
    facts: &Facts,
    rounds: &BTreeSet<i64>,
) -> Result<Origin, EffectError> {
    let (key, spec) = (&subject.key, &subject.request.spec);
    let owner = facts.owner.as_ref().map(|owner| owner.submitter.clone());
    let people = [
        owner.or_else(|| spec.submitter.clone()),
        spec.created_by.clone(),
    ];
    let mut senders: BTreeSet<String> = people.into_iter().flatten().collect();
    for round in rounds {
        let at = key.job(Errand::Collect { round: *round });
        let intent = ctx.zones.quarantine.work().get_known(&at).await?;
        senders.extend(intent.map(|intent| {
            let account = intent.service_account;
            format!("system:serviceaccount:{}:{account}", key.namespace)
        }));
    }
    Ok(Origin {
        files: key.files(),
        senders,
    })
}

/// What the freeze before this round listed.
async fn carried(
    ctx: &Context,
    subject: &Subject,
    facts: &Facts,
    round: i64,
) -> Result<Vec<Receipt>, StorageError> {
    if let Some(last) = &facts.last
        && last.round < round
    {
        return Ok(last
            .freeze
            .as_ref()
            .map(|frozen| frozen.listing())
            .unwrap_or_default());
    }
    observe_previous(&ctx.zones.records, &subject.key, round).await
}

async fn all_receipts(ctx: &Context, subject: &Subject) -> Result<Vec<Receipt>, StorageError> {
    let records = &ctx.zones.records;
    let cache = ctx.receipts(&subject.key.uid);
    let mut known = cache.lock().await;
    let listed = records.list(&subject.key.receipts()).await?;
    let new: Vec<_> = listed
        .into_iter()
        .filter(|key| !known.contains_key(key.as_str()))
        .collect();
    let mut found = stream::iter(new)
        .map(|key| async move { Ok::<_, StorageError>((records.get_known(&key).await?, key)) })
        .buffer_unordered(READERS);
    while let Some((receipt, key)) = found.try_next().await? {
        if let Some(receipt) = receipt {
            known.insert(key.into(), receipt);
        }
    }
    Ok(known.values().cloned().collect())
}
