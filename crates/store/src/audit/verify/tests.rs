//! A ledger as the operator writes it, changed in every way that somebody could.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::SignedDuration;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde::Serialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Finding, Kind, Packages, Question, Source, Summary, verify};
use crate::audit::checkpoint::{self, Checkpoint, Mark};
use crate::audit::dsse;
use crate::audit::statement::Statement;
use crate::audit::{Head, KeyChange, SigningKey, entry_name};
use trevor_core::commit::{Closed, Decision, Outcome, Owner};
use trevor_core::digest::Sha256Hex;
use trevor_core::event::Entry;
use trevor_core::event::Event;
use trevor_core::format::{Fact as _, Kept};
use trevor_core::frozen::FrozenRound;
use trevor_core::keys::RequestKey;
use trevor_core::ledger;
use trevor_core::phase::{Facts, Round};
use trevor_core::policy::Rules;
use trevor_core::{canonical, examples, receipt};

const TIME: &str = "1970-01-01T00:00:00Z";
const LATER: &str = "1971-01-01T00:00:00Z";

/// A copy of a bucket, made as the operator makes one.
struct Made {
    dir: TempDir,
    random: StdRng,
    keys: Vec<SigningKey>,
    last: Head,
    heads: BTreeMap<String, Head>,
    /// It has the quarantine and the release bucket, too.
    whole: bool,
    /// What checkpoints say that the time is.
    time: &'static str,
    /// What of a manifest is another.
    change: fn(&mut Value),
}

impl Made {
    fn new(seed: u64, requests: usize) -> Self {
        Self::with(seed, requests, (LATER, |_| ()))
    }

    /// Checkpoints are signed since a time before what the requests say.
    fn signed(seed: u64, requests: usize, since: &'static str) -> Self {
        Self::with(seed, requests, (since, |_| ()))
    }

    /// A later version froze its manifest.
    fn later(seed: u64, change: fn(&mut Value)) -> Self {
        Self::with(seed, 1, (LATER, change))
    }

