//! Every order of events, to a stated depth: people act, two leaders observe and
//! act on what they observed, and only create-only commits decide between them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::Timestamp;

use super::*;
use crate::commit::{PackageFact, Recall, Refusal, Revoked, RevokedThrough, SealedBecause, Terms};
use crate::digest::Sha256Hex;
use crate::format::Kept;
use crate::frozen::FrozenRound;
use crate::manifest::{Manifest, PolicyRef};
use crate::policy::Rules;
use crate::quorum::{Question, Quorum, ReviewFact, approve, judge};
use trevor_api::{Direction, Publisher, ReviewDecision};

const QUORUM: Quorum = Quorum {
    required: 2,
    reviewers: None,
    require_viewed: false,
    fold_names: false,
};

/// Whose reviews are made while the admission rules are away.
const FORGED: &str = "mallory";

#[derive(Clone, Debug, Default)]
struct Store {
    rounds: BTreeMap<i64, Round>,
    closed: Option<Closed>,
    revoked: Option<Revoked>,
    /// The package and its URLs lie outside.
    outside: bool,
}

/// What a leader observed: facts, wish, reviews, and whether files were there.
type Seen = (Facts, Wish, Vec<ReviewFact>, bool);

#[derive(Clone, Debug, Default)]
struct World {
    store: Store,
    submission: i64,
    stop: bool,
    recall: Option<i64>,
    /// Somebody who may asks to take the release back.
    revoke: bool,
    files: bool,
    reviews: Vec<ReviewFact>,
    /// What each leader observed: facts, wish, reviews.
    seen: [Option<Seen>; 2],
}

fn policy() -> PolicyRef {
    PolicyRef {
        name: "default".into(),
        digest: Sha256Hex::of(b"policy"),
    }
}

fn terms() -> Terms {
    Terms {
        license: String::new(),
        publisher: Publisher::default(),
        names_reviewers: false,
        url_ttl_seconds: 60,
        quarantine_retention_seconds: 60,
        release_retention_seconds: 60,
    }
}

fn manifest(round: i64) -> Manifest {
    Manifest {
        format: 1,
        folders: Vec::new(),
        uploads: None,
        namespace: "a".into(),
        name: "r".into(),
        uid: "u".into(),
        round,
        direction: Direction::Egress,
        submitter: "alice".into(),
        created_by: None,
        policy: policy(),
        previous: None,
        changes: None,
        title: "t".into(),
        description: String::new(),
        authors: Vec::new(),
        recipients: Vec::new(),
        delivery: None,
        files: Vec::new(),
    }
}

fn facts(store: &Store) -> Facts {
    let last = store.rounds.values().rev().find(|r| r.seal.is_some());
    Facts {
        last: last.cloned(),
        closed: store.closed.clone(),
        revoked: store.revoked.clone(),
        ..Facts::default()
    }
}

impl World {
    fn wish(&self) -> Wish {
        Wish {
            submission: self.submission,
            stop: self.stop,
            recall: self.recall,
            revoke: self.revoke,
        }
    }

    fn phase(&self) -> Phase {
        standing(&facts(&self.store), self.wish()).0
    }

    /// What people may do now; admission and CEL allow no more.
    fn people(&self) -> Vec<World> {
        let mut next = Vec::new();
        let phase = self.phase();
        let round = facts(&self.store).last.map_or(0, |r| r.round);
        let open = matches!(
            phase,
            Phase::Draft | Phase::ChangesRequested | Phase::Failed
        );
        if open && self.submission == round && self.submission < 2 && !self.stop {
            let mut world = self.clone();
            world.submission += 1;
            next.push(world);
        }
        if !self.stop {
            let mut world = self.clone();
            world.stop = true;
            next.push(world);
        }
        if matches!(phase, Phase::Submitted | Phase::InReview)
            && self.recall != Some(self.submission)
        {
            let mut world = self.clone();
            world.recall = Some(self.submission);
            next.push(world);
        }
        // It is asked for after the release only; before it there is nothing to revoke.
        if phase == Phase::Released && !self.revoke {
            let mut world = self.clone();
            world.revoke = true;
            next.push(world);
        }
        if !self.files {
            let mut world = self.clone();
            world.files = true;
            next.push(world);
        }
        if let Some(frozen) = facts(&self.store).last.and_then(|r| r.frozen()) {
            for (who, what) in [
                ("alice", ReviewDecision::Approve),
                ("bob", ReviewDecision::Approve),
                ("carol", ReviewDecision::Approve),
                (FORGED, ReviewDecision::Approve),
                ("bob", ReviewDecision::RequestChanges),
                ("carol", ReviewDecision::Reject),
            ] {
                let uid = format!("{who}-{what:?}-{}", frozen.manifest.round);
                if self.reviews.iter().any(|r| r.uid == uid) {
                    continue;
                }
                let mut world = self.clone();
                world.reviews.push(ReviewFact {
                    name: uid.clone(),
                    uid,
                    reviewer: who.into(),
                    decision: what,
                    manifest_digest: frozen.digest.to_string(),
                    time: Timestamp::UNIX_EPOCH,
                    viewed: 0,
                    epoch: (who != FORGED).then_some(1),
                });
                next.push(world);
            }
        }
        next
    }

