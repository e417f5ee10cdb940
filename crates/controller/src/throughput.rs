//! Numbers about the controller's work, as the text that Prometheus reads.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use trevor_api::Phase;

/// Counters and a gauge.
#[derive(Debug, Default)]
pub struct Throughput {
    transitions: Mutex<BTreeMap<String, u64>>,
    looks: AtomicU64,
    packages: AtomicU64,
    bytes: AtomicU64,
    milliseconds: AtomicU64,
    waiting: AtomicU64,
}

/// A request that waits for its turn, while this lives.
#[derive(Debug)]
pub struct Waits<'a>(&'a AtomicU64);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Throughput {
    /// A request was shown in another phase.
    pub fn moved(&self, to: Phase) {
        let transitions = self.transitions.lock();
        let mut transitions = transitions.unwrap_or_else(PoisonError::into_inner);
        *transitions.entry(to.to_string()).or_default() += 1;
    }

    /// A request is looked at, beyond what its cached copy says.
    pub fn looks(&self) {
        self.looks.fetch_add(1, Relaxed);
    }

    /// A package was made, or one that a Job made was read back.
    pub fn packaged(&self, bytes: u64, took: Duration) {
        self.packages.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.milliseconds.fetch_add(milliseconds, Relaxed);
    }

    /// A request begins to wait for its turn to be looked at.
    pub fn waits(&self) -> Waits<'_> {
        self.waiting.fetch_add(1, Relaxed);
        Waits(&self.waiting)
    }

    /// The text.
    pub fn text(&self) -> String {
        let mut text = "# TYPE trevor_transitions counter\n\
                        # HELP trevor_transitions Requests that were shown in another phase, by the new one.\n"
            .to_owned();
        let transitions = self.transitions.lock();
        let transitions = transitions.unwrap_or_else(PoisonError::into_inner);
        // All of them from the start: Prometheus sees no increase in a series that begins with 1.
        for phase in Phase::ALL.map(|phase| phase.to_string()) {
            let count = transitions.get(&phase).copied().unwrap_or_default();
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "trevor_transitions_total{{phase=\"{phase}\"}} {count}"
            );
        }
        let milliseconds = self.milliseconds.load(Relaxed);
        let rows = [
            (
                "trevor_looks",
                "counter",
                "_total",
                "Looks at requests: what is stored was read, what was due was done.",
                self.looks.load(Relaxed).to_string(),
            ),
            (
                "trevor_packages",
                "counter",
                "_total",
                "Packages that were made, or read back from a Job.",
                self.packages.load(Relaxed).to_string(),
            ),
            (
                "trevor_package_bytes",
                "counter",
                "_total",
                "Bytes of them.",
                self.bytes.load(Relaxed).to_string(),
            ),
            (
                "trevor_package_seconds",
                "counter",
                "_total",
                "Seconds that it took.",
                format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000),
            ),
            (
                "trevor_queue_depth",
                "gauge",
                "",
                "Requests that wait for their turn to be looked at.",
                self.waiting.load(Relaxed).to_string(),
            ),
        ];
        for (name, kind, suffix, help, value) in rows {
            let _ = writeln!(
                text,
                "# TYPE {name} {kind}\n# HELP {name} {help}\n{name}{suffix} {value}"
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_and_what_waits_is_told() {
        let numbers = Throughput::default();
        numbers.moved(Phase::Released);
        numbers.moved(Phase::Released);
        numbers.looks();
        numbers.packaged(1000, Duration::from_millis(2500));
        let waits = numbers.waits();
        let text = numbers.text();
        for line in [
            "trevor_transitions_total{phase=\"Released\"} 2",
            "trevor_transitions_total{phase=\"Revoked\"} 0",
            "trevor_looks_total 1",
            "trevor_packages_total 1",
            "trevor_package_bytes_total 1000",
            "trevor_package_seconds_total 2.500",
            "trevor_queue_depth 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}: {text}");
        }
        drop(waits);
        assert!(numbers.text().contains("trevor_queue_depth 0\n"));
    }
}
