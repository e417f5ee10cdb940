//! What the API server refuses by itself, before anything is stored.

use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use serde_json::{Value, json};

use crate::harness::{Env, PROJECT, unique};

async fn dry_run(
    env: &Env,
    user: &str,
    kind: &str,
    plural: &str,
    spec: Value,
) -> kube::Result<DynamicObject> {
    let resource = ApiResource {
        group: "airlock.karectl.io".into(),
        version: "v1alpha1".into(),
        api_version: "airlock.karectl.io/v1alpha1".into(),
        kind: kind.into(),
        plural: plural.into(),
    };
    let client = env.kube(user).await;
    let api: Api<DynamicObject> = if kind == "AirlockPolicy" {
        Api::all_with(client, &resource)
    } else {
        Api::namespaced_with(client, PROJECT, &resource)
    };
    let mut object = DynamicObject::new(&unique("schema"), &resource);
    object.data = json!({"spec": spec});
    api.create(
        &PostParams {
            dry_run: true,
            ..PostParams::default()
        },
        &object,
    )
    .await
}

async fn request(env: &Env, spec: Value) -> kube::Result<DynamicObject> {
    let mut whole = json!({"direction": "Egress", "title": "Frailty index by age band"});
    whole
        .as_object_mut()
        .unwrap()
        .extend(spec.as_object().unwrap().clone());
    dry_run(env, "alice", "AirlockRequest", "airlockrequests", whole).await
}

#[track_caller]
fn refused(result: kube::Result<DynamicObject>, word: &str) {
    match result {
        Err(kube::Error::Api(answer)) => {
            assert_eq!(answer.code, 422, "{}", answer.message);
            assert!(
                answer.message.contains(word),
                "{:?} does not say {word:?}",
                answer.message
            );
        }
        other => panic!("{word:?}: {other:?}"),
    }
}

#[tokio::test]
async fn a_wrong_request_is_refused_with_a_message() {
    let env = Env::shared();
    request(&env, json!({})).await.unwrap();
    let file = |path: &str| json!({"files": [{"path": path}]});
    // As long as names may be, and in scripts that are spelled with joiners.
    for path in [
        &format!("{0}/{0}.csv", "表".repeat(83)),
        "می\u{200c}خواهم/क्\u{200d}षेत्र.csv",
        "e\u{301}te\u{301}.csv",
    ] {
        request(&env, file(path)).await.unwrap();
    }
    for (spec, word) in [
        (json!({"title": ""}), "title"),
        (json!({"title": "   "}), "title"),
        (json!({"title": "x".repeat(201)}), "title"),
        (json!({"direction": "Sideways"}), "direction"),
        (json!({"description": "x".repeat(4097)}), "description"),
        (json!({"submission": -1}), "submission"),
        (json!({"submission": 1}), "submitted from the start"),
        (
            json!({"submission": 1, "files": [{"path": "figures/"}]}),
            "exact paths",
        ),
        (
            json!({"delivery": {"type": "Url"}}),
            "delivery is for ingress",
        ),
        (
            json!({"direction": "Ingress", "files": [{"path": "a.csv"}]}),
            "path and size",
        ),
        (json!({"authors": [{"name": "A", "orcid": "1"}]}), "orcid"),
        (
            json!({"authors": [{"name": "A", "affiliation": {"name": "U", "ror": "x"}}]}),
            "ror",
        ),
        (json!({"recipients": ["not an address"]}), "recipients"),
        (
            json!({"files": [{"path": "a.csv", "sha256": "ABC"}]}),
            "sha256",
        ),
        (json!({"files": [{"path": "a.csv", "size": -1}]}), "size"),
        (
            json!({"files": [{"path": "a.csv", "outputType": "Thing"}]}),
            "outputType",
        ),
        (
            json!({"files": [{"path": "a.csv"}, {"path": "A.CSV"}]}),
            "same path",
        ),
        (json!({"files": vec![json!({"path": "a"}); 501]}), "500"),
        (file(""), "path"),
        (file("/etc/passwd"), "path"),
        (file("../x"), "path"),
        (file("data/../../x"), "path"),
        (file("a//b"), "path"),
        (file("a\\b"), "path"),
        (file("a\u{0}b"), "path"),
        (file("a\u{202e}b"), "path"),
        (file("a\u{200b}b"), "path"),
        (file("a\u{200d}b"), "path"),
        (file(&format!("x/{}.csv", "表".repeat(96))), "255 bytes"),
        (file("a\u{e000}b"), "path"),
        (file("a\u{2028}b"), "path"),
        (file("con"), "reserved"),
        (file("x/NUL.txt"), "reserved"),
        (file("ro-crate-metadata.json"), "reserved"),
        (file("trailing."), "path"),
        (file("trailing "), "path"),
        (file("what?"), "path"),
    ] {
        refused(request(&env, spec).await, word);
    }
}

