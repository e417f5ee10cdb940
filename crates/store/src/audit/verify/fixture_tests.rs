//! The bucket that version 98fbe11 wrote, with requests in every state: it is read for ever
//! (tests/fixtures/README.md).

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use bytes::Bytes;
use jiff::SignedDuration;
use serde_json::Value;
use tempfile::TempDir;

use super::{Kind, Packages, Question, Source, verify};
use crate::audit::PublicKey;
use trevor_core::commit::{
    Attempt, AttemptFailure, Closed, Decision, Move, Outcome, Owner, Revoked, Seal, Submitted,
    Ticket, UrlDeleted,
};
use trevor_core::digest::Sha256Hex;
use trevor_core::format::{Fact, Later};
use trevor_core::frozen::FrozenRound;
use trevor_core::keys::RequestKey;
use trevor_core::phase::{Facts, Next, Round, Wish, next, standing};
use trevor_core::receipt::Receipt;
use trevor_core::retention::{Deletion, DeletionPlan, Hold};
use trevor_core::volume::{Collection, Delivered, JobIntent, JobMade, JobPod};

const BUCKET: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/fixtures/bucket-98fbe11.zip"
);

/// What is kept, unpacked.
struct Fixture {
    dir: TempDir,
    about: Value,
}

impl Fixture {
    fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut zip = zip::ZipArchive::new(std::fs::File::open(BUCKET).unwrap()).unwrap();
        zip.extract(dir.path()).unwrap();
        let about = std::fs::read(dir.path().join("about.json")).unwrap();
        Self {
            about: serde_json::from_slice(&about).unwrap(),
            dir,
        }
    }

    fn get(&self, key: &str) -> Option<Bytes> {
        let path = self.dir.path().join("quarantine").join(key);
        std::fs::read(path).ok().map(Bytes::from)
    }

    fn fact<T: Fact>(&self, key: &str) -> Option<T> {
        let bytes = self.get(key)?;
        let fact = T::parse(&bytes).unwrap_or_else(|e| panic!("{key}: {e}"));
        assert_eq!(Later::is(&fact, key, &bytes), None, "{key}");
        Some(fact)
    }

    /// Every key of the quarantine (and records) bucket.
    fn keys(&self) -> Vec<String> {
        let root = self.dir.path().join("quarantine");
        let (mut keys, mut folders) = (Vec::new(), vec![root.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let key = path.strip_prefix(&root).unwrap();
                    keys.push(key.to_str().unwrap().to_owned());
                }
            }
        }
        keys.sort();
        keys
    }

    fn requests(&self) -> BTreeMap<String, (RequestKey, Value)> {
        let namespace = self.about["namespace"].as_str().unwrap();
        let all = self.about["requests"].as_object().unwrap();
        let of = |(what, said): (&String, &Value)| {
            let key = RequestKey {
                namespace: namespace.to_owned(),
                uid: said["uid"].as_str().unwrap().to_owned(),
            };
            (what.clone(), (key, said.clone()))
        };
        all.iter().map(of).collect()
    }

    /// As the controller observes a request.
    fn facts(&self, key: &RequestKey) -> Facts {
        let round = |number: i64| -> Option<Round> {
            Some(Round {
                round: number,
                seal: Some(self.fact(&key.seal(number))?),
                freeze: self.fact(&key.manifest(number)),
                decision: self.fact(&key.decision(number)),
                attempts: (1..)
                    .map_while(|n| self.fact(&key.attempt(number, n)))
                    .collect(),
                outcome: self.fact(&key.outcome(number)),
                ..Round::default()
            })
        };
        let all: Vec<Round> = (1..).map_while(round).collect();
        let before = all.iter().rev().skip(1);
        Facts {
            owner: self.fact(&key.owner()),
            previous: before.filter_map(Round::frozen).next(),
            closed: self.fact(&key.closed()),
            revoked: self.fact(&key.revoked()),
            last: all.last().cloned(),
            later: None,
        }
    }
}

