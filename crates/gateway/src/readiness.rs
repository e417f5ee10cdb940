//! Whether we are ready: Kubernetes and storage answered lately.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use jiff::Timestamp;
use tracing::warn;

use crate::state::Gateway;
use trevor_store::proof::reach;

const EVERY: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(4);
/// How long an answer is good for.
const LATELY: i64 = 30;

/// When each last answered, in seconds of Unix time.
#[derive(Debug, Default)]
pub struct Health {
    kubernetes: AtomicI64,
    storage: AtomicI64,
}

impl Health {
    /// What has not answered lately; nothing when we are ready.
    #[must_use]
    pub fn missing(&self) -> Option<&'static str> {
        let late = |at: &AtomicI64| Timestamp::now().as_second() - at.load(Relaxed) > LATELY;
        if late(&self.kubernetes) {
            Some("the Kubernetes API has not answered lately")
        } else if late(&self.storage) {
            Some("the storage has not answered lately")
        } else {
            None
        }
    }
}

/// Asks both, again and again.
pub async fn watch(gateway: Arc<Gateway>) {
    loop {
        let now = Timestamp::now().as_second();
        let kubernetes = tokio::time::timeout(PATIENCE, gateway.client.apiserver_version());
        let storage = tokio::time::timeout(PATIENCE, async {
            reach(gateway.zones.quarantine.bucket()).await?;
            reach(gateway.zones.records.bucket()).await
        });
        let (kubernetes, storage) = tokio::join!(kubernetes, storage);
        match kubernetes {
            Ok(Ok(_)) => gateway.health.kubernetes.store(now, Relaxed),
            Ok(Err(error)) => warn!(%error, "the Kubernetes API does not answer"),
            Err(_) => warn!("the Kubernetes API takes too long"),
        }
        if let Some(staging) = &gateway.zones.staging
            && let Err(error) = staging.intake().prove().await
        {
            warn!(%error, "no upload plans are made");
        }
        match storage {
            Ok(Ok(())) => gateway.health.storage.store(now, Relaxed),
            Ok(Err(error)) => warn!(%error, "the storage does not answer"),
            Err(_) => warn!("the storage takes too long"),
        }
        tokio::time::sleep(EVERY).await;
    }
}
