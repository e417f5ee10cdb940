//! Rounds: returned, changed, submitted again, closed, taken back.

use serde_json::json;
use trevor_api::{Phase, ReviewDecision};

use crate::harness::{Env, Person, Request};

async fn in_review(alice: &Person, stem: &str, files: &[(&str, &str)]) -> Request {
    let request = alice
        .creates(stem, json!({"direction": "Egress", "title": "Rounds"}))
        .await;
    for (path, text) in files {
        alice
            .uploads(&request, path, text.as_bytes().to_vec())
            .await;
    }
    alice.submits(&request, 1).await;
    request.reaches(Phase::InReview).await;
    request
}

#[tokio::test]
async fn a_returned_round_is_changed_and_approved_anew_with_only_the_changed_file_sent() {
    let env = Env::shared();
    let (alice, bob, carol) = (
        env.person("alice").await,
        env.person("bob").await,
        env.person("carol").await,
    );
    let request = in_review(
        &alice,
        "rounds",
        &[("keep.csv", "1"), ("change.csv", "2"), ("drop.csv", "3")],
    )
    .await;
    let first = request.digest().await;
    bob.approves(&request).await;
    carol
        .reviews_it(&request, ReviewDecision::RequestChanges)
        .await;
    request.reaches(Phase::ChangesRequested).await;

    alice.uploads(&request, "change.csv", "two").await;
    alice.uploads(&request, "new.csv", "4").await;
    alice.drops(&request, "drop.csv").await.expect(204);
    alice
        .edits(
            &request,
            json!({"title": "Rounds, better", "submission": 2}),
        )
        .await
        .unwrap();
    let again = request.round_reaches(2, Phase::InReview).await;
    let changes = again.changes.unwrap();
    assert_eq!(changes.since, first);
    assert_eq!(
        (changes.added, changes.removed),
        (vec!["new.csv".to_owned()], vec!["drop.csv".to_owned()])
    );
    assert_eq!(
        changes
            .replaced
            .iter()
            .map(|r| r.path.as_str())
            .collect::<Vec<_>>(),
        ["change.csv"]
    );
    assert_eq!(changes.texts, ["title"]);
    let paths: Vec<String> = again.files.into_iter().map(|f| f.path).collect();
    assert!(
        paths.contains(&"keep.csv".to_owned()),
        "an unchanged file needs no new upload: {paths:?}"
    );
    let since = bob
        .gets(&request, "manifest?since=1")
        .await
        .expect(200)
        .json();
    assert_eq!(since["added"], json!(["new.csv"]));

    // The approval of the first round does not count for the second.
    carol.approves(&request).await;
    let one = request
        .until("1/2", crate::harness::PATIENCE, |s| {
            s.approvals.as_ref().is_some_and(|a| a.counted == 1)
        })
        .await;
    assert_eq!(one.phase, Some(Phase::InReview));
    bob.approves(&request).await;
    request.reaches(Phase::Released).await;
    assert_eq!(request.record().await.spec.round, 2);
    // The bytes of the first round are kept in quarantine, for retention.
    assert_eq!(
        env.quarantine()
            .keys(&format!("{}files/", request.prefix()))
            .await
            .len(),
        5
    );
}

#[tokio::test]
async fn a_rejected_request_is_closed_and_releases_nothing() {
    let env = Env::shared();
    let (alice, bob, carol) = (
        env.person("alice").await,
        env.person("bob").await,
        env.person("carol").await,
    );
    let request = in_review(&alice, "rejected", &[("a.csv", "1")]).await;
    bob.approves(&request).await;
    carol.reviews_it(&request, ReviewDecision::Reject).await;
    let closed = request.reaches(Phase::Rejected).await;
    assert!(closed.closed_time.is_some());
    assert!(env.release().keys(&request.releases()).await.is_empty());
    assert!(request.records().await.is_empty());
    assert_eq!(
        env.quarantine()
            .json(&format!("{}closed.json", request.prefix()))
            .await["closedAs"],
        "Rejected"
    );
    let refused = alice
        .edits(&request, json!({"submission": 2}))
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("submission grows by one"),
        "{refused}"
    );
    alice.puts(&request, "a.csv", "more").await.expect(409);
}

#[tokio::test]
async fn content_is_closed_while_it_is_under_review() {
    let env = Env::shared();
    let alice = env.person("alice").await;
    let request = in_review(&alice, "closed-content", &[("a.csv", "1")]).await;
    for change in [
        json!({"title": "Other"}),
        json!({"files": [{"path": "b.csv"}]}),
        json!({"recipients": ["a@b.example"]}),
    ] {
        let refused = alice.edits(&request, change).await.unwrap_err();
        assert!(
            refused.to_string().contains("closed from submission"),
            "{refused}"
        );
    }
    let refused = alice
        .edits(&request, json!({"direction": "Ingress"}))
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("direction cannot change"),
        "{refused}"
    );
    let skipped = alice
        .edits(&request, json!({"submission": 3}))
        .await
        .unwrap_err();
    assert!(
        skipped.to_string().contains("submission grows by one"),
        "{skipped}"
    );
}

