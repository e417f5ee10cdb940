//! Ingress: files come in by signed PUTs of a plain HTTP client, are confirmed,
//! reviewed, and read inside by signed GETs.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use trevor_api::{Phase, ReleaseType, ReviewDecision};

use crate::harness::{
    Answer, Env, Gateway, Http, Mode, PATIENCE, Person, Proxy, Request, command, noise,
    read_config, sha256,
};

const MIB: usize = 1 << 20;

pub fn declared(path: &str, bytes: &[u8]) -> Value {
    json!({"path": path, "size": bytes.len(), "sha256": sha256(bytes)})
}

pub fn spec(submission: i64, files: &[Value]) -> Value {
    json!({"direction": "Ingress", "title": "Reference data", "submission": submission, "files": files})
}

pub async fn plan(person: &Person, request: &Request) -> Vec<Value> {
    let plan = person.gets(request, "plan").await.expect(200).json();
    plan["files"].as_array().unwrap().clone()
}

/// Sends a part as curl would: the URL, the headers, the bytes.
pub async fn put(part: &Value, bytes: &[u8]) -> Answer {
    let headers: Vec<(&str, &str)> = part["headers"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    let method: Method = part["method"].as_str().unwrap().parse().unwrap();
    let length = bytes.len().to_string();
    let mut headers = headers;
    headers.push(("content-length", &length));
    Http::default()
        .call(
            method,
            part["url"].as_str().unwrap(),
            &headers,
            Bytes::copy_from_slice(bytes),
        )
        .await
}

/// Sends the parts of a plan of a file.
pub async fn send(file: &Value, bytes: &[u8]) {
    for part in file["parts"].as_array().unwrap() {
        put(part, slice(part, bytes)).await.expect(200);
    }
}

pub fn slice<'a>(part: &Value, bytes: &'a [u8]) -> &'a [u8] {
    let offset = usize::try_from(part["offset"].as_u64().unwrap()).unwrap();
    let size = usize::try_from(part["size"].as_u64().unwrap()).unwrap();
    &bytes[offset..offset + size]
}

pub async fn send_all(person: &Person, request: &Request, files: &[(&str, &[u8])]) {
    for file in plan(person, request).await {
        let path = file["path"].as_str().unwrap();
        let (_, bytes) = files.iter().find(|(name, _)| *name == path).unwrap();
        send(&file, bytes).await;
    }
}

