//! Memory, shared out: every body that passes holds a part of one budget, and no
//! user more than a fair share of it, so that many slow connections of one
//! leave room for another (docs/design.md#what-is-bounded).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::problem::Problem;

/// The least that anything holds: it stands for sockets and headers too.
pub const LEAST: u64 = 64 * 1024;
/// How long a call waits for its share.
const QUEUE: Duration = Duration::from_secs(10);
/// Calls of one user that wait.
const WAITERS: usize = 256;

/// The budget.
#[derive(Debug)]
pub struct Shares {
    budget: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: u64,
    users: HashMap<String, Use>,
    queue: VecDeque<Waiter>,
}

#[derive(Debug, Default)]
struct Use {
    bytes: u64,
    waiting: usize,
}

#[derive(Debug)]
struct Waiter {
    user: String,
    bytes: u64,
    granted: oneshot::Sender<Reserved>,
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
pub struct Reserved {
    shares: Arc<Shares>,
    user: String,
    bytes: u64,
}

impl State {
    /// A user may hold the budget divided by the number of users, plus one: room
    /// is kept for the next who comes. Who holds nothing gets one thing.
    fn fits(&self, budget: u64, user: &str, bytes: u64) -> bool {
        let mine = self.users.get(user);
        let held = mine.map_or(0, |u| u.bytes);
        let active = self.users.len() as u64 + u64::from(mine.is_none());
        self.used + bytes <= budget && (held == 0 || held + bytes <= budget / (active + 1))
    }

    fn take(&mut self, user: &str, bytes: u64) {
        self.used += bytes;
        self.users.entry(user.to_owned()).or_default().bytes += bytes;
    }

    fn give_back(&mut self, user: &str, bytes: u64) {
        self.used = self.used.saturating_sub(bytes);
        if let Some(held) = self.users.get_mut(user) {
            held.bytes = held.bytes.saturating_sub(bytes);
        }
        self.forget(user);
    }

    fn forget(&mut self, user: &str) {
        if self
            .users
            .get(user)
            .is_some_and(|u| u.bytes == 0 && u.waiting == 0)
        {
            self.users.remove(user);
        }
    }

    fn stop_waiting(&mut self, user: &str) {
        if let Some(waiting) = self.users.get_mut(user) {
            waiting.waiting = waiting.waiting.saturating_sub(1);
        }
        self.forget(user);
    }
}

impl Shares {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(budget: u64) -> Arc<Self> {
        Arc::new(Self {
            budget,
            state: Mutex::default(),
        })
    }

    /// Bytes that are held now.
    pub fn used(&self) -> u64 {
        self.lock().used
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses a user whose own calls that wait are too many already, before
    /// anything is asked for them.
    ///
    /// # Errors
    /// 429.
    pub fn has_place(&self, user: &str) -> Result<(), Problem> {
        let full = self
            .lock()
            .users
            .get(user)
            .is_some_and(|mine| mine.waiting >= WAITERS);
        if full { Err(too_many()) } else { Ok(()) }
    }

    fn reserved(self: &Arc<Self>, user: &str, bytes: u64) -> Reserved {
        Reserved {
            shares: Arc::clone(self),
            user: user.to_owned(),
            bytes,
        }
    }

    /// A share now or within 10 s.
    ///
    /// # Errors
    /// 429 where the user's own calls stand in the way, 503 where others' do.
    pub async fn reserve(self: &Arc<Self>, user: &str, bytes: u64) -> Result<Reserved, Problem> {
        let bytes = bytes.max(LEAST);
        let waiting = {
            let mut state = self.lock();
            let first = !state.queue.iter().any(|w| w.user == user);
            if first && state.fits(self.budget, user, bytes) {
                state.take(user, bytes);
                return Ok(self.reserved(user, bytes));
            }
            let mine = state.users.entry(user.to_owned()).or_default();
            if mine.waiting >= WAITERS {
                return Err(too_many());
            }
            mine.waiting += 1;
            let (granted, waiting) = oneshot::channel();
            state.queue.push_back(Waiter {
                user: user.to_owned(),
                bytes,
                granted,
            });
            waiting
        };
        let place = Place { shares: self, user };
        let answer = tokio::time::timeout(QUEUE, waiting).await;
        drop(place);
        match answer {
            Ok(Ok(reserved)) => Ok(reserved),
            _ if self.lock().users.get(user).is_some_and(|u| u.bytes > 0) => Err(too_many()),
            _ => Err(Problem::unavailable(
                "BudgetExhausted",
                "all memory for uploads is in use; try again",
                5,
            )),
        }
    }

    /// As [`Self::reserve`], for what is only estimated: at most a quarter of the
    /// budget, so that it can be had at all.
    ///
    /// # Errors
    /// As [`Self::reserve`].
    pub async fn reserve_at_most(
        self: &Arc<Self>,
        user: &str,
        bytes: u64,
    ) -> Result<Reserved, Problem> {
        self.reserve(user, bytes.min(self.budget / 4)).await
    }

    /// A share beyond what one has already, if nobody waits for it.
    fn try_extra(&self, user: &str, bytes: u64) -> bool {
        let mut state = self.lock();
        let free = state.queue.is_empty() && state.fits(self.budget, user, bytes);
        if free {
            state.take(user, bytes);
        }
        free
    }

    fn give_back(self: &Arc<Self>, user: &str, bytes: u64) {
        let mut granted = Vec::new();
        {
            let mut state = self.lock();
            state.give_back(user, bytes);
            let mut still = VecDeque::new();
            while let Some(waiter) = state.queue.pop_front() {
                if waiter.granted.is_closed() {
                    continue;
                }
                if state.fits(self.budget, &waiter.user, waiter.bytes) {
                    state.take(&waiter.user, waiter.bytes);
                    granted.push(waiter);
                } else {
                    still.push_back(waiter);
                }
            }
            state.queue = still;
        }
        for Waiter {
            user,
            bytes,
            granted,
        } in granted
        {
            // One who left meanwhile drops its share, which comes back here.
            drop(granted.send(self.reserved(&user, bytes)));
        }
    }
}

fn too_many() -> Problem {
    let detail = "your other uploads and downloads hold your share of the gateway's memory; let some end, and try again";
    Problem {
        status: http::StatusCode::TOO_MANY_REQUESTS,
        ..Problem::unavailable("ShareExhausted", detail, 5)
    }
}

/// A place in the queue; leaving it counts, also when the call is dropped.
struct Place<'a> {
    shares: &'a Shares,
    user: &'a str,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.shares.lock();
        state.stop_waiting(self.user);
        state.queue.retain(|w| !w.granted.is_closed());
    }
}

