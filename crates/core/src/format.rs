//! The formats of stored facts, and what a version does with facts of other versions.
//!
//! Facts are kept for decades, and every version reads those of all versions before it. A
//! fact is read from its stored bytes, and what names it names the SHA-256 of these.
//!
//! 1. A fact says its format in the field `format`; without one its format is 1.
//! 2. A field is added without raising the format, if a version that does not know it
//!    decides the same without it. It is optional, and left out where it says nothing.
//! 3. No field is renamed or removed, and none changes its meaning. Where a version that
//!    ignores something would decide otherwise, the fact gets the next format. It is
//!    written only where it is needed, so that everything else stays as earlier versions
//!    read it.
//! 4. What is copied from one fact into another keeps the fields that this version does
//!    not know.
//! 5. A fact of a later format than this version knows stops what loosens on that request:
//!    deciding, releasing and renewing. Holding, withdrawing, revoking, closing and deleting
//!    go on: `closed.json`, holds, tickets and deletion receipts stay at format 1.
//! 6. A decision is judged, also years later, by the rules of the format that it has.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::canonical;
use super::commit::{
    Attempt, AttemptFailure, Closed, Decision, Move, MoveFailure, Outcome, Owner, Revoked, Seal,
    Submitted, Ticket, UrlDeleted,
};
use super::digest::Sha256Hex;
use super::epoch::{Began, Ended};
use super::ingress::Planned;
use super::packaging::Sent;
use super::phase::Next;
use super::receipt::Receipt;
use super::retention::{Deletion, DeletionPlan, Hold, IdleWarning};
use super::seen::{Seen, Sighting};
use super::url_ending::{UrlRead, UrlWarning};
use super::volume::{Collection, Delivered, JobIntent, JobMade, JobPod};
use trevor_api::{Notification, ReleaseRecordSpec};

/// What is stored as one object.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no stored fact",
    note = "say its format beside it: `trevor_core::stored_fact!(Name)`"
)]
pub trait Fact: Sized {
    /// The latest format that this version reads and writes.
    const FORMAT: u32 = 1;

    /// The format that it has.
    fn format(&self, bytes: &Bytes) -> u32 {
        of(bytes)
    }

    /// Reads it.
    ///
    /// # Errors
    /// When the bytes are something else.
    fn parse(bytes: &Bytes) -> serde_json::Result<Self>;

    /// The bytes that are stored.
    ///
    /// # Errors
    /// When it cannot be written as JSON, which no type of ours has a reason to.
    fn to_bytes(&self) -> serde_json::Result<Bytes>;
}

/// Makes types stored facts, written as canonical JSON: `stored_fact!(Seal)`, `stored_fact!(Seal = 2)`.
#[macro_export]
macro_rules! stored_fact {
    ($name:ty) => {
        $crate::stored_fact!($name = 1);
    };
    ($name:ty = $format:literal) => {
        impl $crate::format::Fact for $name {
            const FORMAT: u32 = $format;

            fn parse(
                bytes: &$crate::format::written::Bytes,
            ) -> $crate::format::written::serde_json::Result<Self> {
                $crate::format::written::serde_json::from_slice(bytes)
            }

            fn to_bytes(
                &self,
            ) -> $crate::format::written::serde_json::Result<$crate::format::written::Bytes> {
                $crate::canonical::to_vec(self).map($crate::format::written::Bytes::from)
            }
        }
    };
}

/// What [`stored_fact!`](crate::stored_fact) needs wherever it is used.
#[doc(hidden)]
pub mod written {
    pub use bytes::Bytes;
    pub use serde_json;
}

crate::stored_fact!(Owner);
crate::stored_fact!(Submitted);
crate::stored_fact!(Seal);
crate::stored_fact!(Decision);
crate::stored_fact!(Attempt);
crate::stored_fact!(AttemptFailure);
crate::stored_fact!(Outcome);
crate::stored_fact!(Closed);
crate::stored_fact!(Revoked);
crate::stored_fact!(Move);
crate::stored_fact!(MoveFailure);
crate::stored_fact!(UrlDeleted);
crate::stored_fact!(Ticket);
crate::stored_fact!(Receipt);
crate::stored_fact!(Collection);
crate::stored_fact!(Delivered);
crate::stored_fact!(Planned);
crate::stored_fact!(JobIntent);
crate::stored_fact!(JobMade);
crate::stored_fact!(JobPod);
crate::stored_fact!(Sent);
crate::stored_fact!(Seen);
crate::stored_fact!(Sighting);
crate::stored_fact!(IdleWarning);
crate::stored_fact!(UrlRead);
crate::stored_fact!(UrlWarning);
crate::stored_fact!(Hold);
crate::stored_fact!(Deletion);
crate::stored_fact!(DeletionPlan);
crate::stored_fact!(Began);
crate::stored_fact!(Ended);
crate::stored_fact!(ReleaseRecordSpec);
crate::stored_fact!(Notification);
// A round that is in the index, and a time that is announced.
crate::stored_fact!(i64);
crate::stored_fact!(jiff::Timestamp);

/// A fact of a later format than this version knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{key} was written by a later version of trevor (format {format}, and this version knows {known}): nothing is decided, released or renewed here until trevor is upgraded; it can be held, withdrawn and revoked"
)]
pub struct Later {
    /// Key of the object.
    pub key: String,
    /// Its format.
    pub format: u32,
    /// The latest that this version knows.
    pub known: u32,
}

impl Later {
    /// Whether a fact is one.
    #[must_use]
    pub fn is<T: Fact>(fact: &T, key: &str, bytes: &Bytes) -> Option<Self> {
        Self::of(fact.format(bytes), T::FORMAT, key)
    }

