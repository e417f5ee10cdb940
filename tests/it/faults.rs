//! Whatever fails during a release, it crosses once or not at all.

use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};
use trevor_api::{Phase, ReviewDecision};

use crate::harness::{
    Controller, Env, Gateway, Mode, PATIENCE, PROJECT, Person, Proxy, Request, Spawned, Store,
    noise, private, ready, sha256, signal,
};

/// How long a release of many bytes may take on a busy machine.
const LONG: Duration = Duration::from_secs(600);

/// Those who use a gateway, and the gateway if it is ours.
pub struct Desk {
    pub alice: Person,
    pub bob: Person,
    pub carol: Person,
    _gateway: Option<Spawned>,
}

/// Opens it, with a controller to give hints to.
pub async fn desk(env: &Env, name: &str, controller: &str) -> Desk {
    desk_set(env, name, controller, &[]).await
}

/// The same, with other parts of the gateway's configuration, by JSON pointer.
pub async fn desk_set(env: &Env, name: &str, controller: &str, settings: &[(&str, Value)]) -> Desk {
    let gateway = Gateway {
        env,
        name,
        controller,
    };
    let gateway = gateway.start_set(settings).await;
    let desk = Desk::at(env, &gateway.url).await;
    Desk {
        _gateway: Some(gateway),
        ..desk
    }
}

impl Desk {
    /// Of people who use a gateway that somebody else keeps.
    pub async fn at(env: &Env, gateway: &str) -> Self {
        let (alice, bob, carol) = tokio::join!(
            env.person_at("alice", gateway),
            env.person_at("bob", gateway),
            env.person_at("carol", gateway)
        );
        Self {
            alice,
            bob,
            carol,
            _gateway: None,
        }
    }

    /// The same people, in another project.
    pub async fn in_project(self, project: &str) -> Self {
        Self {
            alice: self.alice.moves_to(project).await,
            bob: self.bob.moves_to(project).await,
            carol: self.carol.moves_to(project).await,
            ..self
        }
    }

    /// A request with files, approved once.
    pub async fn approved_once(&self, stem: &str, files: usize, size: usize) -> Request {
        let spec = json!({"direction": "Egress", "title": "Faults"});
        let request = self.alice.creates(stem, spec).await;
        request.reaches(Phase::Draft).await;
        for number in 0..files {
            let bytes = noise(size, number as u64 * 2 + 101);
            let path = format!("part-{number}.bin");
            self.alice.uploads(&request, &path, bytes).await;
        }
        self.alice.submits(&request, 1).await;
        request
            .until("InReview", LONG, |s| s.phase == Some(Phase::InReview))
            .await;
        self.bob.approves(&request).await;
        request
            .until("1/2", PATIENCE, |s| {
                s.approvals.as_ref().is_some_and(|a| a.summary == "1/2")
            })
            .await;
        request
    }
}

/// One record, one package, nothing half done, and an unbroken ledger.
pub async fn crossed_once(env: &Env, request: &Request) {
    let released = request
        .until("Released", LONG, |s| s.phase == Some(Phase::Released))
        .await;
    let outside = env.release();
    let prefix = request.releases();
    let package = ready("one package, no open upload", PATIENCE, || async {
        let keys = outside.keys(&prefix).await;
        let open = outside.open_uploads(&prefix).await;
        (keys.len() == 1 && open.is_empty()).then(|| keys[0].clone())
    })
    .await;
    let records = request.records().await;
    assert_eq!(records.len(), 1, "{records:?}");
    let named = records[0].spec.package.as_ref().unwrap();
    let stored = outside.get(&package).await;
    assert_eq!(
        (named.sha256.as_str(), named.size),
        (sha256(&stored).as_str(), stored.len() as i64),
        "the record is of what is stored"
    );
    assert_eq!(
        released.release.unwrap().record_name,
        records[0].metadata.name.clone().unwrap()
    );
    the_ledger_is_a_chain(env, request).await;
}

