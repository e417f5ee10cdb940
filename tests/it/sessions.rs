//! Sessions whose time is over are deleted, and no others.

use kube::Api;
use trevor_api::AirlockSession;

use crate::harness::{Controller, PATIENCE, PROJECT, private, ready, sha256};

#[tokio::test]
async fn a_session_whose_time_is_over_is_deleted_and_one_that_lives_stays() {
    let env = private().await;
    let alice = env.person_at("alice", "http://nowhere.invalid").await;
    let sessions: Api<AirlockSession> = Api::namespaced(env.kube("admin").await, PROJECT);
    let named = |token: &str| format!("s-{}", &sha256(token.as_bytes())[..40]);
    let ends = named(&alice.new_session(PROJECT, 60).await);
    let lives = named(&alice.new_session(PROJECT, 3600).await);
    let controller = Controller {
        elect: false,
        ..Controller::new(&env, "sessions")
    };
    let _controller = controller.start().await;
    assert!(
        sessions.get_opt(&ends).await.unwrap().is_some(),
        "not early"
    );
    ready("the first is deleted", PATIENCE, || async {
        let found = sessions.get_opt(&ends).await.unwrap();
        found.is_none().then_some(())
    })
    .await;
    assert!(sessions.get_opt(&lives).await.unwrap().is_some());
}
