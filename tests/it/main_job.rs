//! The main job, whole: from a draft to a verified package behind a URL.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use http::Method;
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::process::Command;
use trevor_api::{Phase, ReleasePhase};

use crate::harness::{Env, Http, PROJECT, Request, noise, sha256};

#[tokio::test]
async fn files_go_from_a_draft_to_a_verified_package_behind_a_url() {
    let env = Env::shared();
    let (alice, bob, carol) = (
        env.person("alice").await,
        env.person("bob").await,
        env.person("carol").await,
    );
    let admin = env.kube("admin").await;
    let files: BTreeMap<&str, Vec<u8>> = BTreeMap::from([
        ("empty.txt", Vec::new()),
        ("figures/Größe & mehr 100%.png", noise(300_000, 3)),
        (
            "tables/t1.csv",
            b"age,n\n60-69,120\n70-79,85\n".repeat(4000),
        ),
        ("large.bin", noise(20 << 20, 7)),
    ]);
    let request = alice
        .creates("main-job", json!({
            "direction": "Egress", "title": "Frailty index by age band", "description": "Tables 1-3 of the paper",
            "authors": [{"name": "A. Author", "orcid": "0000-0002-1825-0097", "affiliation": {"name": "University", "ror": "03f0f6041"}}],
        }))
        .await;
    request.reaches(Phase::Draft).await;
    for (path, bytes) in &files {
        let stored = alice.uploads(&request, path, bytes.clone()).await;
        assert_eq!(stored["sha256"], sha256(bytes), "{path}");
        assert_eq!(stored["size"], bytes.len(), "{path}");
        assert_eq!(
            stored["crc32"],
            format!("{:08x}", crc32fast::hash(bytes)),
            "{path}"
        );
    }
    let list = alice.gets(&request, "files").await.expect(200).json();
    assert_eq!(
        (list["sealed"].clone(), list["round"].clone()),
        (json!(false), json!(1))
    );
    assert_eq!(list["files"].as_array().unwrap().len(), files.len());

    alice.submits(&request, 1).await;
    let frozen = request.reaches(Phase::InReview).await;
    let digest = frozen.manifest.unwrap().digest;
    let manifest = bob.gets(&request, "manifest").await.expect(200);
    assert_eq!(
        sha256(&manifest.body),
        digest,
        "the digest is that of the bytes shown"
    );
    assert_eq!(
        manifest.header("etag"),
        Some(format!("\"{digest}\"").as_str())
    );
    let read = bob.reads(&request, "tables/t1.csv").await.expect(200);
    assert_eq!(read.body, files["tables/t1.csv"]);
    assert_eq!(
        read.header("content-disposition")
            .map(|d| d.starts_with("attachment")),
        Some(true)
    );
    assert_eq!(read.header("x-content-type-options"), Some("nosniff"));

    bob.approves(&request).await;
    request
        .until("1/2", crate::harness::PATIENCE, |s| {
            s.approvals.as_ref().is_some_and(|a| a.summary == "1/2")
        })
        .await;
    assert!(
        env.release().keys(&request.releases()).await.is_empty(),
        "nothing crosses on one approval"
    );
    carol.approves(&request).await;
    let released = request.reaches(Phase::Released).await;

    let record = request.record().await;
    let package = record.spec.package.clone().unwrap();
    assert_eq!(
        (record.spec.manifest_digest.as_str(), record.spec.round),
        (digest.as_str(), 1)
    );
    let reviewers: Vec<&str> = record
        .spec
        .approvals
        .iter()
        .map(|a| a.reviewer.as_str())
        .collect();
    assert_eq!(reviewers, ["bob", "carol"]);
    assert_eq!(
        record.status.as_ref().unwrap().phase,
        Some(ReleasePhase::Available)
    );

    let told = alice.gets(&request, "release").await.expect(200).json();
    let url = told["url"].as_str().unwrap();
    assert!(
        url.starts_with("http://localhost:"),
        "signed for the endpoint that readers use: {}",
        url.split('?').next().unwrap()
    );
    let zip = Http::default().get(url).await.expect(200).body;
    assert_eq!(
        (sha256(&zip), zip.len() as i64),
        (package.sha256.clone(), package.size)
    );
    assert_eq!(told["sha256"], package.sha256);
    is_the_secret(&request.secret(&admin).await, url, &package.sha256);
    assert_eq!(
        released.release.unwrap().record_name,
        record.metadata.name.unwrap()
    );

    the_zip_has(&zip, &files);
    others_read_it(&zip, &files).await;
    is_a_valid_crate(&env, &zip).await;
    all_is_encrypted(&env, &request).await;
    the_ledger_is_a_chain(&env, &request, released.audit.unwrap().hash.as_str()).await;
    let events: Api<Event> = Api::namespaced(admin, PROJECT);
    let told = events
        .list(&ListParams::default().fields(&format!("involvedObject.name={}", request.name)))
        .await
        .unwrap();
    assert!(
        told.items
            .iter()
            .any(|e| e.reason.as_deref() == Some("Released")),
        "an Event tells of the release"
    );
    // After the release the submitter may read what crossed.
    assert_eq!(
        alice
            .reads(&request, "tables/t1.csv")
            .await
            .expect(200)
            .body,
        files["tables/t1.csv"]
    );
}

