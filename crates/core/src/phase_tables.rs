//! Phase and next step of every kind of round, one row each.

use serde_json::{from_value, json};

use super::*;
use crate::examples::{self, decision, file, freeze, frozen, refusal};

const WISH: Wish = Wish {
    submission: 1,
    stop: false,
    recall: None,
    revoke: false,
};
const STOP: Wish = Wish { stop: true, ..WISH };
const RECALL: Wish = Wish {
    recall: Some(1),
    ..WISH
};
const AGAIN: Wish = Wish {
    submission: 2,
    ..WISH
};

fn sealed() -> Round {
    examples::sealed(1, &json!("Complete"))
}

fn refused(reason: &str) -> Round {
    Round {
        freeze: Some(refusal(1, reason)),
        ..sealed()
    }
}

fn in_review() -> Round {
    Round {
        freeze: Some(freeze(1, &[file("a.csv", "x"), file("b.csv", "yz")])),
        ..sealed()
    }
}

fn decided(verdict: &str) -> Round {
    Round {
        decision: Some(decision(verdict, &frozen(1), &[])),
        ..in_review()
    }
}

fn tried() -> Round {
    let attempt = json!({"attempt": 1, "key": "k", "term": 1, "holder": "h", "packager": "p",
        "time": "1970-01-01T00:00:00Z"});
    Round {
        attempts: vec![from_value(attempt).unwrap()],
        ..decided("Approved")
    }
}

fn failed() -> Round {
    let failure = json!({"attempt": 1, "reason": "PackageImpossible", "message": "",
        "time": "1970-01-01T00:00:00Z"});
    Round {
        failure: Some(from_value(failure).unwrap()),
        ..tried()
    }
}

fn ended(kind: &str) -> Round {
    Round {
        outcome: Some(examples::outcome(kind, 1, &[])),
        ..tried()
    }
}

fn of(round: Round) -> Facts {
    Facts {
        last: Some(round),
        ..Facts::default()
    }
}

fn revoked(facts: Facts) -> Facts {
    let revoked =
        json!({"by": "alice", "through": {"kind": "Withdrawal"}, "time": "1970-01-01T00:00:00Z"});
    Facts {
        revoked: Some(from_value(revoked).unwrap()),
        ..facts
    }
}

#[test]
fn every_kind_of_round_has_one_end_one_phase_and_one_next_step() {
    const CLOSED: fn(ClosedAs) -> Option<End> = |closed_as| Some(End::Closed(closed_as));
    let (returned, round) = (Some(End::Returned), 1);
    let close = |closed_as| Next::Close { round, closed_as };
    let complete = Next::Freeze {
        round,
        refuse: None,
    };
    for (name, facts, end, phase, step) in [
        ("sealed", sealed(), None, Phase::Submitted, complete),
        (
            "refused because it is withdrawn",
            refused(reason::WITHDRAWN),
            None,
            Phase::Submitted,
            Next::Withdraw { round },
        ),
        (
            "refused",
            refused(reason::SUBMISSION_REFUSED),
            returned,
            Phase::ChangesRequested,
            Next::Rest,
        ),
        (
            "frozen",
            in_review(),
            None,
            Phase::InReview,
            Next::Review { round },
        ),
        (
            "approved",
            decided("Approved"),
            None,
            Phase::Approved,
            Next::Release { round },
        ),
        (
            "returned",
            decided("Returned"),
            returned,
            Phase::ChangesRequested,
            Next::Rest,
        ),
        (
            "rejected",
            decided("Rejected"),
            CLOSED(ClosedAs::Rejected),
            Phase::Rejected,
            close(ClosedAs::Rejected),
        ),
        (
            "withdrawn",
            decided("Withdrawn"),
            CLOSED(ClosedAs::Withdrawn),
            Phase::Withdrawn,
            close(ClosedAs::Withdrawn),
        ),
        (
            "tried",
            tried(),
            None,
            Phase::Releasing,
            Next::Release { round },
        ),
        (
            "failed",
            failed(),
            None,
            Phase::Failed,
            Next::Release { round },
        ),
        (
            "released",
            ended("Released"),
            CLOSED(ClosedAs::Released),
            Phase::Released,
            Next::Deliver { round },
        ),
        (
            "returned late",
            ended("Returned"),
            returned,
            Phase::ChangesRequested,
            Next::Rest,
        ),
        (
            "rejected late",
            ended("Rejected"),
            CLOSED(ClosedAs::Rejected),
            Phase::Rejected,
            close(ClosedAs::Rejected),
        ),
        (
            "withdrawn late",
            ended("Withdrawn"),
            CLOSED(ClosedAs::Withdrawn),
            Phase::Withdrawn,
            close(ClosedAs::Withdrawn),
        ),
    ] {
        assert_eq!(facts.end(), end, "{name}");
        let facts = of(facts);
        assert_eq!(standing(&facts, WISH), (phase, 1), "{name}");
        assert_eq!(next(&facts, WISH), step, "{name}");
        let gone = revoked(facts.clone());
        assert_eq!(standing(&gone, WISH), (Phase::Revoked, 1), "{name}");
        // Only what was returned may be submitted anew.
        let anew = if end == returned {
            (Phase::Submitted, 2)
        } else {
            (phase, 1)
        };
        assert_eq!(standing(&facts, AGAIN), anew, "{name}");
    }
}

