//! One look at one request, from what is stored to what is shown.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource as _, ResourceExt as _};
use tracing::Instrument as _;

use super::actions::Target;
use super::context::Context;
use super::effects::record::{Crossed, record_name};
use super::effects::renew::{self, Renewed};
use super::effects::{establish, outbox, revoke};
use super::error::EffectError;
use super::kept::{self, Kept};
use super::retries::Thing;
use super::steps::advance;
use super::{actions, evidence, ledger, reviews, status};
use crate::spans;
use trevor_api::condition;
use trevor_api::{ActionKind, AirlockAction, AirlockRequest, Direction, FINALIZER, Phase};
use trevor_core::action::ActionFact;
use trevor_core::commit::{Recall, Refusal, Revoked, RevokedThrough, Seal};
use trevor_core::edits::Edits;
use trevor_core::epoch::LONGEST_LOOK;
use trevor_core::keys::RequestKey;
use trevor_core::phase::{self, Facts, Round, Wish};
use trevor_core::policy::{self, Applied, PolicyProblem};
use trevor_core::quorum::{Judgement, ReviewFact};
use trevor_store::audit;
use trevor_store::observe;

/// A request as it was read, at the start of the look.
pub struct Subject {
    /// The resource.
    pub request: AirlockRequest,
    /// Where its facts and files are.
    pub key: RequestKey,
    /// Its name.
    pub name: String,
    /// The policy that applies now, or why none does.
    pub policy: Result<Applied, PolicyProblem>,
    /// Nobody touched it for so long that it is withdrawn.
    pub idle: bool,
    /// The recall that is to be carried out.
    pub recall: Option<Recall>,
    /// The revocation that is to be carried out.
    pub revocation: Option<Revoked>,
    /// The renewals that are to be carried out.
    pub renewals: Vec<ActionFact>,
    /// How far they are, by uid of the action.
    pub renewed: BTreeMap<String, Renewed>,
    /// Holds, and what was deleted.
    pub kept: Kept,
    /// Up to where its edits are accounted for.
    pub edits: Option<Edits>,
}

impl Subject {
    /// What it asks for.
    pub fn wish(&self) -> Wish {
        Wish {
            submission: self.request.spec.submission,
            stop: self.request.spec.withdrawn || self.idle || self.deleting(),
            recall: self.recall.as_ref().map(|recall| recall.round),
            revoke: self.revocation.is_some(),
        }
    }

    /// Whether it is being deleted.
    pub fn deleting(&self) -> bool {
        self.request.metadata.deletion_timestamp.is_some()
    }
}

