//! Numbers about retention, as the text that Prometheus reads.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Gauges of the last sweep, and counters.
#[derive(Debug, Default)]
pub struct Numbers {
    /// Tickets that were due.
    pub due: AtomicU64,
    /// Tickets that stayed for more than an hour after their time, holds apart.
    pub overdue: AtomicU64,
    /// Tickets that a hold stops.
    pub held: AtomicU64,
    /// Tickets that nothing bears out.
    pub refused: AtomicU64,
    /// Deletions that failed, and rest until they are tried again.
    pub failing: AtomicU64,
    /// Whether nothing is deleted because clocks differ.
    pub clocks_disagree: AtomicU64,
    /// Seconds since 1970 of the last sweep that went through.
    pub swept: AtomicU64,
    /// Prefixes of ours that have no request and no closing.
    pub orphans: AtomicU64,
    /// Tickets of other clusters that stayed for more than an hour after their time.
    pub abandoned: AtomicU64,
    /// Deletions that were carried out.
    pub deletions: AtomicU64,
    /// Versions and delete markers that went.
    pub versions: AtomicU64,
    /// Bytes that went.
    pub bytes: AtomicU64,
    /// Deletions that failed and are tried again.
    pub failures: AtomicU64,
}

impl Numbers {
    /// In the text format of OpenMetrics, without its end.
    #[must_use]
    pub fn text(&self) -> String {
        let gauges = [
            (
                "due",
                "Deletions that were due at the last sweep.",
                &self.due,
            ),
            (
                "overdue",
                "Deletions that are due for more than an hour, holds apart.",
                &self.overdue,
            ),
            ("held", "Deletions that a hold stops.", &self.held),
            (
                "tickets_refused",
                "Tickets that nothing bears out: corrupt, or of an unknown request.",
                &self.refused,
            ),
            (
                "failing",
                "Deletions that failed at their last try.",
                &self.failing,
            ),
            (
                "clocks_disagree",
                "Whether nothing is closed or deleted because our clock and a storage server's differ.",
                &self.clocks_disagree,
            ),
            (
                "last_sweep_timestamp_seconds",
                "When a sweep last went through.",
                &self.swept,
            ),
            (
                "orphans",
                "Requests with files that have neither a resource nor a closing (trevor retention adopt).",
                &self.orphans,
            ),
            (
                "abandoned",
                "Deletions of another cluster's requests that are due for more than an hour, so that it seems gone (trevor retention take-over).",
                &self.abandoned,
            ),
        ];
        let counters = [
            (
                "deletions",
                "Deletions that were carried out.",
                &self.deletions,
            ),
            (
                "deleted_versions",
                "Object versions and delete markers that went.",
                &self.versions,
            ),
            ("deleted_bytes", "Bytes that went.", &self.bytes),
            (
                "failures",
                "Deletions that failed and are tried again.",
                &self.failures,
            ),
        ];
        let mut text = String::new();
        for (name, help, value) in gauges {
            let name = format!("trevor_retention_{name}");
            let value = value.load(Relaxed);
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "# TYPE {name} gauge\n# HELP {name} {help}\n{name} {value}\n"
            );
        }
        for (name, help, value) in counters {
            let name = format!("trevor_retention_{name}");
            let value = value.load(Relaxed);
            let _ = write!(
                text,
                "# TYPE {name} counter\n# HELP {name} {help}\n{name}_total {value}\n"
            );
        }
        text
    }
}
