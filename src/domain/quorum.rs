//! Who has approved what.
//!
//! [`judge`] looks at the reviews of one manifest and says of each whether it
//! counts and why not, and what they decide together. [`approve`] derives an
//! [`Approved`] manifest from a stored decision by judging it again; there is no
//! other way to make one, and the release bucket takes nothing else (DESIGN §1.1).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::commit::{Decision, Verdict};
use super::digest::Sha256Hex;
use super::manifest::Frozen;
use crate::api::ReviewDecision;

/// A review, as far as the quorum looks at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReviewFact {
    /// Name of the AirlockReview.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Who, by the API server's authentication.
    pub reviewer: String,
    /// What they say.
    pub decision: ReviewDecision,
    /// The manifest that they say it of.
    pub manifest_digest: String,
    /// When the review was created, to the second.
    pub time: Timestamp,
}

/// Why a review does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotCounted {
    /// It names another manifest than the one under review.
    OtherDigest,
    /// The submitter, or whoever created the request, does not review.
    Submitter,
    /// The same reviewer made a later one.
    Superseded,
    /// It does not say who reviews.
    NoReviewer,
}

impl NotCounted {
    /// One CamelCase word, for status.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::OtherDigest => "OtherDigest",
            Self::Submitter => "Submitter",
            Self::Superseded => "Superseded",
            Self::NoReviewer => "NoReviewer",
        }
    }

    /// What to do, for its author.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::OtherDigest => {
                "it names another manifest than the one under review; look at status.manifest.digest of the request and review that"
            }
            Self::Submitter => "who submits or creates a request does not review it",
            Self::Superseded => "the same reviewer made a later review, which counts instead",
            Self::NoReviewer => "it does not say who reviews",
        }
    }
}

/// What is asked of the quorum.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The manifest under review.
    pub digest: &'a Sha256Hex,
    /// The person who submitted it.
    pub submitter: &'a str,
    /// The delegate who created the request, if one did.
    pub created_by: Option<&'a str>,
    /// Approvals that are needed; below 1 counts as 1.
    pub required: i64,
}

/// What the reviews say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Approved, returned or rejected; none: more reviews are needed.
    pub verdict: Option<Verdict>,
    /// The reviews that count.
    pub counted: Vec<ReviewFact>,
    /// The others, by uid, and why.
    pub not_counted: BTreeMap<String, NotCounted>,
}

impl Judgement {
    /// How many approvals count.
    #[must_use]
    pub fn approvals(&self) -> i64 {
        let approvals = self
            .counted
            .iter()
            .filter(|r| r.decision == ReviewDecision::Approve)
            .count();
        i64::try_from(approvals).unwrap_or(i64::MAX)
    }
}

/// Judges the reviews of one manifest, in whatever order they come.
///
/// One Reject rejects, one RequestChanges returns, the quorum of distinct
/// reviewers approves; of one reviewer's reviews the last counts, and in a tie
/// the stricter (DESIGN §2).
#[must_use]
pub fn judge(question: &Question<'_>, reviews: &[ReviewFact]) -> Judgement {
    let mut not_counted = BTreeMap::new();
    let mut last: BTreeMap<&str, &ReviewFact> = BTreeMap::new();
    for review in reviews {
        if let Some(why) = why_not(question, review) {
            not_counted.insert(review.uid.clone(), why);
            continue;
        }
        let slot = last.entry(review.reviewer.as_str()).or_insert(review);
        if review.uid == slot.uid {
            continue;
        }
        let later =
            (review.time, review.decision, &review.uid) > (slot.time, slot.decision, &slot.uid);
        let loser = if later {
            std::mem::replace(slot, review)
        } else {
            review
        };
        not_counted.insert(loser.uid.clone(), NotCounted::Superseded);
    }
    let counted: Vec<ReviewFact> = last.into_values().cloned().collect();
    let mut judgement = Judgement {
        verdict: None,
        counted,
        not_counted,
    };
    let says = |decision| judgement.counted.iter().any(|r| r.decision == decision);
    judgement.verdict = if says(ReviewDecision::Reject) {
        Some(Verdict::Rejected)
    } else if says(ReviewDecision::RequestChanges) {
        Some(Verdict::Returned)
    } else if judgement.approvals() >= question.required.max(1) {
        Some(Verdict::Approved)
    } else {
        None
    };
    judgement
}

