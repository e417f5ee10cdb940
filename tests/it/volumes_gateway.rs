//! Jobs that move files between volumes and quarantine, from the gateway's side and
//! from their own: what a pod's token may do, and the subcommands that run in it.
//! Nothing reconciles here: what the controller would store is put by hand.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use trevor_core::volume::Errand;

use crate::harness::{
    Answer, Env, Gateway, PATIENCE, PROJECT, Person, Private, Request, Spawned, Store, private,
    sha256, trevor, unique,
};

const COLLECT: Errand = Errand::Collect { round: 1 };

struct House {
    _env: Private,
    gateway: Spawned,
    admin: Person,
    /// Who may deliver into the claim `work`.
    alice: Person,
    /// The controller's account, whose status is.
    controller: Client,
    bucket: Store,
}

impl House {
    async fn new(name: &'static str, controller: &str) -> Self {
        let env = private().await;
        let gateway = Gateway {
            env: &env,
            name,
            controller,
        };
        let gateway = gateway.start().await;
        let controller = controllers(&env).await;
        let person = async |name: &str| {
            let kube = env.kube(name).await;
            let mut person = Person::new(name, kube, None, gateway.url.clone());
            person
                .logs_in_without_controller(&controller, PROJECT)
                .await;
            person
        };
        let (alice, admin) = (person("alice").await, person("admin").await);
        may_write(&admin.kube, "alice").await;
        Self {
            alice,
            admin,
            controller,
            bucket: env.quarantine(),
            gateway,
            _env: env,
        }
    }

    /// An egress request that is submitted, and waits for files.
    async fn egress(&self, files: Value) -> Request {
        let spec = json!({"direction": "Egress", "title": "Collected", "files": files});
        let request = self.admin.creates("collect", spec).await;
        self.admin.submits(&request, 1).await;
        self.stands_at(&request, "Submitted").await;
        request
    }

    /// An ingress request into a volume, frozen with these files.
    async fn ingress(&self, files: &[(&str, Vec<u8>)]) -> Request {
        let declared: Vec<Value> = files
            .iter()
            .map(
                |(path, bytes)| json!({"path": path, "size": bytes.len(), "sha256": sha256(bytes)}),
            )
            .collect();
        let spec = json!({"direction": "Ingress", "title": "Delivered", "files": declared,
            "delivery": {"type": "PersistentVolumeClaim", "persistentVolumeClaim": {"claimName": "work", "path": "in"}}});
        let request = self.alice.creates("deliver", spec).await;
        let mut frozen = Vec::new();
        for (n, (path, bytes)) in files.iter().enumerate() {
            let key = format!("{}files/{n}", request.prefix());
            self.bucket.put(&key, bytes).await;
            frozen.push(json!({"path": path, "size": bytes.len(), "sha256": sha256(bytes), "crc32": "00000000",
                "mediaType": "text/csv", "version": "00000000000000000001", "key": key}));
        }
        self.freezes(&request, "Ingress", &frozen).await;
        request
    }

    async fn freezes(&self, request: &Request, direction: &str, files: &[Value]) {
        let manifest = json!({"kind": "Manifest", "namespace": PROJECT, "name": request.name, "uid": request.uid,
            "round": 1, "direction": direction, "submitter": "admin", "policy": {"name": "p", "digest": sha256(b"p")},
            "title": "t", "files": files});
        let at = format!("{}rounds/1/manifest.json", request.prefix());
        self.bucket.put(&at, manifest.to_string().as_bytes()).await;
    }

    async fn stands_at(&self, request: &Request, phase: &str) {
        let api: Api<trevor_api::AirlockRequest> =
            Api::namespaced(self.controller.clone(), PROJECT);
        let mut live = api.get(&request.name).await.unwrap();
        let status = live.status.get_or_insert_default();
        status.phase = serde_json::from_value(json!(phase)).unwrap();
        status.round = Some(1);
        api.replace_status(&request.name, &PostParams::default(), &live)
            .await
            .unwrap();
    }

    /// What the controller stores of a Job; gives its name.
    async fn makes(&self, request: &Request, errand: Errand, account: &str) -> String {
        let job = self.means(request, errand, account).await;
        let made = json!({"uid": "11111111-2222-4333-8444-555555555555"}).to_string();
        let at = format!("work/jobs/{}/{}.uid.json", request.uid, errand.slug());
        self.bucket.put(&at, made.as_bytes()).await;
        job
    }

