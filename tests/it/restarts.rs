//! What ends a process that runs well, so that it is started again: another credential.
//! What keeps one from starting: definitions of an older chart. And what one that was
//! killed leaves in the spool folder.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use crate::harness::{Controller, Gateway, Http, PATIENCE, private, ready};

#[tokio::test]
async fn a_process_whose_credential_is_changed_ends_well() {
    let env = private().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("TREVOR_S3_QUARANTINE_SECRET_ACCESS_KEY");
    std::fs::write(&file, "first-secret").unwrap();
    let variables = vec![(
        "TREVOR_CREDENTIALS_DIR".to_owned(),
        folder.path().display().to_string(),
    )];
    let setup = Controller {
        elect: false,
        variables: variables.clone(),
        ..Controller::new(&env, "rotated-controller")
    };
    let mut controller = setup.start().await;
    let setup = Gateway {
        env: &env,
        name: "rotated-gateway",
        controller: &controller.url,
    };
    let http = Http::default();
    let mut gateway = setup.start_with(&json!({}), &variables, &http).await;
    std::fs::write(&file, "second-secret").unwrap();
    for (process, name) in [
        (&mut controller, "rotated-controller"),
        (&mut gateway, "rotated-gateway"),
    ] {
        assert_eq!(process.ends().await, Some(0), "{name}");
        let log = std::fs::read_to_string(env.folder().join(format!("log/{name}.log"))).unwrap();
        assert!(
            log.contains("a credential was changed")
                && log.contains("QUARANTINE_SECRET_ACCESS_KEY")
        );
        assert!(!log.contains("-secret\"") && !log.contains("second-secret"));
    }
}

#[tokio::test]
async fn a_definition_of_an_older_chart_ends_the_controller_with_one_line() {
    let env = private().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(env.kube("admin").await);
    let name = "airlockactions.airlock.karectl.io";
    let now = definitions.get(name).await.unwrap();
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/message";
    let patch = json!([{"op": "remove", "path": path}]);
    let patch: Patch<()> = Patch::Json(serde_json::from_value(patch).unwrap());
    let older = definitions
        .patch(name, &PatchParams::default(), &patch)
        .await
        .unwrap();
    let mut controller = Controller::new(&env, "older-chart").launch();
    let ended = controller.ends().await;
    // As it was, before anything else is said.
    let mut restored = now;
    restored.metadata.resource_version = older.metadata.resource_version;
    definitions
        .replace(name, &PostParams::default(), &restored)
        .await
        .unwrap();
    assert_eq!(ended, Some(1));
    let log = std::fs::read_to_string(env.folder().join("log/older-chart.log")).unwrap();
    let said = log.lines().last().unwrap();
    assert!(
        said.contains(name) && said.contains("older chart") && said.contains("status.message"),
        "{said}"
    );
    let mut again = Controller::new(&env, "newer-chart").launch();
    ready(
        "it starts with the definition of its chart",
        PATIENCE,
        || async {
            let answer = Http::default().tries(&again.metrics).await;
            answer.is_ok_and(|a| a.status == 200).then_some(())
        },
    )
    .await;
    again.kill().await;
}

#[tokio::test]
async fn a_controller_that_starts_removes_the_parts_of_one_that_was_killed() {
    let env = private().await;
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    let setup = |name| Controller {
        elect: false,
        settings: vec![("/controller/packaging/spool_dir", json!(spool))],
        ..Controller::new(&env, name)
    };
    let mut first = setup("spool-first").start().await;
    // A part lies there under such a name while it is sent.
    let part = spool.join("trevor-part-killed");
    let other = spool.join("of-somebody-else");
    std::fs::write(&part, "content of a part").unwrap();
    std::fs::write(&other, "").unwrap();
    let mut second = setup("spool-second").start().await;
    assert!(part.exists(), "the first one lives, and it may be its part");
    first.kill().await;
    second.kill().await;
    let mut third = setup("spool-third").start().await;
    assert!(!part.exists());
    assert!(other.exists());
    third.kill().await;
}
