//! What anybody may send, open or make is bounded: connections, heads, bodies of answers,
//! receipts, words. Memory and ledger stay within bounds, and others are served meanwhile.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::Method;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use trevor_api::{AirlockRequest, AirlockReview, Phase};

use crate::harness::{
    Controller, Env, Gateway, Http, PATIENCE, Project, Spawned, private, ready, unique,
};

const MIB: u64 = 1 << 20;

/// A connection from one of many addresses of this machine.
async fn connect_from(n: usize, to: SocketAddr) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().ok()?;
    let last = u8::try_from(2 + n % 16).unwrap_or(2);
    let from = Ipv4Addr::new(127, 0, 0, last);
    socket.bind(SocketAddr::from((from, 0))).ok()?;
    let connecting = tokio::time::timeout(Duration::from_secs(5), socket.connect(to));
    connecting.await.ok()?.ok()
}

fn address(url: &str) -> SocketAddr {
    url.strip_prefix("http://").unwrap().parse().unwrap()
}

/// Opens so many connections and sends each the same, without an end; gives those that
/// are there.
async fn opens(to: SocketAddr, count: usize, bytes: Vec<u8>) -> Vec<TcpStream> {
    let bytes = Bytes::from(bytes);
    let all = stream::iter(0..count).map(|n| {
        let bytes = bytes.clone();
        async move {
            let mut stream = connect_from(n, to).await?;
            // The other side may end it.
            let sent = tokio::time::timeout(Duration::from_secs(2), stream.write_all(&bytes));
            let _ = sent.await;
            Some(stream)
        }
    });
    let open: Vec<Option<TcpStream>> = all.buffer_unordered(64).collect().await;
    open.into_iter().flatten().collect()
}

/// Answers a probe while the connections are open.
async fn lives(url: &str) -> Duration {
    let began = Instant::now();
    let http = Http::default();
    let probe = tokio::time::timeout(Duration::from_secs(5), http.get(url));
    probe.await.expect("the probe is answered").expect(200);
    began.elapsed()
}

async fn gateway(env: &Env, name: &str) -> Spawned {
    let gateway = Gateway {
        env,
        name,
        controller: &env.address("controller"),
    };
    gateway.start().await
}

