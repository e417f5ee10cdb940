//! What of a round was seen before: in which earlier request, and what became of
//! it there. A refused file that comes back, whole or changed, is visible so.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::commit::{Decision, Outcome, OutcomeKind, Verdict};
use super::digest::Sha256Hex;
use super::manifest::{Frozen, ManifestFile};
use super::names;
use trevor_api::{PriorDecision, PriorSighting, ReviewDecision, Same};

/// Sightings that are stored of a round.
const STORED: usize = 100;
/// Reviewers that are named of one.
const NAMED: usize = 5;

/// `index/…`: that a frozen round has a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sighting {
    /// The project.
    pub namespace: String,
    /// The request.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The round.
    pub round: i64,
    /// The file.
    pub path: String,
    /// Its SHA-256.
    pub sha256: Sha256Hex,
}

impl Sighting {
    /// Of a file of a frozen round.
    #[must_use]
    pub fn of(frozen: &Frozen, file: &ManifestFile) -> Self {
        let manifest = &frozen.manifest;
        Self {
            namespace: manifest.namespace.clone(),
            name: manifest.name.clone(),
            uid: manifest.uid.clone(),
            round: manifest.round,
            path: file.path.clone(),
            sha256: file.sha256.clone(),
        }
    }

    /// What it has in common with a file of a request of another uid in a namespace.
    #[must_use]
    pub fn same(&self, namespace: &str, uid: &str, file: &ManifestFile) -> Option<Same> {
        if self.uid == uid {
            return None;
        }
        let content = self.sha256 == file.sha256;
        let path =
            self.namespace == namespace && names::folded(&self.path) == names::folded(&file.path);
        match (content, path) {
            (true, true) => Some(Same::ContentAndPath),
            (true, false) => Some(Same::Content),
            (false, true) => Some(Same::Path),
            (false, false) => None,
        }
    }
}

/// A sighting with what became of its round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Prior {
    /// Path in the round that looks back.
    pub path: String,
    /// What is the same.
    pub same: Same,
    /// The earlier sighting.
    pub sighting: Sighting,
    /// What became of its round.
    pub decision: PriorDecision,
    /// Who decided.
    pub by: Vec<String>,
}

/// `rounds/<n>/seen.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// The round that looked back.
    pub round: i64,
    /// How many sightings there are.
    pub total: i64,
    /// The refused ones first.
    pub priors: Vec<Prior>,
    /// When.
    pub time: Timestamp,
}

impl Seen {
    /// Of what was found, and of how many more there are: the latest round of each
    /// earlier request, the refused first.
    #[must_use]
    pub fn new(round: i64, found: Vec<Prior>, more: usize, time: Timestamp) -> Self {
        let mut latest: BTreeMap<(String, String, String), Prior> = BTreeMap::new();
        for prior in found {
            let sighting = &prior.sighting;
            let key = (
                prior.path.clone(),
                sighting.uid.clone(),
                sighting.path.clone(),
            );
            let newer = latest
                .get(&key)
                .is_none_or(|known| known.sighting.round < sighting.round);
            if newer {
                latest.insert(key, prior);
            }
        }
        let mut priors: Vec<Prior> = latest.into_values().collect();
        priors.sort_by_key(|prior| weight(prior.decision));
        let total = i64::try_from(priors.len() + more).unwrap_or(i64::MAX);
        priors.truncate(STORED);
        Self {
            round,
            total,
            priors,
            time,
        }
    }

    /// As status shows them, at most `most`. A request of another project is not
    /// named there: whoever reads this status need not know of it.
    #[must_use]
    pub fn shown(&self, namespace: &str, most: usize) -> Vec<PriorSighting> {
        let show = |prior: &Prior| {
            let ours = prior.sighting.namespace == namespace;
            PriorSighting {
                path: prior.path.clone(),
                same: prior.same,
                request: ours.then(|| prior.sighting.name.clone()),
                round: prior.sighting.round,
                decision: prior.decision,
                by: if ours { prior.by.clone() } else { Vec::new() },
            }
        };
        self.priors.iter().take(most).map(show).collect()
    }
}

fn weight(decision: PriorDecision) -> u8 {
    match decision {
        PriorDecision::Rejected => 0,
        PriorDecision::Revoked => 1,
        PriorDecision::Withdrawn => 2,
        PriorDecision::Returned => 3,
        PriorDecision::InReview => 4,
        PriorDecision::Approved => 5,
        PriorDecision::Released => 6,
    }
}