#[tokio::test]
async fn files_come_in_by_signed_puts_and_are_read_inside_by_signed_gets_after_approval() {
    let env = Env::shared();
    let (alice, bob) = (env.person("alice").await, env.person("bob").await);
    let (table, empty) = (b"age,n\n1,20\n".as_slice(), b"".as_slice());
    let files = [
        declared("ref/table.csv", table),
        json!({"path": "empty.txt", "size": 0}),
    ];
    // Submitted from the start: it confirms itself.
    let request = alice.creates("ingress", spec(1, &files)).await;
    let planned = plan(&alice, &request).await;
    assert_eq!(planned.len(), 2);
    for file in &planned {
        let url = file["parts"][0]["url"].as_str().unwrap();
        assert!(
            url.starts_with("http://localhost:"),
            "the endpoint that outsiders use"
        );
        assert!(file["expires"].is_string());
    }
    send_all(
        &alice,
        &request,
        &[("ref/table.csv", table), ("empty.txt", empty)],
    )
    .await;
    let reviewed = request.reaches(Phase::InReview).await;
    assert_eq!(reviewed.manifest.unwrap().files, 2);
    assert_eq!(reviewed.approvals.unwrap().required, 1);
    let prefix = format!("{}/", request.uid);
    assert!(env.staging().keys(&prefix).await.is_empty());
    let quarantined = env
        .quarantine()
        .keys(&format!("{}files/", request.prefix()))
        .await;
    assert_eq!(quarantined.len(), 2);
    for key in &quarantined {
        assert!(env.quarantine().encrypted(key).await, "{key}");
    }
    assert_eq!(
        bob.reads(&request, "ref/table.csv").await.expect(200).body,
        table
    );
    alice.gets(&request, "release").await.expect(409);
    alice.reads(&request, "ref/table.csv").await.expect(403);

    bob.approves(&request).await;
    request.reaches(Phase::Released).await;
    let record = request.record().await;
    assert_eq!(record.spec.r#type, ReleaseType::Url);
    assert!(record.spec.package.is_none());
    let contents = record.spec.contents.unwrap();
    assert_eq!((contents.files, contents.size), (2, table.len() as i64));
    assert_eq!(record.spec.manifest_digest, request.digest().await);
    let released = alice.gets(&request, "release").await.expect(200).json();
    assert_eq!(released["type"], "Url");
    let inside = env.variable("TREVOR_QUARANTINE_ENDPOINT");
    for file in released["files"].as_array().unwrap() {
        let url = file["url"].as_str().unwrap();
        assert!(url.starts_with(&inside), "for the endpoint inside only");
        assert!(url.contains("X-Amz-Expires=3600"));
        let got = Http::default().get(url).await.expect(200);
        assert_eq!(sha256(&got.body), file["sha256"].as_str().unwrap());
        assert_eq!(got.body.len() as u64, file["size"].as_u64().unwrap());
    }
    env.person("dave")
        .await
        .gets(&request, "release")
        .await
        .expect(403);
    assert!(
        env.release().keys(&request.releases()).await.is_empty(),
        "no package"
    );
    assert!(
        env.quarantine()
            .keys(&format!("work/plans/{}/", request.uid))
            .await
            .is_empty()
    );
    let tickets = env.quarantine().keys("work/retention/").await;
    let mine = |t: &&String| t.contains(&request.uid) && t.ends_with("-staging.json");
    assert!(
        tickets.iter().any(|t| mine(&t)),
        "what is written later is collected"
    );
}

#[tokio::test]
async fn a_broken_upload_in_parts_goes_on_with_the_parts_that_are_missing_through_any_gateway() {
    let env = Env::shared();
    let alice = env.person("alice").await;
    let second = Gateway {
        env: &env,
        name: "ingress-gateway",
        controller: &env.address("controller"),
    };
    let second = second.start().await;
    let other = env.person_at("alice", &second.url).await;
    let big = noise(130 * MIB, 7);
    let request = alice
        .creates("resume", spec(0, &[declared("big.bin", &big)]))
        .await;
    request.reaches(Phase::Draft).await;

    // Asked at the same time, two gateways give the same upload.
    let (one, two) = tokio::join!(plan(&alice, &request), plan(&other, &request));
    let upload = |plan: &[Value]| {
        let url = plan[0]["parts"][0]["url"].as_str().unwrap().to_owned();
        let (path, query) = url.split_once('?').unwrap();
        let id = query
            .split('&')
            .find(|q| q.starts_with("uploadId="))
            .unwrap();
        format!("{path} {id}")
    };
    assert_eq!(upload(&one), upload(&two));
    let parts = one[0]["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 3);
    put(&parts[1], slice(&parts[1], &big)).await.expect(200);
    // Sent twice, which some servers list twice.
    put(&parts[1], slice(&parts[1], &big)).await.expect(200);
    put(&parts[0], &big[..5]).await.expect(403);

    let left = plan(&other, &request).await;
    let numbers: Vec<u64> = left[0]["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["number"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [1, 3]);
    alice.submits(&request, 1).await;
    let waits = request.says("Ready", "WaitingForFiles").await;
    assert_eq!(waits.phase, Some(Phase::Submitted));
    send(&left[0], &big).await;
    // Nothing is missing any more, which also asks the controller to look.
    let whole = plan(&alice, &request).await;
    assert!(whole.iter().all(|f| f["parts"] == json!([])), "{whole:?}");
    let reviewed = request.reaches(Phase::InReview).await;
    assert_eq!(reviewed.files[0].sha256, sha256(&big));
    put(&parts[2], slice(&parts[2], &big)).await.expect(404);
    assert!(env.staging().open_uploads(&request.uid).await.is_empty());
    alice.gets(&request, "plan").await.expect(409);
}

#[tokio::test]
async fn a_plan_used_twice_in_parallel_ends_in_one_file() {
    let env = Env::shared();
    let alice = env.person("alice").await;
    let bytes = noise(MIB, 3);
    let request = alice
        .creates("twice", spec(0, &[declared("a.bin", &bytes)]))
        .await;
    let (one, two) = tokio::join!(plan(&alice, &request), plan(&alice, &request));
    let key = |plan: &[Value]| {
        plan[0]["parts"][0]["url"]
            .as_str()
            .unwrap()
            .split('?')
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(key(&one), key(&two));
    tokio::join!(send(&one[0], &bytes), send(&two[0], &bytes));
    alice.submits(&request, 1).await;
    let status = request.reaches(Phase::InReview).await;
    assert_eq!(status.files[0].sha256, sha256(&bytes));
    assert_eq!(
        env.quarantine()
            .keys(&format!("{}files/", request.prefix()))
            .await
            .len(),
        1
    );
}

#[tokio::test]
async fn a_signed_put_takes_exactly_what_was_declared_and_no_other_header() {
    let env = Env::shared();
    let alice = env.person("alice").await;
    let bytes = b"0123456789".as_slice();
    let request = alice
        .creates("exact", spec(0, &[declared("a.txt", bytes)]))
        .await;
    let file = plan(&alice, &request).await.remove(0);
    let part = &file["parts"][0];
    put(part, b"0123456789x").await.expect(403);
    put(part, b"012345678").await.expect(403);
    put(part, b"012345678x").await.expect(400);
    for (name, value) in [
        ("x-amz-copy-source", "/trevor-quarantine/first"),
        ("x-amz-acl", "public-read"),
        ("x-amz-tagging", "a=b"),
        ("x-amz-website-redirect-location", "https://example.org/"),
        ("x-amz-meta-a", "b"),
    ] {
        let mut more = part.clone();
        more["headers"][name] = json!(value);
        put(&more, bytes).await.expect(403);
    }
    let mut fewer = part.clone();
    fewer["headers"] = json!({});
    put(&fewer, bytes).await.expect(403);
    // The URL is good for PUT alone.
    let url = part["url"].as_str().unwrap();
    Http::default().get(url).await.expect(403);
    put(part, bytes).await.expect(200);
    // What is not declared has no URL, and no other way in.
    let other_way = alice.puts(&request, "a.txt", bytes).await.expect(409);
    assert_eq!(other_way.reason(), "IngressUsesPlan");
    let undeclared = alice.puts(&request, "b.txt", "x").await.expect(409);
    assert_eq!(undeclared.reason(), "IngressUsesPlan");
}

#[tokio::test]
async fn what_arrived_and_is_not_what_was_declared_is_refused_by_name_and_the_next_round_plans_only_that()
 {
    let env = Env::shared();
    let (alice, bob) = (env.person("alice").await, env.person("bob").await);
    let (good, long, wrong) = (b"good".as_slice(), b"123".as_slice(), b"abc".as_slice());
    // No digest, so that the server cannot tell.
    let files = [
        declared("good.csv", good),
        json!({"path": "long.csv", "size": 3}),
        json!({"path": "wrong.bin", "size": 3}),
    ];
    let request = alice.creates("mismatch", spec(0, &files)).await;
    send_all(
        &alice,
        &request,
        &[("good.csv", good), ("long.csv", long), ("wrong.bin", wrong)],
    )
    .await;
    // Behind our back: another length, which no URL lets through.
    let staged = env.staging().keys(&format!("{}/1/", request.uid)).await;
    let mut of_long = None;
    for key in &staged {
        if env.staging().get(key).await == long {
            of_long = Some(key.clone());
        }
    }
    env.staging().put(&of_long.unwrap(), b"1234").await;
    alice.submits(&request, 1).await;
    let refused = request.says("Stalled", "SubmissionRefused").await;
    assert_eq!(refused.phase, Some(Phase::ChangesRequested));
    let message = refused
        .conditions
        .iter()
        .find(|c| c.type_ == "Stalled")
        .unwrap()
        .message
        .clone();
    assert!(
        message.contains("long.csv: 4 bytes arrived, and 3 are declared"),
        "{message}"
    );
    assert!(
        !message.contains("good.csv") && !message.contains("wrong.bin"),
        "{message}"
    );
    let kept = env
        .quarantine()
        .keys(&format!("{}files/", request.prefix()))
        .await;
    assert_eq!(kept.len(), 2, "the refused copy is gone");
    assert!(
        env.staging()
            .keys(&format!("{}/", request.uid))
            .await
            .is_empty()
    );

    // Round 2: one that was refused, one of which the sender now knows the digest.
    let files = [
        declared("good.csv", good),
        declared("long.csv", long),
        declared("wrong.bin", b"xyz"),
    ];
    alice
        .edits(&request, json!({"files": files}))
        .await
        .unwrap();
    let planned = plan(&alice, &request).await;
    let paths: Vec<&str> = planned
        .iter()
        .map(|f| f["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["long.csv", "wrong.bin"]);
    send_all(
        &alice,
        &request,
        &[("long.csv", long), ("wrong.bin", b"xyz")],
    )
    .await;
    alice.submits(&request, 2).await;
    request.round_reaches(2, Phase::InReview).await;
    assert_eq!(
        bob.reads(&request, "wrong.bin").await.expect(200).body,
        b"xyz".as_slice()
    );
    assert_eq!(bob.reads(&request, "good.csv").await.expect(200).body, good);

    // A checker asks for another file: only that is planned for the third.
    bob.reviews_it(&request, ReviewDecision::RequestChanges)
        .await;
    request.reaches(Phase::ChangesRequested).await;
    let files = [declared("good.csv", b"better"), declared("long.csv", long)];
    alice
        .edits(&request, json!({"files": files}))
        .await
        .unwrap();
    let planned = plan(&alice, &request).await;
    assert_eq!(planned.len(), 1);
    send_all(&alice, &request, &[("good.csv", b"better")]).await;
    alice.submits(&request, 3).await;
    let third = request.round_reaches(3, Phase::InReview).await;
    assert_eq!(third.manifest.unwrap().files, 2);
    assert_eq!(third.changes.unwrap().removed, ["wrong.bin"]);
    bob.approves(&request).await;
    request.reaches(Phase::Released).await;
    let released = alice.gets(&request, "release").await.expect(200).json();
    let urls = released["files"].as_array().unwrap();
    assert_eq!(urls.len(), 2);
    let got = Http::default()
        .get(urls[0]["url"].as_str().unwrap())
        .await
        .expect(200);
    assert_eq!(got.body, b"better".as_slice());
}

#[tokio::test]
async fn a_digest_that_the_server_did_not_check_is_checked_at_confirmation() {
    let env = Env::shared();
    let alice = env.person("alice").await;
    let big = noise(70 * MIB, 11);
    let mut other = big.clone();
    other[MIB] ^= 1;
    let request = alice
        .creates("digest", spec(0, &[declared("big.bin", &big)]))
        .await;
    send_all(&alice, &request, &[("big.bin", &other)]).await;
    alice.submits(&request, 1).await;
    let refused = request.says("Stalled", "SubmissionRefused").await;
    let message = &refused
        .conditions
        .iter()
        .find(|c| c.type_ == "Stalled")
        .unwrap()
        .message;
    assert!(message.contains("big.bin: the SHA-256"), "{message}");
    assert!(
        env.quarantine()
            .keys(&format!("{}files/", request.prefix()))
            .await
            .is_empty()
    );
    let changed = plan(&alice, &request).await;
    assert_eq!(
        changed[0]["parts"].as_array().unwrap().len(),
        2,
        "all of it again"
    );
}

#[tokio::test]
async fn an_upload_that_never_completes_expires_with_a_reason_and_staging_is_emptied() {
    let env = Env::shared();
    let alice = env.person("alice").await;
    let (small, big) = (b"small".as_slice(), noise(70 * MIB, 5));
    let files = [
        declared("small.txt", small),
        declared("big.bin", &big),
        declared("never.txt", b"x"),
    ];
    let request = alice.creates("expires", spec(0, &files)).await;
    let planned = plan(&alice, &request).await;
    send(&planned[0], small).await;
    let part = &planned[1]["parts"][0];
    put(part, slice(part, &big)).await.expect(200);
    // As if it had been waiting for eight days.
    let long_ago = json!({"round": 1, "time": "2020-01-01T00:00:00Z"});
    env.quarantine()
        .put(
            &format!("{}rounds/1/submitted.json", request.prefix()),
            long_ago.to_string().as_bytes(),
        )
        .await;
    alice.submits(&request, 1).await;
    let expired = request.says("Stalled", "UploadExpired").await;
    assert_eq!(expired.phase, Some(Phase::ChangesRequested));
    let message = &expired
        .conditions
        .iter()
        .find(|c| c.type_ == "Stalled")
        .unwrap()
        .message;
    assert!(
        message.contains("big.bin") && message.contains("never.txt"),
        "{message}"
    );
    let prefix = format!("{}/", request.uid);
    assert!(env.staging().keys(&prefix).await.is_empty());
    assert!(env.staging().open_uploads(&prefix).await.is_empty());
    put(
        &planned[1]["parts"][1],
        slice(&planned[1]["parts"][1], &big),
    )
    .await
    .expect(404);
}

#[tokio::test]
async fn a_withdrawn_request_leaves_nothing_in_staging() {
    let env = Env::shared();
    let alice = env.person("alice").await;
    let bytes = noise(70 * MIB, 9);
    let request = alice
        .creates(
            "withdrawn",
            spec(0, &[declared("a.bin", &bytes), declared("b.txt", b"b")]),
        )
        .await;
    let planned = plan(&alice, &request).await;
    put(
        &planned[0]["parts"][0],
        slice(&planned[0]["parts"][0], &bytes),
    )
    .await
    .expect(200);
    send(&planned[1], b"b").await;
    alice.withdraws(&request).await;
    request.reaches(Phase::Withdrawn).await;
    let prefix = format!("{}/", request.uid);
    assert!(env.staging().keys(&prefix).await.is_empty());
    assert!(env.staging().open_uploads(&prefix).await.is_empty());
    assert!(
        env.quarantine()
            .keys(&format!("work/plans/{prefix}"))
            .await
            .is_empty()
    );
    alice.gets(&request, "plan").await.expect(409);
}

/// A sender who sends something else all the time: what is reviewed is what was
/// hashed, and nothing that comes later changes it.
async fn sends_again_in_a_loop(times: usize) {
    let env = Env::shared();
    let (alice, bob) = (env.person("alice").await, env.person("bob").await);
    let request = alice
        .creates("again", spec(0, &[json!({"path": "a.txt", "size": 8})]))
        .await;
    let file = plan(&alice, &request).await.remove(0);
    send(&file, b"00000000").await;
    let (sender, name) = (file.clone(), request.clone());
    let resending = tokio::spawn(async move {
        for n in 1..=times {
            put(&sender["parts"][0], format!("{n:08}").as_bytes())
                .await
                .expect(200);
        }
        name
    });
    alice.submits(&request, 1).await;
    let reviewed = request.reaches(Phase::InReview).await;
    let (digest, sum) = (request.digest().await, reviewed.files[0].sha256.clone());
    let first = bob.reads(&request, "a.txt").await.expect(200).body;
    assert_eq!(sha256(&first), sum);
    resending.await.unwrap();
    put(&file["parts"][0], b"99999999").await.expect(200);
    bob.approves(&request).await;
    request.reaches(Phase::Released).await;
    assert_eq!(request.digest().await, digest);
    let released = alice.gets(&request, "release").await.expect(200).json();
    let got = Http::default()
        .get(released["files"][0]["url"].as_str().unwrap())
        .await
        .expect(200);
    assert_eq!(
        got.body, first,
        "what was reviewed, and nothing that came later"
    );
    // The URL still takes a PUT, which nobody will see.
    put(&file["parts"][0], b"88888888").await.expect(200);
    assert_eq!(alice.reads(&request, "a.txt").await.expect(200).body, first);
}

#[tokio::test]
async fn whoever_sends_again_after_confirmation_changes_nothing() {
    sends_again_in_a_loop(100).await;
}

#[tokio::test]
#[ignore = "takes long"]
async fn whoever_sends_again_a_thousand_times_changes_nothing() {
    sends_again_in_a_loop(1000).await;
}

#[tokio::test]
async fn a_plan_is_for_the_submitter_of_an_ingress_request_with_good_names() {
    let env = Env::shared();
    let (alice, bob, dave) = (
        env.person("alice").await,
        env.person("bob").await,
        env.person("dave").await,
    );
    let request = alice
        .creates("who", spec(0, &[json!({"path": "a.txt", "size": 1})]))
        .await;
    bob.gets(&request, "plan").await.expect(403);
    dave.gets(&request, "plan").await.expect(403);
    let egress = alice
        .creates("who", json!({"direction": "Egress", "title": "Out"}))
        .await;
    assert_eq!(
        alice.gets(&egress, "plan").await.expect(409).reason(),
        "EgressUsesFiles"
    );
    let clash = alice
        .creates(
            "who",
            spec(
                0,
                &[
                    json!({"path": "a", "size": 1}),
                    json!({"path": "a/b", "size": 1}),
                ],
            ),
        )
        .await;
    assert_eq!(
        alice.gets(&clash, "plan").await.expect(422).reason(),
        "BadName"
    );
}

#[tokio::test]
async fn a_file_that_changed_in_quarantine_does_not_cross() {
    let env = Env::shared();
    let (alice, bob) = (env.person("alice").await, env.person("bob").await);
    let request = alice
        .creates("tampered", spec(0, &[declared("a.txt", b"good")]))
        .await;
    send_all(&alice, &request, &[("a.txt", b"good")]).await;
    alice.submits(&request, 1).await;
    request.reaches(Phase::InReview).await;
    let key = env
        .quarantine()
        .keys(&format!("{}files/", request.prefix()))
        .await
        .remove(0);
    env.quarantine().put(&key, b"evil").await;
    bob.approves(&request).await;
    let failed = request.reaches(Phase::Failed).await;
    assert!(
        failed
            .conditions
            .iter()
            .any(|c| c.reason == "IntegrityMismatch")
    );
    alice.gets(&request, "release").await.expect(409);
    assert!(request.records().await.is_empty());
}

#[tokio::test]
async fn a_server_that_takes_headers_nobody_signed_is_refused_by_the_gateway_at_start() {
    let env = Env::shared();
    let proxy = Proxy::before(&env.variable("TREVOR_STAGING_ENDPOINT")).await;
    {
        let header = "x-amz-copy-source";
        proxy.behaves(Mode::Takes(header));
        let mut config = read_config(&env, "gateway");
        config["storage"]["staging"]["endpoint"] = json!(proxy.url);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, config.to_string()).unwrap();
        let ended = command(&env, "gateway")
            .args(["gateway", "--config"])
            .arg(&file)
            .output();
        let ended = tokio::time::timeout(PATIENCE, ended)
            .await
            .expect("it ends by itself")
            .unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(
            (ended.status.code(), said.lines().count()),
            (Some(1), 1),
            "{said}"
        );
        assert!(
            said.contains("storage.staging") && said.contains(header),
            "{said}"
        );
    }
    // The gateway deletes nothing there; the next controller does.
    let staging = env.staging();
    for key in staging.keys("probe/").await {
        staging.delete(&key).await;
    }
}
