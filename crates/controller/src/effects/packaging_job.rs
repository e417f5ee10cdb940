//! Large packages are made by Jobs in the operator's namespace. Here one is made for an
//! attempt, observed, and what it sent is read back; record and URL follow as ever.
//!
//! An attempt by a Job has one key and one Job, known by its recorded uid, whichever
//! leader looks. Repeated: see [`jobs`]. An attempt that ended without a package is
//! marked as over before another begins, which has another key.

use std::sync::Arc;

use super::super::context::Context;
use super::super::error::EffectError;
use super::super::jobs::spec::Whose;
use super::super::jobs::{self, Order, Standing, pods};
use super::super::reconcile::{Rest, Subject};
use super::package::{self, PackagingError};
use super::progress::Progress;
use super::release::{self, Crossed, Maker, new_attempt, run_task, superseded};
use trevor_api::Direction;
use trevor_api::condition::reason;
use trevor_core::commit::Attempt;
use trevor_core::packaging::{AttemptOver, Sent};
use trevor_core::phase::{Facts, Round};
use trevor_core::quorum::approve;
use trevor_core::retry::MOST_ATTEMPTS;
use trevor_core::volume::Errand;
use trevor_store::StorageError;

/// What is to be done about a release.
pub enum Step {
    /// Nothing by a Job, or nothing now.
    Itself,
    /// A Job is at it.
    Rest(Box<Rest>),
    /// The attempt is over.
    Failed(PackagingError),
}

/// Goes on with the attempt of a Job, or begins one where a Job is to make the package.
pub async fn go_on(
    ctx: &Context,
    subject: &Subject,
    facts: &mut Facts,
    round: i64,
) -> Result<Step, EffectError> {
    let uid = subject.key.uid.as_str();
    if ctx.has_task(uid).await || release::rests(ctx, uid, round).is_some() {
        return Ok(Step::Itself);
    }
    let Some(last) = &mut facts.last else {
        return Ok(Step::Itself);
    };
    let attempt = match current(ctx, subject, last).await? {
        Some(attempt) if ctx.packaging.is_some() => attempt,
        // Jobs were switched off: this one is fenced by the attempt that follows.
        Some(attempt) => {
            mark_over(ctx, subject, round, &attempt, "Jobs were switched off").await?;
            return Ok(Step::Itself);
        }
        None => match begin(ctx, subject, last).await? {
            Some(attempt) => attempt,
            None => return Ok(Step::Itself),
        },
    };
    observe(ctx, subject, round, attempt).await
}

fn errand(round: i64, attempt: &Attempt) -> Errand {
    Errand::Package {
        round,
        attempt: attempt.attempt,
    }
}

/// The attempt of a Job that is under way, whoever began it.
async fn current(
    ctx: &Context,
    subject: &Subject,
    last: &Round,
) -> Result<Option<Attempt>, EffectError> {
    let Some(attempt) = last.attempts.last().filter(|a| a.job) else {
        return Ok(None);
    };
    let over = subject.key.package_over(errand(last.round, attempt));
    let over = ctx.zones.quarantine.work().get(&over).await?;
    Ok(over.is_none().then(|| attempt.clone()))
}

/// Records another attempt, if a Job is to make the package.
async fn begin(
    ctx: &Context,
    subject: &Subject,
    last: &mut Round,
) -> Result<Option<Attempt>, EffectError> {
    if ctx.packaging.is_none() {
        return Ok(None);
    }
    let (Some(frozen), Some(decision)) = (last.frozen(), last.decision.clone()) else {
        return Ok(None);
    };
    let manifest = &frozen.manifest;
    let by_job = ctx
        .config
        .controller
        .packaging
        .by_job(manifest.total_bytes());
    if !by_job || manifest.direction != Direction::Egress || approve(frozen, &decision).is_err() {
        return Ok(None);
    }
    // A server that is away costs no attempt.
    ctx.release.reach().await?;
    let term = ctx.claim()?.term;
    if last.attempts.len() >= MOST_ATTEMPTS {
        return Ok(None);
    }
    let attempt = new_attempt(ctx, subject, last, Maker::Job, &decision, term).await?;
    // What Jobs began before it is over.
    let before = |a: &&Attempt| a.attempt < attempt.attempt && a.job;
    let ended = |a: &&Attempt| before(a) || superseded(a, &attempt);
    let earlier: Vec<Attempt> = last.attempts.iter().filter(ended).cloned().collect();
    package::clear(&ctx.release, &subject.key, &earlier, None).await?;
    last.attempts.push(attempt.clone());
    last.failure = None;
    ctx.look_often(&subject.key.uid);
    Ok(Some(attempt))
}

