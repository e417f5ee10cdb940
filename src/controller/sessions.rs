//! Deletes sessions whose time is over; the gateway refuses them already. A person who
//! logs in every day and never out leaves nothing behind.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use jiff::{SignedDuration, Timestamp};
use kube::{Api, ResourceExt as _};

use super::context::Context;
use super::error::EffectError;
use super::removal;
use crate::api::AirlockSession;
use crate::pages;

/// The longest pause: a session that is made meanwhile may end within it.
const PAUSE: Duration = Duration::from_secs(3600);

/// Looks when one ends, and every hour. It never ends.
pub async fn serve(ctx: Arc<Context>) {
    loop {
        let pause = match sweep(&ctx).await {
            Ok(next) => next.map_or(PAUSE, |at| until(at).min(PAUSE)),
            Err(error) => {
                tracing::warn!(%error, "sessions whose time is over were not deleted; it is tried again");
                Duration::from_secs(60)
            }
        };
        tokio::time::sleep(pause).await;
    }
}

fn until(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default()
        + Duration::from_secs(1)
}

/// Gives when the next one ends.
async fn sweep(ctx: &Context) -> Result<Option<Timestamp>, EffectError> {
    let all: Api<AirlockSession> = Api::all(ctx.client.clone());
    let mut next: Option<Timestamp> = None;
    let mut listed = pin!(pages::objects(&all));
    while let Some(page) = listed.try_next().await? {
        for session in &page {
            let Some(end) = end(session) else { continue };
            if Timestamp::now() < end {
                next = Some(next.map_or(end, |next| next.min(end)));
            } else {
                let namespace = session.namespace().unwrap_or_default();
                let api = Api::namespaced(ctx.client.clone(), &namespace);
                // One that is gone was logged out meanwhile.
                removal::remove(ctx, &api, session).await?;
            }
        }
    }
    Ok(next)
}

fn end(session: &AirlockSession) -> Option<Timestamp> {
    let created = session.metadata.creation_timestamp.as_ref()?.0;
    let life = SignedDuration::from_secs(session.spec.ttl_seconds);
    created.checked_add(life).ok()
}
