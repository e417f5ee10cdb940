//! The gateway's own chain of the ledger: reads, before their first byte, and
//! refusals, each once a minute. Events that come together go as one entry.
//!
//! The ledger is never deleted, and whoever has any token at all can be refused. So
//! refusals are bounded: a user's are told apart up to a number a minute, service accounts of
//! other namespaces by their namespace alone, and each kind of caller has a number a minute
//! in all, so that accounts do not hide what people try. Beyond it one event says that
//! there were more; a metric counts them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;
use uuid::Uuid;

use crate::identity::token::SERVICE_ACCOUNT;
use crate::metrics::Metrics;
use crate::problem::Problem;
use trevor_core::digest::Sha256Hex;
use trevor_core::event::Event;
use trevor_store::Bucket;
use trevor_store::audit::Chain;

const QUEUE: usize = 4096;
const BATCH: usize = 200;
const TRIES: u64 = 3;
/// Refusals of one user a minute that are told apart.
const TOLD_APART: usize = 30;
/// What stands for one of many.
const MANY: &str = "*";

/// Kinds of callers, each with so many refusals a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Person,
    Account,
    /// A service account of another namespace than the one it asks about.
    Foreign,
}

impl Kind {
    /// The kind of a caller, and the name under which it is recorded.
    fn of(actor: &str, namespace: &str) -> (Self, String) {
        let account = actor.strip_prefix(SERVICE_ACCOUNT);
        match account.and_then(|account| account.split_once(':')) {
            None => (Self::Person, actor.to_owned()),
            Some((of, _)) if of == namespace => (Self::Account, actor.to_owned()),
            Some((of, _)) => (Self::Foreign, format!("{SERVICE_ACCOUNT}{of}:{MANY}")),
        }
    }

    /// How many are recorded in a minute.
    fn most(self) -> usize {
        match self {
            Self::Person => 120,
            Self::Account => 60,
            Self::Foreign => 20,
        }
    }
}

/// The refusals of one minute.
#[derive(Debug, Default)]
struct Minute {
    minute: i64,
    seen: HashMap<String, usize>,
    by_kind: HashMap<&'static str, usize>,
}

/// A refusal as it is recorded.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    actor: String,
    namespace: String,
    name: String,
    action: String,
}

impl Minute {
    /// How a refusal is recorded; none when it is recorded already. `name` is the request's,
    /// and `*` stands for those of a user who tries many.
    fn tell(
        &mut self,
        (actor, action): (&str, &str),
        (namespace, name): (&str, &str),
        minute: i64,
    ) -> Option<Told> {
        if self.minute != minute {
            *self = Self {
                minute,
                ..Self::default()
            };
        }
        let (kind, actor) = Kind::of(actor, namespace);
        let word = match kind {
            Kind::Person => "person",
            Kind::Account => "account",
            Kind::Foreign => "foreign",
        };
        let of_kind = *self.by_kind.entry(word).or_default();
        if of_kind > kind.most() {
            return None;
        }
        let of_user = self
            .seen
            .get(&format!("user\n{actor}"))
            .copied()
            .unwrap_or(0);
        let name = if kind == Kind::Foreign || of_user >= TOLD_APART {
            MANY
        } else {
            name
        };
        let key = format!("{actor} {action} {namespace} {name}");
        if self.seen.contains_key(&key) {
            return None;
        }
        self.by_kind.insert(word, of_kind + 1);
        if of_kind == kind.most() {
            // The last of its kind in this minute: there were more.
            return Some(Told {
                actor: MANY.to_owned(),
                namespace: String::new(),
                name: MANY.to_owned(),
                action: word.to_owned(),
            });
        }
        self.seen.insert(key, 1);
        *self.seen.entry(format!("user\n{actor}")).or_default() += 1;
        Some(Told {
            actor,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            action: action.to_owned(),
        })
    }
}

/// What somebody did.
#[derive(Clone, Debug)]
pub struct Act<'a> {
    /// One CamelCase word.
    pub kind: &'static str,
    /// Who.
    pub actor: &'a str,
    /// The project.
    pub namespace: &'a str,
    /// The request's uid; empty where there is no such request.
    pub uid: &'a str,
    /// What else belongs to it.
    pub detail: Value,
}

