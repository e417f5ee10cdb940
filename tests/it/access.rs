//! Who may do what through the gateway, in which phase: a table
//! (docs/reference/permissions.md and docs/reference/wire-formats.md#calls), tried cell by cell.

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::Method;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;
use trevor_api::{Phase, ReviewDecision};

use crate::harness::{Env, Person, Project, Request, bind};

/// Callers, in the order of the columns.
const CALLERS: [&str; 12] = [
    "submitter",
    "researcher",
    "checker",
    "hold officer",
    "records reader",
    "wildcard",
    "no role",
    "account: researcher",
    "account: checker",
    "account: no role",
    "no token",
    "session elsewhere",
];

/// What those get who may, in one phase; everybody else is refused whatever the
/// phase is.
struct State {
    name: &'static str,
    /// PUT and DELETE by the submitter.
    changes: (u16, u16),
    /// GET content, HEAD content and GET crate by those who may.
    content: (u16, u16, u16),
    /// The submitter reads content.
    submitter_reads: bool,
    /// GET manifest by readers.
    manifest: u16,
    /// GET release by the submitter.
    release: u16,
}

const fn state(
    name: &'static str,
    changes: (u16, u16),
    content: (u16, u16, u16),
    manifest: u16,
    release: u16,
) -> State {
    State {
        name,
        changes,
        content,
        submitter_reads: false,
        manifest,
        release,
    }
}

const UNFROZEN: (u16, u16, u16) = (404, 404, 404);
const FROZEN: (u16, u16, u16) = (200, 200, 200);

fn states() -> Vec<State> {
    vec![
        state("Draft", (201, 204), UNFROZEN, 404, 409),
        state("Submitted", (201, 204), UNFROZEN, 404, 409),
        state("InReview", (409, 409), FROZEN, 200, 409),
        state("ChangesRequested", (201, 204), FROZEN, 200, 409),
        State {
            submitter_reads: true,
            ..state("Released", (409, 409), FROZEN, 200, 200)
        },
        state("Rejected", (409, 409), FROZEN, 200, 409),
        state("Withdrawn", (409, 409), FROZEN, 200, 409),
        // Failed because its file is gone.
        state("Failed", (201, 204), (410, 200, 200), 200, 409),
    ]
}

const CALLS: [&str; 12] = [
    "GET files",
    "GET content",
    "HEAD content",
    "GET manifest",
    "GET crate",
    "GET release",
    "GET plan",
    "GET delivery",
    "PUT files",
    "DELETE files",
    // For pods of our Jobs, and for nobody else.
    "PUT collection",
    "PUT delivery",
];

/// What a caller gets, by what these documents say and not by the code.
fn expected(state: &State, call: &str, caller: &str) -> u16 {
    if matches!(caller, "no token" | "session elsewhere") {
        return 401;
    }
    let submitter = caller == "submitter";
    let reader = !matches!(caller, "no role" | "account: no role");
    let reviewer = matches!(caller, "checker" | "account: checker");
    let content = |status: u16| {
        let may = reviewer || (submitter && state.submitter_reads);
        if may { status } else { 403 }
    };
    match call {
        "GET files" if reader => 200,
        "GET manifest" if reader => state.manifest,
        "GET content" => content(state.content.0),
        "HEAD content" => content(state.content.1),
        "GET crate" => content(state.content.2),
        "GET release" if submitter => state.release,
        // Egress has no plan.
        "GET plan" if submitter => 409,
        "PUT files" if submitter => state.changes.0,
        "DELETE files" if submitter => state.changes.1,
        _ => 403,
    }
}

/// A project with all the callers in it.
struct House {
    callers: Vec<Person>,
}

