//! How far a package under way is, so that one that hangs can say on whom it waits.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// Silence that is worth telling.
const SILENCE: Duration = Duration::from_secs(10);

/// What a task does, on which server it waits, and since when nothing has moved.
#[derive(Debug)]
pub struct Progress {
    doing: &'static str,
    waits: Mutex<(Server, Instant)>,
    over: CancellationToken,
    awaited: AtomicBool,
    stored: AtomicBool,
}

/// A server that a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// Where the files are.
    Quarantine,
    /// Where the package goes.
    Release,
}

impl Progress {
    /// Of a task that says of itself what it does.
    pub fn of(doing: &'static str) -> Self {
        Self {
            doing,
            waits: Mutex::new((Server::Release, Instant::now())),
            over: CancellationToken::new(),
            awaited: AtomicBool::new(false),
            stored: AtomicBool::new(false),
        }
    }

    /// The task has its result; gives whether a look waits for it, and need not be woken.
    pub fn ends(&self) -> bool {
        self.over.cancel();
        self.awaited.load(SeqCst)
    }

    /// Whether it has.
    pub fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Waits for its end, so long at most; gives whether it came.
    pub async fn ends_within(&self, patience: Duration) -> bool {
        self.awaited.store(true, SeqCst);
        let _in_time = tokio::time::timeout(patience, self.over.cancelled()).await;
        // In this order: a task that ends now is seen here, or sees that nobody waits.
        self.awaited.store(false, SeqCst);
        self.is_over()
    }

    /// From here on something of it may be stored, whatever the server answers.
    pub fn completes(&self) {
        self.stored.store(true, SeqCst);
    }

    /// Whether something of it may be stored.
    pub fn may_be_stored(&self) -> bool {
        self.stored.load(SeqCst)
    }

    /// Something moved; from here on it waits for a server.
    pub fn waits_for(&self, server: Server) {
        *self.slot() = (server, Instant::now());
    }

    /// Something moved.
    pub fn moved(&self) {
        self.slot().1 = Instant::now();
    }

    /// One line, for people.
    pub fn message(&self) -> String {
        let (server, since) = *self.slot();
        let silent = since.elapsed();
        if silent < SILENCE {
            return self.doing.to_owned();
        }
        let (server, zone) = match server {
            Server::Quarantine => ("quarantine", "storage.quarantine"),
            Server::Release => ("release", "storage.release"),
        };
        format!(
            "{}, and the {server} server has not answered for {} s; it goes on when the server does, look at {zone}",
            self.doing,
            silent.as_secs()
        )
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, (Server, Instant)> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn whoever_waits_sees_the_end_and_need_not_be_woken() {
        let progress = Arc::new(Progress::of("p"));
        let task = Arc::clone(&progress);
        // It runs when the test waits, and not before.
        let task = tokio::spawn(async move { task.ends() });
        let patience = Duration::from_secs(3600);
        assert!(progress.ends_within(patience).await);
        assert!(task.await.unwrap(), "nobody is to be woken");
        assert!(progress.ends_within(patience).await, "also later");
    }

    #[tokio::test]
    async fn whoever_waited_in_vain_is_woken() {
        let progress = Progress::of("p");
        assert!(!progress.ends_within(Duration::ZERO).await);
        assert!(!progress.is_over());
        assert!(!progress.ends(), "somebody is to be woken");
        assert!(progress.is_over());
    }
}
