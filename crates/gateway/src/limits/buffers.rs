//! The buffers of one upload: one that is reserved, and more while the user's
//! share has room, so that reading, hashing and sending overlap.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::limits::memory::Reserved;

/// Buffers of one upload: one is always its own, more come from what is free.
#[derive(Debug)]
pub struct Lease(Arc<Leased>);

#[derive(Debug)]
struct Leased {
    own: Reserved,
    most: u32,
    out: Mutex<u32>,
    back: Notify,
}

/// Leave to fill one buffer; the last copy of its bytes gives it back.
#[derive(Debug)]
pub struct Leave(Arc<Leased>);

impl Lease {
    /// At most `most` buffers of the size that is reserved.
    #[must_use]
    pub fn new(own: Reserved, most: u32) -> Self {
        Self(Arc::new(Leased {
            own,
            most,
            out: Mutex::new(0),
            back: Notify::new(),
        }))
    }

    /// The next buffer, when there is one.
    pub async fn buffer(&self) -> Leave {
        loop {
            let back = self.0.back.notified();
            if self.0.try_out() {
                return Leave(Arc::clone(&self.0));
            }
            back.await;
        }
    }
}

impl Leased {
    fn try_out(&self) -> bool {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let may = *out == 0 || (*out < self.most && self.own.try_extra());
        if may {
            *out += 1;
        }
        may
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        let extra = {
            let mut out = self.0.out.lock().unwrap_or_else(PoisonError::into_inner);
            *out = out.saturating_sub(1);
            *out > 0
        };
        if extra {
            self.0.own.give_back_extra();
        }
        self.0.back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::memory::Shares;

    const MIB: u64 = 1 << 20;

    async fn lease(shares: &Arc<Shares>) -> Lease {
        Lease::new(shares.reserve("alice", 8 * MIB).await.unwrap(), 4)
    }

    #[tokio::test]
    async fn an_upload_always_has_one_buffer_and_more_while_they_are_free() {
        let shares = Shares::new(64 * MIB);
        let lease = lease(&shares).await;
        let mut out = vec![
            lease.buffer().await,
            lease.buffer().await,
            lease.buffer().await,
            lease.buffer().await,
        ];
        assert_eq!(shares.used(), 32 * MIB);
        assert!(
            tokio::time::timeout(std::time::Duration::from_millis(20), lease.buffer())
                .await
                .is_err()
        );
        out.pop();
        out.push(lease.buffer().await);
        out.clear();
        assert_eq!(shares.used(), 8 * MIB);
        drop(lease);
        assert_eq!(shares.used(), 0);
    }

    #[tokio::test]
    async fn a_buffer_outlives_its_lease_and_still_comes_back() {
        let shares = Shares::new(64 * MIB);
        let lease = lease(&shares).await;
        let (one, two) = (lease.buffer().await, lease.buffer().await);
        drop(lease);
        drop(one);
        assert_eq!(shares.used(), 8 * MIB);
        drop(two);
        assert_eq!(shares.used(), 0);
    }
}