struct Item {
    event: Event,
    stored: Option<oneshot::Sender<bool>>,
}

/// Takes events for the chain.
pub struct Ledger {
    events: mpsc::Sender<Item>,
    refusals: Mutex<Minute>,
    metrics: Arc<Metrics>,
}

impl Ledger {
    /// Starts a chain of this process; nobody else writes to its prefix.
    #[must_use]
    pub fn start(bucket: Bucket, metrics: Arc<Metrics>) -> Self {
        let (events, queue) = mpsc::channel(QUEUE);
        let chain = Chain::fresh(format!("audit/gateway/{}/", instance()));
        tokio::spawn(write(bucket, chain, queue, Arc::clone(&metrics)));
        Self {
            events,
            refusals: Mutex::default(),
            metrics,
        }
    }

    /// Records, and returns when it is stored.
    ///
    /// # Errors
    /// 503 when it is not: what cannot be recorded does not happen.
    pub async fn record(&self, act: Act<'_>) -> Result<(), Problem> {
        let (stored, answer) = oneshot::channel();
        let item = Item {
            event: event(&act, Timestamp::now()),
            stored: Some(stored),
        };
        let sent = self.events.send(item).await.is_ok();
        if sent && answer.await.unwrap_or(false) {
            return Ok(());
        }
        Err(Problem::unavailable(
            "LedgerUnavailable",
            "the audit ledger cannot be written, so nothing is shown; try again",
            5,
        ))
    }

    /// Records a refusal without waiting, once a minute for each user, action
    /// and request, and not more of them than the ledger is to hold.
    pub fn refused(&self, actor: &str, namespace: &str, name: &str, uid: &str, action: &str) {
        let now = Timestamp::now();
        self.metrics.refused();
        let told = {
            let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            let minute = now.as_second() / 60;
            refusals.tell((actor, action), (namespace, name), minute)
        };
        let Some(told) = told else { return };
        let detail = json!({"action": told.action, "request": told.name});
        let act = Act {
            kind: "Refused",
            actor: &told.actor,
            namespace: &told.namespace,
            // Of one request alone.
            uid: if told.name == MANY { "" } else { uid },
            detail,
        };
        if self
            .events
            .try_send(Item {
                event: event(&act, now),
                stored: None,
            })
            .is_err()
        {
            self.metrics.ledger_failed();
        }
    }
}

/// A name for this process that no other has.
fn instance() -> String {
    let host: String = std::env::var("HOSTNAME")
        .unwrap_or_default()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .take(63)
        .collect();
    let host = if host.is_empty() {
        "gateway".to_owned()
    } else {
        host
    };
    format!("{host}-{}", Uuid::new_v4().simple())
}

/// The same act within a minute is the same event.
fn event(act: &Act<'_>, now: Timestamp) -> Event {
    let minute = now.as_second() / 60;
    let identity = json!([
        act.kind,
        act.actor,
        act.namespace,
        act.uid,
        act.detail,
        minute
    ])
    .to_string();
    let detail = match &act.detail {
        Value::Object(map) => map.clone(),
        _ => Map::new(),
    };
    Event {
        id: Sha256Hex::of(identity.as_bytes()).short(32).to_owned(),
        kind: act.kind.to_owned(),
        actor: Some(act.actor.to_owned()),
        namespace: act.namespace.to_owned(),
        uid: act.uid.to_owned(),
        before: None,
        after: None,
        detail,
        time: now,
    }
}

async fn write(
    bucket: Bucket,
    chain: Chain,
    mut queue: mpsc::Receiver<Item>,
    metrics: Arc<Metrics>,
) {
    let mut batch = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        let events: Vec<Event> = batch.iter().map(|item| item.event.clone()).collect();
        let stored = append(&bucket, &chain, events).await;
        if !stored {
            metrics.ledger_failed();
        }
        for item in batch.drain(..) {
            if let Some(waits) = item.stored {
                let _ = waits.send(stored);
            }
        }
    }
}

