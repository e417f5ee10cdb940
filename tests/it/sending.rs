//! `trevor send` on the gateway's own plans: what people outside do.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::{Child, Command};
use trevor_api::Phase;

use crate::harness::{
    Env, PATIENCE, Person, Request, command, free_address, noise, read_config, ready, sha256,
    trevor,
};
use crate::ingress::{declared, plan, put, spec};
use crate::transfer::{fails, run, succeeds};

/// Parts of a plan that stays below 62 GiB.
const PART: usize = 64 << 20;

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

async fn plan_text(person: &Person, request: &Request) -> String {
    let answer = person.gets(request, "plan").await.expect(200);
    String::from_utf8(answer.body.to_vec()).unwrap()
}

fn numbers(plan: &Value) -> Vec<u64> {
    let parts = plan["parts"].as_array().unwrap();
    parts
        .iter()
        .map(|p| p["number"].as_u64().unwrap())
        .collect()
}

/// What is under review is what was sent, once.
async fn stands(env: &Env, request: &Request, files: &[(&str, &[u8])]) {
    let frozen = request.reaches(Phase::InReview).await;
    assert_eq!(frozen.files.len(), files.len());
    for (path, bytes) in files {
        let file = frozen.files.iter().find(|f| f.path == *path).unwrap();
        assert_eq!(file.sha256, sha256(bytes), "{path}");
    }
    let folder = format!("{}files/", request.prefix());
    assert_eq!(env.quarantine().keys(&folder).await.len(), files.len());
    let staged = format!("{}/", request.uid);
    assert!(env.staging().keys(&staged).await.is_empty());
    assert!(env.staging().open_uploads(&staged).await.is_empty());
}

#[tokio::test]
async fn a_plan_is_sent_whole_in_one_put_and_in_parts() {
    let env = Env::shared();
    let alice = env.person("alice").await;
    let folder = tempfile::tempdir().unwrap();
    let (small, big) = (noise(70_000, 51), noise(PART + 1, 52));
    write(folder.path(), "tables/small.csv", &small);
    write(folder.path(), "big.bin", &big);
    write(folder.path(), "empty.txt", b"");
    let files: [(&str, &[u8]); 3] = [
        ("tables/small.csv", &small),
        ("big.bin", &big),
        ("empty.txt", b""),
    ];
    let wanted: Vec<Value> = files.iter().map(|(p, b)| declared(p, b)).collect();
    let request = alice.creates("send", spec(1, &wanted)).await;
    let text = plan_text(&alice, &request).await;
    let sent = run(&["send", "-", "--dir", "."], folder.path(), &text).await;
    let said = succeeds(&sent);
    assert!(said.contains("sent 3 files"), "{said}");
    stands(&env, &request, &files).await;
    // The plan is spent: what is sent in parts has no place to go to any more.
    let late = run(&["send", "-", "--dir", "."], folder.path(), &text).await;
    fails(&late, "'big.bin'");
    assert_eq!(request.status().await.phase, Some(Phase::InReview));
}

fn sends(folder: &Path, arguments: &[&str]) -> Child {
    Command::new(trevor())
        .env_clear()
        .arg("send")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn a_sender_that_was_killed_goes_on_with_what_is_missing() {
    let env = Env::shared();
    let alice = env.person("alice").await;
    let folder = tempfile::tempdir().unwrap();
    let big = noise(5 * PART + 7, 53);
    write(folder.path(), "big.bin", &big);
    let request = alice
        .creates("send-killed", spec(1, &[declared("big.bin", &big)]))
        .await;
    let text = plan_text(&alice, &request).await;
    write(folder.path(), "plan.json", text.as_bytes());
    let mut first = sends(folder.path(), &["plan.json", "big.bin", "--parallel", "1"]);
    let left = ready("some parts have arrived", PATIENCE, || async {
        let left = plan(&alice, &request).await;
        (numbers(&left[0]).len() < 6).then_some(left)
    })
    .await;
    assert!(
        !numbers(&left[0]).is_empty(),
        "it was too fast to be killed"
    );
    first.kill().await.unwrap();
    let next = plan_text(&alice, &request).await;
    let parsed: Value = serde_json::from_str(&next).unwrap();
    let missing = numbers(&parsed["files"][0]);
    assert!((1..6).contains(&missing.len()), "{missing:?}");
    assert_eq!(missing.last(), Some(&6), "they are sent in order");
    let sent = run(&["send", "-", "big.bin"], folder.path(), &next).await;
    succeeds(&sent);
    stands(&env, &request, &[("big.bin", &big)]).await;
}

#[tokio::test]
async fn two_senders_of_one_plan_end_in_one_file() {
    let env = Env::shared();
    let alice = env.person("alice").await;
    let folder = tempfile::tempdir().unwrap();
    let (small, big) = (noise(70_000, 54), noise(2 * PART + 9, 55));
    write(folder.path(), "small.csv", &small);
    write(folder.path(), "big.bin", &big);
    let files: [(&str, &[u8]); 2] = [("small.csv", &small), ("big.bin", &big)];
    let wanted: Vec<Value> = files.iter().map(|(p, b)| declared(p, b)).collect();
    let request = alice.creates("send-twice", spec(0, &wanted)).await;
    let text = plan_text(&alice, &request).await;
    let arguments = ["send", "-", "--dir", "."];
    let (one, two) = tokio::join!(
        run(&arguments, folder.path(), &text),
        run(&arguments, folder.path(), &text)
    );
    succeeds(&one);
    succeeds(&two);
    alice.submits(&request, 1).await;
    stands(&env, &request, &files).await;
}

/// A clock that is wrong by so many seconds, for one process: a library that stands
/// before the system's.
fn wrong_clock(folder: &Path) -> std::path::PathBuf {
    const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    const char *wrong = getenv("WRONG_BY");
    if (clock == CLOCK_REALTIME && wrong) now->tv_sec += atol(wrong);
    return result;
}
"#;
    let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
    std::fs::write(&source, SOURCE).unwrap();
    let made = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(&source)
        .arg("-ldl")
        .status();
    assert!(made.unwrap().success());
    library
}

