use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::commit::{PackageFact, Revoked, RevokedThrough, SealedBecause};
use crate::examples::{self, decision, frozen, outcome, refusal, review, sealed};
use crate::keys::RequestKey;
use crate::ledger;
use crate::phase::{Facts, Round};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn of(round: Round, revoked: Option<Revoked>) -> Vec<Notice> {
    let key = RequestKey {
        namespace: "a".into(),
        uid: "u".into(),
    };
    let facts = Facts {
        last: Some(round),
        revoked,
        ..Facts::default()
    };
    of_events("a", "u", ledger::events(&key, &facts).values())
}

fn whats(notices: &[Notice]) -> BTreeSet<&str> {
    notices.iter().map(|n| n.what.as_str()).collect()
}

fn in_review(round: i64) -> Round {
    Round {
        freeze: Some(examples::freeze(
            round,
            &[examples::file("a.csv", "x"), examples::file("b.csv", "yz")],
        )),
        ..sealed(round, &json!("Complete"))
    }
}

fn decided(round: i64, verdict: &str) -> Round {
    let of = frozen(round);
    let said = [
        review("bob", "Approve", &of),
        review("carol", "Approve", &of),
        review("erin", "Reject", &of),
    ];
    Round {
        decision: Some(decision(verdict, &of, &said)),
        ..in_review(round)
    }
}

fn released() -> Round {
    let mut fact = outcome("Released", 1, &[]);
    fact.package = Some(PackageFact {
        bucket: "b".into(),
        key: "releases/a/u/nonce/r-1.zip".into(),
        sha256: Sha256Hex::of(b"zip"),
        size: 3,
        files: 2,
        attempt: 1,
    });
    Round {
        outcome: Some(fact),
        ..decided(1, "Approved")
    }
}

fn revoked() -> Revoked {
    Revoked {
        by: "olga".into(),
        through: RevokedThrough::Administrator,
        reason: Some("canary".into()),
        time: at(9),
    }
}

#[test]
fn each_step_of_a_round_is_told_once() {
    let mut failed = decided(2, "Approved");
    failed.failure = serde_json::from_value(json!({"attempt": 3, "reason": "IntegrityMismatch",
        "message": "canary.csv", "time": "1970-01-01T00:00:00Z"}))
    .unwrap();
    let refused = |reason| Round {
        freeze: Some(refusal(1, reason)),
        ..sealed(1, &json!("Complete"))
    };
    let ended = |kind| Round {
        outcome: Some(outcome(kind, 1, &[])),
        ..decided(1, "Approved")
    };
    let expired = Round {
        freeze: Some(refusal(1, reason::UPLOAD_EXPIRED)),
        ..sealed(1, &json!("UploadExpired"))
    };
    let base = ["r1-submitted", "r1-review-wanted"];
    for (round, more) in [
        (in_review(1), &base[..0]),
        (decided(1, "Approved"), &["r1-approved"]),
        (decided(1, "Returned"), &["r1-changes-requested"]),
        (decided(1, "Rejected"), &["r1-rejected"]),
        (decided(1, "Withdrawn"), &["r1-withdrawn"]),
        (ended("Released"), &["r1-approved", "r1-released"]),
        (ended("Returned"), &["r1-approved", "r1-changes-requested"]),
        (ended("Rejected"), &["r1-approved", "r1-rejected"]),
        (ended("Withdrawn"), &["r1-approved", "r1-withdrawn"]),
    ] {
        let found = of(round, None);
        let expected: BTreeSet<&str> = base.iter().chain(more).copied().collect();
        assert_eq!(whats(&found), expected);
        assert_eq!(found.len(), expected.len(), "each once");
    }
    for (round, expected) in [
        (sealed(1, &json!("Complete")), &["r1-submitted"][..]),
        (sealed(1, &json!("Withdrawn")), &[]),
        (
            sealed(1, &json!({"Mismatch": ["canary"]})),
            &["r1-submitted"],
        ),
        (
            refused("SubmissionRefused"),
            &["r1-submitted", "r1-changes-requested"],
        ),
        (refused(reason::WITHDRAWN), &["r1-submitted"]),
        (expired, &["r1-changes-requested"]),
        (
            failed,
            &[
                "r2-submitted",
                "r2-review-wanted",
                "r2-approved",
                "r2-failed-3",
            ],
        ),
    ] {
        assert_eq!(whats(&of(round, None)), expected.iter().copied().collect());
    }
}

#[test]
fn the_same_facts_give_the_same_ids_and_a_later_fact_changes_no_earlier_one() {
    let early = of(in_review(1), None);
    let late = of(released(), Some(revoked()));
    for notice in &early {
        assert!(late.contains(notice), "{notice:?}");
    }
    assert_eq!(of(released(), Some(revoked())), late);
    let ids: BTreeSet<String> = late.iter().map(Notice::id).collect();
    assert_eq!(ids.len(), late.len());
    assert!(ids.contains("u.r1-released") && ids.contains("u.revoked"));
}

#[test]
fn counts_are_those_of_the_round_and_only_approvals_count_as_such() {
    let found = of(released(), None);
    let released = found.iter().find(|n| n.kind == Kind::Released).unwrap();
    let counts = Counts {
        files: Some(2),
        bytes: Some(3),
        approvals: Some(2),
        required: Some(1),
    };
    assert_eq!(released.counts, counts);
    assert_eq!((released.round, released.issue), (Some(1), Some(1)));
    let package = released.package.as_ref().unwrap();
    assert_eq!((package.filename.as_str(), package.size), ("r-1.zip", 3));
    let submitted = found.iter().find(|n| n.kind == Kind::Submitted).unwrap();
    assert_eq!(
        (submitted.counts.files, submitted.counts.approvals),
        (Some(2), None)
    );
}