async fn append(bucket: &Bucket, chain: &Chain, events: Vec<Event>) -> bool {
    for attempt in 1..=TRIES {
        match chain.append(bucket, events.clone()).await {
            Ok(_) => return true,
            Err(error) => warn!(%error, attempt, "the ledger could not be written"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(200 * attempt)).await;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> (Ledger, mpsc::Receiver<Item>) {
        let (events, queue) = mpsc::channel(QUEUE);
        (
            Ledger {
                events,
                refusals: Mutex::default(),
                metrics: Arc::default(),
            },
            queue,
        )
    }

    #[test]
    fn a_refusal_is_recorded_once_a_minute_and_one_who_tries_many_names_few_times() {
        let (ledger, mut queue) = ledger();
        for _ in 0..5 {
            ledger.refused("mallory", "project-a", "r", "", "content");
        }
        ledger.refused("mallory", "project-a", "r", "", "upload");
        ledger.refused("alice", "project-a", "r", "", "content");
        let mut count = 0;
        while queue.try_recv().is_ok() {
            count += 1;
        }
        assert!((3..=6).contains(&count), "{count}");
        for n in 0..1000 {
            ledger.refused("mallory", "project-a", &format!("r{n}"), "", "content");
        }
        count = 0;
        while queue.try_recv().is_ok() {
            count += 1;
        }
        assert!(count <= 2 * (TOLD_APART + 1), "{count}");
    }

    /// Refusals that are recorded of many callers in one minute, by their kind.
    #[test]
    fn refusals_are_bounded_in_all_and_foreign_accounts_count_by_namespace() {
        let told = |actors: &mut dyn Iterator<Item = String>| {
            let mut minute = Minute::default();
            let mut told = Vec::new();
            for (n, actor) in actors.enumerate() {
                let (name, action) = (format!("r{n}"), ["upload", "content"][n % 2]);
                told.extend(minute.tell((&actor, action), ("project-a", &name), 7));
            }
            told
        };
        let account = |ns: &str, n: usize| format!("system:serviceaccount:{ns}:a{n}");
        // 160 accounts of eight foreign namespaces, each 30 times.
        let many = |n: usize| account(&format!("other-{}", n % 8), n % 160);
        let foreign = told(&mut (0..4800).map(many));
        assert_eq!(
            foreign.len(),
            8,
            "each namespace's tries, and no name: {foreign:?}"
        );
        assert!(
            foreign
                .iter()
                .all(|t| t.actor.ends_with(":*") && t.name == "*")
        );
        for (most, actor) in [
            (
                20,
                &(|n| account(&format!("other-{n}"), n)) as &dyn Fn(usize) -> String,
            ),
            (60, &|n| account("project-a", n)),
            (120, &|n| format!("person-{n}")),
        ] {
            let told = told(&mut (0..5000).map(actor));
            assert_eq!(told.len(), most + 1);
            let last = told.last().unwrap();
            assert_eq!((last.actor.as_str(), last.namespace.as_str()), ("*", ""));
        }
    }

    #[test]
    fn accounts_do_not_hide_a_person_and_a_new_minute_begins_anew() {
        let mut minute = Minute::default();
        for n in 0..1000 {
            let actor = format!("system:serviceaccount:project-a:a{n}");
            minute.tell((&actor, "upload"), ("project-a", "r"), 7);
        }
        let mallory = ("mallory", "content");
        assert!(minute.tell(mallory, ("project-a", "r"), 7).is_some());
        assert_eq!(minute.tell(mallory, ("project-a", "r"), 7), None);
        assert!(minute.tell(mallory, ("project-a", "r"), 8).is_some());
    }

    #[test]
    fn the_same_act_within_a_minute_is_the_same_event() {
        let act = Act {
            kind: "ContentOpened",
            actor: "bob",
            namespace: "a",
            uid: "u",
            detail: json!({"path": "x"}),
        };
        let at = |s| event(&act, Timestamp::from_second(s).unwrap()).id;
        assert_eq!(at(60), at(119));
        assert_ne!(at(60), at(120));
        let other = Act {
            detail: json!({"path": "y"}),
            ..act.clone()
        };
        assert_ne!(
            event(&other, Timestamp::from_second(60).unwrap()).id,
            at(60)
        );
    }
}