/// Reads an object as what its key says that it is; false: it is none of these.
fn parses(key: &str, bytes: &Bytes) -> bool {
    fn is<T: Fact>(key: &str, bytes: &Bytes) -> bool {
        T::parse(bytes).unwrap_or_else(|e| panic!("{key}: {e}"));
        true
    }
    let name = key.rsplit('/').next().unwrap();
    let has = |part: &str| key.contains(part);
    match name {
        "owner.json" => is::<Owner>(key, bytes),
        "seal.json" => is::<Seal>(key, bytes),
        "manifest.json" => is::<FrozenRound>(key, bytes),
        "decision.json" => is::<Decision>(key, bytes),
        "outcome.json" => is::<Outcome>(key, bytes),
        "submitted.json" => is::<Submitted>(key, bytes),
        "seen.json" => is::<trevor_core::seen::Seen>(key, bytes),
        "indexed.json" => is::<i64>(key, bytes),
        "closed.json" => is::<Closed>(key, bytes),
        "revoked.json" => is::<Revoked>(key, bytes),
        _ if has("/receipts/") => is::<Receipt>(key, bytes),
        _ if has("/attempts/") && name.ends_with(".failed.json") => {
            is::<AttemptFailure>(key, bytes)
        }
        _ if has("/attempts/") => is::<Attempt>(key, bytes),
        _ if has("/moves/") => is::<Move>(key, bytes),
        _ if has("/deleted/url-") => is::<UrlDeleted>(key, bytes),
        _ if has("/deleted/") && name.ends_with(".plan.json") => is::<DeletionPlan>(key, bytes),
        _ if has("/deleted/") => is::<Deletion>(key, bytes),
        _ if key.starts_with("work/holds/") => is::<Hold>(key, bytes),
        _ if key.starts_with("work/retention/") => is::<Ticket>(key, bytes),
        _ if key.starts_with("work/jobs/") && has(".pods/") => is::<JobPod>(key, bytes),
        _ if key.starts_with("work/jobs/") && name.ends_with(".uid.json") => {
            is::<JobMade>(key, bytes)
        }
        _ if key.starts_with("work/jobs/") && name.ends_with(".list.json") => {
            is::<Collection>(key, bytes)
        }
        _ if key.starts_with("work/jobs/") && name.ends_with(".receipt.json") => {
            is::<Delivered>(key, bytes)
        }
        _ if key.starts_with("work/jobs/") && name.matches('.').count() == 1 => {
            is::<JobIntent>(key, bytes)
        }
        _ if key.starts_with("records/") && name.ends_with(".dsse.json") => {
            is::<trevor_core::envelope::Envelope>(key, bytes)
        }
        _ if key.starts_with("records/") => is::<trevor_api::ReleaseRecordSpec>(key, bytes),
        _ if key.starts_with("index/") => is::<trevor_core::seen::Sighting>(key, bytes),
        _ if key.starts_with("audit/epochs/") && name.ends_with(".ended.json") => {
            is::<trevor_core::epoch::Ended>(key, bytes)
        }
        _ if key.starts_with("audit/epochs/") => is::<trevor_core::epoch::Began>(key, bytes),
        _ => false,
    }
}

#[test]
fn every_fact_of_98fbe11_is_read() {
    let fixture = Fixture::open();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for key in fixture.keys() {
        if parses(&key, &fixture.get(&key).unwrap()) {
            let name = key.rsplit('/').next().unwrap().to_owned();
            *kinds.entry(name).or_default() += 1;
        }
    }
    for (name, least) in [
        ("owner.json", 20),
        ("seal.json", 20),
        ("manifest.json", 20),
        ("decision.json", 20),
        ("outcome.json", 10),
        ("closed.json", 15),
        ("revoked.json", 5),
        ("quarantine.json", 5),
        ("release.json", 2),
    ] {
        let found = kinds.get(name).copied().unwrap_or(0);
        assert!(found >= least, "{name}: {found}, and {least} are expected");
    }
}

#[test]
fn the_digest_that_is_named_is_that_of_the_stored_bytes() {
    let fixture = Fixture::open();
    let mut looked_at = 0;
    for (what, (key, said)) in fixture.requests() {
        for round in 1.. {
            let Some(bytes) = fixture.get(&key.manifest(round)) else {
                break;
            };
            let frozen: FrozenRound = fixture.fact(&key.manifest(round)).unwrap();
            assert_eq!(*frozen.digest(), Sha256Hex::of(&bytes), "{what}");
            assert_eq!(frozen.to_bytes().unwrap(), bytes, "{what}");
            let decision: Option<Decision> = fixture.fact(&key.decision(round));
            if let Some(named) = decision.as_ref().and_then(|d| d.manifest_digest.as_ref()) {
                assert_eq!(named, frozen.digest(), "{what}");
                looked_at += 1;
            }
            for review in decision.iter().flat_map(|d| &d.reviews) {
                assert_eq!(review.manifest_digest, frozen.digest().as_str(), "{what}");
            }
            if Some(round) == said["round"].as_i64() && said["digest"].is_string() {
                assert_eq!(said["digest"], frozen.digest().as_str(), "{what}");
            }
            let seal: Seal = fixture.fact(&key.seal(round)).unwrap();
            if !seal.policy.name.is_empty() {
                assert_eq!(seal.rules.digest(), seal.policy.digest, "{what}");
            }
        }
    }
    assert!(looked_at >= 20, "{looked_at}");
}