    /// The same, killed before the Job was recorded.
    async fn means(&self, request: &Request, errand: Errand, account: &str) -> String {
        let job = errand.job_name(&request.name, &request.uid);
        let intent = json!({"job": job, "nonce": "n", "serviceAccount": account}).to_string();
        let at = format!("work/jobs/{}/{}.json", request.uid, errand.slug());
        self.bucket.put(&at, intent.as_bytes()).await;
        job
    }

    /// Somebody with the token of a pod, as the kubelet would have it made.
    async fn pod(&self, namespace: &str, account: &str, pod: &str) -> Person {
        self.pod_and_uid(namespace, account, pod).await.0
    }

    async fn pod_and_uid(&self, namespace: &str, account: &str, pod: &str) -> (Person, String) {
        let (token, uid) = pod_token(&self.admin.kube, namespace, account, pod).await;
        let person = Person {
            token: Some(token),
            ..self.admin.clone()
        };
        (person, uid)
    }

    /// A pod of a Job that is made.
    async fn pod_of(&self, request: &Request, errand: Errand) -> Person {
        self.makes(request, errand, "default").await;
        self.known_pod(request, errand).await
    }

    /// A pod of a Job, which the controller has seen.
    async fn known_pod(&self, request: &Request, errand: Errand) -> Person {
        let job = errand.job_name(&request.name, &request.uid);
        let (person, uid) = self.pod_and_uid(PROJECT, "default", &pod_name(&job)).await;
        self.knows(request, errand, &uid).await;
        person
    }

    /// What the controller stores of a Job's pod.
    async fn knows(&self, request: &Request, errand: Errand, pod: &str) {
        let known = json!({"pod": "p", "job": "11111111-2222-4333-8444-555555555555"}).to_string();
        let at = format!(
            "work/jobs/{}/{}.pods/{pod}.json",
            request.uid,
            errand.slug()
        );
        self.bucket.put(&at, known.as_bytes()).await;
    }

    fn work(&self, request: &Request, name: &str) -> String {
        format!("work/jobs/{}/{name}", request.uid)
    }

    /// A subcommand as it runs in the Job's pod: with no credentials but the token.
    fn runs(
        &self,
        person: &Person,
        request: &Request,
        arguments: &[&str],
        folder: &Path,
    ) -> tokio::process::Command {
        let token = folder.join("token");
        std::fs::write(&token, person.token.as_ref().unwrap()).unwrap();
        let mut command = tokio::process::Command::new(trevor());
        let (errand, rest) = arguments.split_first().unwrap();
        command
            .env_clear()
            .kill_on_drop(true)
            .args([
                errand,
                "--gateway",
                &self.gateway.url,
                "--namespace",
                PROJECT,
                "--request",
                &request.name,
            ])
            .arg("--token-file")
            .arg(&token)
            .arg("--termination-log")
            .arg(folder.join("last"))
            .args(rest);
        command
    }
}

/// What a wildcard does not give: the right to deliver into the claim `work`.
async fn may_write(admin: &Client, user: &str) {
    let (name, group) = (unique("writes"), "rbac.authorization.k8s.io");
    let role: Role = serde_json::from_value(json!({"metadata": {"name": name}, "rules": [
        {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "resourceNames": ["work"], "verbs": ["airlock-write"]}]}))
    .unwrap();
    let binding: RoleBinding = serde_json::from_value(json!({"metadata": {"name": name},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
        "roleRef": {"apiGroup": group, "kind": "Role", "name": name}}))
    .unwrap();
    let roles: Api<Role> = Api::namespaced(admin.clone(), PROJECT);
    roles.create(&PostParams::default(), &role).await.unwrap();
    let bindings: Api<RoleBinding> = Api::namespaced(admin.clone(), PROJECT);
    bindings
        .create(&PostParams::default(), &binding)
        .await
        .unwrap();
}

async fn controllers(env: &Env) -> Client {
    let file = Kubeconfig::read_from(env.folder().join("controller.kubeconfig")).unwrap();
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(file, &options).await;
    Client::try_from(config.unwrap()).unwrap()
}

