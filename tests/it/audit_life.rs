//! Requests of every kind from their first upload to the last deletion, by the real
//! sweeper: an auditor finds nothing wrong with them, and everything that is changed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use trevor_api::{Phase, ReviewDecision};
use trevor_store::audit::PublicKey;
use trevor_store::audit::verify::{Finding, Kind, Packages, Question, Source, verify};

use crate::actions::{acts, in_review, word_on};
use crate::audit::{CHECKPOINTS, Told, chain, covered, verifies};
use crate::faults::{Desk, desk};
use crate::harness::{
    Controller, Env, PATIENCE, Person, Request, Store, fresh, read_config, ready,
};
use crate::ingress::{declared, send_all, spec};

/// Seconds that files and packages are kept.
const FILES: i64 = 45;
const WINDOW: i64 = 30;
/// Changes that are made to the real ledger, one after another.
const CHANGES: usize = 1_000;

/// The driver's configuration with short retention, as long as this is held.
struct Short {
    path: PathBuf,
    before: String,
}

impl Short {
    fn of(env: &Env) -> Self {
        let path = env.folder().join("controller.yaml");
        let before = std::fs::read_to_string(&path).unwrap();
        let mut config = read_config(env, "controller");
        let storage = config["storage"].as_object_mut().unwrap();
        storage.remove("release_retention_days");
        storage.remove("quarantine_retention_days");
        storage.insert("allow_short_retention".into(), json!(true));
        storage.insert("quarantine_retention_seconds".into(), json!(FILES));
        storage.insert("release_retention_seconds".into(), json!(WINDOW));
        std::fs::write(&path, config.to_string()).unwrap();
        Self { path, before }
    }
}

impl Drop for Short {
    fn drop(&mut self) {
        std::fs::write(&self.path, &self.before).unwrap();
    }
}

async fn released(desk: &Desk, stem: &str) -> Request {
    let request = in_review(&desk.alice, stem).await;
    desk.bob.approves(&request).await;
    desk.carol.approves(&request).await;
    request.reaches(Phase::Released).await;
    request
}

async fn inwards(desk: &Desk, stem: &str) -> Request {
    let bytes = b"age,n\n1,20\n".as_slice();
    let request = desk
        .alice
        .creates(stem, spec(1, &[declared("t.csv", bytes)]))
        .await;
    send_all(&desk.alice, &request, &[("t.csv", bytes)]).await;
    request.reaches(Phase::InReview).await;
    desk.bob.approves(&request).await;
    request.reaches(Phase::Released).await;
    request
}

async fn does(who: &Person, request: &Request, role: &str, action: &str) {
    let act = acts(who, request, role, action).await.unwrap();
    word_on(who, &act).await;
}

async fn rejected(desk: &Desk) -> Request {
    let request = in_review(&desk.alice, "life-rejected").await;
    desk.bob.reviews_it(&request, ReviewDecision::Reject).await;
    request.reaches(Phase::Rejected).await;
    request
}

async fn recalled_and_withdrawn(desk: &Desk) -> Request {
    let request = in_review(&desk.alice, "life-recalled").await;
    does(&desk.alice, &request, "Submitter", "Recall").await;
    request.reaches(Phase::ChangesRequested).await;
    desk.alice.uploads(&request, "b.csv", "3,4").await;
    desk.alice.submits(&request, 2).await;
    request.round_reaches(2, Phase::InReview).await;
    desk.alice.withdraws(&request).await;
    request.reaches(Phase::Withdrawn).await;
    request
}

async fn revoked(desk: &Desk, request: Request) -> Request {
    does(&desk.bob, &request, "Checker", "Revoke").await;
    request.reaches(Phase::Revoked).await;
    request
}