#[test]
fn every_request_of_98fbe11_stands_where_it_stood() {
    let fixture = Fixture::open();
    for (what, (key, said)) in fixture.requests() {
        let facts = fixture.facts(&key);
        let shown = said["round"].as_i64().unwrap_or(0);
        let gone = what == "deletedInReview";
        let wish = Wish {
            // What waits for its files was submitted, and has no seal yet.
            submission: if what == "waiting" { 1 } else { shown },
            stop: gone,
            recall: None,
            revoke: false,
        };
        let (phase, round) = standing(&facts, wish);
        if gone {
            // The resource is gone, and so is its status.
            assert_eq!(
                next(&facts, wish),
                Next::Close {
                    round,
                    closed_as: trevor_core::commit::ClosedAs::Withdrawn
                }
            );
            continue;
        }
        let wanted = said["phase"].as_str().unwrap();
        assert_eq!(format!("{phase:?}"), wanted, "{what}");
        if what != "draft" && what != "waiting" {
            assert_eq!(round, shown, "{what}");
        }
        let next = next(&facts, wish);
        let fits = match wanted {
            "Draft" | "ChangesRequested" => matches!(next, Next::Rest),
            "Submitted" => matches!(next, Next::Gather { round: 1 }),
            "InReview" => matches!(next, Next::Review { .. }),
            "Approved" | "Releasing" | "Failed" => matches!(next, Next::Release { .. }),
            "Released" => matches!(next, Next::Deliver { .. }),
            "Revoked" => matches!(next, Next::Revoke { .. }),
            _ => matches!(next, Next::Close { .. }),
        };
        assert!(fits, "{what}: {wanted}: {next:?}");
    }
}

fn question(fixture: &Fixture, keys: &[&str]) -> Question {
    let folder = |name: &str| fixture.dir.path().join(name);
    let key = |name: &&str| {
        let mut pem = String::new();
        let mut file = std::fs::File::open(folder(name)).unwrap();
        file.read_to_string(&mut pem).unwrap();
        PublicKey::parse(&pem).unwrap()
    };
    Question {
        keys: keys.iter().map(key).collect(),
        checkpoints: Vec::new(),
        now: fixture.about["time"].as_str().unwrap().parse().unwrap(),
        grace: SignedDuration::from_hours(1),
        quarantine: Some(Source::Folder(folder("quarantine"))),
        release: Some(Packages::Folder(folder("release"))),
    }
}

async fn kinds(source: &Path, question: &Question) -> Vec<(Kind, String)> {
    let mut found = Vec::new();
    let source = Source::Folder(source.to_owned());
    let mut sink = |f: super::Finding| found.push((f.kind, f.to_string()));
    let summary = verify(&source, question, &mut sink, &mut |_| ()).await;
    assert!(summary.unwrap().requests >= 20);
    found
}

/// By either key: the second was made known by the first.
#[tokio::test]
async fn an_auditor_finds_nothing_wrong_with_the_bucket_of_98fbe11() {
    let fixture = Fixture::open();
    let records = fixture.dir.path().join("quarantine");
    for keys in [&["audit-1.pub"][..], &["audit-2.pub"]] {
        let found = kinds(&records, &question(&fixture, keys)).await;
        assert_eq!(found, [], "{keys:?}");
    }
}

/// What was changed since is found, so that finding nothing says something.
#[tokio::test]
async fn a_change_of_the_bucket_of_98fbe11_is_found() {
    let fixture = Fixture::open();
    let records = fixture.dir.path().join("quarantine");
    let (key, _) = &fixture.requests()["released"];
    let at = records.join(&*key.manifest(1));
    let mut bytes = std::fs::read(&at).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&at, bytes).unwrap();
    let found = kinds(&records, &question(&fixture, &["audit-1.pub"])).await;
    assert!(
        found.iter().any(|f| f.0 == Kind::ManifestChanged),
        "{found:?}"
    );
}
