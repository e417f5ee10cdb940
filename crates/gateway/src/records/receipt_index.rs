//! What is known of one request's receipts: which versions there are, what
//! stands in the open round, and which names would clash. Pure; `index` loads it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::limits::admission::refused;
use crate::problem::Problem;
use crate::records::current_files::Overlay;
use trevor_api::DeclaredFile;
use trevor_core::keys::RequestKey;
use trevor_core::names;
use trevor_core::policy::Rules;
use trevor_core::receipt::{Receipt, takes, version};

/// Receipts by folded path, and the round that they are looked at for.
#[derive(Debug, Default)]
pub struct Known {
    receipts: HashMap<String, Vec<Arc<Receipt>>>,
    keys: HashSet<(u128, u64)>,
    /// The highest version in each folder of receipts, which paths can share.
    highest: HashMap<u128, u64>,
    count: usize,
    in_view: usize,
    view: Option<Overlay>,
    claims: HashMap<String, Vec<Claimed>>,
}

/// An upload that is about to be receipted.
#[derive(Debug)]
struct Claimed {
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

impl Known {
    /// Receipts that are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether the receipt of a key is known.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        identity(key).is_some_and(|identity| self.keys.contains(&identity))
    }

    /// Adds a receipt that was found under `key`.
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
        if let Some(view) = self.view.as_mut().filter(|v| v.round() == receipt.round) {
            view.absorb(&folded, &receipt);
            self.in_view += 1;
        }
        self.receipts.entry(folded).or_default().push(receipt);
        self.count += 1;
    }

    /// Whether the round is the one that is looked at.
    #[must_use]
    pub fn looks_at(&self, round: i64) -> bool {
        self.view.as_ref().is_some_and(|v| v.round() == round)
    }

    /// Looks at another round, which starts from `carried`.
    pub fn look_at(&mut self, round: i64, carried: Arc<Vec<Receipt>>) {
        let mut view = Overlay::new(round, carried);
        self.in_view = 0;
        for (folded, versions) in &self.receipts {
            for receipt in versions.iter().filter(|r| r.round == round) {
                view.absorb(folded, receipt);
                self.in_view += 1;
            }
        }
        self.view = Some(view);
    }

    /// The next version of a path, whose receipts lie in the folder of `key`.
    #[must_use]
    pub fn next_version(&self, key: &RequestKey, path: &str) -> String {
        let folder = identity(&key.receipt(path, "0")).map(|(folder, _)| folder);
        let shared = folder.and_then(|folder| self.highest.get(&folder).copied());
        let folded = names::folded(path);
        let known = self.receipts.get(&folded).into_iter().flatten();
        let carried = self.view.as_ref().and_then(|v| v.latest(&folded));
        let last = known
            .chain(carried)
            .filter_map(|r| r.version.parse::<u64>().ok())
            .chain(shared)
            .max();
        version(last.unwrap_or(0) + 1)
    }

    /// A receipt as it was written, if it is known.
    #[must_use]
    pub fn receipt(&self, path: &str, version: &str) -> Option<&Receipt> {
        let versions = self.receipts.get(&names::folded(path))?;
        versions
            .iter()
            .find(|r| r.version == version)
            .map(AsRef::as_ref)
    }

    /// Whether a path stands, in that spelling, in the round that is looked at.
    #[must_use]
    pub fn stands(&self, path: &str) -> bool {
        self.view
            .as_ref()
            .is_some_and(|v| v.stands(&names::folded(path)) == Some(path))
    }

    /// What stands, by the rule that the freeze uses.
    #[must_use]
    pub fn standing(&self) -> Vec<Receipt> {
        self.view
            .as_ref()
            .map(Overlay::standing)
            .unwrap_or_default()
    }

    /// Whether everything that is declared stands.
    #[must_use]
    pub fn covers(&self, declared: &[DeclaredFile]) -> bool {
        let Some(view) = &self.view else { return false };
        declared.iter().all(|d| match d.path.strip_suffix('/') {
            Some(folder) => view.beneath(&names::folded(folder)).is_some(),
            None => view.stands(&names::folded(&d.path)).is_some(),
        })
    }

    /// Refuses a path that cannot stand beside what stands, or is on its way.
    ///
    /// # Errors
    /// 409 with the name that it clashes with.
    pub fn check(&self, path: &str) -> Result<(), Problem> {
        let Some(view) = &self.view else {
            return Ok(());
        };
        let folded = names::folded(path);
        let claimed = |folded: &str| {
            self.claims
                .get(folded)
                .and_then(|c| c.first())
                .map(|c| c.path.as_str())
        };
        let other_spelling = |held: &&str| *held != path;
        let same = view
            .stands(&folded)
            .filter(other_spelling)
            .or_else(|| claimed(&folded).filter(other_spelling));
        if let Some(other) = same {
            return Err(clash(&format!(
                "{other:?} is there, and is the same name where upper and lower case or accents are not told apart"
            )));
        }
        for (at, _) in folded.match_indices('/') {
            let folder = &folded[..at];
            if let Some(other) = view.stands(folder).or_else(|| claimed(folder)) {
                return Err(clash(&format!(
                    "{other:?} is a file, and would have to be a folder"
                )));
            }
        }
        let folder = format!("{folded}/");
        let coming = || {
            self.claims
                .iter()
                .find(|(claimed, _)| claimed.starts_with(&folder))
                .and_then(|(_, c)| c.first())
        };
        if let Some(other) = view
            .beneath(&folded)
            .or_else(|| coming().map(|c| c.path.as_str()))
        {
            return Err(clash(&format!(
                "{other:?} is there, so that this name is a folder"
            )));
        }
        Ok(())
    }

    /// Refuses an upload that would make the round too large: what stands, with
    /// this in the place of what it replaces, and with what is on its way.
    ///
    /// # Errors
    /// 422 with the bound.
    pub fn check_room(&self, path: &str, size: u64, rules: &Rules) -> Result<(), Problem> {
        let Some(view) = &self.view else {
            return Ok(());
        };
        let folded = names::folded(path);
        let coming = self.claims.iter().map(|(other, claimed)| {
            let largest = claimed.iter().map(|c| c.size).max().unwrap_or(0);
            // It may still fail, and leave what it was to replace.
            let stays = view.size_of(other).unwrap_or(0);
            (other.as_str(), largest.max(stays))
        });
        let coming = coming.filter(|(other, _)| *other != folded);
        let (mut files, mut bytes) = (view.count(), view.bytes());
        for (other, size) in coming.chain([(folded.as_str(), size)]) {
            let replaced = view.size_of(other);
            files += usize::from(replaced.is_none());
            bytes = bytes
                .saturating_sub(replaced.unwrap_or(0))
                .saturating_add(size);
        }
        let beyond = |value: u64, most: i64| value > u64::try_from(most).unwrap_or(0);
        if beyond(files as u64, rules.max_files) {
            return Err(refused(format!(
                "with this file the round has {files} files, and the policy allows {}; remove some, or pack some together",
                rules.max_files
            )));
        }
        if beyond(bytes, rules.max_total_bytes) {
            return Err(refused(format!(
                "with this file the round has {bytes} bytes in all, and the policy allows {}; remove some",
                rules.max_total_bytes
            )));
        }
        Ok(())
    }

    /// Refuses an upload of a path that was sent too often in the round that is looked at,
    /// or where the round has too many receipts in all.
    ///
    /// # Errors
    /// 422 with the bound.
    pub fn check_versions(&self, path: &str) -> Result<(), Problem> {
        let Some(view) = &self.view else {
            return Ok(());
        };
        let folded = names::folded(path);
        let (round, claims) = (view.round(), |folded: &str| {
            self.claims.get(folded).map_or(0, Vec::len)
        });
        let of_path = self.receipts.get(&folded).into_iter().flatten();
        let versions = of_path.filter(|r| r.round == round).count() + claims(&folded);
        let coming: usize = self.claims.values().map(Vec::len).sum();
        let paths = view.count() + usize::from(view.stands(&folded).is_none());
        takes(versions, self.in_view + coming, paths)
            .map_err(|full| Problem::unprocessable("TooManyVersions", full.to_string()))
    }

    /// Checks a path, and keeps its spelling and its room for an upload that is
    /// about to be receipted.
    ///
    /// # Errors
    /// As [`Self::check`] and [`Self::check_room`].
    pub fn claim(&mut self, path: &str, size: u64, rules: &Rules) -> Result<(), Problem> {
        self.check(path)?;
        self.check_versions(path)?;
        self.check_room(path, size, rules)?;
        let path = path.to_owned();
        self.claims
            .entry(names::folded(&path))
            .or_default()
            .push(Claimed { path, size });
        Ok(())
    }

    /// The upload has its receipt, or failed.
    pub fn unclaim(&mut self, path: &str, size: u64) {
        let folded = names::folded(path);
        if let Some(claims) = self.claims.get_mut(&folded) {
            let at = claims.iter().position(|c| c.size == size);
            at.map(|at| claims.swap_remove(at));
            if claims.is_empty() {
                self.claims.remove(&folded);
            }
        }
    }
}

