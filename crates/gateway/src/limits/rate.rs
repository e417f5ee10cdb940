//! The minimum rate at which a client must send. It is measured in windows of the time that the
//! gateway waits for the client, so that an early burst does not permit a later stall.

use std::time::Duration;

/// Length of a window. A client may send nothing for one window at the start.
const WINDOW: Duration = Duration::from_secs(10);

/// Measures one client.
#[derive(Debug)]
pub struct MinimumRate {
    min_per_window: u64,
    waited: Duration,
    bytes: u64,
}

impl MinimumRate {
    /// Requires `min_rate_kib_s` KiB a second; 0 requires nothing.
    #[must_use]
    pub fn new(min_rate_kib_s: u64) -> Self {
        Self {
            min_per_window: min_rate_kib_s * 1024 * WINDOW.as_secs(),
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// How long to wait for the next bytes until the window ends.
    #[must_use]
    pub fn window_left(&self) -> Duration {
        WINDOW.saturating_sub(self.waited)
    }

    /// Records that `bytes` came after `waited`. False when the window has ended and the rate was
    /// too low.
    #[must_use]
    pub fn record(&mut self, waited: Duration, bytes: usize) -> bool {
        self.waited += waited;
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if self.waited < WINDOW {
            return true;
        }
        let enough = self.bytes >= self.min_per_window;
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_window_asks_for_its_bytes_and_an_early_burst_buys_nothing() {
        let mut rate = MinimumRate::new(16);
        assert!(rate.record(Duration::ZERO, 1 << 30));
        assert!(rate.record(Duration::from_secs(4), 10));
        assert_eq!(rate.window_left(), Duration::from_secs(6));
        assert!(
            rate.record(Duration::from_secs(6), 0),
            "the burst was in this window"
        );
        assert!(!rate.record(Duration::from_secs(10), 16 * 1024 * 10 - 1));
        assert!(rate.record(Duration::from_secs(10), 16 * 1024 * 10));
    }
}
