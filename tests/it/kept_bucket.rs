//! Writes a bucket with requests in every state, which tests/fixtures keeps of each version
//! whose facts later versions have to read: `TREVOR_KEEP_BUCKET=<file>.zip` names where it
//! goes (tests/fixtures/README.md). Nothing is wrong with it, says `trevor audit verify`.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kube::Api;
use serde_json::{Value, json};
use tokio::process::Command;
use trevor_api::{Phase, ReviewDecision};
use trevor_core::volume::Errand;

use crate::actions::{acts, in_review, word_on};
use crate::audit::{covered, verifies};
use crate::faults::{Desk, desk_set};
use crate::harness::{
    Answers, Controller, Env, Kubelet, Mode, PATIENCE, PROJECT, Packer, Person, Proxy, Receiver,
    Request, Spawned, Store, command, free_address, fresh, job_name, ready, trevor,
};
use crate::ingress::{declared, send_all, spec};
use crate::restored::Etcd;
use crate::revoke::{counts, released, renews};
use crate::rules::{a_policy_tells, away, back, becomes, proved_since, settled};
use crate::volumes::{claim, egress, ingress};

/// Bytes from which a Job makes the package.
const THRESHOLD: usize = 300_000;
/// Seconds that files and packages of the second controller are kept.
const FILES: i64 = 30;
const WINDOW: i64 = 20;

/// What was made, by what became of it.
#[derive(Default)]
struct Made(BTreeMap<&'static str, Request>);

struct Scene<'a> {
    env: &'a Env,
    gateway: String,
    receiver: Receiver,
}

impl Scene<'_> {
    fn setup(&self, name: &'static str, more: Vec<(&'static str, Value)>) -> Controller<'_> {
        let template = self.env.folder().join("packaging-job.yaml");
        let hook =
            json!({"url": self.receiver.url(), "allow_plaintext": true, "allow_unsigned": true});
        let notifications = json!({"allowed_hosts": ["127.0.0.1"],
            "channels": [{"name": "hook", "webhook": hook}]});
        let mut settings = vec![("/gateway/url", json!(format!("http://{}", self.gateway)))];
        settings.extend(more);
        Controller {
            elect: false,
            packaging: Some(
                json!({"mode": "Job", "job_threshold_bytes": THRESHOLD, "job_template": template}),
            ),
            notifications: Some(notifications),
            settings,
            ..Controller::new(self.env, name)
        }
    }

    async fn desk(&self, name: &'static str, controller: &Spawned) -> Desk {
        let listen = [("/gateway/listen", json!(self.gateway))];
        desk_set(self.env, name, &controller.url, &listen).await
    }
}

async fn does(who: &Person, request: &Request, role: &str, action: &str) {
    let act = acts(who, request, role, action).await.unwrap();
    word_on(who, &act).await;
}

async fn approved_once(desk: &Desk, stem: &str) -> Request {
    let declared = json!({"direction": "Egress", "title": "Tables of a cohort", "description": "Why — für später",
        "authors": [{"name": "A. Author"}], "files": [
            {"path": "figures/", "description": "All figures", "justification": "Aggregates only",
             "suppressionNotes": "n < 10 suppressed", "outputType": "Figure"},
            {"path": "table.csv", "description": "Table 1"}]});
    let request = desk.alice.creates(stem, declared).await;
    desk.alice.uploads(&request, "figures/a.csv", "a,1").await;
    desk.alice.uploads(&request, "figures/b.csv", "b,2").await;
    desk.alice
        .uploads(&request, "table.csv", "age,n\n1,20\n")
        .await;
    desk.alice.submits(&request, 1).await;
    request.reaches(Phase::InReview).await;
    desk.bob.reads(&request, "table.csv").await.expect(200);
    desk.bob.approves(&request).await;
    request
        .until("1/2", PATIENCE, |s| {
            s.approvals.as_ref().is_some_and(|a| a.summary == "1/2")
        })
        .await;
    request
}

async fn returned(desk: &Desk, stem: &str) -> Request {
    let request = in_review(&desk.alice, stem).await;
    desk.bob
        .reviews_it(&request, ReviewDecision::RequestChanges)
        .await;
    request.reaches(Phase::ChangesRequested).await;
    request
}

