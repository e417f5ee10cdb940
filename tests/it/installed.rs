//! What an installation starts with, and what is missing for a release: the policy of
//! the configuration, a publisher, room for the link's Secret.

use k8s_openapi::api::core::v1::{ResourceQuota, Secret};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};
use tokio::process::Command;
use trevor_api::{AirlockPolicy, AirlockRequestStatus, FINALIZER, Phase};

use crate::faults::{desk, desk_set};
use crate::harness::{
    Controller, Env, PATIENCE, PROJECT, Person, Project, Spawned, private, ready, trevor, unique,
};
use crate::main_job::is_a_valid_crate;

async fn controller(env: &Env, name: &str, settings: Vec<(&str, Value)>) -> Spawned {
    let setup = Controller {
        elect: false,
        settings,
        ..Controller::new(env, name)
    };
    setup.start().await
}

fn applies(status: &AirlockRequestStatus) -> Option<(&str, i64)> {
    let policy = status.policy.as_ref()?;
    Some((policy.name.as_str(), status.approvals.as_ref()?.required))
}

fn condition(status: &AirlockRequestStatus, kind: &str) -> (String, String, String) {
    let found = status.conditions.iter().find(|c| c.type_ == kind).unwrap();
    (
        found.status.clone(),
        found.reason.clone(),
        found.message.clone(),
    )
}

/// An upgrade to one approval and its rollback are two configurations; an AirlockPolicy
/// goes before both.
#[tokio::test]
async fn the_configurations_policy_applies_and_goes_back_with_it_and_an_airlock_policy_wins() {
    const SHOWN: &str = "default (configuration)";
    let env = private().await;
    let egress = |approvals: i64| {
        let rules = json!({"egress": {"requiredApprovals": approvals}});
        vec![("/default_policy", rules)]
    };
    let nowhere = "http://127.0.0.1:9".to_owned();
    let alice = Person::new("alice", env.kube("alice").await, None, nowhere);
    let spec = json!({"direction": "Egress", "title": "Configured"});
    let under = async |name: &str, approvals: i64| {
        let mut controller =
            controller(&env, &format!("configured-{name}"), egress(approvals)).await;
        let request = alice.creates("configured", spec.clone()).await;
        request
            .until(&format!("{approvals} approvals"), PATIENCE, move |s| {
                applies(s) == Some((SHOWN, approvals))
            })
            .await;
        controller.kill().await;
        request
    };
    under("one", 1).await;
    let request = under("two", 2).await;

    let _controller = controller(&env, "configured-again", egress(2)).await;
    let policies: Api<AirlockPolicy> = Api::all(env.kube("admin").await);
    let name = unique("default");
    let policy = serde_json::from_value(json!({
        "apiVersion": "airlock.karectl.io/v1alpha1", "kind": "AirlockPolicy", "metadata": {"name": name},
        "spec": {"default": true, "egress": {"requiredApprovals": 3}},
    }));
    let (params, gone) = (PostParams::default(), DeleteParams::default());
    policies.create(&params, &policy.unwrap()).await.unwrap();
    let named = name.clone();
    request
        .until("the AirlockPolicy", PATIENCE, move |s| {
            applies(s) == Some((&named, 3))
        })
        .await;
    let says = ready("the policy's word", PATIENCE, || async {
        let status = policies.get(&name).await.unwrap().status?;
        let said = status.conditions.into_iter().find(|c| c.type_ == "Ready")?;
        (said.status == "True").then_some(said.message)
    });
    assert!(says.await.contains(SHOWN));
    policies.delete(&name, &gone).await.unwrap();
    request
        .until("configured again", PATIENCE, |s| {
            applies(s) == Some((SHOWN, 2))
        })
        .await;
    alice.withdraws(&request).await;
}

