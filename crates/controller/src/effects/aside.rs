//! Ends the URLs to files that crossed inwards: the files move to keys that no URL
//! names. Hundreds of gigabytes take longer than a look may, so that a task of its own
//! does it, and looks find it done, under way or failed.
//!
//! Repeated: see [`trevor_store::set_aside`].

use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::oneshot;

use super::super::context::Context;
use super::super::error::EffectError;
use trevor_api::AirlockRequest;
use trevor_core::keys::RequestKey;
use trevor_core::phase::Facts;
use trevor_store::set_aside;

/// How long a look waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sets aside what crossed inwards; nothing to do where nothing did.
///
/// # Errors
/// [`EffectError::Moving`] while it is under way.
pub async fn set_files_aside(
    ctx: &Context,
    key: &RequestKey,
    facts: &Facts,
) -> Result<(), EffectError> {
    let Some(frozen) = facts.within_reach(Timestamp::now()) else {
        return Ok(());
    };
    ctx.claim()?;
    let (tell, told) = oneshot::channel();
    let name = facts.owner.as_ref().map_or("", |owner| owner.name.as_str());
    let target = ObjectRef::<AirlockRequest>::new(name).within(&key.namespace);
    let (queue, strays) = (ctx.queue.clone(), std::sync::Arc::clone(&ctx.strays));
    let (quarantine, at) = (ctx.zones.quarantine.clone(), key.clone());
    ctx.in_background(&format!("aside-{}", key.uid), async move {
        let files = &frozen.manifest.files;
        let done = set_aside::set_aside(quarantine.bucket(), &at, files).await;
        // Whoever waited has gone: the next look finds it done, or begins anew.
        if let Err(done) = tell.send(done) {
            if let Err(error) = done {
                tracing::warn!(uid = at.uid, %error, "the files of a revoked release were not moved; it is tried again");
                return;
            }
            queue.add(target);
            strays.notify_one();
        }
    });
    match tokio::time::timeout(PATIENCE, told).await {
        Ok(Ok(done)) => Ok(done?),
        // It goes on without us, or another look began it.
        Ok(Err(_)) | Err(_) => Err(EffectError::Moving),
    }
}
