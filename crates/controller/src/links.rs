//! The Secrets of links that are in force: one that somebody deleted is made again.
//!
//! The operator reads no Secret of a project, and watches none. So it asks by a dry run
//! of creating the Secret: "already exists" is the answer while it is there, and costs
//! nothing but that call. This is done for each link in force when a process begins to
//! lead, and again every `controller.retention.look_seconds`, a few in a second.
//!
//! Repeated, or against a renewal or a revocation: the Secret is created under its one
//! name, and goes again if its link is not in force afterwards.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use jiff::Timestamp;
use kube::runtime::events::{Event, EventType};
use kube::{Api, Resource as _, ResourceExt as _};

use super::context::Context;
use super::effects::record::Crossed;
use super::effects::url;
use super::error::EffectError;
use trevor_api::condition::reason;
use trevor_api::{ReleasePhase, ReleaseRecord};
use trevor_cluster::pages;
use trevor_core::keys::RequestKey;
use trevor_store::urls;

/// Between two that are asked for.
const PAUSE: Duration = Duration::from_millis(50);
/// Looks again this long after something failed.
const AGAIN: Duration = Duration::from_secs(30);

/// Looks at all of them, now and then. It never ends.
pub async fn serve(ctx: Arc<Context>) {
    let every = Duration::from_secs(ctx.config.controller.retention.look_seconds);
    loop {
        let pause = match Box::pin(look_at_all(&ctx)).await {
            Ok(()) => every,
            Err(error) => {
                tracing::warn!(%error, "the Secrets of links were not looked at; it is tried again");
                AGAIN.min(every)
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn look_at_all(ctx: &Context) -> Result<(), EffectError> {
    let api: Api<ReleaseRecord> = Api::all(ctx.client.clone());
    let mut listed = pin!(pages::objects(&api));
    while let Some(page) = listed.try_next().await? {
        for record in &page {
            let Some(secret) = in_force(record, Timestamp::now()) else {
                continue;
            };
            tokio::time::sleep(PAUSE).await;
            ctx.claim()?;
            if let Err(error) = look(ctx, record, secret).await {
                let namespace = record.namespace().unwrap_or_default();
                tracing::warn!(namespace, record = record.name_any(), %error, "the Secret of a link could not be made again");
            }
        }
    }
    Ok(())
}

/// The Secret of the link that a record shows, while that lives.
fn in_force(record: &ReleaseRecord, now: Timestamp) -> Option<&str> {
    let status = record.status.as_ref()?;
    let url = status.url.as_ref()?;
    let available = status.phase == Some(ReleasePhase::Available);
    let stays = record.metadata.deletion_timestamp.is_none();
    (available && stays && url.expires_time.0 > now).then_some(url.secret_name.as_str())
}

async fn look(ctx: &Context, record: &ReleaseRecord, secret: &str) -> Result<(), EffectError> {
    let crossed = Crossed {
        key: RequestKey {
            namespace: record.namespace().unwrap_or_default(),
            uid: record.spec.request_ref.uid.clone(),
        },
        record: record.name_any(),
        going: false,
    };
    if !url::is_missing(ctx, &crossed, secret).await? {
        return Ok(());
    }
    let work = ctx.zones.quarantine.work();
    let last = urls::issues(work, &crossed.key).await?.pop();
    let Some(link) = last.filter(|link| link.secret_name == secret) else {
        return Ok(());
    };
    url::make_secret(ctx, &crossed, &link).await?;
    // It may have been renewed, revoked or deleted meanwhile, when there was no Secret.
    let last = urls::issues(work, &crossed.key).await?.pop();
    let records = &ctx.zones.records;
    if last.is_none_or(|last| last.issue != link.issue)
        || records.exists(&crossed.key.revoked()).await?
    {
        return url::delete_secret(ctx, &crossed, secret).await;
    }
    tracing::warn!(
        namespace = crossed.key.namespace,
        secret,
        "the Secret of a link in force was gone, and is made again"
    );
    let event = Event {
        type_: EventType::Warning,
        reason: reason::SECRET_MADE_AGAIN.to_owned(),
        note: Some(format!(
            "the Secret {secret} was gone while its link is in force, and is made again; to end the link, revoke the release"
        )),
        action: "Deliver".to_owned(),
        secondary: None,
    };
    if let Err(error) = ctx.recorder.publish(&event, &record.object_ref(&())).await {
        tracing::debug!(%error, "the Event was not stored");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_can_be_downloaded_by_a_link_that_lives_has_a_secret() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        let url = json!({"secretName": "s", "issue": 1, "expiresTime": "2026-01-03T00:00:00Z"});
        let over = json!({"secretName": "s", "issue": 1, "expiresTime": "2026-01-01T00:00:00Z"});
        for (status, expected) in [
            (json!({"phase": "Available", "url": url}), Some("s")),
            (json!({"phase": "Available", "url": over}), None),
            (json!({"phase": "Available"}), None),
            (json!({"phase": "Revoked", "url": url}), None),
            (json!({"phase": "Deleted", "url": url}), None),
            (json!({"url": url}), None),
        ] {
            let record: ReleaseRecord = serde_json::from_value(json!({
                "apiVersion": "airlock.karectl.io/v1alpha1", "kind": "ReleaseRecord", "metadata": {"name": "r"},
                "spec": {
                    "requestRef": {"name": "r", "uid": "u"}, "direction": "Egress", "type": "Package",
                    "manifestDigest": "0", "round": 1, "policy": {"name": "p", "digest": "0"}, "approvals": [],
                    "releasedTime": "2026-01-01T00:00:00Z", "deleteAfterTime": "2026-02-01T00:00:00Z",
                },
                "status": status,
            }))
            .unwrap();
            assert_eq!(in_force(&record, now), expected, "{status}");
        }
    }
}