    fn with(seed: u64, requests: usize, (time, change): (&'static str, fn(&mut Value))) -> Self {
        let mut made = Self {
            dir: tempfile::tempdir().unwrap(),
            random: StdRng::seed_from_u64(seed),
            keys: vec![SigningKey::from_seed([1; 32])],
            last: checkpoint::start(),
            heads: BTreeMap::new(),
            whole: true,
            time,
            change,
        };
        made.put(
            "audit/epochs/00000000000000000001.json",
            &json!({"sequence": 1, "rules": Sha256Hex::of(b"r"), "objects": {}, "time": "1969-01-01T00:00:00Z"}),
        );
        made.gateway("gateway-0a");
        for n in 0..requests {
            let namespace = ["a", "a-b"][n % 2];
            made.request(&RequestKey {
                namespace: namespace.into(),
                uid: format!("{n:04}-uid"),
            });
            if made.random.random_bool(0.4) {
                made.checkpoint();
            }
        }
        made.gateway("gateway-1b");
        made.checkpoint();
        made
    }

    fn path(&self, key: &str) -> PathBuf {
        self.dir.path().join(key)
    }

    fn put_bytes(&self, key: &str, bytes: &[u8]) {
        let path = self.path(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn put(&self, key: &str, value: &impl Serialize) {
        self.put_bytes(key, &canonical::to_vec(value).unwrap());
    }

    fn chain(&mut self, prefix: &str, events: Vec<Event>) {
        let mut last = checkpoint::start();
        let mut events = events.as_slice();
        while !events.is_empty() {
            let some = self.random.random_range(1..=events.len().min(3));
            let entry = Entry {
                sequence: last.sequence + 1,
                previous: last.hash,
                events: events[..some].to_vec(),
            };
            let bytes = canonical::to_vec(&entry).unwrap();
            self.put_bytes(&format!("{prefix}{}", entry_name(entry.sequence)), &bytes);
            last = Head {
                sequence: entry.sequence,
                hash: Sha256Hex::of(&bytes),
            };
            events = &events[some..];
        }
        self.heads.insert(prefix.to_owned(), last);
    }

    fn gateway(&mut self, instance: &str) {
        let event = |n: usize| Event {
            id: format!("{n}"),
            kind: "ContentOpened".into(),
            actor: Some("bob".into()),
            namespace: "a".into(),
            uid: "u".into(),
            before: None,
            after: None,
            detail: serde_json::Map::new(),
            time: TIME.parse().unwrap(),
        };
        let events = (0..self.random.random_range(3..12)).map(event).collect();
        self.chain(&format!("audit/gateway/{instance}/"), events);
    }

    /// A request that was released, with all that is stored of it.
    fn request(&mut self, key: &RequestKey) {
        let mut receipts: Vec<_> = [("a.csv", "x"), ("b.csv", "yz")]
            .map(|(path, bytes)| examples::receipt(path, Some(bytes)))
            .into();
        for receipt in &mut receipts {
            receipt.content.as_mut().unwrap().key = key.file(&receipt.path);
            self.put(&key.receipt(&receipt.path, &receipt.version), receipt);
        }
        let mut files = [examples::file("a.csv", "x"), examples::file("b.csv", "yz")];
        for file in &mut files {
            let at = key.file(file["path"].as_str().unwrap());
            self.put_bytes(&at, b"bytes");
            file["key"] = json!(at);
        }
        let mut round: Round = examples::sealed(1, &json!("Complete"));
        let seal = round.seal.as_mut().unwrap();
        let mut rules = Rules::clone(&seal.rules);
        rules.required_approvals = 1;
        seal.rules = Kept::of(rules);
        seal.policy.digest = seal.rules.digest();
        let mut manifest = examples::manifest(1, &files);
        manifest["policy"] = json!(seal.policy);
        manifest["uploads"] = json!(receipt::uploads(&receipts, 1));
        manifest["kind"] = json!("Manifest");
        (self.change)(&mut manifest);
        let bytes = canonical::to_vec(&manifest).unwrap();
        let freeze = FrozenRound::parse(&bytes.into()).unwrap();
        let frozen = freeze.frozen().unwrap();
        let reviews = [examples::review("bob", "Approve", &frozen)];
        let mut decision: Decision = examples::decision("Approved", &frozen, &reviews);
        decision.policy = frozen.manifest.policy.clone();
        let package = json!({"bucket": "rel", "key": format!("releases/{}/{}/n/p.zip", key.namespace, key.uid),
            "sha256": Sha256Hex::of(b"zip"), "size": 3, "files": 2, "attempt": 1});
        let outcome: Outcome = serde_json::from_value(
            json!({"round": 1, "kind": "Released", "package": package, "time": TIME}),
        )
        .unwrap();
        let owner: Owner = serde_json::from_value(
            json!({"cluster": "c", "namespace": key.namespace, "name": "r",
            "uid": key.uid, "direction": "Egress", "submitter": "alice", "created": TIME}),
        )
        .unwrap();
        let closed: Closed =
            serde_json::from_value(json!({"closedAs": "Released", "round": 1, "time": TIME,
            "quarantineDue": LATER, "releaseDue": LATER, "policy": decision.policy}))
            .unwrap();
        self.put(&key.owner(), &owner);
        self.put(&key.seal(1), round.seal.as_ref().unwrap());
        self.put_bytes(&key.manifest(1), freeze.bytes());
        self.put(&key.decision(1), &decision);
        self.put(&key.outcome(1), &outcome);
        self.put(&key.closed(), &closed);
        self.put(
            &key.record(),
            &json!({"requestRef": {"name": "r", "uid": key.uid}, "direction": "Egress", "type": "Package",
                "package": {"bucket": "rel", "key": package["key"], "sha256": package["sha256"], "size": 3, "files": 2},
                "manifestDigest": frozen.digest, "round": 1, "policy": decision.policy,
                "approvals": [{"reviewer": "bob", "reviewName": "bob", "viewed": 0, "time": TIME}],
                "releasedTime": TIME, "deleteAfterTime": LATER}),
        );
        self.put_bytes(package["key"].as_str().unwrap(), b"zip");
        let fact = outcome.package.clone().unwrap();
        let said = Statement::of(&key.namespace, &key.uid, &decision, &fact, outcome.time).unwrap();
        let envelope = dsse::sign(
            &canonical::to_vec(&said).unwrap(),
            self.keys.last().unwrap(),
        );
        self.put(&key.statement(), &envelope);
        round.freeze = Some(freeze);
        round.decision = Some(decision);
        round.outcome = Some(outcome);
        let facts = Facts {
            owner: Some(owner),
            last: Some(round),
            closed: Some(closed),
            ..Facts::default()
        };
        self.chain(&key.ledger(), ledger::in_order(ledger::events(key, &facts)));
    }

    fn checkpoint(&mut self) {
        let before = self.last.sequence;
        let heads = std::mem::take(&mut self.heads);
        let key = self.keys.last().unwrap();
        let older = self.keys.iter().rev().nth(1).filter(|_| before > 0);
        let named = |sequence| -> Value {
            serde_json::from_slice(&std::fs::read(self.path(&checkpoint::key(sequence))).unwrap())
                .unwrap()
        };
        let older = older.filter(|_| named(before)["key"] != json!(key.public().vkey()));
        let made = Checkpoint {
            sequence: before + 1,
            previous: self.last.hash.clone(),
            heads,
            complete: TIME.parse().unwrap(),
            time: self.time.parse().unwrap(),
            key: key.public().vkey(),
            key_change: older.map(|older| KeyChange::to(older.public(), key)),
        };
        let bytes = checkpoint::bytes(&made).unwrap();
        let mark = Mark {
            sequence: made.sequence,
            hash: Sha256Hex::of(&bytes),
        };
        self.put_bytes(&checkpoint::key(made.sequence), &bytes);
        self.put_bytes(
            &checkpoint::note_key(made.sequence),
            mark.sign(key).as_bytes(),
        );
        self.last = Head {
            sequence: mark.sequence,
            hash: mark.hash,
        };
    }

    fn note(&self, sequence: i64) -> (String, String) {
        let path = self.path(&checkpoint::note_key(sequence));
        (
            "kept.note".to_owned(),
            std::fs::read_to_string(path).unwrap(),
        )
    }

    async fn asked(
        &self,
        keys: &[&SigningKey],
        notes: &[(String, String)],
        now: &str,
    ) -> (Vec<Finding>, Summary) {
        let question = Question {
            keys: keys.iter().map(|key| key.public().clone()).collect(),
            checkpoints: notes.to_vec(),
            now: now.parse().unwrap(),
            grace: SignedDuration::from_hours(24),
            quarantine: self
                .whole
                .then(|| Source::Folder(self.dir.path().to_owned())),
            release: self
                .whole
                .then(|| Packages::Folder(self.dir.path().to_owned())),
        };
        let mut found = Vec::new();
        let source = Source::Folder(self.dir.path().to_owned());
        let summary = verify(&source, &question, &mut |f| found.push(f), &mut |_| ())
            .await
            .unwrap();
        (found, summary)
    }

    async fn found(&self, notes: &[(String, String)]) -> Vec<Finding> {
        self.asked(&[&self.keys[0]], notes, LATER).await.0
    }

    async fn kinds(&self) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = self.found(&[]).await.into_iter().map(|f| f.kind).collect();
        kinds.dedup();
        kinds
    }

    /// Keys of the ledger.
    fn ledger(&self) -> Vec<String> {
        let mut keys = Vec::new();
        let mut folders = vec![self.path("audit")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let key = path.strip_prefix(self.dir.path()).unwrap();
                    keys.push(key.to_str().unwrap().to_owned());
                }
            }
        }
        // An epoch is no link of a chain; the decisions that rest on it are looked at.
        keys.retain(|key| !key.starts_with("audit/epochs/"));
        keys.sort();
        keys
    }
}

