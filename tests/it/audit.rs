//! The ledger: checkpoints, verification with the bucket alone, statements, keys.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use http::Method;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::process::Command;
use trevor_api::Phase;
use trevor_config::Config;
use trevor_core::canonical;
use trevor_core::digest::Sha256Hex;
use trevor_core::event::Entry;
use trevor_core::event::Event;
use trevor_store::Records;
use trevor_store::audit::checkpoint::{Mark, covering, note_key};
use trevor_store::audit::statement::PREDICATE;
use trevor_store::audit::verify::{Finding, Question, Source, verify};
use trevor_store::audit::{PublicKey, entry_name};

use crate::faults::desk;
use crate::harness::{
    Controller, Env, Http, Keep, PATIENCE, PROJECT, Person, Proxy, Request, Store, command,
    private, ready, trevor,
};

pub const CHECKPOINTS: &str = "audit/checkpoints/";

/// A request of one file that crosses, by two reviewers.
async fn crosses(alice: &Person, bob: &Person, carol: &Person, stem: &str) -> Request {
    let spec = json!({"direction": "Egress", "title": "For the ledger"});
    let request = alice.creates(stem, spec).await;
    alice.uploads(&request, "t.csv", "a,b\n1,2\n").await;
    alice.submits(&request, 1).await;
    request.reaches(Phase::InReview).await;
    bob.approves(&request).await;
    carol.approves(&request).await;
    request.reaches(Phase::Released).await;
    request
}

pub fn chain(request: &Request) -> String {
    request.prefix().replacen("requests/", "audit/requests/", 1)
}

/// Waits until a signed checkpoint has the whole chain of a request; gives its note.
pub async fn covered(inside: &Store, request: &Request) -> String {
    let chain = chain(request);
    ready("a signed checkpoint has the chain", PATIENCE, || async {
        let entries = inside.keys(&chain).await.len();
        for key in inside.keys(CHECKPOINTS).await.iter().rev() {
            if !key.ends_with(".json") {
                continue;
            }
            let found = inside.json(key).await;
            let at = found["heads"][&chain]["sequence"].as_u64();
            if at.is_some_and(|at| at >= entries as u64) {
                let note = key.replace(".json", ".note");
                return inside
                    .find(&note)
                    .await
                    .map(|n| String::from_utf8(n).unwrap());
            }
        }
        None
    })
    .await
}

/// Copies what an auditor takes along: all but the files themselves.
async fn copy(inside: &Store, folder: &Path) {
    // The chains first: what a checkpoint has is then there, too.
    for prefix in [
        "audit/checkpoints/",
        "audit/epochs/",
        "requests/",
        "records/",
        "audit/gateway/",
        "audit/requests/",
        "work/holds/",
    ] {
        for key in inside.keys(prefix).await {
            if key.starts_with("requests/") && key.contains("/files/") {
                continue;
            }
            if let Some(bytes) = inside.find(&key).await {
                let path = folder.join(&key);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, bytes).unwrap();
            }
        }
    }
}

pub struct Told {
    code: Option<i32>,
    pub findings: Vec<Value>,
    pub summary: Value,
}

impl Told {
    fn about(&self, uid: &str) -> Vec<&Value> {
        let key = |f: &Value| f["key"].as_str().unwrap().to_owned();
        self.findings
            .iter()
            .filter(|f| key(f).contains(uid))
            .collect()
    }
}

/// `trevor audit verify` as a process.
pub async fn verifies(env: &Env, arguments: &[&str]) -> Told {
    let out = command(env, "controller")
        .env_remove("TREVOR_AUDIT_SIGNING_KEY")
        .args(["audit", "verify", "--json", "--public-key"])
        .arg(env.folder().join("audit-public-key.pem"))
        .args(arguments)
        .output()
        .await
        .unwrap();
    let (mut findings, mut summary) = (Vec::new(), Value::Null);
    for line in String::from_utf8(out.stdout).unwrap().lines() {
        let mut line: Value = serde_json::from_str(line).unwrap();
        if line["summary"].is_null() {
            findings.push(line["finding"].take());
        } else {
            summary = line["summary"].take();
        }
    }
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(!summary.is_null(), "{errors}");
    Told {
        code: out.status.code(),
        findings,
        summary,
    }
}