async fn observe(
    ctx: &Context,
    subject: &Subject,
    round: i64,
    attempt: Attempt,
) -> Result<Step, EffectError> {
    let errand = errand(round, &attempt);
    let (work, at) = (
        ctx.zones.quarantine.work(),
        subject.key.package_sent(errand),
    );
    if let Some(sent) = work.get(&at).await? {
        return read_back(ctx, subject, round, attempt, sent).await;
    }
    let standing = match jobs::look(ctx, subject, errand).await? {
        Some(standing) => standing,
        None => make(ctx, subject, errand).await?,
    };
    let rest = |rest: Rest| {
        let after = Some(ctx.patience(&subject.key.uid));
        Step::Rest(Box::new(Rest { after, ..rest }))
    };
    match standing {
        Standing::Runs(what) => Ok(rest(Rest {
            releasing: Some(format!("the package is being made: {what}")),
            ..Rest::default()
        })),
        Standing::Waits(word, message) => Ok(rest(Rest {
            stalled: Some((word, message)),
            ..Rest::default()
        })),
        Standing::Failed(word) => {
            let error = failure(&word);
            give_up(ctx, subject, round, &attempt, &word).await?;
            Ok(Step::Failed(error))
        }
        Standing::Done => match said(ctx, subject, errand).await? {
            Some(sent) => {
                let sent = work.create(&at, &sent).await?.into_inner();
                read_back(ctx, subject, round, attempt, sent).await
            }
            None => {
                let why = "the Job ended without a word of what it sent";
                give_up(ctx, subject, round, &attempt, why).await?;
                Ok(Step::Failed(failure(why)))
            }
        },
    }
}

async fn make(ctx: &Context, subject: &Subject, errand: Errand) -> Result<Standing, EffectError> {
    let Some(template) = &ctx.packaging else {
        return Ok(Standing::Failed("Jobs were switched off".to_owned()));
    };
    let whose = Whose::of(subject);
    let order = Order {
        errand,
        service_account: &template.service_account,
        build: &|intent| template.job(&whose, errand, intent),
    };
    jobs::make(ctx, subject, &order).await
}

/// What the pod of the recorded Job said when it ended.
async fn said(
    ctx: &Context,
    subject: &Subject,
    errand: Errand,
) -> Result<Option<Sent>, EffectError> {
    let work = ctx.zones.quarantine.work();
    let Some(made) = work.get(&subject.key.job_made(errand)).await? else {
        return Ok(None);
    };
    let said = pods::result(ctx, &ctx.home, &made.uid).await?;
    Ok(said.as_deref().and_then(Sent::of))
}

/// A Job's last word as an error, with its reason where it gave one.
fn failure(word: &str) -> PackagingError {
    const REASONS: [&str; 4] = [
        reason::INTEGRITY_MISMATCH,
        reason::FILE_MISSING,
        reason::PACKAGE_IMPOSSIBLE,
        reason::NOT_APPROVED,
    ];
    let word = word.strip_prefix("trevor: ").unwrap_or(word);
    let (begins, rest) = word.split_once(": ").unwrap_or(("", word));
    match REASONS.into_iter().find(|reason| *reason == begins) {
        Some(reason) => PackagingError::Job {
            reason: Some(reason),
            message: rest.to_owned(),
        },
        None => PackagingError::Job {
            reason: None,
            message: format!("the packaging Job failed: {word}"),
        },
    }
}