impl House {
    async fn new(env: &Env, project: &Project) -> Self {
        let admin = env.kube("admin").await;
        for (name, role) in [
            ("researching", Some("trevor-researcher")),
            ("checking", Some("trevor-checker")),
            ("idle", None),
        ] {
            account(&admin, &project.name, name, role).await;
        }
        // A role that is there for making a session, and gone before it is used.
        let mallory = fleeting(env, project, "mallory", "trevor-researcher").await;
        let wildcard = project.person("admin").await;
        let alice = project.person("alice").await;
        let token = |name: &'static str| {
            let (admin, alice) = (admin.clone(), alice.clone());
            async move {
                let token = account_token(&admin, &alice.project, name).await;
                Person {
                    token: Some(token),
                    ..alice
                }
            }
        };
        let elsewhere = Person {
            token: env.person("bob").await.token,
            ..alice.clone()
        };
        let callers = vec![
            alice.clone(),
            project.person("dave").await,
            project.person("bob").await,
            project.person("olga").await,
            reader(env, project).await,
            wildcard,
            mallory,
            token("researching").await,
            token("checking").await,
            token("idle").await,
            Person {
                token: None,
                ..alice.clone()
            },
            elsewhere,
        ];
        assert_eq!(callers.len(), CALLERS.len());
        Self { callers }
    }
}

/// A records reader: nobody in the environment is one, so that an administrator
/// impersonates somebody who has no other role.
async fn reader(env: &Env, project: &Project) -> Person {
    let (admin, name) = (env.kube("admin").await, "rita");
    bind(&admin, &project.name, "trevor-records-reader", &[name]).await;
    let kube = impersonating(env, name).await;
    let person = Person::new(name, kube, None, env.address("gateway"));
    person.moves_to(&project.name).await
}

/// Kubernetes as a user without credentials of their own.
async fn impersonating(env: &Env, user: &str) -> kube::Client {
    let file = kube::config::Kubeconfig::read_from(env.folder().join("kubeconfig")).unwrap();
    let options = kube::config::KubeConfigOptions {
        context: Some("admin".to_owned()),
        ..Default::default()
    };
    let mut config = kube::Config::from_custom_kubeconfig(file, &options)
        .await
        .unwrap();
    config.auth_info.impersonate = Some(user.to_owned());
    kube::Client::try_from(config).unwrap()
}

async fn fleeting(env: &Env, project: &Project, name: &str, role: &str) -> Person {
    let admin = env.kube("admin").await;
    let bindings: Api<RoleBinding> = Api::namespaced(admin.clone(), &project.name);
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "fleeting"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
    }))
    .unwrap();
    bindings
        .create(&PostParams::default(), &binding)
        .await
        .unwrap();
    let person = project.person(name).await;
    bindings
        .delete("fleeting", &DeleteParams::default())
        .await
        .unwrap();
    person
}

async fn account(admin: &kube::Client, namespace: &str, name: &str, role: Option<&str>) {
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), namespace);
    let account = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    accounts
        .create(&PostParams::default(), &account)
        .await
        .unwrap();
    let Some(role) = role else { return };
    let binding = serde_json::from_value(json!({
        "metadata": {"name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
    }))
    .unwrap();
    let bindings: Api<RoleBinding> = Api::namespaced(admin.clone(), namespace);
    bindings
        .create(&PostParams::default(), &binding)
        .await
        .unwrap();
}

async fn account_token(admin: &kube::Client, namespace: &str, name: &str) -> String {
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), namespace);
    let wanted: TokenRequest =
        serde_json::from_value(json!({"spec": {"audiences": ["trevor-gateway"]}})).unwrap();
    let made = accounts
        .create_token_request(name, &PostParams::default(), &wanted)
        .await;
    made.unwrap().status.unwrap().token.unwrap()
}

/// A request in a state, with one file `a.csv`.
async fn bring_to(env: &Env, state: &str, alice: &Person, bob: &Person, carol: &Person) -> Request {
    let files = match state {
        "Submitted" => json!([{"path": "a.csv"}, {"path": "b.csv"}]),
        _ => json!([]),
    };
    let spec = json!({"direction": "Egress", "title": "Access", "files": files});
    let request = alice.creates("access", spec).await;
    alice.uploads(&request, "a.csv", "1,2").await;
    if state == "Draft" {
        request.reaches(Phase::Draft).await;
        return request;
    }
    alice.submits(&request, 1).await;
    if state == "Submitted" {
        request.reaches(Phase::Submitted).await;
        return request;
    }
    request.reaches(Phase::InReview).await;
    match state {
        "InReview" => {}
        "ChangesRequested" => {
            bob.reviews_it(&request, ReviewDecision::RequestChanges)
                .await;
            request.reaches(Phase::ChangesRequested).await;
        }
        "Rejected" => {
            bob.reviews_it(&request, ReviewDecision::Reject).await;
            request.reaches(Phase::Rejected).await;
        }
        "Withdrawn" => {
            alice.withdraws(&request).await;
            request.reaches(Phase::Withdrawn).await;
        }
        "Released" | "Failed" => {
            let inside = env.quarantine();
            if state == "Failed" {
                for key in inside.keys(&format!("{}files/", request.prefix())).await {
                    inside.delete(&key).await;
                }
            }
            bob.approves(&request).await;
            carol.approves(&request).await;
            let end = if state == "Failed" {
                Phase::Failed
            } else {
                Phase::Released
            };
            request.reaches(end).await;
        }
        other => panic!("{other}"),
    }
    request
}