fn clash(with: &str) -> Problem {
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

    fn known(round: i64, carried: Vec<Receipt>, receipts: &[Receipt]) -> Known {
        let request = request();
        let mut known = Known::default();
        let (before, after) = receipts.split_at(receipts.len() / 2);
        for r in before {
            known.add(&request.receipt(&r.path, &r.version), r.clone());
        }
        known.look_at(round, Arc::new(carried));
        for r in after {
            known.add(&request.receipt(&r.path, &r.version), r.clone());
            assert!(known.has(&request.receipt(&r.path, &r.version)));
        }
        known
    }

    #[test]
    fn what_stands_is_what_the_freeze_would_list() {
        let carried = vec![
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
        let known = known(2, carried.clone(), &receipts);
        assert_eq!(
            known.standing(),
            trevor_core::receipt::standing(&carried, &receipts, 2)
        );
        assert_eq!(known.standing().len(), 2);
        assert!(
            known.stands("old.csv")
                && known.stands("a.csv")
                && !known.stands("gone.csv")
                && !known.stands("b.csv")
        );
        assert_eq!(known.next_version(&request(), "old.csv"), version(3));
        assert_eq!(known.next_version(&request(), "new.csv"), version(1));
        assert_eq!(known.len(), 6);
    }

    #[test]
    fn names_that_share_a_folder_of_receipts_both_stand_with_versions_of_their_own() {
        let receipts = [
            receipt("sınır.csv", 1, 1, true),
            receipt("sinir.csv", 2, 1, true),
        ];
        let known = known(1, vec![], &receipts);
        assert!(known.stands("sınır.csv") && known.stands("sinir.csv"));
        assert_eq!(known.standing(), [receipts[1].clone(), receipts[0].clone()]);
        for path in ["sınır.csv", "sinir.csv", "SINIR.csv"] {
            assert_eq!(known.next_version(&request(), path), version(3));
        }
        assert!(known.check("sinir.csv").is_ok() && known.check("SINIR.csv").is_err());
    }

    #[test]
    fn names_that_cannot_stand_together_are_refused_and_free_again_when_removed() {
        let receipts = [
            receipt("t/a.csv", 1, 1, true),
            receipt("f", 1, 1, true),
            receipt("x", 1, 1, true),
            receipt("x", 2, 1, false),
        ];
        let known = known(1, vec![], &receipts);
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
            let reason = known.check(path).err().map(|p| p.reason);
            assert_eq!(reason, clashes.then_some("NameClash"), "{path}");
        }
    }

    #[test]
    fn two_on_their_way_at_the_same_time_clash_too() {
        let mut known = known(1, vec![], &[]);
        known.claim("a/b", 1, &rules()).unwrap();
        assert_eq!(known.check("A/b").map_err(|p| p.reason), Err("NameClash"));
        assert_eq!(known.check("a").map_err(|p| p.reason), Err("NameClash"));
        assert_eq!(known.check("a/b/c").map_err(|p| p.reason), Err("NameClash"));
        known.claim("a/b", 1, &rules()).unwrap();
        known.unclaim("a/b", 1);
        assert!(known.check("a").is_err());
        known.unclaim("a/b", 1);
        assert!(known.check("a").is_ok());
    }

    #[test]
    fn declared_files_are_covered_when_all_stand() {
        let declared: Vec<DeclaredFile> =
            serde_json::from_value(serde_json::json!([{"path": "t1.csv"}, {"path": "figures/"}]))
                .unwrap();
        assert!(!known(1, vec![], &[receipt("t1.csv", 1, 1, true)]).covers(&declared));
        assert!(
            known(
                1,
                vec![],
                &[
                    receipt("t1.csv", 1, 1, true),
                    receipt("figures/1.png", 1, 1, true)
                ]
            )
            .covers(&declared)
        );
    }

    #[test]
    fn a_path_and_a_round_have_so_many_receipts_and_the_next_round_begins_anew() {
        use trevor_core::receipt::{SPARE, VERSIONS};
        let count = |n: usize| n as u64;
        let one: Vec<Receipt> = (1..=count(VERSIONS))
            .map(|n| receipt("a", n, 1, true))
            .collect();
        let reason = |known: &Known, path: &str| known.check_versions(path).map_err(|p| p.reason);
        let known = self::known(1, vec![], &one);
        assert_eq!(reason(&known, "A"), Err("TooManyVersions"));
        assert_eq!(reason(&known, "b"), Ok(()));
        let next = self::known(2, vec![receipt("a", 200, 1, true)], &one);
        assert_eq!(reason(&next, "a"), Ok(()));
        // Fifty paths, again and again.
        let mut many = self::known(1, vec![], &[]);
        let key = RequestKey {
            namespace: "a".into(),
            uid: "u".into(),
        };
        let taken = (0..4000).take_while(|n| {
            let path = format!("p{}", n % 50);
            let sent = receipt(&path, count(n / 50 + 1), 1, true);
            let taken = many.claim(&path, 1, &rules()).is_ok();
            many.unclaim(&path, 1);
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
        let mut known = known(1, vec![], &receipts);
        let mut rules = rules();
        rules.max_files = 3;
        rules.max_total_bytes = 10;
        let room = |known: &Known, path: &str, size| known.check_room(path, size, &rules).is_ok();
        // Two stand, of one byte each.
        assert!(room(&known, "c.csv", 8) && !room(&known, "c.csv", 9));
        assert!(room(&known, "A.csv", 9) && !room(&known, "a.csv", 10));
        known.claim("c.csv", 2, &rules).unwrap();
        assert!(!room(&known, "d.csv", 0), "three files, one on its way");
        assert!(room(&known, "b.csv", 7) && !room(&known, "b.csv", 8));
        known.claim("c.csv", 5, &rules).unwrap();
        assert!(room(&known, "b.csv", 4) && !room(&known, "b.csv", 5));
        known.unclaim("c.csv", 5);
        assert!(room(&known, "b.csv", 7));
        known.unclaim("c.csv", 2);
        assert!(room(&known, "d.csv", 8));
    }
}
