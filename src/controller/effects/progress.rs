//! How far a package under way is, so that one that hangs can say on whom it waits.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Silence that is worth telling.
const SILENCE: Duration = Duration::from_secs(10);

/// On which server a task waits, and since when nothing has moved.
#[derive(Debug)]
pub struct Progress(Mutex<(Server, Instant)>);

/// A server that a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// Where the files are.
    Quarantine,
    /// Where the package goes.
    Release,
}

impl Default for Progress {
    fn default() -> Self {
        Self(Mutex::new((Server::Release, Instant::now())))
    }
}

impl Progress {
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
            return "the package is being made".to_owned();
        }
        let (server, zone) = match server {
            Server::Quarantine => ("quarantine", "storage.quarantine"),
            Server::Release => ("release", "storage.release"),
        };
        format!(
            "the package is being made, and the {server} server has not answered for {} s; it goes on when the server does, look at {zone}",
            silent.as_secs()
        )
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, (Server, Instant)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