async fn second_round(desk: &Desk, stem: &str) -> Request {
    let request = returned(desk, stem).await;
    desk.alice.uploads(&request, "b.csv", "3,4").await;
    desk.alice.submits(&request, 2).await;
    request.round_reaches(2, Phase::InReview).await;
    desk.bob.approves(&request).await;
    desk.carol.approves(&request).await;
    request.reaches(Phase::Released).await;
    request
}

async fn inwards(desk: &Desk, stem: &str, approve: bool) -> Request {
    let bytes = b"age,n\n1,20\n".as_slice();
    let request = desk
        .alice
        .creates(stem, spec(1, &[declared("t.csv", bytes)]))
        .await;
    send_all(&desk.alice, &request, &[("t.csv", bytes)]).await;
    request.reaches(Phase::InReview).await;
    if approve {
        desk.bob.approves(&request).await;
        request.reaches(Phase::Released).await;
    }
    request
}

async fn rejected(desk: &Desk, stem: &str) -> Request {
    let request = in_review(&desk.alice, stem).await;
    desk.bob.reviews_it(&request, ReviewDecision::Reject).await;
    request.reaches(Phase::Rejected).await;
    request
}

async fn recalled(desk: &Desk, stem: &str) -> Request {
    let request = in_review(&desk.alice, stem).await;
    does(&desk.alice, &request, "Submitter", "Recall").await;
    request.reaches(Phase::ChangesRequested).await;
    desk.alice.uploads(&request, "b.csv", "3,4").await;
    desk.alice.submits(&request, 2).await;
    request.round_reaches(2, Phase::InReview).await;
    desk.alice.withdraws(&request).await;
    request.reaches(Phase::Withdrawn).await;
    request
}

async fn revoked(desk: &Desk, stem: &str) -> Request {
    let request = released(&desk.alice, &desk.bob, &desk.carol, stem).await;
    does(&desk.bob, &request, "Checker", "Revoke").await;
    request.reaches(Phase::Revoked).await;
    request
}

/// From a volume, and into one.
async fn volumes(env: &Env, desk: &Desk, made: &mut Made) {
    let admin = env.kube("admin").await;
    let from = claim(&admin, PROJECT, "airlock-read").await;
    let into = claim(&admin, PROJECT, "airlock-write").await;
    let volume = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(volume.path().join("out")).unwrap();
    std::fs::write(volume.path().join("out/t.csv"), "age,n\n1,20\n").unwrap();
    let kubelet = Kubelet::new(admin, PROJECT)
        .mounts(&from, volume.path())
        .mounts(&into, volume.path());
    let collected = desk.alice.creates("keep-collected", egress(&from, 1)).await;
    let pod = kubelet.pod_of(&job_name(&collected, "collect-1")).await;
    let ended = kubelet.runs(&pod).await;
    assert_eq!(ended.code, 0, "{}", ended.said);
    collected.reaches(Phase::InReview).await;
    desk.bob.approves(&collected).await;
    desk.carol.approves(&collected).await;
    collected.reaches(Phase::Released).await;
    made.0.insert("collected", collected);
    let files: &[(&str, &[u8])] = &[("a.csv", b"one")];
    let delivered = desk
        .alice
        .creates("keep-delivered", ingress(&into, files))
        .await;
    send_all(&desk.alice, &delivered, files).await;
    delivered.reaches(Phase::InReview).await;
    desk.bob.approves(&delivered).await;
    let pod = kubelet.pod_of(&job_name(&delivered, "deliver")).await;
    let ended = kubelet.runs(&pod).await;
    assert_eq!(ended.code, 0, "{}", ended.said);
    delivered.reaches(Phase::Released).await;
    made.0.insert("delivered", delivered);
}

async fn by_a_job(env: &Env, desk: &Desk) -> Request {
    let packer = Packer::new(env.kube("admin").await);
    let request = desk
        .alice
        .creates(
            "keep-packed",
            json!({"direction": "Egress", "title": "Large"}),
        )
        .await;
    desk.alice
        .uploads(&request, "zeros.csv", "0\n".repeat(THRESHOLD))
        .await;
    desk.alice.submits(&request, 1).await;
    request.reaches(Phase::InReview).await;
    desk.bob.approves(&request).await;
    desk.carol.approves(&request).await;
    let name = Errand::Package {
        round: 1,
        attempt: 1,
    }
    .job_name(&request.name, &request.uid);
    let pod = packer.kubelet.pod_of(&name).await;
    let ended = packer.runs(&pod).await;
    assert_eq!(ended.code, 0, "{}", ended.said);
    request.reaches(Phase::Released).await;
    request
}