#[tokio::test]
async fn a_release_is_in_a_signed_checkpoint_and_verifies_from_bucket_and_folder() {
    let env = Env::shared();
    let (alice, bob, carol) = (
        env.person("alice").await,
        env.person("bob").await,
        env.person("carol").await,
    );
    let request = crosses(&alice, &bob, &carol, "audited").await;
    let inside = env.quarantine();
    let note = covered(&inside, &request).await;
    let mut kinds = BTreeSet::new();
    for key in inside.keys(&chain(&request)).await {
        let entry: Entry = serde_json::from_slice(&inside.get(&key).await).unwrap();
        kinds.extend(entry.events.into_iter().map(|event| event.kind));
    }
    for kind in [
        "Created",
        "Sealed",
        "Frozen",
        "Reviewed",
        "Decided",
        "ReleaseAttempted",
        "Outcome",
        "UrlMade",
        "Closed",
    ] {
        assert!(kinds.contains(kind), "{kind} is not in {kinds:?}");
    }

    let config = Config::load(&env.folder().join("controller.yaml")).unwrap();
    let records = Records::new(inside.client.clone(), &config.storage.quarantine);
    let (prefix, since) = (chain(&request), Timestamp::UNIX_EPOCH);
    let entries = i64::try_from(inside.keys(&prefix).await.len()).unwrap();
    let signed = covering(&records, &prefix, entries, since).await.unwrap();
    assert_eq!(signed.map(|signed| signed.note).as_ref(), Some(&note));
    let none = covering(&records, &prefix, entries + 1, since)
        .await
        .unwrap();
    assert_eq!(none, None);

    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept.note");
    std::fs::write(&kept, &note).unwrap();
    let kept = kept.to_str().unwrap();
    let config = env.folder().join("controller.yaml");
    let told = verifies(
        &env,
        &[
            "--bucket",
            "--config",
            config.to_str().unwrap(),
            "--checkpoint",
            kept,
        ],
    )
    .await;
    // Other tests of this run change what is stored of theirs.
    assert_eq!(told.about(&request.uid), Vec::<&Value>::new());
    assert_eq!(told.about(CHECKPOINTS), Vec::<&Value>::new());
    assert!(told.summary["checkpoint"].as_i64().unwrap() > 0);
    assert!(told.summary["requests"].as_i64().unwrap() > 0);

    let copied = folder.path().join("copy");
    copy(&inside, &copied).await;
    let package = request.record().await.spec.package.unwrap();
    let zip = copied.join(&package.key);
    std::fs::create_dir_all(zip.parent().unwrap()).unwrap();
    std::fs::write(&zip, env.release().get(&package.key).await).unwrap();
    let dir = copied.to_str().unwrap().to_owned();
    let told = verifies(&env, &["--dir", &dir, "--checkpoint", kept]).await;
    assert_eq!(told.about(&request.uid), Vec::<&Value>::new());
    assert_eq!(told.summary["packages"], 1);
    changes_are_found(&env, &copied, &request, kept).await;
    std::fs::write(&zip, b"zap").unwrap();
    let told = verifies(&env, &["--dir", &dir]).await;
    assert_eq!(told.code, Some(1));
    assert_eq!(told.about(&request.uid)[0]["kind"], "PackageDiffers");
}