#[tokio::test]
async fn texts_that_mislead_are_refused_in_every_field() {
    let env = Env::shared();
    for hostile in [
        "\u{1b}[31mred",
        "right\u{202e}left",
        "zero\u{200b}width",
        "private\u{e000}use",
        "bell\u{7}",
        "line\u{2028}separator",
    ] {
        for (spec, field) in [
            (json!({"title": hostile}), "title"),
            (json!({"description": hostile}), "description"),
            (json!({"authors": [{"name": hostile}]}), "name"),
            (
                json!({"authors": [{"name": "A", "affiliation": {"name": hostile}}]}),
                "name",
            ),
            (
                json!({"files": [{"path": "a.csv", "description": hostile}]}),
                "description",
            ),
            (
                json!({"files": [{"path": "a.csv", "justification": hostile}]}),
                "justification",
            ),
            (
                json!({"files": [{"path": "a.csv", "suppressionNotes": hostile}]}),
                "suppressionNotes",
            ),
            (
                json!({"files": [{"path": "a.csv", "statbarn": hostile}]}),
                "statbarn",
            ),
            (
                json!({"recipients": [format!("{hostile}@uni.example")]}),
                "recipients",
            ),
        ] {
            refused(request(&env, spec).await, field);
        }
    }
}

#[tokio::test]
async fn a_wrong_review_is_refused_with_a_message() {
    let env = Env::shared();
    let good = json!({"requestName": "some-request", "manifestDigest": "0".repeat(64), "decision": "Approve"});
    let review = async |change: Value| {
        let mut spec = good.clone();
        spec.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        dry_run(&env, "bob", "AirlockReview", "airlockreviews", spec).await
    };
    review(json!({})).await.unwrap();
    for (change, word) in [
        (json!({"manifestDigest": "latest"}), "manifestDigest"),
        (json!({"decision": "Perhaps"}), "decision"),
        (json!({"requestName": "Not A Name"}), "requestName"),
        (json!({"comment": "\u{1b}]0;title\u{7}"}), "comment"),
        (
            json!({"findings": [{"path": "a.csv", "decision": "Reject"}]}),
            "adverse",
        ),
        (
            json!({"findings": [{"path": "../a", "decision": "Approve"}]}),
            "path",
        ),
    ] {
        refused(review(change).await, word);
    }
}

#[tokio::test]
async fn a_wrong_session_is_refused_with_a_message() {
    let env = Env::shared();
    for (spec, word) in [
        (
            json!({"tokenSHA256": "0".repeat(64), "ttlSeconds": 43_201}),
            "ttlSeconds",
        ),
        (
            json!({"tokenSHA256": "0".repeat(64), "ttlSeconds": 1}),
            "ttlSeconds",
        ),
        (
            json!({"tokenSHA256": "secret", "ttlSeconds": 600}),
            "tokenSHA256",
        ),
        (
            json!({"tokenSHA256": "0".repeat(64), "ttlSeconds": 600}),
            "named s-",
        ),
    ] {
        refused(
            dry_run(&env, "alice", "AirlockSession", "airlocksessions", spec).await,
            word,
        );
    }
}