fn is_the_secret(secret: &Secret, url: &str, digest: &str) {
    assert_eq!(secret.type_.as_deref(), Some("airlock.karectl.io/release"));
    let data = secret.data.as_ref().unwrap();
    assert_eq!(
        data.keys().map(String::as_str).collect::<Vec<_>>(),
        ["expires", "filename", "sha256", "size", "statement", "url"]
    );
    let path = |url: &str| url.split('?').next().unwrap().to_owned();
    assert_eq!(
        path(std::str::from_utf8(&data["url"].0).unwrap()),
        path(url)
    );
    assert_eq!(data["sha256"].0, digest.as_bytes());
}

/// Every file is there with its bytes, and nothing but the crate's own two besides.
fn the_zip_has(zip: &[u8], files: &BTreeMap<&str, Vec<u8>>) {
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(zip)).unwrap();
    let names: Vec<String> = archive.file_names().map(str::to_owned).collect();
    let mut wanted: Vec<String> = files.keys().map(|p| format!("data/{p}")).collect();
    wanted.extend([
        "ro-crate-metadata.json".to_owned(),
        "ro-crate-preview.html".to_owned(),
    ]);
    let (mut sorted, _) = (names.clone(), wanted.sort());
    sorted.sort();
    assert_eq!(sorted, wanted);
    for (path, bytes) in files {
        let mut found = Vec::new();
        archive
            .by_name(&format!("data/{path}"))
            .unwrap()
            .read_to_end(&mut found)
            .unwrap();
        assert!(found == *bytes, "{path} has other bytes");
    }
    let metadata: Value =
        serde_json::from_reader(archive.by_name("ro-crate-metadata.json").unwrap()).unwrap();
    let text = metadata.to_string();
    assert!(
        !text.contains("alice") && !text.contains("bob"),
        "neither submitter nor reviewers are named"
    );
}

/// Unzip, Python and bsdtar read it; Python's is required, the others where they are.
async fn others_read_it(zip: &[u8], files: &BTreeMap<&str, Vec<u8>>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("package.zip");
    std::fs::write(&file, zip).unwrap();
    let python = "import sys,zipfile,hashlib\nz=zipfile.ZipFile(sys.argv[1])\nassert z.testzip() is None\n\
        [print(hashlib.sha256(z.read(n)).hexdigest(), n) for n in z.namelist()]";
    let listed = succeeds("python3", &["-c", python, file.to_str().unwrap()])
        .await
        .expect("python3 is a prerequisite");
    for (path, bytes) in files {
        assert!(
            listed.contains(&format!("{} data/{path}", sha256(bytes))),
            "python: {path} in {listed}"
        );
    }
    if succeeds("unzip", &["-tq", file.to_str().unwrap()])
        .await
        .is_none()
    {
        eprintln!("unzip is not installed: left out");
    }
    match succeeds("bsdtar", &["-tf", file.to_str().unwrap()]).await {
        Some(listed) => assert_eq!(listed.lines().count(), files.len() + 2),
        None => eprintln!("bsdtar is not installed: left out"),
    }
}