    fn of(format: u32, known: u32, key: &str) -> Option<Self> {
        (format > known).then(|| Self {
            key: key.to_owned(),
            format,
            known,
        })
    }

    /// Whether bytes that do not read as this fact say that they are of a later format.
    #[must_use]
    pub fn unread<T: Fact>(key: &str, bytes: &[u8]) -> Option<Self> {
        Self::of(of(bytes), T::FORMAT, key)
    }
}

/// Fields that this version does not know, kept where a fact is copied or hashed again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Unknown(serde_json::Map<String, serde_json::Value>);

/// A part of a fact whose digest something names: kept, and hashed, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept<T> {
    value: T,
    stored: serde_json::Value,
}

impl<T: Serialize> Kept<T> {
    /// Of what is about to be stored.
    #[must_use]
    pub fn of(value: T) -> Self {
        let stored = serde_json::to_value(&value).unwrap_or_default();
        Self { value, stored }
    }
}

impl<T> Kept<T> {
    /// SHA-256 of its canonical bytes.
    #[must_use]
    pub fn digest(&self) -> Sha256Hex {
        Sha256Hex::of(&canonical::to_vec(&self.stored).unwrap_or_default())
    }
}

impl<T> std::ops::Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Serialize for Kept<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.stored.serialize(serializer)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Kept<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = serde_json::Value::deserialize(deserializer)?;
        let value = T::deserialize(&stored).map_err(serde::de::Error::custom)?;
        Ok(Self { value, stored })
    }
}

/// Whether a step goes on although a fact of the request is of a later format: what only
/// stops, closes or deletes does. `stop`: the request is withdrawn.
#[must_use]
pub fn goes_on(next: &Next, stop: bool) -> bool {
    match next {
        Next::Rest
        | Next::Seal { .. }
        | Next::Freeze {
            refuse: Some(_), ..
        }
        | Next::Recall { .. }
        | Next::Withdraw { .. }
        | Next::Revoke { .. }
        | Next::Close { .. } => true,
        // Of what was released, the record is closed; no URL is made.
        Next::Deliver { .. } => true,
        Next::Review { .. } | Next::Release { .. } => stop,
        Next::Gather { .. } | Next::Freeze { refuse: None, .. } => false,
    }
}

/// What every fact may say of itself.
#[derive(Deserialize)]
struct Head {
    #[serde(default = "first")]
    format: u32,
}

/// The format that some bytes say; 1 where they say none, or are no object.
#[must_use]
pub fn of(bytes: &[u8]) -> u32 {
    serde_json::from_slice(bytes).map_or(1, |head: Head| head.format)
}

/// The first format of every fact, which is not written.
pub(crate) fn first() -> u32 {
    1
}

/// Whether a format goes without saying.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
pub(crate) fn is_first(format: &u32) -> bool {
    *format == 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::phase::Ended as How;

    #[test]
    fn a_fact_without_a_format_is_of_the_first() {
        for (bytes, format) in [
            (&br#"{"a":1}"#[..], 1),
            (br#"{"format":1}"#, 1),
            (br#"{"a":[{"format":9}],"format":3}"#, 3),
            (b"7", 1),
            (b"not json", 1),
        ] {
            assert_eq!(of(bytes), format, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_of_a_later_format_says_so_whether_it_can_be_read_or_not() {
        let bytes = Bytes::from_static(br#"{"action":"u","key":"k","format":2,"more":[1]}"#);
        let fact = Move::parse(&bytes).unwrap();
        let later = Later::is(&fact, "moves/u.json", &bytes).unwrap();
        assert_eq!((later.format, later.known), (2, 1));
        let said = later.to_string();
        assert!(
            said.contains("moves/u.json") && said.contains("upgraded"),
            "{said}"
        );
        assert_eq!(
            Later::unread::<Move>("moves/u.json", br#"{"format":2}"#),
            Some(later)
        );
        assert_eq!(Later::unread::<Move>("moves/u.json", b"{}"), None);
        let known = Bytes::from_static(br#"{"action":"u","key":"k","more":[1]}"#);
        assert_eq!(Later::is(&fact, "moves/u.json", &known), None);
    }

    #[test]
    fn what_only_stops_goes_on_beside_facts_of_a_later_format() {
        let round = 1;
        let ended = How::Withdrawn;
        for (next, goes) in [
            (Next::Rest, [true, true]),
            (Next::Gather { round }, [false, false]),
            (Next::Seal { round, ended }, [true, true]),
            (
                Next::Freeze {
                    round,
                    refuse: None,
                },
                [false, false],
            ),
            (
                Next::Freeze {
                    round,
                    refuse: Some(ended),
                },
                [true, true],
            ),
            (Next::Recall { round }, [true, true]),
            (Next::Withdraw { round }, [true, true]),
            (Next::Review { round }, [false, true]),
            (Next::Release { round }, [false, true]),
            (Next::Deliver { round }, [true, true]),
            (Next::Revoke { round }, [true, true]),
        ] {
            assert_eq!(
                [false, true].map(|stop| goes_on(&next, stop)),
                goes,
                "{next:?}"
            );
        }
    }

    proptest! {
        /// Whatever a later version adds, this one reads what it knows.
        #[test]
        fn an_added_field_changes_nothing_of_what_is_known(name in "x-[a-z]{1,8}", said in ".{0,20}") {
            let plain = serde_json::json!({"round": 1, "time": "1970-01-01T00:00:00Z"});
            let mut more = plain.clone();
            more[name] = serde_json::json!(said);
            let parse = |value: &serde_json::Value| {
                Submitted::parse(&Bytes::from(serde_json::to_vec(value).unwrap())).unwrap()
            };
            prop_assert_eq!(parse(&plain), parse(&more));
        }
    }
}
