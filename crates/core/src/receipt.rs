//! Receipts: what the gateway wrote for each upload, and which of them count.
//!
//! A receipt names the round that it was written for. It counts in that
//! round's freeze; a receipt that came after the listing of the freeze counts
//! nowhere (its upload was answered 409). No clock is involved: versions of a
//! path are numbered by create-only keys (docs/design.md#an-upload-against-the-freeze).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::canonical;
use super::digest::{Crc32, Sha256Hex};
use super::format::Unknown;
use super::names;
use super::sniff::{Remark, Sniffed};

/// One upload of a path, or its removal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// The path as the uploader spelled it.
    pub path: String,
    /// Sortable text, unique for the path.
    pub version: String,
    /// The round it was written for.
    pub round: i64,
    /// Who sent it, by the gateway's authentication.
    pub by: String,
    /// When the gateway wrote it; for display only.
    pub time: Timestamp,
    /// The bytes; absent in a tombstone (`DELETE files/{path}`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// What a later version says besides.
    #[serde(flatten)]
    pub more: Unknown,
}

/// What an upload stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Content {
    /// Object key in the quarantine bucket.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the bytes, computed while they streamed.
    pub sha256: Sha256Hex,
    /// CRC-32 of the bytes.
    pub crc32: Crc32,
    /// Media type, from the name.
    pub media_type: String,
    /// What the first bytes are; absent where nobody looked (receipts and manifests of
    /// old).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sniffed: Option<Sniffed>,
    /// What was noticed behind the first bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remark: Option<Remark>,
    /// What a later version says besides.
    #[serde(flatten)]
    pub more: Unknown,
}

/// SHA-256 over the receipts of a round that count, so that the manifest, and with it
/// the ledger, has who uploaded what, and when. None where the round has none.
#[must_use]
pub fn uploads(standing: &[Receipt], round: i64) -> Option<Sha256Hex> {
    let mut of_round: Vec<&Receipt> = standing.iter().filter(|r| r.round == round).collect();
    of_round.sort_by(|a, b| (&a.path, &a.version).cmp(&(&b.path, &b.version)));
    let bytes = canonical::to_vec(&of_round).ok()?;
    (!of_round.is_empty()).then(|| Sha256Hex::of(&bytes))
}

/// The files that stand at the end of `round`: those listed by the last freeze,
/// overlaid by this round's receipts, the highest version of each path winning.
/// Sorted by path. Manifests of old do not say what was sniffed of their files, so that
/// what is carried over takes it from the receipt of its upload.
#[must_use]
pub fn standing(carried: &[Receipt], receipts: &[Receipt], round: i64) -> Vec<Receipt> {
    let mut latest: BTreeMap<String, &Receipt> = BTreeMap::new();
    let this_round = receipts.iter().filter(|r| r.round == round);
    for receipt in carried.iter().chain(this_round) {
        let entry = latest
            .entry(names::folded(&receipt.path))
            .or_insert(receipt);
        if receipt.version > entry.version {
            *entry = receipt;
        }
    }
    let mut standing: Vec<Receipt> = latest
        .into_values()
        .filter(|r| r.content.is_some())
        .cloned()
        .collect();
    let sniffed: BTreeMap<(&str, &str), &Sniffed> = receipts
        .iter()
        .filter_map(|r| {
            let sniffed = r.content.as_ref()?.sniffed.as_ref()?;
            Some(((r.path.as_str(), r.version.as_str()), sniffed))
        })
        .collect();
    for receipt in &mut standing {
        if let Some(content) = receipt.content.as_mut().filter(|c| c.sniffed.is_none()) {
            let found = sniffed.get(&(receipt.path.as_str(), receipt.version.as_str()));
            content.sniffed = found.map(|s| (*s).clone());
        }
    }
    standing.sort_by(|a, b| a.path.cmp(&b.path));
    standing
}

/// Uploads of one path that a round takes.
pub const VERSIONS: usize = 200;
/// Receipts that a round takes besides two for each of its paths.
pub const SPARE: usize = 1000;

/// Why a round takes no further receipt of a path. Receipts are never deleted, so that their
/// number is bounded by what somebody who corrects and removes files now and then needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Too many of the path.
    #[error(
        "this path was sent {VERSIONS} times in this round, and no more are taken; submit what is there, or send it under another name"
    )]
    Path,
    /// Too many in all.
    #[error(
        "this round has {receipts} uploads and removals of {paths} paths, and no more are taken; submit what is there, or make another request"
    )]
    Round {
        /// How many there are.
        receipts: usize,
        /// Of how many paths.
        paths: usize,
    },
}

/// Whether a round takes a further upload of a path that has `versions` in it already,
/// besides `receipts` of `paths` in all.
///
/// # Errors
/// When it takes none.
pub fn takes(versions: usize, receipts: usize, paths: usize) -> Result<(), Full> {
    if versions >= VERSIONS {
        return Err(Full::Path);
    }
    if receipts >= SPARE + 2 * paths {
        return Err(Full::Round { receipts, paths });
    }
    Ok(())
}

