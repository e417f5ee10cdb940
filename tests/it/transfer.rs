//! `trevor send` and `trevor fetch`, as people outside use them: nothing but the
//! program, files and pre-signed URLs, against the real storage servers.

use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::RequestChecksumCalculation;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use base64::Engine as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use trevor_api::Phase;

use crate::harness::{Env, PATIENCE, Store, noise, ready, sha256, trevor, unique};

const PART: usize = 5 << 20;

/// What the wire to a server does with each connection.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// The next so many connections break after so many bytes each.
    Breaks {
        after: usize,
        times: usize,
    },
    /// After so many bytes in all nothing passes any more.
    FallsSilent {
        after: usize,
    },
    None,
}

/// A wire to a server. Fields pass as they are, so signatures made for its
/// address hold.
struct Wire {
    url: String,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    fault: Mutex<Fault>,
    passed: AtomicUsize,
}

impl Wire {
    async fn to(endpoint: &str, fault: Fault) -> Self {
        let behind = endpoint.strip_prefix("http://").unwrap().to_owned();
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        let shared = Arc::new(Shared {
            fault: Mutex::new(fault),
            passed: AtomicUsize::new(0),
        });
        let all = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = socket.accept().await.unwrap();
                let server = TcpStream::connect(&behind).await.unwrap();
                tokio::spawn(pass(client, server, Arc::clone(&all)));
            }
        });
        Self { url, shared, task }
    }

    fn fault(&self) -> Fault {
        *self.shared.fault.lock().unwrap()
    }

    fn mend(&self) {
        *self.shared.fault.lock().unwrap() = Fault::None;
    }

    /// Bytes that passed, both ways.
    fn passed(&self) -> usize {
        self.shared.passed.load(Ordering::Relaxed)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    /// Whether a connection on which `mine` bytes passed breaks now.
    fn breaks(&self, mine: usize) -> bool {
        let mut fault = self.fault.lock().unwrap();
        match *fault {
            Fault::Breaks { after, times } if times > 0 && mine >= after => {
                *fault = Fault::Breaks {
                    after,
                    times: times - 1,
                };
                true
            }
            _ => false,
        }
    }

    fn is_silent(&self) -> bool {
        let passed = self.passed.load(Ordering::Relaxed);
        matches!(*self.fault.lock().unwrap(), Fault::FallsSilent { after } if passed >= after)
    }
}

/// Copies both ways until a side ends, or the fault says so.
async fn pass(client: TcpStream, server: TcpStream, shared: Arc<Shared>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (mut up, mut down) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut mine = 0;
    loop {
        let count = tokio::select! {
            read = from_client.read(&mut up) => match read {
                Ok(count @ 1..) => to_server.write_all(&up[..count]).await.map(|()| count),
                _ => return,
            },
            read = from_server.read(&mut down) => match read {
                Ok(count @ 1..) => to_client.write_all(&down[..count]).await.map(|()| count),
                _ => return,
            },
        };
        let Ok(count) = count else { return };
        shared.passed.fetch_add(count, Ordering::Relaxed);
        mine += count;
        if shared.breaks(mine) {
            return;
        }
        if shared.is_silent() {
            // Open, and mute, until the test ends.
            std::future::pending::<()>().await;
        }
    }
}