/// Copies a bucket as an auditor does, in the order of its keys.
async fn copy(store: &Store, folder: &Path) {
    for key in store.keys("").await {
        if let Some(bytes) = store.find(&key).await {
            let path = folder.join(&key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }
}

/// What is said of these requests, and of checkpoints; other tests had others.
fn about(told: &Told, requests: &[Request]) -> Vec<Value> {
    let of = |finding: &&Value| {
        let key = finding["key"].as_str().unwrap();
        key.starts_with(CHECKPOINTS) || requests.iter().any(|r| key.contains(&r.uid))
    };
    told.findings.iter().filter(of).cloned().collect()
}

struct Auditor<'a> {
    env: &'a Env,
    requests: &'a [Request],
    /// Signed notes that were kept.
    notes: Vec<PathBuf>,
    folder: &'a Path,
}

impl Auditor<'_> {
    async fn keeps(&mut self, note: String) {
        let path = self.folder.join(format!("{}.note", self.notes.len()));
        std::fs::write(&path, note).unwrap();
        self.notes.push(path);
    }

    /// From the buckets, and from copies of them.
    async fn finds_nothing(&self, when: &str) -> PathBuf {
        let config = self.env.folder().join("controller.yaml");
        let copies = self.folder.join(when);
        let (inside, outside) = (copies.join("inside"), copies.join("outside"));
        for path in [&inside, &outside] {
            std::fs::create_dir_all(path).unwrap();
        }
        copy(&self.env.quarantine(), &inside).await;
        copy(&self.env.release(), &outside).await;
        let mut checkpoints = Vec::new();
        for note in &self.notes {
            checkpoints.extend(["--checkpoint", note.to_str().unwrap()]);
        }
        let (config, inside) = (config.to_str().unwrap(), inside.to_str().unwrap());
        let outside = outside.to_str().unwrap();
        for from in [
            ["--bucket", "--config", config, "--grace", "20"].as_slice(),
            &["--bucket", "--config", config, "--records-only"],
            &["--dir", inside],
            &[
                "--dir",
                inside,
                "--quarantine",
                inside,
                "--release",
                outside,
                "--grace",
                "20",
            ],
        ] {
            let told = verifies(self.env, &[from, &checkpoints].concat()).await;
            let found = about(&told, self.requests);
            assert_eq!(found, Vec::<Value>::new(), "{when}: {from:?}");
            let looked = told.summary["notLookedAt"].as_array().unwrap();
            let all = from.contains(&"--quarantine")
                || !from.contains(&"--records-only") && from[0] == "--bucket";
            assert_eq!(looked.is_empty(), all, "{from:?}: {looked:?}");
        }
        copies
    }
}

#[tokio::test]
async fn from_upload_to_deletion_an_auditor_finds_nothing_wrong_and_every_change() {
    let env = fresh().await;
    let _short = Short::of(&env);
    let setup = Controller {
        elect: false,
        ..Controller::new(&env, "life")
    };
    let mut controller = setup.start().await;
    let desk = desk(&env, "life-gateway", &controller.url).await;
    let olga = env.person_at("olga", &controller.url).await;
    let requests: Vec<Request> = [
        released(&desk, "life-released").await,
        revoked(&desk, released(&desk, "life-revoked").await).await,
        rejected(&desk).await,
        recalled_and_withdrawn(&desk).await,
        inwards(&desk, "life-inwards").await,
        revoked(&desk, inwards(&desk, "life-back").await).await,
        released(&desk, "life-held").await,
    ]
    .into();
    let held = requests.last().unwrap();
    does(&olga, held, "HoldOfficer", "Hold").await;
    held.says("Held", "OnHold").await;
    let inside = env.quarantine();
    let folder = tempfile::tempdir().unwrap();
    let mut auditor = Auditor {
        env: &env,
        requests: &requests,
        notes: Vec::new(),
        folder: folder.path(),
    };
    for request in &requests {
        auditor.keeps(covered(&inside, request).await).await;
    }
    let before = auditor.finds_nothing("before").await;
    changes_of_stock_are_found(&env, &before, &requests).await;

    // Everything but what is on hold goes, and its receipts are signed.
    for request in &requests[..requests.len() - 1] {
        is_deleted(&inside, request, "quarantine").await;
    }
    is_deleted(&inside, &requests[0], "release").await;
    is_deleted(&inside, &requests[1], "release").await;
    let deleted = |what: &str| format!("{}deleted/{what}.json", held.prefix());
    assert!(inside.find(&deleted("quarantine")).await.is_none());
    assert!(inside.find(&deleted("release")).await.is_none());
    does(&olga, held, "HoldOfficer", "LiftHold").await;
    for what in ["quarantine", "release"] {
        is_deleted(&inside, held, what).await;
    }
    for request in &requests {
        auditor.keeps(covered(&inside, request).await).await;
    }
    controller.kill().await;
    let after = auditor.finds_nothing("after").await;
    changes_of_the_ledger_are_found(&env, &after.join("inside"), &auditor).await;
}

async fn is_deleted(inside: &Store, request: &Request, what: &str) {
    let receipt = format!("{}deleted/{what}.json", request.prefix());
    ready(
        format!("{what} of {}", request.name),
        PATIENCE * 2,
        || async { inside.find(&receipt).await },
    )
    .await;
}

fn question(env: &Env) -> Question {
    let key = std::fs::read_to_string(env.folder().join("audit-public-key.pem")).unwrap();
    Question {
        keys: vec![PublicKey::parse(&key).unwrap()],
        checkpoints: Vec::new(),
        now: Timestamp::now(),
        grace: SignedDuration::from_hours(24),
        quarantine: None,
        release: None,
    }
}

async fn findings(folder: &Path, question: &Question) -> Vec<Finding> {
    let mut found = Vec::new();
    let source = Source::Folder(folder.to_owned());
    verify(&source, question, &mut |f| found.push(f), &mut |_| ())
        .await
        .unwrap();
    found
}