fn first() -> RequestKey {
    RequestKey {
        namespace: "a".into(),
        uid: "0000-uid".into(),
    }
}

#[tokio::test]
async fn a_hundred_clean_ledgers_have_no_finding() {
    for seed in 0..100 {
        let made = Made::new(seed, 1 + usize::try_from(seed).unwrap() % 5);
        let last = made.note(made.last.sequence);
        let (found, summary) = made.asked(&[&made.keys[0]], &[last], LATER).await;
        assert_eq!(found, [], "seed {seed}");
        assert_eq!(summary.not_yet_covered, 0);
        assert!(summary.entries > 0 && summary.packages > 0 && summary.requests > 0);
    }
}

#[tokio::test]
async fn each_of_a_thousand_edits_drops_reorders_and_truncations_is_found() {
    let mut made = Made::new(4711, 8);
    let kept = made.note(made.last.sequence);
    let unseen = checkpoint::note_key(made.last.sequence);
    let keys: Vec<String> = made.ledger().into_iter().filter(|k| *k != unseen).collect();
    for n in 0..1000 {
        let key = keys[made.random.random_range(0..keys.len())].clone();
        let mut before: Vec<(String, Vec<u8>)> =
            vec![(key.clone(), std::fs::read(made.path(&key)).unwrap())];
        let what = match n % 4 {
            0 => {
                let mut bytes = before[0].1.clone();
                let at = made.random.random_range(0..bytes.len());
                bytes[at] ^= 1 << made.random.random_range(0..8);
                made.put_bytes(&key, &bytes);
                format!("byte {at} of {key} was changed")
            }
            1 => {
                std::fs::remove_file(made.path(&key)).unwrap();
                format!("{key} was dropped")
            }
            2 => {
                let other = loop {
                    let other = &keys[made.random.random_range(0..keys.len())];
                    if std::fs::read(made.path(other)).unwrap() != before[0].1 {
                        break other.clone();
                    }
                };
                let bytes = std::fs::read(made.path(&other)).unwrap();
                made.put_bytes(&key, &bytes);
                made.put_bytes(&other, &before[0].1);
                before.push((other.clone(), bytes));
                format!("{key} and {other} were exchanged")
            }
            _ => {
                let folder = &key[..=key.rfind('/').unwrap()];
                before.clear();
                for behind in keys.iter().filter(|k| k.starts_with(folder) && **k >= key) {
                    before.push((behind.clone(), std::fs::read(made.path(behind)).unwrap()));
                    std::fs::remove_file(made.path(behind)).unwrap();
                }
                format!("{folder} was cut before {key}")
            }
        };
        let found = made.found(std::slice::from_ref(&kept)).await;
        assert!(!found.is_empty(), "change {n}: {what}");
        for (key, bytes) in &before {
            made.put_bytes(key, bytes);
        }
    }
    assert_eq!(made.found(&[kept]).await, [], "all is as it was");
    std::fs::remove_file(made.path(&unseen)).unwrap();
    let (found, summary) = made.asked(&[&made.keys[0]], &[], LATER).await;
    assert!(found.is_empty() && summary.last_not_signed, "{found:?}");
}