#[test]
fn before_the_first_seal_the_submission_decides() {
    let none = Facts::default();
    let draft = Wish {
        submission: 0,
        ..WISH
    };
    assert_eq!(standing(&none, draft), (Phase::Draft, 0));
    assert_eq!(standing(&none, WISH), (Phase::Submitted, 1));
    assert_eq!(standing(&revoked(none.clone()), WISH), (Phase::Revoked, 0));
    assert_eq!(next(&none, draft), Next::Rest);
    assert_eq!(next(&none, WISH), Next::Gather { round: 1 });
    let seal = |round, ended| Next::Seal { round, ended };
    assert_eq!(next(&none, RECALL), seal(1, Ended::Recalled));
    assert_eq!(next(&none, STOP), seal(1, Ended::Withdrawn));
    let stop = Wish {
        submission: 0,
        ..STOP
    };
    assert_eq!(next(&none, stop), seal(1, Ended::Withdrawn));
}

#[test]
fn after_a_returned_round_the_next_one_is_open() {
    let facts = of(Round {
        round: 2,
        ..decided("Returned")
    });
    let wish = |submission| Wish { submission, ..WISH };
    assert_eq!(next(&facts, wish(2)), Next::Rest);
    assert_eq!(next(&facts, wish(3)), Next::Gather { round: 3 });
    let stop = Wish {
        stop: true,
        ..wish(2)
    };
    let withdrawn = Next::Seal {
        round: 3,
        ended: Ended::Withdrawn,
    };
    assert_eq!(next(&facts, stop), withdrawn);
    // A recall of another round is none of this one.
    let recall = |round| Wish {
        recall: Some(round),
        ..wish(3)
    };
    assert_eq!(next(&facts, recall(2)), Next::Gather { round: 3 });
    let recalled = Next::Seal {
        round: 3,
        ended: Ended::Recalled,
    };
    assert_eq!(next(&facts, recall(3)), recalled);
}

#[test]
fn a_sealed_round_is_refused_as_its_seal_says_or_as_was_asked_since() {
    let recalled = json!({"Recalled": {"action": "a", "uid": "u", "actor": "alice", "round": 1,
        "time": "1970-01-01T00:00:00Z"}});
    for (because, wish, ended) in [
        (json!("Complete"), WISH, None),
        (json!("Complete"), RECALL, Some(Ended::Recalled)),
        (json!("Complete"), STOP, Some(Ended::Withdrawn)),
        (json!({"Mismatch": ["a"]}), WISH, None),
        (json!({"Mismatch": ["a"]}), RECALL, Some(Ended::Recalled)),
        (json!("UploadExpired"), WISH, Some(Ended::UploadExpired)),
        (json!("UploadExpired"), STOP, Some(Ended::Withdrawn)),
        (
            json!({"CollectionFailed": {"message": "m"}}),
            WISH,
            Some(Ended::CollectionFailed),
        ),
        (
            json!({"CollectionFailed": {"message": "m"}}),
            STOP,
            Some(Ended::Withdrawn),
        ),
        (json!("Withdrawn"), WISH, Some(Ended::Withdrawn)),
        (recalled, WISH, Some(Ended::Recalled)),
    ] {
        let expected = Next::Freeze {
            round: 1,
            refuse: ended,
        };
        let facts = of(examples::sealed(1, &because));
        assert_eq!(next(&facts, wish), expected, "{because} {wish:?}");
    }
}

