//! One step of a request at a time, until something has to be waited for: what
//! [`phase::next`] says is next, as one effect or a few.

use std::collections::BTreeMap;

use super::context::Context;
use super::current::{self, ForRenewal};
use super::effects::idle::{self, Patience};
use super::effects::record::{Crossed, record_name};
use super::effects::{
    close, confirm, deliver, establish, freeze, gather, outbox, release, renew, review, revoke,
    url_ending,
};
use super::error::EffectError;
use super::reconcile::{Rest, Subject, revocation, target};
use super::retries::{Broke, tried};
use super::{actions, catch_up, jobs, ledger, reviews};
use trevor_api::condition::reason;
use trevor_api::{ActionKind, Phase};
use trevor_core::commit::{ClosedAs, SealedBecause};
use trevor_core::event::Event;
use trevor_core::format;
use trevor_core::phase::{self, Ended, Facts, Next};

/// A reason and a message, for a condition.
type Stalled = (&'static str, String);

/// Takes one step after another until something has to be waited for.
pub async fn advance(
    ctx: &Context,
    subject: &mut Subject,
    facts: &mut Facts,
    events: &mut BTreeMap<String, Event>,
) -> Result<Rest, Broke> {
    if facts.owner.is_none() && subject.deleting() {
        // No byte was ever taken: there is nothing to close.
        return Ok(closed());
    }
    let run = Run::of(ctx, subject);
    let established = establish::ensure(ctx, subject, facts);
    if let Some(stalled) = run.step("establish::ensure", established).await? {
        // What else is missing comes by a watch; a place among the open ones does not.
        let waits = stalled.0 == reason::TOO_MANY_OPEN_REQUESTS;
        return Ok(Rest {
            stalled: Some(stalled),
            after: waits.then(|| ctx.patience(&subject.key.uid)),
            ..Rest::default()
        });
    }
    loop {
        ctx.claim()?;
        events.extend(ledger::events(&subject.key, facts));
        let next = phase::next(facts, subject.wish());
        let later = facts.later().map(|l| (reason::LATER_FORMAT, l.to_string()));
        if later.is_some() && !format::goes_on(&next, subject.wish().stop) {
            return Ok(Rest {
                stalled: later,
                ..Rest::default()
            });
        }
        let recorded = record_first(ctx, subject, facts, &next, events);
        run.step("ledger::record_first", recorded).await?;
        let rest = match next {
            Next::Rest => rest(&run, subject, facts, events).await?,
            Next::Gather { round } => {
                let gathered = gather::gather(ctx, subject, facts, round);
                run.step("gather::gather", gathered).await?
            }
            Next::Seal { round, ended } => {
                let because = sealed_because(subject, ended);
                let sealed = gather::seal(ctx, subject, facts, round, because);
                run.step("gather::seal", sealed).await?;
                None
            }
            Next::Freeze { round, refuse } => {
                let frozen = freeze::freeze(ctx, subject, facts, round, refuse);
                run.step("freeze::freeze", frozen).await?;
                None
            }
            Next::Recall { round } => {
                let recalled = review::recall(ctx, subject, facts, round);
                run.step("review::recall", recalled).await?;
                None
            }
            Next::Withdraw { round } => {
                let withdrawn = review::withdraw(ctx, subject, facts, round);
                run.step("review::withdraw", withdrawn).await?;
                None
            }
            Next::Review { round } => {
                let reviewed = review::review(ctx, subject, facts, round);
                run.step("review::review", reviewed).await?
            }
            Next::Release { round } => release(&run, subject, facts, events, round).await?,
            Next::Deliver { .. } => deliver(&run, subject, facts, events, later).await?,
            Next::Revoke { .. } => Some(revoke(&run, subject, facts, events).await?),
            Next::Close { closed_as, .. } => Some(close(&run, subject, facts, closed_as).await?),
        };
        if let Some(rest) = rest {
            return Ok(rest);
        }
    }
}

/// Runs the steps of one request.
struct Run<'a> {
    ctx: &'a Context,
    uid: String,
}

