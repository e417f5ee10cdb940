//! Commits the decision on a frozen round.
//!
//! What follows reads only `decision.json`. Repeated: create-only; whoever
//! decides second adopts the first.

use jiff::Timestamp;

use super::super::context::Context;
use super::super::current::{self, ForDecision};
use super::super::error::EffectError;
use super::super::reconcile::{Rest, Subject, recalled, seal_of};
use super::super::{evidence, reviews};
use super::look_back::look_back;
use trevor_api::Direction;
use trevor_api::condition::reason;
use trevor_core::commit::{Decision, Seal, Verdict};
use trevor_core::manifest::Frozen;
use trevor_core::phase::{Facts, Round};
use trevor_core::policy::{self, Rules};
use trevor_core::quorum::{Judgement, Question, Quorum, ReviewFact, judge};

const NO_PUBLISHER: &str = "packages name who releases them, and no publisher is configured: a cluster administrator sets crate.publisher.name (Helm values); approvals stay as they are, and the release follows by itself";

/// Judges the reviews; commits a decision, or says what is awaited.
pub async fn review(
    ctx: &Context,
    subject: &mut Subject,
    facts: &mut Facts,
    round: i64,
) -> Result<Option<Rest>, EffectError> {
    let (Some(frozen), Some(seal)) = (
        facts.last.as_ref().and_then(Round::frozen),
        seal_of(facts).cloned(),
    ) else {
        return Ok(Some(Rest::default()));
    };
    if subject.wish().stop {
        let read = current::for_decision(ctx, subject).await?;
        let decision = decision(
            ctx,
            subject,
            &seal.rules,
            Some(&frozen),
            Verdict::Withdrawn,
            Vec::new(),
            nothing_asked(),
            &seal.policy,
            round,
        );
        return decide(ctx, subject, facts, decision, read)
            .await
            .map(|()| None);
    }
    let looked_back = look_back(ctx, subject, facts, &frozen).await?;
    let mut quorum = quorum_of(subject, &seal, &frozen);
    let mut found = reviews::list(ctx, subject).await?;
    evidence::look_over(ctx, subject, &frozen, &mut found).await?;
    let mut judgement = judge(&Question::of(&frozen, &quorum), &found);
    // To read it all anew costs calls, and to verify the rules costs dozens: only where
    // there is something to decide.
    let mut read = None;
    if looked_back && judgement.verdict.is_some() {
        let now = current::for_decision(ctx, subject).await?;
        match &now.request {
            Some(live) => subject.request = live.clone(),
            None => return Ok(Some(Rest::default())),
        }
        subject.policy = now.policy.clone();
        if subject.wish().stop || recalled(ctx, subject, facts, now.actions.clone()).await? {
            return Ok(None);
        }
        quorum = quorum_of(subject, &seal, &frozen);
        let known = std::mem::replace(&mut found, now.reviews.clone());
        evidence::bear_out_anew(ctx, subject, &frozen, &mut found, &known).await?;
        judgement = judge(&Question::of(&frozen, &quorum), &found);
        read = Some(now);
    }
    let question = Question::of(&frozen, &quorum);
    let waits = if looked_back {
        waits(ctx, subject, &seal.rules, &frozen, &quorum)
    } else {
        let message = "the files are being compared with those of earlier requests";
        Some((reason::LOOKING_BACK, message.to_owned()))
    };
    let decides = judgement
        .verdict
        .filter(|v| waits.is_none() || *v != Verdict::Approved);
    let Some((verdict, read)) = decides.zip(read) else {
        let waits = waits.or_else(|| to_confirm(&judgement));
        reviews::show(ctx, subject, &found, Some((&judgement, &question)), None).await?;
        // A view writes no resource, and the gateway's hint may be lost.
        let reading = quorum.require_viewed && !found.is_empty();
        return Ok(Some(Rest {
            after: reading.then(|| ctx.patience(&subject.key.uid)),
            judgement: Some(judgement),
            reviews: found,
            files: question.files,
            required: Some(quorum.required),
            waits,
            ..Rest::default()
        }));
    };
    let counted = judgement.counted;
    let decision = decision(
        ctx,
        subject,
        &seal.rules,
        Some(&frozen),
        verdict,
        counted,
        quorum,
        &seal.policy,
        round,
    );
    decide(ctx, subject, facts, decision, read).await?;
    reviews::settle(ctx, subject, facts).await?;
    Ok(None)
}

/// What it takes: the stricter of what the policy said at the seal and what it says now.
fn quorum_of(subject: &Subject, seal: &Seal, frozen: &Frozen) -> Quorum {
    let current = subject.policy.as_ref().ok().map(|applied| &applied.rules);
    policy::quorum(&seal.rules, current, &frozen.manifest)
}