/// The program alone: no configuration, no Kubernetes, no credentials.
pub async fn run(arguments: &[&str], folder: &Path, input: &str) -> Output {
    let mut child = Command::new(trevor())
        .env_clear()
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    let output = output.expect("it ends").unwrap();
    let said = said(&output);
    assert!(
        !said.contains("X-Amz-") && !said.contains("Signature="),
        "a URL was printed: {said}"
    );
    output
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

#[track_caller]
pub fn succeeds(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", said(output));
    said(output)
}

#[track_caller]
pub fn fails(output: &Output, word: &str) -> String {
    let said = said(output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(word), "{word:?} is not in: {said}");
    said
}

/// A bucket of the environment, signing for another address.
fn at(env: &Env, url: &str) -> Store {
    let keys = (
        env.variable("TREVOR_QUARANTINE_ACCESS_KEY_ID"),
        env.variable("TREVOR_QUARANTINE_SECRET_ACCESS_KEY"),
    );
    Store::new(url, &env.variable("TREVOR_QUARANTINE_BUCKET"), keys)
}

/// Signs as the gateway does: without the checksums that the SDK adds by itself.
pub fn signer(store: &Store) -> Client {
    let plain = store.client.config().to_builder();
    Client::from_conf(
        plain
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .build(),
    )
}

pub fn for_an_hour() -> PresigningConfig {
    PresigningConfig::expires_in(Duration::from_secs(3600)).unwrap()
}

/// Ended an hour ago.
fn expired() -> PresigningConfig {
    let config =
        PresigningConfig::builder().start_time(SystemTime::now() - Duration::from_secs(7200));
    config
        .expires_in(Duration::from_secs(3600))
        .build()
        .unwrap()
}

fn entry(path: &str, bytes: &[u8], parts: Vec<Value>) -> Value {
    json!({"path": path, "size": bytes.len(), "sha256": sha256(bytes), "parts": parts, "expires": "2030-01-01T00:00:00Z"})
}

/// The plan of a small file: one PUT, bound to its size and digest.
pub async fn single(store: &Store, key: &str, path: &str, bytes: &[u8]) -> Value {
    let checksum =
        base64::engine::general_purpose::STANDARD.encode(hex::decode(sha256(bytes)).unwrap());
    let put = signer(store)
        .put_object()
        .bucket(&store.bucket)
        .key(key)
        .content_length(bytes.len() as i64)
        .checksum_sha256(checksum);
    let signed = put.presigned(for_an_hour()).await.unwrap();
    let headers: serde_json::Map<String, Value> = signed
        .headers()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    assert!(
        headers.keys().any(|k| k == "x-amz-checksum-sha256"),
        "bound to its digest"
    );
    entry(
        path,
        bytes,
        vec![
            json!({"number": 1, "offset": 0, "size": bytes.len(), "method": "PUT", "url": signed.uri(), "headers": headers}),
        ],
    )
}

/// Starts a multipart upload.
async fn begin(store: &Store, key: &str) -> String {
    let started = store
        .client
        .create_multipart_upload()
        .bucket(&store.bucket)
        .key(key)
        .send()
        .await
        .unwrap();
    started.upload_id().unwrap().to_owned()
}

/// The plan of a large file: the parts that its upload does not have yet.
async fn multipart(
    store: &Store,
    key: &str,
    upload: &str,
    path: &str,
    bytes: &[u8],
    until: impl Fn(i32) -> PresigningConfig,
) -> Value {
    let there = uploaded(store, key, upload).await;
    let mut parts = Vec::new();
    for (number, (index, chunk)) in (1..).zip(bytes.chunks(PART).enumerate()) {
        if there.iter().any(|p| p.part_number() == Some(number)) {
            continue;
        }
        let part = signer(store)
            .upload_part()
            .bucket(&store.bucket)
            .key(key)
            .upload_id(upload)
            .part_number(number)
            .content_length(chunk.len() as i64);
        let signed = part.presigned(until(number)).await.unwrap();
        let headers: serde_json::Map<String, Value> = signed
            .headers()
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect();
        parts.push(json!({"number": number, "offset": index * PART, "size": chunk.len(), "method": "PUT", "url": signed.uri(), "headers": headers}));
    }
    entry(path, bytes, parts)
}

async fn uploaded(store: &Store, key: &str, upload: &str) -> Vec<CompletedPart> {
    let listed = store
        .client
        .list_parts()
        .bucket(&store.bucket)
        .key(key)
        .upload_id(upload)
        .send()
        .await
        .unwrap();
    let mut parts: Vec<_> = listed
        .parts()
        .iter()
        .map(|p| {
            CompletedPart::builder()
                .set_part_number(p.part_number())
                .set_e_tag(p.e_tag().map(str::to_owned))
                .build()
        })
        .collect();
    // A part that was sent twice is listed twice: the last one counts.
    parts.reverse();
    parts.sort_by_key(CompletedPart::part_number);
    parts.dedup_by_key(|p| p.part_number());
    parts
}

async fn complete(store: &Store, key: &str, upload: &str) {
    let parts = CompletedMultipartUpload::builder()
        .set_parts(Some(uploaded(store, key, upload).await))
        .build();
    let done = store
        .client
        .complete_multipart_upload()
        .bucket(&store.bucket)
        .key(key)
        .upload_id(upload);
    done.multipart_upload(parts).send().await.unwrap();
}

#[tokio::test]
async fn a_plan_is_sent_over_a_connection_that_breaks() {
    let env = Env::shared();
    let folder = tempfile::tempdir().unwrap();
    let (small, large) = (noise(70_000, 11), noise(4 * PART + 1000, 12));
    std::fs::create_dir(folder.path().join("tables")).unwrap();
    std::fs::write(folder.path().join("tables/small.csv"), &small).unwrap();
    std::fs::write(folder.path().join("large.bin"), &large).unwrap();
    let fault = Fault::Breaks {
        after: 2 << 20,
        times: 3,
    };
    let wire = Wire::to(&env.variable("TREVOR_QUARANTINE_ENDPOINT"), fault).await;
    let store = at(&env, &wire.url);
    let prefix = unique("transfer");
    let keys = [format!("{prefix}/small"), format!("{prefix}/large")];
    let upload = begin(&store, &keys[1]).await;
    let plan = json!({"files": [
        single(&store, &keys[0], "tables/small.csv", &small).await,
        multipart(&store, &keys[1], &upload, "large.bin", &large, |_| for_an_hour()).await,
    ]});
    let said = succeeds(
        &run(
            &["send", "-", "--dir", "."],
            folder.path(),
            &plan.to_string(),
        )
        .await,
    );
    assert!(said.contains("sent 2 files"), "{said}");
    assert!(
        wire.fault()
            == Fault::Breaks {
                after: 2 << 20,
                times: 0
            },
        "it broke as often as it should"
    );
    complete(&store, &keys[1], &upload).await;
    assert!(store.get(&keys[0]).await == small);
    assert!(store.get(&keys[1]).await == large);
}

#[tokio::test]
async fn a_plan_that_ended_is_followed_by_one_of_what_is_missing() {
    let env = Env::shared();
    let folder = tempfile::tempdir().unwrap();
    let large = noise(3 * PART + 1000, 13);
    std::fs::write(folder.path().join("large.bin"), &large).unwrap();
    let store = env.quarantine();
    let key = unique("transfer");
    let upload = begin(&store, &key).await;
    let until = |number| if number > 2 { expired() } else { for_an_hour() };
    let plan =
        json!({"files": [multipart(&store, &key, &upload, "large.bin", &large, until).await]});
    std::fs::write(folder.path().join("plan.json"), plan.to_string()).unwrap();
    let one_by_one = ["send", "plan.json", "large.bin", "--parallel", "1"];
    let said = fails(&run(&one_by_one, folder.path(), "").await, "get a new plan");
    assert!(said.contains("'large.bin', part 3"), "{said}");

    let next = multipart(&store, &key, &upload, "large.bin", &large, |_| {
        for_an_hour()
    })
    .await;
    let numbers: Vec<i64> = next["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["number"].as_i64().unwrap())
        .collect();
    assert_eq!(numbers, [3, 4], "parts 1 and 2 arrived");
    let plan = json!({"files": [next]}).to_string();
    succeeds(&run(&["send", "-", "large.bin"], folder.path(), &plan).await);
    complete(&store, &key, &upload).await;
    assert!(store.get(&key).await == large);

    let rest = multipart_is_done(&large);
    let said = succeeds(&run(&["send", "-", "large.bin"], folder.path(), &rest).await);
    assert!(said.contains("there already"), "{said}");
}

/// What the plan of a whole upload says.
fn multipart_is_done(bytes: &[u8]) -> String {
    json!({"files": [entry("large.bin", bytes, Vec::new())]}).to_string()
}

#[tokio::test]
async fn nothing_is_sent_while_any_file_is_not_the_plans() {
    let env = Env::shared();
    let folder = tempfile::tempdir().unwrap();
    let store = env.quarantine();
    let key = unique("transfer");
    let (good, other) = (noise(1000, 15), noise(1000, 21));
    let plan = json!({"files": [
        single(&store, &format!("{key}/a"), "a.csv", &good).await,
        single(&store, &format!("{key}/b"), "t/b.csv", &good).await,
    ]})
    .to_string();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    for folder in ["t", "u"].map(|f| folder.path().join(f)) {
        std::fs::create_dir(folder).unwrap();
    }
    write("a.csv", &good);
    let send = async |files: &[&str]| {
        let arguments: Vec<&str> = ["send", "-"].iter().chain(files).copied().collect();
        run(&arguments, folder.path(), &plan).await
    };
    fails(&send(&["a.csv"]).await, "'t/b.csv'");
    fails(&send(&["--dir", "."]).await, "'t/b.csv'");
    write("u/b.csv", &good);
    fails(&send(&["a.csv", "u/b.csv"]).await, "'u/b.csv'");
    write("t/b.csv", &other[..999]);
    fails(&send(&["a.csv", "t/b.csv"]).await, "999 bytes");
    write("t/b.csv", &other);
    fails(&send(&["a.csv", "t/b.csv"]).await, "SHA-256");
    assert!(store.keys(&key).await.is_empty());
    // Whoever sends other bytes all the same is refused by the signature.
    let mut forged: Value = serde_json::from_str(&plan).unwrap();
    forged["files"][1]["sha256"] = json!(sha256(&other));
    let output = run(
        &["send", "-", "a.csv", "t/b.csv"],
        folder.path(),
        &forged.to_string(),
    )
    .await;
    fails(&output, "'t/b.csv', part 1");
    assert_eq!(store.keys(&key).await, [format!("{key}/a")]);
}

#[tokio::test]
async fn a_recipient_fetches_checks_and_unpacks_a_released_package() {
    let env = Env::shared();
    let (alice, bob, carol) = (
        env.person("alice").await,
        env.person("bob").await,
        env.person("carol").await,
    );
    let folder = tempfile::tempdir().unwrap();
    let table = b"age,n\n60-69,120\n".repeat(4000);
    let image = noise(300_000, 16);
    let request = alice
        .creates(
            "fetched",
            json!({"direction": "Egress", "title": "Fetched", "description": "By a recipient"}),
        )
        .await;
    request.reaches(Phase::Draft).await;
    alice
        .uploads(&request, "tables/t 1.csv", table.clone())
        .await;
    alice
        .uploads(&request, "figures/Größe 100%.png", image.clone())
        .await;
    alice.submits(&request, 1).await;
    request.reaches(Phase::InReview).await;
    bob.approves(&request).await;
    carol.approves(&request).await;
    request.reaches(Phase::Released).await;
    let told = alice.gets(&request, "release").await.expect(200).json();
    let text = |key: &str| told[key].as_str().unwrap().to_owned();
    let (url, digest, name) = (text("url"), text("sha256"), text("filename"));

    let fetch = ["fetch", "-", "--sha256", &digest, "--extract", "out"];
    let said = succeeds(&run(&fetch, folder.path(), &url).await);
    assert!(said.contains(&name) && said.contains("2 files"), "{said}");
    let read = |path: &str| std::fs::read(folder.path().join(path)).unwrap();
    assert_eq!(sha256(&read(&name)), digest);
    assert!(read("out/data/tables/t 1.csv") == table);
    assert!(read("out/data/figures/Größe 100%.png") == image);
    assert!(folder.path().join("out/ro-crate-metadata.json").exists());

    // Once more changes nothing; without a digest there is nothing to compare with.
    let again = [
        "fetch",
        &url,
        "--sha256",
        &digest.to_uppercase(),
        "--extract",
        "out",
    ];
    let said = succeeds(&run(&again, folder.path(), "").await);
    assert!(
        said.contains("was there already") && said.contains("0 files written"),
        "{said}"
    );
    fails(
        &run(&["fetch", "-"], folder.path(), &url).await,
        "is there already",
    );

    // Another digest, another URL, another file in the way.
    let wrong = sha256(b"another package");
    let other = ["fetch", "-", "--out", "other.zip", "--sha256", &wrong];
    fails(&run(&other, folder.path(), &url).await, "it was removed");
    let tampered = url.replace("X-Amz-Expires=", "X-Amz-Expires=1");
    fails(
        &run(
            &["fetch", "-", "--out", "other.zip"],
            folder.path(),
            &tampered,
        )
        .await,
        "ask for a new one",
    );
    let far = url.replace("localhost", "downloads.example");
    fails(
        &run(&["fetch", "-", "--out", "other.zip"], folder.path(), &far).await,
        "https://",
    );
    assert!(!folder.path().join("other.zip").exists());
    std::fs::write(folder.path().join("out/data/tables/t 1.csv"), b"mine").unwrap();
    fails(&run(&again, folder.path(), "").await, "nothing was written");
    assert_eq!(read("out/data/tables/t 1.csv"), b"mine");
}

/// A package of one file.
pub fn package(bytes: &[u8]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let metadata =
        json!({"@graph": [{"@id": "data/large.bin", "sha256": sha256(bytes)}]}).to_string();
    for (name, bytes) in [
        ("ro-crate-metadata.json", metadata.as_bytes()),
        ("data/large.bin", bytes),
    ] {
        zip.start_file(name, stored).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Bytes that a download on its way has, as it wrote them down.
fn on_disk(file: &Path) -> Option<usize> {
    let state: Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    let ranges = state["done"].as_array()?;
    let length = |r: &Value| Some((r["end"].as_u64()? - r["start"].as_u64()?) as usize);
    ranges.iter().map(length).sum()
}

#[tokio::test]
async fn a_killed_download_goes_on_where_it_was() {
    let env = Env::shared();
    let folder = tempfile::tempdir().unwrap();
    let package = package(&noise(40 << 20, 17));
    let fault = Fault::FallsSilent { after: 25 << 20 };
    let key = unique("transfer");
    env.quarantine().put(&key, &package).await;
    let wire = Wire::to(&env.variable("TREVOR_QUARANTINE_ENDPOINT"), fault).await;
    let store = at(&env, &wire.url);
    let get = store.client.get_object().bucket(&store.bucket).key(&key);
    let url = get.presigned(for_an_hour()).await.unwrap().uri().to_owned();
    let state = folder.path().join("a.zip.part.json");

    let mut first = Command::new(trevor())
        .env_clear()
        .args(["fetch", &url, "--out", "a.zip"])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let enough = || async { on_disk(&state).filter(|bytes| *bytes > 10 << 20) };
    ready("the download is on its way", PATIENCE, enough).await;
    first.kill().await.unwrap();
    let had = on_disk(&state).unwrap();
    let written = std::fs::read_to_string(&state).unwrap();
    assert!(!written.contains("http"), "the URL is a secret: {written}");
    assert!(!folder.path().join("a.zip").exists());

    wire.mend();
    let before = wire.passed();
    succeeds(
        &run(
            &[
                "fetch",
                "-",
                "--out",
                "a.zip",
                "--sha256",
                &sha256(&package),
            ],
            folder.path(),
            &url,
        )
        .await,
    );
    let read = wire.passed() - before;
    assert!(
        read < package.len() - had + (256 << 10),
        "read {read} of {}, {had} were there",
        package.len()
    );
    assert!(!state.exists() && !folder.path().join("a.zip.part").exists());
}

#[tokio::test]
async fn a_download_goes_on_over_a_connection_that_breaks() {
    let env = Env::shared();
    let folder = tempfile::tempdir().unwrap();
    let package = package(&noise(20 << 20, 18));
    let key = unique("transfer");
    env.quarantine().put(&key, &package).await;
    let fault = Fault::Breaks {
        after: 3 << 20,
        times: 4,
    };
    let wire = Wire::to(&env.variable("TREVOR_QUARANTINE_ENDPOINT"), fault).await;
    let store = at(&env, &wire.url);
    let get = store.client.get_object().bucket(&store.bucket).key(&key);
    let url = get.presigned(for_an_hour()).await.unwrap().uri().to_owned();
    succeeds(
        &run(
            &["fetch", "-", "--out", "a.zip", "--extract", "."],
            folder.path(),
            &url,
        )
        .await,
    );
    assert!(
        wire.fault()
            == Fault::Breaks {
                after: 3 << 20,
                times: 0
            },
        "it broke as often as it should"
    );
    assert_eq!(
        sha256(&std::fs::read(folder.path().join("a.zip")).unwrap()),
        sha256(&package)
    );
}

#[tokio::test]
async fn a_server_is_trusted_by_the_given_authorities_alone() {
    let env = Env::shared();
    let folder = tempfile::tempdir().unwrap();
    let file = kube::config::Kubeconfig::read_from(env.folder().join("kubeconfig")).unwrap();
    let cluster = file.clusters[0].cluster.clone().unwrap();
    let url = format!("{}/?X-Amz-Signature=1", cluster.server.unwrap());
    assert!(
        url.starts_with("https://"),
        "the API server is one with TLS"
    );
    let pem = match (
        cluster.certificate_authority_data,
        cluster.certificate_authority,
    ) {
        (Some(data), _) => base64::engine::general_purpose::STANDARD
            .decode(data)
            .unwrap(),
        (None, Some(path)) => std::fs::read(path).unwrap(),
        (None, None) => panic!("no authority in the kubeconfig"),
    };
    std::fs::write(folder.path().join("ca.pem"), pem).unwrap();
    // It knows nobody who comes without a token, and says so, over TLS.
    let known = run(&["fetch", "-", "--ca", "ca.pem"], folder.path(), &url).await;
    fails(&known, "the server answers 40");
    fails(
        &run(&["fetch", "-"], folder.path(), &url).await,
        "not trusted",
    );
}
