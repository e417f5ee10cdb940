//! Collects what uploads left that never came to their end ([`trevor_core::leftovers`]):
//! open multipart uploads that get no part any more, and files that no receipt names.
//!
//! Everything is judged by the server's own clock, and nothing goes of a request that is
//! under a hold, or whose files are being taken over from staging. Each deletion is in the
//! ledger before it is made. Killed anywhere, the next scan finds what is still there; the
//! event has the same id then.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, json};

use super::context::Context;
use super::error::EffectError;
use trevor_core::digest::Sha256Hex;
use trevor_core::event::Event;
use trevor_core::keys::{self, RequestKey};
use trevor_core::leftovers::{is_candidate, is_left, unnamed};
use trevor_core::receipt::Receipt;
use trevor_core::retention::HoldState;
use trevor_lifecycle::holds;

/// Between two requests that are looked at.
const PAUSE: Duration = Duration::from_millis(20);
/// Receipts read at once.
const READERS: usize = 16;
/// Keys of gateways that are gone: a gateway replaces its own far sooner.
const HINT_KEY_LIFE: SignedDuration = SignedDuration::from_hours(24 * 21);

/// Looks once, slowly.
pub async fn collect(ctx: &Arc<Context>) {
    let age = ctx.config.controller.retention.leftovers_seconds;
    let age = SignedDuration::from_secs(i64::try_from(age).unwrap_or(i64::MAX));
    let done = async {
        let now = ctx.zones.quarantine.work().clock().time().await?;
        let uploads = uploads(ctx, now, age).await?;
        let files = files(ctx, now, age).await?;
        hint_keys(ctx, now).await?;
        Ok::<_, EffectError>((uploads, files))
    };
    match done.await {
        Ok((0, 0)) => {}
        Ok((uploads, files)) => {
            tracing::info!(uploads, files, "uploads that never ended were collected");
        }
        Err(error) => tracing::warn!(%error, "the scan for uploads that never ended broke off"),
    }
}

/// Aborts open uploads that got no part for so long; gives how many.
async fn uploads(ctx: &Context, now: Timestamp, age: SignedDuration) -> Result<usize, EffectError> {
    let files = ctx.zones.quarantine.bucket();
    let mut ended = 0;
    for open in files.uploads_since("requests/").await? {
        let Some(key) = RequestKey::of_file(&open.key) else {
            continue;
        };
        // What began just now needs no look at its parts.
        if !is_left(open.began, now, age)
            || !is_left(files.last_part(&open).await?, now, age)
            || !is_free(ctx, &key).await?
        {
            continue;
        }
        record(ctx, &key, &open.key, Some(&open.upload), now).await?;
        files.abort_upload(&open.key, &open.upload).await?;
        ended += 1;
    }
    Ok(ended)
}

/// Deletes files of requests that no receipt names after so long; gives how many.
async fn files(ctx: &Context, now: Timestamp, age: SignedDuration) -> Result<usize, EffectError> {
    let quarantine = &ctx.zones.quarantine;
    let mut deleted = 0;
    for request in ctx.requests.state() {
        let meta = &request.metadata;
        let key = RequestKey {
            namespace: meta.namespace.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
        };
        tokio::time::sleep(PAUSE).await;
        let mut old = Vec::new();
        let each = |at: &str, stored: Option<i64>| {
            let stored = stored.and_then(|s| Timestamp::from_second(s).ok());
            if stored.is_some_and(|stored| is_candidate(stored, now, age)) {
                old.push(at.to_owned());
            }
        };
        quarantine.bucket().visit_times(&key.files(), each).await?;
        if old.is_empty() {
            continue;
        }
        for at in unnamed(old, &receipts(ctx, &key).await?) {
            if !is_free(ctx, &key).await? {
                break;
            }
            record(ctx, &key, &at, None, now).await?;
            quarantine.purge_file(&at).await?;
            deleted += 1;
        }
    }
    Ok(deleted)
}

/// Every receipt of a request; an error where one cannot be read, so that nothing goes
/// which it may name.
async fn receipts(ctx: &Context, key: &RequestKey) -> Result<Vec<Receipt>, EffectError> {
    let records = &ctx.zones.records;
    let listed = records.list(&key.receipts()).await?;
    let reads = listed
        .into_iter()
        .map(|at| async move { records.get(&at).await });
    let found: Vec<Option<Receipt>> = stream::iter(reads)
        .buffer_unordered(READERS)
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}

/// Whether something of a request may go: this process leads, no hold stands, and nothing
/// is being taken over.
async fn is_free(ctx: &Context, key: &RequestKey) -> Result<bool, EffectError> {
    ctx.claim()?;
    if ctx.confirmations.is_busy(&key.uid) {
        return Ok(false);
    }
    let hold = holds::standing(ctx.zones.quarantine.work(), key).await?;
    Ok(hold.is_none_or(|hold| hold.state != HoldState::Held))
}

/// Before it goes.
async fn record(
    ctx: &Context,
    key: &RequestKey,
    at: &str,
    upload: Option<&str>,
    now: Timestamp,
) -> Result<(), EffectError> {
    let identity = format!("{at} {}", upload.unwrap_or_default());
    let detail = json!({"key": at, "open": upload.is_some()});
    let event = Event {
        id: format!("leftover-{}", Sha256Hex::of(identity.as_bytes()).short(24)),
        kind: "LeftoverDeleted".to_owned(),
        actor: None,
        namespace: key.namespace.clone(),
        uid: key.uid.clone(),
        before: None,
        after: None,
        detail: detail.as_object().cloned().unwrap_or_else(Map::new),
        time: now,
    };
    let records = &ctx.zones.records;
    ctx.chain(key).append(records, vec![event]).await?;
    ctx.forget(&key.uid);
    Ok(())
}

/// Public keys of gateways that are gone.
async fn hint_keys(ctx: &Context, now: Timestamp) -> Result<(), EffectError> {
    let work = ctx.zones.quarantine.work();
    let mut old = Vec::new();
    work.visit(&keys::hint_keys(), |at, stored| {
        let stored = stored.and_then(|s| Timestamp::from_second(s).ok());
        if is_left(stored, now, HINT_KEY_LIFE) {
            old.push(at);
        }
    })
    .await?;
    Ok(work.delete(&old).await?)
}