/// Tries one cell.
async fn get(caller: &Person, request: &Request, call: &str) -> u16 {
    let (method, what) = call.split_once(' ').unwrap();
    let method: Method = method.parse().unwrap();
    let url = match what {
        "files" if method != Method::GET => caller.file_url(&request.name, "files", "a.csv"),
        "content" => caller.file_url(&request.name, "content", "a.csv"),
        what => caller.url(&request.name, what),
    };
    let body = if method == Method::PUT { "1,2" } else { "" };
    let answer = caller.calls(method, &url, &[], Bytes::from(body)).await;
    answer.status.as_u16()
}

/// Calls that change nothing at the same time, then the changes one by one, the
/// submitter's last.
async fn try_all(house: &House, request: &Request) -> Vec<(&'static str, &'static str, u16)> {
    let cells = |calls: &'static [&'static str]| {
        let each = move |n: usize| calls.iter().map(move |call| (*call, n));
        (0..CALLERS.len()).rev().flat_map(each)
    };
    let (reads, changes) = CALLS.split_at(8);
    let one = |(call, n): (&'static str, usize)| async move {
        let got = get(&house.callers[n], request, call).await;
        (call, CALLERS[n], got)
    };
    let mut got: Vec<_> = stream::iter(cells(reads))
        .map(one)
        .buffered(8)
        .collect()
        .await;
    got.extend(
        stream::iter(cells(changes))
            .then(one)
            .collect::<Vec<_>>()
            .await,
    );
    got
}

#[tokio::test]
async fn each_call_is_answered_to_each_caller_in_each_phase_as_the_contract_says() {
    let env = Env::shared();
    let project = Project::new(&env, "access").await;
    let house = House::new(&env, &project).await;
    let (alice, bob) = (&house.callers[0], &house.callers[2]);
    let carol = project.person("carol").await;
    let states = states();
    let brought = states
        .iter()
        .map(|state| bring_to(&env, state.name, alice, bob, &carol));
    let requests = futures::future::join_all(brought).await;
    let mut wrong = Vec::new();
    let mut cells = 0;
    for (state, request) in states.iter().zip(&requests) {
        for (call, caller, got) in try_all(&house, request).await {
            let expected = expected(state, call, caller);
            cells += 1;
            if got != expected {
                wrong.push(format!(
                    "{}, {call}, {caller}: expected {expected}, got {got}",
                    state.name
                ));
            }
        }
    }
    println!(
        "{cells} cells: {} states x {} calls x {} callers; {} unexpected",
        states.len(),
        CALLS.len(),
        CALLERS.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Ingress, as far as it is built: who asks is told apart, and nothing is uploaded
/// through the gateway.
#[tokio::test]
async fn files_of_an_ingress_request_are_not_uploaded_here_by_anybody() {
    let env = Env::shared();
    let project = Project::new(&env, "access-in").await;
    let house = House::new(&env, &project).await;
    let spec = json!({
        "direction": "Ingress", "title": "In",
        "files": [{"path": "a.csv", "size": 3, "sha256": crate::harness::sha256(b"1,2")}],
    });
    let request = house.callers[0].creates("access-in", spec).await;
    request
        .until("a phase", crate::harness::PATIENCE, |s| s.phase.is_some())
        .await;
    let mut wrong = Vec::new();
    for (call, caller, got) in try_all(&house, &request).await {
        let state = state("Draft", (409, 409), UNFROZEN, 404, 409);
        // What the plan says is for the tests of staging.
        let expected = expected(&state, call, caller);
        if got != expected && !(call == "GET plan" && caller == "submitter") {
            wrong.push(format!("{call}, {caller}: expected {expected}, got {got}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