#[test]
fn a_round_in_review_is_recalled_unless_the_request_is_withdrawn() {
    let facts = of(in_review());
    let review = Next::Review { round: 1 };
    assert_eq!(next(&facts, RECALL), Next::Recall { round: 1 });
    let both = Wish {
        stop: true,
        ..RECALL
    };
    let other = Wish {
        recall: Some(2),
        ..WISH
    };
    for wish in [WISH, STOP, both, other] {
        assert_eq!(next(&facts, wish), review, "{wish:?}");
    }
    let decided = of(decided("Approved"));
    assert_eq!(next(&decided, RECALL), Next::Release { round: 1 });
}

#[test]
fn what_is_released_is_revoked_when_asked_or_when_it_was_begun() {
    let released = || of(ended("Released"));
    let asked = Wish {
        revoke: true,
        ..WISH
    };
    let step = Next::Revoke { round: 1 };
    assert_eq!(next(&released(), asked), step);
    assert_eq!(next(&revoked(released()), WISH), step);
    // Nothing but a release can be revoked.
    let rejected = of(ended("Rejected"));
    assert_eq!(
        next(&rejected, asked),
        Next::Close {
            round: 1,
            closed_as: ClosedAs::Rejected
        }
    );
}

#[test]
fn a_package_is_told_with_its_terms_and_the_time_of_a_release_only() {
    let package = json!({"bucket": "b", "key": "k", "sha256": frozen(1).digest, "size": 1, "files": 1,
        "attempt": 1});
    let package: PackageFact = from_value(package).unwrap();
    let mut round = ended("Released");
    assert_eq!(of(round.clone()).released(), None);
    round.outcome.as_mut().unwrap().package = Some(package.clone());
    let facts = of(round);
    let terms = decision("Approved", &frozen(1), &[]).terms;
    assert_eq!(facts.released(), Some((&package, &terms)));
    assert_eq!(facts.released_time(), Some(Timestamp::UNIX_EPOCH));
    for other in [Facts::default(), of(tried()), of(ended("Returned"))] {
        assert_eq!(other.released_time(), None);
    }
}

#[test]
fn a_round_has_a_manifest_once_it_is_frozen_and_none_when_refused() {
    assert_eq!(in_review().frozen(), Some(frozen(1)));
    assert_eq!(sealed().frozen(), None);
    assert_eq!(refused(reason::SUBMISSION_REFUSED).frozen(), None);
}

#[test]
fn what_crossed_inwards_is_within_reach_until_it_is_deleted() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let of = frozen(1);
    let files = serde_json::json!({"manifestDigest": of.digest, "files": 2, "bytes": 3});
    let released = |files: Option<&serde_json::Value>| {
        let mut outcome = examples::outcome("Released", 1, &[]);
        outcome.files = files.map(|files| serde_json::from_value(files.clone()).unwrap());
        Facts {
            last: Some(Round {
                freeze: in_review().freeze,
                decision: Some(decision("Approved", &of, &[])),
                outcome: Some(outcome),
                ..Round::default()
            }),
            ..Facts::default()
        }
    };
    let inwards = released(Some(&files));
    // Kept for 60 seconds.
    assert_eq!(inwards.within_reach(at(0)), Some(of.clone()));
    assert_eq!(inwards.within_reach(at(59)), Some(of.clone()));
    assert_eq!(inwards.within_reach(at(60)), None);
    assert_eq!(released(None).within_reach(at(0)), None, "a package");
    assert_eq!(Facts::default().within_reach(at(0)), None);
}
