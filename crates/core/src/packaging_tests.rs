use jiff::Timestamp;

use super::*;
use crate::canonical;
use crate::examples;
use crate::format::Kept;
use crate::manifest::Manifest;
use crate::policy::Rules;

const RELEASES: &str = "releases/a/u/";

fn asked() -> Asked<'static> {
    Asked {
        namespace: "a",
        uid: "u",
        round: 1,
        attempt: 1,
        releases: RELEASES,
    }
}

/// A round of two reviewers, as the controller would store it, for a Job.
fn stored() -> Stored {
    let mut seal = examples::sealed(1, &serde_json::json!("Complete"))
        .seal
        .unwrap();
    seal.policy.digest = seal.rules.digest();
    let files = [examples::file("a.csv", "x"), examples::file("b", "yz")];
    let freeze = examples::changed(&examples::freeze(1, &files), |manifest| {
        manifest.policy = seal.policy.clone();
    });
    let frozen = freeze.frozen().unwrap();
    let reviews = ["bob", "carol"].map(|name| examples::review(name, "Approve", &frozen));
    let mut decision = examples::decision("Approved", &frozen, &reviews);
    decision.quorum.required = 2;
    Stored {
        seal: Some(seal),
        freeze: Some(freeze),
        decision: Some(decision),
        attempt: Some(Attempt {
            attempt: 1,
            key: format!("{RELEASES}nonce/r.zip"),
            term: 1,
            holder: "h".into(),
            packager: "p".into(),
            time: Timestamp::UNIX_EPOCH,
            job: true,
        }),
        over: None,
    }
}

fn asks_for_one(seal: &mut Seal) {
    let mut rules = Rules::clone(&seal.rules);
    rules.required_approvals = 1;
    seal.rules = Kept::of(rules);
}

#[test]
fn a_rule_that_this_version_does_not_know_is_in_the_digest_of_the_rules() {
    let mut seal = serde_json::to_value(stored().seal.unwrap()).unwrap();
    seal["rules"]["x-later"] = serde_json::json!({"a": 1});
    seal["rules"]["crate"]["x-later"] = serde_json::json!(true);
    let bytes = canonical::to_vec(&seal["rules"]).unwrap();
    seal["policy"]["digest"] = serde_json::json!(Sha256Hex::of(&bytes));
    let seal: Seal = serde_json::from_value(seal).unwrap();
    assert!(derive(&asked(), under(&seal)).is_ok());
}

/// The round as it is stored under a seal.
fn under(seal: &Seal) -> Stored {
    let mut round = stored();
    changed(&mut round, |manifest| manifest.policy = seal.policy.clone());
    let frozen = round.freeze.as_ref().unwrap().frozen().unwrap();
    let decision = round.decision.as_mut().unwrap();
    decision.manifest_digest = Some(frozen.digest.clone());
    decision.policy = seal.policy.clone();
    for review in &mut decision.reviews {
        review.manifest_digest = frozen.digest.to_string();
    }
    round.seal = Some(seal.clone());
    round
}

fn changed(stored: &mut Stored, change: impl FnOnce(&mut Manifest)) {
    let freeze = stored.freeze.as_ref().unwrap();
    stored.freeze = Some(examples::changed(freeze, change));
}

#[test]
fn an_approved_attempt_is_derived_from_what_is_stored() {
    let (approved, decision, attempt) = derive(&asked(), stored()).unwrap();
    assert_eq!(approved.get().manifest.files.len(), 2);
    assert_eq!(decision.reviews.len(), 2);
    assert_eq!(attempt.key, "releases/a/u/nonce/r.zip");
}

