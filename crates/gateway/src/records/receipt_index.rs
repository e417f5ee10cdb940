//! The receipts of one request: versions of paths, current files of a round, and conflicts between
//! names. It does no IO; [`crate::records::receipt_cache`] reads the receipts.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::problem::Problem;
use crate::records::current_files::CurrentFiles;
use trevor_api::DeclaredFile;
use trevor_core::keys::RequestKey;
use trevor_core::names;
use trevor_core::policy::Rules;
use trevor_core::receipt::{Receipt, takes, version};

/// Receipts by folded path, and the current files of one round.
#[derive(Debug, Default)]
pub struct ReceiptIndex {
    receipts: HashMap<String, Vec<Arc<Receipt>>>,
    keys: HashSet<(u128, u64)>,
    /// The highest version in each folder of receipts. Several paths can share a folder.
    highest: HashMap<u128, u64>,
    count: usize,
    round_receipts: usize,
    current: Option<CurrentFiles>,
    reservations: HashMap<String, Vec<ReservedPath>>,
}

/// An upload whose receipt is about to be written.
#[derive(Debug)]
struct ReservedPath {
    path: String,
    size: u64,
}

/// The path hash and version number in the key of a receipt.
fn identity(key: &str) -> Option<(u128, u64)> {
    let mut parts = key.rsplit('/');
    let number = parts.next()?.strip_suffix(".json")?.parse().ok()?;
    let hash = u128::from_str_radix(parts.next()?.get(..32)?, 16).ok()?;
    Some((hash, number))
}