/// Helm keeps what a hook made out of the release: an upgrade to a chart without the hook
/// leaves it.
#[tokio::test]
async fn the_default_policy_of_an_earlier_charts_hook_stays_in_force_alone_until_it_is_deleted() {
    let env = private().await;
    let policies: Api<AirlockPolicy> = Api::all(env.kube("admin").await);
    let old = serde_json::from_value(json!({
        "apiVersion": "airlock.karectl.io/v1alpha1", "kind": "AirlockPolicy",
        "metadata": {
            "name": "default",
            "labels": {"app.kubernetes.io/name": "trevor", "app.kubernetes.io/managed-by": "Helm"},
            "annotations": {
                "helm.sh/hook": "post-install,post-upgrade", "helm.sh/hook-delete-policy": "hook-failed",
            },
        },
        "spec": {"default": true, "egress": {"requiredApprovals": 3}},
    }));
    let params = PostParams::default();
    let old = policies.create(&params, &old.unwrap()).await.unwrap();
    let configured = json!({"egress": {"requiredApprovals": 1}});
    let _controller = controller(&env, "upgraded", vec![("/default_policy", configured)]).await;
    let nowhere = "http://nowhere".to_owned();
    let alice = Person::new("alice", env.kube("alice").await, None, nowhere);
    let spec = json!({"direction": "Egress", "title": "Upgraded"});
    let request = alice.creates("upgraded", spec).await;
    request
        .until("the old policy", PATIENCE, |s| {
            applies(s) == Some(("default", 3))
        })
        .await;
    let said = ready("a word on the old policy", PATIENCE, || async {
        let status = policies.get("default").await.unwrap().status?;
        let conditions = status.conditions.into_iter();
        let said = conditions.into_iter().find(|c| c.type_ == "Ready")?;
        (said.status == "True").then_some(said.message)
    })
    .await;
    for word in ["in place of", "default (configuration)", "deleted"] {
        assert!(said.contains(word), "{said}");
    }
    let all = policies.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(all.len(), 1, "nothing is made beside it");
    assert_eq!(
        (&all[0].spec, all[0].metadata.uid.clone()),
        (&old.spec, old.metadata.uid)
    );

    policies
        .delete("default", &DeleteParams::default())
        .await
        .unwrap();
    request
        .until("the configuration's", PATIENCE, |s| {
            applies(s) == Some(("default (configuration)", 1))
        })
        .await;
    alice.withdraws(&request).await;
}

#[tokio::test]
async fn without_any_policy_nothing_is_taken_and_that_is_said() {
    let env = private().await;
    let none = vec![("/default_policy", Value::Null)];
    let controller = controller(&env, "no-policy", none.clone()).await;
    let desk = desk_set(&env, "no-policy-gateway", &controller.url, &none).await;
    let spec = json!({"direction": "Egress", "title": "No policy"});
    let request = desk.alice.creates("no-policy", spec).await;
    request.says("Ready", "Draft").await;
    let answer = desk.alice.puts(&request, "a.csv", "1").await.expect(409);
    assert_eq!(answer.reason(), "NoPolicy");
    desk.alice.withdraws(&request).await;
}

/// Neither publisher nor licence is made up: the first is waited for, the second is not.
#[tokio::test]
async fn an_approved_request_waits_for_a_publisher_and_grants_no_licence_by_itself() {
    let env = private().await;
    let mut first = controller(&env, "unpublished", vec![("/crate", json!({}))]).await;
    let desk = desk_set(
        &env,
        "unpublished-gateway",
        &first.url,
        &[("/crate", json!({}))],
    )
    .await;
    let request = desk.approved_once("unpublished", 1, 100).await;
    let waiting = request.says("ReviewsWaiting", "PublisherMissing").await;
    assert_eq!(
        condition(&waiting, "Stalled").0,
        "False",
        "one approval is missing"
    );
    desk.carol.approves(&request).await;
    let stalled = request.says("Stalled", "PublisherMissing").await;
    assert_eq!(stalled.phase, Some(Phase::InReview));
    let (_, _, message) = condition(&stalled, "Stalled");
    assert!(message.contains("crate.publisher.name"), "{message}");
    assert!(env.release().keys(&request.releases()).await.is_empty());
    first.kill().await;

    let named = json!({"publisher": {"name": "Late Named", "email": "out@tre.example",
        "ror": "https://ror.org/03f0f6041", "url": "https://tre.example"}});
    let _second = controller(&env, "published", vec![("/crate", named)]).await;
    request.reaches(Phase::Released).await;
    let keys = env.release().keys(&request.releases()).await;
    let package = env.release().get(&keys[0]).await;
    is_a_valid_crate(&env, &package).await;
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(&package[..])).unwrap();
    let metadata: Value =
        serde_json::from_reader(zip.by_name("ro-crate-metadata.json").unwrap()).unwrap();
    let text = metadata.to_string();
    assert!(text.contains("All rights reserved") && text.contains("Late Named"));
    assert!(!text.contains("creativecommons"), "{text}");
}