/// Every word of the facts that a person chose; none is in a notice before release.
#[test]
fn before_release_a_notice_holds_no_word_that_a_person_chose() {
    let mut round = decided(1, "Approved");
    round.freeze = round.freeze.map(|freeze| {
        examples::changed(&freeze, |manifest| {
            manifest.name = "canary".into();
            manifest.title = "canary".into();
            manifest.description = "canary".into();
            manifest.submitter = "canary".into();
            manifest.recipients = vec!["canary@canary.example".into()];
            for file in &mut manifest.files {
                file.path = "canary.csv".into();
                file.description = "canary".into();
                file.justification = "canary".into();
            }
        })
    });
    if let Some(seal) = &mut round.seal {
        seal.because = SealedBecause::Mismatch(vec!["canary".into()]);
    }
    round.failure = serde_json::from_value(json!({"attempt": 1, "reason": "canary",
        "message": "canary", "time": "1970-01-01T00:00:00Z"}))
    .unwrap();
    let notices = of(round, None);
    assert_eq!(notices.len(), 4);
    let text = serde_json::to_string(&notices).unwrap();
    assert!(!text.contains("canary"), "{text}");
    assert!(
        notices
            .iter()
            .all(|n| n.package.is_none() && n.issue.is_none())
    );
}

#[test]
fn a_phase_is_overdue_from_its_limit_on_and_releasing_has_one_notice() {
    let of = |phase, now| overdue(("a", "u"), phase, 2, at(100), at(now)).map(|n| n.id());
    assert_eq!(of(Phase::InReview, 99), None);
    assert_eq!(
        of(Phase::InReview, 100).as_deref(),
        Some("u.r2-overdue-inreview")
    );
    assert_eq!(of(Phase::InReview, 9_999), of(Phase::InReview, 100));
    assert_eq!(of(Phase::Approved, 100), of(Phase::Releasing, 100));
}

#[test]
fn the_ends_of_url_and_window_are_told_in_time() {
    let all = of(released(), None);
    let told = all.iter().find(|n| n.kind == Kind::Released).unwrap();
    let mut life = Lifetime {
        url: Some((1, at(7 * DAY))),
        renewed: false,
        url_seconds: 7 * DAY,
        window_end: at(30 * DAY),
        window_seconds: 30 * DAY,
    };
    let rows = |life: &Lifetime| -> Vec<(String, i64, Option<i64>)> {
        of_lifetime(told, life)
            .into_iter()
            .map(|n| (n.what, n.time.as_second(), n.ends.map(Timestamp::as_second)))
            .collect()
    };
    let window = ("window-ending".to_owned(), 27 * DAY, Some(30 * DAY));
    assert_eq!(
        rows(&life),
        [
            ("url-ending-1".to_owned(), 6 * DAY, Some(7 * DAY)),
            window.clone()
        ]
    );
    (life.url, life.renewed) = (Some((2, at(9 * DAY))), true);
    assert_eq!(
        rows(&life),
        [
            ("url-renewed-2".to_owned(), 2 * DAY, Some(9 * DAY)),
            ("url-ending-2".to_owned(), 8 * DAY, Some(9 * DAY)),
            window.clone()
        ]
    );
    life.url = None;
    assert_eq!(rows(&life), [window]);
    // Short lives are warned of in proportion.
    (life.url, life.renewed, life.url_seconds) = (Some((1, at(70))), false, 70);
    assert_eq!(rows(&life)[0], ("url-ending-1".to_owned(), 60, Some(70)));
}

fn event(id: &str, kind: &str, detail: serde_json::Value) -> Event {
    serde_json::from_value(json!({"id": id, "kind": kind, "namespace": "a", "uid": "u",
        "detail": detail, "time": "1970-01-01T00:00:00Z"}))
    .unwrap()
}

#[test]
fn holds_warnings_and_deletions_are_told_by_the_events_that_say_so() {
    for (event, what) in [
        (
            event("action-x", "Acted", json!({"action": "Hold"})),
            Some("held-action-x"),
        ),
        (
            event(
                "action-x",
                "Acted",
                json!({"action": "Hold", "refused": null}),
            ),
            Some("held-action-x"),
        ),
        (
            event(
                "action-x",
                "Acted",
                json!({"action": "Hold", "refused": "Closed"}),
            ),
            None,
        ),
        (
            event("action-x", "Acted", json!({"action": "LiftHold"})),
            None,
        ),
        (
            event("deleted-quarantine", "Deleted", json!({})),
            Some("deleted-deleted-quarantine"),
        ),
        (
            event("idle-1", "IdleWarned", json!({})),
            Some("idle-warning-idle-1"),
        ),
        (event("x", "Notified", json!({"round": 1})), None),
    ] {
        let found = of_events("a", "u", [&event]);
        assert_eq!(found.first().map(|n| n.what.as_str()), what, "{event:?}");
    }
}

#[test]
fn only_what_is_about_a_release_goes_to_recipients() {
    let told: Vec<Kind> = Kind::ALL
        .into_iter()
        .filter(|k| k.is_for_recipients())
        .collect();
    assert_eq!(
        told,
        [
            Kind::Released,
            Kind::UrlRenewed,
            Kind::UrlEnding,
            Kind::Revoked
        ]
    );
    let slugs: BTreeSet<&str> = Kind::ALL.into_iter().map(Kind::slug).collect();
    assert_eq!(slugs.len(), Kind::ALL.len());
}