/// A name that Kubernetes would generate for a Job's pod.
fn pod_name(job: &str) -> String {
    let mut stem = format!("{job}-");
    stem.truncate(58);
    format!("{stem}x7k2z")
}

/// Makes a pod; gives a token bound to it, and its uid.
async fn pod_token(admin: &Client, namespace: &str, account: &str, pod: &str) -> (String, String) {
    let pods: Api<Pod> = Api::namespaced(admin.clone(), namespace);
    let wanted = serde_json::from_value(json!({"metadata": {"name": pod}, "spec": {
        "serviceAccountName": account, "automountServiceAccountToken": false,
        "containers": [{"name": "c", "image": "trevor:light"}]}}))
    .unwrap();
    let made = pods.create(&PostParams::default(), &wanted).await.unwrap();
    let uid = made.uid().unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), namespace);
    let wanted: TokenRequest = serde_json::from_value(json!({"spec": {
        "audiences": ["trevor-gateway"],
        "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid}}}))
    .unwrap();
    let made = accounts
        .create_token_request(account, &PostParams::default(), &wanted)
        .await;
    (made.unwrap().status.unwrap().token.unwrap(), uid)
}

fn list(round: i64, files: &[(&str, &[u8])]) -> Value {
    let files: Vec<Value> = files
        .iter()
        .map(|(path, bytes)| entry(path, bytes))
        .collect();
    json!({"round": round, "files": files})
}

fn entry(path: &str, bytes: &[u8]) -> Value {
    json!({"path": path, "size": bytes.len(), "sha256": sha256(bytes)})
}

async fn puts(person: &Person, request: &Request, what: &str, body: &Value) -> Answer {
    let url = person.url(&request.name, what);
    person.calls(Method::PUT, &url, &[], body.to_string()).await
}

const CALLS: [&str; 12] = [
    "GET files",
    "GET content",
    "HEAD content",
    "GET manifest",
    "GET crate",
    "GET release",
    "GET plan",
    "DELETE files",
    "GET delivery",
    "PUT files",
    "PUT collection",
    "PUT delivery",
];

/// The status of one call about `a.csv`, which holds `1,2`.
async fn gets(person: &Person, request: &Request, call: &str) -> u16 {
    let (method, what) = call.split_once(' ').unwrap();
    let url = match (method, what) {
        ("GET", "files") => person.url(&request.name, "files"),
        (_, "files" | "content") => person.file_url(&request.name, what, "a.csv"),
        _ => person.url(&request.name, what),
    };
    let body = match call {
        "PUT files" => "1,2".to_owned(),
        "PUT collection" => list(1, &[("a.csv", b"1,2")]).to_string(),
        "PUT delivery" => json!({"files": [entry("a.csv", b"1,2")]}).to_string(),
        _ => String::new(),
    };
    let method: Method = method.parse().unwrap();
    let answer = person.calls(method, &url, &[], body).await;
    answer.status.as_u16()
}

/// All calls, against what each gets; the others get 403.
async fn row(
    wrong: &mut Vec<String>,
    who: &str,
    person: &Person,
    request: &Request,
    may: &[(&str, u16)],
) {
    for call in CALLS {
        let expected = may
            .iter()
            .find(|(c, _)| *c == call)
            .map_or(403, |(_, s)| *s);
        let got = gets(person, request, call).await;
        if got != expected {
            wrong.push(format!("{who}, {call}: expected {expected}, got {got}"));
        }
    }
}

/// Tokens that are not quite those of the Job's pod.
async fn strangers(
    house: &House,
    request: &Request,
    errand: Errand,
) -> Vec<(&'static str, Person)> {
    let job = house.makes(request, errand, "default").await;
    let (admin, other) = (house.admin.kube.clone(), unique("other"));
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), PROJECT);
    let account = serde_json::from_value(json!({"metadata": {"name": other}})).unwrap();
    accounts
        .create(&PostParams::default(), &account)
        .await
        .unwrap();
    let unbound: TokenRequest =
        serde_json::from_value(json!({"spec": {"audiences": ["trevor-gateway"]}})).unwrap();
    let unbound = accounts
        .create_token_request("default", &PostParams::default(), &unbound)
        .await;
    let name = |suffix: &str| format!("{job}-{suffix}");
    let elsewhere = (errand, Errand::Deliver);
    let of_another = match elsewhere.0 {
        Errand::Deliver | Errand::Package { .. } => COLLECT,
        Errand::Collect { .. } => elsewhere.1,
    };
    vec![
        (
            "another pod",
            house.pod(PROJECT, "default", &unique("pod")).await,
        ),
        (
            "a name nearly so",
            house.pod(PROJECT, "default", &name("x7k2a")).await,
        ),
        (
            "a longer name",
            house.pod(PROJECT, "default", &name("0-x7k2z")).await,
        ),
        (
            "another account",
            house.pod(PROJECT, &other, &name("c7k2z")).await,
        ),
        (
            "another project",
            house.pod("project-b", "default", &name("d7k2z")).await,
        ),
        (
            "another errand",
            house
                .pod(
                    PROJECT,
                    "default",
                    &pod_name(&of_another.job_name(&request.name, &request.uid)),
                )
                .await,
        ),
        (
            "another round",
            house
                .pod(
                    PROJECT,
                    "default",
                    &pod_name(&Errand::Collect { round: 2 }.job_name(&request.name, &request.uid)),
                )
                .await,
        ),
        (
            "another request",
            house
                .pod(
                    PROJECT,
                    "default",
                    &pod_name(&errand.job_name(&request.name, "another uid")),
                )
                .await,
        ),
        (
            "no pod",
            Person {
                token: unbound.unwrap().status.unwrap().token,
                ..house.admin.clone()
            },
        ),
    ]
}

#[tokio::test]
async fn a_collectors_token_puts_files_and_their_list_while_it_collects_and_does_nothing_else() {
    let house = House::new("collecting", "http://127.0.0.1:9").await;
    let request = house
        .egress(json!([{"path": "a.csv"}, {"path": "b.csv"}]))
        .await;
    let mut wrong = Vec::new();
    for (who, person) in strangers(&house, &request, COLLECT).await {
        row(&mut wrong, who, &person, &request, &[]).await;
    }
    let pod = house.known_pod(&request, COLLECT).await;
    let first = [("PUT collection", 201), ("PUT files", 201)];
    row(&mut wrong, "collecting", &pod, &request, &first).await;
    let listed = [("PUT collection", 201), ("PUT files", 409)];
    row(&mut wrong, "the list is there", &pod, &request, &listed).await;
    for phase in ["InReview", "Released", "Withdrawn"] {
        house.stands_at(&request, phase).await;
        row(&mut wrong, phase, &pod, &request, &listed).await;
    }
    house.stands_at(&request, "ChangesRequested").await;
    row(&mut wrong, "returned", &pod, &request, &[]).await;

    // Another request, whose round ended before the list came.
    let late = house
        .egress(json!([{"path": "a.csv"}, {"path": "b.csv"}]))
        .await;
    let pod = house.pod_of(&late, COLLECT).await;
    row(&mut wrong, "another's pod", &pod, &request, &[]).await;
    let seal = format!("{}rounds/1/seal.json", late.prefix());
    house.bucket.put(&seal, b"{}").await;
    let sealed = [("PUT collection", 409), ("PUT files", 409)];
    row(&mut wrong, "sealed", &pod, &late, &sealed).await;

    // One that is not submitted has no collector, whatever is stored.
    let spec = json!({"direction": "Egress", "title": "Draft", "files": [{"path": "a.csv"}]});
    let draft = house.admin.creates("draft", spec).await;
    let pod = house.pod_of(&draft, COLLECT).await;
    row(&mut wrong, "draft", &pod, &draft, &sealed).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_deliverers_token_gets_what_was_approved_while_it_is_released_and_nothing_else() {
    let house = House::new("delivering", "http://127.0.0.1:9").await;
    let request = house.ingress(&[("a.csv", b"1,2".to_vec())]).await;
    house.stands_at(&request, "Releasing").await;
    let mut wrong = Vec::new();
    for (who, person) in strangers(&house, &request, Errand::Deliver).await {
        row(&mut wrong, who, &person, &request, &[]).await;
    }
    let pod = house.known_pod(&request, Errand::Deliver).await;
    let all = |status: u16| {
        [
            "GET content",
            "HEAD content",
            "GET delivery",
            "PUT delivery",
        ]
        .map(|call| (call, status))
    };
    for (phase, status) in [
        ("Submitted", 409),
        ("InReview", 503),
        ("Approved", 503),
        ("Failed", 409),
    ] {
        house.stands_at(&request, phase).await;
        row(&mut wrong, phase, &pod, &request, &all(status)).await;
    }
    house.stands_at(&request, "Releasing").await;
    let other = json!({"files": [entry("a.csv", b"1,3")]});
    assert_eq!(
        puts(&pod, &request, "delivery", &other)
            .await
            .expect(422)
            .reason(),
        "NotTheManifest"
    );
    assert!(
        house
            .bucket
            .find(&house.work(&request, "deliver.receipt.json"))
            .await
            .is_none()
    );
    let mut releasing = all(200);
    releasing[3].1 = 201;
    row(&mut wrong, "Releasing", &pod, &request, &releasing).await;
    let delivery = pod.gets(&request, "delivery").await.expect(200);
    assert_eq!(delivery.json(), json!({"files": [entry("a.csv", b"1,2")]}));
    assert_eq!(pod.reads(&request, "a.csv").await.expect(200).body, "1,2");
    puts(&pod, &request, "delivery", &other).await.expect(409);
    house.stands_at(&request, "Released").await;
    // The receipt may be repeated, when its answer was lost.
    let mut released = all(409);
    released[3].1 = 201;
    row(&mut wrong, "Released", &pod, &request, &released).await;

    // A withdrawal stops what is still to be read.
    let stopped = house.ingress(&[("a.csv", b"1,2".to_vec())]).await;
    let pod = house.pod_of(&stopped, Errand::Deliver).await;
    house.stands_at(&stopped, "Releasing").await;
    house.alice.withdraws(&stopped).await;
    row(&mut wrong, "withdrawn", &pod, &stopped, &all(409)).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_pod_that_is_not_recorded_is_told_to_come_again_whatever_its_name() {
    let house = House::new("recording", "http://127.0.0.1:9").await;
    let request = house
        .egress(json!([{"path": "a.csv"}, {"path": "b.csv"}]))
        .await;
    let job = house.makes(&request, COLLECT, "default").await;
    let (pod, uid) = house.pod_and_uid(PROJECT, "default", &pod_name(&job)).await;
    // Somebody else may have made a pod of such a name, with the project's own account.
    let other = format!("{job}-zzzzz");
    let other = house.pod(PROJECT, "default", &other).await;
    for pod in [&pod, &other] {
        let answer = pod.puts(&request, "a.csv", "1,2").await.expect(503);
        assert_eq!(answer.reason(), "JobNotRecorded");
        assert!(answer.header("retry-after").is_some());
    }
    house.knows(&request, COLLECT, &uid).await;
    pod.uploads(&request, "a.csv", "1,2").await;
    let answer = other.puts(&request, "b.csv", "3").await.expect(503);
    assert_eq!(answer.reason(), "JobNotRecorded");
}

/// Kubernetes cuts the names of their pods, and the round with them.
#[tokio::test]
async fn rounds_of_a_request_with_a_long_name_have_their_own_pods() {
    let house = House::new("cutting", "http://127.0.0.1:9").await;
    let stem = "a".repeat(48);
    let spec = json!({"direction": "Egress", "title": "Collected", "files": [{"path": "a.csv"}]});
    let request = house.admin.creates(&stem, spec).await;
    house.admin.submits(&request, 1).await;
    house.stands_at(&request, "Submitted").await;
    let second = Errand::Collect { round: 2 };
    let names = [COLLECT, second].map(|e| pod_name(&e.job_name(&request.name, &request.uid)));
    assert_eq!(names[0], names[1], "they are not told apart by name");
    house.makes(&request, second, "default").await;
    house.makes(&request, COLLECT, "default").await;
    let (pod, uid) = house.pod_and_uid(PROJECT, "default", &names[0]).await;
    house.knows(&request, second, &uid).await;
    let answer = pod.puts(&request, "a.csv", "1,2").await.expect(503);
    assert_eq!(answer.reason(), "JobNotRecorded");
    house.knows(&request, COLLECT, &uid).await;
    pod.uploads(&request, "a.csv", "1,2").await;
}

#[tokio::test]
async fn a_list_is_stored_once_when_all_of_it_stands_and_the_controller_is_told() {
    let hints = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let controller = format!("http://{}", hints.local_addr().unwrap());
    let house = House::new("listing", &controller).await;
    let request = house
        .egress(json!([{"path": "t/"}, {"path": "never.csv"}]))
        .await;
    let pod = house.pod_of(&request, COLLECT).await;
    let both = list(1, &[("t/a.csv", b"1"), ("t/b.csv", b"22")]);
    let missing = |answer: &Answer| answer.json()["missing"].clone();

    let answer = puts(&pod, &request, "collection", &both).await.expect(200);
    assert_eq!(missing(&answer), json!(["t/a.csv", "t/b.csv"]));
    pod.uploads(&request, "t/a.csv", "1").await;
    pod.uploads(&request, "t/b.csv", "2!").await;
    let answer = puts(&pod, &request, "collection", &both).await.expect(200);
    assert_eq!(
        missing(&answer),
        json!(["t/b.csv"]),
        "another content is another file"
    );
    let at = house.work(&request, "collect-1.list.json");
    assert!(house.bucket.find(&at).await.is_none());

    for (why, wrong, status, reason) in [
        ("round", list(2, &[]), 409, "AnotherRound"),
        ("name", list(1, &[("../x", b"1")]), 422, "InvalidName"),
        ("undeclared", list(1, &[("u.csv", b"1")]), 422, "Undeclared"),
        (
            "order",
            list(1, &[("t/b", b"1"), ("t/a", b"1")]),
            422,
            "NotSorted",
        ),
        (
            "twice",
            list(1, &[("t/a", b"1"), ("t/a", b"1")]),
            422,
            "NotSorted",
        ),
        (
            "clash",
            list(1, &[("t/A", b"1"), ("t/a", b"1")]),
            422,
            "InvalidName",
        ),
        ("no list", json!({"files": []}), 400, "Malformed"),
        (
            "long",
            json!({"round": 1, "files": [], "more": " ".repeat(17 << 20)}),
            413,
            "TooLarge",
        ),
    ] {
        let answer = puts(&pod, &request, "collection", &wrong).await;
        assert_eq!(
            (answer.status.as_u16(), answer.reason().as_str()),
            (status, reason),
            "{why}"
        );
    }
    let names: Vec<String> = (0..10_001).map(|n| format!("t/{n:05}")).collect();
    let many: Vec<(&str, &[u8])> = names.iter().map(|n| (n.as_str(), b"".as_slice())).collect();
    let answer = puts(&pod, &request, "collection", &list(1, &many))
        .await
        .expect(422);
    assert_eq!(answer.reason(), "TooManyFiles");
    let undeclared = pod.puts(&request, "u.csv", "1").await.expect(422);
    assert_eq!(undeclared.reason(), "Undeclared");

    pod.uploads(&request, "t/b.csv", "22").await;
    let told = async {
        let (mut hint, _) = hints.accept().await.unwrap();
        let mut said = vec![0; 4096];
        let read = hint.read(&mut said).await.unwrap();
        hint.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .await
            .unwrap();
        String::from_utf8_lossy(&said[..read]).into_owned()
    };
    let put = puts(&pod, &request, "collection", &both);
    let (answer, told) = tokio::join!(put, tokio::time::timeout(PATIENCE, told));
    answer.expect(201);
    assert!(told.expect("a hint").starts_with("POST /hint"));
    assert_eq!(house.bucket.json(&at).await, both);
    puts(&pod, &request, "collection", &both).await.expect(201);
    let less = list(1, &[("t/a.csv", b"1")]);
    let other = puts(&pod, &request, "collection", &less).await.expect(409);
    assert_eq!(other.reason(), "AnotherCollection");
    let late = pod.puts(&request, "t/c.csv", "3").await.expect(409);
    assert_eq!(late.reason(), "Collected");
    for key in house
        .bucket
        .keys(&format!("{}receipts/", request.prefix()))
        .await
    {
        let by = house.bucket.json(&key).await["by"].clone();
        assert_eq!(by, format!("system:serviceaccount:{PROJECT}:default"));
    }
}

fn line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines().last().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn trevor_collect_brings_a_folder_and_not_what_is_there_already() {
    let house = House::new("bringing", "http://127.0.0.1:9").await;
    let request = house.egress(json!([])).await;
    let pod = house.pod_of(&request, COLLECT).await;
    let (volume, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let large = crate::harness::noise(20 << 20, 1);
    let out = volume.path().join("out/tables");
    std::fs::create_dir_all(out.join("é x")).unwrap();
    std::fs::write(out.join("a.csv"), "1,2").unwrap();
    std::fs::write(out.join("é x/large.bin"), &large).unwrap();
    std::fs::write(out.join("b.tmp"), "left").unwrap();
    let source = json!({"root": volume.path(), "path": "out", "include": ["tables/**"], "exclude": ["**/*.tmp"]}).to_string();
    let collect = |round: &'static str, source: &str| {
        let arguments = ["collect", "--round", round, "--source", source];
        house.runs(&pod, &request, &arguments, folder.path())
    };
    let done = collect("1", &source).output().await.unwrap();
    assert!(done.status.success(), "{}", line(&done));
    assert_eq!(
        String::from_utf8_lossy(&done.stdout),
        format!(
            "collected 2 files of {} bytes, 2 sent now\n",
            3 + large.len()
        )
    );
    let stored = house
        .bucket
        .json(&house.work(&request, "collect-1.list.json"))
        .await;
    let expected = list(
        1,
        &[("tables/a.csv", b"1,2"), ("tables/é x/large.bin", &large)],
    );
    assert_eq!(stored, expected);
    let again = collect("1", &source).output().await.unwrap();
    assert!(String::from_utf8_lossy(&again.stdout).ends_with("0 sent now\n"));

    // The volume changed since: the list that stands stays.
    std::fs::write(out.join("c.csv"), "3").unwrap();
    let other = collect("1", &source).output().await.unwrap();
    assert!(
        !other.status.success() && line(&other).contains("AnotherCollection"),
        "{}",
        line(&other)
    );
    let word = std::fs::read_to_string(folder.path().join("last")).unwrap();
    assert_eq!(word.trim_end(), line(&other));
    assert!(!word.contains(pod.token.as_ref().unwrap()));

    // In the next round only what is new is sent.
    let mut frozen = Vec::new();
    for key in house
        .bucket
        .keys(&format!("{}receipts/", request.prefix()))
        .await
    {
        let receipt = house.bucket.json(&key).await;
        let mut file = receipt["content"].clone();
        file.as_object_mut().unwrap().remove("sniffed");
        file["path"] = receipt["path"].clone();
        file["version"] = receipt["version"].clone();
        frozen.push(file);
    }
    house.freezes(&request, "Egress", &frozen).await;
    house.stands_at(&request, "ChangesRequested").await;
    house.admin.submits(&request, 2).await;
    let second = Errand::Collect { round: 2 };
    let pod = house.pod_of(&request, second).await;
    let arguments = ["collect", "--round", "2", "--source", &source];
    let next = house
        .runs(&pod, &request, &arguments, folder.path())
        .output()
        .await
        .unwrap();
    assert!(next.status.success(), "{}", line(&next));
    assert!(String::from_utf8_lossy(&next.stdout).starts_with("collected 3 files"));
    assert!(String::from_utf8_lossy(&next.stdout).ends_with("1 sent now\n"));
}

#[tokio::test]
async fn trevor_collect_ends_with_one_line_that_says_why() {
    let house = House::new("failing", "http://127.0.0.1:9").await;
    let request = house
        .egress(json!([{"path": "a.csv"}, {"path": "b.csv"}]))
        .await;
    let pod = house.pod_of(&request, COLLECT).await;
    let (volume, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(volume.path().join("other.csv"), "1").unwrap();
    std::fs::create_dir(volume.path().join("in")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("token"), volume.path().join("in/a.csv"))
        .unwrap();
    let source = |path: &str| json!({"root": volume.path(), "path": path}).to_string();
    for (source, said) in [
        (
            source("gone"),
            "source 1: the folder 'gone': it is not there",
        ),
        (source("in"), "'a.csv' is a symbolic link"),
        (
            json!({"root": volume.path(), "exclude": ["in"]}).to_string(),
            "(422 Undeclared): 'other.csv'",
        ),
    ] {
        let arguments = ["collect", "--round", "1", "--source", &source];
        let done = house
            .runs(&pod, &request, &arguments, folder.path())
            .output()
            .await
            .unwrap();
        assert!(
            !done.status.success() && line(&done).contains(said),
            "{}",
            line(&done)
        );
        let word = std::fs::read_to_string(folder.path().join("last")).unwrap();
        assert_eq!(word.trim_end(), line(&done));
    }
    let nobody = house.pod(PROJECT, "default", &unique("pod")).await;
    std::fs::write(volume.path().join("a.csv"), "1").unwrap();
    let source = json!({"root": volume.path(), "include": ["a.csv"]}).to_string();
    let arguments = ["collect", "--round", "1", "--source", &source];
    let done = house
        .runs(&nobody, &request, &arguments, folder.path())
        .output()
        .await
        .unwrap();
    assert!(line(&done).contains("403 Forbidden"), "{}", line(&done));
    assert!(!line(&done).contains(nobody.token.as_ref().unwrap()));
}

#[tokio::test]
async fn trevor_deliver_killed_anywhere_ends_in_the_same_state() {
    let house = House::new("placing", "http://127.0.0.1:9").await;
    let files: Vec<(String, Vec<u8>)> = (0_u64..24)
        .map(|n| {
            (
                format!("in {n}/é{n}.bin"),
                crate::harness::noise(200_000 * (n as usize % 4), n + 1),
            )
        })
        .collect();
    let borrowed: Vec<(&str, Vec<u8>)> =
        files.iter().map(|(p, b)| (p.as_str(), b.clone())).collect();
    let request = house.ingress(&borrowed).await;
    let pod = house.pod_of(&request, Errand::Deliver).await;
    house.stands_at(&request, "Releasing").await;
    let (volume, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = volume.path().to_str().unwrap();
    let arguments = ["deliver", "--root", root, "--path", "work/in"];
    for n in 1..=12 {
        let mut running = house
            .runs(&pod, &request, &arguments, folder.path())
            .spawn()
            .unwrap();
        let ended = tokio::time::timeout(Duration::from_millis(15 * n), running.wait()).await;
        if ended.is_err() {
            running.kill().await.unwrap();
        }
        for (path, bytes) in &files {
            // Never half of a file under its name.
            let found = std::fs::read(volume.path().join("work/in").join(path));
            assert!(found.is_err() || found.unwrap() == *bytes, "{path}");
        }
    }
    let done = house
        .runs(&pod, &request, &arguments, folder.path())
        .output()
        .await
        .unwrap();
    assert!(done.status.success(), "{}", line(&done));
    let mut names = Vec::new();
    for (path, bytes) in &files {
        let at = volume.path().join("work/in").join(path);
        assert_eq!(std::fs::read(&at).unwrap(), *bytes, "{path}");
        let inner = std::fs::read_dir(at.parent().unwrap()).unwrap();
        names.extend(inner.map(|e| e.unwrap().file_name()));
    }
    assert_eq!(names.len(), files.len(), "nothing else is left: {names:?}");
    let receipt = house
        .bucket
        .json(&house.work(&request, "deliver.receipt.json"))
        .await;
    assert_eq!(receipt["files"].as_array().unwrap().len(), files.len());

    std::fs::write(volume.path().join("work/in").join(&files[3].0), "mine").unwrap();
    let other = house
        .runs(&pod, &request, &arguments, folder.path())
        .output()
        .await
        .unwrap();
    assert!(
        line(&other).contains("is there already, and is another file"),
        "{}",
        line(&other)
    );
    let kept = std::fs::read(volume.path().join("work/in").join(&files[3].0)).unwrap();
    assert_eq!(kept, b"mine");
}

#[tokio::test]
async fn what_people_may_do_is_as_it_was() {
    let house = House::new("people", "http://127.0.0.1:9").await;
    let request = house
        .egress(json!([{"path": "a.csv"}, {"path": "b.csv"}]))
        .await;
    house.makes(&request, COLLECT, "default").await;
    for person in [&house.alice, &house.admin] {
        for what in ["collection", "delivery"] {
            let body = list(1, &[("a.csv", b"1")]);
            puts(person, &request, what, &body).await.expect(403);
        }
        person.gets(&request, "delivery").await.expect(403);
        let url = person.url(&request.name, "collection");
        person
            .calls(Method::GET, &url, &[], Bytes::new())
            .await
            .expect(405);
    }
}