/// Reads back what a Job sent, in a task as for a package of the controller's own.
async fn read_back(
    ctx: &Context,
    subject: &Subject,
    round: i64,
    attempt: Attempt,
    sent: Sent,
) -> Result<Step, EffectError> {
    const DOING: &str = "the package is being read back";
    let progress = Arc::new(Progress::of(DOING));
    let (release, moved) = (ctx.release.clone(), Arc::clone(&progress));
    let work = async move {
        let fact = package::verify(&release, &attempt, &sent, &moved).await?;
        Ok(Crossed::Package(fact))
    };
    let rest = run_task(ctx, subject, round, progress, Box::pin(work), DOING).await;
    Ok(Step::Rest(Box::new(rest)))
}

/// What was read back is not what a Job sent, or not there: its attempt is over. Where
/// the server did not answer it is read again.
pub async fn read_back_failed(
    ctx: &Context,
    subject: &Subject,
    facts: &Facts,
    error: &PackagingError,
) -> Result<(), EffectError> {
    let gone = matches!(
        error,
        PackagingError::ReadBack { .. } | PackagingError::Storage(StorageError::NotFound { .. })
    );
    let Some(last) = facts.last.as_ref().filter(|_| gone) else {
        return Ok(());
    };
    match last.attempts.last() {
        Some(attempt) if attempt.job => {
            give_up(ctx, subject, last.round, attempt, &error.to_string()).await
        }
        _ => Ok(()),
    }
}

/// Ends an attempt that made no package; the next one has another key.
async fn give_up(
    ctx: &Context,
    subject: &Subject,
    round: i64,
    attempt: &Attempt,
    why: &str,
) -> Result<(), EffectError> {
    jobs::end(ctx, &subject.key, errand(round, attempt)).await?;
    mark_over(ctx, subject, round, attempt, why).await
}

async fn mark_over(
    ctx: &Context,
    subject: &Subject,
    round: i64,
    attempt: &Attempt,
    why: &str,
) -> Result<(), EffectError> {
    let over = AttemptOver {
        message: why.to_owned(),
    };
    let at = subject.key.package_over(errand(round, attempt));
    ctx.zones.quarantine.work().create(&at, &over).await?;
    Ok(())
}

/// What became of the round is committed: its Job is ended, and what was stored of its
/// Jobs is not needed any more.
pub async fn retire(ctx: &Context, subject: &Subject, facts: &Facts) -> Result<(), EffectError> {
    let Some(last) = &facts.last else {
        return Ok(());
    };
    let Some(attempt) = last.attempts.iter().rfind(|a| a.job) else {
        return Ok(());
    };
    if ctx.packaging.is_some() {
        jobs::end(ctx, &subject.key, errand(last.round, attempt)).await?;
    }
    jobs::forget(ctx, &subject.key.packaging_jobs(last.round)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jobs_last_word_has_a_reason_where_a_person_must_act() {
        for (word, reason, message) in [
            (
                "trevor: IntegrityMismatch: a.csv is not what the manifest says",
                Some("IntegrityMismatch"),
                "a.csv is not what the manifest says",
            ),
            (
                "trevor: NotApproved: the reviews do not make its quorum",
                Some("NotApproved"),
                "the reviews do not make its quorum",
            ),
            (
                "OOMKilled: it ended with exit code 137",
                None,
                "the packaging Job failed: OOMKilled: it ended with exit code 137",
            ),
            (
                "trevor: packaging was interrupted",
                None,
                "the packaging Job failed: packaging was interrupted",
            ),
        ] {
            let error = failure(word);
            assert_eq!(error.needs_a_person(), reason, "{word}");
            assert_eq!(error.to_string(), message);
        }
    }
}
