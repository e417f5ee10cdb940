//! Numbers about ourselves, as the text that Prometheus reads.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use trevor_serve::Places;

/// Counters and gauges.
#[derive(Debug, Default)]
pub struct Metrics {
    answers: [AtomicU64; 6],
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    uploads: AtomicU64,
    ledger_failures: AtomicU64,
    refusals: AtomicU64,
}

/// Something that is under way while this lives.
#[derive(Debug)]
pub struct InFlight<'a>(&'a AtomicU64);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Metrics {
    /// Counts an answer by its status.
    pub fn answered(&self, status: http::StatusCode) {
        if let Some(class) = self.answers.get(usize::from(status.as_u16() / 100)) {
            class.fetch_add(1, Relaxed);
        }
    }

    /// Counts bytes of uploads.
    pub fn bytes_in(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Relaxed);
    }

    /// Counts bytes of content.
    pub fn bytes_out(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Relaxed);
    }

    /// An upload begins.
    pub fn upload(&self) -> InFlight<'_> {
        self.uploads.fetch_add(1, Relaxed);
        InFlight(&self.uploads)
    }

    /// Somebody was refused, whether or not that is recorded.
    pub fn refused(&self) {
        self.refusals.fetch_add(1, Relaxed);
    }

    /// Something was to be recorded in the ledger, and could not be.
    pub fn ledger_failed(&self) {
        self.ledger_failures.fetch_add(1, Relaxed);
    }

    /// The text; `reserved` is the memory held by bodies.
    #[must_use]
    pub fn render(&self, reserved: u64, places: &Places) -> String {
        let mut text = String::from(
            "# HELP trevor_gateway_requests_total Answers by class of status.\n# TYPE trevor_gateway_requests_total counter\n",
        );
        for (class, count) in self.answers.iter().enumerate().skip(1) {
            let _ = writeln!(
                text,
                "trevor_gateway_requests_total{{status=\"{class}xx\"}} {}",
                count.load(Relaxed)
            );
        }
        for (name, kind, help, value) in [
            (
                "received_bytes_total",
                "counter",
                "Bytes of uploads.",
                self.bytes_in.load(Relaxed),
            ),
            (
                "sent_bytes_total",
                "counter",
                "Bytes of content.",
                self.bytes_out.load(Relaxed),
            ),
            (
                "ledger_failures_total",
                "counter",
                "Events that the ledger did not take.",
                self.ledger_failures.load(Relaxed),
            ),
            (
                "refusals_total",
                "counter",
                "Calls of known callers that were refused; the ledger has some of each minute.",
                self.refusals.load(Relaxed),
            ),
            (
                "uploads_in_flight",
                "gauge",
                "Uploads under way.",
                self.uploads.load(Relaxed),
            ),
            (
                "connections",
                "gauge",
                "Open connections.",
                places.open() as u64,
            ),
            (
                "connections_displaced_total",
                "counter",
                "Idle connections that were ended to make room for others.",
                places.displaced(),
            ),
            (
                "connections_refused_total",
                "counter",
                "Connections that were closed at once, because all places were at work.",
                places.refused(),
            ),
            (
                "reserved_bytes",
                "gauge",
                "Memory reserved for bodies.",
                reserved,
            ),
        ] {
            let _ = write!(
                text,
                "# HELP trevor_gateway_{name} {help}\n# TYPE trevor_gateway_{name} {kind}\ntrevor_gateway_{name} {value}\n"
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_each_number_once_with_its_type() {
        let metrics = Metrics::default();
        metrics.answered(http::StatusCode::CREATED);
        metrics.answered(http::StatusCode::FORBIDDEN);
        metrics.bytes_in(7);
        let _upload = metrics.upload();
        metrics.refused();
        let text = metrics.render(42, &crate::serve::server::places());
        for line in [
            "trevor_gateway_requests_total{status=\"2xx\"} 1",
            "trevor_gateway_requests_total{status=\"4xx\"} 1",
            "trevor_gateway_received_bytes_total 7",
            "trevor_gateway_uploads_in_flight 1",
            "trevor_gateway_reserved_bytes 42",
            "trevor_gateway_refusals_total 1",
            "trevor_gateway_connections 0",
        ] {
            assert_eq!(text.lines().filter(|l| *l == line).count(), 1, "{line}");
        }
    }
}
