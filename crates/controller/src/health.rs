//! Whether the storage servers answered lately: part of being ready.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use jiff::Timestamp;

use trevor_store::{Release, Zones};

const EVERY: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(8);
/// How long an answer is good for, in seconds.
const LATELY: i64 = 45;

/// When both servers last answered, in seconds of Unix time.
#[derive(Debug)]
pub struct Health {
    storage: AtomicI64,
}

impl Health {
    /// At the start they have just been proved.
    pub fn new(now: Timestamp) -> Self {
        Self {
            storage: AtomicI64::new(now.as_second()),
        }
    }

    /// Whether they answered lately.
    pub fn is_storage_reached(&self, now: Timestamp) -> bool {
        now.as_second() - self.storage.load(Relaxed) <= LATELY
    }
}

/// Asks the servers, again and again. It never ends.
pub async fn watch(health: Arc<Health>, zones: Zones, release: Release) {
    loop {
        tokio::time::sleep(EVERY).await;
        let now = Timestamp::now();
        let asked = tokio::time::timeout(PATIENCE, async {
            tokio::try_join!(
                zones.quarantine.work().reach(),
                zones.records.reach(),
                release.reach()
            )
        });
        match asked.await {
            Ok(Ok(_)) => health.storage.store(now.as_second(), Relaxed),
            Ok(Err(error)) => tracing::warn!(%error, "a storage server does not answer"),
            Err(_) => tracing::warn!("a storage server takes too long to answer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_good_for_a_while() {
        let start = Timestamp::from_second(1_000_000).unwrap();
        let health = Health::new(start);
        for (seconds, reached) in [(0, true), (LATELY, true), (LATELY + 1, false)] {
            let now = Timestamp::from_second(1_000_000 + seconds).unwrap();
            assert_eq!(health.is_storage_reached(now), reached, "{seconds}");
        }
    }
}