/// Requests that stay open, but for the one whose release is stopped.
async fn open(env: &Env, desk: &Desk, made: &mut Made) {
    let alice = &desk.alice;
    let plain = json!({"direction": "Egress", "title": "Kept"});
    let draft = alice.creates("keep-draft", plain.clone()).await;
    alice.uploads(&draft, "a.csv", "1").await;
    alice.uploads(&draft, "a.csv", "2").await;
    alice.uploads(&draft, "gone.csv", "3").await;
    alice.drops(&draft, "gone.csv").await.expect(204);
    draft.says("Ready", "Draft").await;
    let waits = json!({"direction": "Egress", "title": "Waits", "submission": 1, "files": [{"path": "a.csv"}]});
    let waiting = alice.creates("keep-waiting", waits).await;
    waiting.reaches(Phase::Submitted).await;
    let reviewed = approved_once(desk, "keep-reviewed").await;
    let held = in_review(alice, "keep-held").await;
    let olga = env.person_at("olga", &alice.gateway).await;
    does(&olga, &held, "HoldOfficer", "Hold").await;
    held.says("Held", "OnHold").await;
    let refused = alice.creates("keep-refused", plain).await;
    alice.submits(&refused, 1).await;
    refused.reaches(Phase::ChangesRequested).await;
    made.0.insert("draft", draft);
    made.0.insert("waiting", waiting);
    made.0.insert("reviewed", reviewed);
    made.0.insert("held", held);
    made.0.insert("refused", refused);
    made.0
        .insert("returned", returned(desk, "keep-returned").await);
    made.0
        .insert("inReviewInwards", inwards(desk, "keep-in", false).await);
}

/// Requests that closed, with files and packages that are kept for long.
async fn closed(env: &Env, desk: &Desk, made: &mut Made) {
    let (alice, bob, carol) = (&desk.alice, &desk.bob, &desk.carol);
    let crossed = approved_once(desk, "keep-released").await;
    carol.approves(&crossed).await;
    crossed.reaches(Phase::Released).await;
    made.0.insert("released", crossed);
    made.0
        .insert("secondRound", second_round(desk, "keep-second").await);
    made.0
        .insert("rejected", rejected(desk, "keep-rejected").await);
    made.0
        .insert("recalledWithdrawn", recalled(desk, "keep-recalled").await);
    let deleted = in_review(alice, "keep-deleted").await;
    alice.deletes(&deleted).await;
    deleted.is_gone().await;
    made.0.insert("deletedInReview", deleted);
    made.0
        .insert("revoked", revoked(desk, "keep-revoked").await);
    let late = released(alice, bob, carol, "keep-late").await;
    carol.reviews_it(&late, ReviewDecision::Reject).await;
    late.reaches(Phase::Revoked).await;
    made.0.insert("lateReject", late);
    let taken = released(alice, bob, carol, "keep-taken").await;
    alice.withdraws(&taken).await;
    taken.reaches(Phase::Revoked).await;
    made.0.insert("withdrawnAfter", taken);
    let renewed = released(alice, bob, carol, "keep-renewed").await;
    let target = json!({"kind": "AirlockRequest", "name": renewed.name, "uid": renewed.uid});
    for revoke_old in [false, true] {
        let act = renews(alice, "Submitter", target.clone(), revoke_old).await;
        counts(alice, &act.unwrap()).await;
    }
    made.0.insert("renewed", renewed);
    let without_cluster = released(alice, bob, carol, "keep-admin").await;
    revoke_without_a_cluster(env, &without_cluster).await;
    made.0.insert("revokedByCommand", without_cluster);
    made.0
        .insert("inwards", inwards(desk, "keep-inwards", true).await);
    let back = inwards(desk, "keep-back", true).await;
    does(bob, &back, "Checker", "Revoke").await;
    back.reaches(Phase::Revoked).await;
    made.0.insert("inwardsRevoked", back);
    made.0.insert("packed", by_a_job(env, desk).await);
}

