use serde_json::{Value, json};

use super::*;
use crate::examples::{self, receipt};
use crate::manifest::Manifest;

fn rules(fields: Value) -> Rules {
    let fields = serde_json::from_value(fields).unwrap();
    Rules::of(Direction::Egress, Some(&fields))
}

#[test]
fn what_a_policy_does_not_say_has_a_default() {
    let egress = Rules::of(Direction::Egress, None);
    let expected = Rules {
        required_approvals: 2,
        delegated_extra_approvals: 1,
        reviewers: None,
        require_viewed: false,
        max_files: 10_000,
        max_file_bytes: 5 << 40,
        max_total_bytes: 5 << 40,
        allowed_extensions: Vec::new(),
        required_context: BTreeSet::new(),
        recipient_domains: BTreeSet::new(),
        url_ttl_seconds: None,
        quarantine_retention_seconds: None,
        release_retention_seconds: None,
        submitted_seconds: 604_800,
        idle_seconds: 2_592_000,
        in_review_limit_seconds: 432_000,
        releasing_limit_seconds: 3600,
        max_open_requests: 200,
        max_stored_bytes: None,
        channels: None,
        history_seconds: None,
        crate_: CrateRules::default(),
    };
    assert_eq!(egress, expected);
    let ingress = Rules {
        required_approvals: 1,
        url_ttl_seconds: Some(3600),
        ..expected
    };
    assert_eq!(Rules::of(Direction::Ingress, None), ingress);
}

#[test]
fn what_a_policy_says_applies_and_days_are_of_86400_seconds() {
    let found = rules(json!({
        "requiredApprovals": 3, "delegatedExtraApprovals": 4,
        "reviewers": {"type": "Listed", "users": ["bob", "carol"]}, "requireViewed": "All",
        "maxFiles": 5, "maxFileBytes": 6, "maxTotalBytes": 7, "allowedExtensions": ["csv"],
        "requiredContext": ["statbarn"], "recipientDomains": ["example.org"], "urlTTLSeconds": 8,
        "quarantineRetentionDays": 2, "releaseRetentionDays": 3, "submittedDays": 4, "idleDays": 5,
        "phaseLimits": {"InReview": 9, "Releasing": 10}, "maxOpenRequests": 11, "maxStoredBytes": 12,
        "notifications": {"channels": ["mail"]}, "historyDays": 6, "crate": {"license": "l"},
    }));
    let names = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect();
    let expected = Rules {
        required_approvals: 3,
        delegated_extra_approvals: 4,
        reviewers: Some(names(&["bob", "carol"])),
        require_viewed: true,
        max_files: 5,
        max_file_bytes: 6,
        max_total_bytes: 7,
        allowed_extensions: vec!["csv".into()],
        required_context: [ContextField::Statbarn].into(),
        recipient_domains: names(&["example.org"]),
        url_ttl_seconds: Some(8),
        quarantine_retention_seconds: Some(172_800),
        release_retention_seconds: Some(259_200),
        submitted_seconds: 345_600,
        idle_seconds: 432_000,
        in_review_limit_seconds: 9,
        releasing_limit_seconds: 10,
        max_open_requests: 11,
        max_stored_bytes: Some(12),
        channels: Some(names(&["mail"])),
        history_seconds: Some(518_400),
        crate_: CrateRules {
            license: Some("l".into()),
            ..CrateRules::default()
        },
    };
    assert_eq!(found, expected);
    let everybody = rules(json!({"reviewers": {"type": "Permission"}, "requireViewed": "None"}));
    assert_eq!(
        (everybody.reviewers, everybody.require_viewed),
        (None, false)
    );
}

#[test]
fn a_request_of_a_delegate_needs_the_extra_approvals_and_no_other_does() {
    let rules = rules(json!({"requiredApprovals": 3, "delegatedExtraApprovals": 4}));
    assert_eq!((rules.required(false), rules.required(true)), (3, 7));
}

