//! Who has approved what.
//!
//! [`judge`] looks at the reviews of one manifest and says of each whether it
//! counts and why not, and what they decide together. [`approve`] derives an
//! [`Approved`] manifest from a stored decision by judging it again; there is no
//! other way to make one, and the release bucket takes nothing else (docs/design.md#invariants).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;

use super::commit::{Decision, Verdict};
use super::digest::Sha256Hex;
use super::manifest::Frozen;
use trevor_api::ReviewDecision;

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
    /// Files of the manifest that the reviewer had read whole.
    pub viewed: i64,
    /// The epoch in which the admission rules were proved live when it was made;
    /// none: it was not, and anybody may have made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
}

/// What it takes, by the policy; fixed by the decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quorum {
    /// Distinct approvals; below 1 counts as 1.
    pub required: i64,
    /// Whose reviews count; none: of everybody whom admission let review.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewers: Option<BTreeSet<String>>,
    /// An approval counts only of who has read every file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_viewed: bool,
    /// Names that are the same after Unicode case folding are one person where that takes
    /// an approval away. Decisions of before this rule do not say so, and are judged without.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fold_names: bool,
}

impl Quorum {
    /// Whether two names are one person, where that takes an approval away.
    fn same_person(&self, one: &str, other: &str) -> bool {
        one == other || (self.fold_names && folded(one) == folded(other))
    }
}

/// A person's name after Unicode case folding: `J.Smith` and `j.smith` are one account to
/// many identity providers, and two users to Kubernetes. So is a name with composed and
/// with decomposed accents, or with fullwidth letters (Unicode's form NFKC).
fn folded(name: &str) -> String {
    let upper_and_lower = |name: &str| -> String {
        let fold = |c: char| match c {
            // It folds to itself, and has the upper case of i.
            '\u{131}' => vec![c],
            c => c.to_uppercase().flat_map(char::to_lowercase).collect(),
        };
        name.chars().flat_map(fold).collect()
    };
    let plain: String = name.nfkc().collect();
    // The capital sharp s is its own upper case: its lower case is folded then.
    upper_and_lower(&upper_and_lower(&plain)).nfkc().collect()
}