impl Reserved {
    /// As much again, if it is free and nobody waits for it; to be given back by
    /// [`Self::give_back_extra`].
    pub(crate) fn try_extra(&self) -> bool {
        self.shares.try_extra(&self.user, self.bytes)
    }

    /// Gives back what is more than `bytes`, once that much is known to do.
    pub fn shrink(&mut self, bytes: u64) {
        let keep = bytes.max(LEAST).min(self.bytes);
        let more = self.bytes - keep;
        self.bytes = keep;
        self.shares.give_back(&self.user, more);
    }

    /// Gives as much back.
    pub(crate) fn give_back_extra(&self) {
        self.shares.give_back(&self.user, self.bytes);
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.shares.give_back(&self.user, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    async fn now(shares: &Arc<Shares>, user: &str, bytes: u64) -> Option<Reserved> {
        tokio::time::timeout(Duration::from_millis(20), shares.reserve(user, bytes))
            .await
            .ok()?
            .ok()
    }

    #[tokio::test]
    async fn one_user_leaves_room_for_another() {
        let shares = Shares::new(64 * MIB);
        let mut held = Vec::new();
        while let Some(share) = now(&shares, "alice", MIB).await {
            held.push(share);
        }
        assert_eq!(held.len(), 32);
        let bob = now(&shares, "bob", 8 * MIB).await;
        assert!(bob.is_some());
        assert!(now(&shares, "alice", LEAST).await.is_none());
        drop(held);
        drop(bob);
        assert_eq!(shares.used(), 0);
        assert!(shares.lock().users.is_empty());
    }

    #[tokio::test]
    async fn whoever_holds_nothing_gets_one_thing_even_among_many() {
        let shares = Shares::new(64 * MIB);
        let mut held = Vec::new();
        for user in 0..8 {
            held.extend(now(&shares, &format!("u{user}"), 8 * MIB).await);
        }
        assert_eq!(held.len(), 8);
        assert!(now(&shares, "late", 8 * MIB).await.is_none());
        assert_eq!(shares.lock().queue.len(), 0);
    }

    #[tokio::test]
    async fn a_share_shrinks_to_what_is_needed_and_not_below_the_least() {
        let shares = Shares::new(64 * MIB);
        let mut share = now(&shares, "alice", 16 * MIB).await.unwrap();
        for (bytes, kept) in [(20 * MIB, 16 * MIB), (MIB, MIB), (2 * MIB, MIB), (0, LEAST)] {
            share.shrink(bytes);
            assert_eq!(shares.used(), kept, "{bytes}");
        }
        drop(share);
        assert_eq!(shares.used(), 0);
    }

    #[tokio::test]
    async fn a_share_that_comes_back_goes_to_who_waits() {
        let shares = Shares::new(64 * MIB);
        let first = now(&shares, "alice", 32 * MIB).await.unwrap();
        let waiting = tokio::spawn({
            let shares = Arc::clone(&shares);
            async move { shares.reserve("alice", 8 * MIB).await }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(
            !shares.try_extra("bob", MIB),
            "extras wait behind the queue"
        );
        drop(first);
        assert_eq!(waiting.await.unwrap().unwrap().bytes, 8 * MIB);
        assert_eq!(shares.used(), 0);
    }
}
