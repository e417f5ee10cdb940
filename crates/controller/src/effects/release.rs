//! Releases an approved round: a cancellable task makes the package, and the
//! reconcile observes it, looks once more whether something stops it, and
//! commits the outcome.
//!
//! Repeated: a task that was lost with its process is started anew with an
//! attempt of its own; the outcome is create-only, and whoever loses adopts it
//! and deletes what it made.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;
use tokio::task::JoinHandle;

use super::super::context::Context;
use super::super::current::{self, ForOutcome};
use super::super::error::EffectError;
use super::super::reconcile::{Rest, Subject};
use super::super::retries::{Thing, Why};
use super::super::{evidence, jobs, reviews};
use super::deliver_volume::Delivery;
use super::packaging_job::{self, Step};
use super::progress::Progress;
use super::{deliver_volume, ingress_release, package};
use trevor_api::{AirlockRequest, Direction, VolumePath};
use trevor_core::commit::{
    Attempt, AttemptFailure, Decision, Outcome, OutcomeKind, PackageFact, Verdict,
};
use trevor_core::ingress::FilesFact;
use trevor_core::manifest::Frozen;
use trevor_core::phase::{Facts, Round};
use trevor_core::quorum::{Question, ReviewFact, approve, judge};
use trevor_core::retention::What;
use trevor_core::retry::{self, Try, next_try};

/// A release that a look waits for.
const FEW_BYTES: u64 = 1 << 20;
/// How long.
const A_MOMENT: Duration = Duration::from_millis(500);
/// How long the answer to a package that was sent is waited for before a release is stopped.
const STORING: Duration = Duration::from_secs(20);

/// What a task verified.
pub enum Crossed {
    /// A package in the release bucket.
    Package(PackageFact),
    /// Quarantined files, inwards.
    Files(FilesFact),
}

/// How a task ended.
pub type Finished = Result<Crossed, package::PackagingError>;

/// A release under way.
pub struct Task {
    round: i64,
    progress: Arc<Progress>,
    handle: JoinHandle<Finished>,
}

impl Task {
    /// Stops it; what it made is cleaned by the next leader.
    pub fn abort(self) {
        self.handle.abort();
    }
}

/// Goes on with the release of a round; none when its outcome is committed.
pub async fn release(
    ctx: &Context,
    subject: &mut Subject,
    facts: &mut Facts,
    round: i64,
) -> Result<Option<Rest>, EffectError> {
    let finished = take_finished(ctx, &subject.key.uid, round)
        .await
        .map(|(finished, unsent)| {
            let attempt = facts.last.as_ref().and_then(|last| last.attempts.last());
            let unsent = attempt.filter(|_| unsent).map(|a| (round, a.attempt));
            ctx.set_unsent(&subject.key.uid, unsent);
            finished
        });
    let read = match stopped(ctx, subject, facts).await? {
        Standing::Stopped(kind, reviews, read) => {
            stop(
                ctx,
                subject,
                facts,
                outcome(round, kind, None, reviews),
                read,
            )
            .await?;
            return Ok(None);
        }
        Standing::GoesOn(read) => read,
    };
    let crossed = match finished {
        Some(Ok(Crossed::Files(files))) if volume_of(facts).is_some() => {
            let hashed = Some((round, files.clone()));
            ctx.set_hashed(&subject.key.uid, hashed);
            return carry(ctx, subject, facts, round, files).await;
        }
        Some(Ok(crossed)) => crossed,
        Some(Err(error)) => {
            packaging_job::read_back_failed(ctx, subject, facts, &error).await?;
            return failed(ctx, subject, facts, round, error).await.map(Some);
        }
        None => match ctx.hashed(&subject.key.uid, round) {
            Some(files) => return carry(ctx, subject, facts, round, files).await,
            None => {
                let rest = go_on(ctx, subject, facts, round).await?;
                return Ok((!ends_soon(ctx, subject, facts).await).then_some(rest));
            }
        },
    };
    let outcome = outcome(round, OutcomeKind::Released, Some(crossed), Vec::new());
    conclude(ctx, subject, facts, outcome, read).await?;
    Ok(None)
}