fn why_not(question: &Question<'_>, review: &ReviewFact) -> Option<NotCounted> {
    if review.reviewer.is_empty() {
        Some(NotCounted::NoReviewer)
    } else if review.reviewer == question.submitter
        || Some(review.reviewer.as_str()) == question.created_by
    {
        Some(NotCounted::Submitter)
    } else if review.manifest_digest != question.digest.as_str() {
        Some(NotCounted::OtherDigest)
    } else {
        None
    }
}

/// A thing that the quorum approved. It can be made by [`approve`] alone.
///
/// ```compile_fail
/// let forged = trevor::domain::quorum::Approved { thing: () };
/// ```
#[derive(Clone, Debug)]
pub struct Approved<T> {
    thing: T,
}

impl<T> Approved<T> {
    /// What was approved.
    #[must_use]
    pub fn get(&self) -> &T {
        &self.thing
    }
}

/// Why a stored decision approves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotApproved {
    /// It says something else.
    #[error("the decision is not an approval")]
    OtherVerdict,
    /// It is about another manifest or round.
    #[error("the decision is about another manifest")]
    OtherManifest,
    /// Its reviews do not make the quorum.
    #[error("the reviews of the decision do not make its quorum")]
    NoQuorum,
}

/// Derives the approval of a manifest from a stored decision, by judging the
/// decision's reviews again.
///
/// # Errors
/// When they do not approve this manifest.
pub fn approve(frozen: Frozen, decision: &Decision) -> Result<Approved<Frozen>, NotApproved> {
    if decision.verdict != Verdict::Approved {
        return Err(NotApproved::OtherVerdict);
    }
    if decision.manifest_digest.as_ref() != Some(&frozen.digest)
        || decision.round != frozen.manifest.round
    {
        return Err(NotApproved::OtherManifest);
    }
    let question = Question {
        digest: &frozen.digest,
        submitter: &frozen.manifest.submitter,
        created_by: frozen.manifest.created_by.as_deref(),
        required: decision.required,
    };
    if judge(&question, &decision.reviews).verdict != Some(Verdict::Approved) {
        return Err(NotApproved::NoQuorum);
    }
    Ok(Approved { thing: frozen })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use ReviewDecision::{Approve, Reject, RequestChanges};

    fn review(
        reviewer: &str,
        decision: ReviewDecision,
        digest: &Sha256Hex,
        second: i64,
    ) -> ReviewFact {
        ReviewFact {
            name: format!("{reviewer}-{second}"),
            uid: format!("{reviewer}-{decision:?}-{second}-{}", digest.short(4)),
            reviewer: reviewer.into(),
            decision,
            manifest_digest: digest.to_string(),
            time: Timestamp::from_second(second).unwrap(),
        }
    }

    fn ask(digest: &Sha256Hex, reviews: &[ReviewFact]) -> Judgement {
        judge(
            &Question {
                digest,
                submitter: "alice",
                created_by: Some("pipeline"),
                required: 2,
            },
            reviews,
        )
    }

    #[test]
    fn the_table_of_verdicts() {
        let d = Sha256Hex::of(b"manifest");
        let old = Sha256Hex::of(b"older manifest");
        let r = |who, what, at| review(who, what, &d, at);
        let rows: Vec<(&str, Vec<ReviewFact>, Option<Verdict>)> = vec![
            ("no review", vec![], None),
            ("one approval of two", vec![r("bob", Approve, 1)], None),
            (
                "two distinct approvals",
                vec![r("bob", Approve, 1), r("carol", Approve, 2)],
                Some(Verdict::Approved),
            ),
            (
                "one reviewer twice",
                vec![r("bob", Approve, 1), r("bob", Approve, 2)],
                None,
            ),
            (
                "the submitter",
                vec![r("bob", Approve, 1), r("alice", Approve, 2)],
                None,
            ),
            (
                "the creator",
                vec![r("bob", Approve, 1), r("pipeline", Approve, 2)],
                None,
            ),
            (
                "an earlier digest",
                vec![r("bob", Approve, 1), review("carol", Approve, &old, 2)],
                None,
            ),
            (
                "names differ byte for byte",
                vec![r("bob", Approve, 1), r("Bob", Approve, 2)],
                Some(Verdict::Approved),
            ),
            (
                "one asks for changes",
                vec![
                    r("bob", Approve, 1),
                    r("carol", Approve, 2),
                    r("dan", RequestChanges, 3),
                ],
                Some(Verdict::Returned),
            ),
            (
                "one rejects",
                vec![r("bob", RequestChanges, 1), r("carol", Reject, 2)],
                Some(Verdict::Rejected),
            ),
            (
                "a mind changed to yes",
                vec![
                    r("bob", Reject, 1),
                    r("bob", Approve, 2),
                    r("carol", Approve, 2),
                ],
                Some(Verdict::Approved),
            ),
            (
                "a mind changed to no",
                vec![
                    r("bob", Approve, 1),
                    r("carol", Approve, 2),
                    r("bob", Reject, 3),
                ],
                Some(Verdict::Rejected),
            ),
            (
                "a tie goes to the stricter",
                vec![r("bob", Approve, 1), r("bob", Reject, 1)],
                Some(Verdict::Rejected),
            ),
            ("the submitter's reject", vec![r("alice", Reject, 1)], None),
            (
                "a reject of an older digest",
                vec![review("bob", Reject, &old, 1)],
                None,
            ),
        ];
        for (name, reviews, verdict) in rows {
            assert_eq!(ask(&d, &reviews).verdict, verdict, "{name}");
            let reversed: Vec<_> = reviews.into_iter().rev().collect();
            assert_eq!(ask(&d, &reversed).verdict, verdict, "{name}, reversed");
        }
    }

    #[test]
    fn a_review_of_an_earlier_digest_does_not_supersede_one_that_counts() {
        let d = Sha256Hex::of(b"manifest");
        let old = Sha256Hex::of(b"older manifest");
        let found = ask(
            &d,
            &[
                review("bob", Approve, &d, 1),
                review("bob", Reject, &old, 2),
            ],
        );
        assert_eq!(found.approvals(), 1);
        assert_eq!(
            found.not_counted.values().collect::<Vec<_>>(),
            [&NotCounted::OtherDigest]
        );
    }

    proptest! {
        #[test]
        fn nothing_is_approved_without_enough_distinct_others(
            picks in prop::collection::vec((0..4_usize, 0..3_usize, 0..2_usize, 0..4_i64), 0..12),
            required in -1..4_i64,
        ) {
            let d = Sha256Hex::of(b"manifest");
            let old = Sha256Hex::of(b"older manifest");
            let who = ["alice", "bob", "carol", "dan"];
            let what = [Approve, RequestChanges, Reject];
            let reviews: Vec<ReviewFact> = picks.iter()
                .map(|&(w, x, y, t)| review(who[w], what[x], if y == 0 { &d } else { &old }, t))
                .collect();
            let question = Question { digest: &d, submitter: "alice", created_by: None, required };
            let found = judge(&question, &reviews);
            if found.verdict == Some(Verdict::Approved) {
                let yes: std::collections::BTreeSet<_> = reviews.iter()
                    .filter(|r| r.decision == Approve && r.reviewer != "alice" && r.manifest_digest == d.as_str())
                    .map(|r| r.reviewer.clone()).collect();
                prop_assert!(i64::try_from(yes.len()).unwrap() >= required.max(1));
            }
            let mut shuffled = reviews.clone();
            shuffled.reverse();
            prop_assert_eq!(judge(&question, &shuffled), found);
        }
    }
}