impl<'a> Run<'a> {
    fn of(ctx: &'a Context, subject: &Subject) -> Self {
        let uid = subject.key.uid.clone();
        Self { ctx, uid }
    }

    /// Runs a step, whose failures are remembered by its name.
    async fn step<T>(
        &self,
        name: &'static str,
        step: impl Future<Output = Result<T, EffectError>>,
    ) -> Result<T, Broke> {
        tried(self.ctx, &self.uid, name, step).await
    }
}

fn closed() -> Rest {
    Rest {
        closed: true,
        ..Rest::default()
    }
}

fn sealed_because(subject: &Subject, ended: Ended) -> SealedBecause {
    match (ended, &subject.recall) {
        (Ended::Recalled, Some(recall)) => SealedBecause::Recalled(recall.clone()),
        _ if subject.idle => SealedBecause::Idle,
        _ => SealedBecause::Withdrawn,
    }
}

/// Nothing is to be done, unless nobody has touched it for too long.
async fn rest(
    run: &Run<'_>,
    subject: &mut Subject,
    facts: &Facts,
    events: &mut BTreeMap<String, Event>,
) -> Result<Option<Rest>, Broke> {
    let patience = idle::patience(run.ctx, subject, facts, events);
    match run.step("idle::patience", patience).await? {
        Patience::Over => {
            subject.idle = true;
            Ok(None)
        }
        Patience::Waits(after) => Ok(Some(Rest {
            after,
            ..Rest::default()
        })),
    }
}

async fn release(
    run: &Run<'_>,
    subject: &mut Subject,
    facts: &mut Facts,
    events: &mut BTreeMap<String, Event>,
    round: i64,
) -> Result<Option<Rest>, Broke> {
    let released = release::release(run.ctx, subject, facts, round);
    let Some(waits) = run.step("release::release", released).await? else {
        return Ok(None);
    };
    if phase::standing(facts, subject.wish()).0 != Phase::Failed || subject.idle {
        return Ok(Some(waits));
    }
    // One that failed and that nobody touches is withdrawn, too.
    Ok(rest(run, subject, facts, events).await?.map(|idle| {
        let after = waits.after.into_iter().chain(idle.after).min();
        Rest { after, ..waits }
    }))
}

/// A release: it is shown, closed and renewed.
async fn deliver(
    run: &Run<'_>,
    subject: &mut Subject,
    facts: &mut Facts,
    events: &mut BTreeMap<String, Event>,
    later: Option<Stalled>,
) -> Result<Option<Rest>, Broke> {
    let ctx = run.ctx;
    let retired = release::retire(ctx, subject, facts);
    run.step("release::retire", retired).await?;
    if later.is_none() {
        let delivered = deliver::deliver(ctx, subject, facts);
        run.step("deliver::deliver", delivered).await?;
    }
    let retired = confirm::retire(ctx, subject, facts);
    run.step("confirm::retire", retired).await?;
    let retired = jobs::retire(ctx, subject, facts);
    run.step("jobs::retire", retired).await?;
    if facts.closed.is_some() {
        let crossed = Crossed::of(subject);
        let recorded = catch_up::record(ctx, &crossed, facts);
        run.step("catch_up::record", recorded).await?;
    }
    if facts.revoked.is_none() {
        let closed = close::close(ctx, subject, facts, ClosedAs::Released);
        run.step("close::close", closed).await?;
        if later.is_none() {
            let renewed = renew_all(ctx, subject, facts);
            run.step("renew::renew", renewed).await?;
        }
    }
    events.extend(ledger::of_urls(ctx, &subject.key, None).await?);
    if facts.revoked.is_some() || subject.revocation.is_some() {
        return Ok(None);
    }
    let settled = reviews::settle(ctx, subject, facts);
    run.step("reviews::settle", settled).await?;
    let warned = url_ending::warn(ctx, subject, facts);
    let url_warning = run.step("url_ending::warn", warned).await?;
    Ok(Some(Rest {
        url_warning,
        stalled: later,
        ..closed()
    }))
}