#[test]
fn files_and_bytes_are_allowed_up_to_the_limit_itself() {
    let files = [receipt("a", Some("xyz")), receipt("b", Some("x"))];
    for (limits, broken) in [
        (
            json!({"maxFiles": 2, "maxFileBytes": 3, "maxTotalBytes": 4}),
            vec![],
        ),
        (
            json!({"maxFiles": 1}),
            vec!["2 files, and the policy allows 1"],
        ),
        (
            json!({"maxFileBytes": 2}),
            vec!["a has 3 bytes, and the policy allows 2"],
        ),
        (
            json!({"maxTotalBytes": 3}),
            vec!["4 bytes in all, and the policy allows 3"],
        ),
        (
            json!({"allowedExtensions": ["csv", "txt"]}),
            vec![
                "a is of a type that the policy does not allow (csv, txt)",
                "b is of a type that the policy does not allow (csv, txt)",
            ],
        ),
    ] {
        assert_eq!(rules(limits.clone()).breaches(&files), broken, "{limits}");
    }
    let many: Vec<_> = (0..9)
        .map(|n| receipt(&n.to_string(), Some("xyz")))
        .collect();
    assert_eq!(rules(json!({"maxFileBytes": 2})).breaches(&many).len(), 5);
}

#[test]
fn every_text_that_the_policy_asks_for_must_be_said_and_blanks_say_nothing() {
    let files = [receipt("a.csv", Some("x"))];
    let missing = |field: &str, declared: Value| {
        let declared: Vec<DeclaredFile> = serde_json::from_value(declared).unwrap();
        rules(json!({"requiredContext": [field]})).texts_missing(&declared, &[], &files)
    };
    for (field, said) in [
        ("description", "what"),
        ("justification", "why"),
        ("suppressionNotes", "below 10"),
        ("outputType", "Table"),
        ("statbarn", "frequencies"),
    ] {
        let expected = [format!(
            "a.csv has no {field}, which the policy asks for; declare the file in spec.files with it"
        )];
        assert_eq!(missing(field, json!([])), expected);
        assert_eq!(missing(field, json!([{"path": "a.csv"}])), expected);
        assert!(missing(field, json!([{"path": "a.csv", field: said}])).is_empty());
        if field != "outputType" {
            let blank = json!([{"path": "a.csv", field: " "}]);
            assert_eq!(missing(field, blank), expected);
        }
    }
    let many: Vec<_> = (0..9).map(|n| receipt(&n.to_string(), Some("x"))).collect();
    let asks = rules(json!({"requiredContext": ["statbarn"]}));
    assert_eq!(asks.texts_missing(&[], &[], &many[..2]).len(), 2);
    assert_eq!(asks.texts_missing(&[], &[], &many).len(), 5);
}

#[test]
fn mail_goes_to_the_domains_of_the_policy_only() {
    let told = |domains: Value, to: &str| {
        rules(json!({"recipientDomains": domains})).texts_missing(&[], &[to.to_owned()], &[])
    };
    let ours = || json!(["example.org", "a.example"]);
    assert!(told(ours(), "bob@example.org").is_empty());
    assert!(told(ours(), "bob@Example.ORG").is_empty());
    assert_eq!(
        told(ours(), "bob@evil.example"),
        [
            "mail to bob@evil.example is not allowed by the policy (its domains: a.example, example.org)"
        ]
    );
    assert_eq!(
        told(json!([]), "bob@example.org"),
        ["mail to bob@example.org is not allowed by the policy (its domains: none)"]
    );
}

