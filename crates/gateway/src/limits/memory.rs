//! The memory budget. Every body that is received or sent holds a permit of it. No user holds
//! more than a fair share, so that many slow connections of one user do not keep out others
//! (docs/design.md#what-is-bounded).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::problem::Problem;

/// The smallest reservation. It also covers the buffers of the socket and the headers.
pub const MIN_RESERVATION: u64 = 64 * 1024;
/// How long a call waits for a permit.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(10);
/// Calls of one user that may wait at the same time.
const MAX_WAITERS: usize = 256;

/// Bytes that all calls may hold together, and the queue of calls that wait for some.
#[derive(Debug)]
pub struct MemoryBudget {
    budget: u64,
    state: Mutex<BudgetState>,
}

#[derive(Debug, Default)]
struct BudgetState {
    used: u64,
    users: HashMap<String, UserMemory>,
    queue: VecDeque<Waiter>,
}

#[derive(Debug, Default)]
struct UserMemory {
    bytes: u64,
    waiting: usize,
}

#[derive(Debug)]
struct Waiter {
    user: String,
    bytes: u64,
    granted: oneshot::Sender<MemoryPermit>,
}

/// Reserved bytes of the budget. They are released on drop.
#[derive(Debug)]
pub struct MemoryPermit {
    budget: Arc<MemoryBudget>,
    user: String,
    bytes: u64,
}

impl BudgetState {
    /// Whether a user may hold `bytes` more. The share of a user is the budget divided by the
    /// number of active users plus one, which keeps a share free for the next user. A user who
    /// holds nothing gets one reservation of any size that is free.
    fn fits(&self, budget: u64, user: &str, bytes: u64) -> bool {
        let own = self.users.get(user);
        let held = own.map_or(0, |u| u.bytes);
        let active = self.users.len() as u64 + u64::from(own.is_none());
        self.used + bytes <= budget && (held == 0 || held + bytes <= budget / (active + 1))
    }

    fn take(&mut self, user: &str, bytes: u64) {
        self.used += bytes;
        self.users.entry(user.to_owned()).or_default().bytes += bytes;
    }

    fn release(&mut self, user: &str, bytes: u64) {
        self.used = self.used.saturating_sub(bytes);
        if let Some(held) = self.users.get_mut(user) {
            held.bytes = held.bytes.saturating_sub(bytes);
        }
        self.remove_if_idle(user);
    }

    fn remove_if_idle(&mut self, user: &str) {
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
        self.remove_if_idle(user);
    }
}

impl MemoryBudget {
    /// A budget of `budget` bytes.
    #[must_use]
    pub fn new(budget: u64) -> Arc<Self> {
        Arc::new(Self {
            budget,
            state: Mutex::default(),
        })
    }

    /// Bytes that are reserved now.
    pub fn used(&self) -> u64 {
        self.lock().used
    }

    fn lock(&self) -> MutexGuard<'_, BudgetState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses a call of a user with too many waiting calls, before anything is looked up for it.
    ///
    /// # Errors
    /// 429 when the queue of this user is full.
    pub fn check_queue(&self, user: &str) -> Result<(), Problem> {
        let full = self
            .lock()
            .users
            .get(user)
            .is_some_and(|own| own.waiting >= MAX_WAITERS);
        if full {
            Err(memory_share_exhausted())
        } else {
            Ok(())
        }
    }

    fn reserved(self: &Arc<Self>, user: &str, bytes: u64) -> MemoryPermit {
        MemoryPermit {
            budget: Arc::clone(self),
            user: user.to_owned(),
            bytes,
        }
    }

    /// Reserves `bytes`, and waits up to 10 s for them.
    ///
    /// # Errors
    /// 429 when the user's other calls hold the user's share, 503 when the budget is exhausted.
    pub async fn reserve(
        self: &Arc<Self>,
        user: &str,
        bytes: u64,
    ) -> Result<MemoryPermit, Problem> {
        let bytes = bytes.max(MIN_RESERVATION);
        let waiting = {
            let mut state = self.lock();
            let first = !state.queue.iter().any(|w| w.user == user);
            if first && state.fits(self.budget, user, bytes) {
                state.take(user, bytes);
                return Ok(self.reserved(user, bytes));
            }
            let own = state.users.entry(user.to_owned()).or_default();
            if own.waiting >= MAX_WAITERS {
                return Err(memory_share_exhausted());
            }
            own.waiting += 1;
            let (granted, waiting) = oneshot::channel();
            state.queue.push_back(Waiter {
                user: user.to_owned(),
                bytes,
                granted,
            });
            waiting
        };
        let queued = QueueEntry { budget: self, user };
        let answer = tokio::time::timeout(QUEUE_TIMEOUT, waiting).await;
        drop(queued);
        match answer {
            Ok(Ok(reserved)) => Ok(reserved),
            _ if self.lock().users.get(user).is_some_and(|u| u.bytes > 0) => {
                Err(memory_share_exhausted())
            }
            _ => Err(Problem::unavailable(
                "BudgetExhausted",
                "all memory for uploads is in use; try again",
                5,
            )),
        }
    }

    /// As [`Self::reserve`], for an estimate. At most a quarter of the budget is reserved, so
    /// that a large estimate can be granted at all.
    ///
    /// # Errors
    /// As [`Self::reserve`].
    pub async fn reserve_estimate(
        self: &Arc<Self>,
        user: &str,
        bytes: u64,
    ) -> Result<MemoryPermit, Problem> {
        self.reserve(user, bytes.min(self.budget / 4)).await
    }

