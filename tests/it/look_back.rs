//! What was seen before is named beside a round.

use serde_json::json;
use trevor_api::{Phase, PriorDecision, ReviewDecision, Same};

use crate::harness::{Env, PATIENCE, Person, Request, unique};

async fn in_review(alice: &Person, files: &[(&str, String)]) -> Request {
    let spec = json!({"direction": "Egress", "title": "Looks back"});
    let request = alice.creates("look-back", spec).await;
    for (path, text) in files {
        alice.uploads(&request, path, text.clone()).await;
    }
    alice.submits(&request, 1).await;
    request.reaches(Phase::InReview).await;
    request
}

#[tokio::test]
async fn a_rejected_file_that_comes_back_is_named_whole_or_with_one_byte_changed() {
    let env = Env::shared();
    let (alice, dave, bob) = (
        env.person("alice").await,
        env.person("dave").await,
        env.person("bob").await,
    );
    let (path, table) = (format!("{}/t.csv", unique("tables")), unique("a,b\n1,"));
    let rejected = in_review(&alice, &[(path.as_str(), table.clone())]).await;
    assert_eq!(rejected.status().await.prior_releases, []);
    bob.reviews_it(&rejected, ReviewDecision::Reject).await;
    rejected.reaches(Phase::Rejected).await;

    let changed = format!("{table}0");
    for (files, same) in [
        (vec![("other-name.csv", table.clone())], Same::Content),
        (vec![(path.as_str(), changed.clone())], Same::Path),
    ] {
        let request = in_review(&dave, &files).await;
        let rejected = rejected.name.clone();
        let seen = request
            .until("the rejected file is named", PATIENCE, move |s| {
                s.prior_releases
                    .iter()
                    .any(|p| p.request.as_deref() == Some(&rejected))
            })
            .await;
        let prior = &seen.prior_releases[0];
        assert_eq!(
            (
                prior.path.as_str(),
                prior.same,
                prior.round,
                prior.decision,
                prior.by.as_slice()
            ),
            (
                files[0].0,
                same,
                1,
                PriorDecision::Rejected,
                &["bob".to_owned()][..]
            )
        );
        dave.withdraws(&request).await;
        request.reaches(Phase::Withdrawn).await;
    }
    // The withdrawn ones are remembered too, behind the rejected one.
    let third = in_review(&alice, &[(path.as_str(), changed)]).await;
    let seen = third
        .until("three sightings", PATIENCE, |s| {
            s.prior_releases_total == Some(2)
        })
        .await;
    let decisions: Vec<_> = seen
        .prior_releases
        .iter()
        .map(|p| (p.decision, p.same))
        .collect();
    assert_eq!(
        decisions,
        [
            (PriorDecision::Rejected, Same::Path),
            (PriorDecision::Withdrawn, Same::ContentAndPath)
        ]
    );
}
