//! What bears a review out: when it was made, and what its reviewer had read.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource as _;

use super::context::Context;
use super::error::EffectError;
use super::reconcile::Subject;
use crate::api::AirlockRequest;
use crate::domain::manifest::Frozen;
use crate::domain::quorum::ReviewFact;
use crate::rules::Report;

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
    crate::domain::digest::Sha256Hex::of(name.as_bytes())
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
    for listed in ctx.zones.records.bucket().list(&prefix).await? {
        if let Some((reader, file)) = listed.key[prefix.len()..].split_once('/')
            && wanted.contains(file)
        {
            *found.entry(reader.to_owned()).or_insert(0) += 1;
        }
    }
    Ok(found)
}

/// Why nothing counts of a request that was itself made, or last edited, while the
/// rules were away; none: it was made in an epoch.
pub fn outside(report: &Report, request: &AirlockRequest) -> Option<String> {
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
    None
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