/// Why the look ended, for conditions and for when to look again.
#[derive(Debug, Default)]
pub struct Rest {
    /// What is waited for, if it is files.
    pub missing: Option<Vec<String>>,
    /// The reviews, where some are awaited.
    pub judgement: Option<Judgement>,
    /// All reviews, counted or not.
    pub reviews: Vec<ReviewFact>,
    /// Files of the manifest that they are about.
    pub files: i64,
    /// Approvals that are needed.
    pub required: Option<i64>,
    /// Why approvals cannot count now: reason and message.
    pub waits: Option<(&'static str, String)>,
    /// A person must act: reason and message.
    pub stalled: Option<(&'static str, String)>,
    /// A Job collects the files that are waited for: what it does.
    pub collecting: Option<String>,
    /// A release is under way, or why its last attempt broke off.
    pub releasing: Option<String>,
    /// Something failed, and is tried again by itself: reason and message.
    pub failing: Option<(&'static str, String)>,
    /// Look again after this long, beside watches.
    pub after: Option<Duration>,
    /// When to warn that the URL ends, unless it is used by then.
    pub url_warning: Option<Timestamp>,
    /// The closing facts and their tickets are stored.
    pub closed: bool,
}

/// The reconcile function of the request controller.
pub async fn reconcile(
    cached: Arc<AirlockRequest>,
    ctx: Arc<Context>,
) -> Result<Action, EffectError> {
    if is_at_rest(&cached)
        && !actions::awaits(&ctx, &cached)
        && !reviews::awaits_rejection(&ctx, &cached)
        && !ctx.must_look(&cached.uid().unwrap_or_default())
        && !ctx.has_task(&cached.uid().unwrap_or_default()).await
    {
        reviews::tell_closed(&ctx, &cached).await?;
        return Ok(warning_of(&cached).map_or_else(Action::await_change, wakes_at));
    }
    // A turn each, in the order in which they came.
    let waits = ctx.throughput.waits();
    let Ok(_turn) = ctx.turns.acquire().await else {
        return Err(EffectError::NotLeading);
    };
    drop(waits);
    ctx.throughput.looks();
    let _in_hand = InHand::of(&ctx, &cached);
    let span = spans::look(
        &cached.namespace().unwrap_or_default(),
        &cached.uid().unwrap_or_default(),
    );
    let looked = Box::pin(look(&cached, &ctx)).instrument(span);
    // Its effects are safe to repeat.
    let result = tokio::time::timeout(LONGEST_LOOK, looked).await;
    let result = result.unwrap_or(Err(EffectError::Timeout));
    if !matches!(result, Ok(_) | Err(EffectError::NotLeading)) {
        ctx.set_behind(&cached.uid().unwrap_or_default(), true);
    }
    result
}

/// A request that is looked at, while this lives; another look follows if there was news
/// meanwhile.
struct InHand<'a> {
    ctx: &'a Context,
    uid: String,
    target: ObjectRef<AirlockRequest>,
}

impl<'a> InHand<'a> {
    fn of(ctx: &'a Context, request: &AirlockRequest) -> Self {
        let uid = request.uid().unwrap_or_default();
        ctx.echoes.begin(&uid);
        let target = ObjectRef::from_obj(request);
        Self { ctx, uid, target }
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        if self.ctx.echoes.end(&self.uid) {
            // The receiver is gone when the process stops.
            self.ctx.queue.add(self.target.clone());
        }
    }
}

/// When something is to be done for a closed request, if anything is.
fn warning_of(request: &AirlockRequest) -> Option<Timestamp> {
    let release = request.status.as_ref()?.release.as_ref()?;
    release.warning_time.as_ref().map(|Time(at)| *at)
}

fn wakes_at(time: Timestamp) -> Action {
    let left = Duration::try_from(time.duration_since(Timestamp::now()));
    Action::requeue(left.unwrap_or_default() + Duration::from_secs(1))
}

/// An idle closed request costs no call.
fn is_at_rest(request: &AirlockRequest) -> bool {
    let Some(status) = &request.status else {
        return false;
    };
    let closed = matches!(
        status.phase,
        Some(Phase::Released | Phase::Rejected | Phase::Withdrawn | Phase::Revoked)
    );
    let ready = status
        .conditions
        .iter()
        .any(|c| c.type_ == condition::READY && c.status == "True");
    closed
        && ready
        && status.closed_time.is_some()
        && status.observed_generation == request.metadata.generation
        && request.metadata.deletion_timestamp.is_none()
        && warning_of(request).is_none_or(|at| Timestamp::now() < at)
        && !kept::is_behind(status, Timestamp::now())
}

async fn look(cached: &AirlockRequest, ctx: &Context) -> Result<Action, EffectError> {
    ctx.claim()?;
    let namespace = cached.namespace().unwrap_or_default();
    let api: Api<AirlockRequest> = Api::namespaced(ctx.client.clone(), &namespace);
    let Some(request) = api.get_opt(&cached.name_any()).await? else {
        let uid = cached.uid().unwrap_or_default();
        ctx.forget(&uid);
        ctx.retries.forget(&uid);
        ctx.set_behind(&uid, false);
        return Ok(Action::await_change());
    };
    if request.metadata.generation != cached.metadata.generation {
        ctx.look_often(&request.uid().unwrap_or_default());
    }
    let policy = policy::applied(
        ctx.policies.state().iter().map(AsRef::as_ref),
        ctx.config.configured_policy.as_ref(),
        &namespace,
        request.spec.direction,
    );
    let key = RequestKey {
        namespace,
        uid: request.uid().unwrap_or_default(),
    };
    let mut subject = Subject {
        name: request.name_any(),
        key,
        policy,
        idle: false,
        recall: None,
        revocation: None,
        renewals: Vec::new(),
        renewed: BTreeMap::new(),
        kept: Kept::default(),
        edits: None,
        request,
    };

    let mut facts = match observe::facts(&ctx.zones.records, &subject.key).await {
        Ok(facts) => facts,
        Err(error) => {
            return report(ctx, &subject, None, Err(error.into()), None, Thing::Look).await;
        }
    };
    let mut events = BTreeMap::new();
    let taken = match take_up(ctx, &mut subject, &facts).await {
        Ok(taken) => taken,
        Err(error) => return report(ctx, &subject, None, Err(error), None, Thing::Look).await,
    };
    match kept::carry_out(ctx, &Crossed::of(&subject), &taken).await {
        Ok(holds) => events.extend(holds),
        Err(error) => return report(ctx, &subject, None, Err(error), None, Thing::Look).await,
    }
    let advanced = Box::pin(advance(ctx, &mut subject, &mut facts, &mut events)).await;
    let (mut advanced, thing) = match advanced {
        Ok(rest) => (Ok(rest), Thing::Look),
        Err(broke) => (Err(broke.error), broke.thing),
    };
    events.extend(ledger::of_actions(&subject.key, &taken));
    subject.edits = account(ctx, &subject, &facts);
    events.extend(ledger::of_edits(&subject.key, subject.edits.as_ref()));
    if let Ok(rest) = &advanced {
        events.extend(ledger::of_reviews(&subject.key, &rest.reviews));
    }
    if advanced.as_ref().is_ok_and(|rest| rest.judgement.is_none())
        && let Err(error) = reviews::answer(ctx, &subject, &facts).await
    {
        advanced = Err(error);
    }
    events.extend(ledger::events(&subject.key, &facts));
    match kept::look(ctx, &subject.key, &facts).await {
        Ok(kept) => subject.kept = kept,
        Err(error) => advanced = Err(error),
    }
    let told = outbox::told(&subject.key, &facts, &events, advanced.is_ok());
    let head = match ledger::append(ctx, &subject.key, &facts, events).await {
        Ok(head) => Box::pin(outbox::fill(ctx, &subject, &facts, told, head.as_ref()))
            .await
            .map(|()| head),
        Err(error) => Err(error),
    };
    // An action that has its word is not looked at again: the ledger has it before.
    if head.is_ok()
        && advanced.is_ok()
        && let Err(error) = actions::tell(ctx, &subject.key, &facts, &taken, &subject.renewed).await
    {
        advanced = Err(error);
    }
    match head {
        // Revoked is shown when it is done, not while URLs may still work.
        Ok(_) if facts.revoked.is_some() && advanced.is_err() => {
            report(ctx, &subject, None, advanced, None, thing).await
        }
        Ok(head) => report(ctx, &subject, Some(&facts), advanced, head, thing).await,
        // Nothing is shown that the ledger does not have, or the outbox.
        Err(error) => report(ctx, &subject, None, Err(error.into()), None, Thing::Look).await,
    }
}

/// Accounts for its edits. A recall that was made in an epoch confirms those before it.
fn account(ctx: &Context, subject: &Subject, facts: &Facts) -> Option<Edits> {
    let report = ctx.rules.report();
    let recalled = facts.last.as_ref().and_then(Round::recalled);
    let recalled = recalled.map(|recall| recall.time);
    let recalled = recalled.filter(|time| report.epoch_of(*time).is_some());
    evidence::account(&report, &subject.request, recalled, Timestamp::now())
}

/// What is asked of it beside reviews, and of its release.
async fn take_up(
    ctx: &Context,
    subject: &mut Subject,
    facts: &Facts,
) -> Result<Vec<ActionFact>, EffectError> {
    if facts.owner.is_none() {
        return Ok(Vec::new());
    }
    let record = record_name(&subject.name, &subject.key.uid);
    let taken = actions::take_up(ctx, &target(subject, facts, &record)).await?;
    subject.recall = actions::recall(&taken);
    subject.renewals = actions::renewals(&taken);
    if facts.released_time().is_some() && facts.revoked.is_none() {
        let found = reviews::list(ctx, subject).await?;
        subject.revocation = revocation(ctx, subject, facts, &taken, found).await?;
    }
    Ok(taken)
}

/// What actions on it are about.
pub fn target<'a>(subject: &'a Subject, facts: &Facts, record: &'a str) -> Target<'a> {
    let (phase, round) = phase::standing(facts, subject.wish());
    let spec = &subject.request.spec;
    Target {
        key: &subject.key,
        request: Some(&subject.name),
        record,
        submitter: spec.submitter.as_deref().unwrap_or_default(),
        phase,
        round,
        window_over: renew::window_end(facts).is_some_and(|end| end <= Timestamp::now()),
        inwards: spec.direction == Direction::Ingress,
    }
}

/// What takes the release back, if something does.
pub async fn revocation(
    ctx: &Context,
    subject: &Subject,
    facts: &Facts,
    taken: &[ActionFact],
    reviews: Vec<ReviewFact>,
) -> Result<Option<Revoked>, EffectError> {
    Ok(match actions::revocation(taken) {
        Some(asked) => Some(asked),
        None if subject.request.spec.withdrawn => Some(withdrawal(&subject.request)),
        None => reviews::late_rejection(ctx, subject, facts, reviews).await?,
    })
}

/// Judges actions that were read just before a decision: a recall that was accepted by
/// then is carried out. Whatever else they ask for waits for the watch.
pub async fn recalled(
    ctx: &Context,
    subject: &mut Subject,
    facts: &Facts,
    actions: Vec<Arc<AirlockAction>>,
) -> Result<bool, EffectError> {
    let recalls = actions.into_iter();
    let recalls = recalls.filter(|action| action.spec.action == ActionKind::Recall);
    let record = record_name(&subject.name, &subject.key.uid);
    let target = target(subject, facts, &record);
    let round = target.round;
    let taken = actions::judge_all(ctx, &target, recalls.collect()).await?;
    let recall = actions::recall(&taken).filter(|recall| recall.round == round);
    let recalls = recall.is_some();
    if recalls {
        subject.recall = recall;
    }
    Ok(recalls)
}

/// A request that is withdrawn after its release takes the release back.
fn withdrawal(request: &AirlockRequest) -> Revoked {
    let spec = &request.spec;
    // A delegate's requests are edited by the delegate.
    let by = spec.created_by.as_ref().or(spec.submitter.as_ref());
    let by = by.map_or("", String::as_str);
    revoke::asked(by, RevokedThrough::Withdrawal, None)
}

/// Writes what is to be shown, and says when to look again.
async fn report(
    ctx: &Context,
    subject: &Subject,
    facts: Option<&Facts>,
    advanced: Result<Rest, EffectError>,
    head: Option<audit::Head>,
    thing: Thing,
) -> Result<Action, EffectError> {
    if matches!(advanced, Err(EffectError::NotLeading)) {
        return Ok(Action::await_change());
    }
    let uid = subject.key.uid.as_str();
    // Somebody else wrote at the same time: there is nothing to tell, look again.
    if advanced.as_ref().is_err_and(EffectError::is_conflict) {
        ctx.set_behind(uid, true);
        return Ok(Action::requeue(ctx.retries.failed(uid, thing) / 10));
    }
    let now = Timestamp::now();
    let written = status::write(ctx, subject, facts, &advanced, head, now).await;
    let rest = match advanced {
        Ok(rest) => rest,
        Err(error) => {
            let pause = ctx.retries.failed(uid, thing);
            tracing::warn!(
                namespace = subject.key.namespace, uid, request = subject.name,
                reason = error.reason(), %error, pause_seconds = pause.as_secs(), "an effect failed"
            );
            return Ok(Action::requeue(pause));
        }
    };
    // What the request asks for may be answered by now, so that its status alone would not
    // say that there is something to do: it shows an earlier end.
    ctx.set_behind(uid, written.is_err());
    match written {
        Ok(()) => ctx.retries.succeeded(uid, &Thing::Status),
        Err(error) if error.is_conflict() => {
            return Ok(Action::requeue(ctx.retries.failed(uid, Thing::Status) / 10));
        }
        // The resource or its namespace is gone or going: the bucket has the facts.
        Err(EffectError::Kube(kube::Error::Api(answer))) if answer.code == 404 => {
            ctx.set_behind(uid, false);
        }
        Err(error) => {
            let pause = ctx.retries.failed(uid, Thing::Status);
            tracing::warn!(
                namespace = subject.key.namespace, uid, request = subject.name,
                %error, pause_seconds = pause.as_secs(), "its status was not written"
            );
            return Ok(Action::requeue(pause));
        }
    }
    if rest.closed {
        if subject.deleting() {
            establish::let_go(ctx, subject).await?;
        }
        ctx.forget(uid);
        ctx.retries.closed(uid);
    }
    ctx.retries.succeeded(uid, &Thing::Look);
    // Nothing else wakes us when a phase becomes overdue.
    let overdue = facts
        .and_then(|facts| status::limit_of(facts, phase::standing(facts, subject.wish()).0))
        .map(|limit| limit.duration_since(now))
        .filter(|left| left.is_positive())
        .and_then(|left| Duration::try_from(left).ok())
        .map(|left| left + Duration::from_secs(1));
    // While finalizers are let go none is set, and nothing tells when that is over.
    let bare = !rest.closed && !subject.deleting() && !has_finalizer(&subject.request);
    let bare = (bare && rest.stalled.is_none()).then_some(Duration::from_secs(30));
    let after = rest.after.into_iter().chain(overdue).chain(bare).min();
    if let (None, Some(at)) = (after, rest.url_warning) {
        return Ok(wakes_at(at));
    }
    Ok(after.map_or_else(Action::await_change, Action::requeue))
}

/// What happens when the reconcile itself fails (it took too long, or could not begin).
pub fn error_policy(
    request: Arc<AirlockRequest>,
    error: &EffectError,
    ctx: Arc<Context>,
) -> Action {
    let uid = request.uid().unwrap_or_default();
    let pause = ctx.retries.failed(&uid, Thing::Look);
    tracing::warn!(request = %request.name_any(), uid, %error, "reconcile failed");
    Action::requeue(pause)
}

/// The seal of the last round, which every later step has.
pub fn seal_of(facts: &Facts) -> Option<&Seal> {
    facts.last.as_ref().and_then(|round| round.seal.as_ref())
}

/// The refusal of the last round, if it was refused.
pub fn refusal_of(facts: &Facts) -> Option<&Refusal> {
    match facts.last.as_ref()?.freeze.as_deref()? {
        trevor_core::commit::Freeze::Refusal(refusal) => Some(refusal),
        trevor_core::commit::Freeze::Manifest(_) => None,
    }
}

/// Whether the finalizer is on it.
pub fn has_finalizer(request: &AirlockRequest) -> bool {
    request
        .meta()
        .finalizers
        .as_ref()
        .is_some_and(|f| f.iter().any(|f| f == FINALIZER))
}
