//! An Event of each phase that was shown, though its first writes fail and processes die.

use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde_json::json;
use trevor_api::Phase;

use crate::harness::{
    Controller, Env, Lagging, PATIENCE, Person, Project, Request, private, ready, unique,
};

/// How many Events of a request have a reason.
async fn told(env: &Env, project: &str, request: &Request, reason: &str) -> usize {
    let api: Api<Event> = Api::namespaced(env.kube("admin").await, project);
    let all = api.list(&ListParams::default()).await.unwrap();
    let about = |event: &&Event| {
        event.involved_object.uid.as_deref() == Some(&request.uid)
            && event.reason.as_deref() == Some(reason)
    };
    all.items.iter().filter(about).count()
}

#[tokio::test]
async fn the_event_of_a_phase_is_told_before_its_status_and_again_where_a_write_fails() {
    let env = private().await;
    let project = Project::new(&env, "told").await;
    let lagging = Lagging::before(&env, "controller").await;
    let start = async |name: &str| {
        let setup = Controller {
            elect: false,
            variables: lagging.variables(),
            ..Controller::new(&env, name)
        };
        setup.start().await
    };
    let mut controller = start("told-first").await;
    let nowhere = "http://nowhere".to_owned();
    let mut alice = Person::new("alice", env.kube("alice").await, None, nowhere);
    alice.project = project.name.clone();
    let spec = json!({"direction": "Egress", "title": "Told"});

    // The POST fails, and is made again: once is shown, once is told.
    lagging.fails_times(format!("/namespaces/{}/events", project.name), 2);
    let request = alice.creates("told-again", spec.clone()).await;
    request.reaches(Phase::Draft).await;
    assert_eq!(lagging.failed(), 2);
    assert_eq!(told(&env, &project.name, &request, "Draft").await, 1);

    // The process dies before its status is written: the Event is there.
    let name = unique("told-first");
    lagging.fails(Some(format!("/airlockrequests/{name}/status")));
    let made = alice.tries_to_create(&name, spec).await.unwrap();
    let request = Request::new(&name, &made.uid().unwrap(), alice.kube.clone()).of(&project.name);
    ready(
        "the Event of a phase that is not shown",
        PATIENCE,
        || async { (told(&env, &project.name, &request, "Draft").await > 0).then_some(()) },
    )
    .await;
    controller.kill().await;
    assert_eq!(request.status().await.phase, None);
    lagging.fails(None);
    let _next = start("told-next").await;
    request.reaches(Phase::Draft).await;
    alice.withdraws(&request).await;
    request.reaches(Phase::Withdrawn).await;
    assert_eq!(told(&env, &project.name, &request, "Withdrawn").await, 1);
}
