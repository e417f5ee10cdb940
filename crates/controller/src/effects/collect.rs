//! Egress from volumes: a Job reads the sources of a round and sends what they hold
//! through the gateway, which stores the list of it; the round is complete when all of
//! the list, and whatever is declared besides, stands in quarantine.
//!
//! The list is believed only of the Job whose uid is stored. Repeated: see [`jobs`].

use super::super::context::Context;
use super::super::error::EffectError;
use super::super::jobs::spec::Work;
use super::super::jobs::{self, Standing};
use super::super::reconcile::{Rest, Subject};
use super::confirm::Confirmed;
use super::gather;
use trevor_core::phase::Facts;
use trevor_core::volume::{Collection, Errand};
use trevor_core::{collection, declared};

/// Whether the request has sources.
pub fn has_sources(subject: &Subject) -> bool {
    let sources = subject.request.spec.sources.as_ref();
    sources.is_some_and(|sources| !sources.is_empty())
}

/// Goes on with the collection of a round.
pub async fn collect(
    ctx: &Context,
    subject: &Subject,
    facts: &Facts,
    round: i64,
) -> Result<Confirmed, EffectError> {
    if let Some(list) = list(ctx, subject, round).await? {
        return arrived(ctx, subject, facts, &list).await;
    }
    let Ok(applied) = &subject.policy else {
        return Ok(Confirmed::Waits(Box::default()));
    };
    let sources = subject.request.spec.sources.as_deref().unwrap_or_default();
    let work = Work::collect(round, sources, &applied.rules);
    Ok(match jobs::go_on(ctx, subject, &work).await? {
        Standing::Runs(what) => waits(Rest {
            collecting: Some(format!("{what}, and collects the files of the sources")),
            ..Rest::default()
        }),
        Standing::Waits(word, message) => waits(Rest {
            stalled: Some((word, message)),
            ..Rest::default()
        }),
        Standing::Failed(message) => Confirmed::CollectionFailed(message),
        // The list may have been stored since we looked for it.
        Standing::Done => match list(ctx, subject, round).await? {
            Some(list) => arrived(ctx, subject, facts, &list).await?,
            None => Confirmed::CollectionFailed(
                "the Job ended without the list of what the sources hold".to_owned(),
            ),
        },
    })
}

fn waits(rest: Rest) -> Confirmed {
    Confirmed::Waits(Box::new(rest))
}

/// Whether all that was collected stands, and all that is declared.
async fn arrived(
    ctx: &Context,
    subject: &Subject,
    facts: &Facts,
    list: &Collection,
) -> Result<Confirmed, EffectError> {
    let standing = gather::standing(ctx, subject, facts, list.round).await?;
    let replaced = collection::outstanding(list, &standing);
    if let Some(path) = replaced.first() {
        let message = format!(
            "{path} was collected and is another file now ({} such); send what the volume holds, or recall the round",
            replaced.len()
        );
        return Ok(waits(Rest {
            collecting: Some(message),
            ..Rest::default()
        }));
    }
    let wanted = subject.request.spec.files.as_deref().unwrap_or_default();
    let counting = collection::counting(&standing, Some(list));
    let missing = declared::missing(wanted, &counting);
    Ok(if missing.is_empty() {
        Confirmed::All
    } else {
        Confirmed::Missing(missing)
    })
}

/// What the sources of a round hold, once its Job has said so.
pub async fn list(
    ctx: &Context,
    subject: &Subject,
    round: i64,
) -> Result<Option<Collection>, EffectError> {
    if !has_sources(subject) {
        return Ok(None);
    }
    let (work, key) = (ctx.zones.quarantine.work(), &subject.key);
    let made = work.get(&key.job_made(Errand::Collect { round })).await?;
    if made.is_none() {
        return Ok(None);
    }
    Ok(work.get(&key.collection(round)).await?)
}

/// The round is sealed: nobody collects for it any more.
pub async fn end(ctx: &Context, subject: &Subject, round: i64) -> Result<(), EffectError> {
    if !has_sources(subject) {
        return Ok(());
    }
    jobs::end(ctx, &subject.key, Errand::Collect { round }).await
}