/// Stops a release that is under way, for good.
async fn stop(
    ctx: &Context,
    subject: &Subject,
    facts: &mut Facts,
    outcome: Outcome,
    read: ForOutcome,
) -> Result<(), EffectError> {
    cancel(ctx, &subject.key.uid).await;
    if volume_of(facts).is_some() {
        jobs::end_delivery(ctx, &subject.key).await?;
    }
    conclude(ctx, subject, facts, outcome, read).await
}

/// Waits a moment for a release of few bytes: to show that it is under way and look
/// again would take longer. A Job that writes into a volume gets its files only after it
/// was shown.
async fn ends_soon(ctx: &Context, subject: &Subject, facts: &Facts) -> bool {
    let frozen = facts.last.as_ref().and_then(Round::frozen);
    let few = frozen.is_some_and(|frozen| frozen.manifest.total_bytes() <= FEW_BYTES);
    if !few || volume_of(facts).is_some() {
        return false;
    }
    let progress = {
        let tasks = ctx.releases.lock().await;
        tasks
            .get(&subject.key.uid)
            .map(|task| Arc::clone(&task.progress))
    };
    match progress {
        Some(progress) => progress.ends_within(A_MOMENT).await,
        None => false,
    }
}

/// By a Job, or by a task of this process.
async fn go_on(
    ctx: &Context,
    subject: &Subject,
    facts: &mut Facts,
    round: i64,
) -> Result<Rest, EffectError> {
    match Box::pin(packaging_job::go_on(ctx, subject, facts, round)).await? {
        Step::Itself => start(ctx, subject, facts, round).await,
        Step::Rest(rest) => Ok(*rest),
        Step::Failed(error) => failed(ctx, subject, facts, round, error).await,
    }
}

/// The volume that the round goes into, if it goes into one.
fn volume_of(facts: &Facts) -> Option<(Frozen, VolumePath)> {
    let frozen = facts.last.as_ref()?.frozen()?;
    let volume = deliver_volume::volume(&frozen)?.clone();
    Some((frozen, volume))
}

/// A Job carries files that were hashed again into their volume.
async fn carry(
    ctx: &Context,
    subject: &mut Subject,
    facts: &mut Facts,
    round: i64,
    files: FilesFact,
) -> Result<Option<Rest>, EffectError> {
    let Some((frozen, volume)) = volume_of(facts) else {
        return Ok(Some(Rest::default()));
    };
    let uid = subject.key.uid.as_str();
    let after = |rest: Rest| Rest {
        after: Some(ctx.patience(uid)),
        ..rest
    };
    match deliver_volume::deliver(ctx, subject, &frozen, &volume, &files).await? {
        Delivery::Done(files) => {
            // The Job took its time: what was said meanwhile counts.
            match stopped(ctx, subject, facts).await? {
                Standing::Stopped(kind, reviews, read) => {
                    let outcome = outcome(round, kind, None, reviews);
                    stop(ctx, subject, facts, outcome, read).await?;
                }
                Standing::GoesOn(read) => {
                    let crossed = Some(Crossed::Files(files));
                    let outcome = outcome(round, OutcomeKind::Released, crossed, Vec::new());
                    conclude(ctx, subject, facts, outcome, read).await?;
                }
            }
            Ok(None)
        }
        Delivery::Runs(what) => Ok(Some(after(Rest {
            releasing: Some(what),
            ..Rest::default()
        }))),
        Delivery::Waits(word, message) => Ok(Some(after(Rest {
            stalled: Some((word, message)),
            ..Rest::default()
        }))),
        Delivery::Failed(why) => {
            // The next attempt hashes again, and makes another Job.
            jobs::end_delivery(ctx, &subject.key).await?;
            ctx.set_hashed(uid, None);
            let error = package::PackagingError::Delivery(why);
            failed(ctx, subject, facts, round, error).await.map(Some)
        }
    }
}

fn outcome(
    round: i64,
    kind: OutcomeKind,
    crossed: Option<Crossed>,
    reviews: Vec<ReviewFact>,
) -> Outcome {
    let (package, files) = match crossed {
        Some(Crossed::Package(package)) => (Some(package), None),
        Some(Crossed::Files(files)) => (None, Some(files)),
        None => (None, None),
    };
    Outcome {
        round,
        kind,
        package,
        files,
        reviews,
        time: trevor_api::condition::second(Timestamp::now()),
    }
}