/// What a program prints; it must succeed if it is there.
async fn succeeds(program: &str, arguments: &[&str]) -> Option<String> {
    let done = Command::new(program)
        .args(arguments)
        .env("PYTHONIOENCODING", "utf-8")
        .env("LC_ALL", "C.UTF-8")
        .output()
        .await
        .ok()?;
    assert!(
        done.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    Some(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// The public validator finds nothing REQUIRED and nothing RECOMMENDED.
pub async fn is_a_valid_crate(env: &Env, zip: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    zip::ZipArchive::new(std::io::Cursor::new(zip))
        .unwrap()
        .extract(folder.path())
        .unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/env/validate_crate.py");
    let done = Command::new(env.variable("TREVOR_CRATE_PYTHON"))
        .env("TREVOR_CRATE_CONTEXT", env.variable("TREVOR_CRATE_CONTEXT"))
        .arg(script)
        .args([folder.path().to_str().unwrap(), "RECOMMENDED"])
        .output()
        .await
        .unwrap();
    let (said, errors) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    assert!(done.status.success(), "{said}{errors}");
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(report["passed"], true, "{report}");
}

/// Server-side encryption shows on everything that is stored, in either bucket.
async fn all_is_encrypted(env: &Env, request: &Request) {
    let inside = env.quarantine();
    for key in inside.keys(&request.prefix()).await {
        assert!(inside.encrypted(&key).await, "{key}");
    }
    for key in env.release().keys(&request.releases()).await {
        assert!(env.release().encrypted(&key).await, "{key}");
    }
}

/// Each entry carries the hash of the one before; the last is the one that status shows.
async fn the_ledger_is_a_chain(env: &Env, request: &Request, head: &str) {
    let inside = env.quarantine();
    let mut previous = "0".repeat(64);
    let mut kinds = Vec::new();
    for (index, key) in inside
        .keys(&format!("audit/requests/{PROJECT}/{}/", request.uid))
        .await
        .iter()
        .enumerate()
    {
        let bytes = inside.get(key).await;
        let entry: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(
            (entry["previous"].as_str(), entry["sequence"].as_u64()),
            (Some(previous.as_str()), Some(index as u64 + 1))
        );
        kinds.extend(
            entry["events"]
                .as_array()
                .unwrap()
                .iter()
                .map(|e| e["kind"].as_str().unwrap().to_owned()),
        );
        previous = sha256(&bytes);
    }
    assert_eq!(previous, head);
    for kind in [
        "Created",
        "Sealed",
        "Frozen",
        "Reviewed",
        "Decided",
        "ReleaseAttempted",
        "Outcome",
        "Closed",
    ] {
        assert!(
            kinds.iter().any(|k| k == kind),
            "{kind} is not in {kinds:?}"
        );
    }
}

#[tokio::test]
async fn a_request_declared_whole_freezes_by_itself_when_its_last_file_arrives() {
    let env = Env::shared();
    let (alice, bob, carol) = (
        env.person("alice").await,
        env.person("bob").await,
        env.person("carol").await,
    );
    let (table, figure) = (b"a,b\n1,2\n".to_vec(), noise(6 << 20, 11));
    let request = alice
        .creates("gitops", json!({
            "direction": "Egress", "title": "From a pipeline", "submission": 1,
            "files": [
                {"path": "t.csv", "description": "Table", "sha256": sha256(&table), "size": table.len()},
                {"path": "figures/f.bin", "sha256": sha256(&figure), "size": figure.len(), "outputType": "Figure"},
            ],
        }))
        .await;
    let waiting = request.reaches(Phase::Submitted).await;
    assert!(
        waiting
            .conditions
            .iter()
            .any(|c| c.message.contains("t.csv")),
        "it says what is missing: {:?}",
        waiting.conditions
    );
    alice.uploads(&request, "t.csv", table).await;
    alice.uploads(&request, "figures/f.bin", figure).await;
    let frozen = request.reaches(Phase::InReview).await;
    assert_eq!(frozen.manifest.unwrap().files, 2);
    bob.approves(&request).await;
    carol.approves(&request).await;
    request.reaches(Phase::Released).await;
}

#[tokio::test]
async fn a_reviewer_reads_ranges_and_sees_what_would_be_released() {
    let env = Env::shared();
    let (alice, bob) = (env.person("alice").await, env.person("bob").await);
    let bytes = noise(9 << 20, 5);
    let request = alice
        .creates(
            "reading",
            json!({"direction": "Egress", "title": "Reading"}),
        )
        .await;
    alice.uploads(&request, "f.bin", bytes.clone()).await;
    alice.submits(&request, 1).await;
    request.reaches(Phase::InReview).await;
    let url = bob.file_url(&request.name, "content", "f.bin");
    let part = bob
        .calls(Method::GET, &url, &[("range", "bytes=8388600-8388615")], "")
        .await
        .expect(206);
    assert_eq!(part.body, bytes[8_388_600..=8_388_615]);
    let head = bob.calls(Method::HEAD, &url, &[], "").await.expect(200);
    assert_eq!(
        head.header("content-length"),
        Some(bytes.len().to_string().as_str())
    );
    assert_eq!(
        head.header("cache-control").map(|c| c.contains("no-store")),
        Some(true)
    );
    let crate_ = bob.gets(&request, "crate").await.expect(200);
    assert!(!crate_.body.is_empty());
}
