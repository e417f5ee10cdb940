//! After the outcome: the record, the ReleaseRecord, the URL, its Secret.
//!
//! Repeated: record and URL object are create-only; see [`record`] and [`url`] for
//! the rest.

use super::super::context::Context;
use super::super::error::EffectError;
use super::super::reconcile::Subject;
use super::record::{self, Crossed};
use super::statement;
use super::url::{self, Life};
use trevor_core::phase::Facts;
use trevor_core::url_issue::UrlIssue;
use trevor_store::{StorageError, urls};

/// Makes what the outcome promises; does nothing once the request is closed. A
/// revocation by somebody else is seen at the end: then the facts have it.
pub async fn deliver(
    ctx: &Context,
    subject: &Subject,
    facts: &mut Facts,
) -> Result<(), EffectError> {
    if facts.closed.is_some() {
        return Ok(());
    }
    let Some(spec) = record::keep(ctx, subject, facts).await? else {
        return Ok(());
    };
    let crossed = Crossed::of(subject);
    statement::keep(ctx, &crossed, facts).await?;
    let until = spec.delete_after_time.0;
    let url = first(ctx, &crossed, facts, until).await?;
    let made = record::make(ctx, &crossed, &spec).await;
    if crossed.tolerate_going(made)?.is_some() {
        if let Some(url) = &url {
            crossed.tolerate_going(url::make_secret(ctx, &crossed, url).await)?;
        }
        if url.is_some() || spec.package.is_none() {
            record::show_available(ctx, &crossed, url.as_ref()).await?;
        }
    }
    // Whatever renews or delivers looks here last, and a revocation sweeps after it.
    facts.revoked = ctx.zones.records.get(&subject.key.revoked()).await?;
    Ok(())
}

/// The first URL; none when the download window is over before there was one.
async fn first(
    ctx: &Context,
    crossed: &Crossed,
    facts: &Facts,
    until: jiff::Timestamp,
) -> Result<Option<UrlIssue>, EffectError> {
    const FIRST: i64 = 1;
    let work = ctx.zones.quarantine.work();
    let key = crossed.key.url(FIRST);
    if let Some(standing) = work.get(&key).await? {
        return Ok(Some(standing));
    }
    let Some((package, terms)) = facts.released() else {
        return Ok(None);
    };
    let life = Life {
        seconds: terms.url_ttl_seconds,
        until,
    };
    let Some(made) = url::sign(ctx, crossed, package, life).await? else {
        return Ok(None);
    };
    Ok(Some(work.create(&key, &made).await?.into_inner()))
}

/// The URL in force, for status.
pub async fn url_in_force(
    ctx: &Context,
    subject: &Subject,
) -> Result<Option<UrlIssue>, StorageError> {
    let all = urls::issues(ctx.zones.quarantine.work(), &subject.key).await?;
    Ok(all.into_iter().next_back())
}
