//! Who read what is recorded before the first byte, and an approval that must be a
//! reader's counts when everything was read.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use trevor_api::{AirlockRequestStatus, Phase, ReviewState};

use crate::harness::{Env, PATIENCE, Person, Project, Request, noise, ready};

async fn in_review(alice: &Person, files: &[(&str, Vec<u8>)]) -> Request {
    let spec = json!({"direction": "Egress", "title": "Views"});
    let request = alice.creates("views", spec).await;
    for (path, bytes) in files {
        alice.uploads(&request, path, bytes.clone()).await;
    }
    alice.submits(&request, 1).await;
    request.reaches(Phase::InReview).await;
    request
}

/// Facts about views, by the last part of their names: `opened`, `viewed`.
async fn views(env: &Env, request: &Request, what: &str) -> Vec<Value> {
    let inside = env.quarantine();
    let mut found = Vec::new();
    for key in inside
        .keys(&format!("{}rounds/1/views/", request.prefix()))
        .await
    {
        if key.ends_with(&format!(".{what}.json")) {
            found.push(inside.json(&key).await);
        }
    }
    found
}

async fn asks(person: &Person, request: &Request, method: Method, range: Option<&str>) -> u16 {
    let url = person.file_url(&request.name, "content", "a.csv");
    let headers: Vec<(&str, &str)> = range.map(|r| ("range", r)).into_iter().collect();
    let answer = person.calls(method, &url, &headers, Bytes::new()).await;
    answer.status.as_u16()
}

/// Whether a status shows how many files somebody has read whole.
fn shows(who: &str, viewed: i64, counted: bool) -> impl Fn(&AirlockRequestStatus) -> bool + use<> {
    let who = who.to_owned();
    move |status| {
        status
            .reviews
            .iter()
            .any(|r| r.reviewer == who && (r.viewed, r.files, r.counted) == (viewed, 2, counted))
    }
}

#[tokio::test]
async fn an_approval_counts_by_itself_once_its_reviewer_has_read_every_file() {
    let env = Env::shared();
    let project = Project::new(&env, "views").await;
    project.policy(json!({"requireViewed": "All"})).await;
    let (alice, bob, carol) = tokio::join!(
        project.person("alice"),
        project.person("bob"),
        project.person("carol")
    );
    let files = [("a.csv", b"1,2\n".to_vec()), ("b/c.bin", noise(3 << 20, 1))];
    let request = in_review(&alice, &files).await;
    let early = bob.approves(&request).await;
    let word = request
        .word_on(&early, |s| s.state == Some(ReviewState::NotCounted))
        .await;
    assert_eq!(word.reason.as_deref(), Some("NotViewed"));

    // Neither a look at the head nor at a part is reading.
    assert_eq!(asks(&bob, &request, Method::HEAD, None).await, 200);
    assert_eq!(
        asks(&bob, &request, Method::GET, Some("bytes=0-1")).await,
        206
    );
    bob.reads(&request, "b/c.bin").await.expect(200);
    request
        .until("1 of 2", PATIENCE, shows("bob", 1, false))
        .await;
    bob.reads(&request, "a.csv").await.expect(200);
    request
        .until("2 of 2", PATIENCE, shows("bob", 2, true))
        .await;
    let word = request
        .word_on(&early, |s| s.state == Some(ReviewState::Counted))
        .await;
    assert_eq!(word.reason, None);

    // Both at the same moment: the hint after the second is not lost.
    carol.approves(&request).await;
    tokio::join!(
        carol.reads(&request, "a.csv"),
        carol.reads(&request, "b/c.bin")
    );
    request.reaches(Phase::Released).await;
    let viewed: Vec<(String, Option<i64>)> = request
        .record()
        .await
        .spec
        .approvals
        .into_iter()
        .map(|a| (a.reviewer, a.viewed))
        .collect();
    let both = [("bob".to_owned(), Some(2)), ("carol".to_owned(), Some(2))];
    assert_eq!(viewed, both);
    project.policy_goes().await;
}

#[tokio::test]
async fn reading_is_recorded_before_the_first_byte_and_as_whole_after_the_last() {
    let env = Env::shared();
    let (alice, bob) = (env.person("alice").await, env.person("bob").await);
    // More than the buffers of all sockets on the way.
    let bytes = noise(48 << 20, 5);
    let request = in_review(&alice, &[("a.bin", bytes.clone())]).await;
    let url = bob.file_url(&request.name, "content", "a.bin");
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    let head = format!(
        "GET /{path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {}\r\nconnection: close\r\n\r\n",
        bob.token.as_ref().unwrap()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let opened = views(&env, &request, "opened").await;
    assert_eq!(opened.len(), 1, "it is there when the first byte comes");
    assert_eq!(
        (
            &opened[0]["reader"],
            &opened[0]["path"],
            &opened[0]["version"]
        ),
        (&json!("bob"), &json!("a.bin"), &json!("00000001"))
    );
    assert!(views(&env, &request, "viewed").await.is_empty());
    let mut taken = Vec::new();
    stream.read_to_end(&mut taken).await.unwrap();
    assert!(taken.ends_with(&bytes[bytes.len() - 1000..]));
    ready("it counts as viewed", PATIENCE, || async {
        (views(&env, &request, "viewed").await.len() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_reader_and_file_version_is_recorded_once_however_it_is_read() {
    let env = Env::shared();
    let (alice, bob, carol) = (
        env.person("alice").await,
        env.person("bob").await,
        env.person("carol").await,
    );
    let request = in_review(&alice, &[("a.csv", b"1,2\n".repeat(1000))]).await;
    for (range, status) in [("bytes=9999-", 416), ("bytes=4000-5000", 416)] {
        assert_eq!(
            asks(&bob, &request, Method::GET, Some(range)).await,
            status,
            "{range}"
        );
    }
    assert_eq!(asks(&bob, &request, Method::HEAD, None).await, 200);
    assert!(
        views(&env, &request, "opened").await.is_empty(),
        "no byte was sent"
    );
    for range in ["bytes=0-0", "bytes=-10", "bytes=100-3998"] {
        assert_eq!(
            asks(&bob, &request, Method::GET, Some(range)).await,
            206,
            "{range}"
        );
    }
    assert_eq!(views(&env, &request, "opened").await.len(), 1);
    // All parts together are no whole that was hashed on its way: what is recorded
    // after them is not theirs.
    carol.reads(&request, "a.csv").await.expect(200);
    let first = ready("somebody has read it", PATIENCE, || async {
        let viewed = views(&env, &request, "viewed").await;
        viewed.first().cloned()
    })
    .await;
    assert_eq!(first["reader"], "carol");
    let reads = (0..20).map(|n| {
        let reader = if n % 2 == 0 { &bob } else { &carol };
        reader.reads(&request, "a.csv")
    });
    for answer in futures::future::join_all(reads).await {
        assert_eq!(answer.expect(200).body.len(), 4000);
    }
    for what in ["opened", "viewed"] {
        ready(format!("both have {what} it"), PATIENCE, || async {
            let mut readers: Vec<String> = views(&env, &request, what)
                .await
                .iter()
                .map(|v| v["reader"].as_str().unwrap().to_owned())
                .collect();
            readers.sort();
            assert!(readers.len() <= 2, "{readers:?}");
            (readers == ["bob", "carol"]).then_some(())
        })
        .await;
    }
}
