//! How far a package under way is, so that one that hangs can say on whom it waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Silence that is worth telling.
const SILENCE: Duration = Duration::from_secs(10);

/// What a task does, on which server it waits, and since when nothing has moved.
#[derive(Debug)]
pub struct Progress {
    doing: &'static str,
    waits: Mutex<(Server, Instant)>,
    over: AtomicBool,
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
            over: AtomicBool::new(false),
        }
    }

    /// The task has its result; said before its end wakes anybody.
    pub fn ends(&self) {
        self.over.store(true, Ordering::Release);
    }

    /// Whether it has.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
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
