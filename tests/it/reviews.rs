//! Which reviews count, and what their authors are told.

use serde_json::json;
use trevor_api::{Phase, ReviewDecision, ReviewState};

use crate::harness::{Env, PATIENCE, Person, Request};

async fn in_review(alice: &Person, stem: &str) -> Request {
    let request = alice
        .creates(stem, json!({"direction": "Egress", "title": "Reviews"}))
        .await;
    alice.uploads(&request, "a.csv", "1,2").await;
    alice.submits(&request, 1).await;
    request.reaches(Phase::InReview).await;
    request
}

#[tokio::test]
async fn who_may_not_review_is_refused_at_the_door() {
    let env = Env::shared();
    let alice = env.person("alice").await;
    let request = in_review(&alice, "who-reviews").await;
    let digest = request.digest().await;
    for name in ["alice", "dave", "olga", "mallory", "admin"] {
        let somebody = env.person(name).await;
        let refused = somebody
            .reviews_digest(&request.name, &digest, ReviewDecision::Approve)
            .await;
        assert!(
            matches!(&refused, Err(kube::Error::Api(a)) if a.code == 403),
            "{name}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn nobody_reviews_in_another_name() {
    let env = Env::shared();
    let (alice, bob) = (env.person("alice").await, env.person("bob").await);
    let request = in_review(&alice, "other-name").await;
    let review = serde_json::from_value(json!({
        "apiVersion": "airlock.karectl.io/v1alpha1", "kind": "AirlockReview", "metadata": {"generateName": "review-"},
        "spec": {"requestName": request.name, "manifestDigest": request.digest().await, "decision": "Approve", "reviewer": "carol"},
    }))
    .unwrap();
    match bob
        .reviews()
        .create(&kube::api::PostParams::default(), &review)
        .await
    {
        Err(kube::Error::Api(answer)) => assert_eq!(answer.code, 403, "{}", answer.message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn two_reviews_of_one_person_count_once() {
    let env = Env::shared();
    let (alice, bob, carol) = (
        env.person("alice").await,
        env.person("bob").await,
        env.person("carol").await,
    );
    let request = in_review(&alice, "twice").await;
    let first = bob.approves(&request).await;
    request
        .word_on(&first, |s| s.state == Some(ReviewState::Counted))
        .await;
    let second = bob.approves(&request).await;
    // Made within a second of each other, either of the two may be the one that counts.
    request
        .until("a word on both", PATIENCE, {
            let name = second.metadata.name.clone().unwrap();
            let first = first.metadata.name.clone().unwrap();
            move |s| {
                s.reviews
                    .iter()
                    .any(|r| (r.name == name || r.name == first) && r.counted)
            }
        })
        .await;
    let status = request.status().await;
    assert_eq!(
        (status.phase, status.approvals.unwrap().counted),
        (Some(Phase::InReview), 1)
    );
    carol.approves(&request).await;
    request.reaches(Phase::Released).await;
    let reviewers: Vec<String> = request
        .record()
        .await
        .spec
        .approvals
        .into_iter()
        .map(|a| a.reviewer)
        .collect();
    assert_eq!(reviewers, ["bob", "carol"]);
}

#[tokio::test]
async fn a_review_of_an_earlier_digest_does_not_count() {
    let env = Env::shared();
    let (alice, bob, carol) = (
        env.person("alice").await,
        env.person("bob").await,
        env.person("carol").await,
    );
    let request = in_review(&alice, "stale").await;
    let stale = request.digest().await;
    carol
        .reviews_it(&request, ReviewDecision::RequestChanges)
        .await;
    request.reaches(Phase::ChangesRequested).await;
    alice.uploads(&request, "a.csv", "3,4").await;
    alice.submits(&request, 2).await;
    request.round_reaches(2, Phase::InReview).await;
    let late = bob
        .reviews_digest(&request.name, &stale, ReviewDecision::Approve)
        .await
        .unwrap();
    let word = request
        .word_on(&late, |s| s.state == Some(ReviewState::NotCounted))
        .await;
    assert_eq!(word.reason.as_deref(), Some("OtherDigest"));
    let current = request.digest().await;
    assert!(
        word.message.unwrap().contains(&current),
        "it names the digest under review"
    );
    carol.approves(&request).await;
    let status = request
        .until("1/2", PATIENCE, |s| {
            s.approvals.as_ref().is_some_and(|a| a.counted == 1)
        })
        .await;
    assert_eq!(status.phase, Some(Phase::InReview));
}

#[tokio::test]
async fn a_review_of_an_unknown_request_tells_its_author() {
    let env = Env::shared();
    let (alice, bob) = (env.person("alice").await, env.person("bob").await);
    let request = in_review(&alice, "unknown").await;
    let review = bob
        .reviews_digest(
            "no-such-request",
            &request.digest().await,
            ReviewDecision::Approve,
        )
        .await
        .unwrap();
    let word = request
        .word_on(&review, |s| {
            s.state.is_some() && s.state != Some(ReviewState::Counted)
        })
        .await;
    assert!(word.reason.is_some() && word.message.is_some(), "{word:?}");
}

#[tokio::test]
async fn a_review_after_the_decision_does_not_count_and_says_so() {
    let env = Env::shared();
    let (alice, bob, carol) = (
        env.person("alice").await,
        env.person("bob").await,
        env.person("carol").await,
    );
    let request = in_review(&alice, "late").await;
    let digest = request.digest().await;
    bob.reviews_it(&request, ReviewDecision::Reject).await;
    request.reaches(Phase::Rejected).await;
    let late = carol
        .reviews_digest(&request.name, &digest, ReviewDecision::Approve)
        .await
        .unwrap();
    let word = request
        .word_on(&late, |s| s.state == Some(ReviewState::NotCounted))
        .await;
    assert!(word.reason.is_some() && word.message.is_some(), "{word:?}");
    assert_eq!(request.status().await.phase, Some(Phase::Rejected));
}

#[tokio::test]
async fn the_last_word_of_a_reviewer_counts() {
    let env = Env::shared();
    let (alice, bob, carol) = (
        env.person("alice").await,
        env.person("bob").await,
        env.person("carol").await,
    );
    let request = in_review(&alice, "last-word").await;
    let digest = request.digest().await;
    bob.approves(&request).await;
    request
        .until("1/2", PATIENCE, |s| {
            s.approvals.as_ref().is_some_and(|a| a.counted == 1)
        })
        .await;
    bob.reviews_it(&request, ReviewDecision::RequestChanges)
        .await;
    request.reaches(Phase::ChangesRequested).await;
    let late = carol
        .reviews_digest(&request.name, &digest, ReviewDecision::Approve)
        .await
        .unwrap();
    request
        .word_on(&late, |s| s.state == Some(ReviewState::NotCounted))
        .await;
}