/// A quota that allows no Secret in a namespace.
async fn no_secrets_allowed(env: &Env, project: &Project) -> Api<ResourceQuota> {
    let api: Api<ResourceQuota> = Api::namespaced(env.kube("admin").await, &project.name);
    let hard = json!({"secrets": "0"});
    let quota =
        serde_json::from_value(json!({"metadata": {"name": "few"}, "spec": {"hard": hard}}));
    api.create(&PostParams::default(), &quota.unwrap())
        .await
        .unwrap();
    let secrets: Api<Secret> = Api::namespaced(env.kube("admin").await, &project.name);
    ready("the quota is in force", PATIENCE, || async {
        let secret = serde_json::from_value(json!({"metadata": {"name": "one-more"}})).unwrap();
        let dry_run = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let refused = secrets.create(&dry_run, &secret).await.err()?.to_string();
        refused.contains("exceeded quota").then_some(())
    })
    .await;
    api
}

#[tokio::test]
async fn a_quota_on_secrets_is_said_and_nothing_is_called_released_before_there_is_a_link() {
    let env = private().await;
    let controller = controller(&env, "quota", Vec::new()).await;
    let desk = desk(&env, "quota-gateway", &controller.url).await;
    let project = Project::new(&env, "quota").await;
    let quotas = no_secrets_allowed(&env, &project).await;
    let desk = desk.in_project(&project.name).await;
    let request = desk.approved_once("quota", 1, 100).await;
    desk.carol.approves(&request).await;
    let stalled = request.says("Stalled", "QuotaExceeded").await;
    assert_eq!(stalled.phase, Some(Phase::Releasing));
    assert_eq!(condition(&stalled, "Released").0, "False");
    let (_, _, message) = condition(&stalled, "Stalled");
    for word in ["Secret", "quota", "ResourceQuota"] {
        assert!(message.contains(word), "{message}");
    }
    assert!(!message.contains("Status {"), "{message}");
    quotas
        .delete("few", &DeleteParams::default())
        .await
        .unwrap();
    request.reaches(Phase::Released).await;
    request.secret(&env.kube("admin").await).await;
}

#[tokio::test]
async fn the_secret_of_a_link_that_somebody_deleted_is_made_again_and_ends_with_the_link() {
    let env = private().await;
    let often = vec![("/controller/retention/look_seconds", json!(1))];
    let controller = controller(&env, "deleted-secret", often).await;
    let desk = desk(&env, "deleted-secret-gateway", &controller.url).await;
    let request = desk.approved_once("deleted-secret", 1, 100).await;
    desk.carol.approves(&request).await;
    request.reaches(Phase::Released).await;
    let admin = env.kube("admin").await;
    let before = request.secret(&admin).await;
    let name = before.metadata.name.clone().unwrap();
    let secrets: Api<Secret> = Api::namespaced(admin.clone(), PROJECT);
    secrets
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
    let again = ready("the Secret is there again", PATIENCE, || async {
        secrets.get_opt(&name).await.unwrap()
    })
    .await;
    assert_eq!((again.data, again.type_), (before.data, before.type_));
    assert_ne!(again.metadata.uid, before.metadata.uid);
    // What is revoked stays away.
    desk.alice.withdraws(&request).await;
    request.reaches(Phase::Revoked).await;
    assert!(secrets.get_opt(&name).await.unwrap().is_none());
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert!(secrets.get_opt(&name).await.unwrap().is_none());
}

