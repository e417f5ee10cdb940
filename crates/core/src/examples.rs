//! Facts for tests, each as small as it may be.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "for tests alone"
)]

use serde_json::{Value, json};

use super::commit::{Decision, Freeze, Outcome};
use super::digest::Sha256Hex;
use super::frozen::FrozenRound;
use super::manifest::{Frozen, Manifest};
use super::phase::Round;
use super::quorum::ReviewFact;
use super::receipt::Receipt;

const TIME: &str = "1970-01-01T00:00:00Z";

pub fn file(path: &str, bytes: &str) -> Value {
    json!({"path": path, "size": bytes.len(), "sha256": Sha256Hex::of(bytes.as_bytes()),
        "crc32": "00000000", "mediaType": "text/csv", "version": "1", "key": "k"})
}

pub fn manifest(round: i64, files: &[Value]) -> Value {
    json!({"namespace": "a", "name": "r", "uid": "u", "round": round, "direction": "Egress",
        "submitter": "alice", "policy": policy(), "title": "t", "files": files})
}

pub fn freeze(round: i64, files: &[Value]) -> FrozenRound {
    let manifest = serde_json::from_value(manifest(round, files)).unwrap();
    FrozenRound::of(Freeze::Manifest(std::sync::Arc::new(manifest))).unwrap()
}

/// The same manifest with something changed.
pub fn changed(freeze: &FrozenRound, change: impl FnOnce(&mut Manifest)) -> FrozenRound {
    let mut manifest = freeze.manifest().unwrap().clone();
    change(&mut manifest);
    FrozenRound::of(Freeze::Manifest(std::sync::Arc::new(manifest))).unwrap()
}

pub fn refusal(round: i64, reason: &str) -> FrozenRound {
    let refusal = json!({"round": round, "reason": reason, "message": "", "listing": []});
    FrozenRound::of(Freeze::Refusal(serde_json::from_value(refusal).unwrap())).unwrap()
}

pub fn frozen(round: i64) -> Frozen {
    freeze(round, &[file("a.csv", "x"), file("b.csv", "yz")])
        .frozen()
        .unwrap()
}

pub fn receipt(path: &str, bytes: Option<&str>) -> Receipt {
    let content = bytes.map(|bytes| {
        json!({"key": "k", "size": bytes.len(), "crc32": "00000000",
            "sha256": Sha256Hex::of(bytes.as_bytes()), "mediaType": "text/csv"})
    });
    let receipt = json!({"path": path, "version": "1", "round": 1, "by": "alice", "time": TIME,
        "content": content});
    serde_json::from_value(receipt).unwrap()
}

pub fn review(reviewer: &str, decision: &str, of: &Frozen) -> ReviewFact {
    let review = json!({"name": reviewer, "uid": format!("{reviewer}-{decision}"), "reviewer": reviewer,
        "decision": decision, "manifestDigest": of.digest, "time": TIME, "viewed": 0, "epoch": 1});
    serde_json::from_value(review).unwrap()
}

/// A decision on a frozen round, by one reviewer of each name.
pub fn decision(verdict: &str, of: &Frozen, reviews: &[ReviewFact]) -> Decision {
    let terms = json!({"license": "", "publisher": {"name": ""}, "namesReviewers": false, "urlTtlSeconds": 60,
        "quarantineRetentionSeconds": 60, "releaseRetentionSeconds": 60});
    let decision = json!({"round": of.manifest.round, "verdict": verdict, "manifestDigest": of.digest,
        "policy": policy(), "quorum": {"required": 1}, "reviews": reviews, "terms": terms, "time": TIME});
    serde_json::from_value(decision).unwrap()
}

pub fn outcome(kind: &str, round: i64, reviews: &[ReviewFact]) -> Outcome {
    let outcome = json!({"round": round, "kind": kind, "reviews": reviews, "time": TIME});
    serde_json::from_value(outcome).unwrap()
}

pub fn sealed(round: i64, because: &Value) -> Round {
    let rules = super::policy::Rules::of(trevor_api::Direction::Egress, None);
    let seal = json!({"round": round, "policy": policy(), "rules": rules, "because": because, "time": TIME});
    Round {
        round,
        seal: Some(serde_json::from_value(seal).unwrap()),
        ..Round::default()
    }
}

fn policy() -> Value {
    json!({"name": "p", "digest": Sha256Hex::of(b"p")})
}