    fn observe(&self, leader: usize) -> World {
        let mut world = self.clone();
        world.seen[leader] = Some((
            facts(&self.store),
            self.wish(),
            self.reviews.clone(),
            self.files,
        ));
        world
    }

    /// One effect of a leader, on what it observed however long ago.
    fn act(&self, leader: usize) -> Option<World> {
        let (facts, wish, reviews, files) = self.seen[leader].clone()?;
        let mut world = self.clone();
        world.seen[leader] = None;
        let step = next(&facts, wish);
        let store = &mut world.store;
        let round_of = |store: &mut Store, round: i64| -> Round {
            store.rounds.get(&round).cloned().unwrap_or(Round {
                round,
                ..Round::default()
            })
        };
        let frozen = facts.last.as_ref().and_then(Round::frozen);
        let now = Timestamp::UNIX_EPOCH;
        match step {
            Next::Rest => return None,
            Next::Gather { round } | Next::Seal { round, .. } => {
                let because = match step {
                    Next::Seal {
                        ended: Ended::Recalled,
                        ..
                    } => SealedBecause::Recalled(recall(round)),
                    Next::Seal { .. } => SealedBecause::Withdrawn,
                    _ if files => SealedBecause::Complete,
                    _ => SealedBecause::UploadExpired,
                };
                let mut slot = round_of(store, round);
                slot.seal.get_or_insert(Seal {
                    round,
                    policy: policy(),
                    rules: Kept::of(Rules::of(Direction::Egress, None)),
                    because,
                    time: now,
                });
                store.rounds.insert(round, slot);
            }
            Next::Freeze {
                round,
                refuse: ended,
            } => {
                let mut slot = round_of(store, round);
                let refuse = |reason: &str| {
                    FrozenRound::of(Freeze::Refusal(Refusal {
                        round,
                        reason: reason.into(),
                        message: String::new(),
                        listing: Vec::new(),
                        recalled: None,
                        previous: None,
                    }))
                    .unwrap()
                };
                slot.freeze.get_or_insert(match ended {
                    Some(Ended::Withdrawn) => refuse(reason::WITHDRAWN),
                    Some(Ended::Recalled) => refuse(reason::RECALLED),
                    Some(Ended::UploadExpired) => refuse(reason::UPLOAD_EXPIRED),
                    Some(Ended::CollectionFailed) => refuse(reason::COLLECTION_FAILED),
                    None if files => {
                        FrozenRound::of(Freeze::Manifest(manifest(round).into())).unwrap()
                    }
                    None => refuse(reason::SUBMISSION_REFUSED),
                });
                store.rounds.insert(round, slot);
            }
            Next::Withdraw { round } | Next::Recall { round } | Next::Review { round } => {
                let recalled = matches!(step, Next::Recall { .. });
                let verdict = if wish.stop {
                    Some((Verdict::Withdrawn, Vec::new()))
                } else if recalled {
                    Some((Verdict::Returned, Vec::new()))
                } else {
                    frozen.as_ref().and_then(|frozen| {
                        let judged = judge(&question(&frozen.digest), &reviews);
                        Some((judged.verdict?, judged.counted))
                    })
                };
                let (verdict, reviews) = verdict?;
                let mut slot = round_of(store, round);
                slot.decision.get_or_insert(Decision {
                    round,
                    verdict,
                    manifest_digest: frozen.map(|f| f.digest),
                    policy: policy(),
                    quorum: QUORUM,
                    reviews,
                    recalled: recalled.then(|| recall(round)),
                    terms: terms(),
                    time: now,
                });
                store.rounds.insert(round, slot);
            }
            Next::Release { round } => {
                let frozen = frozen?;
                let judged = judge(&question(&frozen.digest), &reviews);
                let kind = if wish.stop {
                    OutcomeKind::Withdrawn
                } else if wish.submission > round {
                    OutcomeKind::Returned
                } else {
                    match judged.verdict {
                        Some(Verdict::Rejected) => OutcomeKind::Rejected,
                        Some(Verdict::Returned) => OutcomeKind::Returned,
                        _ => OutcomeKind::Released,
                    }
                };
                let decision = facts.last.as_ref().and_then(|l| l.decision.clone())?;
                // The type is the gate: without it there is nothing to release.
                let approved = approve(frozen, &decision).ok()?;
                let package = (kind == OutcomeKind::Released).then(|| PackageFact {
                    bucket: "r".into(),
                    key: "k".into(),
                    sha256: approved.get().digest.clone(),
                    size: 1,
                    files: 1,
                    attempt: 1,
                });
                let mut slot = round_of(store, round);
                slot.outcome.get_or_insert(Outcome {
                    round,
                    kind,
                    package,
                    files: None,
                    reviews: Vec::new(),
                    time: now,
                });
                store.outside |= kind == OutcomeKind::Released && store.revoked.is_none();
                store.rounds.insert(round, slot);
            }
            Next::Revoke { round } => {
                if self.store.revoked.is_some() && !self.store.outside && facts.closed.is_some() {
                    return None;
                }
                store.revoked.get_or_insert(Revoked {
                    by: "alice".into(),
                    through: RevokedThrough::Withdrawal,
                    reason: None,
                    time: now,
                });
                store.outside = false;
                store
                    .closed
                    .get_or_insert(closed(ClosedAs::Released, round));
            }
            Next::Deliver { round } | Next::Close { round, .. } => {
                // A late leader makes a URL again, and looks at the revocation last.
                store.outside |= matches!(step, Next::Deliver { .. }) && facts.closed.is_none();
                store.outside &= store.revoked.is_none();
                if self.store.closed.is_some() {
                    return None;
                }
                let closed_as = match step {
                    Next::Close { closed_as, .. } => closed_as,
                    _ => ClosedAs::Released,
                };
                store.closed = Some(closed(closed_as, round));
            }
        }
        Some(world)
    }

