//! How far it is, on standard error: one line that is rewritten where a person
//! watches, a plain line every few seconds elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

const REDRAW: Duration = Duration::from_millis(200);
const LINE: Duration = Duration::from_secs(5);

/// Counts bytes.
#[derive(Debug)]
pub struct Progress {
    verb: &'static str,
    total: AtomicU64,
    /// What was there before we began.
    before: AtomicU64,
    moved: AtomicU64,
    started: Instant,
}

impl Progress {
    /// Begins to count towards `total`.
    #[must_use]
    pub fn new(verb: &'static str, total: u64) -> Arc<Self> {
        Arc::new(Self {
            verb,
            total: AtomicU64::new(total),
            before: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            started: Instant::now(),
        })
    }

    pub(super) fn already(&self, bytes: u64) {
        self.before.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn add(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes bytes back that have to be moved again.
    pub(super) fn take_back(&self, bytes: u64) {
        self.moved.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Shows it until the result is dropped.
    #[must_use]
    pub fn show(self: &Arc<Self>) -> Shown {
        let terminal = std::io::stderr().is_terminal();
        let progress = Arc::clone(self);
        let task = tokio::spawn(async move {
            let every = if terminal { REDRAW } else { LINE };
            loop {
                tokio::time::sleep(every).await;
                let line = progress.line();
                let mut err = std::io::stderr();
                // Nobody to tell is no reason to stop.
                let _ = if terminal {
                    write!(err, "\r{line}\x1b[K").and_then(|()| err.flush())
                } else {
                    writeln!(err, "{line}")
                };
            }
        });
        Shown { task, terminal }
    }

    fn line(&self) -> String {
        let moved = self.moved.load(Ordering::Relaxed);
        let done = self.before.load(Ordering::Relaxed) + moved;
        let total = self.total.load(Ordering::Relaxed);
        line(self.verb, done, total, moved, self.started.elapsed())
    }

    /// What was moved, and how fast, for the last line.
    #[must_use]
    pub fn summary(&self) -> String {
        let moved = self.moved.load(Ordering::Relaxed);
        let elapsed = self.started.elapsed();
        format!(
            "{} in {:.1} s ({})",
            amount(moved),
            elapsed.as_secs_f64(),
            rate(moved, elapsed)
        )
    }
}

/// Progress on the screen, gone with this.
#[derive(Debug)]
pub struct Shown {
    task: JoinHandle<()>,
    terminal: bool,
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.task.abort();
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// One line for whoever waits.
pub(super) fn note(line: &str) {
    let mut err = std::io::stderr();
    let clear = if err.is_terminal() { "\r\x1b[K" } else { "" };
    let _ = writeln!(err, "{clear}{line}");
}

#[allow(clippy::cast_precision_loss, reason = "for people to read")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn rate(moved: u64, elapsed: Duration) -> String {
    format!(
        "{:.1} MiB/s",
        mebibytes(moved) / elapsed.as_secs_f64().max(0.001)
    )
}

fn line(verb: &str, done: u64, total: u64, moved: u64, elapsed: Duration) -> String {
    let percent = if total == 0 {
        100
    } else {
        u128::from(done) * 100 / u128::from(total)
    };
    format!(
        "{verb}: {percent} % of {}, {}",
        amount(total),
        rate(moved, elapsed)
    )
}

/// A number of bytes for people.
#[must_use]
pub fn amount(bytes: u64) -> String {
    match bytes {
        0..=1023 => format!("{bytes} bytes"),
        1024..=1_048_575 => format!("{:.1} KiB", mebibytes(bytes) * 1024.0),
        1_048_576..=1_073_741_823 => format!("{:.1} MiB", mebibytes(bytes)),
        _ => format!("{:.2} GiB", mebibytes(bytes) / 1024.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_percent_and_speed() {
        let mib = 1 << 20;
        assert_eq!(
            line(
                "sending",
                50 * mib,
                200 * mib,
                20 * mib,
                Duration::from_secs(2)
            ),
            "sending: 25 % of 200.0 MiB, 10.0 MiB/s"
        );
        assert_eq!(
            line("sending", 0, 0, 0, Duration::ZERO),
            "sending: 100 % of 0 bytes, 0.0 MiB/s"
        );
        assert_eq!(amount(3 << 30), "3.00 GiB");
        assert_eq!(amount(1536), "1.5 KiB");
    }
}
