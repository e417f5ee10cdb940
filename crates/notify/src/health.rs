//! Whether a channel takes anything at all. One in trouble is tried by one message at a
//! time, with growing pauses; the others wait in the outbox and hold nobody up.

use std::time::Duration;

use tokio::time::Instant;

use super::backoff;
use super::delivery::{Failure, NotificationFailure};

/// Failures in a row after which a channel is in trouble.
const TROUBLE: i64 = 3;
/// The longest pause is a minute and a quarter: then it is looked whether it is back.
const LONGEST: i64 = 7;

/// A channel on which nothing ended for so long may hang.
const MOVING: Duration = Duration::from_secs(2);

/// How a channel did lately.
#[derive(Clone, Copy, Debug, Default)]
pub struct Health {
    failures: i64,
    rests: Option<Instant>,
    last: Option<Failure>,
    moved: Option<Instant>,
}

impl Health {
    /// Whether a message may be tried now; if not, until when it waits, and why. Whoever
    /// may, tries for all that wait.
    pub fn ask(&mut self, now: Instant) -> Result<(), (Instant, Failure)> {
        if let Some(rests) = self.resting(now) {
            return Err(rests);
        }
        if self.failures >= TROUBLE {
            self.rest(now);
        }
        Ok(())
    }

    /// Until when nobody tries, and why; none: somebody may.
    pub fn resting(&self, now: Instant) -> Option<(Instant, Failure)> {
        let (rests, last) = self.rests.zip(self.last)?;
        (self.failures >= TROUBLE && now < rests).then_some((rests, last))
    }

    /// A try ended, however it did.
    pub fn moves(&mut self, now: Instant) {
        self.moved = Some(now);
    }

    /// Whether one did lately: then it is worth to wait for a turn.
    pub fn is_moving(&self, now: Instant) -> bool {
        self.moved.is_some_and(|moved| now < moved + MOVING)
    }

    /// It took a message, or refused one for what it was. Gives whether it was in trouble.
    pub fn works(&mut self) -> bool {
        let moved = self.moved;
        let before = std::mem::replace(
            self,
            Self {
                moved,
                ..Self::default()
            },
        );
        before.failures >= TROUBLE
    }

    /// It took nothing.
    pub fn fails(&mut self, failure: Failure, now: Instant) {
        self.failures += 1;
        self.last = Some(failure);
        self.rest(now);
    }

    fn rest(&mut self, now: Instant) {
        let pause: Duration = backoff::pause(self.failures.min(LONGEST));
        self.rests = Some(now + pause);
    }
}

/// Whether a failure is the channel's, and not one of this message or address.
#[must_use]
pub fn is_of_channel(failure: &Failure) -> bool {
    use NotificationFailure as Why;
    match (failure.reason, failure.code) {
        (Why::Malformed | Why::NoAddress | Why::UnknownChannel, _) => false,
        // HTTP: the server's own. SMTP: it closes, or wants a log-in.
        (Why::Refused, Some(code)) => {
            matches!(code, 401 | 403 | 404 | 421 | 429 | 500..=504 | 530..=538)
        }
        (_, _) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_in_trouble_is_tried_by_one_at_a_time_until_it_is_back() {
        let (mut health, start) = (Health::default(), Instant::now());
        let failure = Failure::passing(NotificationFailure::TimedOut);
        for _ in 0..TROUBLE {
            assert!(health.ask(start).is_ok());
            health.fails(failure, start);
        }
        let (until, why) = health.ask(start).unwrap_err();
        assert_eq!(why, failure);
        assert!(until >= start + Duration::from_secs(3));
        assert!(health.ask(until).is_ok(), "one tries");
        assert!(health.ask(until).is_err(), "the others wait for it");
        for _ in 0..50 {
            health.fails(failure, until);
        }
        let (longest, _) = health.ask(until).unwrap_err();
        assert!(
            longest <= until + Duration::from_secs(81),
            "{:?}",
            longest - until
        );
        assert!(health.works() && !health.works());
        assert!(health.ask(start).is_ok());
    }

    #[test]
    fn a_turn_is_worth_waiting_for_where_others_have_theirs() {
        let (mut health, now) = (Health::default(), Instant::now());
        assert!(!health.is_moving(now));
        health.moves(now);
        health.works();
        assert!(health.is_moving(now + MOVING / 2));
        assert!(!health.is_moving(now + MOVING));
    }

    #[test]
    fn one_refused_address_is_no_trouble_of_the_channel() {
        let refused = |code| Failure {
            code: Some(code),
            ..Failure::passing(NotificationFailure::Refused)
        };
        for (code, trouble) in [
            (550, false),
            (450, false),
            (400, false),
            (410, false),
            (500, true),
            (503, true),
            (429, true),
            (535, true),
        ] {
            assert_eq!(is_of_channel(&refused(code)), trouble, "{code}");
        }
        assert!(is_of_channel(&Failure::passing(
            NotificationFailure::TlsFailed
        )));
    }
}