/// The task's result, if it is done; nothing while it runs or when there is none.
/// Gives also whether nothing of it can be stored, so that its attempt may be used again.
async fn take_finished(ctx: &Context, uid: &str, round: i64) -> Option<(Finished, bool)> {
    let mut tasks = ctx.releases.lock().await;
    let task = tasks.get(uid)?;
    if task.round != round || task.progress.is_over() || task.handle.is_finished() {
        let task = tasks.remove(uid)?;
        if task.round != round {
            task.handle.abort();
            return None;
        }
        let unsent = !task.progress.may_be_stored();
        let finished = task.handle.await;
        let finished = finished.unwrap_or(Err(package::PackagingError::Broken));
        return Some((finished, unsent));
    }
    None
}

/// Whether a release goes on, with what was read to tell.
enum Standing {
    GoesOn(ForOutcome),
    Stopped(OutcomeKind, Vec<ReviewFact>, ForOutcome),
}

/// The quorum read: withdrawal, deletion, a new submission, or a review that
/// stops it. Such a word counts until the outcome is committed.
async fn stopped(
    ctx: &Context,
    subject: &mut Subject,
    facts: &Facts,
) -> Result<Standing, EffectError> {
    let read = current::for_outcome(ctx, subject).await?;
    Ok(match stops(ctx, subject, facts, &read).await? {
        Some((kind, reviews)) => Standing::Stopped(kind, reviews, read),
        None => Standing::GoesOn(read),
    })
}

async fn stops(
    ctx: &Context,
    subject: &mut Subject,
    facts: &Facts,
    read: &ForOutcome,
) -> Result<Option<(OutcomeKind, Vec<ReviewFact>)>, EffectError> {
    match &read.request {
        Some(live) => subject.request = live.clone(),
        None => return Ok(Some((OutcomeKind::Withdrawn, Vec::new()))),
    }
    let wish = subject.wish();
    if wish.stop {
        return Ok(Some((OutcomeKind::Withdrawn, Vec::new())));
    }
    let Some(last) = &facts.last else {
        return Ok(None);
    };
    if wish.submission > last.round {
        return Ok(Some((OutcomeKind::Returned, Vec::new())));
    }
    let Some(frozen) = last.frozen() else {
        return Ok(None);
    };
    let Some(decision) = &last.decision else {
        return Ok(None);
    };
    // What the decision rests on was borne out then, and stands.
    let rests_on =
        |review: &ReviewFact| decision.reviews.iter().any(|known| known.uid == review.uid);
    let mut found = read.reviews.clone();
    found.retain(|review| !rests_on(review));
    evidence::bear_out(ctx, subject, &frozen, &mut found).await?;
    found.extend(decision.reviews.iter().cloned());
    let judgement = judge(&Question::of(&frozen, &decision.quorum), &found);
    Ok(match judgement.verdict {
        Some(Verdict::Rejected) => Some((OutcomeKind::Rejected, judgement.counted)),
        Some(Verdict::Returned) => Some((OutcomeKind::Returned, judgement.counted)),
        // While the admission rules were away somebody took back a yes, or said no.
        None => Some((OutcomeKind::Returned, judgement.counted)),
        _ => None,
    })
}

/// Commits the outcome, on what was read just before.
async fn conclude(
    ctx: &Context,
    subject: &Subject,
    facts: &mut Facts,
    outcome: Outcome,
    _: ForOutcome,
) -> Result<(), EffectError> {
    ctx.claim()?;
    let key = subject.key.outcome(outcome.round);
    let standing = ctx.zones.records.create(&key, &outcome).await?.into_inner();
    let uid = subject.key.uid.as_str();
    ctx.retries.succeeded(uid, &Thing::Release(outcome.round));
    let keep = standing.package.as_ref().map(|p| p.key.clone());
    if let Some(last) = &mut facts.last {
        last.outcome = Some(standing);
    }
    clean(ctx, subject, facts, keep.as_deref()).await?;
    if facts.last.as_ref().is_some_and(|last| {
        last.outcome
            .as_ref()
            .is_some_and(|o| o.kind != OutcomeKind::Released)
    }) {
        reviews::settle(ctx, subject, facts).await?;
    }
    Ok(())
}

