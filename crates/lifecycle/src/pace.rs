//! How fast objects may be deleted, so that a server with other work bears it.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// So many a second, on average.
#[derive(Debug)]
pub struct Pace {
    per_second: u32,
    free: Mutex<Option<Instant>>,
}

impl Pace {
    /// At most so many a second.
    #[must_use]
    pub fn of(per_second: u32) -> Self {
        Self {
            per_second: per_second.max(1),
            free: Mutex::new(None),
        }
    }

    /// Waits until `count` more may go.
    pub async fn take(&self, count: usize) {
        let mut free = self.free.lock().await;
        let (at, next) = turn(*free, Instant::now(), count, self.per_second);
        *free = Some(next);
        drop(free);
        tokio::time::sleep_until(at).await;
    }
}

/// When so many may go, and when the next may.
fn turn(free: Option<Instant>, now: Instant, count: usize, per_second: u32) -> (Instant, Instant) {
    let at = free.map_or(now, |at| at.max(now));
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    (at, at + Duration::from_secs(1) * count / per_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_second_and_no_more() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let (first, free) = turn(None, now, 500, 1000);
        assert_eq!((first, free), (now, now + second / 2));
        let (next, free) = turn(Some(free), now, 1000, 1000);
        assert_eq!((next, free), (now + second / 2, now + second * 3 / 2));
        // Rest is not saved up.
        let later = now + second * 60;
        assert_eq!(turn(Some(free), later, 0, 1000), (later, later));
    }
}