/// The release ends: it is recorded, taken back and closed.
async fn revoke(
    run: &Run<'_>,
    subject: &mut Subject,
    facts: &mut Facts,
    events: &mut BTreeMap<String, Event>,
) -> Result<Rest, Broke> {
    let ctx = run.ctx;
    let crossed = Crossed::of(subject);
    let recorded = catch_up::record(ctx, &crossed, facts);
    run.step("catch_up::record", recorded).await?;
    let revoked = revoke::revoke(ctx, subject, facts);
    run.step("revoke::revoke", revoked).await?;
    let revoked = facts.revoked.clone();
    events.extend(ledger::of_urls(ctx, &subject.key, revoked.as_ref()).await?);
    let retired = jobs::retire(ctx, subject, facts);
    run.step("jobs::retire", retired).await?;
    let ended = close::close(ctx, subject, facts, ClosedAs::Released);
    run.step("close::close", ended).await?;
    let settled = reviews::settle(ctx, subject, facts);
    run.step("reviews::settle", settled).await?;
    Ok(closed())
}

/// Nothing was released, and nothing will be.
async fn close(
    run: &Run<'_>,
    subject: &mut Subject,
    facts: &mut Facts,
    closed_as: ClosedAs,
) -> Result<Rest, Broke> {
    let ctx = run.ctx;
    let retired = release::retire(ctx, subject, facts);
    run.step("release::retire", retired).await?;
    let retired = confirm::retire(ctx, subject, facts);
    run.step("confirm::retire", retired).await?;
    let retired = jobs::retire(ctx, subject, facts);
    run.step("jobs::retire", retired).await?;
    let ended = close::close(ctx, subject, facts, closed_as);
    run.step("close::close", ended).await?;
    let settled = reviews::settle(ctx, subject, facts);
    run.step("reviews::settle", settled).await?;
    Ok(closed())
}

/// What is committed is in the ledger before the next step hides it: a round's end before
/// another round is opened, since later looks see the last round alone, and a release before
/// its record and its link are made. Where the ledger has it, this costs no write.
async fn record_first(
    ctx: &Context,
    subject: &Subject,
    facts: &Facts,
    next: &Next,
    events: &BTreeMap<String, Event>,
) -> Result<(), EffectError> {
    let opens = matches!(next, Next::Gather { .. } | Next::Seal { .. }) && facts.last.is_some();
    let delivers = matches!(next, Next::Deliver { .. }) && facts.closed.is_none();
    if !opens && !delivers {
        return Ok(());
    }
    let head = ledger::append(ctx, &subject.key, facts, events.clone()).await?;
    if opens {
        let told = outbox::told(&subject.key, facts, events, true);
        outbox::fill(ctx, subject, facts, told, head.as_ref()).await?;
    }
    Ok(())
}

async fn renew_all(
    ctx: &Context,
    subject: &mut Subject,
    facts: &mut Facts,
) -> Result<(), EffectError> {
    let crossed = Crossed::of(subject);
    for fact in std::mem::take(&mut subject.renewals) {
        let read = current::for_renewal(ctx, subject, &crossed.record).await?;
        if is_taken_back(ctx, subject, facts, &read).await? {
            break;
        }
        let renewed = renew::renew(ctx, &crossed, &subject.name, facts, (&fact, read)).await?;
        subject.renewed.insert(fact.uid, renewed);
        if facts.revoked.is_some() {
            break;
        }
    }
    Ok(())
}

/// Whether something that was accepted before a renewal takes the release back.
async fn is_taken_back(
    ctx: &Context,
    subject: &mut Subject,
    facts: &Facts,
    read: &ForRenewal,
) -> Result<bool, EffectError> {
    if let Some(live) = &read.request {
        subject.request = live.clone();
    }
    let revokes = read.actions.iter().cloned();
    let revokes = revokes.filter(|action| action.spec.action == ActionKind::Revoke);
    let record = record_name(&subject.name, &subject.key.uid);
    let target = target(subject, facts, &record);
    let taken = actions::judge_all(ctx, &target, revokes.collect()).await?;
    subject.revocation = revocation(ctx, subject, facts, &taken, read.reviews.clone()).await?;
    Ok(subject.revocation.is_some())
}