/// Starts a task unless one runs, or the last attempt broke off a moment ago.
async fn start(
    ctx: &Context,
    subject: &Subject,
    facts: &mut Facts,
    round: i64,
) -> Result<Rest, EffectError> {
    if let Some(why) = ctx.retries.why(&subject.key.uid, &Thing::Release(round)) {
        shown(facts, &why);
    }
    if let Some(task) = ctx.releases.lock().await.get(&subject.key.uid) {
        // Its end wakes us; this look is for one that hangs.
        return Ok(Rest {
            releasing: Some(task.progress.message()),
            after: Some(ctx.patience(&subject.key.uid).max(Duration::from_secs(5))),
            ..Rest::default()
        });
    }
    if let Some((left, why)) = rests(ctx, &subject.key.uid, round) {
        return Ok(Rest {
            releasing: Some(why.message),
            after: Some(left),
            ..Rest::default()
        });
    }
    let Some(last) = &mut facts.last else {
        return Ok(Rest::default());
    };
    let (Some(frozen), Some(decision)) = (last.frozen(), last.decision.clone()) else {
        return Ok(Rest::default());
    };
    let approved = match approve(frozen, &decision) {
        Ok(approved) => approved,
        Err(error) => {
            let message = format!("{error}; submit again");
            return Ok(Rest {
                stalled: Some((trevor_api::condition::reason::NOT_APPROVED, message)),
                ..Rest::default()
            });
        }
    };
    let claim = ctx.claim()?;
    let inwards = approved.get().manifest.direction == Direction::Ingress;
    let maker = match inwards {
        true => Maker::Nobody,
        false => Maker::Controller,
    };
    let unsent = ctx.unsent(&subject.key.uid, round);
    ctx.set_unsent(&subject.key.uid, None);
    let holder = &ctx.leadership.holder;
    let (attempt, again) = match next_try(&last.attempts, unsent, holder, claim.term) {
        Try::Again(number) => match last.attempts.iter().find(|a| a.attempt == number) {
            Some(attempt) => (attempt.clone(), true),
            None => return Ok(Rest::default()),
        },
        Try::Anew => {
            let attempt = new_attempt(ctx, subject, last, maker, &decision, claim.term).await?;
            last.attempts.push(attempt.clone());
            last.failure = None;
            (attempt, false)
        }
        Try::Exhausted => {
            let error = package::PackagingError::TooManyAttempts;
            return failed(ctx, subject, facts, round, error).await;
        }
    };
    let earlier: Vec<Attempt> = last
        .attempts
        .iter()
        .filter(|a| superseded(a, &attempt))
        .cloned()
        .collect();
    let progress = Arc::new(Progress::of(doing(subject)));
    let quarantine = ctx.zones.quarantine.clone();
    let work: BoxFuture<'static, Finished> = if inwards {
        let job = ingress_release::Job {
            quarantine,
            approved,
            progress: Arc::clone(&progress),
        };
        async move { ingress_release::run(job).await.map(Crossed::Files) }.boxed()
    } else {
        let job = package::Job {
            quarantine,
            release: ctx.release.clone(),
            packaging: ctx.config.controller.packaging.clone(),
            key: subject.key.clone(),
            approved,
            decision,
            attempt,
            earlier,
            again,
            progress: Arc::clone(&progress),
        };
        async move { package::run(job).await.map(Crossed::Package) }.boxed()
    };
    Ok(run_task(ctx, subject, round, progress, work, doing(subject)).await)
}