/// Random changes to the real ledger of a request, each of which must be found.
async fn changes_are_found(env: &Env, copied: &Path, request: &Request, kept: &str) {
    let key = std::fs::read_to_string(env.folder().join("audit-public-key.pem")).unwrap();
    let question = Question {
        keys: vec![PublicKey::parse(&key).unwrap()],
        checkpoints: vec![(kept.to_owned(), std::fs::read_to_string(kept).unwrap())],
        now: Timestamp::now(),
        grace: SignedDuration::from_hours(24),
        quarantine: None,
        release: None,
    };
    // What belongs to others of this run does not matter here, and takes time.
    let alone = tempfile::tempdir().unwrap();
    for prefix in [CHECKPOINTS, &chain(request)] {
        let to = alone.path().join(prefix);
        std::fs::create_dir_all(&to).unwrap();
        for entry in std::fs::read_dir(copied.join(prefix)).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
    let source = Source::Folder(alone.path().to_owned());
    let ask = async || {
        let mut found: Vec<Finding> = Vec::new();
        verify(&source, &question, &mut |f| found.push(f), &mut |_| ())
            .await
            .unwrap();
        found
    };
    let before = ask().await;
    let names: Vec<PathBuf> = std::fs::read_dir(alone.path().join(chain(request)))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let mut random = StdRng::seed_from_u64(11);
    for n in 0..200 {
        let one = &names[random.random_range(0..names.len())];
        let other = &names[random.random_range(0..names.len())];
        let (bytes, others) = (std::fs::read(one).unwrap(), std::fs::read(other).unwrap());
        match n % 3 {
            0 => {
                let mut changed = bytes.clone();
                let at = random.random_range(0..changed.len());
                changed[at] ^= 1 << random.random_range(0..8);
                std::fs::write(one, changed).unwrap();
            }
            1 => std::fs::remove_file(one).unwrap(),
            _ if bytes != others => {
                std::fs::write(one, &others).unwrap();
                std::fs::write(other, &bytes).unwrap();
            }
            _ => continue,
        }
        assert_ne!(ask().await, before, "change {n} of {}", one.display());
        std::fs::write(one, bytes).unwrap();
        std::fs::write(other, others).unwrap();
    }
    assert_eq!(ask().await, before);
}

#[tokio::test]
async fn the_statement_goes_out_with_the_package_and_cosign_accepts_it() {
    let env = Env::shared();
    let (alice, bob, carol) = (
        env.person("alice").await,
        env.person("bob").await,
        env.person("carol").await,
    );
    let request = crosses(&alice, &bob, &carol, "stated").await;
    let stored = format!("records/{PROJECT}/{}.dsse.json", request.uid);
    let stored = env.quarantine().get(&stored).await;
    let told = alice.gets(&request, "release").await.expect(200).json();
    assert_eq!(
        told["statement"],
        serde_json::from_slice::<Value>(&stored).unwrap()
    );
    let secret = request.secret(&env.kube("admin").await).await;
    assert_eq!(secret.data.unwrap()["statement"].0, stored);
    let zip = Http::default()
        .get(told["url"].as_str().unwrap())
        .await
        .expect(200)
        .body;

    let folder = tempfile::tempdir().unwrap();
    let (package, envelope) = (
        folder.path().join("package.zip"),
        folder.path().join("envelope.json"),
    );
    std::fs::write(&envelope, &stored).unwrap();
    let mut accepted = Vec::new();
    for bytes in [zip.to_vec(), [&zip[..], b"x"].concat()] {
        std::fs::write(&package, bytes).unwrap();
        let out = Command::new(env.variable("TREVOR_COSIGN"))
            .env("HOME", folder.path())
            .args([
                "verify-blob-attestation",
                "--insecure-ignore-tlog=true",
                "--type",
                PREDICATE,
                "--key",
            ])
            .arg(env.variable("TREVOR_AUDIT_PUBLIC_KEY"))
            .arg("--signature")
            .arg(&envelope)
            .arg(&package)
            .output()
            .await
            .unwrap();
        accepted.push((
            out.status.success(),
            String::from_utf8_lossy(&out.stderr).into_owned(),
        ));
    }
    assert!(accepted[0].0, "{}", accepted[0].1);
    assert!(!accepted[1].0, "a byte more, and it is another package");
}

#[tokio::test]
async fn the_latest_checkpoint_is_shown_in_the_config_map() {
    let env = Env::shared();
    let (alice, bob, carol) = (
        env.person("alice").await,
        env.person("bob").await,
        env.person("carol").await,
    );
    let request = crosses(&alice, &bob, &carol, "shown").await;
    covered(&env.quarantine(), &request).await;
    let maps: Api<ConfigMap> = Api::namespaced(env.kube("admin").await, "trevor-system");
    let key = std::fs::read_to_string(env.variable("TREVOR_AUDIT_PUBLIC_KEY")).unwrap();
    let key = PublicKey::parse(&key).unwrap();
    ready(
        "the ConfigMap has a checkpoint that is stored",
        PATIENCE,
        || async {
            let data = maps.get("trevor-audit-checkpoint").await.unwrap().data?;
            let (mark, note) =
                trevor_store::audit::checkpoint::read_note(&data["checkpoint.note"])?;
            assert!(note.is_signed_by(&key));
            let stored = env.quarantine().find(&note_key(mark.sequence)).await?;
            (stored == data["checkpoint.note"].as_bytes()).then_some(())
        },
    )
    .await;
}

#[tokio::test]
async fn a_checkpoint_that_was_stored_and_not_signed_is_signed_by_the_next_leader() {
    let env = private().await;
    let inside = env.quarantine();
    let proxy = Proxy::before(&env.variable("TREVOR_QUARANTINE_ENDPOINT")).await;
    proxy.keeps(Keep::Instead, |call| {
        call.writes() && call.path.ends_with(".note")
    });
    let mut first = Controller::new(&env, "audit-first");
    first.quarantine = Some(&proxy.url);
    let mut first = first.start().await;
    let at = desk(&env, "audit-gateway-1", &first.url).await;
    crosses(&at.alice, &at.bob, &at.carol, "unsigned").await;
    ready("the signature is on its way", PATIENCE, || async {
        (proxy.kept() > 0).then_some(())
    })
    .await;
    first.kill().await;
    let stored = inside.keys(CHECKPOINTS).await;
    let unsigned = stored.last().unwrap().clone();
    assert!(unsigned.ends_with(".json"), "{stored:?}");

    let second = Controller::new(&env, "audit-second").start().await;
    let note = unsigned.replace(".json", ".note");
    let note = ready("the next leader signs it", PATIENCE, || async {
        inside.find(&note).await
    })
    .await;
    let mark = Mark {
        sequence: inside.json(&unsigned).await["sequence"].as_i64().unwrap(),
        hash: Sha256Hex::of(&inside.get(&unsigned).await),
    };
    assert!(String::from_utf8(note).unwrap().starts_with(&mark.text()));

    // Another that believes that it leads, at the same time.
    let mut third = Controller::new(&env, "audit-third");
    third.elect = false;
    let third = third.start().await;
    let at = desk(&env, "audit-gateway-2", &second.url).await;
    let requests = [
        crosses(&at.alice, &at.bob, &at.carol, "two-leaders-1").await,
        crosses(&at.alice, &at.bob, &at.carol, "two-leaders-2").await,
    ];
    for request in &requests {
        covered(&inside, request).await;
    }
    drop((second, third));
    rotated(&env, &inside).await;
    let folder = tempfile::tempdir().unwrap();
    copy(&inside, folder.path()).await;
    for key in ["audit-public-key.pem", "audit-next.pem.pub"] {
        let out = command(&env, "controller")
            .args(["audit", "verify", "--json", "--dir"])
            .arg(folder.path())
            .arg("--public-key")
            .arg(env.folder().join(key))
            .output()
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&out.stdout);
        let mut of_ledger = said
            .lines()
            .filter(|l| l.contains(CHECKPOINTS) || requests.iter().any(|r| l.contains(&r.uid)))
            .filter(|l| l.contains("finding\":{"));
        assert_eq!(of_ledger.next(), None, "{key}");
    }
}

