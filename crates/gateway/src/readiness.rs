//! Readiness: whether the Kubernetes API and the storage have answered lately.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use tracing::warn;

use trevor_store::Zones;

const INTERVAL: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(4);
/// How long ago both must have answered.
const MAX_AGE_SECONDS: i64 = 30;

/// When each of them last answered, in seconds of Unix time.
#[derive(Debug, Default)]
pub struct Readiness {
    kubernetes: AtomicI64,
    storage: AtomicI64,
}

impl Readiness {
    /// What has not answered lately. None when the gateway is ready.
    #[must_use]
    pub fn missing(&self) -> Option<&'static str> {
        let late =
            |at: &AtomicI64| Timestamp::now().as_second() - at.load(Relaxed) > MAX_AGE_SECONDS;
        if late(&self.kubernetes) {
            Some("the Kubernetes API has not answered lately")
        } else if late(&self.storage) {
            Some("the storage has not answered lately")
        } else {
            None
        }
    }
}

/// Probes both in a loop, and proves the staging bucket again where that is pending.
pub async fn watch(readiness: &Readiness, client: &Client, zones: &Zones) {
    loop {
        let now = Timestamp::now().as_second();
        let kubernetes = tokio::time::timeout(TIMEOUT, client.apiserver_version());
        let storage = tokio::time::timeout(TIMEOUT, async {
            zones.quarantine.work().reach().await?;
            zones.records.reach().await
        });
        let (kubernetes, storage) = tokio::join!(kubernetes, storage);
        match kubernetes {
            Ok(Ok(_)) => readiness.kubernetes.store(now, Relaxed),
            Ok(Err(error)) => warn!(%error, "the Kubernetes API does not answer"),
            Err(_) => warn!("the Kubernetes API takes too long"),
        }
        if let Some(staging) = &zones.staging
            && let Err(error) = staging.intake().prove().await
        {
            warn!(%error, "no upload plans are made");
        }
        match storage {
            Ok(Ok(())) => readiness.storage.store(now, Relaxed),
            Ok(Err(error)) => warn!(%error, "the storage does not answer"),
            Err(_) => warn!("the storage takes too long"),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