/// Files and packages that go before their time, or come from nowhere.
async fn changes_of_stock_are_found(env: &Env, copies: &Path, requests: &[Request]) {
    let (inside, outside) = (copies.join("inside"), copies.join("outside"));
    let mut asked = question(env);
    asked.quarantine = Some(Source::Folder(inside.clone()));
    asked.release = Some(Packages::Folder(outside.clone()));
    let ours = |found: Vec<Finding>| -> Vec<Kind> {
        let of = |f: &Finding| requests.iter().any(|r| f.key.contains(&r.uid));
        found.into_iter().filter(of).map(|f| f.kind).collect()
    };
    for request in requests {
        let files = std::fs::read_dir(inside.join(request.prefix()).join("files")).unwrap();
        let file = files.map(|file| file.unwrap().path()).next().unwrap();
        let bytes = std::fs::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        let found = ours(findings(&inside, &asked).await);
        assert_eq!(found, [Kind::DeletedEarly], "{}", request.name);
        std::fs::write(&file, bytes).unwrap();
    }
    let package = requests[0].record().await.spec.package.unwrap().key;
    let bytes = std::fs::read(outside.join(&package)).unwrap();
    let beside = format!("{package}.more");
    for (change, key, wanted) in [
        (None, &package, Kind::DeletedEarly),
        (
            Some([bytes.as_slice(), b"x"].concat()),
            &package,
            Kind::PackageDiffers,
        ),
        (Some(b"zip".to_vec()), &beside, Kind::Unexpected),
    ] {
        let path = outside.join(key);
        match change {
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        assert_eq!(ours(findings(&inside, &asked).await), [wanted], "{key}");
        drop(std::fs::remove_file(&path));
        std::fs::write(outside.join(&package), &bytes).unwrap();
    }
}

/// Random edits, drops, exchanges and truncations of the real ledger of these requests.
async fn changes_of_the_ledger_are_found(env: &Env, copied: &Path, auditor: &Auditor<'_>) {
    let mut asked = question(env);
    for note in &auditor.notes {
        let text = std::fs::read_to_string(note).unwrap();
        asked.checkpoints.push((note.display().to_string(), text));
    }
    // What belongs to others of this run takes time, and does not matter.
    let alone = tempfile::tempdir().unwrap();
    let mut prefixes = vec![CHECKPOINTS.to_owned()];
    prefixes.extend(auditor.requests.iter().map(chain));
    let mut keys = Vec::new();
    for prefix in &prefixes {
        std::fs::create_dir_all(alone.path().join(prefix)).unwrap();
        for entry in std::fs::read_dir(copied.join(prefix)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let key = format!("{prefix}{name}");
            std::fs::copy(copied.join(&key), alone.path().join(&key)).unwrap();
            keys.push(key);
        }
    }
    keys.sort();
    // The operator was killed: whether it got to sign the last one is left open.
    let last = keys
        .iter()
        .rfind(|k| k.starts_with(CHECKPOINTS))
        .cloned()
        .unwrap();
    keys.retain(|key| key.trim_end_matches("note") != last.trim_end_matches("note"));
    let clean = findings(alone.path(), &asked).await;
    let mut random = StdRng::seed_from_u64(4711);
    let mut undetected = BTreeSet::new();
    for n in 0..CHANGES {
        let key = keys[random.random_range(0..keys.len())].clone();
        let path = |key: &str| alone.path().join(key);
        let bytes = std::fs::read(path(&key)).unwrap();
        let mut before = vec![(key.clone(), bytes.clone())];
        let what = match n % 4 {
            0 => {
                let (mut changed, at) = (bytes.clone(), random.random_range(0..bytes.len()));
                changed[at] ^= 1 << random.random_range(0..8);
                std::fs::write(path(&key), changed).unwrap();
                format!("byte {at} of {key}")
            }
            1 => {
                std::fs::remove_file(path(&key)).unwrap();
                format!("{key} dropped")
            }
            2 => {
                let other = keys[random.random_range(0..keys.len())].clone();
                let others = std::fs::read(path(&other)).unwrap();
                if others == bytes {
                    continue;
                }
                std::fs::write(path(&key), &others).unwrap();
                std::fs::write(path(&other), &bytes).unwrap();
                before.push((other.clone(), others));
                format!("{key} and {other} exchanged")
            }
            _ => {
                let folder = &key[..=key.rfind('/').unwrap()];
                let behind = keys.iter().filter(|k| k.starts_with(folder) && **k > key);
                for behind in behind {
                    before.push((behind.clone(), std::fs::read(path(behind)).unwrap()));
                }
                for (key, _) in &before {
                    std::fs::remove_file(path(key)).unwrap();
                }
                format!("{folder} cut before {key}")
            }
        };
        if findings(alone.path(), &asked).await == clean {
            undetected.insert(what);
        }
        for (key, bytes) in &before {
            std::fs::write(path(key), bytes).unwrap();
        }
    }
    assert_eq!(undetected, BTreeSet::new());
    assert_eq!(findings(alone.path(), &asked).await, clean);
    println!("{CHANGES} changes of {} objects, all found", keys.len());
}