async fn revoke_without_a_cluster(env: &Env, request: &Request) {
    let config = env.folder().join("controller.yaml");
    let target = format!("{PROJECT}/{}", request.uid);
    let done = command(env, "controller")
        .args([
            "release", "revoke", &target, "--reason", "kept", "--by", "root", "--config",
        ])
        .arg(config)
        .output()
        .await
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// Requests whose files and packages are deleted.
async fn due(env: &Env, desk: &Desk, made: &mut Made) {
    let (alice, bob, carol) = (&desk.alice, &desk.bob, &desk.carol);
    let olga = env.person_at("olga", &alice.gateway).await;
    let held = released(alice, bob, carol, "keep-lifted").await;
    does(&olga, &held, "HoldOfficer", "Hold").await;
    held.says("Held", "OnHold").await;
    made.0
        .insert("deleted", released(alice, bob, carol, "keep-gone").await);
    made.0
        .insert("revokedDeleted", revoked(desk, "keep-revoked-gone").await);
    made.0.insert(
        "rejectedDeleted",
        rejected(desk, "keep-rejected-gone").await,
    );
    made.0.insert(
        "inwardsDeleted",
        inwards(desk, "keep-inwards-gone", true).await,
    );
    let inside = env.quarantine();
    for (which, what) in [
        ("deleted", "release"),
        ("deleted", "quarantine"),
        ("revokedDeleted", "quarantine"),
        ("rejectedDeleted", "quarantine"),
        ("inwardsDeleted", "quarantine"),
    ] {
        is_deleted(&inside, &made.0[which], what).await;
    }
    does(&olga, &held, "HoldOfficer", "LiftHold").await;
    for what in ["release", "quarantine"] {
        is_deleted(&inside, &held, what).await;
    }
    made.0.insert("liftedDeleted", held);
}

async fn is_deleted(inside: &Store, request: &Request, what: &str) {
    let receipt = format!("{}deleted/{what}.json", request.prefix());
    let name = format!("{what} of {}", request.name);
    ready(name, PATIENCE * 2, || async { inside.find(&receipt).await }).await;
}

/// The key that follows on the environment's: its private and its public file.
async fn next_key(env: &Env, folder: &Path) -> (PathBuf, PathBuf) {
    let new = folder.join("next.pem");
    let rotated = Command::new(trevor())
        .args(["audit", "rotate", "--old"])
        .arg(env.folder().join("audit-signing-key.pem"))
        .arg("--out")
        .arg(&new)
        .output()
        .await
        .unwrap();
    assert!(
        rotated.status.success(),
        "{}",
        String::from_utf8_lossy(&rotated.stderr)
    );
    let public = folder.join("next.pem.pub");
    (new, public)
}

#[tokio::test]
#[ignore = "writes tests/fixtures; some minutes"]
async fn requests_in_every_state_leave_a_bucket_that_verifies() {
    let env = fresh().await;
    let work = tempfile::tempdir().unwrap();
    let scene = Scene {
        env: &env,
        gateway: free_address(),
        receiver: Receiver::new(Answers::Takes).await,
    };
    let mut made = Made::default();
    let admin = env.kube("admin").await;
    a_policy_tells(&env).await;

    // With the first key.
    let mut controller = scene.setup("keep-1", vec![]).start().await;
    becomes(&admin, true, "those of the chart").await;
    settled(&controller.url).await;
    let desk = scene.desk("keep-gateway-1", &controller).await;
    open(&env, &desk, &mut made).await;
    closed(&env, &desk, &mut made).await;
    volumes(&env, &desk, &mut made).await;
    let inside = env.quarantine();
    for request in made.0.values() {
        covered(&inside, request).await;
    }
    controller.kill().await;
    drop(desk);

    // With the key that follows, and short times.
    let (next, public) = next_key(&env, work.path()).await;
    let key = std::fs::read_to_string(&next).unwrap().replace('\n', " ");
    let variables = vec![("TREVOR_AUDIT_SIGNING_KEY".to_owned(), key)];
    let short = json!({"allow_short_retention": true, "quarantine_retention_seconds": FILES,
        "release_retention_seconds": WINDOW, "release_retention_days": null, "quarantine_retention_days": null});
    let mut setup = scene.setup("keep-2", vec![]);
    setup.changes = json!({"storage": short});
    setup.variables.clone_from(&variables);
    let mut controller = setup.start().await;
    settled(&controller.url).await;
    let desk = scene.desk("keep-gateway-2", &controller).await;
    due(&env, &desk, &mut made).await;
    for request in made.0.values() {
        covered(&inside, request).await;
    }
    controller.kill().await;
    drop(desk);

    // A release that cannot begin, and rules that are replaced.
    let proxy = Proxy::before(&env.variable("TREVOR_RELEASE_ENDPOINT")).await;
    let mut setup = scene.setup("keep-3", vec![]);
    setup.release = Some(&proxy.url);
    setup.variables = variables;
    let mut controller = setup.start().await;
    settled(&controller.url).await;
    let desk = scene.desk("keep-gateway-3", &controller).await;
    let stuck = approved_once(&desk, "keep-stuck").await;
    proxy.behaves(Mode::Refuses(503, "ServiceUnavailable"));
    desk.carol.approves(&stuck).await;
    let attempt = format!("{}rounds/1/attempts/", stuck.prefix());
    ready("an attempt", PATIENCE, || async {
        (!inside.keys(&attempt).await.is_empty()).then_some(())
    })
    .await;
    proved_since(&desk.alice).await;
    let binding = away(&admin, "trevor-airlockreviews").await;
    becomes(&admin, false, "").await;
    back(&admin, &binding).await;
    becomes(&admin, true, "").await;
    assert!(
        inside
            .find(&format!("audit/epochs/{:020}.ended.json", 1))
            .await
            .is_some()
    );
    settled(&controller.url).await;
    made.0
        .insert("laterEpoch", inwards(&desk, "keep-epoch", true).await);
    covered(&inside, &made.0["laterEpoch"]).await;
    covered(&inside, &stuck).await;
    made.0.insert("stuck", stuck);
    controller.kill().await;
    drop(desk);

    let old = env.folder().join("audit-public-key.pem");
    let config = env.folder().join("controller.yaml");
    let told = verifies(&env, &["--bucket", "--config", config.to_str().unwrap()]).await;
    assert_eq!(told.findings, Vec::<Value>::new());
    if let Ok(to) = std::env::var("TREVOR_KEEP_BUCKET") {
        let etcd = Etcd::of(&env).snapshot().await;
        keep(&env, &made, etcd, &[old, public], Path::new(&to)).await;
    }
}

/// Zips what is kept.
async fn keep(
    env: &Env,
    made: &Made,
    etcd: crate::restored::Snapshot,
    keys: &[PathBuf],
    to: &Path,
) {
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (name, store) in [("quarantine", env.quarantine()), ("release", env.release())] {
        for key in store.keys("").await {
            // URLs that are signed, and what a start leaves.
            if !key.starts_with("work/urls/") && !key.starts_with("work/probe/") {
                files.insert(format!("{name}/{key}"), store.get(&key).await);
            }
        }
    }
    // No Secret: it holds a URL that is signed.
    for (key, value) in etcd {
        let key = String::from_utf8(STANDARD.decode(key).unwrap()).unwrap();
        if key.starts_with("/registry/airlock.karectl.io/") {
            files.insert(format!("etcd{key}"), STANDARD.decode(value).unwrap());
        }
    }
    for (number, path) in keys.iter().enumerate() {
        files.insert(
            format!("audit-{}.pub", number + 1),
            std::fs::read(path).unwrap(),
        );
    }
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(env.kube("admin").await);
    let cluster = namespaces.get("kube-system").await.unwrap().metadata.uid;
    let mut requests = serde_json::Map::new();
    for (what, request) in &made.0 {
        let live = request.api().get_opt(&request.name).await.unwrap();
        let status = live.and_then(|live| live.status).unwrap_or_default();
        requests.insert((*what).to_owned(), json!({
            "name": request.name, "uid": request.uid, "phase": status.phase, "round": status.round,
            "digest": status.manifest.map(|m| m.digest),
        }));
    }
    let about = json!({"cluster": cluster, "namespace": PROJECT, "time": Timestamp::now(), "requests": requests});
    files.insert(
        "about.json".into(),
        serde_json::to_vec_pretty(&about).unwrap(),
    );
    let mut zip = zip::ZipWriter::new(std::fs::File::create(to).unwrap());
    let options = zip::write::SimpleFileOptions::default();
    for (name, bytes) in files {
        zip.start_file(name, options).unwrap();
        zip.write_all(&bytes).unwrap();
    }
    zip.finish().unwrap();
}

/// Puts the objects that were kept of a version into a fresh environment, under the uids that
/// they had: requests, reviews and the cluster's own uid go into etcd as they were.
async fn restores(env: &Env, name: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name);
    let mut zip = zip::ZipArchive::new(std::fs::File::open(file).unwrap()).unwrap();
    let (inside, outside) = (env.quarantine(), env.release());
    let mut etcd = Vec::new();
    let mut about = Value::Null;
    for at in 0..zip.len() {
        let mut entry = zip.by_index(at).unwrap();
        let (name, mut bytes) = (entry.name().to_owned(), Vec::new());
        entry.read_to_end(&mut bytes).unwrap();
        drop(entry);
        if let Some(key) = name.strip_prefix("quarantine/") {
            inside.put(key, &bytes).await;
        } else if let Some(key) = name.strip_prefix("release/") {
            outside.put(key, &bytes).await;
        } else if let Some(key) = name.strip_prefix("etcd") {
            etcd.push((STANDARD.encode(key), STANDARD.encode(bytes)));
        } else if name == "about.json" {
            about = serde_json::from_slice(&bytes).unwrap();
        }
    }
    let system = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "kube-system",
        "uid": about["cluster"], "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
    etcd.push((
        STANDARD.encode("/registry/namespaces/kube-system"),
        STANDARD.encode(system.to_string()),
    ));
    Etcd::of(env).puts(&etcd).await;
    about
}