/// An API server that knows one answer about requests.
async fn answers(code: u16, items: Value) -> (String, tempfile::TempDir) {
    let body = match code {
        200 => json!({
            "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "items": items,
        }),
        code => json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "message": "refused",
        }),
    };
    let answer = move || {
        let body = body.clone();
        async move { (http::StatusCode::from_u16(code).unwrap(), axum::Json(body)) }
    };
    let app = axum::Router::new().fallback(answer);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c", "preferences": {},
        "clusters": [{"name": "c", "cluster": {"server": url}}], "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    let file = folder.path().join("kubeconfig");
    std::fs::write(&file, kubeconfig.to_string()).unwrap();
    (file.to_str().unwrap().to_owned(), folder)
}

#[tokio::test]
async fn what_never_worked_can_be_removed_without_bucket_and_credentials() {
    let held = json!([{
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": {"name": "r", "namespace": "a", "uid": "u", "finalizers": [FINALIZER]},
    }]);
    let draft = json!([{
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": {"name": "r", "namespace": "a", "uid": "u"},
    }]);
    let nowhere = json!({
        "storage": {
            "allow_http": true,
            "quarantine": {"bucket": "quarantine", "endpoint": "http://127.0.0.1:9"},
            "release": {"bucket": "release", "endpoint": "http://127.0.0.1:10"},
        },
        "gateway": {"tls": {"allow_plaintext": true}},
    });
    for (code, items, config, well) in [
        (200, json!([]), None, true),
        (200, json!([]), Some(&nowhere), true),
        (200, draft, Some(&nowhere), true),
        (404, json!([]), None, true),
        (200, held.clone(), Some(&nowhere), false),
        (200, held, None, false),
        (403, json!([]), Some(&nowhere), false),
    ] {
        let (kubeconfig, folder) = answers(code, items.clone()).await;
        let file = folder.path().join("config.yaml");
        if let Some(config) = config {
            std::fs::write(&file, config.to_string()).unwrap();
        }
        let run = Command::new(trevor())
            .args(["retention", "release-finalizers", "--config"])
            .arg(&file)
            .env_clear()
            .env("KUBECONFIG", &kubeconfig)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .kill_on_drop(true)
            .output();
        let done = tokio::time::timeout(PATIENCE, run).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        let errors = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(
            done.status.success(),
            well,
            "{code} {items}: {said}{errors}"
        );
        assert_eq!(said.contains("nothing to let go"), well, "{said}{errors}");
    }
}

/// As Velero makes it: by its own account, with its label.
#[tokio::test]
async fn what_a_backup_tool_restores_is_refused_with_words_that_say_what_to_do() {
    let env = Env::shared();
    let restored = |kind: &str, spec: Value| {
        json!({
            "apiVersion": "airlock.karectl.io/v1alpha1", "kind": kind,
            "metadata": {"name": unique("restored"), "labels": {"velero.io/restore-name": "r", "velero.io/backup-name": "b"}},
            "spec": spec,
        })
    };
    let request = json!({"direction": "Egress", "title": "Restored", "submitter": "alice"});
    let review = json!({
        "requestName": "r", "manifestDigest": "0".repeat(64), "reviewer": "bob", "decision": "Approve",
    });
    for (plural, kind, spec) in [
        ("airlockrequests", "AirlockRequest", request),
        ("airlockreviews", "AirlockReview", review),
    ] {
        let account = "system:serviceaccount:velero:velero";
        let (code, said) = post_as(&env, account, plural, &restored(kind, spec.clone())).await;
        assert_eq!(code, 403, "{said}");
        assert!(
            said.contains("--exclude-resources") && said.contains("After a restore"),
            "{said}"
        );
    }
}

/// What the API server says to a dry run of an administrator who acts as an account of
/// the group of administrators.
async fn post_as(env: &Env, account: &str, plural: &str, object: &Value) -> (u16, String) {
    let request = http::Request::post(format!(
        "/apis/airlock.karectl.io/v1alpha1/namespaces/{}/{plural}?dryRun=All",
        PROJECT
    ))
    .header("content-type", "application/json")
    .header("impersonate-user", account)
    .header("impersonate-group", "system:masters")
    .body(object.to_string().into_bytes())
    .unwrap();
    match env.kube("admin").await.request::<Value>(request).await {
        Ok(made) => (201, made.to_string()),
        Err(kube::Error::Api(answer)) => (answer.code, answer.message.clone()),
        Err(error) => panic!("{error}"),
    }
}