#[tokio::test]
async fn a_ledger_rewritten_with_the_real_key_is_found_by_any_checkpoint_kept_elsewhere() {
    let old = Made::new(1, 4);
    let rewritten = Made::new(2, 4);
    for sequence in 1..=old.last.sequence.min(rewritten.last.sequence) {
        let found = rewritten.found(&[old.note(sequence)]).await;
        assert!(found.iter().any(|f| f.kind == Kind::Rewritten), "{found:?}");
    }
    assert_eq!(rewritten.found(&[]).await, []);
    let two = [old.note(1), rewritten.note(1)];
    let found = rewritten.found(&two).await;
    assert!(found.iter().any(|f| f.kind == Kind::Fork), "{found:?}");
}

#[tokio::test]
async fn trust_goes_from_the_old_key_to_the_new_and_back_and_never_to_a_strange_one() {
    let mut made = Made::new(3, 2);
    let next = SigningKey::from_seed([2; 32]).after(&made.keys[0]);
    made.keys.push(next);
    made.request(&RequestKey {
        namespace: "a".into(),
        uid: "9000-uid".into(),
    });
    made.checkpoint();
    made.gateway("gateway-2c");
    made.checkpoint();
    for key in &made.keys {
        assert_eq!(made.asked(&[key], &[], LATER).await.0, []);
    }
    let strange = SigningKey::from_seed([3; 32]);
    let (found, _) = made.asked(&[&strange], &[], LATER).await;
    assert!(found.iter().all(|f| f.kind == Kind::KeyNotTrusted));
    assert!(i64::try_from(found.len()).unwrap() >= made.last.sequence);
    // One that took over without the word of the key before: both must be known.
    made.keys.push(strange);
    made.gateway("gateway-3d");
    made.checkpoint();
    let (found, _) = made.asked(&[&made.keys[0]], &[], LATER).await;
    assert_eq!(found.len(), 1, "{found:?}");
    let both = [&made.keys[0], &made.keys[2]];
    assert_eq!(made.asked(&both, &[], LATER).await.0, []);
}