/// Version text of the `n`-th upload of a path, from 1.
#[must_use]
pub fn version(n: u64) -> String {
    format!("{n:08}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(path: &str, n: u64, round: i64, bytes: Option<&str>) -> Receipt {
        Receipt {
            more: Default::default(),
            path: path.into(),
            version: version(n),
            round,
            by: "alice".into(),
            time: Timestamp::UNIX_EPOCH,
            content: bytes.map(|b| Content {
                more: Default::default(),
                key: format!("{path}-{n}"),
                size: b.len() as u64,
                sha256: Sha256Hex::of(b.as_bytes()),
                crc32: Crc32(0),
                media_type: "text/plain".into(),
                sniffed: bytes.map(|b| crate::sniff::sniff(b.as_bytes())),
                remark: None,
            }),
        }
    }

    fn keys(receipts: &[Receipt]) -> Vec<String> {
        receipts
            .iter()
            .filter_map(|r| r.content.as_ref())
            .map(|c| c.key.clone())
            .collect()
    }

    #[test]
    fn the_highest_version_of_a_path_stands_in_any_order() {
        let one = receipt("a", 1, 1, Some("x"));
        let two = receipt("a", 2, 1, Some("y"));
        assert_eq!(
            keys(&standing(&[], &[one.clone(), two.clone()], 1)),
            ["a-2"]
        );
        assert_eq!(keys(&standing(&[], &[two, one], 1)), ["a-2"]);
    }

    #[test]
    fn a_tombstone_removes_and_a_later_upload_brings_back() {
        let up = receipt("a", 1, 1, Some("x"));
        let gone = receipt("a", 2, 1, None);
        let back = receipt("A", 3, 1, Some("z"));
        assert!(standing(&[], &[up.clone(), gone.clone()], 1).is_empty());
        assert_eq!(keys(&standing(&[], &[up, gone, back], 1)), ["A-3"]);
    }

    #[test]
    fn a_receipt_of_an_earlier_round_counts_only_if_that_round_listed_it() {
        let listed = receipt("a", 1, 1, Some("x"));
        let late = receipt("a", 2, 1, Some("late"));
        let found = standing(std::slice::from_ref(&listed), &[listed.clone(), late], 2);
        assert_eq!(keys(&found), ["a-1"]);
    }

    #[test]
    fn what_is_carried_over_takes_what_was_sniffed_from_its_own_upload() {
        let one = receipt("a", 1, 1, Some("x"));
        let two = receipt("a", 2, 1, Some("#!/bin/sh"));
        let mut carried = one.clone();
        carried.content.as_mut().unwrap().sniffed = None;
        assert_eq!(standing(&[carried], &[one.clone(), two], 2), [one]);
    }

    #[test]
    fn a_receipt_from_before_sniffing_can_be_read() {
        let mut old = receipt("a", 1, 1, Some("x"));
        old.content.as_mut().unwrap().sniffed = None;
        let text = serde_json::to_string(&old).unwrap();
        assert!(!text.contains("sniffed"));
        assert_eq!(serde_json::from_str::<Receipt>(&text).unwrap(), old);
    }

    #[test]
    fn a_round_takes_corrections_and_not_uploads_without_end() {
        for (versions, receipts, paths, taken) in [
            (0, 0, 0, Ok(())),
            (0, 999, 0, Ok(())),
            (VERSIONS - 1, 500, 5, Ok(())),
            (VERSIONS, 500, 5, Err(Full::Path)),
            // A round of many files, each sent twice.
            (1, 19_999, 10_000, Ok(())),
            (80, 1_099, 50, Ok(())),
            (
                80,
                1_100,
                50,
                Err(Full::Round {
                    receipts: 1_100,
                    paths: 50,
                }),
            ),
        ] {
            assert_eq!(
                takes(versions, receipts, paths),
                taken,
                "{versions} {receipts} {paths}"
            );
        }
    }

    #[test]
    fn what_a_later_version_says_in_a_receipt_is_in_the_digest_of_the_uploads() {
        let mut stored = serde_json::to_value(receipt("a", 1, 1, Some("x"))).unwrap();
        stored["x-later"] = serde_json::json!({"a": [1]});
        stored["content"]["x-later"] = serde_json::json!("b");
        let read: Receipt = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), stored);
        let bytes = canonical::to_vec(&[stored]).unwrap();
        assert_eq!(uploads(&[read], 1), Some(Sha256Hex::of(&bytes)));
    }

    #[test]
    fn versions_sort_as_numbers() {
        assert!(version(9) < version(10) && version(99) < version(100));
    }

    #[test]
    fn what_the_last_freeze_listed_gives_way_to_a_higher_version_only() {
        let listed = receipt("a", 1, 1, Some("x"));
        let same = receipt("A", 1, 2, Some("y"));
        let higher = receipt("A", 2, 2, Some("z"));
        let carried = std::slice::from_ref(&listed);
        assert_eq!(keys(&standing(carried, &[same], 2)), ["a-1"]);
        assert_eq!(keys(&standing(carried, &[higher], 2)), ["A-2"]);
    }
}