/// Runs work on a release in a task, whose end wakes the request.
pub async fn run_task(
    ctx: &Context,
    subject: &Subject,
    round: i64,
    progress: Arc<Progress>,
    work: BoxFuture<'static, Finished>,
    doing: &str,
) -> Rest {
    let queue = ctx.queue.clone();
    let target = ObjectRef::<AirlockRequest>::new(&subject.name).within(&subject.key.namespace);
    let ended = Arc::clone(&progress);
    let (throughput, began) = (Arc::clone(&ctx.throughput), Instant::now());
    let handle = tokio::spawn(async move {
        let result = work.await;
        if let Ok(Crossed::Package(fact)) = &result {
            throughput.packaged(fact.size, began.elapsed());
        }
        // A look that comes at once must not take the task for one that runs.
        if !ended.ends() {
            // The receiver is gone when the process stops: the next one starts anew.
            queue.add(target);
        }
        result
    });
    let task = Task {
        round,
        progress,
        handle,
    };
    let uid = subject.key.uid.clone();
    ctx.releases.lock().await.insert(uid, task);
    ctx.look_often(&subject.key.uid);
    Rest {
        releasing: Some(doing.to_owned()),
        after: Some(Duration::from_secs(11)),
        ..Rest::default()
    }
}

fn doing(subject: &Subject) -> &'static str {
    match subject.request.spec.direction {
        Direction::Egress => "the package is being made",
        Direction::Ingress => "the files are being hashed again",
    }
}

/// Attempts whose uploads may be aborted: of earlier terms, or of this process.
pub fn superseded(other: &Attempt, mine: &Attempt) -> bool {
    other.attempt < mine.attempt && (other.term < mine.term || other.holder == mine.holder)
}

/// Who makes the package of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// Nobody: nothing is written to the release bucket for what goes inwards.
    Nobody,
    /// This process.
    Controller,
    /// A Job.
    Job,
}

/// Records an attempt, and before it the ticket that promises the deletion of
/// what it will make. Of attempts by Jobs there is one at a time: one that another
/// leader recorded meanwhile is adopted.
pub async fn new_attempt(
    ctx: &Context,
    subject: &Subject,
    last: &Round,
    maker: Maker,
    decision: &Decision,
    term: i64,
) -> Result<Attempt, EffectError> {
    let records = &ctx.zones.records;
    if last.attempts.is_empty() && maker != Maker::Nobody {
        let due = super::close::due(decision.time, decision.terms.release_retention_seconds);
        super::close::ticket(ctx, subject, What::Release, due).await?;
    }
    let mut number = last.attempts.last().map_or(0, |a| a.attempt) + 1;
    let file = trevor_core::names::safe_zip_name(&subject.name);
    loop {
        let nonce = uuid::Uuid::new_v4().simple().to_string();
        let attempt = Attempt {
            attempt: number,
            key: match maker {
                Maker::Nobody => String::new(),
                _ => subject.key.release(&nonce, &file),
            },
            term,
            holder: ctx.leadership.holder.to_string(),
            packager: trevor_package::VERSION.to_owned(),
            time: Timestamp::now(),
            job: maker == Maker::Job,
        };
        let standing = records
            .create(&subject.key.attempt(last.round, number), &attempt)
            .await?
            .into_inner();
        if standing == attempt || (standing.job && maker == Maker::Job) {
            return Ok(standing);
        }
        number += 1;
    }
}

/// How long the release of a round rests, and why.
pub fn rests(ctx: &Context, uid: &str, round: i64) -> Option<(Duration, Why)> {
    ctx.retries.rests(uid, &Thing::Release(round))
}

/// Why the last try of an attempt failed is shown, where the stored failure is of an
/// earlier try.
fn shown(facts: &mut Facts, why: &Why) {
    let failure = facts.last.as_mut().and_then(|last| last.failure.as_mut());
    if let Some(failure) = failure.filter(|_| !why.reason.is_empty()) {
        why.reason.clone_into(&mut failure.reason);
        failure.message.clone_from(&why.message);
    }
}

