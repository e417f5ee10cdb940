//! Withdraws a draft, a returned or a failed request that nobody touched for as long as
//! its policy allows, after a warning (docs/design.md#idle-requests).
//!
//! Repeated: the warning is create-only, its name is the time since when nobody touched
//! the request, and its event follows from it: each look that finds it gives the event
//! again, for the ledger and for whoever is told. Whoever touches the request makes
//! another time of it, and with it another warning.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::context::Context;
use super::super::error::EffectError;
use super::super::evidence::last_edit;
use super::super::reconcile::Subject;
use super::super::{ledger, status};
use trevor_api::condition::{reason, second};
use trevor_core::event::Event;
use trevor_core::phase::{Facts, Round};
use trevor_core::retention::{Idle, IdleWarning, idle};

/// What is to be done about a request that waits for its submitter.
pub enum Patience {
    /// Look again after this long, if anything is to come.
    Waits(Option<Duration>),
    /// It is withdrawn now.
    Over,
}

/// Judges it, and warns if it is time; the warning that stands is one of the events of
/// the look.
pub async fn patience(
    ctx: &Context,
    subject: &Subject,
    facts: &Facts,
    events: &mut BTreeMap<String, Event>,
) -> Result<Patience, EffectError> {
    // What applies is shown otherwise; nothing is withdrawn by guess.
    let Ok(applied) = &subject.policy else {
        return Ok(Patience::Waits(None));
    };
    let allowed = SignedDuration::from_secs(applied.rules.idle_seconds);
    let now = Timestamp::now();
    let records = &ctx.zones.records;
    let mut since = touched(subject, facts);
    let mut warning = warned(ctx, subject, since).await?;
    if !matches!(idle(since, allowed, warning.as_ref(), now), Idle::Rests(_)) {
        // Uploads touch it too; they are looked at only when it matters.
        let uploaded = records.last_written(&subject.key.receipts()).await?;
        if let Some(later) = uploaded.filter(|at| *at > since) {
            since = later;
            warning = warned(ctx, subject, since).await?;
        }
    }
    if let Some(fact) = &warning {
        events.extend(ledger::of_idle(&subject.key, fact));
    }
    match idle(since, allowed, warning.as_ref(), now) {
        Idle::Rests(until) => Ok(Patience::Waits(left(until, now))),
        Idle::Withdraw => Ok(Patience::Over),
        Idle::Warn(withdraw) => {
            ctx.claim()?;
            let fact = IdleWarning {
                since,
                warned: second(now),
                withdraw: second(withdraw),
            };
            let key = subject.key.idle_warning(since.as_second());
            let fact = records.create(&key, &fact).await?.into_inner();
            events.extend(ledger::of_idle(&subject.key, &fact));
            // Nobody is told what the ledger does not have.
            ledger::append(ctx, &subject.key, facts, events.clone()).await?;
            status::warn(
                ctx,
                subject,
                reason::IDLE,
                format!(
                    "nobody touched it since {}; it is withdrawn at {} unless somebody uploads to it, edits it or submits it",
                    fact.since, fact.withdraw
                ),
            )
            .await;
            Ok(Patience::Waits(left(fact.withdraw, now)))
        }
    }
}

async fn warned(
    ctx: &Context,
    subject: &Subject,
    since: Timestamp,
) -> Result<Option<IdleWarning>, EffectError> {
    let key = subject.key.idle_warning(since.as_second());
    Ok(ctx.zones.records.get(&key).await?)
}

fn left(until: Timestamp, now: Timestamp) -> Option<Duration> {
    let left = Duration::try_from(until.duration_since(now)).unwrap_or_default();
    Some(left + Duration::from_secs(1))
}

/// When somebody last did something about it, uploads apart; to the second.
fn touched(subject: &Subject, facts: &Facts) -> Timestamp {
    let created = subject.request.metadata.creation_timestamp.as_ref();
    let times = [
        created.map(|Time(at)| *at),
        last_edit(&subject.request),
        facts.last.as_ref().and_then(ended),
    ];
    // A request without a time was made just now, for all that anybody can tell.
    second(
        times
            .into_iter()
            .flatten()
            .max()
            .unwrap_or_else(Timestamp::now),
    )
}

/// When the round ended, or its release failed.
fn ended(last: &Round) -> Option<Timestamp> {
    [
        last.seal.as_ref().map(|seal| seal.time),
        last.decision.as_ref().map(|decision| decision.time),
        last.failure.as_ref().map(|failure| failure.time),
        last.outcome.as_ref().map(|outcome| outcome.time),
    ]
    .into_iter()
    .flatten()
    .max()
}