#[tokio::test]
async fn what_is_stored_of_a_request_must_be_what_its_ledger_says() {
    let key = first();
    let edit = |at: String, change: fn(&mut Value)| async move {
        let made = Made::new(5, 1);
        let mut value: Value =
            serde_json::from_slice(&std::fs::read(made.path(&at)).unwrap()).unwrap();
        change(&mut value);
        made.put(&at, &value);
        made.kinds().await
    };
    let gone = |at: String| async move {
        let made = Made::new(5, 1);
        std::fs::remove_file(made.path(&at)).unwrap();
        made.kinds().await
    };
    let has =
        |found: &[Kind], kind: Kind| assert!(found.contains(&kind), "{kind:?} is not in {found:?}");
    has(&gone(key.decision(1).into()).await, Kind::DecisionMissing);
    has(&gone(key.outcome(1).into()).await, Kind::DecisionMissing);
    has(
        &gone(key.receipt("a.csv", "1").into()).await,
        Kind::ReceiptMissing,
    );
    has(
        &gone("audit/epochs/00000000000000000001.json".into()).await,
        Kind::DecisionUnfounded,
    );
    has(
        &edit(key.decision(1).into(), |v| v["reviews"] = json!([])).await,
        Kind::DecisionUnfounded,
    );
    has(
        &edit(key.decision(1).into(), |v| {
            v["reviews"][0]["reviewer"] = json!("carol")
        })
        .await,
        Kind::LedgerDiffers,
    );
    has(
        &edit(key.decision(1).into(), |v| {
            v["reviews"][0]["reviewer"] = json!("carol")
        })
        .await,
        Kind::ReviewMissing,
    );
    has(
        &edit(key.decision(1).into(), |v| {
            v["policy"]["name"] = json!("other")
        })
        .await,
        Kind::LedgerDiffers,
    );
    has(
        &edit(key.manifest(1).into(), |v| v["title"] = json!("other")).await,
        Kind::ManifestChanged,
    );
    has(
        &edit(key.receipt("a.csv", "1").into(), |v| {
            v["by"] = json!("mallory")
        })
        .await,
        Kind::ReceiptMissing,
    );
    has(
        &edit(key.outcome(1).into(), |v| {
            v["package"]["sha256"] = json!(Sha256Hex::of(b"y"))
        })
        .await,
        Kind::RecordDiffers,
    );
    has(
        &edit(key.record().into(), |v| {
            v["package"]["sha256"] = json!(Sha256Hex::of(b"y"))
        })
        .await,
        Kind::RecordDiffers,
    );
    has(
        &edit(key.record().into(), |v| v["approvals"] = json!([])).await,
        Kind::ReviewMissing,
    );
    has(
        &edit(key.statement().into(), |v| v["payload"] = json!("e30=")).await,
        Kind::KeyNotTrusted,
    );
    has(
        &edit(key.closed().into(), |v| v["quarantineDue"] = json!(TIME)).await,
        Kind::LedgerDiffers,
    );
    let made = Made::new(5, 1);
    made.put_bytes(
        &format!("releases/{}/{}/n/p.zip", key.namespace, key.uid),
        b"zap",
    );
    assert_eq!(made.kinds().await, [Kind::PackageDiffers]);
    // A record out of nowhere.
    let made = Made::new(5, 1);
    let record = std::fs::read(made.path(&key.record())).unwrap();
    made.put_bytes("records/a/made-up.json", &record);
    has(&made.kinds().await, Kind::DecisionMissing);
    // A corrupt fact is named, and the rest is looked at all the same.
    let made = Made::new(5, 2);
    made.put_bytes(&key.closed(), b"{");
    made.put_bytes("releases/a-b/0001-uid/n/p.zip", b"zap");
    let found = made.found(&[]).await;
    let named = |kind, key: &str| found.iter().any(|f| f.kind == kind && f.key == key);
    assert!(named(Kind::Corrupt, &key.closed()), "{found:?}");
    assert!(
        named(Kind::PackageDiffers, "releases/a-b/0001-uid/n/p.zip"),
        "{found:?}"
    );
}

const YEAR_2098: &str = "2098-01-01T00:00:00Z";

impl Made {
    /// Copies what is stored of a request under another name, as somebody with the storage
    /// keys could.
    fn copy(&self, from: &str, to: &str, change: impl Fn(&mut Value)) {
        let mut value = serde_json::from_slice(&std::fs::read(self.path(from)).unwrap()).unwrap();
        change(&mut value);
        self.put(to, &value);
    }

    async fn says(&self, kind: Kind, key: &str) {
        let found = self.found(&[]).await;
        let named = found.iter().any(|f| f.kind == kind && f.key == key);
        assert!(named, "{kind:?} of {key} is not in {found:?}");
    }
}