impl ReceiptIndex {
    /// The number of receipts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether the receipt with this key was added.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        identity(key).is_some_and(|identity| self.keys.contains(&identity))
    }

    /// Adds a receipt that is stored under `key`.
    pub fn add(&mut self, key: &str, receipt: Receipt) {
        let Some(identity) = identity(key) else {
            return;
        };
        if !self.keys.insert(identity) {
            return;
        }
        let (folder, number) = identity;
        let highest = self.highest.entry(folder).or_default();
        *highest = number.max(*highest);
        let folded = names::folded(&receipt.path);
        let receipt = Arc::new(receipt);
        if let Some(current) = self.current.as_mut().filter(|v| v.round() == receipt.round) {
            current.apply(&folded, &receipt);
            self.round_receipts += 1;
        }
        self.receipts.entry(folded).or_default().push(receipt);
        self.count += 1;
    }

    /// Whether the current files are those of `round`.
    #[must_use]
    pub fn is_for_round(&self, round: i64) -> bool {
        self.current.as_ref().is_some_and(|v| v.round() == round)
    }

    /// Computes the current files of another round, which starts with those of `carried_over`.
    pub fn set_round(&mut self, round: i64, carried_over: Arc<Vec<Receipt>>) {
        let mut current = CurrentFiles::new(round, carried_over);
        self.round_receipts = 0;
        for (folded, versions) in &self.receipts {
            for receipt in versions.iter().filter(|r| r.round == round) {
                current.apply(folded, receipt);
                self.round_receipts += 1;
            }
        }
        self.current = Some(current);
    }

    /// The next free version of a path of the request with this key.
    #[must_use]
    pub fn next_version(&self, key: &RequestKey, path: &str) -> String {
        let folder = identity(&key.receipt(path, "0")).map(|(folder, _)| folder);
        let shared = folder.and_then(|folder| self.highest.get(&folder).copied());
        let folded = names::folded(path);
        let read = self.receipts.get(&folded).into_iter().flatten();
        let carried_over = self.current.as_ref().and_then(|v| v.latest(&folded));
        let last = read
            .chain(carried_over)
            .filter_map(|r| r.version.parse::<u64>().ok())
            .chain(shared)
            .max();
        version(last.unwrap_or(0) + 1)
    }

    /// A receipt, if it was added.
    #[must_use]
    pub fn receipt(&self, path: &str, version: &str) -> Option<&Receipt> {
        let versions = self.receipts.get(&names::folded(path))?;
        versions
            .iter()
            .find(|r| r.version == version)
            .map(AsRef::as_ref)
    }

    /// Whether the round has a file with exactly this path.
    #[must_use]
    pub fn has_current(&self, path: &str) -> bool {
        self.current
            .as_ref()
            .is_some_and(|v| v.path_of(&names::folded(path)) == Some(path))
    }

    /// The receipts of the current files, by the rule that the freeze applies.
    #[must_use]
    pub fn current_files(&self) -> Vec<Receipt> {
        self.current
            .as_ref()
            .map(CurrentFiles::receipts)
            .unwrap_or_default()
    }

    /// Whether the round has all declared files.
    #[must_use]
    pub fn has_all(&self, declared: &[DeclaredFile]) -> bool {
        let Some(current) = &self.current else {
            return false;
        };
        declared.iter().all(|d| match d.path.strip_suffix('/') {
            Some(folder) => current.file_below(&names::folded(folder)).is_some(),
            None => current.path_of(&names::folded(&d.path)).is_some(),
        })
    }

    /// Checks a path against the current files and the reserved paths.
    ///
    /// # Errors
    /// 409 with the name that it conflicts with.
    pub fn check_name(&self, path: &str) -> Result<(), Problem> {
        let Some(current) = &self.current else {
            return Ok(());
        };
        let folded = names::folded(path);
        let reserved = |folded: &str| {
            self.reservations
                .get(folded)
                .and_then(|c| c.first())
                .map(|c| c.path.as_str())
        };
        let other_spelling = |held: &&str| *held != path;
        let same = current
            .path_of(&folded)
            .filter(other_spelling)
            .or_else(|| reserved(&folded).filter(other_spelling));
        if let Some(other) = same {
            return Err(name_clash(&format!(
                "{other:?} is there, and is the same name where upper and lower case or accents are not told apart"
            )));
        }
        for (at, _) in folded.match_indices('/') {
            let folder = &folded[..at];
            if let Some(other) = current.path_of(folder).or_else(|| reserved(folder)) {
                return Err(name_clash(&format!(
                    "{other:?} is a file, and would have to be a folder"
                )));
            }
        }
        let folder = format!("{folded}/");
        let reserved_below = || {
            self.reservations
                .iter()
                .find(|(reserved, _)| reserved.starts_with(&folder))
                .and_then(|(_, c)| c.first())
        };
        if let Some(other) = current
            .file_below(&folded)
            .or_else(|| reserved_below().map(|c| c.path.as_str()))
        {
            return Err(name_clash(&format!(
                "{other:?} is there, so that this name is a folder"
            )));
        }
        Ok(())
    }

    /// Checks the number of files and bytes that the round would have with this upload, with all
    /// reserved uploads, and without the files that they replace.
    ///
    /// # Errors
    /// 422 with the limit that is exceeded.
    pub fn check_round_limits(&self, path: &str, size: u64, rules: &Rules) -> Result<(), Problem> {
        let Some(current) = &self.current else {
            return Ok(());
        };
        let folded = names::folded(path);
        let pending = self.reservations.iter().map(|(other, uploads)| {
            let largest = uploads.iter().map(|c| c.size).max().unwrap_or(0);
            // A pending upload may fail, and the file that it would replace stays then.
            let previous = current.size_of(other).unwrap_or(0);
            (other.as_str(), largest.max(previous))
        });
        let pending = pending.filter(|(other, _)| *other != folded);
        let (mut files, mut bytes) = (current.count(), current.bytes());
        for (other, size) in pending.chain([(folded.as_str(), size)]) {
            let replaced = current.size_of(other);
            files += usize::from(replaced.is_none());
            bytes = bytes
                .saturating_sub(replaced.unwrap_or(0))
                .saturating_add(size);
        }
        let exceeds = |value: u64, limit: i64| value > u64::try_from(limit).unwrap_or(0);
        if exceeds(files as u64, rules.max_files) {
            return Err(Problem::refused_by_policy(format!(
                "with this file the round has {files} files, and the policy allows {}; remove some, or pack some together",
                rules.max_files
            )));
        }
        if exceeds(bytes, rules.max_total_bytes) {
            return Err(Problem::refused_by_policy(format!(
                "with this file the round has {bytes} bytes in all, and the policy allows {}; remove some",
                rules.max_total_bytes
            )));
        }
        Ok(())
    }

    /// Checks the number of versions of a path in the round, and of receipts in the round.
    ///
    /// # Errors
    /// 422 with the limit that is exceeded.
    pub fn check_versions(&self, path: &str) -> Result<(), Problem> {
        let Some(current) = &self.current else {
            return Ok(());
        };
        let folded = names::folded(path);
        let (round, reservations) = (current.round(), |folded: &str| {
            self.reservations.get(folded).map_or(0, Vec::len)
        });
        let of_path = self.receipts.get(&folded).into_iter().flatten();
        let versions = of_path.filter(|r| r.round == round).count() + reservations(&folded);
        let pending: usize = self.reservations.values().map(Vec::len).sum();
        let paths = current.count() + usize::from(current.path_of(&folded).is_none());
        takes(versions, self.round_receipts + pending, paths)
            .map_err(|full| Problem::unprocessable("TooManyVersions", full.to_string()))
    }

    /// Checks an upload, and reserves its path and size until [`Self::release`].
    ///
    /// # Errors
    /// As [`Self::check_name`], [`Self::check_versions`] and [`Self::check_round_limits`].
    pub fn reserve(&mut self, path: &str, size: u64, rules: &Rules) -> Result<(), Problem> {
        self.check_name(path)?;
        self.check_versions(path)?;
        self.check_round_limits(path, size, rules)?;
        let path = path.to_owned();
        self.reservations
            .entry(names::folded(&path))
            .or_default()
            .push(ReservedPath { path, size });
        Ok(())
    }

    /// Ends a reservation: the receipt of the upload was added, or the upload failed.
    pub fn release(&mut self, path: &str, size: u64) {
        let folded = names::folded(path);
        if let Some(reservations) = self.reservations.get_mut(&folded) {
            let at = reservations.iter().position(|c| c.size == size);
            at.map(|at| reservations.swap_remove(at));
            if reservations.is_empty() {
                self.reservations.remove(&folded);
            }
        }
    }
}

