//! How far a package under way is, so that one that hangs can say on whom it waits.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
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
    storing: watch::Sender<Storing>,
}

/// Whether the call is under way after which the package is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Storing {
    Not,
    UnderWay,
    /// The task is stopped: it begins no such call any more.
    Never,
}

/// Ends the call also where its future is dropped: nobody is to wait for an answer that
/// nobody reads.
struct StoringOver<'a>(&'a watch::Sender<Storing>);

impl Drop for StoringOver<'_> {
    fn drop(&mut self) {
        self.0.send_replace(Storing::Not);
    }
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
            storing: watch::Sender::new(Storing::Not),
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

    /// Makes the call after which the package is there. A task that is being stopped does not
    /// begin it, and is not ended while it is under way: a server may store what it was sent
    /// although nobody waits for its answer, after what was stored has been listed and deleted.
    pub async fn stores<T>(&self, call: impl Future<Output = T>) -> T {
        let begun = self.storing.send_if_modified(|storing| {
            let may = *storing != Storing::Never;
            if may {
                *storing = Storing::UnderWay;
            }
            may
        });
        if !begun {
            std::future::pending::<()>().await;
        }
        let _over = StoringOver(&self.storing);
        call.await
    }

    /// Returns once no such call is under way, and sees that none begins any more; a server
    /// that does not answer is waited for so long.
    pub async fn stops_storing(&self, patience: Duration) {
        let mut seen = self.storing.subscribe();
        let stopped = async {
            while !self.storing.send_if_modified(|storing| {
                let may = *storing != Storing::UnderWay;
                if may {
                    *storing = Storing::Never;
                }
                may
            }) {
                drop(seen.wait_for(|storing| *storing != Storing::UnderWay).await);
            }
        };
        let _in_time = tokio::time::timeout(patience, stopped).await;
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
    async fn a_package_that_is_being_stored_is_waited_for_and_none_is_begun_afterwards() {
        let progress = Arc::new(Progress::of("test"));
        let (answer, answered) = tokio::sync::oneshot::channel::<()>();
        let storing = Arc::clone(&progress);
        let task = tokio::spawn(async move { storing.stores(answered).await });
        while *progress.storing.borrow() != Storing::UnderWay {
            tokio::task::yield_now().await;
        }
        let mut stopping = Box::pin(progress.stops_storing(Duration::from_secs(60)));
        let early = tokio::time::timeout(Duration::from_millis(50), &mut stopping).await;
        assert!(early.is_err(), "the server has not answered yet");
        answer.send(()).unwrap();
        stopping.await;
        assert!(task.await.unwrap().is_ok());
        let again = progress.stores(async { panic!("a stopped task stores nothing") });
        assert!(
            tokio::time::timeout(Duration::from_millis(50), again)
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_waited_for_only_so_long() {
        let progress = Arc::new(Progress::of("test"));
        let storing = Arc::clone(&progress);
        let task = tokio::spawn(async move { storing.stores(std::future::pending::<()>()).await });
        while *progress.storing.borrow() != Storing::UnderWay {
            tokio::task::yield_now().await;
        }
        progress.stops_storing(Duration::from_millis(20)).await;
        task.abort();
    }

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

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_given_up_is_not_waited_for() {
        let progress = Progress::of("test");
        let call = progress.stores(std::future::pending::<()>());
        let given_up = tokio::time::timeout(Duration::from_secs(1), call).await;
        assert!(given_up.is_err());
        let began = tokio::time::Instant::now();
        progress.stops_storing(Duration::from_secs(60)).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
