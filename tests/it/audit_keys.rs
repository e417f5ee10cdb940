//! Signing keys that change hands: rotated, lost, and two at once, as when a second
//! cluster is pointed at the same bucket.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use trevor_config::Config;
use trevor_core::event::Event;
use trevor_store::Records;
use trevor_store::audit::verify::{Finding, Kind, Question, Source, Summary, verify};
use trevor_store::audit::{Chain, Heads, Keeper, Kept, PublicKey, SigningKey};

use crate::harness::{Env, unique};

/// A bucket of its own, with a chain that grows.
struct Ledger {
    records: Records,
    chain: Chain,
    events: usize,
}

impl Ledger {
    async fn new() -> Self {
        let env = Env::shared();
        let (inside, name) = (env.quarantine(), unique("ledger"));
        let made = inside.client.create_bucket().bucket(&name).send().await;
        made.unwrap();
        let config = Config::load(&env.folder().join("controller.yaml")).unwrap();
        let mut config = config.storage.quarantine;
        config.bucket = name;
        Self {
            records: Records::new(inside.client.clone(), &config),
            chain: Chain::new("audit/gateway/g-1/".to_owned()),
            events: 0,
        }
    }

    async fn grows(&mut self) {
        self.events += 1;
        let event = Event {
            id: self.events.to_string(),
            kind: "ContentOpened".to_owned(),
            actor: Some("bob".to_owned()),
            namespace: "a".to_owned(),
            uid: "u".to_owned(),
            before: None,
            after: None,
            detail: serde_json::Map::new(),
            time: Timestamp::now(),
        };
        self.chain.append(&self.records, vec![event]).await.unwrap();
    }

    /// A controller that starts with this key.
    fn keeper(&self, key: &Arc<SigningKey>) -> Keeper {
        Keeper::new(&self.records, Arc::clone(key), Arc::new(Heads::kept()))
    }

    /// Grows, and is signed.
    async fn signed_by(&mut self, key: &Arc<SigningKey>) {
        self.grows().await;
        let kept = self.keeper(key).keep().await.unwrap();
        let Kept::Made(signed) = kept else {
            panic!("a checkpoint is made")
        };
        assert_eq!(signed.checkpoint.key, key.public().vkey());
    }

    async fn found(&self, keys: &[&Arc<SigningKey>]) -> (Vec<Finding>, Summary) {
        let question = Question {
            keys: keys
                .iter()
                .map(|key| PublicKey::clone(key.public()))
                .collect(),
            checkpoints: Vec::new(),
            now: Timestamp::now(),
            grace: SignedDuration::from_hours(24),
            quarantine: None,
            release: None,
        };
        let (source, mut found) = (Source::from(&self.records), Vec::new());
        let summary = verify(&source, &question, &mut |f| found.push(f), &mut |_| ()).await;
        (found, summary.unwrap())
    }

    /// With these keys nothing is wrong, and everything is signed.
    async fn is_clean(&self, keys: &[&Arc<SigningKey>]) {
        let (found, summary) = self.found(keys).await;
        assert_eq!((found, summary.not_yet_covered), (Vec::new(), 0));
    }
}

fn key() -> Arc<SigningKey> {
    Arc::new(SigningKey::generate().unwrap())
}

#[tokio::test]
async fn a_rotated_key_is_trusted_by_the_word_of_the_old_one_and_either_verifies_all() {
    let mut ledger = Ledger::new().await;
    let old = key();
    let new = Arc::new(SigningKey::generate().unwrap().after(&old));
    ledger.signed_by(&old).await;
    ledger.signed_by(&new).await;
    ledger.signed_by(&new).await;
    ledger.is_clean(&[&old]).await;
    ledger.is_clean(&[&new]).await;
    let strange = key();
    let (found, _) = ledger.found(&[&strange]).await;
    assert_eq!(found.len(), 3, "{found:?}");
}

#[tokio::test]
async fn after_a_lost_key_the_old_one_verifies_its_part_and_both_verify_all() {
    let mut ledger = Ledger::new().await;
    let (lost, new) = (key(), key());
    ledger.signed_by(&lost).await;
    ledger.signed_by(&lost).await;
    ledger.signed_by(&new).await;
    for (trusted, unknown) in [(&lost, 1), (&new, 2)] {
        let (found, summary) = ledger.found(&[trusted]).await;
        assert_eq!(found.len(), unknown, "{found:?}");
        assert!(found.iter().all(|f| f.kind == Kind::KeyNotTrusted));
        assert_eq!(summary.checkpoint, 3);
    }
    ledger.is_clean(&[&lost, &new]).await;
}

#[tokio::test]
async fn two_clusters_that_sign_in_one_bucket_fork_nothing_and_each_key_is_named() {
    let mut ledger = Ledger::new().await;
    let (first, second) = (key(), key());
    for _ in 0..3 {
        ledger.signed_by(&first).await;
        ledger.signed_by(&second).await;
    }
    // At once: one of them makes the checkpoint, the other goes on behind it.
    ledger.grows().await;
    let (mut one, mut other) = (ledger.keeper(&first), ledger.keeper(&second));
    let (a, b) = tokio::join!(one.keep(), other.keep());
    assert!(matches!(a.unwrap(), Kept::Made(_)) || matches!(b.unwrap(), Kept::Made(_)));
    ledger.is_clean(&[&first, &second]).await;
    let (found, _) = ledger.found(&[&first]).await;
    assert!(found.len() >= 3, "{found:?}");
    assert!(
        found.iter().all(|f| f.kind == Kind::KeyNotTrusted),
        "{found:?}"
    );
}