/// Why a review does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotCounted {
    /// It names another manifest than the one under review.
    OtherDigest,
    /// The submitter, or whoever created the request, does not review.
    Submitter,
    /// The policy names the reviewers, and this is none of them.
    NotAmongReviewers,
    /// The same reviewer made a later one.
    Superseded,
    /// The policy wants every file read before an approval.
    NotViewed,
    /// Another approval counts already, by a name that differs in upper and lower case only.
    SamePerson,
    /// It was made while the admission rules were not proved live.
    OutsideEpoch,
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
            Self::NotAmongReviewers => "NotAmongReviewers",
            Self::Superseded => "Superseded",
            Self::NotViewed => "NotViewed",
            Self::SamePerson => "SamePerson",
            Self::OutsideEpoch => "OutsideEpoch",
            Self::NoReviewer => "NoReviewer",
        }
    }

    /// What to do, for its author.
    #[must_use]
    pub fn message(self, question: &Question<'_>, review: &ReviewFact) -> String {
        match self {
            Self::OtherDigest => format!(
                "it names another manifest than the one under review, whose digest is {}; look at what changed (status.changes of the request) and create a review that names this digest",
                question.digest
            ),
            Self::Submitter => {
                "who submits or creates a request does not review it; somebody else has to".into()
            }
            Self::NotAmongReviewers => {
                "the policy names who reviews here, and not you; ask one of those, or a cluster admin to name you".into()
            }
            Self::Superseded => "the same reviewer made a later review, which counts instead".into(),
            Self::NotViewed => format!(
                "the policy wants every file read before an approval, and you have read {} of {} whole; read the rest through the gateway (GET content), and this review counts by itself",
                review.viewed, question.files
            ),
            Self::SamePerson => {
                "another approval counts by a name that differs from yours only in upper and lower case or in how its letters are encoded, and the two are taken for one person; somebody else has to approve".into()
            }
            Self::OutsideEpoch if review.decision != ReviewDecision::Approve => {
                "it was made while the admission rules were not proved to be in force: it stops the approval, and decides nothing until you confirm it; create it again once they are (condition RulesLive of the AirlockPolicy)".into()
            }
            Self::OutsideEpoch => {
                "it was made while the admission rules were not proved to be in force; create it again once they are (condition RulesLive of the AirlockPolicy)".into()
            }
            Self::NoReviewer => "it does not say who reviews; create it again".into(),
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
    /// What it takes.
    pub quorum: &'a Quorum,
    /// Files of the manifest.
    pub files: i64,
}

impl<'a> Question<'a> {
    /// About a frozen manifest.
    #[must_use]
    pub fn of(frozen: &'a Frozen, quorum: &'a Quorum) -> Self {
        Self {
            digest: &frozen.digest,
            submitter: &frozen.manifest.submitter,
            created_by: frozen.manifest.created_by.as_deref(),
            quorum,
            files: i64::try_from(frozen.manifest.files.len()).unwrap_or(i64::MAX),
        }
    }
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
    /// Of those that do not count: the last word of its reviewer, adverse, and made while
    /// the admission rules were not proved live. It decides nothing, and nothing is approved
    /// until its reviewer has confirmed it or taken it back by another review.
    pub unconfirmed: Vec<ReviewFact>,
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
/// the stricter (docs/reference/resources.md#phases).
///
/// A review that was made while the admission rules were not proved live counts
/// for nothing. But an adverse one stops the approval until its reviewer has said
/// more, and what it takes back of what its reviewer said before no longer counts.
#[must_use]
pub fn judge(question: &Question<'_>, reviews: &[ReviewFact]) -> Judgement {
    let mut not_counted = BTreeMap::new();
    let mut last: BTreeMap<&str, &ReviewFact> = BTreeMap::new();
    for review in reviews {
        if let Some(why) = why_not(question, review) {
            not_counted.insert(review.uid.clone(), why);
            if why != NotCounted::OutsideEpoch || review.decision == ReviewDecision::Approve {
                continue;
            }
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
        not_counted
            .entry(loser.uid.clone())
            .or_insert(NotCounted::Superseded);
    }
    let (unconfirmed, counted): (Vec<_>, Vec<_>) = last
        .into_values()
        .cloned()
        .partition(|review| not_counted.contains_key(&review.uid));
    let (mut counted, mut not_counted) = (counted, not_counted);
    count_people_once(question.quorum, &mut counted, &mut not_counted);
    let mut judgement = Judgement {
        verdict: None,
        counted,
        not_counted,
        unconfirmed,
    };
    let says = |decision| judgement.counted.iter().any(|r| r.decision == decision);
    judgement.verdict = if says(ReviewDecision::Reject) {
        Some(Verdict::Rejected)
    } else if says(ReviewDecision::RequestChanges) {
        Some(Verdict::Returned)
    } else if !judgement.unconfirmed.is_empty() {
        None
    } else if judgement.approvals() >= question.quorum.required.max(1) {
        Some(Verdict::Approved)
    } else {
        None
    };
    judgement
}

/// Of approvals by names that are one person the first counts, and no other. Adverse
/// reviews all count.
fn count_people_once(
    quorum: &Quorum,
    counted: &mut Vec<ReviewFact>,
    not_counted: &mut BTreeMap<String, NotCounted>,
) {
    if !quorum.fold_names {
        return;
    }
    let mut approvals: Vec<&ReviewFact> = counted
        .iter()
        .filter(|review| review.decision == ReviewDecision::Approve)
        .collect();
    approvals.sort_by(|a, b| (a.time, &a.uid).cmp(&(b.time, &b.uid)));
    let mut people = BTreeSet::new();
    for review in approvals {
        if !people.insert(folded(&review.reviewer)) {
            not_counted.insert(review.uid.clone(), NotCounted::SamePerson);
        }
    }
    counted.retain(|review| !not_counted.contains_key(&review.uid));
}

fn why_not(question: &Question<'_>, review: &ReviewFact) -> Option<NotCounted> {
    let reviewer = review.reviewer.as_str();
    let listed = question.quorum.reviewers.as_ref();
    let unread = question.quorum.require_viewed && review.viewed < question.files;
    if reviewer.is_empty() {
        Some(NotCounted::NoReviewer)
    } else if is_submitter(question, review) {
        Some(NotCounted::Submitter)
    } else if listed.is_some_and(|listed| !listed.contains(reviewer)) {
        Some(NotCounted::NotAmongReviewers)
    } else if review.manifest_digest != question.digest.as_str() {
        Some(NotCounted::OtherDigest)
    } else if review.epoch.is_none() {
        Some(NotCounted::OutsideEpoch)
    } else if unread && review.decision == ReviewDecision::Approve {
        Some(NotCounted::NotViewed)
    } else {
        None
    }
}

/// Whether the submitter reviews, or whoever created the request: by the exact name, and for
/// an approval by a name that is the same person's, too.
fn is_submitter(question: &Question<'_>, review: &ReviewFact) -> bool {
    let approves = review.decision == ReviewDecision::Approve;
    let mut theirs = [Some(question.submitter), question.created_by]
        .into_iter()
        .flatten();
    theirs.any(|name| {
        name == review.reviewer || (approves && question.quorum.same_person(name, &review.reviewer))
    })
}

/// A thing that the quorum approved. It can be made by [`approve`] alone.
///
/// ```compile_fail
/// let forged = trevor_core::quorum::Approved { thing: () };
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
    let question = Question::of(&frozen, &decision.quorum);
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
            viewed: 3,
            epoch: Some(1),
        }
    }

    fn two() -> Quorum {
        Quorum {
            required: 2,
            reviewers: None,
            require_viewed: false,
            fold_names: false,
        }
    }

    fn question<'a>(digest: &'a Sha256Hex, quorum: &'a Quorum) -> Question<'a> {
        Question {
            digest,
            submitter: "alice",
            created_by: Some("pipeline"),
            quorum,
            files: 3,
        }
    }

    fn ask(digest: &Sha256Hex, reviews: &[ReviewFact]) -> Judgement {
        judge(&question(digest, &two()), reviews)
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
    fn folding_names_only_takes_approvals_away() {
        let d = Sha256Hex::of(b"manifest");
        let r = |who, what, at| review(who, what, &d, at);
        for (name, reviews, exact, folded) in [
            (
                "the submitter in capitals",
                vec![r("ALICE", Approve, 1), r("bob", Approve, 2)],
                Some(Verdict::Approved),
                None,
            ),
            (
                "the creator in capitals",
                vec![r("Pipeline", Approve, 1), r("bob", Approve, 2)],
                Some(Verdict::Approved),
                None,
            ),
            (
                "one reviewer in two spellings",
                vec![r("j.smith@x", Approve, 1), r("J.Smith@X", Approve, 2)],
                Some(Verdict::Approved),
                None,
            ),
            (
                "in two spellings, and another",
                vec![
                    r("j.smith@x", Approve, 1),
                    r("J.Smith@X", Approve, 2),
                    r("bob", Approve, 3),
                ],
                Some(Verdict::Approved),
                Some(Verdict::Approved),
            ),
            (
                "letters that fold to two",
                vec![r("stra\u{df}e", Approve, 1), r("STRASSE", Approve, 2)],
                Some(Verdict::Approved),
                None,
            ),
            (
                "a capital sharp s",
                vec![r("stra\u{1e9e}e", Approve, 1), r("STRASSE", Approve, 2)],
                Some(Verdict::Approved),
                None,
            ),
            (
                "a final sigma",
                vec![
                    r("\u{3bd}\u{3af}\u{3ba}\u{3bf}\u{3c2}", Approve, 1),
                    r("\u{39d}\u{38a}\u{39a}\u{39f}\u{3a3}", Approve, 2),
                ],
                Some(Verdict::Approved),
                None,
            ),
            (
                "accents that are composed and not",
                vec![r("jos\u{e9}", Approve, 1), r("JOSE\u{301}", Approve, 2)],
                Some(Verdict::Approved),
                None,
            ),
            (
                "fullwidth letters",
                vec![r("bob", Approve, 1), r("\u{ff42}ob", Approve, 2)],
                Some(Verdict::Approved),
                None,
            ),
            (
                "letters that only look alike",
                vec![r("s\u{131}nan", Approve, 1), r("sinan", Approve, 2)],
                Some(Verdict::Approved),
                Some(Verdict::Approved),
            ),
            (
                "a no by the other spelling stands beside the yes",
                vec![
                    r("j.smith@x", Approve, 1),
                    r("bob", Approve, 1),
                    r("J.Smith@X", Reject, 2),
                ],
                Some(Verdict::Rejected),
                Some(Verdict::Rejected),
            ),
            (
                "a no by a spelling of the submitter's",
                vec![r("Alice", Reject, 1)],
                Some(Verdict::Rejected),
                Some(Verdict::Rejected),
            ),
            (
                "the submitter's own no",
                vec![r("alice", Reject, 1)],
                None,
                None,
            ),
        ] {
            for (fold_names, verdict) in [(false, exact), (true, folded)] {
                let quorum = Quorum {
                    fold_names,
                    ..two()
                };
                let found = judge(&question(&d, &quorum), &reviews);
                assert_eq!(found.verdict, verdict, "{name}, folded: {fold_names}");
                let reversed: Vec<_> = reviews.iter().rev().cloned().collect();
                assert_eq!(judge(&question(&d, &quorum), &reversed), found, "{name}");
            }
        }
        // Those who are named, and what they have read, go by the exact name.
        let quorum = Quorum {
            required: 1,
            reviewers: Some(["bob".to_owned()].into()),
            fold_names: true,
            ..two()
        };
        let found = judge(&question(&d, &quorum), &[r("Bob", Approve, 1)]);
        let why: Vec<_> = found.not_counted.values().collect();
        assert_eq!(why, [&NotCounted::NotAmongReviewers]);
    }

    #[test]
    fn a_decision_of_before_the_folding_of_names_is_judged_without() {
        let said: Quorum = serde_json::from_str(r#"{"required":2}"#).unwrap();
        assert!(!said.fold_names);
        let without = serde_json::to_string(&said).unwrap();
        assert_eq!(without, r#"{"required":2}"#);
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

    #[test]
    fn the_table_of_reasons() {
        let d = Sha256Hex::of(b"manifest");
        let old = Sha256Hex::of(b"older manifest");
        let yes = |who: &str| review(who, Approve, &d, 1);
        let quorum = Quorum {
            required: 1,
            reviewers: Some(["alice", "bob", "pipeline"].map(String::from).into()),
            require_viewed: true,
            fold_names: false,
        };
        let rows = [
            ("counts", yes("bob"), None),
            ("nobody", yes(""), Some(NotCounted::NoReviewer)),
            ("submitter", yes("alice"), Some(NotCounted::Submitter)),
            ("creator", yes("pipeline"), Some(NotCounted::Submitter)),
            (
                "stranger",
                yes("carol"),
                Some(NotCounted::NotAmongReviewers),
            ),
            (
                "stale",
                review("bob", Approve, &old, 1),
                Some(NotCounted::OtherDigest),
            ),
            (
                "forged",
                ReviewFact {
                    epoch: None,
                    ..yes("bob")
                },
                Some(NotCounted::OutsideEpoch),
            ),
            (
                "unread",
                ReviewFact {
                    viewed: 2,
                    ..yes("bob")
                },
                Some(NotCounted::NotViewed),
            ),
            (
                "a no needs no reading",
                ReviewFact {
                    viewed: 0,
                    ..review("bob", Reject, &d, 1)
                },
                None,
            ),
        ];
        let question = question(&d, &quorum);
        for (name, review, why) in rows {
            let found = judge(&question, std::slice::from_ref(&review));
            assert_eq!(found.not_counted.get(&review.uid).copied(), why, "{name}");
            assert_eq!(found.counted.len(), usize::from(why.is_none()), "{name}");
            if let Some(why) = why {
                assert!(!why.reason().is_empty() && !why.message(&question, &review).is_empty());
            }
        }
    }

    #[test]
    fn a_stale_review_is_told_the_digest_under_review() {
        let (d, old) = (Sha256Hex::of(b"manifest"), Sha256Hex::of(b"older manifest"));
        let quorum = two();
        let said = NotCounted::OtherDigest
            .message(&question(&d, &quorum), &review("bob", Approve, &old, 1));
        assert!(said.contains(d.as_str()));
    }

    #[test]
    fn a_no_outside_an_epoch_stops_the_approval_until_its_author_says_more() {
        let d = Sha256Hex::of(b"manifest");
        let old = Sha256Hex::of(b"older manifest");
        let outside = |who, decision, digest: &Sha256Hex, at| ReviewFact {
            epoch: None,
            ..review(who, decision, digest, at)
        };
        let yes = [
            review("bob", Approve, &d, 1),
            review("carol", Approve, &d, 1),
        ];
        for (name, more, stops, verdict) in [
            ("a reject", vec![outside("dan", Reject, &d, 2)], 1, None),
            (
                "changes",
                vec![outside("dan", RequestChanges, &d, 2)],
                1,
                None,
            ),
            (
                "confirmed",
                vec![outside("dan", Reject, &d, 2), review("dan", Reject, &d, 3)],
                0,
                Some(Verdict::Rejected),
            ),
            (
                "taken back",
                vec![outside("dan", Reject, &d, 2), review("dan", Approve, &d, 3)],
                0,
                Some(Verdict::Approved),
            ),
            (
                "taken back outside, too",
                vec![
                    outside("dan", Reject, &d, 2),
                    outside("dan", Approve, &d, 3),
                ],
                1,
                None,
            ),
            (
                "the submitter's",
                vec![outside("alice", Reject, &d, 2)],
                0,
                Some(Verdict::Approved),
            ),
            (
                "of another manifest",
                vec![outside("dan", Reject, &old, 2)],
                0,
                Some(Verdict::Approved),
            ),
            (
                "beside one that counts",
                vec![
                    outside("dan", Reject, &d, 2),
                    review("eve", RequestChanges, &d, 2),
                ],
                1,
                Some(Verdict::Returned),
            ),
        ] {
            let all: Vec<_> = yes.iter().cloned().chain(more).collect();
            let found = ask(&d, &all);
            assert_eq!(found.unconfirmed.len(), stops, "{name}");
            assert_eq!(found.verdict, verdict, "{name}");
        }
    }

    #[test]
    fn a_no_outside_an_epoch_takes_back_the_yes_before_it_and_counts_for_nothing_itself() {
        let d = Sha256Hex::of(b"manifest");
        let outside = |decision, at| ReviewFact {
            epoch: None,
            ..review("bob", decision, &d, at)
        };
        let (bob, carol) = (
            review("bob", Approve, &d, 1),
            review("carol", Approve, &d, 1),
        );
        for (later, counted, verdict) in [
            (outside(Reject, 2), 1, None),
            (outside(RequestChanges, 2), 1, None),
            (outside(Approve, 2), 2, Some(Verdict::Approved)),
            (outside(Reject, 0), 2, Some(Verdict::Approved)),
        ] {
            let found = ask(&d, &[bob.clone(), carol.clone(), later.clone()]);
            assert_eq!(found.counted.len(), counted, "{later:?}");
            assert_eq!(found.verdict, verdict, "{later:?}");
            assert_eq!(found.not_counted[&later.uid], NotCounted::OutsideEpoch);
        }
    }

    proptest! {
        #[test]
        fn nothing_is_approved_without_enough_distinct_others(
            picks in prop::collection::vec((0..4_usize, 0..3_usize, 0..2_usize, 0..4_i64, 0..4_i64, 0..3_i64), 0..12),
            required in -1..4_i64,
            require_viewed: bool,
            listed in prop::option::of(prop::collection::btree_set((0..4_usize).prop_map(|w| ["alice", "bob", "carol", "dan"][w].to_owned()), 0..4)),
        ) {
            let d = Sha256Hex::of(b"manifest");
            let old = Sha256Hex::of(b"older manifest");
            let who = ["alice", "bob", "carol", "dan"];
            let what = [Approve, RequestChanges, Reject];
            let reviews: Vec<ReviewFact> = picks.iter()
                .map(|&(w, x, y, t, viewed, epoch)| ReviewFact {
                    uid: format!("{w}-{x}-{y}-{t}-{viewed}-{epoch}"),
                    viewed,
                    epoch: (epoch > 0).then_some(epoch),
                    ..review(who[w], what[x], if y == 0 { &d } else { &old }, t)
                })
                .collect();
            let quorum = Quorum { required, reviewers: listed.clone(), require_viewed, fold_names: false };
            let question = Question { digest: &d, submitter: "alice", created_by: None, quorum: &quorum, files: 3 };
            let found = judge(&question, &reviews);
            if found.verdict == Some(Verdict::Approved) {
                let yes: std::collections::BTreeSet<_> = reviews.iter()
                    .filter(|r| r.decision == Approve && r.reviewer != "alice" && r.manifest_digest == d.as_str())
                    .filter(|r| r.epoch.is_some() && (!require_viewed || r.viewed >= 3))
                    .filter(|r| listed.as_ref().is_none_or(|l| l.contains(&r.reviewer)))
                    .map(|r| r.reviewer.clone()).collect();
                prop_assert!(i64::try_from(yes.len()).unwrap() >= required.max(1));
            }
            let mut shuffled = reviews.clone();
            shuffled.reverse();
            prop_assert_eq!(judge(&question, &shuffled), found);
        }
    }

    #[test]
    fn every_reason_is_its_own_word_and_says_what_to_do() {
        let (d, quorum) = (Sha256Hex::of(b"manifest"), two());
        let (question, review) = (question(&d, &quorum), review("bob", Approve, &d, 1));
        for (why, hint) in [
            (NotCounted::OtherDigest, "names this digest"),
            (NotCounted::Submitter, "somebody else"),
            (NotCounted::NotAmongReviewers, "ask one of those"),
            (NotCounted::Superseded, "later review"),
            (NotCounted::NotViewed, "3 of 3"),
            (NotCounted::SamePerson, "somebody else has to approve"),
            (NotCounted::OutsideEpoch, "create it again"),
            (NotCounted::NoReviewer, "create it again"),
        ] {
            assert_eq!(why.reason(), format!("{why:?}"));
            let said = why.message(&question, &review);
            assert!(said.contains(hint), "{said}");
        }
    }

    #[test]
    fn an_approval_is_derived_from_the_decision_on_this_manifest_and_its_reviews() {
        use crate::examples;
        let frozen = examples::frozen(1);
        let yes = |who| examples::review(who, "Approve", &frozen);
        let decision = examples::decision("Approved", &frozen, &[yes("bob")]);
        let of = |decision: &Decision| approve(frozen.clone(), decision).map(|a| a.get().clone());
        assert_eq!(of(&decision), Ok(frozen.clone()));
        let other = |change: fn(&mut Decision)| {
            let mut other = decision.clone();
            change(&mut other);
            of(&other)
        };
        let digest = NotApproved::OtherManifest;
        assert_eq!(other(|d| d.manifest_digest = None), Err(digest));
        assert_eq!(other(|d| d.round = 2), Err(digest));
        assert_eq!(
            other(|d| d.manifest_digest = Some(Sha256Hex::of(b"other"))),
            Err(digest)
        );
        let verdict = Err(NotApproved::OtherVerdict);
        assert_eq!(other(|d| d.verdict = Verdict::Returned), verdict);
        let none = Err(NotApproved::NoQuorum);
        assert_eq!(other(|d| d.reviews.clear()), none);
        assert_eq!(other(|d| d.quorum.required = 2), none);
        assert_eq!(other(|d| d.reviews[0].reviewer = "alice".into()), none);
        // The manifest has two files.
        assert_eq!(other(|d| d.quorum.require_viewed = true), none);
        let read = other(|d| {
            d.quorum.require_viewed = true;
            d.reviews[0].viewed = 2;
        });
        assert_eq!(read, Ok(frozen.clone()));
    }
}
