//! What a killed gateway left goes when nothing came for a while, and nothing that a
//! receipt names or a hold keeps.

use serde_json::json;
use trevor_api::{Phase, ReviewDecision};

use crate::actions::{acts, word_on};
use crate::faults::desk;
use crate::harness::{Controller, Env, PATIENCE, Person, Request, private, ready};

async fn draft(alice: &Person) -> Request {
    let spec = json!({"direction": "Egress", "title": "Left"});
    let request = alice.creates("left", spec).await;
    request.reaches(Phase::Draft).await;
    alice.uploads(&request, "t.csv", b"1\n".to_vec()).await;
    request
}

/// As a gateway leaves it that dies between two parts, and between a file and its receipt.
async fn dies_over(env: &Env, request: &Request) {
    let store = env.quarantine();
    let open = format!("{}files/open", request.prefix());
    let (client, bucket) = (&store.client, &store.bucket);
    let begun = client.create_multipart_upload().bucket(bucket).key(&open);
    let begun = begun.send().await.unwrap();
    client
        .upload_part()
        .bucket(bucket)
        .key(&open)
        .upload_id(begun.upload_id().unwrap())
        .part_number(1)
        .body(vec![b'x'; 5 << 20].into())
        .send()
        .await
        .unwrap();
    let stray = format!("{}files/stray", request.prefix());
    store.put(&stray, b"nobody has a receipt of this").await;
}

/// The open upload, and the files without the one that has a receipt.
async fn left(env: &Env, request: &Request) -> (usize, Vec<String>) {
    let prefix = format!("{}files/", request.prefix());
    let open = env.quarantine().open_uploads(&prefix).await.len();
    let mut files = env.quarantine().keys(&prefix).await;
    files.retain(|key| key.ends_with("/stray"));
    (open, files)
}

#[tokio::test]
async fn what_a_killed_gateway_left_goes_when_its_time_is_over_and_no_hold_stands() {
    let env = private().await;
    let setup = Controller {
        elect: false,
        settings: vec![
            ("/controller/retention/orphans_seconds", json!(1)),
            ("/controller/retention/leftovers_seconds", json!(3)),
        ],
        ..Controller::new(&env, "leftovers")
    };
    let controller = setup.start().await;
    let desk = desk(&env, "leftovers-desk", &controller.url).await;
    let alice = &desk.alice;
    let olga = env.person("olga").await;
    let (free, held) = (draft(alice).await, draft(alice).await);
    let hold = acts(&olga, &held, "HoldOfficer", "Hold").await.unwrap();
    word_on(&olga, &hold).await;
    dies_over(&env, &held).await;
    dies_over(&env, &free).await;
    let stands = env
        .quarantine()
        .keys(&format!("{}files/", free.prefix()))
        .await;
    assert_eq!(stands.len(), 2);
    ready("what was left is gone", PATIENCE, || async {
        (left(&env, &free).await == (0, Vec::new())).then_some(())
    })
    .await;
    // The file that counts is there, and can be read; of the held one all is.
    let stands = env
        .quarantine()
        .keys(&format!("{}files/", free.prefix()))
        .await;
    assert_eq!(stands.len(), 1);
    let (open, files) = left(&env, &held).await;
    assert_eq!((open, files.len()), (1, 1));
    alice.submits(&free, 1).await;
    free.reaches(Phase::InReview).await;
    desk.bob.reads(&free, "t.csv").await.expect(200);
    let ledger = env
        .quarantine()
        .keys(&format!("audit/{}", free.prefix()))
        .await;
    let mut told = 0;
    for key in ledger {
        let entry = env.quarantine().json(&key).await;
        let events = entry["events"].as_array().unwrap();
        told += events
            .iter()
            .filter(|e| e["kind"] == "LeftoverDeleted")
            .count();
    }
    assert_eq!(told, 2, "one upload, one file");

    let lift = acts(&olga, &held, "HoldOfficer", "LiftHold").await.unwrap();
    word_on(&olga, &lift).await;
    ready("what was held is gone", PATIENCE, || async {
        (left(&env, &held).await == (0, Vec::new())).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_review_of_a_request_that_is_not_there_goes_after_its_time_and_others_stay() {
    let env = private().await;
    let setup = Controller {
        elect: false,
        settings: vec![("/controller/retention/unknown_reviews_seconds", json!(2))],
        ..Controller::new(&env, "unknown-reviews")
    };
    let controller = setup.start().await;
    let desk = desk(&env, "unknown-reviews-desk", &controller.url).await;
    let request = draft(&desk.alice).await;
    let digest = "0".repeat(64);
    let of = |name: String| {
        let (bob, digest) = (desk.bob.clone(), digest.clone());
        async move {
            let review = bob
                .reviews_digest(&name, &digest, ReviewDecision::Approve)
                .await;
            review.unwrap().metadata.name.unwrap()
        }
    };
    let stays = of(request.name.clone()).await;
    let goes = of("no-such-request".to_owned()).await;
    let reviews = desk.bob.reviews();
    ready("it is deleted", PATIENCE, || async {
        let found = reviews.get_opt(&goes).await.unwrap();
        found.is_none().then_some(())
    })
    .await;
    let other = reviews.get(&stays).await.unwrap();
    assert_eq!(
        other.status.unwrap().reason.as_deref(),
        Some("NothingToReview")
    );
}
