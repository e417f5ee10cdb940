//! What the effects share: clients, buckets, leadership, and the little memory
//! that may be lost at any time.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use kube::Client;
use kube::runtime::events::Recorder;
use kube::runtime::reflector::Store;
use lru::LruCache;
use tokio::sync::{Mutex, Notify, Semaphore};
use tokio::task::JoinHandle;

use super::certificate::Certificates;
use super::checkpoints::Standing;
use super::echo::Echoes;
use super::effects::confirm::Confirmations;
use super::effects::release::Task;
use super::error::EffectError;
use super::jobs::template::Template;
use super::past::Past;
use super::queue::Queue;
use super::retries::Retries;
use super::throughput::Throughput;
use crate::rules::Verifier;
use trevor_api::{AirlockAction, AirlockPolicy, AirlockRequest, AirlockReview};
use trevor_cluster::lease::{Claim, Leadership};
use trevor_config::Config;
use trevor_core::ingress::FilesFact;
use trevor_core::keys::RequestKey;
use trevor_core::receipt::Receipt;
use trevor_core::retry;
use trevor_lifecycle::{Numbers, Troubles};
use trevor_notify::Outbox;
use trevor_store::audit::{Chain, Heads, SigningKey};
use trevor_store::{Release, Signer, Zones};

/// Shared by all reconciles.
pub struct Context {
    /// Kubernetes.
    pub client: Client,
    /// Configuration.
    pub config: Config,
    /// The operator's own namespace.
    pub home: String,
    /// What packaging Jobs are made of, where there are some.
    pub packaging: Option<Template>,
    /// Quarantine and records.
    pub zones: Zones,
    /// The release bucket.
    pub release: Release,
    /// Signs URLs, for the endpoint that readers use.
    pub signer: Signer,
    /// uid of the cluster (of `kube-system`).
    pub cluster: String,
    /// Policies, as watched.
    pub policies: Store<AirlockPolicy>,
    /// Reviews, as watched.
    pub reviews: Store<AirlockReview>,
    /// Actions, as watched.
    pub actions: Store<AirlockAction>,
    /// Requests, as watched.
    pub requests: Store<AirlockRequest>,
    /// Whether the admission rules are in force.
    pub rules: Arc<Verifier>,
    /// Whether this process leads.
    pub leadership: Leadership,
    /// Events.
    pub recorder: Recorder,
    /// Asks for a reconcile of a request.
    pub queue: Queue,
    /// What is to be told.
    pub outbox: Arc<Outbox>,
    /// An action has no request, or a release was revoked: look at ReleaseRecords.
    pub strays: Arc<Notify>,
    /// Something may be due soon, or a hold ended: sweep.
    pub sweeps: Arc<Notify>,
    /// Numbers about retention.
    pub numbers: Arc<Numbers>,
    /// Why deletions that are due are not done.
    pub troubles: Troubles,
    /// uids of requests whose status is older than the bucket.
    pub behind: std::sync::Mutex<HashSet<String>>,
    /// Copies of packages that were read back, by key.
    pub verified: Arc<std::sync::Mutex<HashSet<String>>>,
    /// Releases under way, by uid.
    pub releases: Mutex<HashMap<String, Task>>,
    /// Confirmations under way.
    pub confirmations: Confirmations,
    /// Work beside reviews, by uid of the request.
    pub background: std::sync::Mutex<HashMap<String, JoinHandle<()>>>,
    /// Signs checkpoints and statements, where there is a key.
    pub signing: Option<Arc<SigningKey>>,
    /// Chains that changed since the last checkpoint.
    pub heads: Arc<Heads>,
    /// How checkpoints stand.
    pub checkpoints: Arc<Standing>,
    /// Looks at once, taken in turn.
    pub turns: Semaphore,
    /// Numbers about its work.
    pub throughput: Arc<Throughput>,
    /// The gateway's certificate, where the operator makes it.
    pub certificates: Arc<Certificates>,
    /// What became of earlier rounds.
    pub past: Arc<Past>,
    /// What the watches tell of this process's own writes.
    pub echoes: Echoes,
    /// What failed, and when it is tried again.
    pub retries: Arc<Retries>,
    /// What may be lost at any time.
    pub memory: Memories,
}

/// Requests whose facts are kept at hand. Ten thousand drafts that nobody touches must not
/// fill the memory; one that is looked at again reads its facts again.
const AT_HAND: NonZeroUsize = NonZeroUsize::MIN.saturating_add(511);

/// What is remembered of each request, by uid.
pub struct Memories {
    all: std::sync::Mutex<HashMap<String, Memory>>,
    at_hand: std::sync::Mutex<LruCache<String, AtHand>>,
}

impl Default for Memories {
    fn default() -> Self {
        Self {
            all: std::sync::Mutex::default(),
            at_hand: std::sync::Mutex::new(LruCache::new(AT_HAND)),
        }
    }
}

/// What was read of a request.
#[derive(Default)]
struct AtHand {
    chain: Option<Arc<Chain>>,
    receipts: Option<Arc<Mutex<HashMap<String, Receipt>>>>,
}

