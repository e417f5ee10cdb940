//! Trying again: what is worth it, how often, and after which pause.

use std::time::Duration;

use super::progress::note;
use super::web::Trouble;

/// Whoever waits so long wants to know why.
const WORTH_SAYING: Duration = Duration::from_secs(2);

/// How often, and how patiently, something is tried again.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Attempts in a row that may fail.
    pub attempts: u32,
    /// The first pause, about; each following one is twice as long.
    pub first: Duration,
    /// No pause is longer.
    pub longest: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempts: 8,
            first: Duration::from_millis(500),
            longest: Duration::from_secs(30),
        }
    }
}

impl Patience {
    /// The pause after the `failed`th attempt in a row (from 1): between half of
    /// it and all of it, by `share` (0 to 1), so that many senders do not come
    /// back together. A server that says when to come is heard, within bounds.
    fn pause(&self, failed: u32, asked: Option<Duration>, share: f64) -> Duration {
        let doubled = self
            .first
            .saturating_mul(1_u32.checked_shl(failed - 1).unwrap_or(u32::MAX))
            .min(self.longest);
        let jittered = doubled.mul_f64(0.5 + share.clamp(0.0, 1.0) / 2.0);
        asked.unwrap_or_default().min(self.longest).max(jittered)
    }
}

/// Counts the attempts at one thing.
#[derive(Debug)]
pub(crate) struct Attempts {
    patience: Patience,
    failed: u32,
}

impl Attempts {
    pub(crate) fn new(patience: Patience) -> Self {
        Self {
            patience,
            failed: 0,
        }
    }

    /// Something got on: the count begins anew.
    pub(crate) fn got_on(&mut self) {
        self.failed = 0;
    }

    /// Waits until it may be tried again, or gives the trouble back when it
    /// would be the same again or was tried often enough.
    pub(crate) async fn after(&mut self, trouble: Trouble) -> Result<(), Trouble> {
        self.failed += 1;
        if !trouble.passes() || self.failed >= self.patience.attempts {
            return Err(trouble);
        }
        let pause = self
            .patience
            .pause(self.failed, trouble.asked(), rand::random());
        if pause >= WORTH_SAYING {
            note(&format!(
                "{trouble}; trying again in {} s",
                pause.as_secs_f64().round()
            ));
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: Patience = Patience {
        attempts: 3,
        first: Duration::from_millis(100),
        longest: Duration::from_secs(2),
    };

    #[test]
    fn pauses_double_up_to_a_bound_and_differ() {
        let ms = |failed, asked, share| P.pause(failed, asked, share).as_millis();
        assert_eq!((ms(1, None, 0.0), ms(1, None, 1.0)), (50, 100));
        assert_eq!((ms(3, None, 0.0), ms(3, None, 1.0)), (200, 400));
        assert_eq!(ms(40, None, 1.0), 2000);
        assert_eq!(ms(1, Some(Duration::from_secs(1)), 1.0), 1000);
        assert_eq!(ms(1, Some(Duration::from_secs(3600)), 1.0), 2000);
    }

    #[tokio::test]
    async fn what_passes_is_tried_again_and_what_stays_is_not() {
        let refused = || Trouble::status(403, None, None);
        let busy = || Trouble::status(503, None, None);
        assert!(Attempts::new(P).after(refused()).await.is_err());
        let quick = Patience {
            first: Duration::from_millis(1),
            ..P
        };
        let mut attempts = Attempts::new(quick);
        assert!(attempts.after(busy()).await.is_ok());
        assert!(attempts.after(busy()).await.is_ok());
        assert!(attempts.after(busy()).await.is_err());
        let mut attempts = Attempts::new(quick);
        for _ in 0..10 {
            assert!(attempts.after(busy()).await.is_ok());
            attempts.got_on();
        }
    }
}
