//! A request is looked at when something happened to it, and not because the controller
//! itself has written what it saw.

use serde_json::json;
use trevor_api::Phase;

use crate::harness::{Controller, PATIENCE, private, ready};

const DRAFTS: u32 = 5;

#[tokio::test]
async fn what_the_controller_writes_itself_makes_it_look_no_further() {
    let env = private().await;
    let controller = Controller {
        elect: false,
        ..Controller::new(&env, "looks")
    };
    let controller = controller.start().await;
    let refused = "trevor_storage_errors_total{operation=\"PutObject\",kind=\"Refused\"}";
    assert_eq!(controller.metric(refused).await, Some(0.0), "by the proof");

    let alice = env.person_at("alice", "http://nowhere.invalid").await;
    let spec = json!({"direction": "Egress", "title": "Looked at"});
    let looks = async || controller.metric("trevor_looks_total").await.unwrap();
    // At first it looks at all that is there, and again when the rules have settled.
    ready("one look at each draft", PATIENCE, || async {
        let before = looks().await;
        for _ in 0..DRAFTS {
            let request = alice.creates("looks", spec.clone()).await;
            request.reaches(Phase::Draft).await;
        }
        let made = looks().await - before;
        (made <= f64::from(DRAFTS)).then_some(())
    })
    .await;
}
