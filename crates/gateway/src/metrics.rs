//! Metrics of the gateway, in the text format of Prometheus.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use trevor_serve::ConnectionLimiter;

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

/// Counts as one upload in flight until it is dropped.
#[derive(Debug)]
pub struct InFlight<'a>(&'a AtomicU64);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Metrics {
    /// Counts a response by the class of its status.
    pub fn answered(&self, status: http::StatusCode) {
        if let Some(class) = self.answers.get(usize::from(status.as_u16() / 100)) {
            class.fetch_add(1, Relaxed);
        }
    }

    /// Counts received bytes.
    pub fn bytes_in(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Relaxed);
    }

    /// Counts sent bytes of content.
    pub fn bytes_out(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Relaxed);
    }

    /// Counts an upload as in flight.
    pub fn upload(&self) -> InFlight<'_> {
        self.uploads.fetch_add(1, Relaxed);
        InFlight(&self.uploads)
    }

    /// Counts a refusal, whether or not the ledger records it.
    pub fn refused(&self) {
        self.refusals.fetch_add(1, Relaxed);
    }

    /// Counts a failed write of the ledger.
    pub fn ledger_failed(&self) {
        self.ledger_failures.fetch_add(1, Relaxed);
    }

    /// The text. `reserved` is the memory that bodies hold.
    #[must_use]
    pub fn render(&self, reserved: u64, connections: &ConnectionLimiter) -> String {
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
                connections.open() as u64,
            ),
            (
                "connections_displaced_total",
                "counter",
                "Idle connections that were ended to make room for others.",
                connections.evicted(),
            ),
            (
                "connections_refused_total",
                "counter",
                "Connections that were closed at once, because all places were at work.",
                connections.refused(),
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
    use trevor_serve::ConnectionLimits;

    #[test]
    fn the_text_has_each_number_once_with_its_type() {
        let metrics = Metrics::default();
        metrics.answered(http::StatusCode::CREATED);
        metrics.answered(http::StatusCode::FORBIDDEN);
        metrics.bytes_in(7);
        let _upload = metrics.upload();
        metrics.refused();
        let text = metrics.render(
            42,
            &ConnectionLimiter::new(ConnectionLimits {
                total: 1,
                per_peer: 1,
            }),
        );
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