/// An invented round dated in the future, with a decision, an outcome and a package.
#[tokio::test]
async fn a_round_that_the_ledger_does_not_have_is_found_whatever_time_it_bears() {
    for time in [YEAR_2098, LATER, TIME] {
        let made = Made::new(5, 1);
        let key = first();
        for (from, to) in [
            (&*key.seal(1), &*key.seal(2)),
            (&key.manifest(1), &key.manifest(2)),
            (&key.decision(1), &key.decision(2)),
            (&key.outcome(1), &key.outcome(2)),
        ] {
            made.copy(from, to, |value| {
                value["round"] = json!(2);
                if value.get("time").is_some() {
                    value["time"] = json!(time);
                }
            });
        }
        let found = made.found(&[]).await;
        let named = |kind, at: &str| found.iter().any(|f| f.kind == kind && f.key == at);
        // The record was made of round 1: what is beside it must be in the ledger.
        for at in [&*key.decision(2), &key.outcome(2)] {
            assert!(named(Kind::NotInLedger, at), "{time}: {at}: {found:?}");
        }
    }
}

#[tokio::test]
async fn an_earlier_round_is_in_the_ledger_before_another_is_opened() {
    let made = Made::new(5, 1);
    let key = first();
    // As a crash of old left it: round 0 was returned, and nobody wrote that down.
    for (from, to) in [
        (&*key.seal(1), &*key.seal(0)),
        (&key.decision(1), &key.decision(0)),
    ] {
        made.copy(from, to, |value| {
            value["round"] = json!(0);
            value["time"] = json!(LATER);
        });
    }
    made.says(Kind::NotInLedger, &key.decision(0)).await;
    made.says(Kind::NotInLedger, &key.seal(0)).await;
}

/// A record that was copied to a request that never was.
#[tokio::test]
async fn a_record_without_owner_chain_or_statement_is_found() {
    let made = Made::new(5, 1);
    let key = first();
    let forged = RequestKey {
        namespace: "a".into(),
        uid: "5555-uid".into(),
    };
    made.copy(&key.record(), &forged.record(), |value| {
        value["releasedTime"] = json!(YEAR_2098);
    });
    for (from, to) in [
        (&*key.decision(1), &*forged.decision(1)),
        (&key.outcome(1), &forged.outcome(1)),
    ] {
        made.copy(from, to, |value| value["time"] = json!(YEAR_2098));
    }
    made.says(Kind::NotInLedger, &forged.record()).await;
    made.says(Kind::RecordDiffers, &forged.record()).await;
    made.says(Kind::LedgerMissing, &forged.owner()).await;
    // With an owner that is copied, too.
    made.copy(&key.owner(), &forged.owner(), |value| {
        value["uid"] = json!(forged.uid);
        value["created"] = json!(YEAR_2098);
    });
    made.says(Kind::LedgerMissing, &forged.owner()).await;
    let made = Made::new(5, 1);
    std::fs::remove_file(made.path(&key.owner())).unwrap();
    made.says(Kind::Unexpected, &key.owner()).await;
    let made = Made::new(5, 1);
    std::fs::remove_file(made.path(&key.record())).unwrap();
    made.says(Kind::RecordMissing, &key.outcome(1)).await;
}

#[tokio::test]
async fn a_release_has_its_statement_where_a_key_signed_at_the_time() {
    let key = first();
    let made = Made::new(5, 1);
    std::fs::remove_file(made.path(&key.statement())).unwrap();
    assert_eq!(
        made.found(&[]).await,
        [],
        "no key signed before the first checkpoint"
    );
    let mut made = Made::signed(5, 1, "1969-12-31T00:00:00Z");
    std::fs::remove_file(made.path(&key.statement())).unwrap();
    made.time = LATER;
    made.gateway("gateway-2c");
    made.checkpoint();
    made.says(Kind::StatementMissing, &key.record()).await;
}

#[tokio::test]
async fn a_decision_that_asked_for_less_than_its_policy_is_unfounded() {
    let made = Made::new(5, 1);
    let key = first();
    made.copy(&key.seal(1), &key.seal(1), |value| {
        value["rules"]["requiredApprovals"] = json!(2);
    });
    made.says(Kind::DecisionUnfounded, &key.decision(1)).await;
}

#[tokio::test]
async fn what_a_later_version_wrote_is_verified_as_far_as_it_is_known() {
    let key = first();
    // A field that is not known: the digest is that of the stored bytes.
    let made = Made::later(5, |manifest| manifest["x-later"] = json!({"a": [1]}));
    assert_eq!(made.found(&[]).await, []);
    // A format that is not known is said, and nobody's forgery.
    let made = Made::later(5, |manifest| manifest["format"] = json!(99));
    let found = made.found(&[]).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].kind, found[0].key.as_str()),
        (Kind::LaterFormat, &*key.manifest(1))
    );
    assert!(
        found[0].detail.contains("verify with the version"),
        "{found:?}"
    );
}

#[path = "kept_tests.rs"]
mod kept;
