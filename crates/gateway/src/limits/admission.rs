//! Whether the policy admits an upload. Its name and length are checked before any byte is
//! read, its content once the first bytes have arrived, and the quota of the namespace
//! while it is received.

use crate::limits::quota::{QuarantineQuota, QuotaReservation};
use crate::problem::Problem;
use trevor_core::policy::Rules;
use trevor_core::sniff::{Sniffed, sniff};

/// The checks of one upload, with the quota that is reserved for it.
pub struct UploadAdmission<'a> {
    path: &'a str,
    rules: &'a Rules,
    reservation: Option<QuotaReservation>,
}

/// The largest file that the policy allows.
#[must_use]
pub fn max_file_bytes(rules: &Rules) -> u64 {
    u64::try_from(rules.max_file_bytes).unwrap_or(0)
}

/// Checks what is known of an upload before its first byte.
///
/// # Errors
/// 422 when the policy does not allow the name, 413 when the file is too large.
pub fn check_name_and_size(path: &str, length: Option<u64>, rules: &Rules) -> Result<(), Problem> {
    if let Some(breach) = rules.name_breach(path) {
        return Err(Problem::refused_by_policy(breach));
    }
    let limit = max_file_bytes(rules);
    match length {
        Some(length) if length > limit => Err(Problem::too_large(limit)),
        _ => Ok(()),
    }
}

impl<'a> UploadAdmission<'a> {
    /// Starts the checks of an upload that will be stored under `key`. Where the policy
    /// bounds what a namespace stores, the announced length is reserved.
    ///
    /// # Errors
    /// 422 when the quota is exhausted, 503 when the storage does not answer.
    pub async fn open(
        quota: &QuarantineQuota,
        (namespace, key): (&str, &str),
        (path, length): (&'a str, Option<u64>),
        rules: &'a Rules,
    ) -> Result<Self, Problem> {
        let reservation = match rules.max_stored_bytes {
            None => None,
            Some(max_bytes) => {
                let max_bytes = u64::try_from(max_bytes).unwrap_or(0);
                let reservation = quota.reserve(namespace, key, length.unwrap_or(0), max_bytes);
                Some(reservation.await?)
            }
        };
        Ok(Self {
            path,
            rules,
            reservation,
        })
    }

    /// Detects the type of the file by its first bytes, and checks it.
    ///
    /// # Errors
    /// 422 when the policy does not allow content of this type under this name.
    pub fn check_content(&self, head: &[u8]) -> Result<Sniffed, Problem> {
        let sniffed = sniff(head);
        match self.rules.content_breach(self.path, &sniffed) {
            Some(breach) => Err(Problem::refused_by_policy(breach)),
            None => Ok(sniffed),
        }
    }

    /// Extends the reservation to what was received, where no length was announced.
    ///
    /// # Errors
    /// 422 when the quota is exhausted, 503 when the storage does not answer.
    pub async fn reserve_received(
        &mut self,
        received: u64,
        quota: &QuarantineQuota,
    ) -> Result<(), Problem> {
        match &mut self.reservation {
            Some(reservation) => reservation.ensure(received, quota).await,
            None => Ok(()),
        }
    }

    /// The reservation, to be marked as stored with the object.
    #[must_use]
    pub fn into_reservation(self) -> Option<QuotaReservation> {
        self.reservation
    }
}
