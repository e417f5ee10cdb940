//! Whose receipts may stand in a request, and where the files that they name must lie.
//!
//! The gateway writes receipts, and whoever takes it over, or finds a way to have it write
//! one elsewhere, writes wrong ones. So the freeze takes a receipt only from those who may
//! send files to just this request, for a file that is kept with just this request: what
//! lies elsewhere is covered neither by its retention nor by its holds.

use std::collections::{BTreeMap, BTreeSet};

use super::names;
use super::receipt::{Receipt, standing};

/// Who sends files to a request, and where they are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Prefix of the request's quarantined files, ending in `/`.
    pub files: String,
    /// Usernames, exactly: its submitter, the delegate who created it, and the accounts
    /// of Jobs that collected for it.
    pub senders: BTreeSet<String>,
}

impl Origin {
    /// Why a receipt is not one of the request's; none where it is.
    #[must_use]
    pub fn differs(&self, receipt: &Receipt) -> Option<&'static str> {
        if !self.senders.contains(&receipt.by) {
            return Some(
                "it was not sent by the submitter, nor collected by a Job of this request",
            );
        }
        let name = |key: &str| key.strip_prefix(&self.files).map(str::to_owned);
        let lies_here = receipt.content.as_ref().is_none_or(|content| {
            name(&content.key).is_some_and(|name| !name.is_empty() && !name.contains('/'))
        });
        (!lies_here).then_some("its bytes are not kept with this request")
    }
}

/// What stands at the end of a round by the request's own receipts, and for people the
/// paths where another receipt would change that.
#[must_use]
pub fn own_standing(
    origin: &Origin,
    carried: &[Receipt],
    receipts: &[Receipt],
    round: i64,
) -> (Vec<Receipt>, Vec<String>) {
    let (own_carried, other_carried) = split(origin, carried);
    let (own, other) = split(origin, receipts);
    let stands = standing(&own_carried, &own, round);
    if other_carried.is_empty() && other.iter().all(|r| r.round != round) {
        return (stands, Vec::new());
    }
    let would = standing(carried, receipts, round);
    let (by_path, would_be) = (versions(&stands), versions(&would));
    let mut differ = BTreeMap::new();
    for receipt in other_carried
        .iter()
        .chain(other.iter().filter(|r| r.round == round))
    {
        let folded = names::folded(&receipt.path);
        if by_path.get(&folded) != would_be.get(&folded) {
            let why = origin.differs(receipt).unwrap_or_default();
            differ.insert(folded, format!("'{}': {why}", receipt.path));
        }
    }
    (stands, differ.into_values().collect())
}

fn split(origin: &Origin, receipts: &[Receipt]) -> (Vec<Receipt>, Vec<Receipt>) {
    receipts
        .iter()
        .cloned()
        .partition(|receipt| origin.differs(receipt).is_none())
}