#[tokio::test]
async fn thousands_of_long_heads_leave_the_gateway_small_and_its_probes_answered() {
    let env = Env::shared();
    let gateway = gateway(&env, "bounds-heads").await;
    let before = gateway.peak_memory();
    let mut head =
        b"GET /v1alpha1/namespaces/a/airlockrequests/r/files HTTP/1.1\r\nhost: x\r\n".to_vec();
    while head.len() < 128 * 1024 {
        head.extend_from_slice(format!("x-{}: {}\r\n", head.len(), "y".repeat(1000)).as_bytes());
    }
    let open = opens(address(&gateway.url), 4096, head).await;
    let took = lives(&format!("{}/livez", gateway.url)).await;
    let beside = gateway.metrics.replace("/metrics", "/livez");
    lives(&beside).await;
    let peak = gateway.peak_memory();
    println!(
        "{} connections with 128 KiB of head: peak {} MiB (before {}), probe {took:?}",
        open.len(),
        peak / MIB,
        before / MIB
    );
    assert!(peak < 256 * MIB, "{} MiB", peak / MIB);
    // 17 KiB are too much already, and less is not.
    for (size, status) in [(12 * 1024, "401"), (17 * 1024, "431")] {
        let mut stream = TcpStream::connect(address(&gateway.url)).await.unwrap();
        let head = format!(
            "GET /v1alpha1/namespaces/a/airlockrequests/r/files HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n",
            "y".repeat(size)
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert!(
            answer.ends_with(status.as_bytes()),
            "{size}: {:?}",
            String::from_utf8_lossy(&answer)
        );
    }
}

#[tokio::test]
async fn the_controllers_listener_is_bounded_and_takes_hints_from_gateways_alone() {
    let env = private().await;
    let controller = Controller {
        elect: false,
        ..Controller::new(&env, "bounds-hints")
    };
    let controller = controller.start().await;
    let before = controller.peak_memory();
    let to = address(&controller.url);
    let half = [
        b"POST /hint HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2000000\r\n\r\n".as_slice(),
        &vec![b' '; 1_000_000],
    ]
    .concat();
    let stopped = opens(to, 250, half).await;
    lives(&format!("{}/livez", controller.url)).await;
    let many = opens(to, 1500, b"GET /met".to_vec()).await;
    lives(&format!("{}/readyz", controller.url)).await;
    let peak = controller.peak_memory();
    println!(
        "{} and {} connections: peak {} MiB (before {})",
        stopped.len(),
        many.len(),
        peak / MIB,
        before / MIB
    );
    assert!(peak < before + 64 * MIB, "{} MiB", peak / MIB);
    drop((stopped, many));

    let http = Http::default();
    let url = format!("{}/hint", controller.url);
    let now = jiff::Timestamp::now();
    let hint = |gateway: &str| json!({"namespace": "project-a", "name": "r", "time": now, "gateway": gateway, "signature": "AAAA"});
    let json = [("content-type", "application/json")];
    for (body, status) in [
        // As it was before anybody signed.
        (
            json!({"namespace": "project-a", "name": "r"}).to_string(),
            400,
        ),
        (hint("nobody").to_string(), 403),
        (hint("../../urls/x").to_string(), 403),
        (format!("{}{}", hint("nobody"), " ".repeat(5000)), 413),
    ] {
        let answer = http.call(Method::POST, &url, &json, body.clone()).await;
        assert_eq!(answer.status, status, "{body:.200}");
    }
    http.get(&url).await.expect(405);
}

#[tokio::test]
async fn lists_that_nobody_reads_hold_the_share_of_who_asked_for_them() {
    let env = Env::shared();
    let project = Project::new(&env, "bounds").await;
    let (alice, dave) = (project.person("alice").await, project.person("dave").await);
    let request = alice
        .creates("lists", json!({"direction": "Egress", "title": "Lists"}))
        .await;
    request.reaches(Phase::Draft).await;
    let long = "n".repeat(200);
    let files: Vec<usize> = (0..400).collect();
    stream::iter(files)
        .map(|n| {
            let (alice, request, long) = (alice.clone(), request.clone(), long.clone());
            async move {
                let path = format!("{long}/{long}-{n}.csv");
                alice.uploads(&request, &path, b"1\n".to_vec()).await;
            }
        })
        .buffer_unordered(16)
        .collect::<Vec<()>>()
        .await;
    let gateway = gateway(&env, "bounds-lists").await;
    let mut alice_there = alice.clone();
    alice_there.gateway.clone_from(&gateway.url);
    let mut dave_there = dave.clone();
    dave_there.gateway.clone_from(&gateway.url);
    let whole = alice_there
        .gets(&request, "files")
        .await
        .expect(200)
        .body
        .len();
    let before = gateway.peak_memory();
    // Each asks for the list again and again in one connection, and reads nothing.
    let path = alice_there.url(&request.name, "files");
    let path = path.strip_prefix(&gateway.url).unwrap().to_owned();
    let ask = format!(
        "GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
        alice.token.as_ref().unwrap()
    );
    let open = opens(address(&gateway.url), 705, ask.repeat(8).into_bytes()).await;
    // Another user is served meanwhile.
    ready("dave gets the list", PATIENCE, || async {
        let answer = dave_there.gets(&request, "files").await;
        (answer.status == 200).then_some(())
    })
    .await;
    let peak = gateway.peak_memory();
    println!(
        "{} lists of {whole} bytes that nobody reads: peak {} MiB (before {})",
        open.len(),
        peak / MIB,
        before / MIB
    );
    // The budget is 64 MiB, and sockets and headers have theirs.
    assert!(peak < before + 128 * MIB, "{} MiB", peak / MIB);
}

#[tokio::test]
async fn a_round_takes_no_uploads_without_end() {
    let env = Env::shared();
    let project = Project::new(&env, "bounds").await;
    let alice = project.person("alice").await;
    let request = alice
        .creates("often", json!({"direction": "Egress", "title": "Often"}))
        .await;
    request.reaches(Phase::Draft).await;
    let mut taken = 0;
    let last = loop {
        let answer = alice
            .puts(&request, "t.csv", format!("{taken}\n").into_bytes())
            .await;
        if answer.status != 201 || taken > 300 {
            break answer;
        }
        taken += 1;
    };
    assert_eq!((taken, last.status.as_u16()), (200, 422), "{last:?}");
    assert_eq!(last.reason(), "TooManyVersions");
    let receipts = env
        .quarantine()
        .keys(&format!("{}receipts/", request.prefix()))
        .await;
    assert_eq!(receipts.len(), 200);
    // Another name is taken, and what is there can be dropped.
    alice.uploads(&request, "u.csv", b"1\n".to_vec()).await;
    alice.drops(&request, "t.csv").await.expect(204);
}

fn object<K: serde::de::DeserializeOwned>(kind: &str, name: &str, spec: Value) -> K {
    serde_json::from_value(json!({
        "apiVersion": "airlock.karectl.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec,
    }))
    .unwrap()
}

#[tokio::test]
async fn words_of_requests_and_reviews_are_bounded_in_all() {
    let env = Env::shared();
    let project = Project::new(&env, "bounds").await;
    let (alice, bob) = (project.person("alice").await, project.person("bob").await);
    let requests: Api<AirlockRequest> = alice.requests();
    let try_request = |text: usize, submission: i64| {
        let files: Vec<Value> = (0..500)
            .map(|n| json!({"path": format!("f{n}.csv"), "description": "\u{1f600}".repeat(text.min(500)),
                "justification": "\u{1f600}".repeat(text.saturating_sub(500))}))
            .collect();
        let spec = json!({"direction": "Egress", "title": "t", "submitter": "alice", "submission": submission, "files": files});
        let made = object("AirlockRequest", &unique("words"), spec);
        let requests = requests.clone();
        async move { requests.create(&PostParams::default(), &made).await }
    };
    for (text, fits) in [(280, true), (300, false), (750, false)] {
        let made = try_request(text, 1).await;
        assert_eq!(made.is_ok(), fits, "{text}: {:?}", made.err());
        if let Err(error) = made {
            assert!(error.to_string().contains("150,000 characters"), "{error}");
        }
    }
    // The largest that fits has room for its status.
    let largest = try_request(290, 0).await.unwrap();
    let name = largest.metadata.name.unwrap();
    let uid = largest.metadata.uid.unwrap();
    let largest = crate::harness::Request::new(&name, &uid, alice.kube.clone()).of(&alice.project);
    largest.reaches(Phase::Draft).await;

    let try_review = |findings: usize, text: usize| {
        let findings: Vec<Value> = (0..findings)
            .map(|n| json!({"path": format!("f{n}.csv"), "decision": "Reject", "comment": "\u{1f600}".repeat(text)}))
            .collect();
        let spec = json!({"requestName": "nothing", "manifestDigest": "0".repeat(64), "reviewer": "bob",
            "decision": "Reject", "findings": findings});
        let made: AirlockReview = object("AirlockReview", &unique("words"), spec);
        let reviews = bob.reviews();
        async move { reviews.create(&PostParams::default(), &made).await }
    };
    for (findings, text, fits) in [
        (200, 100, true),
        (23, 1000, true),
        (200, 1000, false),
        (25, 1000, false),
    ] {
        let made = try_review(findings, text).await;
        assert_eq!(made.is_ok(), fits, "{findings} of {text}: {:?}", made.err());
    }
}

#[tokio::test]
async fn labels_and_field_managers_of_an_object_are_bounded_so_that_its_status_has_room() {
    let env = Env::shared();
    let project = Project::new(&env, "bounds").await;
    let alice = project.person("alice").await;
    let requests: Api<AirlockRequest> = alice.requests();
    let labelled = |count: usize| {
        let labels: std::collections::BTreeMap<String, String> = (0..count)
            .map(|n| (format!("l{n}"), "x".repeat(63)))
            .collect();
        let mut made: AirlockRequest = object(
            "AirlockRequest",
            &unique("labels"),
            json!({"direction": "Egress", "title": "t", "submitter": "alice"}),
        );
        made.metadata.labels = Some(labels);
        let requests = requests.clone();
        async move { requests.create(&PostParams::default(), &made).await }
    };
    let made = labelled(100).await.unwrap();
    let refused = labelled(101).await.unwrap_err().to_string();
    assert!(refused.contains("at most 100 labels"), "{refused}");

    let name = made.metadata.name.unwrap();
    let mut taken = 0;
    let refused = loop {
        let patch = json!({
            "apiVersion": "airlock.karectl.io/v1alpha1", "kind": "AirlockRequest", "metadata": {"name": name},
            "spec": {"direction": "Egress", "title": "t", "submitter": "alice"},
        });
        let manager = PatchParams::apply(&format!("manager-{taken}")).force();
        match requests.patch(&name, &manager, &Patch::Apply(patch)).await {
            Ok(_) if taken < 100 => taken += 1,
            Ok(_) => panic!("{taken} managers"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(refused.contains("at most 64 field managers"), "{refused}");
    assert!((50..64).contains(&taken), "{taken}");
    // Those that are there go on.
    let patch = json!({
        "apiVersion": "airlock.karectl.io/v1alpha1", "kind": "AirlockRequest", "metadata": {"name": name},
        "spec": {"direction": "Egress", "title": "u", "submitter": "alice"},
    });
    let as_before = PatchParams::apply("manager-0").force();
    requests
        .patch(&name, &as_before, &Patch::Apply(patch))
        .await
        .unwrap();
    // And the operator lets it go.
    let api = requests.clone();
    alice
        .requests()
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
    ready("it is gone", PATIENCE, || async {
        api.get_opt(&name).await.unwrap().is_none().then_some(())
    })
    .await;
}
