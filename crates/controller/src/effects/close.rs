//! `closed.json`: the closing facts, and the ticket that wakes the sweeper.
//!
//! Repeated: both are create-only with names and contents that follow from
//! decision and outcome. Everything before this is done when it is there.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::super::context::Context;
use super::super::error::EffectError;
use super::super::reconcile::Subject;
use trevor_core::commit::{Closed, ClosedAs};
use trevor_core::phase::Facts;
use trevor_core::retention::What;
use trevor_lifecycle::{self as retention, tickets};

/// Writes the closing facts, once all else of the round is done.
pub async fn close(
    ctx: &Context,
    subject: &Subject,
    facts: &mut Facts,
    closed_as: ClosedAs,
) -> Result<(), EffectError> {
    if facts.closed.is_some() {
        return Ok(());
    }
    let Some(last) = &facts.last else {
        return Ok(());
    };
    let Some(decision) = &last.decision else {
        return Ok(());
    };
    let time = last.outcome.as_ref().map_or(decision.time, |o| o.time);
    let package = last.outcome.as_ref().is_some_and(|o| o.package.is_some());
    let terms = &decision.terms;
    let closed = Closed {
        closed_as,
        round: last.round,
        time,
        quarantine_due: due(time, terms.quarantine_retention_seconds),
        release_due: (closed_as == ClosedAs::Released && package)
            .then(|| due(time, terms.release_retention_seconds)),
        policy: decision.policy.clone(),
    };
    let records = &ctx.zones.records;
    // A wrong clock would make wrong due dates, for good.
    let now = Timestamp::now();
    retention::agree(ctx.zones.quarantine.work().clock(), now).await?;
    if let Some(due) = closed.release_due {
        retention::agree(ctx.release.clock(), now).await?;
        ticket(ctx, subject, What::Release, due).await?;
    }
    ticket(ctx, subject, What::Quarantine, closed.quarantine_due).await?;
    facts.closed = Some(
        records
            .create(&subject.key.closed(), &closed)
            .await?
            .into_inner(),
    );
    Ok(())
}

/// Stores a wake-up for the sweeper.
pub async fn ticket(
    ctx: &Context,
    subject: &Subject,
    what: What,
    due: Timestamp,
) -> Result<(), EffectError> {
    let work = ctx.zones.quarantine.work();
    tickets::write(work, &subject.key, what, due).await?;
    // It looks now and then by itself, and knows by then of what is due later.
    let every = Duration::from_secs(ctx.config.controller.retention.look_seconds);
    let by_itself = Timestamp::now().checked_add(every);
    if by_itself.map_or(true, |at| due <= at) {
        ctx.sweeps.notify_one();
    }
    Ok(())
}

/// A due time, to the second; never before `time`.
pub fn due(time: Timestamp, seconds: i64) -> Timestamp {
    let whole = trevor_api::condition::second(time);
    whole
        .checked_add(SignedDuration::from_secs(seconds))
        .unwrap_or(Timestamp::MAX)
}
