use std::collections::BTreeSet;

use super::*;
use crate::ledger::events;
use trevor_api::Phase;
use trevor_core::commit::{Attempt, AttemptFailure};
use trevor_core::examples;
use trevor_core::keys::RequestKey;
use trevor_core::phase::{self, Facts, Round, Wish};
use trevor_core::retry::{NEEDS_A_PERSON, Try, next_try};

const UID: &str = "u-1";

#[tokio::test(start_paused = true)]
async fn only_the_success_of_a_thing_ends_the_memory_of_its_failures() {
    let retries = Retries::default();
    for _ in 0..6 {
        retries.failed(UID, Thing::Release(1));
        retries.failed(UID, Thing::Status);
    }
    for other in [
        Thing::Status,
        Thing::Look,
        Thing::Release(2),
        Thing::Effect("release::release"),
        Thing::Renewal("a".to_owned()),
    ] {
        retries.succeeded(UID, &other);
    }
    retries.succeeded("u-2", &Thing::Release(1));
    assert_eq!(retries.failures(UID, &Thing::Release(1)), 6);
    assert_eq!(retries.failures(UID, &Thing::Status), 0);
    retries.succeeded(UID, &Thing::Release(1));
    assert_eq!(retries.failures(UID, &Thing::Release(1)), 0);
    assert_eq!(retries.rests(UID, &Thing::Release(1)), None);
}

#[tokio::test(start_paused = true)]
async fn a_thing_rests_for_its_pause_and_says_why() {
    let retries = Retries::default();
    let why = Why {
        reason: "StorageUnavailable",
        message: "away".to_owned(),
    };
    let pause = retries.failed_for(UID, Thing::Release(1), PASSING, why.clone());
    let (left, said) = retries.rests(UID, &Thing::Release(1)).unwrap();
    assert!(left <= pause && said == why);
    assert_eq!(retries.rests(UID, &Thing::Look), None);
    tokio::time::advance(pause).await;
    assert_eq!(retries.rests(UID, &Thing::Release(1)), None);
    assert_eq!(
        retries.failures(UID, &Thing::Release(1)),
        1,
        "it is still known"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_is_bounded() {
    let retries = Retries::default();
    for n in 0..REMEMBERED + 10 {
        retries.failed(&n.to_string(), Thing::Look);
    }
    assert!(held(&retries.0).len() <= REMEMBERED);
}

/// A release that cannot be, tried whenever it may be: what an hour costs.
struct Hour {
    tries: usize,
    entries: BTreeSet<String>,
    phases: Vec<Phase>,
    facts: usize,
    round: Round,
}

impl Hour {
    /// The steps that a look takes, in the order of `effects::release`.
    async fn lasts(mut self, schedule: Schedule, person: bool) -> Self {
        let (retries, began) = (Retries::default(), Instant::now());
        let thing = Thing::Release(1);
        let mut unsent = None;
        while began.elapsed() < Duration::from_secs(3600) {
            // Looks come more often than it may be tried, and end well.
            retries.succeeded(UID, &Thing::Look);
            retries.succeeded(UID, &Thing::Effect("release::release"));
            retries.succeeded(UID, &Thing::Status);
            if retries.rests(UID, &thing).is_none() {
                self.tries += 1;
                match next_try(&self.round.attempts, unsent, "me", 1) {
                    Try::Again(_) => {}
                    Try::Anew => {
                        let number = self.round.attempts.len() + 1;
                        self.round.attempts.push(attempt(number));
                        self.round.failure = None;
                        self.facts += 1;
                    }
                    Try::Exhausted => panic!("so many attempts"),
                }
                self.seen();
                let last = self.round.attempts.last().unwrap().attempt;
                unsent = Some(last);
                if person && self.round.failure.is_none() {
                    self.round.failure = Some(failure(last));
                    self.facts += 1;
                }
                retries.failed_for(UID, thing.clone(), schedule, Why::default());
            }
            self.seen();
            tokio::time::advance(Duration::from_millis(500)).await;
        }
        self
    }

    fn seen(&mut self) {
        let facts = Facts {
            last: Some(self.round.clone()),
            ..Facts::default()
        };
        let key = RequestKey {
            namespace: "a".to_owned(),
            uid: UID.to_owned(),
        };
        self.entries.extend(events(&key, &facts).into_keys());
        let wish = Wish {
            submission: 1,
            stop: false,
            recall: None,
            revoke: false,
        };
        let phase = phase::standing(&facts, wish).0;
        if self.phases.last() != Some(&phase) {
            self.phases.push(phase);
        }
    }
}

fn attempt(number: usize) -> Attempt {
    let attempt = serde_json::json!({"attempt": number, "key": "k", "term": 1, "holder": "me",
        "packager": "p", "time": "1970-01-01T00:00:00Z"});
    serde_json::from_value(attempt).unwrap()
}

fn failure(attempt: i64) -> AttemptFailure {
    let failure = serde_json::json!({"attempt": attempt, "reason": "StorageNotEncrypted",
        "message": "", "time": "1970-01-01T00:00:00Z"});
    serde_json::from_value(failure).unwrap()
}

fn approved() -> Hour {
    let freeze = examples::freeze(1, &[examples::file("a.csv", "x")]);
    let frozen = freeze.frozen().unwrap();
    let round = Round {
        freeze: Some(freeze),
        decision: Some(examples::decision("Approved", &frozen, &[])),
        ..examples::sealed(1, &serde_json::json!("Complete"))
    };
    Hour {
        tries: 0,
        entries: BTreeSet::new(),
        phases: Vec::new(),
        facts: 0,
        round,
    }
}

#[tokio::test(start_paused = true)]
async fn an_hour_without_the_release_bucket_costs_tens_of_tries_and_one_fact() {
    let hour = approved().lasts(PASSING, false).await;
    // Each try is one line of the log; an Event comes with a phase alone.
    assert!((10..60).contains(&hour.tries), "{} tries", hour.tries);
    assert_eq!(hour.facts, 1);
    assert_eq!(hour.phases, [Phase::Releasing]);
    let attempts = hour.entries.iter().filter(|id| id.contains("attempt"));
    assert_eq!(attempts.count(), 1, "{:?}", hour.entries);
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_what_a_person_must_mend_is_told_once() {
    let hour = approved().lasts(NEEDS_A_PERSON, true).await;
    assert!((3..20).contains(&hour.tries), "{} tries", hour.tries);
    assert_eq!(hour.facts, 2, "the attempt, and why it failed");
    assert_eq!(hour.phases, [Phase::Releasing, Phase::Failed]);
    let failed = hour.entries.iter().filter(|id| id.contains("failed"));
    assert_eq!(failed.count(), 1, "{:?}", hour.entries);
}
