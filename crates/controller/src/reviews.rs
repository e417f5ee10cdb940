//! Reading reviews, and telling their authors whether they count.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use super::context::Context;
use super::effects::revoke;
use super::error::EffectError;
use super::reconcile::Subject;
use super::word::{counted, not_counted};
use super::{evidence, ledger, word};
use trevor_api::condition::reason;
use trevor_api::{AirlockRequest, AirlockReview, AirlockReviewStatus, Phase, ReviewDecision};
use trevor_cluster::pages;
use trevor_core::action::TO_CONFIRM;
use trevor_core::commit::{Revoked, RevokedThrough};
use trevor_core::keys::RequestKey;
use trevor_core::phase::{Facts, Round};
use trevor_core::quorum::{Judgement, NotCounted, Question, ReviewFact, judge};

/// A review that came after the request closed.
pub const REQUEST_CLOSED: (&str, &str) =
    ("RequestClosed", "the request was closed before this review");
/// A review that came after the decision.
pub const ROUND_DECIDED: (&str, &str) =
    ("RoundDecided", "the round was decided before this review");
/// A review while no manifest is frozen.
pub const NOTHING_TO_REVIEW: (&str, &str) = (
    "NothingToReview",
    "nothing is under review; wait for phase InReview and name the digest that status.manifest shows",
);
/// A review of a request that is not there.
pub const UNKNOWN_REQUEST: (&str, &str) = (
    "UnknownRequest",
    "no request of this name is in this namespace; check spec.requestName",
);

fn fact(review: &AirlockReview) -> ReviewFact {
    ReviewFact {
        name: review.name_any(),
        uid: review.uid().unwrap_or_default(),
        reviewer: review.spec.reviewer.clone().unwrap_or_default(),
        decision: review.spec.decision,
        manifest_digest: review.spec.manifest_digest.clone(),
        time: review
            .metadata
            .creation_timestamp
            .as_ref()
            .map_or(Timestamp::UNIX_EPOCH, |Time(t)| *t),
        viewed: 0,
        epoch: None,
    }
}

/// The quorum read: all reviews of a request, from the API server itself.
pub async fn list(ctx: &Context, subject: &Subject) -> Result<Vec<ReviewFact>, EffectError> {
    let api: Api<AirlockReview> = Api::namespaced(ctx.client.clone(), &subject.key.namespace);
    let of_it = ListParams::default().fields(&format!("spec.requestName={}", subject.name));
    let mut found = Vec::new();
    // Of each only the fact is kept: all together they may be any number of long ones.
    match pages::visit(&api, of_it, |page| found.extend(page.iter().map(fact))).await {
        Ok(()) => Ok(found),
        // The definition was deleted, and every review with it.
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(found),
        Err(error) => Err(error.into()),
    }
}

