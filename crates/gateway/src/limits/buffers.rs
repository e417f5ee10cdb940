//! The buffers of one upload. One is always reserved. More are granted while the user's share of
//! the memory budget has room, so that reading, hashing and sending overlap.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::limits::memory::MemoryPermit;

/// The buffers that one upload may hold.
#[derive(Debug)]
pub struct BufferPool(Arc<PoolState>);

#[derive(Debug)]
struct PoolState {
    reserved: MemoryPermit,
    max: u32,
    in_use: Mutex<u32>,
    released: Notify,
}

/// Permits one buffer to be held. It is dropped with the last reference to the bytes.
#[derive(Debug)]
pub struct BufferPermit(Arc<PoolState>);

impl BufferPool {
    /// At most `max` buffers of the size of `reserved`.
    #[must_use]
    pub fn new(reserved: MemoryPermit, max: u32) -> Self {
        Self(Arc::new(PoolState {
            reserved,
            max,
            in_use: Mutex::new(0),
            released: Notify::new(),
        }))
    }

    /// Waits for a free buffer.
    pub async fn acquire(&self) -> BufferPermit {
        loop {
            let released = self.0.released.notified();
            if self.0.try_acquire() {
                return BufferPermit(Arc::clone(&self.0));
            }
            released.await;
        }
    }
}

impl PoolState {
    fn try_acquire(&self) -> bool {
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        let available = *in_use == 0 || (*in_use < self.max && self.reserved.try_extra());
        if available {
            *in_use += 1;
        }
        available
    }
}

impl Drop for BufferPermit {
    fn drop(&mut self) {
        let extra = {
            let mut in_use = self.0.in_use.lock().unwrap_or_else(PoisonError::into_inner);
            *in_use = in_use.saturating_sub(1);
            *in_use > 0
        };
        if extra {
            self.0.reserved.release_extra();
        }
        self.0.released.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::memory::MemoryBudget;

    const MIB: u64 = 1 << 20;

    async fn pool(memory: &Arc<MemoryBudget>) -> BufferPool {
        BufferPool::new(memory.reserve("alice", 8 * MIB).await.unwrap(), 4)
    }

    #[tokio::test]
    async fn an_upload_always_has_one_buffer_and_more_while_they_are_free() {
        let memory = MemoryBudget::new(64 * MIB);
        let pool = pool(&memory).await;
        let mut in_use = vec![
            pool.acquire().await,
            pool.acquire().await,
            pool.acquire().await,
            pool.acquire().await,
        ];
        assert_eq!(memory.used(), 32 * MIB);
        assert!(
            tokio::time::timeout(std::time::Duration::from_millis(20), pool.acquire())
                .await
                .is_err()
        );
        in_use.pop();
        in_use.push(pool.acquire().await);
        in_use.clear();
        assert_eq!(memory.used(), 8 * MIB);
        drop(pool);
        assert_eq!(memory.used(), 0);
    }

    #[tokio::test]
    async fn a_buffer_outlives_its_lease_and_still_comes_back() {
        let memory = MemoryBudget::new(64 * MIB);
        let pool = pool(&memory).await;
        let (one, two) = (pool.acquire().await, pool.acquire().await);
        drop(pool);
        drop(one);
        assert_eq!(memory.used(), 8 * MIB);
        drop(two);
        assert_eq!(memory.used(), 0);
    }
}