    /// Reserves more for a user if it is free and no call waits.
    fn try_extra(&self, user: &str, bytes: u64) -> bool {
        let mut state = self.lock();
        let free = state.queue.is_empty() && state.fits(self.budget, user, bytes);
        if free {
            state.take(user, bytes);
        }
        free
    }

    fn release(self: &Arc<Self>, user: &str, bytes: u64) {
        let mut granted = Vec::new();
        {
            let mut state = self.lock();
            state.release(user, bytes);
            let mut remaining = VecDeque::new();
            while let Some(waiter) = state.queue.pop_front() {
                if waiter.granted.is_closed() {
                    continue;
                }
                if state.fits(self.budget, &waiter.user, waiter.bytes) {
                    state.take(&waiter.user, waiter.bytes);
                    granted.push(waiter);
                } else {
                    remaining.push_back(waiter);
                }
            }
            state.queue = remaining;
        }
        for Waiter {
            user,
            bytes,
            granted,
        } in granted
        {
            // Where the call has ended meanwhile, the permit is dropped and released again.
            drop(granted.send(self.reserved(&user, bytes)));
        }
    }
}

fn memory_share_exhausted() -> Problem {
    let detail = "your other uploads and downloads hold your share of the gateway's memory; let some end, and try again";
    Problem {
        status: http::StatusCode::TOO_MANY_REQUESTS,
        ..Problem::unavailable("ShareExhausted", detail, 5)
    }
}

/// A waiting call. Its drop takes it out of the queue, also when the call is cancelled.
struct QueueEntry<'a> {
    budget: &'a MemoryBudget,
    user: &'a str,
}

impl Drop for QueueEntry<'_> {
    fn drop(&mut self) {
        let mut state = self.budget.lock();
        state.stop_waiting(self.user);
        state.queue.retain(|w| !w.granted.is_closed());
    }
}

impl MemoryPermit {
    /// Reserves the same number of bytes once more, if they are free and no call waits. They are
    /// released by [`Self::release_extra`].
    pub(super) fn try_extra(&self) -> bool {
        self.budget.try_extra(&self.user, self.bytes)
    }

    /// Releases what exceeds `bytes`, once the real size is known.
    pub fn shrink(&mut self, bytes: u64) {
        let kept = bytes.max(MIN_RESERVATION).min(self.bytes);
        let surplus = self.bytes - kept;
        self.bytes = kept;
        self.budget.release(&self.user, surplus);
    }

    /// Releases what one [`Self::try_extra`] reserved.
    pub(super) fn release_extra(&self) {
        self.budget.release(&self.user, self.bytes);
    }
}

impl Drop for MemoryPermit {
    fn drop(&mut self) {
        self.budget.release(&self.user, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    async fn now(budget: &Arc<MemoryBudget>, user: &str, bytes: u64) -> Option<MemoryPermit> {
        tokio::time::timeout(Duration::from_millis(20), budget.reserve(user, bytes))
            .await
            .ok()?
            .ok()
    }

    #[tokio::test]
    async fn one_user_leaves_room_for_another() {
        let budget = MemoryBudget::new(64 * MIB);
        let mut held = Vec::new();
        while let Some(permit) = now(&budget, "alice", MIB).await {
            held.push(permit);
        }
        assert_eq!(held.len(), 32);
        let bob = now(&budget, "bob", 8 * MIB).await;
        assert!(bob.is_some());
        assert!(now(&budget, "alice", MIN_RESERVATION).await.is_none());
        drop(held);
        drop(bob);
        assert_eq!(budget.used(), 0);
        assert!(budget.lock().users.is_empty());
    }

    #[tokio::test]
    async fn whoever_holds_nothing_gets_one_thing_even_among_many() {
        let budget = MemoryBudget::new(64 * MIB);
        let mut held = Vec::new();
        for user in 0..8 {
            held.extend(now(&budget, &format!("u{user}"), 8 * MIB).await);
        }
        assert_eq!(held.len(), 8);
        assert!(now(&budget, "late", 8 * MIB).await.is_none());
        assert_eq!(budget.lock().queue.len(), 0);
    }

    #[tokio::test]
    async fn a_share_shrinks_to_what_is_needed_and_not_below_the_least() {
        let budget = MemoryBudget::new(64 * MIB);
        let mut permit = now(&budget, "alice", 16 * MIB).await.unwrap();
        for (bytes, kept) in [
            (20 * MIB, 16 * MIB),
            (MIB, MIB),
            (2 * MIB, MIB),
            (0, MIN_RESERVATION),
        ] {
            permit.shrink(bytes);
            assert_eq!(budget.used(), kept, "{bytes}");
        }
        drop(permit);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn a_share_that_comes_back_goes_to_who_waits() {
        let budget = MemoryBudget::new(64 * MIB);
        let first = now(&budget, "alice", 32 * MIB).await.unwrap();
        let waiting = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.reserve("alice", 8 * MIB).await }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(
            !budget.try_extra("bob", MIB),
            "extras wait behind the queue"
        );
        drop(first);
        assert_eq!(waiting.await.unwrap().unwrap().bytes, 8 * MIB);
        assert_eq!(budget.used(), 0);
    }
}