fn name_clash(with: &str) -> Problem {
    Problem::conflict(
        "NameClash",
        format!("the name clashes: {with}; remove or rename one"),
    )
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use trevor_core::digest::{Crc32, Sha256Hex};
    use trevor_core::receipt::Content;

    fn receipt(path: &str, n: u64, round: i64, there: bool) -> Receipt {
        Receipt {
            more: Default::default(),
            path: path.into(),
            version: version(n),
            round,
            by: "alice".into(),
            time: Timestamp::UNIX_EPOCH,
            content: there.then(|| Content {
                more: Default::default(),
                key: "k".into(),
                size: 1,
                sha256: Sha256Hex::of(b"x"),
                crc32: Crc32(0),
                media_type: "text/plain".into(),
                sniffed: None,
                remark: None,
            }),
        }
    }

    fn rules() -> Rules {
        Rules::of(trevor_api::Direction::Egress, None)
    }

    fn request() -> RequestKey {
        RequestKey {
            namespace: "a".into(),
            uid: "u".into(),
        }
    }

    fn index(round: i64, carried_over: Vec<Receipt>, receipts: &[Receipt]) -> ReceiptIndex {
        let request = request();
        let mut index = ReceiptIndex::default();
        let (before, after) = receipts.split_at(receipts.len() / 2);
        for r in before {
            index.add(&request.receipt(&r.path, &r.version), r.clone());
        }
        index.set_round(round, Arc::new(carried_over));
        for r in after {
            index.add(&request.receipt(&r.path, &r.version), r.clone());
            assert!(index.contains(&request.receipt(&r.path, &r.version)));
        }
        index
    }

    #[test]
    fn what_stands_is_what_the_freeze_would_list() {
        let carried_over = vec![
            receipt("old.csv", 1, 1, true),
            receipt("gone.csv", 1, 1, true),
        ];
        let receipts = [
            receipt("old.csv", 2, 1, true),
            receipt("a.csv", 1, 2, true),
            receipt("a.csv", 2, 2, true),
            receipt("gone.csv", 2, 2, false),
            receipt("b.csv", 1, 2, true),
            receipt("b.csv", 2, 2, false),
        ];
        let index = index(2, carried_over.clone(), &receipts);
        assert_eq!(
            index.current_files(),
            trevor_core::receipt::standing(&carried_over, &receipts, 2)
        );
        assert_eq!(index.current_files().len(), 2);
        assert!(
            index.has_current("old.csv")
                && index.has_current("a.csv")
                && !index.has_current("gone.csv")
                && !index.has_current("b.csv")
        );
        assert_eq!(index.next_version(&request(), "old.csv"), version(3));
        assert_eq!(index.next_version(&request(), "new.csv"), version(1));
        assert_eq!(index.len(), 6);
    }

    #[test]
    fn names_that_share_a_folder_of_receipts_both_stand_with_versions_of_their_own() {
        let receipts = [
            receipt("sınır.csv", 1, 1, true),
            receipt("sinir.csv", 2, 1, true),
        ];
        let index = index(1, vec![], &receipts);
        assert!(index.has_current("sınır.csv") && index.has_current("sinir.csv"));
        assert_eq!(
            index.current_files(),
            [receipts[1].clone(), receipts[0].clone()]
        );
        for path in ["sınır.csv", "sinir.csv", "SINIR.csv"] {
            assert_eq!(index.next_version(&request(), path), version(3));
        }
        assert!(index.check_name("sinir.csv").is_ok() && index.check_name("SINIR.csv").is_err());
    }

    #[test]
    fn names_that_cannot_stand_together_are_refused_and_free_again_when_removed() {
        let receipts = [
            receipt("t/a.csv", 1, 1, true),
            receipt("f", 1, 1, true),
            receipt("x", 1, 1, true),
            receipt("x", 2, 1, false),
        ];
        let index = index(1, vec![], &receipts);
        for (path, clashes) in [
            ("t/a.csv", false),
            ("T/A.CSV", true),
            ("t", true),
            ("T", true),
            ("t/a.csv/b", true),
            ("f/g/h", true),
            ("F/g", true),
            ("t/b.csv", false),
            ("t2", false),
            ("X/y", false),
            ("X", false),
        ] {
            let reason = index.check_name(path).err().map(|p| p.reason);
            assert_eq!(reason, clashes.then_some("NameClash"), "{path}");
        }
    }

    #[test]
    fn two_on_their_way_at_the_same_time_clash_too() {
        let mut index = index(1, vec![], &[]);
        index.reserve("a/b", 1, &rules()).unwrap();
        assert_eq!(
            index.check_name("A/b").map_err(|p| p.reason),
            Err("NameClash")
        );
        assert_eq!(
            index.check_name("a").map_err(|p| p.reason),
            Err("NameClash")
        );
        assert_eq!(
            index.check_name("a/b/c").map_err(|p| p.reason),
            Err("NameClash")
        );
        index.reserve("a/b", 1, &rules()).unwrap();
        index.release("a/b", 1);
        assert!(index.check_name("a").is_err());
        index.release("a/b", 1);
        assert!(index.check_name("a").is_ok());
    }

    #[test]
    fn declared_files_are_covered_when_all_stand() {
        let declared: Vec<DeclaredFile> =
            serde_json::from_value(serde_json::json!([{"path": "t1.csv"}, {"path": "figures/"}]))
                .unwrap();
        assert!(!index(1, vec![], &[receipt("t1.csv", 1, 1, true)]).has_all(&declared));
        assert!(
            index(
                1,
                vec![],
                &[
                    receipt("t1.csv", 1, 1, true),
                    receipt("figures/1.png", 1, 1, true)
                ]
            )
            .has_all(&declared)
        );
    }

    #[test]
    fn a_path_and_a_round_have_so_many_receipts_and_the_next_round_begins_anew() {
        use trevor_core::receipt::{SPARE, VERSIONS};
        let count = |n: usize| n as u64;
        let one: Vec<Receipt> = (1..=count(VERSIONS))
            .map(|n| receipt("a", n, 1, true))
            .collect();
        let reason =
            |index: &ReceiptIndex, path: &str| index.check_versions(path).map_err(|p| p.reason);
        let index = self::index(1, vec![], &one);
        assert_eq!(reason(&index, "A"), Err("TooManyVersions"));
        assert_eq!(reason(&index, "b"), Ok(()));
        let next = self::index(2, vec![receipt("a", 200, 1, true)], &one);
        assert_eq!(reason(&next, "a"), Ok(()));
        // Fifty paths, again and again.
        let mut many = self::index(1, vec![], &[]);
        let key = RequestKey {
            namespace: "a".into(),
            uid: "u".into(),
        };
        let taken = (0..4000).take_while(|n| {
            let path = format!("p{}", n % 50);
            let sent = receipt(&path, count(n / 50 + 1), 1, true);
            let taken = many.reserve(&path, 1, &rules()).is_ok();
            many.release(&path, 1);
            many.add(&key.receipt(&path, &sent.version), sent);
            taken
        });
        assert_eq!(taken.count(), SPARE + 100);
    }

    #[test]
    fn a_round_has_room_for_what_it_replaces_and_not_for_more_than_the_policy_says() {
        let receipts = [
            receipt("a.csv", 1, 1, true),
            receipt("a.csv", 2, 1, true),
            receipt("b.csv", 1, 1, true),
            receipt("gone.csv", 1, 1, true),
            receipt("gone.csv", 2, 1, false),
        ];
        let mut index = index(1, vec![], &receipts);
        let mut rules = rules();
        rules.max_files = 3;
        rules.max_total_bytes = 10;
        let room = |index: &ReceiptIndex, path: &str, size| {
            index.check_round_limits(path, size, &rules).is_ok()
        };
        // Two stand, of one byte each.
        assert!(room(&index, "c.csv", 8) && !room(&index, "c.csv", 9));
        assert!(room(&index, "A.csv", 9) && !room(&index, "a.csv", 10));
        index.reserve("c.csv", 2, &rules).unwrap();
        assert!(!room(&index, "d.csv", 0), "three files, one on its way");
        assert!(room(&index, "b.csv", 7) && !room(&index, "b.csv", 8));
        index.reserve("c.csv", 5, &rules).unwrap();
        assert!(room(&index, "b.csv", 4) && !room(&index, "b.csv", 5));
        index.release("c.csv", 5);
        assert!(room(&index, "b.csv", 7));
        index.release("c.csv", 2);
        assert!(room(&index, "d.csv", 8));
    }
}
