//! Uploads that break, and are tried again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use http::HeaderMap;

use super::server::{Fault, Server};
use super::{QUICK, noise};
use crate::transfer::plan::{PlanFile, PlanPart};
use crate::transfer::send::{Sender, Unsent, check_all};
use crate::transfer::{Progress, Web};

/// A file of the plan, with its parts.
fn planned(server: &Server, path: &str, size: usize, part: usize) -> PlanFile {
    let starts: Vec<usize> = if size == 0 {
        vec![0]
    } else {
        (0..size).step_by(part).collect()
    };
    let parts = starts.iter().zip(1..).map(|(start, number)| PlanPart {
        number,
        offset: *start as u64,
        size: part.min(size - start) as u64,
        url: server.url(&format!("{path}/{number}")),
        headers: HeaderMap::from_iter([(
            http::HeaderName::from_static("x-amz-checksum-sha256"),
            http::HeaderValue::from_static("signed"),
        )]),
    });
    PlanFile {
        path: path.to_owned(),
        size: size as u64,
        sha256: None,
        parts: parts.collect(),
        expires: None,
    }
}

fn sender(parallel: usize) -> Sender {
    Sender {
        web: Web::new(None).unwrap(),
        patience: QUICK,
        parallel,
        progress: Progress::new("sending", 0),
    }
}

/// Sends files that are put into a folder first.
async fn send(sender: &Sender, files: &[(PlanFile, Vec<u8>)]) -> Vec<Unsent> {
    let folder = tempfile::tempdir().unwrap();
    let mut found: BTreeMap<&str, PathBuf> = BTreeMap::new();
    for (number, (file, bytes)) in files.iter().enumerate() {
        let path = folder.path().join(number.to_string());
        std::fs::write(&path, bytes).unwrap();
        found.insert(&file.path, path);
    }
    let checked = check_all(files.iter().map(|(file, _)| file), &found).unwrap();
    sender.send(&checked).await
}

#[tokio::test]
async fn every_part_arrives_with_the_given_fields_and_no_others() {
    let server = Server::with(Vec::new()).await;
    let bytes = noise(2_500_000);
    let files = [
        (planned(&server, "a", bytes.len(), 1 << 20), bytes.clone()),
        (planned(&server, "empty", 0, 1), Vec::new()),
    ];
    let unsent = send(&sender(4), &files).await;
    assert!(unsent.is_empty(), "{unsent:?}");
    let stored: Vec<u8> = (1..=3)
        .flat_map(|n| server.stored(&format!("a/{n}")).unwrap())
        .collect();
    assert!(stored == bytes);
    assert_eq!(server.stored("empty/1").unwrap(), b"");
    for fields in server.seen() {
        let mut names: Vec<&str> = fields.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-length", "host", "x-amz-checksum-sha256"]);
    }
}

#[tokio::test]
async fn parts_go_in_parallel_within_the_bound() {
    let server = Server::with(Vec::new()).await;
    let bytes = noise(20 << 20);
    let files = [(planned(&server, "a", bytes.len(), 1 << 20), bytes)];
    assert!(send(&sender(3), &files).await.is_empty());
    assert!((2..=3).contains(&server.most()), "{}", server.most());
}

#[tokio::test]
async fn a_part_that_breaks_is_sent_again() {
    let server = Server::with(Vec::new()).await;
    let bytes = noise(4 << 20);
    let files = [(planned(&server, "a", bytes.len(), 4 << 20), bytes.clone())];
    server.fails([
        Fault::Cut(1 << 20),
        Fault::Status(503, "SlowDown"),
        Fault::Status(400, "RequestTimeout"),
    ]);
    let sender = sender(2);
    let unsent = send(&sender, &files).await;
    assert!(unsent.is_empty(), "{unsent:?}");
    assert!(server.stored("a/1").unwrap() == bytes);
    assert!(
        sender.progress.summary().starts_with("4.0 MiB"),
        "{}",
        sender.progress.summary()
    );
}

#[tokio::test]
async fn a_part_that_is_refused_stops_its_file_alone() {
    let server = Server::with(Vec::new()).await;
    let bytes = noise(100);
    let files = [
        (planned(&server, "refused", 100, 10), bytes.clone()),
        (planned(&server, "fine", 100, 100), bytes),
    ];
    server.fails([Fault::Status(403, "AccessDenied")]);
    let unsent = send(&sender(1), &files).await;
    let text = format!("{} {unsent:?}", unsent[0]);
    assert_eq!(unsent.len(), 1);
    assert!(
        text.contains("'refused', part 1") && text.contains("get a new plan"),
        "{text}"
    );
    assert!(!text.contains("geheim"), "{text}");
    assert!(server.stored("fine/1").is_some());
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_file_that_changes_after_it_was_checked_is_not_sent() {
    let server = Server::with(Vec::new()).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    std::fs::write(&path, noise(100)).unwrap();
    let file = planned(&server, "a", 100, 100);
    let found = BTreeMap::from([("a", path.clone())]);
    let checked = check_all([&file], &found).unwrap();
    std::fs::write(&path, noise(101)).unwrap();
    let unsent = sender(1).send(&checked).await;
    assert!(unsent[0].to_string().contains("changed"), "{}", unsent[0]);
    assert!(server.seen().is_empty());
}
