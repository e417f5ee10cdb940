//! What bears a review out: when it was made, and what its reviewer had read.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource as _;

use super::context::Context;
use super::error::EffectError;
use super::reconcile::Subject;
use crate::rules::Report;
use trevor_api::{AirlockRequest, EditsSummary};
use trevor_core::edits::{self, Edits, Seen, Unconfirmed};
use trevor_core::manifest::Frozen;
use trevor_core::quorum::ReviewFact;

/// Adds to each review in which epoch it was made, and how many files of the
/// manifest its reviewer had read whole. The rules are verified after the reviews
/// were read, so that the current epoch covers them all.
pub async fn bear_out(
    ctx: &Context,
    subject: &Subject,
    frozen: &Frozen,
    reviews: &mut [ReviewFact],
) -> Result<(), EffectError> {
    if reviews.is_empty() {
        return Ok(());
    }
    prove(ctx, reviews).await?;
    count_views(ctx, subject, frozen, reviews).await
}

/// The same where some reviews were looked over before: what their reviewers had read by
/// then is known.
pub async fn bear_out_anew(
    ctx: &Context,
    subject: &Subject,
    frozen: &Frozen,
    reviews: &mut [ReviewFact],
    known: &[ReviewFact],
) -> Result<(), EffectError> {
    let before = |review: &ReviewFact| known.iter().find(|known| known.uid == review.uid);
    if !reviews.iter().all(|review| before(review).is_some()) {
        return bear_out(ctx, subject, frozen, reviews).await;
    }
    for review in reviews.iter_mut() {
        review.viewed = before(review).map_or(0, |known| known.viewed);
    }
    prove(ctx, reviews).await
}

/// The same by the last verification, if it found the rules in force: enough to see
/// that nothing can be decided yet, and not enough to decide.
pub async fn look_over(
    ctx: &Context,
    subject: &Subject,
    frozen: &Frozen,
    reviews: &mut [ReviewFact],
) -> Result<(), EffectError> {
    let report = ctx.rules.report();
    if !report.live() {
        return bear_out(ctx, subject, frozen, reviews).await;
    }
    if reviews.is_empty() {
        return Ok(());
    }
    date(&report, reviews);
    count_views(ctx, subject, frozen, reviews).await
}

/// Adds to each review in which epoch it was made, by a verification of now.
pub async fn prove(ctx: &Context, reviews: &mut [ReviewFact]) -> Result<(), EffectError> {
    date(&*ctx.rules.verify(Some(ctx.claim()?.term)).await?, reviews);
    Ok(())
}

fn date(report: &Report, reviews: &mut [ReviewFact]) {
    for review in reviews {
        review.epoch = report.epoch_of(review.time);
    }
}

async fn count_views(
    ctx: &Context,
    subject: &Subject,
    frozen: &Frozen,
    reviews: &mut [ReviewFact],
) -> Result<(), EffectError> {
    let views = views(ctx, subject, frozen).await?;
    for review in reviews {
        review.viewed = views.get(&reader(&review.reviewer)).copied().unwrap_or(0);
    }
    Ok(())
}

/// A reader as the names of views have it.
fn reader(name: &str) -> String {
    trevor_core::digest::Sha256Hex::of(name.as_bytes())
        .short(16)
        .to_owned()
}

/// Files of the manifest that each reader has read whole. The names of the objects
/// say it all.
async fn views(
    ctx: &Context,
    subject: &Subject,
    frozen: &Frozen,
) -> Result<BTreeMap<String, i64>, EffectError> {
    let round = frozen.manifest.round;
    let prefix = subject.key.views(round);
    let wanted: BTreeSet<String> = frozen
        .manifest
        .files
        .iter()
        .map(|file| {
            let key = subject
                .key
                .view(round, "", &file.path, &file.version, "viewed");
            key.rsplit('/').next().unwrap_or_default().to_owned()
        })
        .collect();
    let mut found = BTreeMap::new();
    for listed in ctx.zones.records.list(&prefix).await? {
        if let Some((reader, file)) = listed[prefix.len()..].split_once('/')
            && wanted.contains(file)
        {
            *found.entry(reader.to_owned()).or_insert(0) += 1;
        }
    }
    Ok(found)
}

/// Accounts for the edits of a request as it was read. `recalled`: when its submitter
/// recalled it, by an action that was made in an epoch.
pub fn account(
    report: &Report,
    request: &AirlockRequest,
    recalled: Option<Timestamp>,
    now: Timestamp,
) -> Option<Edits> {
    let status = request.status.as_ref();
    let shown = status.and_then(|status| status.edits.as_ref());
    let known = shown.map(|shown| Edits {
        generation: shown.generation,
        epoch: shown.epoch,
        unconfirmed: shown.unconfirmed_generation.map(|generation| Unconfirmed {
            generation,
            noticed: shown.unconfirmed_time.as_ref().map_or(now, |Time(at)| *at),
        }),
    });
    let seen = Seen {
        generation: request.meta().generation.unwrap_or_default(),
        created: request.meta().creation_timestamp.as_ref().map(|Time(t)| *t),
        edited: last_edit(request),
        known_before: status.is_some_and(|status| status.phase.is_some()),
        recalled,
    };
    // Before the first verification nothing is known of any epoch.
    if !report.verified {
        return known;
    }
    edits::account(known.as_ref(), seen, &report.epochs, now)
}

/// As status has it.
pub fn shown(edits: &Edits) -> EditsSummary {
    let unconfirmed = edits.unconfirmed.as_ref();
    EditsSummary {
        generation: edits.generation,
        epoch: edits.epoch,
        unconfirmed_generation: unconfirmed.map(|unconfirmed| unconfirmed.generation),
        unconfirmed_time: unconfirmed
            .map(|unconfirmed| Time(trevor_api::condition::second(unconfirmed.noticed))),
    }
}

/// Why nothing counts of a request that was itself made, or edited, while the
/// rules were away; none: it was made in an epoch.
pub fn outside(report: &Report, request: &AirlockRequest, edits: Option<&Edits>) -> Option<String> {
    let created = request.meta().creation_timestamp.as_ref().map(|Time(t)| *t);
    if created.is_none_or(|time| report.epoch_of(time).is_none()) {
        return Some(
            "the request was created while the admission rules were not proved to be in force; withdraw it and create it again".to_owned(),
        );
    }
    if last_edit(request).is_none_or(|time| report.epoch_of(time).is_none()) {
        return Some(
            "the request was last edited while the admission rules were not proved to be in force; recall it (AirlockAction Recall), look at every field, and submit again".to_owned(),
        );
    }
    let unconfirmed = edits.and_then(|edits| edits.unconfirmed.as_ref())?;
    Some(format!(
        "the request was edited while the admission rules were not proved to be in force (noticed at generation {}), and later edits do not undo that; its submitter confirms what it says: recall it (AirlockAction Recall), look at every field, and submit again; or withdraw it and create it again",
        unconfirmed.generation
    ))
}

/// The newest managedFields time outside status. Whoever may write can choose the
/// name of a manager, so that none is left out.
pub fn last_edit(request: &AirlockRequest) -> Option<Timestamp> {
    request
        .meta()
        .managed_fields
        .iter()
        .flatten()
        .filter(|entry| entry.subresource.as_deref() != Some("status"))
        .filter_map(|entry| entry.time.as_ref().map(|Time(t)| *t))
        .max()
}
