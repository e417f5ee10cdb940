//! Resources that go in whatever phase, one by one, with their namespace, with their
//! definition, and while the operator is away: files end up deleted on time, records and
//! ledger stay.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use trevor_api::{Phase, ReviewDecision};

use crate::faults::{Desk, desk_set};
use crate::harness::{
    Controller, Env, Mode, PATIENCE, Person, Private, Project, Proxy, Request, Spawned, Store,
    command, private, ready,
};

const LONG: Duration = Duration::from_secs(240);
/// Files are kept so long after closing.
const KEPT: i64 = 45;

type Settings = Vec<(&'static str, Value)>;

/// Buckets of this test alone, so that whatever is verified is of this test.
struct Place {
    inside: Store,
    outside: Store,
    proxy: Proxy,
}

impl Place {
    async fn new(env: &Env) -> Self {
        Self {
            inside: env.quarantine().beside("gone", false).await,
            outside: env.release().beside("gone", false).await,
            proxy: Proxy::before(&env.variable("TREVOR_RELEASE_ENDPOINT")).await,
        }
    }

    fn inside(&self) -> Settings {
        vec![("/storage/quarantine/bucket", json!(self.inside.bucket))]
    }

    fn settings(&self, kept: i64) -> Settings {
        let mut settings = self.inside();
        settings.extend([
            ("/storage/release/bucket", json!(self.outside.bucket)),
            ("/storage/release/endpoint", json!(self.proxy.url)),
            ("/storage/quarantine_retention_days", json!(null)),
            ("/storage/release_retention_days", json!(null)),
            ("/storage/quarantine_retention_seconds", json!(kept)),
            ("/storage/release_retention_seconds", json!(kept)),
            ("/storage/allow_short_retention", json!(true)),
        ]);
        settings
    }
}

struct People {
    alice: Person,
    bob: Person,
    carol: Person,
    inside: Store,
    _desk: Desk,
}

impl People {
    async fn new(desk: Desk, project: &str, inside: &Store) -> Self {
        Self {
            alice: desk.alice.moves_to(project).await,
            bob: desk.bob.moves_to(project).await,
            carol: desk.carol.moves_to(project).await,
            inside: inside.clone(),
            _desk: desk,
        }
    }

    async fn draft(&self, stem: &str) -> Request {
        let request = self
            .alice
            .creates(stem, json!({"direction": "Egress", "title": "Gone"}))
            .await;
        self.alice.uploads(&request, "a.csv", "1,2").await;
        request.reaches(Phase::Draft).await;
        request
    }

    async fn in_review(&self, stem: &str) -> Request {
        let request = self.draft(stem).await;
        self.alice.submits(&request, 1).await;
        request.reaches(Phase::InReview).await;
        request
    }

    async fn approved(&self, stem: &str) -> Request {
        let request = self.in_review(stem).await;
        self.bob.approves(&request).await;
        self.carol.approves(&request).await;
        request
    }

    /// A request in a phase.
    async fn at(&self, phase: Phase) -> Request {
        let stem = phase.to_string().to_lowercase();
        let request = match phase {
            Phase::Draft => self.draft(&stem).await,
            Phase::Submitted => {
                let files = json!([{"path": "a.csv"}, {"path": "never.csv"}]);
                let spec = json!({"direction": "Egress", "title": "Gone", "files": files});
                let request = self.alice.creates(&stem, spec).await;
                self.alice.uploads(&request, "a.csv", "1,2").await;
                self.alice.submits(&request, 1).await;
                request
            }
            Phase::InReview => self.in_review(&stem).await,
            Phase::ChangesRequested | Phase::Rejected => {
                let request = self.in_review(&stem).await;
                let word = match phase {
                    Phase::Rejected => ReviewDecision::Reject,
                    _ => ReviewDecision::RequestChanges,
                };
                self.bob.reviews_it(&request, word).await;
                request
            }
            Phase::Withdrawn => {
                let request = self.draft(&stem).await;
                self.alice.withdraws(&request).await;
                request
            }
            Phase::Failed => {
                let request = self.in_review(&stem).await;
                let files = format!("{}files/", request.prefix());
                let file = self.inside.keys(&files).await.pop().unwrap();
                self.inside.put(&file, b"2,1").await;
                self.bob.approves(&request).await;
                self.carol.approves(&request).await;
                request
            }
            Phase::Revoked => {
                let request = self.approved(&stem).await;
                request.reaches(Phase::Released).await;
                self.alice.withdraws(&request).await;
                request
            }
            Phase::Released | Phase::Releasing | Phase::Approved => self.approved(&stem).await,
        };
        request.reaches(phase).await;
        request
    }

    /// So many requests in each phase; those that are being released wait for a server
    /// that refuses.
    async fn in_every_phase(&self, each: usize, proxy: &Proxy) -> Vec<Request> {
        let phases = [
            Phase::Released,
            Phase::Revoked,
            Phase::Failed,
            Phase::Rejected,
            Phase::Withdrawn,
            Phase::ChangesRequested,
            Phase::InReview,
            Phase::Submitted,
            Phase::Draft,
        ];
        let mut all = Vec::new();
        for (phases, refuses) in [(&phases[..], false), (&[Phase::Releasing], true)] {
            if refuses {
                proxy.behaves(Mode::Refuses(503, "SlowDown"));
            }
            let made: Vec<Request> = stream::iter(phases)
                .flat_map(|phase| stream::iter(std::iter::repeat_n(*phase, each)))
                .map(|phase| self.at(phase))
                .buffer_unordered(5)
                .collect()
                .await;
            all.extend(made);
        }
        all
    }
}

async fn namespace_goes(admin: &Client, name: &str) {
    let namespaces: Api<Namespace> = Api::all(admin.clone());
    namespaces
        .delete(name, &DeleteParams::default())
        .await
        .unwrap();
}

async fn namespace_is_gone(admin: &Client, name: &str) {
    let namespaces: Api<Namespace> = Api::all(admin.clone());
    ready(format!("namespace {name} is gone"), LONG, || async {
        namespaces
            .get_opt(name)
            .await
            .unwrap()
            .is_none()
            .then_some(())
    })
    .await;
}

fn time(fact: &Value) -> Timestamp {
    fact.as_str().unwrap().parse().unwrap()
}

/// Each went at its time, with facts, ledger and receipts left; gives how each closed.
async fn all_go(place: &Place, requests: &[Request]) -> BTreeMap<String, usize> {
    let mut closed_as = BTreeMap::new();
    for request in requests {
        let name = &request.name;
        let at = |below: &str| format!("{}{below}", request.prefix());
        let receipt = ready(format!("the receipt of {name}"), LONG, || async {
            let found = place.inside.find(&at("deleted/quarantine.json")).await?;
            serde_json::from_slice::<Value>(&found).ok()
        })
        .await;
        let closed = place.inside.json(&at("closed.json")).await;
        *closed_as
            .entry(closed["closedAs"].as_str().unwrap().to_owned())
            .or_default() += 1;
        assert_eq!(receipt["due"], closed["quarantineDue"], "{name}");
        let due = time(&receipt["due"]);
        assert!(
            time(&receipt["started"]) >= due,
            "{name} is early: {receipt}"
        );
        let late = time(&receipt["finished"]).duration_since(due).as_secs();
        assert!(late <= 60, "{name} is {late} s late");
        assert!(
            receipt["objects"].as_u64().unwrap() >= 1,
            "{name}: {receipt}"
        );
        assert!(place.inside.keys(&at("files/")).await.is_empty(), "{name}");
        for stays in ["owner.json", "receipts/", "rounds/1/"] {
            assert!(
                !place.inside.keys(&at(stays)).await.is_empty(),
                "{name}: {stays}"
            );
        }
        let ledger = place
            .inside
            .keys(&format!("audit/{}", request.prefix()))
            .await;
        assert!(!ledger.is_empty(), "{name}");
        let mut kinds = Vec::new();
        for key in ledger {
            let entry = place.inside.json(&key).await;
            kinds.extend(
                entry["events"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|e| e["kind"].as_str().unwrap().to_owned()),
            );
        }
        let what = |kind: &str| kinds.iter().filter(|k| *k == kind).count();
        assert_eq!(what("Closed"), 1, "{name}: {kinds:?}");
        assert!((1..=2).contains(&what("Deleted")), "{name}: {kinds:?}");
    }
    ready("the release bucket is empty", LONG, || async {
        place
            .outside
            .keys("releases/")
            .await
            .is_empty()
            .then_some(())
    })
    .await;
    closed_as
}

async fn trevor(env: &Env, config: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = command(env, "controller");
    let config = env.folder().join(format!("{config}.yaml"));
    command.args(arguments).arg("--config").arg(config);
    let done = command.output().await.unwrap();
    let said = [done.stdout, done.stderr].concat();
    (
        done.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// `trevor audit verify` finds nothing.
async fn verifies(env: &Env, config: &str) {
    let key = env.folder().join("audit-public-key.pem");
    let arguments = [
        "audit",
        "verify",
        "--bucket",
        "--grace",
        "120",
        "--public-key",
        key.to_str().unwrap(),
    ];
    let (code, said) = trevor(env, config, &arguments).await;
    println!("{said}");
    assert_eq!(code, Some(0), "{said}");
}

async fn opened(env: &Private, name: &str, place: &Place, kept: i64) -> (Spawned, Desk) {
    let controller = Controller {
        settings: place.settings(kept),
        elect: false,
        ..Controller::new(env, name)
    };
    let controller = controller.start().await;
    let desk = desk_set(
        env,
        &format!("{name}-desk"),
        &controller.url,
        &place.inside(),
    )
    .await;
    (controller, desk)
}

#[tokio::test]
async fn a_namespace_with_fifty_requests_in_every_phase_goes_and_their_files_go_on_time() {
    let env = private().await;
    let place = Place::new(&env).await;
    let (mut controller, desk) = opened(&env, "fifty", &place, KEPT).await;
    let project = Project::new(&env, "fifty").await;
    let people = People::new(desk, &project.name, &place.inside).await;
    let began = std::time::Instant::now();
    let requests = people.in_every_phase(5, &place.proxy).await;
    assert_eq!(requests.len(), 50);
    println!("50 requests after {:.0} s", began.elapsed().as_secs_f64());
    let admin = env.kube("admin").await;
    namespace_goes(&admin, &project.name).await;
    place.proxy.behaves(Mode::AsItIs);
    let began = std::time::Instant::now();
    namespace_is_gone(&admin, &project.name).await;
    println!(
        "the namespace went in {:.0} s",
        began.elapsed().as_secs_f64()
    );
    let closed_as = all_go(&place, &requests).await;
    println!("{closed_as:?}");
    assert_eq!(closed_as["Rejected"], 5);
    // Those that were being released were stopped, or had just crossed.
    assert!((10..=15).contains(&closed_as["Released"]), "{closed_as:?}");
    let records = place
        .inside
        .keys(&format!("records/{}/", project.name))
        .await;
    let records = records
        .iter()
        .filter(|key| !key.ends_with(".dsse.json"))
        .count();
    assert_eq!(records, closed_as["Released"]);
    assert!(controller.runs());
    assert_eq!(
        controller.metric("trevor_retention_failures_total").await,
        Some(0.0)
    );
    verifies(&env, "fifty").await;
}

#[tokio::test]
async fn a_request_deleted_in_any_phase_leaves_files_that_go_on_time() {
    let env = private().await;
    let place = Place::new(&env).await;
    let (controller, desk) = opened(&env, "any-phase", &place, 20).await;
    let project = Project::new(&env, "any-phase").await;
    let people = People::new(desk, &project.name, &place.inside).await;
    let requests = people.in_every_phase(1, &place.proxy).await;
    for request in &requests {
        people.alice.deletes(request).await;
    }
    place.proxy.behaves(Mode::AsItIs);
    for request in &requests {
        request.is_gone().await;
    }
    let closed_as = all_go(&place, &requests).await;
    println!("{closed_as:?}");
    assert!((2..=3).contains(&closed_as["Released"]), "{closed_as:?}");
    assert_eq!(
        controller.metric("trevor_retention_failures_total").await,
        Some(0.0)
    );
    verifies(&env, "any-phase").await;
}

#[tokio::test]
async fn a_namespace_goes_while_the_operator_is_uninstalled_and_files_go_when_it_is_back() {
    let env = private().await;
    let place = Place::new(&env).await;
    let (mut controller, desk) = opened(&env, "uninstalled", &place, 25).await;
    let project = Project::new(&env, "uninstalled").await;
    let people = People::new(desk, &project.name, &place.inside).await;
    let mut requests = Vec::new();
    for phase in [
        Phase::Draft,
        Phase::InReview,
        Phase::ChangesRequested,
        Phase::Released,
        Phase::Withdrawn,
    ] {
        requests.push(people.at(phase).await);
    }
    // As the chart's hook does it, while the controller still runs.
    let (code, said) = trevor(&env, "uninstalled", &["retention", "release-finalizers"]).await;
    assert_eq!(code, Some(0), "{said}");
    for request in &requests {
        assert!(
            request.live().await.finalizers().is_empty(),
            "{}",
            request.name
        );
    }
    let mut promised = 0;
    let tickets = place.inside.keys("work/retention/").await;
    for request in &requests {
        promised += usize::from(tickets.iter().any(|key| key.contains(&request.uid)));
    }
    assert_eq!(
        promised,
        requests.len(),
        "each has its ticket before its finalizer goes"
    );
    controller.kill().await;
    let admin = env.kube("admin").await;
    namespace_goes(&admin, &project.name).await;
    namespace_is_gone(&admin, &project.name).await;

    let (_controller, desk) = opened(&env, "uninstalled-2", &place, 25).await;
    // One that is made within minutes of that has no finalizer yet, and takes no byte.
    let other = Project::new(&env, "uninstalled").await;
    let people = People::new(desk, &other.name, &place.inside).await;
    let spec = json!({"direction": "Egress", "title": "Early"});
    let early = people.alice.creates("early", spec).await;
    early.says("Ready", "Draft").await;
    assert!(early.live().await.finalizers().is_empty());
    let refused = people.alice.puts(&early, "a.csv", "1,2").await;
    assert_eq!(refused.status, 503);
    people.alice.deletes(&early).await;
    early.is_gone().await;
    let closed_as = all_go(&place, &requests).await;
    assert_eq!(
        closed_as,
        BTreeMap::from([("Released".into(), 1), ("Withdrawn".into(), 4)])
    );
    verifies(&env, "uninstalled-2").await;
}

async fn definition(admin: &Client, plural: &str) -> CustomResourceDefinition {
    let api: Api<CustomResourceDefinition> = Api::all(admin.clone());
    api.get(&format!("{plural}.airlock.karectl.io"))
        .await
        .unwrap()
}

#[tokio::test]
async fn definitions_that_are_deleted_take_no_file_with_them_before_its_time_and_leave_none() {
    let env = private().await;
    let place = Place::new(&env).await;
    let (mut controller, desk) = opened(&env, "undefined", &place, 30).await;
    let project = Project::new(&env, "undefined").await;
    let people = People::new(desk, &project.name, &place.inside).await;
    let mut requests = Vec::new();
    for phase in [Phase::Draft, Phase::InReview, Phase::Released] {
        requests.push(people.at(phase).await);
    }
    let admin = env.kube("admin").await;
    let api: Api<CustomResourceDefinition> = Api::all(admin.clone());
    let mut kept = Vec::new();
    for plural in ["airlockrequests", "releaserecords"] {
        let mut crd = definition(&admin, plural).await;
        let name = crd.name_any();
        let refused = api.delete(&name, &DeleteParams::default()).await;
        assert!(refused.is_err(), "the chart's policy refuses it");
        let allow =
            json!({"metadata": {"annotations": {"airlock.karectl.io/allow-deletion": "true"}}});
        api.patch(&name, &PatchParams::default(), &Patch::Merge(&allow))
            .await
            .unwrap();
        ready(format!("{name} may go"), PATIENCE, || async {
            api.delete(&name, &DeleteParams::default()).await.ok()
        })
        .await;
        (crd.metadata.resource_version, crd.metadata.uid, crd.status) = (None, None, None);
        (crd.metadata.managed_fields, crd.metadata.creation_timestamp) = (None, None);
        (crd.metadata.generation, crd.metadata.finalizers) = (None, None);
        kept.push(crd);
    }
    let went = async {
        for crd in &kept {
            ready(format!("{} is gone", crd.name_any()), LONG, || async {
                let found = api.get_opt(&crd.name_any()).await.unwrap();
                found.is_none().then_some(())
            })
            .await;
        }
        // While nothing of it is defined.
        all_go(&place, &requests).await
    };
    let went = AssertUnwindSafe(went).catch_unwind().await;
    // Also for the tests that follow, if this one fails.
    for crd in &kept {
        drop(api.create(&PostParams::default(), crd).await);
    }
    let closed_as = went.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    assert_eq!(
        closed_as,
        BTreeMap::from([("Released".into(), 1), ("Withdrawn".into(), 2)])
    );
    assert!(controller.runs());
    // Kinds with a mutating policy are served a little later.
    let spec = json!({"direction": "Egress", "title": "Again"});
    let again = ready("requests are served again", LONG, || async {
        people
            .alice
            .tries_to_create(&crate::harness::unique("again"), spec.clone())
            .await
            .ok()
    })
    .await;
    let again = Request::new(
        &again.name_any(),
        &again.uid().unwrap(),
        people.alice.kube.clone(),
    )
    .of(&project.name);
    again.reaches(Phase::Draft).await;
    people.alice.withdraws(&again).await;
    again.reaches(Phase::Withdrawn).await;
    verifies(&env, "undefined").await;
}
