//! Two gateways and two controllers that both believe they lead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Barrier;
use trevor_api::{Phase, ReviewDecision};

use crate::faults::{crossed_once, desk};
use crate::harness::{Controller, Env, Person, Request, private, sha256};

/// Uploads at once, half of them through each gateway.
const WRITERS: usize = 6;
/// Each writes again and again to these, as the others do.
const PATHS: [&str; 4] = ["a.csv", "b.csv", "c/d.csv", "e.csv"];
/// More than a round ever takes.
const MOST: usize = 200;

/// What became of one upload.
struct Sent {
    path: &'static str,
    sha256: String,
    status: u16,
    version: String,
}

/// Uploads until the round is sealed. The second upload of each waits for the
/// first of all, and for the submitter.
async fn writes(
    person: Person,
    request: Request,
    round: i64,
    writer: usize,
    start: Arc<Barrier>,
) -> Vec<Sent> {
    let mut sent = Vec::new();
    for number in 0..MOST {
        if number == 1 {
            start.wait().await;
        }
        let path = PATHS[(writer + number) % PATHS.len()];
        let bytes = format!("round,{round}\nwriter,{writer}\nnumber,{number}\n").into_bytes();
        let digest = sha256(&bytes);
        let answer = person.puts(&request, path, bytes).await;
        let status = answer.status.as_u16();
        let version = match status {
            201 => answer.json()["version"].as_str().unwrap().to_owned(),
            409 | 503 => String::new(),
            _ => panic!("{path}: {answer:?}"),
        };
        sent.push(Sent {
            path,
            sha256: digest,
            status,
            version,
        });
        if status == 409 {
            assert_eq!(answer.reason(), "Sealed");
            return sent;
        }
    }
    panic!("the round was not sealed during {MOST} uploads");
}

/// What was answered 201 is in the manifest, or a later version of it is;
/// nothing that was answered 409 is.
fn holds(manifest: &Value, sent: &[Sent]) {
    let mut files = BTreeMap::new();
    let mut digests = BTreeSet::new();
    for file in manifest["files"].as_array().unwrap() {
        let text = |key: &str| file[key].as_str().unwrap();
        files.insert(text("path"), (text("version"), text("sha256")));
        digests.insert(text("sha256"));
    }
    for one in sent {
        let said = format!("{} {} answered {}", one.path, one.version, one.status);
        if one.status == 409 {
            assert!(!digests.contains(one.sha256.as_str()), "{said}: {manifest}");
        }
        if one.status != 201 {
            continue;
        }
        let (version, digest) = files[one.path];
        assert_eq!(version.len(), one.version.len(), "{said}");
        assert!(version >= one.version.as_str(), "{said}: {manifest}");
        assert!(
            version != one.version || digest == one.sha256,
            "{said}: {manifest}"
        );
    }
}

fn manifest_key(request: &Request, round: i64) -> String {
    format!("{}rounds/{round}/manifest.json", request.prefix())
}

async fn race(rounds: i64) {
    let env = private().await;
    let leads = |name| Controller {
        elect: false,
        ..Controller::new(&env, name)
    };
    let (left, right) = (leads("left"), leads("right"));
    let (mut left, mut right) = tokio::join!(left.start(), right.start());
    let (here, there) = tokio::join!(
        desk(&env, "left-gateway", &left.url),
        desk(&env, "right-gateway", &right.url)
    );
    let spec = json!({"direction": "Egress", "title": "Races"});
    let request = here.alice.creates("races", spec).await;
    let inside = env.quarantine();
    let mut frozen = Vec::new();
    let mut told = 0;
    for round in 1..=rounds {
        let start = Arc::new(Barrier::new(WRITERS + 1));
        let writers = (0..WRITERS).map(|writer| {
            let person = [&here.alice, &there.alice][writer % 2].clone();
            tokio::spawn(writes(
                person,
                request.clone(),
                round,
                writer,
                Arc::clone(&start),
            ))
        });
        let writers: Vec<_> = writers.collect();
        start.wait().await;
        here.alice.submits(&request, round).await;
        let mut sent = Vec::new();
        for writer in writers {
            sent.extend(writer.await.unwrap());
        }
        request.round_reaches(round, Phase::InReview).await;
        let digest = request.digest().await;
        let bytes = inside.get(&manifest_key(&request, round)).await;
        assert_eq!(sha256(&bytes), digest, "round {round}");
        holds(&serde_json::from_slice(&bytes).unwrap(), &sent);
        told += sent.iter().filter(|s| s.status == 201).count();
        frozen.push(digest);
        if round < rounds {
            let word = ReviewDecision::RequestChanges;
            here.bob.reviews_it(&request, word).await;
            request.round_reaches(round, Phase::ChangesRequested).await;
        }
    }
    println!("{rounds} rounds, {told} uploads answered 201");
    here.bob.approves(&request).await;
    there.carol.approves(&request).await;
    crossed_once(&env, &request).await;
    still_the_same(&env, &request, &frozen).await;
    assert!(left.runs() && right.runs());
}

/// Each round has the manifest that it had.
async fn still_the_same(env: &Env, request: &Request, frozen: &[String]) {
    for (round, digest) in (1..).zip(frozen) {
        let bytes = env.quarantine().get(&manifest_key(request, round)).await;
        assert_eq!(sha256(&bytes), *digest, "round {round}");
    }
}

#[tokio::test]
async fn two_gateways_and_two_leaders_freeze_and_release_once() {
    race(3).await;
}

#[tokio::test]
#[ignore = "long"]
async fn two_gateways_and_two_leaders_freeze_and_release_once_in_thirty_rounds() {
    race(30).await;
}