#[tokio::test]
async fn an_empty_submission_is_refused_and_can_be_made_good() {
    let env = Env::shared();
    let alice = env.person("alice").await;
    let request = alice
        .creates("empty", json!({"direction": "Egress", "title": "Nothing"}))
        .await;
    alice.submits(&request, 1).await;
    let refused = request.reaches(Phase::ChangesRequested).await;
    assert!(
        refused
            .conditions
            .iter()
            .any(|c| c.reason == "SubmissionRefused"),
        "{:?}",
        refused.conditions
    );
    alice.uploads(&request, "a.csv", "1").await;
    alice.submits(&request, 2).await;
    request.round_reaches(2, Phase::InReview).await;
}

#[tokio::test]
async fn a_request_is_withdrawn_from_every_phase_before_released() {
    let env = Env::shared();
    let (alice, bob) = (env.person("alice").await, env.person("bob").await);
    let draft = alice
        .creates("withdraw", json!({"direction": "Egress", "title": "Draft"}))
        .await;
    draft.reaches(Phase::Draft).await;
    let waiting = alice.creates("withdraw", json!({"direction": "Egress", "title": "Waiting", "submission": 1, "files": [{"path": "a.csv"}]})).await;
    waiting.reaches(Phase::Submitted).await;
    let reviewed = in_review(&alice, "withdraw", &[("a.csv", "1")]).await;
    let returned = in_review(&alice, "withdraw", &[("a.csv", "1")]).await;
    bob.reviews_it(&returned, ReviewDecision::RequestChanges)
        .await;
    returned.reaches(Phase::ChangesRequested).await;
    for request in [draft, waiting, reviewed, returned] {
        alice.withdraws(&request).await;
        let closed = request.reaches(Phase::Withdrawn).await;
        assert!(closed.closed_time.is_some());
        assert_eq!(
            env.quarantine()
                .json(&format!("{}closed.json", request.prefix()))
                .await["closedAs"],
            "Withdrawn"
        );
        assert!(env.release().keys(&request.releases()).await.is_empty());
        let back = alice
            .edits(&request, json!({"withdrawn": false}))
            .await
            .unwrap_err();
        assert!(back.to_string().contains("cannot be taken back"), "{back}");
    }
}

#[tokio::test]
async fn a_deleted_request_is_closed_in_the_bucket_before_it_goes() {
    let env = Env::shared();
    let (alice, bob, carol) = (
        env.person("alice").await,
        env.person("bob").await,
        env.person("carol").await,
    );
    let draft = alice
        .creates("deleted", json!({"direction": "Egress", "title": "Draft"}))
        .await;
    alice.uploads(&draft, "a.csv", "1").await;
    let waiting = alice.creates("deleted", json!({"direction": "Egress", "title": "Waiting", "submission": 1, "files": [{"path": "a.csv"}]})).await;
    waiting.reaches(Phase::Submitted).await;
    let reviewed = in_review(&alice, "deleted", &[("a.csv", "1")]).await;
    let rejected = in_review(&alice, "deleted", &[("a.csv", "1")]).await;
    carol.reviews_it(&rejected, ReviewDecision::Reject).await;
    rejected.reaches(Phase::Rejected).await;
    for (request, closed_as) in [
        (draft, "Withdrawn"),
        (waiting, "Withdrawn"),
        (reviewed, "Withdrawn"),
        (rejected, "Rejected"),
    ] {
        alice.deletes(&request).await;
        request.is_gone().await;
        let closed = env
            .quarantine()
            .json(&format!("{}closed.json", request.prefix()))
            .await;
        assert_eq!(closed["closedAs"], closed_as);
        let tickets = env.quarantine().keys("work/retention/").await;
        assert!(
            tickets
                .iter()
                .any(|t| t.contains(&request.uid) && t.ends_with("-quarantine.json")),
            "its files are deleted one day"
        );
    }

    let released = in_review(&alice, "deleted", &[("a.csv", "1")]).await;
    bob.approves(&released).await;
    carol.approves(&released).await;
    released.reaches(Phase::Released).await;
    alice.deletes(&released).await;
    released.is_gone().await;
    assert_eq!(released.records().await.len(), 1, "the record stays");
    assert_eq!(
        env.release().keys(&released.releases()).await.len(),
        1,
        "deleting after the release changes nothing of it"
    );
}