    fn check(&self) {
        if self.store.revoked.is_some() {
            assert_eq!(self.phase(), Phase::Revoked, "a path back: {self:?}");
            assert!(!self.store.outside, "revoked, and outside: {self:?}");
            let last = self.store.rounds.values().next_back().and_then(Round::end);
            assert_eq!(last, Some(End::Closed(ClosedAs::Released)), "{self:?}");
        }
        for round in self.store.rounds.values() {
            let Some(outcome) = &round.outcome else {
                continue;
            };
            if outcome.kind != OutcomeKind::Released {
                continue;
            }
            let frozen = round.frozen().expect("released without a manifest");
            let yes: BTreeSet<&str> = self
                .reviews
                .iter()
                .filter(|r| {
                    r.decision == ReviewDecision::Approve
                        && r.reviewer != "alice"
                        && r.epoch.is_some()
                        && r.manifest_digest == frozen.digest.as_str()
                })
                .map(|r| r.reviewer.as_str())
                .collect();
            assert!(yes.len() >= 2, "released without the quorum: {self:?}");
            assert_eq!(
                outcome.package.as_ref().map(|p| &p.sha256),
                Some(&frozen.digest)
            );
        }
        let sealed_after_end = self
            .store
            .rounds
            .values()
            .zip(self.store.rounds.values().skip(1));
        for (before, _) in sealed_after_end {
            assert_eq!(
                before.end(),
                Some(End::Returned),
                "a round after one that did not end"
            );
        }
        if let Some(closed) = &self.store.closed {
            let last = self.store.rounds.values().next_back().and_then(Round::end);
            assert_eq!(last, Some(End::Closed(closed.closed_as)));
        }
    }

    /// With nobody else acting, one leader goes on until it waits for people;
    /// then every state that is not closed has a way on.
    fn settles(&self) -> World {
        let mut world = self.clone();
        for _ in 0..20 {
            match world.observe(0).act(0) {
                Some(next) => world = next,
                None => return world,
            }
        }
        panic!("a leader never comes to rest: {self:?}");
    }
}

fn question(digest: &Sha256Hex) -> Question<'_> {
    Question {
        digest,
        submitter: "alice",
        created_by: None,
        quorum: &QUORUM,
        files: 0,
    }
}