/// Each entry carries the hash of the one before, and status comes to show one that
/// has the outcome before it; of who was told, later entries speak.
async fn the_ledger_is_a_chain(env: &Env, request: &Request) {
    let inside = env.quarantine();
    let prefix = format!(
        "audit/requests/{}/{}/",
        crate::harness::PROJECT,
        request.uid
    );
    let mut previous = "0".repeat(64);
    let mut released = 0;
    let mut since = Vec::new();
    for (index, key) in inside.keys(&prefix).await.iter().enumerate() {
        let bytes = inside.get(key).await;
        let entry: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(entry["previous"], previous.as_str(), "{key}");
        assert_eq!(entry["sequence"], index + 1, "{key}");
        let events = entry["events"].as_array().unwrap();
        released += events.iter().filter(|e| e["kind"] == "Outcome").count();
        previous = sha256(&bytes);
        if released > 0 {
            since.push(previous.clone());
        }
    }
    assert_eq!(released, 1, "one outcome in the ledger");
    request
        .until("the ledger's head", PATIENCE, move |s| {
            s.audit.as_ref().is_some_and(|a| since.contains(&a.hash))
        })
        .await;
}

/// A point of a release at which it is killed.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// The attempt is recorded.
    Attempted,
    /// Parts are on their way.
    Uploading,
    /// The package is stored, and read back.
    Stored,
    /// The outcome is committed.
    Decided,
}

impl Stage {
    async fn is_there(
        self,
        inside: &Store,
        outside: &Store,
        request: &Request,
        seen: usize,
    ) -> bool {
        let round = format!("{}rounds/1/", request.prefix());
        if inside.find(&format!("{round}outcome.json")).await.is_some() {
            return true;
        }
        let attempts = inside.keys(&format!("{round}attempts/")).await.len();
        let prefix = request.releases();
        attempts > seen
            && match self {
                Self::Attempted => true,
                Self::Uploading => !outside.open_uploads(&prefix).await.is_empty(),
                Self::Stored => !outside.keys(&prefix).await.is_empty(),
                Self::Decided => false,
            }
    }
}

/// Kills the controller again and again during one release.
async fn killed(kills: usize, files: usize, size: usize) {
    let env = private().await;
    let setup = Controller::new(&env, "killed");
    let mut controller = setup.start().await;
    let desk = desk(&env, "killed-gateway", &controller.url).await;
    let request = desk.approved_once("killed", files, size).await;
    desk.carol.approves(&request).await;
    let (inside, outside) = (env.quarantine(), env.release());
    let attempts = format!("{}rounds/1/attempts/", request.prefix());
    let outcome = format!("{}rounds/1/outcome.json", request.prefix());
    let (mut seen, mut during) = (0, 0);
    for kill in 1..=kills {
        let stage = match kill {
            last if last == kills => Stage::Decided,
            other => [Stage::Attempted, Stage::Uploading, Stage::Stored][other % 3],
        };
        ready(format!("{stage:?}, kill {kill}"), LONG, || async {
            let there = stage.is_there(&inside, &outside, &request, seen).await;
            there.then_some(())
        })
        .await;
        controller.kill().await;
        seen = inside.keys(&attempts).await.len();
        during += usize::from(inside.find(&outcome).await.is_none());
        controller = setup.start().await;
    }
    assert!(
        during * 2 >= kills,
        "only {during} of {kills} kills came before the outcome"
    );
    crossed_once(&env, &request).await;
    assert!(controller.runs());
}

#[tokio::test]
async fn a_controller_killed_again_and_again_releases_once() {
    killed(5, 4, 64 << 20).await;
}

#[tokio::test]
#[ignore = "long"]
async fn a_controller_killed_twenty_times_releases_a_gibibyte_once() {
    killed(20, 16, 64 << 20).await;
}

/// A server of the environment that stands still until this is dropped.
struct Stopped(String);