/// Commits that a round which was refused for it is withdrawn.
pub async fn withdraw(
    ctx: &Context,
    subject: &Subject,
    facts: &mut Facts,
    round: i64,
) -> Result<(), EffectError> {
    let Some(seal) = seal_of(facts).cloned() else {
        return Ok(());
    };
    let decision = decision(
        ctx,
        subject,
        &seal.rules,
        None,
        Verdict::Withdrawn,
        Vec::new(),
        nothing_asked(),
        &seal.policy,
        round,
    );
    let read = current::for_decision(ctx, subject).await?;
    decide(ctx, subject, facts, decision, read).await
}

/// Commits that a frozen round is returned because its submitter recalls it.
pub async fn recall(
    ctx: &Context,
    subject: &Subject,
    facts: &mut Facts,
    round: i64,
) -> Result<(), EffectError> {
    let frozen = facts.last.as_ref().and_then(Round::frozen);
    let (Some(seal), Some(recall)) = (seal_of(facts).cloned(), subject.recall.clone()) else {
        return Ok(());
    };
    let mut decision = decision(
        ctx,
        subject,
        &seal.rules,
        frozen.as_ref(),
        Verdict::Returned,
        Vec::new(),
        nothing_asked(),
        &seal.policy,
        round,
    );
    decision.recalled = Some(recall);
    let read = current::for_decision(ctx, subject).await?;
    decide(ctx, subject, facts, decision, read).await?;
    reviews::settle(ctx, subject, facts).await
}

/// A round that its submitter takes back needs nobody's approval.
fn nothing_asked() -> Quorum {
    Quorum {
        required: 0,
        reviewers: None,
        require_viewed: false,
        fold_names: false,
    }
}

/// Whether nothing is approved because an adverse review is to be confirmed.
fn to_confirm(judgement: &Judgement) -> Option<(&'static str, String)> {
    let review = judgement.unconfirmed.first()?;
    let message = format!(
        "AirlockReview {} ({:?}, by {}) was made while the admission rules were not proved to be in force: nothing is approved until its reviewer confirms it or takes it back by another review, or the submitter recalls the round and submits again",
        review.name, review.decision, review.reviewer
    );
    Some((reason::OUTSIDE_EPOCH, message))
}

/// Why approvals cannot count now, if so: reason and message.
fn waits(
    ctx: &Context,
    subject: &Subject,
    sealed: &Rules,
    frozen: &Frozen,
    quorum: &Quorum,
) -> Option<(&'static str, String)> {
    let applied = match &subject.policy {
        Ok(applied) => applied,
        Err(problem) => return Some((problem.reason(), problem.to_string())),
    };
    if let Some(problem) = policy::impossible(&applied.policy, quorum, &frozen.manifest) {
        return Some((problem.reason(), problem.to_string()));
    }
    let report = ctx.rules.report();
    if !report.live() {
        return Some((reason::RULES_NOT_LIVE, report.message()));
    }
    let edits = evidence::account(&report, &subject.request, None, Timestamp::now());
    if let Some(why) = evidence::outside(&report, &subject.request, edits.as_ref()) {
        return Some((reason::OUTSIDE_EPOCH, why));
    }
    // The decision fixes what the package says, so that it waits and not the release.
    let direction = subject.request.spec.direction;
    let terms = ctx.config.terms(direction, sealed);
    (direction == Direction::Egress && !terms.names_a_publisher())
        .then(|| (reason::PUBLISHER_MISSING, NO_PUBLISHER.to_owned()))
}

/// Commits a decision, on what was read just before.
async fn decide(
    ctx: &Context,
    subject: &Subject,
    facts: &mut Facts,
    decision: Decision,
    _: ForDecision,
) -> Result<(), EffectError> {
    ctx.claim()?;
    let key = subject.key.decision(decision.round);
    let records = &ctx.zones.records;
    let standing = records.create(&key, &decision).await?.into_inner();
    if let Some(last) = &mut facts.last {
        last.decision = Some(standing);
    }
    Ok(())
}

#[allow(clippy::too_many_arguments, reason = "a decision is these facts")]
fn decision(
    ctx: &Context,
    subject: &Subject,
    rules: &Rules,
    frozen: Option<&Frozen>,
    verdict: Verdict,
    reviews: Vec<ReviewFact>,
    quorum: Quorum,
    policy: &trevor_core::manifest::PolicyRef,
    round: i64,
) -> Decision {
    Decision {
        round,
        verdict,
        manifest_digest: frozen.map(|f| f.digest.clone()),
        policy: policy.clone(),
        quorum,
        reviews,
        recalled: None,
        terms: ctx.config.terms(subject.request.spec.direction, rules),
        time: trevor_api::condition::second(Timestamp::now()),
    }
}
