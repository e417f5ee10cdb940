//! What comes in is bounded by what a project may store (policy `maxStoredBytes`).

use serde_json::json;
use trevor_api::Phase;

use crate::harness::{Env, Person, Project, Request, noise};
use crate::ingress::{declared, send_all, spec};

async fn planned(alice: &Person, stem: &str, bytes: &[u8]) -> Request {
    let request = alice
        .creates(stem, spec(0, &[declared("a.bin", bytes)]))
        .await;
    alice.gets(&request, "plan").await.expect(200);
    request
}

#[tokio::test]
async fn what_would_not_fit_is_not_planned_and_what_fits_no_more_is_not_confirmed() {
    let env = Env::shared();
    let project = Project::new(&env, "room").await;
    project
        .inward_policy(json!({"maxStoredBytes": 10_000_000}))
        .await;
    let alice = project.person("alice").await;
    let first = noise(6_000_000, 41);
    let request = planned(&alice, "first", &first).await;
    send_all(&alice, &request, &[("a.bin", &first)]).await;
    alice.submits(&request, 1).await;
    request.reaches(Phase::InReview).await;

    let large = noise(4_000_001, 42);
    let refused = alice
        .creates("large", spec(0, &[declared("a.bin", &large)]))
        .await;
    let answer = alice.gets(&refused, "plan").await.expect(422);
    assert_eq!(answer.reason(), "RefusedByPolicy");
    let said = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        said.contains("6000000 bytes in quarantine") && said.contains("4000001 more"),
        "{said}"
    );
    let staged = env.staging().keys(&format!("{}/", refused.uid)).await;
    assert!(staged.is_empty());

    // Each fits, and both do not.
    let (one, two) = (noise(3_000_000, 43), noise(3_000_000, 44));
    let left = planned(&alice, "left", &one).await;
    let right = planned(&alice, "right", &two).await;
    for (request, bytes) in [(&left, &one), (&right, &two)] {
        send_all(&alice, request, &[("a.bin", bytes)]).await;
    }
    tokio::join!(alice.submits(&left, 1), alice.submits(&right, 1));
    let settled = |s: &trevor_api::AirlockRequestStatus| {
        matches!(s.phase, Some(Phase::InReview | Phase::ChangesRequested))
    };
    let patience = crate::harness::PATIENCE;
    let (left, right) = tokio::join!(
        left.until("settled", patience, settled),
        right.until("settled", patience, settled)
    );
    let stalled = |s: &trevor_api::AirlockRequestStatus| {
        let stalled = s.conditions.iter().find(|c| c.type_ == "Stalled").unwrap();
        (stalled.status == "True").then(|| stalled.message.clone())
    };
    let refusals: Vec<String> = [&left, &right].into_iter().filter_map(stalled).collect();
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert!(
        refusals[0].contains("9000000 bytes in quarantine, 3000000 more"),
        "{refusals:?}"
    );
    project.policy_goes().await;
}