/// What became of a frozen round, and who said so.
#[must_use]
pub fn became(
    decision: Option<&Decision>,
    outcome: Option<&Outcome>,
    submitter: &str,
    revoked_by: Option<&str>,
) -> (PriorDecision, Vec<String>) {
    let who = |reviews: &[super::quorum::ReviewFact], said: ReviewDecision| -> Vec<String> {
        let said = reviews.iter().filter(|r| r.decision == said);
        said.map(|r| r.reviewer.clone()).take(NAMED).collect()
    };
    let submitter = || vec![submitter.to_owned()];
    if let Some(by) = revoked_by {
        return (PriorDecision::Revoked, vec![by.to_owned()]);
    }
    let approved = || {
        let reviews = decision.map_or(&[][..], |d| &d.reviews);
        who(reviews, ReviewDecision::Approve)
    };
    if let Some(outcome) = outcome {
        return match outcome.kind {
            OutcomeKind::Released => (PriorDecision::Released, approved()),
            OutcomeKind::Rejected => (
                PriorDecision::Rejected,
                who(&outcome.reviews, ReviewDecision::Reject),
            ),
            OutcomeKind::Returned => (
                PriorDecision::Returned,
                who(&outcome.reviews, ReviewDecision::RequestChanges),
            ),
            OutcomeKind::Withdrawn => (PriorDecision::Withdrawn, submitter()),
        };
    }
    let Some(decision) = decision else {
        return (PriorDecision::InReview, Vec::new());
    };
    match decision.verdict {
        Verdict::Approved => (PriorDecision::Approved, approved()),
        Verdict::Rejected => (
            PriorDecision::Rejected,
            who(&decision.reviews, ReviewDecision::Reject),
        ),
        Verdict::Returned => (
            PriorDecision::Returned,
            match &decision.recalled {
                Some(recall) => vec![recall.actor.clone()],
                None => who(&decision.reviews, ReviewDecision::RequestChanges),
            },
        ),
        Verdict::Withdrawn => (PriorDecision::Withdrawn, submitter()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Crc32;
    use crate::phase::Round;

    fn file(path: &str, bytes: &str) -> ManifestFile {
        ManifestFile {
            path: path.into(),
            size: bytes.len() as u64,
            sha256: Sha256Hex::of(bytes.as_bytes()),
            crc32: Crc32(0),
            media_type: String::new(),
            sniffed: None,
            remark: None,
            description: String::new(),
            justification: String::new(),
            suppression_notes: String::new(),
            output_type: None,
            statbarn: String::new(),
            collected_by: None,
            folder: None,
            version: String::new(),
            key: String::new(),
        }
    }

    fn sighting(namespace: &str, uid: &str, round: i64, path: &str, bytes: &str) -> Sighting {
        Sighting {
            namespace: namespace.into(),
            name: format!("request-{uid}"),
            uid: uid.into(),
            round,
            path: path.into(),
            sha256: Sha256Hex::of(bytes.as_bytes()),
        }
    }

    #[test]
    fn content_is_the_same_everywhere_and_a_path_in_its_project() {
        let mine = file("t/A.csv", "x");
        for (other, same) in [
            (
                sighting("a", "2", 1, "t/a.csv", "x"),
                Some(Same::ContentAndPath),
            ),
            (sighting("a", "2", 1, "t/a.csv", "y"), Some(Same::Path)),
            (sighting("a", "2", 1, "b.csv", "x"), Some(Same::Content)),
            (sighting("b", "2", 1, "t/A.csv", "x"), Some(Same::Content)),
            (sighting("b", "2", 1, "t/A.csv", "y"), None),
            (sighting("a", "1", 1, "t/A.csv", "x"), None),
        ] {
            assert_eq!(other.same("a", "1", &mine), same, "{other:?}");
        }
    }

    #[test]
    fn the_latest_round_is_shown_and_the_refused_come_first() {
        let prior = |uid: &str, round, decision| Prior {
            path: "a".into(),
            same: Same::Content,
            sighting: sighting(if uid == "4" { "b" } else { "a" }, uid, round, "a", "x"),
            decision,
            by: vec!["bob".into()],
        };
        let seen = Seen::new(
            1,
            vec![
                prior("2", 1, PriorDecision::Returned),
                prior("2", 2, PriorDecision::Released),
                prior("3", 1, PriorDecision::Rejected),
                prior("4", 1, PriorDecision::Rejected),
            ],
            4,
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(seen.total, 3 + 4, "those that were read, and the others");
        let shown = seen.shown("a", 10);
        let rows: Vec<_> = shown
            .iter()
            .map(|s| (s.request.as_deref(), s.round, s.decision, s.by.len()))
            .collect();
        assert_eq!(
            rows,
            [
                (Some("request-3"), 1, PriorDecision::Rejected, 1),
                (None, 1, PriorDecision::Rejected, 0),
                (Some("request-2"), 2, PriorDecision::Released, 1),
            ]
        );
        assert_eq!(seen.shown("a", 1).len(), 1);
    }

    #[test]
    fn a_sighting_names_where_its_file_was() {
        let frozen = crate::examples::frozen(3);
        let expected = Sighting {
            namespace: "a".into(),
            name: "r".into(),
            uid: "u".into(),
            round: 3,
            path: "b.csv".into(),
            sha256: Sha256Hex::of(b"yz"),
        };
        assert_eq!(Sighting::of(&frozen, &frozen.manifest.files[1]), expected);
    }

    #[test]
    fn the_heavier_the_refusal_the_earlier_it_is_shown() {
        use PriorDecision::*;
        let order = [
            Rejected, Revoked, Withdrawn, Returned, InReview, Approved, Released,
        ];
        let prior = |(n, decision): (usize, &PriorDecision)| Prior {
            path: "a".into(),
            same: Same::Content,
            sighting: sighting("a", &n.to_string(), 1, "a", "x"),
            decision: *decision,
            by: Vec::new(),
        };
        let found = order.iter().rev().enumerate().map(prior).collect();
        let seen = Seen::new(1, found, 0, Timestamp::UNIX_EPOCH);
        let shown: Vec<_> = seen.shown("a", 10).iter().map(|s| s.decision).collect();
        assert_eq!(shown, order);
    }

    #[test]
    fn what_became_of_a_round_is_told_with_who_said_so() {
        use crate::examples::{decision, frozen, outcome, review, sealed};
        let of = frozen(1);
        let reviews = ["Approve", "RequestChanges", "Reject"].map(|d| review(d, d, &of));
        let plain = || sealed(1, &serde_json::json!("Complete"));
        let decided = |verdict| Round {
            decision: Some(decision(verdict, &of, &reviews)),
            ..plain()
        };
        let ended = |kind| Round {
            outcome: Some(outcome(kind, 1, &reviews)),
            ..decided("Approved")
        };
        let mut recalled = decided("Returned");
        let recall = serde_json::json!({"action": "a", "uid": "u", "actor": "dave", "round": 1,
            "time": "1970-01-01T00:00:00Z"});
        recalled.decision.as_mut().unwrap().recalled = serde_json::from_value(recall).unwrap();
        for (round, decision, by) in [
            (plain(), PriorDecision::InReview, &[][..]),
            (decided("Approved"), PriorDecision::Approved, &["Approve"]),
            (decided("Rejected"), PriorDecision::Rejected, &["Reject"]),
            (
                decided("Returned"),
                PriorDecision::Returned,
                &["RequestChanges"],
            ),
            (decided("Withdrawn"), PriorDecision::Withdrawn, &["alice"]),
            (recalled, PriorDecision::Returned, &["dave"]),
            (ended("Released"), PriorDecision::Released, &["Approve"]),
            (ended("Rejected"), PriorDecision::Rejected, &["Reject"]),
            (
                ended("Returned"),
                PriorDecision::Returned,
                &["RequestChanges"],
            ),
            (ended("Withdrawn"), PriorDecision::Withdrawn, &["alice"]),
        ] {
            let by: Vec<String> = by.iter().map(|&who| who.into()).collect();
            let (decided, outcome) = (round.decision.as_ref(), round.outcome.as_ref());
            let fate = became(decided, outcome, "alice", None);
            assert_eq!(fate, (decision, by), "{round:?}");
            let revoked = (PriorDecision::Revoked, vec!["olga".to_owned()]);
            assert_eq!(became(decided, outcome, "alice", Some("olga")), revoked);
        }
    }
}
