//! Commits the decision on a frozen round.
//!
//! What follows reads only `decision.json`. Repeated: create-only; whoever
//! decides second adopts the first.

use jiff::Timestamp;
use kube::Api;

use super::super::context::Context;
use super::super::error::EffectError;
use super::super::reconcile::{Rest, Subject, seal_of};
use super::super::reviews;
use crate::api::{AirlockRequest, Direction};
use crate::domain::commit::{Decision, Terms, Verdict};
use crate::domain::manifest::Frozen;
use crate::domain::phase::{Facts, Round};
use crate::domain::policy::{self, Rules};
use crate::domain::quorum::{Judgement, Question, ReviewFact, judge};
use crate::storage::commit::commit;

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
        let decision = decision(
            ctx,
            subject,
            &seal.rules,
            Some(&frozen),
            Verdict::Withdrawn,
            Vec::new(),
            0,
            &seal.policy,
            round,
        );
        return decide(ctx, subject, facts, decision).await.map(|()| None);
    }
    let current = subject.policy.as_ref().ok().map(|a| a.rules.clone());
    let required = policy::required(&seal.rules, current.as_ref(), &frozen.manifest);
    let found = reviews::list(ctx, subject).await?;
    let judgement = judged(&frozen, required, &found);
    let waits = match &subject.policy {
        Err(problem) => Some(problem.to_string()),
        Ok(_) => None,
    };
    let Some(verdict) = judgement
        .verdict
        .filter(|v| waits.is_none() || *v != Verdict::Approved)
    else {
        reviews::show(ctx, subject, &found, Some(&judgement), None).await?;
        return Ok(Some(Rest {
            judgement: Some(judgement),
            required: Some(required),
            ..Rest::default()
        }));
    };
    // The quorum read of the request: a withdrawal that arrived meanwhile wins.
    let api: Api<AirlockRequest> = Api::namespaced(ctx.client.clone(), &subject.key.namespace);
    match api.get_opt(&subject.name).await? {
        Some(live) if live.metadata.uid.as_deref() == Some(&subject.key.uid) => {
            subject.request = live
        }
        _ => return Ok(Some(Rest::default())),
    }
    if subject.wish().stop {
        return Ok(None);
    }
    let counted = judgement.counted.clone();
    let decision = decision(
        ctx,
        subject,
        &seal.rules,
        Some(&frozen),
        verdict,
        counted,
        required,
        &seal.policy,
        round,
    );
    decide(ctx, subject, facts, decision).await?;
    reviews::settle(ctx, subject, facts).await?;
    Ok(None)
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
        0,
        &seal.policy,
        round,
    );
    decide(ctx, subject, facts, decision).await
}

/// Judges reviews of a manifest.
pub fn judged(frozen: &Frozen, required: i64, reviews: &[ReviewFact]) -> Judgement {
    let question = Question {
        digest: &frozen.digest,
        submitter: &frozen.manifest.submitter,
        created_by: frozen.manifest.created_by.as_deref(),
        required,
    };
    judge(&question, reviews)
}

async fn decide(
    ctx: &Context,
    subject: &Subject,
    facts: &mut Facts,
    decision: Decision,
) -> Result<(), EffectError> {
    ctx.claim()?;
    let key = subject.key.decision(decision.round);
    let standing = commit(ctx.zones.records.bucket(), &key, &decision)
        .await?
        .into_inner();
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
    required: i64,
    policy: &crate::domain::manifest::PolicyRef,
    round: i64,
) -> Decision {
    Decision {
        round,
        verdict,
        manifest_digest: frozen.map(|f| f.digest.clone()),
        policy: policy.clone(),
        required,
        reviews,
        terms: terms(ctx, subject.request.spec.direction, rules),
        time: crate::api::condition::second(Timestamp::now()),
    }
}

fn terms(ctx: &Context, direction: Direction, rules: &Rules) -> Terms {
    let storage = &ctx.config.storage;
    let crate_ = &rules.crate_;
    let configured = &ctx.config.crate_;
    let ttl = rules.url_ttl_seconds.unwrap_or(match direction {
        Direction::Egress => storage.presigned_url_ttl_seconds,
        Direction::Ingress => 3600,
    });
    // The configuration was checked at start; its own defaults stand otherwise.
    let quarantine = storage.quarantine_retention().unwrap_or(90 * 86_400);
    let release = storage.release_retention().unwrap_or(30 * 86_400);
    Terms {
        license: crate_
            .license
            .clone()
            .unwrap_or_else(|| configured.license.clone()),
        publisher: crate_
            .publisher
            .clone()
            .unwrap_or_else(|| configured.publisher.clone()),
        names_reviewers: crate_.names_reviewers.unwrap_or(false),
        url_ttl_seconds: ttl,
        quarantine_retention_seconds: rules.quarantine_retention_seconds.unwrap_or(quarantine),
        release_retention_seconds: rules.release_retention_seconds.unwrap_or(release),
    }
}
