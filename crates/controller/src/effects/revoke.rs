//! Takes a release back: `revoked.json`, then the package or the files within reach, the
//! URLs and their Secrets.
//!
//! Killed at any point, the next look goes on: everything here is found again by
//! listing, and the Secrets by receipts that were stored before the URLs went.

use jiff::Timestamp;

use super::super::context::Context;
use super::super::error::EffectError;
use super::super::reconcile::Subject;
use super::record::{self, Crossed};
use super::{aside, release, url};
use trevor_core::commit::{Revoked, RevokedThrough};
use trevor_core::keys::RequestKey;
use trevor_core::phase::Facts;
use trevor_store::revocation;

/// Takes the release of a request back.
pub async fn revoke(
    ctx: &Context,
    subject: &Subject,
    facts: &mut Facts,
) -> Result<(), EffectError> {
    let Some(revoked) = fix(ctx, &subject.key, facts, subject.revocation.as_ref()).await? else {
        return Ok(());
    };
    release::cancel(ctx, &subject.key.uid).await;
    let crossed = Crossed::of(subject);
    clear(ctx, &crossed, facts).await?;
    if facts.closed.is_none()
        && let Some(spec) = record::keep(ctx, subject, facts).await?
    {
        crossed.tolerate_going(record::make(ctx, &crossed, &spec).await)?;
    }
    show(ctx, &crossed, &revoked).await
}

/// Commits that it is taken back, unless that is so already.
pub async fn fix(
    ctx: &Context,
    key: &RequestKey,
    facts: &mut Facts,
    asked: Option<&Revoked>,
) -> Result<Option<Revoked>, EffectError> {
    if facts.revoked.is_none()
        && let Some(asked) = asked
    {
        ctx.claim()?;
        let standing = ctx.zones.records.create(&key.revoked(), asked).await?;
        facts.revoked = Some(standing.into_inner());
    }
    Ok(facts.revoked.clone())
}

/// Deletes what lies outside, puts what crossed inwards out of reach, deletes the
/// Secrets, and last the URLs, by which the Secrets are found.
pub async fn clear(ctx: &Context, crossed: &Crossed, facts: &Facts) -> Result<(), EffectError> {
    aside::set_files_aside(ctx, &crossed.key, facts).await?;
    for secret in revocation::sweep(&ctx.zones, &ctx.release, &crossed.key).await? {
        url::delete_secret(ctx, crossed, &secret).await?;
    }
    revocation::forget(&ctx.zones, &crossed.key).await?;
    Ok(())
}

/// Shows it on the ReleaseRecord; what arrives late is swept from there.
pub async fn show(ctx: &Context, crossed: &Crossed, revoked: &Revoked) -> Result<(), EffectError> {
    record::show_revoked(ctx, crossed, revoked, settled(revoked)).await?;
    ctx.strays.notify_one();
    Ok(())
}

/// Whether nothing that was sent before the revocation can still arrive.
pub fn settled(revoked: &Revoked) -> bool {
    Timestamp::now().duration_since(revoked.time) > revocation::LATE
}

/// What is to be stored of a revocation that is asked for now.
pub fn asked(by: &str, through: RevokedThrough, reason: Option<String>) -> Revoked {
    Revoked {
        by: by.to_owned(),
        through,
        reason,
        time: trevor_api::condition::second(Timestamp::now()),
    }
}