/// Shows each review's author what became of it; unchanged statuses are not
/// written again. `decided` are the reviews of a stored decision.
pub async fn show(
    ctx: &Context,
    subject: &Subject,
    reviews: &[ReviewFact],
    judged: Option<(&Judgement, &Question<'_>)>,
    decided: Option<&[ReviewFact]>,
) -> Result<(), EffectError> {
    for review in reviews {
        if let Some((judgement, _)) = judged
            && judgement.not_counted.get(&review.uid) == Some(&NotCounted::OtherDigest)
            && !is_told(ctx, review)
            && let Some(status) = in_its_round(ctx, subject, review).await?
        {
            let named = (review.name.as_str(), review.uid.as_str());
            write(ctx, &subject.key.namespace, named, status).await?;
            continue;
        }
        let status = match (decided, judged) {
            (Some(decided), _) if decided.iter().any(|d| d.uid == review.uid) => decisive(review),
            (_, Some((judgement, question))) => match judgement.not_counted.get(&review.uid) {
                Some(why) => not_counted(why.reason(), &why.message(question, review)),
                None if decided.is_none() => {
                    write_before_decision(ctx, &subject.key.namespace, review).await?;
                    continue;
                }
                None => not_counted(ROUND_DECIDED.0, ROUND_DECIDED.1),
            },
            (_, None) => not_counted(NOTHING_TO_REVIEW.0, NOTHING_TO_REVIEW.1),
        };
        let named = (review.name.as_str(), review.uid.as_str());
        write(ctx, &subject.key.namespace, named, status).await?;
    }
    Ok(())
}

/// Shows that a review counts in a round that is not decided, unless a later look found that
/// it came too late: a process that lost its lease meanwhile may still be about to write.
async fn write_before_decision(
    ctx: &Context,
    namespace: &str,
    review: &ReviewFact,
) -> Result<(), EffectError> {
    let named = (review.name.as_str(), review.uid.as_str());
    let final_reasons = [ROUND_DECIDED.0, REQUEST_CLOSED.0];
    let is_final = |now: &AirlockReviewStatus| {
        now.reason
            .as_deref()
            .is_some_and(|reason| final_reasons.contains(&reason))
    };
    word::write_unless::<AirlockReview>(ctx, namespace, named, &counted(), is_final).await
}

/// Whether the watch tells that its author has a word already.
fn is_told(ctx: &Context, review: &ReviewFact) -> bool {
    let known = ctx.reviews.state();
    let known = known
        .iter()
        .find(|known| known.uid().as_ref() == Some(&review.uid));
    known.is_some_and(|known| known.status.as_ref().is_some_and(|s| s.state.is_some()))
}

/// That a review made the decision of an earlier round, where its author could not be told
/// before the next round came.
async fn in_its_round(
    ctx: &Context,
    subject: &Subject,
    review: &ReviewFact,
) -> Result<Option<AirlockReviewStatus>, EffectError> {
    let records = &ctx.zones.records;
    let rounds = records.folders(&subject.key.rounds()).await?;
    let mut rounds: Vec<i64> = rounds.iter().filter_map(|n| n.parse().ok()).collect();
    rounds.sort_unstable();
    for number in rounds.into_iter().rev() {
        let at = subject.key.decision(number);
        let Some(decision) = records.get(&at).await? else {
            continue;
        };
        let of_it = decision.manifest_digest.as_ref();
        if of_it.is_none_or(|digest| digest.as_str() != review.manifest_digest) {
            continue;
        }
        let at = subject.key.outcome(number);
        let outcome = records.get(&at).await?;
        let outcome = outcome.iter().flat_map(|outcome| &outcome.reviews);
        let mut made_it = decision.reviews.iter().chain(outcome);
        return Ok(made_it.find(|known| known.uid == review.uid).map(decisive));
    }
    Ok(None)
}

/// One that made a decision, or stopped something. Where its reviewer is not proved, the
/// latter is to be confirmed.
fn decisive(review: &ReviewFact) -> AirlockReviewStatus {
    if review.epoch.is_some() || review.decision == ReviewDecision::Approve {
        return counted();
    }
    AirlockReviewStatus {
        reason: Some(reason::UNCONFIRMED.to_owned()),
        message: Some(TO_CONFIRM.to_owned()),
        ..counted()
    }
}

/// After a decision or an outcome: the reviews that made it count, the rest do not.
pub async fn settle(ctx: &Context, subject: &Subject, facts: &Facts) -> Result<(), EffectError> {
    let Some(last) = &facts.last else {
        return Ok(());
    };
    let mut reviews = list(ctx, subject).await?;
    let mut decided: Vec<ReviewFact> = last
        .decision
        .as_ref()
        .map(|d| d.reviews.clone())
        .unwrap_or_default();
    decided.extend(last.outcome.iter().flat_map(|o| o.reviews.clone()));
    let (Some(frozen), Some(quorum)) = (last.frozen(), last.decision.as_ref().map(|d| &d.quorum))
    else {
        return show(ctx, subject, &reviews, None, Some(&decided)).await;
    };
    // What was decided on was borne out then.
    let one_of =
        |some: &[ReviewFact], review: &ReviewFact| some.iter().any(|r| r.uid == review.uid);
    let mut there = decided.clone();
    there.retain(|review| one_of(&reviews, review));
    reviews.retain(|review| !one_of(&decided, review));
    evidence::bear_out(ctx, subject, &frozen, &mut reviews).await?;
    reviews.extend(there);
    let question = Question::of(&frozen, quorum);
    let judgement = judge(&question, &reviews);
    match facts.revoked.as_ref().map(|revoked| &revoked.through) {
        Some(RevokedThrough::Review { uid, .. }) => {
            decided.extend(reviews.iter().filter(|r| r.uid == *uid).cloned());
        }
        Some(_) => {}
        // One that rejects what was released is not too late: the next look revokes.
        None if facts.released_time().is_some() => {
            reviews.retain(|review| !rejects_late(review, &judgement, &decided));
        }
        None => {}
    }
    show(
        ctx,
        subject,
        &reviews,
        Some((&judgement, &question)),
        Some(&decided),
    )
    .await
}

fn rejects_late(review: &ReviewFact, judgement: &Judgement, decided: &[ReviewFact]) -> bool {
    let one_of = |reviews: &[ReviewFact]| reviews.iter().any(|r| r.uid == review.uid);
    let stands = one_of(&judgement.counted) || one_of(&judgement.unconfirmed);
    rejects(review) && stands && !one_of(decided)
}

/// Whether a review of a released request has no word yet and may revoke it.
pub fn awaits_rejection(ctx: &Context, request: &AirlockRequest) -> bool {
    let (namespace, name) = (request.namespace(), request.name_any());
    let released = request.status.as_ref().and_then(|s| s.phase) == Some(Phase::Released);
    released
        && ctx.reviews.state().iter().any(|review| {
            review.spec.request_name == name
                && review.namespace() == namespace
                && review.spec.decision == ReviewDecision::Reject
                && review.status.as_ref().and_then(|s| s.state).is_none()
        })
}

/// A rejection of what was released, by somebody whose review counts: it revokes.
pub async fn late_rejection(
    ctx: &Context,
    subject: &Subject,
    facts: &Facts,
    mut found: Vec<ReviewFact>,
) -> Result<Option<Revoked>, EffectError> {
    let last = facts.last.as_ref();
    let frozen = last.and_then(Round::frozen);
    let decision = last.and_then(|last| last.decision.as_ref());
    let (Some(frozen), Some(decision)) = (frozen, decision) else {
        return Ok(None);
    };
    found.retain(|review| {
        review.manifest_digest == frozen.digest.as_str()
            && !decision.reviews.iter().any(|known| known.uid == review.uid)
    });
    if !found.iter().any(rejects) {
        return Ok(None);
    }
    evidence::bear_out(ctx, subject, &frozen, &mut found).await?;
    found.extend(decision.reviews.iter().cloned());
    let judgement = judge(&Question::of(&frozen, &decision.quorum), &found);
    // What stops is carried out, and is to be confirmed, where it was made outside an epoch.
    let mut rejections = judgement.counted;
    rejections.extend(judgement.unconfirmed);
    rejections.retain(rejects);
    rejections.sort_by(|a, b| (a.time, &a.uid).cmp(&(b.time, &b.uid)));
    Ok(rejections.into_iter().next().map(|review| {
        let through = RevokedThrough::Review {
            name: review.name,
            uid: review.uid,
        };
        revoke::asked(&review.reviewer, through, None)
    }))
}

fn rejects(review: &ReviewFact) -> bool {
    review.decision == ReviewDecision::Reject
}

/// Where no reviews are awaited: one that came all the same learns why it does
/// not count.
pub async fn answer(ctx: &Context, subject: &Subject, facts: &Facts) -> Result<(), EffectError> {
    let namespace = subject.key.namespace.as_str();
    let untold = ctx.reviews.state().into_iter().any(|review| {
        review.spec.request_name == subject.name
            && review.namespace().as_deref() == Some(namespace)
            && review.status.as_ref().and_then(|s| s.state).is_none()
    });
    if !untold {
        return Ok(());
    }
    if facts.last.is_some() {
        return settle(ctx, subject, facts).await;
    }
    let reviews = list(ctx, subject).await?;
    show(ctx, subject, &reviews, None, None).await
}

/// A closed request at rest: new reviews learn that they came too late.
pub async fn tell_closed(ctx: &Context, request: &AirlockRequest) -> Result<(), EffectError> {
    let (namespace, name) = (request.namespace().unwrap_or_default(), request.name_any());
    let untold = |review: &Arc<AirlockReview>| {
        let of_it =
            review.spec.request_name == name && review.namespace().as_deref() == Some(&namespace);
        of_it && review.status.as_ref().and_then(|s| s.state).is_none()
    };
    let late = ctx.reviews.state().into_iter().filter(untold);
    let late: Vec<ReviewFact> = late.map(|review| fact(&review)).collect();
    if late.is_empty() {
        return Ok(());
    }
    let key = RequestKey {
        namespace,
        uid: request.uid().unwrap_or_default(),
    };
    // The ledger has a review before its author is told.
    let events = ledger::in_order(ledger::of_reviews(&key, &late));
    let records = &ctx.zones.records;
    ctx.chain(&key).append(records, events).await?;
    ctx.forget(&key.uid);
    for review in &late {
        let status = not_counted(REQUEST_CLOSED.0, REQUEST_CLOSED.1);
        let named = (review.name.as_str(), review.uid.as_str());
        write(ctx, &key.namespace, named, status).await?;
    }
    Ok(())
}

/// A review of a request that does not exist.
pub async fn tell_unknown(ctx: &Context, review: &AirlockReview) -> Result<(), EffectError> {
    let status = not_counted(UNKNOWN_REQUEST.0, UNKNOWN_REQUEST.1);
    let namespace = review.namespace().unwrap_or_default();
    let uid = review.uid().unwrap_or_default();
    write(ctx, &namespace, (&review.name_any(), &uid), status).await
}

async fn write(
    ctx: &Context,
    namespace: &str,
    (name, uid): (&str, &str),
    status: AirlockReviewStatus,
) -> Result<(), EffectError> {
    word::write::<AirlockReview>(ctx, namespace, name, uid, &status).await
}