/// The key is rotated as an administrator does it, and the next leader signs with the
/// new one.
async fn rotated(env: &Env, inside: &Store) {
    let (old, new) = (
        env.folder().join("audit-signing-key.pem"),
        env.folder().join("audit-next.pem"),
    );
    drop(std::fs::remove_file(&new));
    drop(std::fs::remove_file(
        env.folder().join("audit-next.pem.pub"),
    ));
    let out = Command::new(trevor())
        .args(["audit", "rotate", "--old"])
        .arg(&old)
        .arg("--out")
        .arg(&new)
        .output()
        .await
        .unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let vkey = String::from_utf8(out.stdout).unwrap().trim().to_owned();
    let variables = env.folder().join("controller.env");
    let before = std::fs::read_to_string(&variables).unwrap();
    let text = std::fs::read_to_string(&new).unwrap().replace('\n', " ");
    let lines = before.lines().map(|line| {
        if line.starts_with("TREVOR_AUDIT_SIGNING_KEY=") {
            format!("TREVOR_AUDIT_SIGNING_KEY={text}\n")
        } else {
            format!("{line}\n")
        }
    });
    std::fs::write(&variables, lines.collect::<String>()).unwrap();
    let leader = Controller::new(env, "audit-rotated").start().await;
    let at = desk(env, "audit-gateway-3", &leader.url).await;
    let request = crosses(&at.alice, &at.bob, &at.carol, "rotated").await;
    covered(inside, &request).await;
    std::fs::write(&variables, before).unwrap();
    let last = inside.keys(CHECKPOINTS).await;
    let last = last.iter().rfind(|k| k.ends_with(".json")).unwrap();
    assert_eq!(inside.json(last).await["key"], vkey);
}