#[tokio::test]
async fn a_policy_beyond_its_bounds_is_refused_with_a_message() {
    let env = Env::shared();
    let policy = async |egress: Value| {
        let spec = json!({"namespaces": ["project-z"], "egress": egress});
        dry_run(&env, "admin", "AirlockPolicy", "airlockpolicies", spec).await
    };
    policy(json!({
        "requiredApprovals": 5, "delegatedExtraApprovals": 0, "requireViewed": "All",
        "reviewers": {"type": "Listed", "users": ["bob", "o'brien@uni.example"]},
        "maxFiles": 10_000, "maxFileBytes": 1, "maxTotalBytes": 5_497_558_138_880_i64,
        "allowedExtensions": ["csv", "tar.gz"], "requiredContext": ["description", "statbarn"],
        "urlTTLSeconds": 60, "quarantineRetentionDays": 3650, "releaseRetentionDays": 1,
        "recipientDomains": ["uni.example"], "submittedDays": 365, "idleDays": 1,
        "phaseLimits": {"InReview": 60, "Releasing": 60}, "maxOpenRequests": 1, "maxStoredBytes": 1,
        "crate": {"license": "https://example.org/l", "publisher": {"name": "P"}, "namesReviewers": true},
        "notifications": {"channels": ["desk"]}, "historyDays": 1,
    }))
    .await
    .unwrap();
    policy(json!({"reviewers": {"type": "Permission"}}))
        .await
        .unwrap();
    for (egress, word) in [
        (json!({"requiredApprovals": 0}), "requiredApprovals"),
        (json!({"requiredApprovals": 6}), "requiredApprovals"),
        (
            json!({"delegatedExtraApprovals": 3}),
            "delegatedExtraApprovals",
        ),
        (
            json!({"reviewers": {"type": "Listed"}}),
            "users are for type Listed",
        ),
        (
            json!({"reviewers": {"type": "Listed", "users": []}}),
            "users are for type Listed",
        ),
        (
            json!({"reviewers": {"type": "Permission", "users": ["bob"]}}),
            "users are for type Listed",
        ),
        (json!({"reviewers": {"type": "Anybody"}}), "type"),
        (
            json!({"reviewers": {"type": "Listed", "users": (0..101).map(|n| format!("u{n}")).collect::<Vec<_>>()}}),
            "100",
        ),
        (json!({"requireViewed": "Some"}), "requireViewed"),
        (json!({"maxFiles": 0}), "maxFiles"),
        (json!({"maxFiles": 10_001}), "maxFiles"),
        (json!({"maxFileBytes": 0}), "maxFileBytes"),
        (
            json!({"maxTotalBytes": 5_497_558_138_881_i64}),
            "maxTotalBytes",
        ),
        (json!({"allowedExtensions": ["CSV"]}), "allowedExtensions"),
        (json!({"allowedExtensions": [".csv"]}), "allowedExtensions"),
        (json!({"requiredContext": ["mood"]}), "requiredContext"),
        (json!({"urlTTLSeconds": 59}), "urlTTLSeconds"),
        (json!({"urlTTLSeconds": 604_801}), "urlTTLSeconds"),
        (
            json!({"quarantineRetentionDays": 0}),
            "quarantineRetentionDays",
        ),
        (
            json!({"releaseRetentionDays": 3651}),
            "releaseRetentionDays",
        ),
        (json!({"submittedDays": 366}), "submittedDays"),
        (json!({"idleDays": 0}), "idleDays"),
        (
            json!({"recipientDomains": ["@uni.example"]}),
            "recipientDomains",
        ),
        (json!({"phaseLimits": {"InReview": 59}}), "InReview"),
        (json!({"maxOpenRequests": 0}), "maxOpenRequests"),
        (json!({"maxStoredBytes": 0}), "maxStoredBytes"),
        (json!({"historyDays": 0}), "historyDays"),
    ] {
        refused(policy(egress).await, word);
    }
    for spec in [
        json!({}),
        json!({"default": true, "namespaces": ["a"]}),
        json!({"namespaces": []}),
    ] {
        refused(
            dry_run(&env, "admin", "AirlockPolicy", "airlockpolicies", spec).await,
            "one of the two",
        );
    }
}
