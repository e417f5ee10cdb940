//! What uploads left that never came to their end: a gateway that was killed, or a client
//! that went away after the gateway had stored the bytes and before it had written their
//! receipt. Nothing counts it, nobody can read it, and it need not stay until retention ends.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::receipt::Receipt;

/// What is looked at again and again for files that no receipt names: those of this many
/// ages. Older ones were looked at before.
const WINDOW: i32 = 9;

/// Whether nothing came for so long, by the server's clock; `last` is the time of the last
/// part, or of the beginning where there is none. What has no time is never left.
#[must_use]
pub fn is_left(last: Option<Timestamp>, now: Timestamp, age: SignedDuration) -> bool {
    last.is_some_and(|last| now.duration_since(last) > age)
}

/// Whether a file is old enough to be left, and young enough to be looked at.
#[must_use]
pub fn is_candidate(stored: Timestamp, now: Timestamp, age: SignedDuration) -> bool {
    let most = age.checked_mul(WINDOW).unwrap_or(SignedDuration::MAX);
    is_left(Some(stored), now, age) && now.duration_since(stored) <= most
}

/// Those of the keys that no receipt names, nor the file that was set aside from one that
/// is named.
#[must_use]
pub fn unnamed(keys: Vec<String>, receipts: &[Receipt]) -> Vec<String> {
    let named: BTreeSet<&str> = receipts
        .iter()
        .filter_map(|r| r.content.as_ref().map(|c| c.key.as_str()))
        .collect();
    let is_named = |key: &str| {
        let aside = key
            .rsplit_once("/aside-")
            .map(|(folder, name)| format!("{folder}/{name}"));
        named.contains(key) || aside.is_some_and(|of| named.contains(of.as_str()))
    };
    keys.into_iter().filter(|key| !is_named(key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::receipt;

    #[test]
    fn what_got_nothing_for_a_day_is_left_and_what_has_no_time_never() {
        let (day, at) = (SignedDuration::from_hours(24), |s| {
            Timestamp::from_second(s).unwrap()
        });
        let now = at(1_000_000);
        for (ago, left, candidate) in [
            (0, false, false),
            (86_400, false, false),
            (86_401, true, true),
            (9 * 86_400, true, true),
            (9 * 86_400 + 1, true, false),
            (-86_401, false, false),
        ] {
            let last = at(1_000_000 - ago);
            assert_eq!(is_left(Some(last), now, day), left, "{ago}");
            assert_eq!(is_candidate(last, now, day), candidate, "{ago}");
        }
        assert!(!is_left(None, now, day));
    }

    #[test]
    fn what_a_receipt_names_is_never_among_what_is_left() {
        let named = |key: &str| {
            let mut receipt = receipt("a.csv", Some("x"));
            receipt.content.as_mut().unwrap().key = key.to_owned();
            receipt
        };
        let receipts = [
            named("requests/a/u/files/1"),
            named("requests/a/u/files/2"),
            receipt("gone.csv", None),
        ];
        for (key, left) in [
            ("requests/a/u/files/1", false),
            ("requests/a/u/files/2", false),
            ("requests/a/u/files/aside-2", false),
            ("requests/a/u/files/3", true),
            ("requests/a/u/files/aside-3", true),
            ("requests/a/u/files/11", true),
            ("requests/a/v/files/1", true),
        ] {
            let found = unnamed(vec![key.to_owned()], &receipts);
            assert_eq!(!found.is_empty(), left, "{key}");
        }
    }
}
