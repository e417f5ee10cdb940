//! What a policy allows of an upload: by its name and length before a byte is
//! taken, by its first bytes when they are there, and in a namespace by all that
//! is stored.

use http::StatusCode;

use crate::limits::body_reader::too_large;
use crate::limits::quota::{Reservation, Stored};
use crate::problem::Problem;
use trevor_core::policy::Rules;
use trevor_core::sniff::{Sniffed, sniff};

/// The gate that one upload goes through.
pub struct Gate<'a> {
    path: &'a str,
    rules: &'a Rules,
    room: Option<Reservation>,
}

/// The policy says no.
#[must_use]
pub fn refused(detail: impl Into<String>) -> Problem {
    Problem::unprocessable("RefusedByPolicy", detail)
}

/// The largest file that may be sent.
#[must_use]
pub fn most(rules: &Rules) -> u64 {
    u64::try_from(rules.max_file_bytes).unwrap_or(0)
}

/// What is known before the first byte.
///
/// # Errors
/// 422 by the name, 413 by the length.
pub fn check(path: &str, length: Option<u64>, rules: &Rules) -> Result<(), Problem> {
    if let Some(breach) = rules.name_breach(path) {
        return Err(refused(breach));
    }
    let most = most(rules);
    match length {
        Some(length) if length > most => Err(too_large(most)),
        _ => Ok(()),
    }
}

impl<'a> Gate<'a> {
    /// For an upload that will be stored under `key`. Where the policy bounds what a
    /// namespace stores, room for its announced length is kept from here on.
    ///
    /// # Errors
    /// 422 where there is no room, 503 as the server says.
    pub async fn open(
        stored: &Stored,
        (namespace, key): (&str, &str),
        (path, length): (&'a str, Option<u64>),
        rules: &'a Rules,
    ) -> Result<Self, Problem> {
        let room = match rules.max_stored_bytes {
            None => None,
            Some(most) => {
                let most = u64::try_from(most).unwrap_or(0);
                let room = stored.reserve(namespace, key, length.unwrap_or(0), most);
                Some(room.await?)
            }
        };
        Ok(Self { path, rules, room })
    }

    /// Looks at the first bytes.
    ///
    /// # Errors
    /// 422 when they are not what the name says.
    pub fn look(&self, head: &[u8]) -> Result<Sniffed, Problem> {
        let sniffed = sniff(head);
        match self.rules.content_breach(self.path, &sniffed) {
            Some(breach) => Err(refused(breach)),
            None => Ok(sniffed),
        }
    }

    /// Keeps room for what came in, where its length was not announced.
    ///
    /// # Errors
    /// 422 where there is none.
    pub async fn take(&mut self, received: u64, stored: &Stored) -> Result<(), Problem> {
        match &mut self.room {
            Some(room) => room.cover(received, stored).await,
            None => Ok(()),
        }
    }

    /// The room that was kept.
    #[must_use]
    pub fn into_room(self) -> Option<Reservation> {
        self.room
    }
}

/// Whether a problem is the policy's.
#[must_use]
pub fn is_refusal(problem: &Problem) -> bool {
    problem.reason == "RefusedByPolicy" || problem.status == StatusCode::PAYLOAD_TOO_LARGE
}