/// The process id of a server of the environment.
pub fn pid_of(env: &Env, name: &str) -> String {
    let mark = format!("TREVOR_ENV_PROCESS={}#{name}", env.folder().display());
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid = entry.unwrap().file_name().into_string().unwrap();
        pid.parse::<u32>().ok()?;
        let variables = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
        let ours = variables.split(|b| *b == 0).any(|v| v == mark.as_bytes());
        ours.then_some(pid)
    });
    let pids: Vec<String> = pids.collect();
    assert_eq!(pids.len(), 1, "{name}: {pids:?}");
    pids[0].clone()
}

impl Stopped {
    fn server(env: &Env, name: &str) -> Self {
        let pid = pid_of(env, name);
        signal("-STOP", &pid);
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal("-CONT", &self.0);
    }
}

/// Waits until it is said to be releasing, with the cause and the attempts so far.
async fn waits_for_the_server(request: &Request, cause: &'static str) {
    request
        .until("Releasing with its cause", PATIENCE, move |s| {
            s.phase == Some(Phase::Releasing)
                && s.attempts.is_some_and(|n| n >= 1)
                && s.conditions.iter().any(|c| {
                    c.type_ == "Ready" && c.reason == "Releasing" && c.message.contains(cause)
                })
        })
        .await;
}

#[tokio::test]
async fn a_release_waits_for_a_server_that_hangs_and_goes_on_with_it() {
    let env = private().await;
    let setup = Controller {
        elect: false,
        ..Controller::new(&env, "patient")
    };
    let controller = setup.start().await;
    let desk = desk(&env, "patient-gateway", &controller.url).await;
    let request = desk.approved_once("patient", 1, 1 << 20).await;
    let stopped = Stopped::server(&env, "s3-release");
    desk.carol.approves(&request).await;
    // It is a minute and more until a call to it is given up; who waits is told before.
    waits_for_the_server(&request, "the release server has not answered").await;
    drop(stopped);
    crossed_once(&env, &request).await;
}

#[tokio::test]
async fn a_release_waits_for_a_server_that_refuses_and_a_review_still_stops_it() {
    let env = private().await;
    let proxy = Proxy::before(&env.variable("TREVOR_RELEASE_ENDPOINT")).await;
    let setup = Controller {
        elect: false,
        release: Some(&proxy.url),
        ..Controller::new(&env, "refused")
    };
    let controller = setup.start().await;
    let desk = desk(&env, "refused-gateway", &controller.url).await;
    let goes = desk.approved_once("refused-goes", 1, 1 << 20).await;
    let returned = desk.approved_once("refused-returned", 1, 1 << 20).await;
    proxy.behaves(Mode::Refuses(403, "QuotaExceeded"));
    desk.carol.approves(&goes).await;
    desk.carol.approves(&returned).await;
    waits_for_the_server(&goes, "tried again").await;
    waits_for_the_server(&returned, "tried again").await;
    let (carol, word) = (&desk.carol, ReviewDecision::RequestChanges);
    carol.reviews_it(&returned, word).await;
    let outcome = format!("{}rounds/1/outcome.json", returned.prefix());
    let inside = env.quarantine();
    ready("the outcome", PATIENCE, || inside.find(&outcome)).await;
    proxy.behaves(Mode::AsItIs);
    returned.reaches(Phase::ChangesRequested).await;
    assert!(env.release().keys(&returned.releases()).await.is_empty());
    assert!(returned.records().await.is_empty());
    crossed_once(&env, &goes).await;
}