fn closed(closed_as: ClosedAs, round: i64) -> Closed {
    Closed {
        closed_as,
        round,
        time: Timestamp::UNIX_EPOCH,
        quarantine_due: Timestamp::UNIX_EPOCH,
        release_due: None,
        policy: policy(),
    }
}

fn recall(round: i64) -> Recall {
    Recall {
        more: Default::default(),
        action: "recall".into(),
        uid: "a".into(),
        actor: "alice".into(),
        round,
        time: Timestamp::UNIX_EPOCH,
    }
}

#[test]
fn no_order_of_events_releases_without_the_quorum_and_every_state_has_an_exit() {
    assert!(explore(World::default(), 8, &ENDS) > 5_000);
}

#[test]
#[ignore = "a minute; make test-long"]
fn no_longer_order_of_events_does_either() {
    assert!(explore(World::default(), 10, &ENDS) > 50_000);
}

#[test]
fn in_every_order_of_events_what_is_revoked_stays_so_and_nothing_of_it_outside() {
    let mut world = World {
        submission: 1,
        files: true,
        ..World::default()
    };
    while world.phase() != Phase::InReview {
        world = world.observe(0).act(0).unwrap();
    }
    for who in ["bob", "carol"] {
        let people = world.people();
        let approves = format!("{who}-Approve-1");
        let found = people
            .into_iter()
            .find(|w| w.reviews.iter().any(|r| r.uid == approves));
        world = found.unwrap();
    }
    while world.phase() != Phase::Releasing && world.phase() != Phase::Approved {
        world = world.observe(0).act(0).unwrap();
    }
    assert!(explore(world, 5, &["Released", "Revoked"]) > 1_000);
}

const ENDS: [&str; 4] = ["Released", "Rejected", "Withdrawn", "ChangesRequested"];

/// Visits every state up to a depth from the start; returns how many. The phases
/// that are named must be among them.
fn explore(start: World, depth_limit: usize, wanted: &[&str]) -> usize {
    let mut known = BTreeSet::new();
    let mut queue = VecDeque::from([(start, 0)]);
    let mut phases = BTreeSet::new();
    while let Some((world, depth)) = queue.pop_front() {
        if !known.insert(Sha256Hex::of(format!("{world:?}").as_bytes())) {
            continue;
        }
        world.check();
        phases.insert(world.phase().to_string());
        let rested = world.settles();
        if rested.revoke {
            assert_eq!(rested.phase(), Phase::Revoked, "not revoked: {world:?}");
        }
        let mut taken_back = rested.clone();
        taken_back.stop = true;
        assert!(
            taken_back.settles().store.closed.is_some(),
            "taken back, and not closed: {world:?}"
        );
        if depth == depth_limit {
            continue;
        }
        let steps = world
            .people()
            .into_iter()
            .chain([0, 1].into_iter().flat_map(|l| {
                let at_once = world.observe(l).act(l);
                [Some(world.observe(l)), world.act(l), at_once]
                    .into_iter()
                    .flatten()
            }));
        let steps: Vec<World> = steps.collect();
        let revoked = world.store.revoked.is_some();
        for next in &steps {
            assert!(
                !revoked || next.store.revoked.is_some(),
                "a path back from Revoked: {world:?}"
            );
        }
        queue.extend(steps.into_iter().map(|next| (next, depth + 1)));
    }
    println!(
        "{} states to depth {depth_limit}, phases {phases:?}",
        known.len()
    );
    for phase in wanted {
        assert!(phases.contains(*phase), "{phase} was not reached");
    }
    known.len()
}

#[test]
fn the_round_that_takes_uploads_follows_phase_and_submission() {
    let rows = [
        (None, 0, 0, Some(1)),
        (None, 0, 3, Some(3)),
        (Some(Phase::Draft), 0, 0, Some(1)),
        (Some(Phase::Submitted), 1, 1, Some(1)),
        (Some(Phase::ChangesRequested), 1, 1, Some(2)),
        (Some(Phase::ChangesRequested), 1, 2, Some(2)),
        (Some(Phase::Failed), 2, 2, Some(3)),
        (Some(Phase::InReview), 1, 1, None),
        (Some(Phase::Released), 1, 1, None),
        (Some(Phase::Withdrawn), 1, 1, None),
    ];
    for (phase, round, submission, open) in rows {
        assert_eq!(
            open_round(phase, round, submission),
            open,
            "{phase:?} {round} {submission}"
        );
    }
}
