//! The least rate at which a client must send, measured on the time that we
//! wait for it, window by window: who sent a lot at first cannot stall later.

use std::time::Duration;

/// Length of a window, and so the grace at the start.
pub const WINDOW: Duration = Duration::from_secs(10);

/// How fast a client sends.
#[derive(Debug)]
pub struct Pace {
    least_per_window: u64,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// At least so many KiB a second; 0 asks for nothing.
    #[must_use]
    pub fn new(min_rate_kib_s: u64) -> Self {
        Self {
            least_per_window: min_rate_kib_s * 1024 * WINDOW.as_secs(),
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// How long to wait for the next bytes before the window ends.
    #[must_use]
    pub fn patience(&self) -> Duration {
        WINDOW.saturating_sub(self.waited)
    }

    /// Counts what came in what time; false when the window ended and was too slow.
    #[must_use]
    pub fn count(&mut self, waited: Duration, bytes: usize) -> bool {
        self.waited += waited;
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if self.waited < WINDOW {
            return true;
        }
        let enough = self.bytes >= self.least_per_window;
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_window_asks_for_its_bytes_and_an_early_burst_buys_nothing() {
        let mut pace = Pace::new(16);
        assert!(pace.count(Duration::ZERO, 1 << 30));
        assert!(pace.count(Duration::from_secs(4), 10));
        assert_eq!(pace.patience(), Duration::from_secs(6));
        assert!(
            pace.count(Duration::from_secs(6), 0),
            "the burst was in this window"
        );
        assert!(!pace.count(Duration::from_secs(10), 16 * 1024 * 10 - 1));
        assert!(pace.count(Duration::from_secs(10), 16 * 1024 * 10));
    }
}