/// When the server takes a URL for ended: by what is signed, whatever clock that is of.
fn ends(url: &Value) -> jiff::Timestamp {
    let url = url.as_str().unwrap();
    let field = |name: &str| {
        let fields = url.split(['?', '&']);
        let mut found = fields.filter_map(|f| f.strip_prefix(name)?.strip_prefix('='));
        found.next().unwrap().to_owned()
    };
    let signed = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", field("X-Amz-Date"));
    let signed = signed.unwrap().to_zoned(jiff::tz::TimeZone::UTC).unwrap();
    let life: i64 = field("X-Amz-Expires").parse().unwrap();
    signed.timestamp() + jiff::SignedDuration::from_secs(life)
}

#[tokio::test]
async fn a_gateway_whose_clock_is_wrong_by_ten_minutes_gives_plans_that_work() {
    let env = Env::shared();
    let folder = tempfile::tempdir().unwrap();
    let library = wrong_clock(folder.path());
    let bytes = noise(PART + 100, 56);
    write(folder.path(), "a.bin", &bytes);
    for wrong in ["600", "-600"] {
        let mut config = read_config(&env, "gateway");
        let listen = free_address();
        config["gateway"]["listen"] = json!(listen);
        config["gateway"]["metrics_listen"] = json!(free_address());
        let file = folder.path().join("gateway.yaml");
        std::fs::write(&file, config.to_string()).unwrap();
        let _gateway = command(&env, "gateway")
            .env("LD_PRELOAD", &library)
            .env("WRONG_BY", wrong)
            .args(["gateway", "--config"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        ready("the gateway listens", PATIENCE, || async {
            tokio::net::TcpStream::connect(&listen).await.ok()
        })
        .await;
        let url = format!("http://{listen}");
        let (alice, bob) = (
            env.person_at("alice", &url).await,
            env.person_at("bob", &url).await,
        );
        let wanted = [declared("a.bin", &bytes), declared("b.txt", b"b")];
        let request = alice.creates("skewed", spec(1, &wanted)).await;
        let files = plan(&alice, &request).await;
        for file in &files {
            let time = |v: &Value| v.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
            let (said, real) = (time(&file["expires"]), ends(&file["parts"][0]["url"]));
            let early = real.duration_since(said).as_secs();
            assert!(
                (0..10).contains(&early),
                "{wrong}: {said}, and really {real}"
            );
        }
        for file in &files {
            let all: &[u8] = if file["path"] == "a.bin" {
                &bytes
            } else {
                b"b"
            };
            for part in file["parts"].as_array().unwrap() {
                let at = |name: &str| part[name].as_u64().unwrap() as usize;
                let piece = &all[at("offset")..at("offset") + at("size")];
                put(part, piece).await.expect(200);
            }
        }
        request.reaches(Phase::InReview).await;
        bob.approves(&request).await;
        request.reaches(Phase::Released).await;
        let told = alice.gets(&request, "release").await.expect(200).json();
        for file in told["files"].as_array().unwrap() {
            let url = file["url"].as_str().unwrap();
            let got = crate::harness::Http::default().get(url).await.expect(200);
            assert_eq!(sha256(&got.body), file["sha256"].as_str().unwrap());
        }
    }
}