#[test]
fn whatever_is_forged_or_missing_approves_nothing() {
    type Forge = fn(&mut Stored);
    let rows: &[(&str, Forge)] = &[
        ("no seal", |s| s.seal = None),
        ("no manifest", |s| s.freeze = None),
        ("a refusal", |s| s.freeze = Some(examples::refusal(1, "x"))),
        ("no decision", |s| s.decision = None),
        ("no attempt", |s| s.attempt = None),
        ("an attempt of the controller's own", |s| {
            s.attempt.as_mut().unwrap().job = false;
        }),
        ("another attempt", |s| {
            s.attempt.as_mut().unwrap().attempt = 2
        }),
        ("another request's package", |s| {
            s.attempt.as_mut().unwrap().key = "releases/a/other/nonce/r.zip".into();
        }),
        ("a key that leads out", |s| {
            s.attempt.as_mut().unwrap().key = format!("{RELEASES}../r.zip");
        }),
        ("a key of no file", |s| {
            s.attempt.as_mut().unwrap().key = format!("{RELEASES}nonce/");
        }),
        ("a key too deep", |s| {
            s.attempt.as_mut().unwrap().key = format!("{RELEASES}a/b/c");
        }),
        ("a decision that rejects", |s| {
            s.decision.as_mut().unwrap().verdict = crate::commit::Verdict::Rejected;
        }),
        ("one review less", |s| {
            s.decision.as_mut().unwrap().reviews.pop();
        }),
        ("one review twice", |s| {
            let reviews = &mut s.decision.as_mut().unwrap().reviews;
            reviews[1].reviewer = reviews[0].reviewer.clone();
        }),
        ("a review by the submitter", |s| {
            s.decision.as_mut().unwrap().reviews[0].reviewer = "alice".into();
        }),
        ("a review of another manifest", |s| {
            s.decision.as_mut().unwrap().reviews[0].manifest_digest = "0".repeat(64);
        }),
        ("a review outside every epoch", |s| {
            s.decision.as_mut().unwrap().reviews[0].epoch = None;
        }),
        ("a smaller quorum than the policy's", |s| {
            let decision = s.decision.as_mut().unwrap();
            decision.quorum.required = 1;
            decision.reviews.pop();
        }),
        ("a smaller policy", |s| {
            asks_for_one(s.seal.as_mut().unwrap());
        }),
        ("a smaller policy with its digest", |s| {
            let seal = s.seal.as_mut().unwrap();
            asks_for_one(seal);
            seal.policy.digest = seal.rules.digest();
        }),
        ("a manifest that was changed", |s| {
            changed(s, |manifest| manifest.title.push('!'));
        }),
        ("a manifest of another uid", |s| {
            changed(s, |manifest| manifest.uid = "v".into());
        }),
        ("a seal of another round", |s| {
            s.seal.as_mut().unwrap().round = 2;
        }),
    ];
    for (what, forge) in rows {
        let mut forged = stored();
        forge(&mut forged);
        assert!(derive(&asked(), forged).is_err(), "{what}");
    }
}

#[test]
fn what_goes_inwards_is_never_packaged() {
    let mut inwards = stored();
    changed(&mut inwards, |manifest| {
        manifest.direction = Direction::Ingress
    });
    let refused = derive(&asked(), inwards).unwrap_err();
    assert!(matches!(refused, Refused::Inconsistent(why) if why.contains("inwards")));
}

#[test]
fn an_attempt_that_is_over_says_why() {
    for (over, word) in [
        (Over::Revoked, "revoked"),
        (Over::Closed, "closed"),
        (Over::Decided, "decided"),
        (Over::Superseded, "another attempt"),
    ] {
        let ended = Stored {
            over: Some(over),
            ..stored()
        };
        let refused = derive(&asked(), ended).unwrap_err();
        assert_eq!(refused, Refused::Over(over));
        assert!(refused.to_string().contains(word), "{refused}");
    }
}

#[test]
fn a_stricter_quorum_than_the_policys_is_taken_and_a_looser_one_is_not() {
    let rules = Rules::of(Direction::Egress, None);
    let named = |names: &[&str]| Some(names.iter().map(|n| (*n).to_owned()).collect());
    let least = Quorum {
        required: rules.required_approvals,
        reviewers: named(&["bob", "carol"]),
        require_viewed: true,
        fold_names: true,
    };
    let rows = [
        (2, named(&["bob", "carol"]), true, true),
        (3, named(&["bob"]), true, true),
        (1, named(&["bob"]), true, false),
        (2, None, true, false),
        (2, named(&["bob", "mallory"]), true, false),
        (2, named(&["bob"]), false, false),
    ];
    for (required, reviewers, require_viewed, taken) in rows {
        let quorum = Quorum {
            required,
            reviewers,
            require_viewed,
            fold_names: true,
        };
        assert_eq!(at_least(&quorum, &least), taken, "{quorum:?}");
    }
}

#[test]
fn the_line_of_a_job_is_read_back_and_another_is_not() {
    let sent = Sent {
        sha256: Sha256Hex::of(b"zip"),
        size: 5,
        files: 2,
    };
    let line = sent.line().unwrap();
    assert_eq!(Sent::of(&format!("a log line\n{line}\n")), Some(sent));
    for other in [
        "",
        "done",
        "{}",
        "{\"sha256\":\"x\",\"size\":1,\"files\":1}",
    ] {
        assert_eq!(Sent::of(other), None, "{other}");
    }
}