/// A try broke off: where a person must act that is stored, once for each attempt;
/// otherwise nothing is. It is tried again later.
async fn failed(
    ctx: &Context,
    subject: &Subject,
    facts: &mut Facts,
    round: i64,
    error: package::PackagingError,
) -> Result<Rest, EffectError> {
    let uid = subject.key.uid.as_str();
    let into_volume = volume_of(facts).is_some();
    let Some(last) = &mut facts.last else {
        return Ok(Rest::default());
    };
    let thing = Thing::Release(round);
    let number = last.attempts.last().map_or(1, |a| a.attempt);
    let Some(reason) = error.needs_a_person() else {
        let message = format!(
            "{error}; attempt {number} broke off, and it is tried again by itself with growing pauses"
        );
        let why = Why {
            reason: "",
            message: message.clone(),
        };
        let pause = ctx.retries.failed_for(uid, thing, retry::PASSING, why);
        told(subject, number, &error, pause);
        return Ok(Rest {
            releasing: Some(message),
            after: Some(pause),
            ..Rest::default()
        });
    };
    let why = Why {
        reason,
        message: error.to_string(),
    };
    let failure = AttemptFailure {
        attempt: number,
        reason: reason.to_owned(),
        message: why.message.clone(),
        time: trevor_api::condition::second(Timestamp::now()),
    };
    let key = subject.key.attempt_failed(round, number);
    let records = &ctx.zones.records;
    last.failure = Some(records.create(&key, &failure).await?.into_inner());
    if into_volume {
        // The gateway gives files to a Job only while the request is shown as releasing,
        // which takes an attempt that has not failed.
        ctx.set_unsent(uid, None);
    }
    shown(facts, &why);
    // It is left by the cause going away, which only another try can tell.
    let pause = ctx
        .retries
        .failed_for(uid, thing, retry::NEEDS_A_PERSON, why);
    told(subject, number, &error, pause);
    Ok(Rest {
        after: Some(pause),
        ..Rest::default()
    })
}

fn told(subject: &Subject, attempt: i64, error: &package::PackagingError, pause: Duration) {
    tracing::warn!(
        namespace = subject.key.namespace, uid = subject.key.uid, request = subject.name,
        attempt, %error, pause_seconds = pause.as_secs(), "a release broke off; it is tried again"
    );
}

/// Stops a task, if one runs, and waits until it is gone.
pub async fn cancel(ctx: &Context, uid: &str) {
    let task = ctx.releases.lock().await.remove(uid);
    if let Some(task) = task {
        task.progress.stops_storing(STORING).await;
        task.handle.abort();
        drop(task.handle.await);
    }
}

/// The round is over: ends a task that another leader's outcome overtook, and
/// deletes what attempts left, but for the package of the outcome.
pub async fn retire(ctx: &Context, subject: &Subject, facts: &Facts) -> Result<(), EffectError> {
    let overtaken = ctx.has_task(&subject.key.uid).await;
    cancel(ctx, &subject.key.uid).await;
    if facts.closed.is_some() && !overtaken {
        return Ok(());
    }
    let outcome = facts.last.as_ref().and_then(|last| last.outcome.as_ref());
    let keep = outcome
        .and_then(|o| o.package.as_ref())
        .map(|p| p.key.as_str());
    clean(ctx, subject, facts, keep).await
}

/// Deletes what attempts left in the release bucket, but for one package.
async fn clean(
    ctx: &Context,
    subject: &Subject,
    facts: &Facts,
    keep: Option<&str>,
) -> Result<(), EffectError> {
    packaging_job::retire(ctx, subject, facts).await?;
    if facts
        .last
        .as_ref()
        .is_none_or(|last| last.attempts.iter().all(|a| a.key.is_empty()))
    {
        return Ok(());
    }
    let prefix = subject.key.releases();
    for (key, upload) in ctx.release.open_uploads(&prefix).await? {
        ctx.release.abort_upload(&key, &upload).await?;
    }
    let stored = ctx.release.list(&prefix).await?;
    let mut left: Vec<String> = stored.into_iter().map(|l| l.key).collect();
    left.retain(|key| Some(key.as_str()) != keep);
    if left.is_empty() {
        return Ok(());
    }
    // A renewal may have moved the package; where to was recorded before.
    let moved = moves(ctx, subject).await?;
    left.retain(|key| !moved.contains(key));
    ctx.release.delete(&left).await?;
    Ok(())
}

async fn moves(ctx: &Context, subject: &Subject) -> Result<BTreeSet<String>, EffectError> {
    let records = &ctx.zones.records;
    let mut found = BTreeSet::new();
    for at in records.list(&subject.key.moves()).await? {
        let moved = records.get(&at).await?;
        found.extend(moved.map(|moved| moved.key));
    }
    Ok(found)
}