/// What is remembered of a request that is not closed; rebuilt after a restart.
#[derive(Default)]
struct Memory {
    looks: u32,
    unsent: Option<(i64, i64)>,
    hashed: Option<(i64, FilesFact)>,
}

impl Context {
    /// The claim to lead, tested now.
    pub fn claim(&self) -> Result<Claim, EffectError> {
        self.leadership.current().ok_or(EffectError::NotLeading)
    }

    fn remember<T>(&self, uid: &str, with: impl FnOnce(&mut Memory) -> T) -> T {
        let mut memory = held(&self.memory.all);
        with(memory.entry(uid.to_owned()).or_default())
    }

    fn at_hand<T>(&self, uid: &str, with: impl FnOnce(&mut AtHand) -> T) -> T {
        let mut at_hand = held(&self.memory.at_hand);
        with(at_hand.get_or_insert_mut(uid.to_owned(), AtHand::default))
    }

    /// The request's ledger chain.
    pub fn chain(&self, key: &RequestKey) -> Arc<Chain> {
        let fresh = || Arc::new(Chain::new(key.ledger()).telling(Arc::clone(&self.heads)));
        self.at_hand(&key.uid, |m| Arc::clone(m.chain.get_or_insert_with(fresh)))
    }

    /// Receipts that were read already; they never change.
    pub fn receipts(&self, uid: &str) -> Arc<Mutex<HashMap<String, Receipt>>> {
        self.at_hand(uid, |m| Arc::clone(m.receipts.get_or_insert_default()))
    }

    /// The receipts are not needed any more.
    pub fn drop_receipts(&self, uid: &str) {
        self.at_hand(uid, |m| m.receipts = None);
    }

    /// Nothing of the request is needed any more.
    pub fn forget(&self, uid: &str) {
        held(&self.memory.all).remove(uid);
        held(&self.memory.at_hand).pop(uid);
    }

    /// The next pause of a request that waits for files: growing to two minutes.
    pub fn patience(&self, uid: &str) -> Duration {
        let looks = self.remember(uid, |m| {
            m.looks = m.looks.saturating_add(1);
            m.looks
        });
        retry::LOOKS.pause(looks, rand::random())
    }

    /// The attempt of a round of which nothing can be stored, or that there is none.
    pub fn set_unsent(&self, uid: &str, unsent: Option<(i64, i64)>) {
        self.remember(uid, |m| m.unsent = unsent);
    }

    /// The attempt of a round of which nothing can be stored.
    pub fn unsent(&self, uid: &str, round: i64) -> Option<i64> {
        let (of, attempt) = self.remember(uid, |m| m.unsent)?;
        (of == round).then_some(attempt)
    }

    /// The files of a round were hashed again, and are to be delivered; or they are
    /// to be hashed once more.
    pub fn set_hashed(&self, uid: &str, hashed: Option<(i64, FilesFact)>) {
        self.remember(uid, |m| m.hashed = hashed);
    }

    /// The files of a round that were hashed again.
    pub fn hashed(&self, uid: &str, round: i64) -> Option<FilesFact> {
        let (of, files) = self.remember(uid, |m| m.hashed.clone())?;
        (of == round).then_some(files)
    }

    /// Starts work on a request that nothing waits for, unless some is under way.
    pub fn in_background(&self, uid: &str, work: impl Future<Output = ()> + Send + 'static) {
        let mut running = held(&self.background);
        running.retain(|_, task| !task.is_finished());
        running
            .entry(uid.to_owned())
            .or_insert_with(|| tokio::spawn(work));
    }

    /// Ends all work that was started: this process leads no more.
    pub async fn end_work(&self) {
        for (_, task) in self.releases.lock().await.drain() {
            task.abort();
        }
        self.confirmations.end();
        let mut running = held(&self.background);
        for (_, task) in running.drain() {
            task.abort();
        }
    }

    /// Whether a copy was read back by this process; asked once.
    pub fn is_verified(&self, key: &str) -> bool {
        held(&self.verified).remove(key)
    }

    /// Its status is older than the bucket, or not any more; gives whether that is news.
    pub fn set_behind(&self, uid: &str, behind: bool) -> bool {
        let mut all = held(&self.behind);
        if behind {
            all.insert(uid.to_owned())
        } else {
            all.remove(uid)
        }
    }

    /// Whether a closed request must be looked at, whatever its status says.
    pub fn must_look(&self, uid: &str) -> bool {
        held(&self.behind).contains(uid) || self.troubles.of(uid).is_some()
    }

    /// Whether a release task is known, running or not.
    pub async fn has_task(&self, uid: &str) -> bool {
        self.releases.lock().await.contains_key(uid)
    }

    /// A hint came, or the spec changed: look often again.
    pub fn look_often(&self, uid: &str) {
        self.remember(uid, |m| m.looks = 0);
    }
}

/// What is remembered may be lost, so that a panic of another thread spoils nothing.
pub fn held<T>(memory: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}
