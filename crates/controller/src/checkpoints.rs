//! The leader makes checkpoints of the ledger, and shows the latest in a ConfigMap:
//! one more place that whoever rewrites the bucket would have to reach.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::context::Context;
use super::retries::Thing;
use trevor_config::Config;
use trevor_store::audit::checkpoint::Signed;
use trevor_store::audit::{Keeper, Kept};

/// The ConfigMap, in the operator's namespace; the chart makes it.
pub const CONFIG_MAP: &str = "trevor-audit-checkpoint";
/// Making checkpoints.
const LOOP: Thing = Thing::Loop("checkpoints");
/// After a failure, at the soonest.
const AGAIN: Duration = Duration::from_secs(10);

/// How checkpoints stand, for metrics and for who asks.
#[derive(Debug, Default)]
pub struct Standing {
    signing: bool,
    failures: AtomicI64,
    latest: Mutex<Option<Signed>>,
}

impl Standing {
    /// `signing`: whether there is a key.
    pub fn new(signing: bool) -> Self {
        Self {
            signing,
            ..Self::default()
        }
    }

    /// The latest that this process made or found.
    pub fn latest(&self) -> Option<Signed> {
        let latest = self.latest.lock();
        latest.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Numbers in the text format of OpenMetrics.
    pub fn metrics(&self) -> String {
        let latest = self.latest();
        let sequence = latest.as_ref().map_or(0, |l| l.checkpoint.sequence);
        let time = latest.map_or(0, |l| l.checkpoint.time.as_second());
        let failures = self.failures.load(Ordering::Relaxed);
        format!(
            "# TYPE trevor_audit_signing gauge\n\
             # HELP trevor_audit_signing Whether there is a key to sign checkpoints and statements with.\n\
             trevor_audit_signing {}\n\
             # TYPE trevor_audit_checkpoint_sequence gauge\n\
             # HELP trevor_audit_checkpoint_sequence The last checkpoint of the ledger that this process knows.\n\
             trevor_audit_checkpoint_sequence {sequence}\n\
             # TYPE trevor_audit_checkpoint_timestamp_seconds gauge\n\
             # HELP trevor_audit_checkpoint_timestamp_seconds When it was made.\n\
             trevor_audit_checkpoint_timestamp_seconds {time}\n\
             # TYPE trevor_audit_checkpoint_failures counter\n\
             # HELP trevor_audit_checkpoint_failures Looks that made no checkpoint although they should.\n\
             trevor_audit_checkpoint_failures_total {failures}\n",
            u8::from(self.signing)
        )
    }

    fn made(&self, signed: Signed) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(signed);
    }
}

/// How often a checkpoint is made, while something changes.
pub fn every(config: &Config) -> Duration {
    Duration::from_secs(config.audit.checkpoint_seconds.unsigned_abs())
}

/// Makes checkpoints while this process leads; ends never.
pub async fn serve(ctx: Arc<Context>, namespace: String) {
    let Some(signing) = &ctx.signing else {
        tracing::warn!(
            "configuration key audit.signing_key_secret names no key: the ledger is a hash chain, and no checkpoint is signed"
        );
        return std::future::pending().await;
    };
    let every = every(&ctx.config);
    let (records, heads) = (&ctx.zones.records, Arc::clone(&ctx.heads));
    let mut keeper = Keeper::new(records, Arc::clone(signing), heads);
    let mut shown = None;
    loop {
        let pause = match keeper.keep().await {
            Ok(Kept::Nothing) => {
                ctx.retries.succeeded("", &LOOP);
                every
            }
            Ok(Kept::Made(signed)) => {
                ctx.retries.succeeded("", &LOOP);
                ctx.checkpoints.made(*signed);
                // Perhaps there are more heads than one checkpoint takes.
                Duration::from_millis(10)
            }
            Err(error) => {
                ctx.checkpoints.failures.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%error, "no checkpoint of the ledger could be made; it is tried again");
                ctx.retries.failed("", LOOP).clamp(AGAIN.min(every), every)
            }
        };
        if let Some(latest) = ctx.checkpoints.latest()
            && shown != Some(latest.checkpoint.sequence)
            && pause >= every.min(AGAIN)
        {
            match show(&ctx, &namespace, &latest).await {
                Ok(()) => shown = Some(latest.checkpoint.sequence),
                Err(error) => {
                    tracing::warn!(%error, config_map = CONFIG_MAP, "the latest checkpoint is not shown");
                }
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// Puts the latest checkpoint into the ConfigMap, unless it is there.
async fn show(ctx: &Context, namespace: &str, latest: &Signed) -> Result<(), kube::Error> {
    let api: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), namespace);
    let data = BTreeMap::from([
        ("checkpoint.note".to_owned(), latest.note.clone()),
        (
            "sequence".to_owned(),
            latest.checkpoint.sequence.to_string(),
        ),
        ("time".to_owned(), latest.checkpoint.time.to_string()),
    ]);
    if api.get(CONFIG_MAP).await?.data.as_ref() == Some(&data) {
        return Ok(());
    }
    let patch = Patch::Merge(json!({"data": data}));
    api.patch(CONFIG_MAP, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}