#[tokio::test]
async fn a_release_server_that_is_away_costs_one_attempt_however_often_it_is_tried() {
    let env = private().await;
    let proxy = Proxy::before(&env.variable("TREVOR_RELEASE_ENDPOINT")).await;
    let setup = Controller {
        elect: false,
        release: Some(&proxy.url),
        ..Controller::new(&env, "away")
    };
    let controller = setup.start().await;
    let desk = desk(&env, "away-gateway", &controller.url).await;
    let request = desk.approved_once("away", 1, 1 << 20).await;
    proxy.behaves(Mode::Refuses(403, "AccessDenied"));
    desk.carol.approves(&request).await;
    waits_for_the_server(&request, "tried again").await;
    let broke_off = || async {
        let log = env.folder().join("log").join("away.log");
        let log = std::fs::read_to_string(log).unwrap();
        let tries = log.matches("a release broke off").count();
        (tries >= 4).then_some(tries)
    };
    ready("four tries", PATIENCE, broke_off).await;
    let inside = env.quarantine();
    let attempts = format!("{}rounds/1/attempts/", request.prefix());
    assert_eq!(inside.keys(&attempts).await.len(), 1, "one fact");
    let tries = broke_off().await.unwrap();
    assert!(tries <= 6, "pauses grow: {tries} tries");
    let api: Api<Event> = Api::namespaced(env.kube("admin").await, PROJECT);
    let on = ListParams::default().fields(&format!("involvedObject.name={}", request.name));
    let events = api.list(&on).await.unwrap().items;
    let told = events
        .iter()
        .filter(|e| e.reason.as_deref() == Some("Releasing"));
    let told: i32 = told.map(|e| e.count.unwrap_or(1)).sum();
    assert!(told <= 1, "{events:?}");
    proxy.behaves(Mode::AsItIs);
    crossed_once(&env, &request).await;
    assert_eq!(
        inside.keys(&attempts).await.len(),
        1,
        "the same attempt went through"
    );
}

#[tokio::test]
async fn a_small_release_makes_at_most_twelve_writes() {
    let env = private().await;
    let inside = Proxy::before(&env.variable("TREVOR_QUARANTINE_ENDPOINT")).await;
    let outside = Proxy::before(&env.variable("TREVOR_RELEASE_ENDPOINT")).await;
    let setup = Controller {
        elect: false,
        quarantine: Some(&inside.url),
        release: Some(&outside.url),
        ..Controller::new(&env, "counted")
    };
    let controller = setup.start().await;
    let desk = desk(&env, "counted-gateway", &controller.url).await;
    let request = desk.approved_once("counted", 3, 10_000).await;
    drop((inside.calls(), outside.calls()));
    desk.carol.approves(&request).await;
    request.reaches(Phase::Released).await;
    let mut writes = Vec::new();
    for call in inside.calls().into_iter().chain(outside.calls()) {
        if call.writes() && !call.path.contains("/audit/") {
            writes.push(format!("{} {}?{}", call.method, call.path, call.query));
        }
    }
    println!("{} writes:\n{}", writes.len(), writes.join("\n"));
    assert!((3..=12).contains(&writes.len()), "{writes:#?}");
    crossed_once(&env, &request).await;
}

#[tokio::test]
async fn a_gateway_whose_ledger_was_not_taken_for_a_while_shows_content_again() {
    let env = private().await;
    let proxy = Proxy::before(&env.variable("TREVOR_QUARANTINE_ENDPOINT")).await;
    let setup = Controller {
        elect: false,
        ..Controller::new(&env, "ledger-back")
    };
    let controller = setup.start().await;
    let settings = [("/storage/quarantine/endpoint", json!(proxy.url))];
    let desk = desk_set(&env, "ledger-back-gateway", &controller.url, &settings).await;
    let request = desk.approved_once("ledger-back", 1, 1000).await;
    let carol_reads = || async {
        let answer = desk.carol.reads(&request, "part-0.bin").await;
        answer.status.as_u16()
    };
    proxy.behaves(Mode::Busy("/audit/gateway/"));
    assert_eq!(carol_reads().await, 503);
    proxy.behaves(Mode::AsItIs);
    // By the gateway's identity, which may not list its chain.
    ready("content is shown again", PATIENCE, || async {
        (carol_reads().await == 200).then_some(())
    })
    .await;
}