fn versions(standing: &[Receipt]) -> BTreeMap<String, (&str, &str)> {
    let of = |r| -> (String, (&str, &str)) {
        let r: &Receipt = r;
        let key = r.content.as_ref().map_or("", |c| c.key.as_str());
        (names::folded(&r.path), (r.version.as_str(), key))
    };
    standing.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::receipt;

    const HERE: &str = "requests/a/u/files/";

    fn origin() -> Origin {
        Origin {
            files: HERE.to_owned(),
            senders: ["alice", "pipeline", "system:serviceaccount:a:collector"]
                .map(str::to_owned)
                .into(),
        }
    }

    /// Version `n` of a path in a round, by somebody, kept under a key.
    fn by(who: &str, path: &str, n: u64, round: i64, key: Option<&str>) -> Receipt {
        let mut made = receipt(path, key.map(|_| "x"));
        made.version = crate::receipt::version(n);
        made.round = round;
        made.by = who.to_owned();
        if let (Some(content), Some(key)) = (&mut made.content, key) {
            content.key = key.to_owned();
        }
        made
    }

    #[test]
    fn a_receipt_is_the_requests_own_by_its_author_and_the_place_of_its_file() {
        for (who, key, own) in [
            ("alice", Some("requests/a/u/files/1"), true),
            ("pipeline", Some("requests/a/u/files/1"), true),
            (
                "system:serviceaccount:a:collector",
                Some("requests/a/u/files/1"),
                true,
            ),
            ("alice", None, true),
            // Others, and those who only look like one of them.
            ("carol", Some("requests/a/u/files/1"), false),
            ("carol", None, false),
            ("Alice", Some("requests/a/u/files/1"), false),
            ("alice ", Some("requests/a/u/files/1"), false),
            ("", Some("requests/a/u/files/1"), false),
            (
                "system:serviceaccount:b:collector",
                Some("requests/a/u/files/1"),
                false,
            ),
            (
                "system:serviceaccount:a:default",
                Some("requests/a/u/files/1"),
                false,
            ),
            // Files of another request, and of none.
            ("alice", Some("requests/a/v/files/1"), false),
            ("alice", Some("requests/b/u/files/1"), false),
            ("alice", Some("requests/a/u/files/"), false),
            ("alice", Some("requests/a/u/files"), false),
            ("alice", Some("requests/a/u/files/../../v/files/1"), false),
            ("alice", Some("requests/a/u/receipts/1"), false),
            ("alice", Some("/requests/a/u/files/1"), false),
            ("alice", Some("x/requests/a/u/files/1"), false),
            ("alice", Some(""), false),
        ] {
            let differs = origin().differs(&by(who, "t.csv", 1, 1, key));
            assert_eq!(differs.is_none(), own, "{who} {key:?}: {differs:?}");
        }
    }

    #[test]
    fn what_others_sent_stands_nowhere_and_is_told_where_it_would_change_something() {
        let alice = |path, n| by("alice", path, n, 2, Some("requests/a/u/files/1"));
        let carol = |path, n, round| by("carol", path, n, round, Some("requests/a/u/files/9"));
        let elsewhere = |path, n| by("alice", path, n, 2, Some("requests/a/v/files/1"));
        let removal = |path, n| by("carol", path, n, 2, None);
        let listed = by("alice", "old.csv", 1, 1, Some("requests/a/u/files/0"));
        let planted = by("alice", "old.csv", 1, 1, Some("requests/a/v/files/0"));
        for (what, carried, receipts, stands, told) in [
            (
                "nothing foreign",
                vec![&listed],
                vec![alice("t", 1)],
                vec!["old.csv", "t"],
                0,
            ),
            (
                "over hers",
                vec![],
                vec![alice("t", 1), carol("t", 2, 2)],
                vec!["t"],
                1,
            ),
            (
                "beneath hers",
                vec![],
                vec![carol("t", 1, 2), alice("t", 2)],
                vec!["t"],
                0,
            ),
            (
                "beside hers",
                vec![],
                vec![alice("t", 1), carol("u", 1, 2)],
                vec!["t"],
                1,
            ),
            (
                "of another round",
                vec![],
                vec![alice("t", 1), carol("u", 1, 1)],
                vec!["t"],
                0,
            ),
            (
                "kept elsewhere",
                vec![],
                vec![alice("t", 1), elsewhere("t", 2)],
                vec!["t"],
                1,
            ),
            (
                "a removal",
                vec![],
                vec![alice("t", 1), removal("T", 2)],
                vec!["t"],
                1,
            ),
            (
                "listed before, kept elsewhere",
                vec![&planted],
                vec![alice("t", 1)],
                vec!["t"],
                1,
            ),
        ] {
            let carried: Vec<Receipt> = carried.into_iter().cloned().collect();
            let (standing, differ) = own_standing(&origin(), &carried, &receipts, 2);
            let paths: Vec<&str> = standing.iter().map(|r| r.path.as_str()).collect();
            assert_eq!(paths, stands, "{what}");
            assert_eq!(differ.len(), told, "{what}: {differ:?}");
            assert!(standing.iter().all(|r| r.by == "alice"), "{what}");
        }
    }
}