#[test]
fn the_stricter_of_what_was_said_at_the_seal_and_what_is_said_now_applies() {
    let frozen = examples::frozen(1).manifest;
    let listed = |users: &[&str]| json!({"reviewers": {"type": "Listed", "users": users}});
    let reviewers =
        |sealed: Value, now: Value| quorum(&rules(sealed), Some(&rules(now)), &frozen).reviewers;
    let names = |names: &[&str]| Some(names.iter().map(|&n| n.to_owned()).collect());
    assert_eq!(
        reviewers(listed(&["a", "b"]), listed(&["b", "c"])),
        names(&["b"])
    );
    assert_eq!(reviewers(listed(&["a"]), json!({})), names(&["a"]));
    assert_eq!(reviewers(json!({}), listed(&["c"])), names(&["c"]));
    assert_eq!(reviewers(json!({}), json!({})), None);
    for (sealed, now, required) in [(2, 3, 3), (3, 2, 3), (2, 2, 2)] {
        let of = |n| rules(json!({"requiredApprovals": n}));
        assert_eq!(
            quorum(&of(sealed), Some(&of(now)), &frozen).required,
            required
        );
    }
    for (sealed, now, all) in [
        ("All", "None", true),
        ("None", "All", true),
        ("None", "None", false),
    ] {
        let of = |viewed| rules(json!({"requireViewed": viewed}));
        let found = quorum(&of(sealed), Some(&of(now)), &frozen).require_viewed;
        assert_eq!(found, all, "{sealed} {now}");
    }
    let mut delegated = Manifest::clone(&frozen);
    delegated.created_by = Some("pipeline".into());
    assert_eq!(quorum(&rules(json!({})), None, &delegated).required, 3);
    assert_eq!(quorum(&rules(json!({})), None, &frozen).required, 2);
}

#[test]
fn a_quorum_of_more_than_may_review_is_a_problem_that_says_so() {
    let mut manifest = Manifest::clone(&examples::frozen(1).manifest);
    manifest.created_by = Some("pipeline".into());
    let found = |required, listed: Option<&[&str]>| {
        let quorum = Quorum {
            required,
            reviewers: listed.map(|l| l.iter().map(|&n| n.to_owned()).collect()),
            require_viewed: false,
            fold_names: true,
        };
        impossible(&manifest.policy, &quorum, &manifest)
    };
    let problem = |required, eligible, submitter_listed| {
        Some(PolicyProblem::Impossible {
            policy: "p".into(),
            required,
            eligible,
            submitter_listed,
        })
    };
    assert_eq!(found(9, None), None);
    assert_eq!(found(2, Some(&["bob", "carol"])), None);
    assert_eq!(found(1, Some(&["bob", "carol"])), None);
    assert_eq!(found(3, Some(&["bob", "carol"])), problem(3, 2, false));
    assert_eq!(found(2, Some(&["alice", "bob"])), problem(2, 1, true));
    assert_eq!(found(2, Some(&["bob", "pipeline"])), problem(2, 1, true));
    assert_eq!(found(1, Some(&["alice", "bob", "pipeline"])), None);
}

#[test]
fn every_problem_has_its_word() {
    let impossible = PolicyProblem::Impossible {
        policy: "p".into(),
        required: 2,
        eligible: 1,
        submitter_listed: false,
    };
    for (problem, word) in [
        (PolicyProblem::None("a".into()), "NoPolicy"),
        (
            PolicyProblem::Conflict("x".into(), "y".into(), "a".into()),
            "ConflictingPolicies",
        ),
        (impossible, "ImpossiblePolicy"),
    ] {
        assert_eq!(problem.reason(), word);
    }
}

#[test]
fn two_policies_are_named_in_the_same_order_however_they_come() {
    let policy = |name: &str| -> AirlockPolicy {
        AirlockPolicy::new(
            name,
            serde_json::from_value(json!({"namespaces": ["a"]})).unwrap(),
        )
    };
    let (x, y) = (policy("x"), policy("y"));
    for both in [[&x, &y], [&y, &x]] {
        assert_eq!(
            applied(both, None, "a", Direction::Egress),
            Err(PolicyProblem::Conflict("x".into(), "y".into(), "a".into()))
        );
    }
}

#[test]
fn a_policy_that_neither_names_the_namespace_nor_is_the_default_does_not_apply() {
    let spec = json!({"default": false, "namespaces": ["b"]});
    let policy = AirlockPolicy::new("x", serde_json::from_value(spec).unwrap());
    assert_eq!(
        applied([&policy], None, "a", Direction::Egress),
        Err(PolicyProblem::None("a".into()))
    );
}