#[tokio::test]
async fn an_export_has_what_happened_and_no_formula() {
    let env = Env::shared();
    let (alice, bob) = (env.person("alice").await, env.person("bob").await);
    let since = Timestamp::now();
    let request = alice
        .creates(
            "exported",
            json!({"direction": "Egress", "title": "Export"}),
        )
        .await;
    alice.uploads(&request, "=cmd.csv", "a\n").await;
    alice.submits(&request, 1).await;
    request.reaches(Phase::InReview).await;
    let url = bob.file_url(&request.name, "content", "=cmd.csv");
    bob.calls(Method::GET, &url, &[], "").await.expect(200);
    let mut seen = Vec::new();
    for format in ["csv", "jsonl"] {
        let out = command(&env, "controller")
            .args(["audit", "export", "--bucket", "--config"])
            .arg(env.folder().join("controller.yaml"))
            .args([
                "--from",
                &since.to_string(),
                "--to",
                "2999-01-01T00:00:00Z",
                "--format",
                format,
            ])
            .output()
            .await
            .unwrap();
        seen.push(String::from_utf8(out.stdout).unwrap());
    }
    let (table, lines) = (&seen[0], &seen[1]);
    assert!(table.starts_with("time,kind,actor,"));
    for line in table.lines() {
        assert!(
            !line
                .split(',')
                .any(|cell| cell.starts_with(['=', '+', '@'])),
            "{line}"
        );
    }
    let of_it: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|event: &Value| event["uid"] == json!(request.uid))
        .collect();
    for kind in ["Frozen", "ContentOpened"] {
        assert!(
            of_it.iter().any(|e| e["kind"] == kind),
            "{kind} is not in {of_it:?}"
        );
        assert!(table.contains(&request.uid) && table.contains(kind));
    }
}

#[tokio::test]
async fn keys_are_made_for_their_owner_alone_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.pem");
    let make = || {
        Command::new(trevor())
            .args(["audit", "keygen", "--out"])
            .arg(&key)
            .output()
    };
    let out = make().await.unwrap();
    assert!(out.status.success());
    let mode = std::fs::metadata(&key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(&key).unwrap();
    let public = std::fs::read_to_string(folder.path().join("key.pem.pub")).unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    assert_eq!(PublicKey::parse(&public), PublicKey::parse(&said));
    assert!(!said.contains(text.lines().nth(1).unwrap()));
    assert!(!make().await.unwrap().status.success());
    assert_eq!(std::fs::read_to_string(&key).unwrap(), text);
}

/// A chain of one gateway, of so many entries.
fn long_chain(folder: &Path, entries: i64) {
    let prefix = "audit/gateway/long-0/";
    std::fs::create_dir_all(folder.join(prefix)).unwrap();
    let mut previous = Sha256Hex::from_raw(&[0; 32]);
    for sequence in 1..=entries {
        let event = Event {
            id: sequence.to_string(),
            kind: "ContentOpened".into(),
            actor: Some("bob".into()),
            namespace: "a".into(),
            uid: "u".into(),
            before: None,
            after: None,
            detail: serde_json::Map::new(),
            time: Timestamp::UNIX_EPOCH,
        };
        let entry = Entry {
            sequence,
            previous,
            events: vec![event],
        };
        let bytes = canonical::to_vec(&entry).unwrap();
        std::fs::write(folder.join(prefix).join(entry_name(sequence)), &bytes).unwrap();
        previous = Sha256Hex::of(&bytes);
    }
}

/// Verifies it, and gives the most memory that this took.
async fn verified_in(entries: i64) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    long_chain(folder.path(), entries);
    let key = folder.path().join("key.pem");
    let made = Command::new(trevor())
        .args(["audit", "keygen", "--out"])
        .arg(&key)
        .output()
        .await
        .unwrap();
    assert!(made.status.success());
    let script = "import resource,subprocess,sys\np=subprocess.run(sys.argv[1:],stdout=subprocess.PIPE)\n\
        print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\nsys.stdout.buffer.write(p.stdout)";
    let out = Command::new("python3")
        .args(["-c", script])
        .arg(trevor())
        .args(["audit", "verify", "--json", "--dir"])
        .arg(folder.path())
        .arg("--public-key")
        .arg(folder.path().join("key.pem.pub"))
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    assert!(said.contains(&format!("\"entries\":{entries}")), "{said}");
    said.lines().next().unwrap().parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn a_long_ledger_is_verified_in_little_memory() {
    let most = verified_in(100_000).await;
    assert!(most < 150 << 20, "{most} bytes");
}

#[tokio::test]
#[ignore = "a million files: test-long"]
async fn a_million_entries_are_verified_in_bounded_memory() {
    let most = verified_in(1_000_000).await;
    assert!(most < 300 << 20, "{most} bytes");
}