/// The requests that were open when version 98fbe11 was replaced go on: what was approved
/// counts, and what is named by an old digest is found under it.
#[tokio::test]
async fn open_requests_of_98fbe11_go_on() {
    let env = fresh().await;
    let about = restores(&env, "bucket-98fbe11.zip").await;
    let admin = env.kube("admin").await;
    let of = |what: &str| {
        let said = &about["requests"][what];
        let text = |name: &str| said[name].as_str().unwrap().to_owned();
        Request::new(&text("name"), &text("uid"), admin.clone())
    };
    let digest = about["requests"]["reviewed"]["digest"].as_str().unwrap();
    let setup = Controller {
        elect: false,
        ..Controller::new(&env, "goes-on")
    };
    let controller = setup.start().await;
    settled(&controller.url).await;
    let gateway = crate::faults::desk(&env, "goes-on-gateway", &controller.url).await;
    let (alice, bob, carol) = (&gateway.alice, &gateway.bob, &gateway.carol);

    // One approval of then and one of now, of the same digest.
    let reviewed = of("reviewed");
    let review = carol
        .reviews_digest(&reviewed.name, digest, ReviewDecision::Approve)
        .await;
    let status = reviewed.reaches(Phase::Released).await;
    assert_eq!(status.manifest.unwrap().digest, digest);
    let word = reviewed
        .word_on(&review.unwrap(), |s| s.state.is_some())
        .await;
    assert_eq!(
        word.state,
        Some(trevor_api::ReviewState::Counted),
        "{word:?}"
    );
    let record = reviewed.record().await;
    assert_eq!(record.spec.manifest_digest, digest);
    assert_eq!(record.spec.approvals.len(), 2);

    // What was approved then, and could not be released.
    of("stuck").reaches(Phase::Released).await;
    // A draft with its uploads, and a returned round.
    let draft = of("draft");
    alice.submits(&draft, 1).await;
    draft.reaches(Phase::InReview).await;
    let returned = of("returned");
    alice.submits(&returned, 2).await;
    returned.round_reaches(2, Phase::InReview).await;
    let inwards = of("inReviewInwards");
    bob.approves(&inwards).await;
    inwards.reaches(Phase::Released).await;
    of("held").says("Held", "OnHold").await;
    // What was closed stays as it was.
    for (what, phase) in [
        ("released", Phase::Released),
        ("rejected", Phase::Rejected),
        ("revoked", Phase::Revoked),
        ("recalledWithdrawn", Phase::Withdrawn),
    ] {
        of(what).reaches(phase).await;
    }
    // A release of then is taken back.
    let released = of("released");
    does(bob, &released, "Checker", "Revoke").await;
    released.reaches(Phase::Revoked).await;
}
