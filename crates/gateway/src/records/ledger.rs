//! The chain of the audit ledger that this process writes. Reads are recorded before their first
//! byte is sent, and refusals once a minute each. Events of the same moment are written as one
//! entry.
//!
//! The ledger is never deleted, and anybody with a token can cause refusals. So the number of
//! recorded refusals is bounded in each minute: for each user, and for each kind of caller, so that
//! service accounts do not hide what people try. Service accounts of other namespaces are recorded
//! by their namespace only. When a limit is reached, one event records that there were more. A
//! metric counts all of them.

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
use trevor_store::Records;
use trevor_store::audit::Chain;

const QUEUE_CAPACITY: usize = 4096;
const BATCH_SIZE: usize = 200;
const ATTEMPTS: u64 = 3;
/// Refusals of one user a minute that are recorded with the name of the request.
const MAX_DISTINCT_REFUSALS: usize = 30;
/// Recorded in the place of a name when there are too many.
const WILDCARD: &str = "*";

/// Kinds of callers. Each has its own limit of recorded refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CallerKind {
    Person,
    Account,
    /// A service account of another namespace than that of the request.
    Foreign,
}

impl CallerKind {
    /// The kind of a caller, and the name that is recorded for it.
    fn of(actor: &str, namespace: &str) -> (Self, String) {
        let account = actor.strip_prefix(SERVICE_ACCOUNT);
        match account.and_then(|account| account.split_once(':')) {
            None => (Self::Person, actor.to_owned()),
            Some((of, _)) if of == namespace => (Self::Account, actor.to_owned()),
            Some((of, _)) => (Self::Foreign, format!("{SERVICE_ACCOUNT}{of}:{WILDCARD}")),
        }
    }

    /// Refusals of this kind that are recorded in a minute.
    fn max_per_minute(self) -> usize {
        match self {
            Self::Person => 120,
            Self::Account => 60,
            Self::Foreign => 20,
        }
    }
}

/// The refusals of one minute.
#[derive(Debug, Default)]
struct RefusalWindow {
    minute: i64,
    seen: HashMap<String, usize>,
    by_kind: HashMap<&'static str, usize>,
}

/// A refusal as it is recorded.
#[derive(Debug, PartialEq, Eq)]
struct RecordedRefusal {
    actor: String,
    namespace: String,
    name: String,
    action: String,
}

impl RefusalWindow {
    /// The refusal as it is to be recorded. None when it is recorded already, or when the limit is
    /// reached. `name` is the name of the request. It is recorded as `*` for a user who was refused
    /// for many requests.
    fn admit(
        &mut self,
        (actor, action): (&str, &str),
        (namespace, name): (&str, &str),
        minute: i64,
    ) -> Option<RecordedRefusal> {
        if self.minute != minute {
            *self = Self {
                minute,
                ..Self::default()
            };
        }
        let (kind, actor) = CallerKind::of(actor, namespace);
        let label = match kind {
            CallerKind::Person => "person",
            CallerKind::Account => "account",
            CallerKind::Foreign => "foreign",
        };
        let kind_count = *self.by_kind.entry(label).or_default();
        if kind_count > kind.max_per_minute() {
            return None;
        }
        let user_count = self
            .seen
            .get(&format!("user\n{actor}"))
            .copied()
            .unwrap_or(0);
        let name = if kind == CallerKind::Foreign || user_count >= MAX_DISTINCT_REFUSALS {
            WILDCARD
        } else {
            name
        };
        let key = format!("{actor} {action} {namespace} {name}");
        if self.seen.contains_key(&key) {
            return None;
        }
        self.by_kind.insert(label, kind_count + 1);
        if kind_count == kind.max_per_minute() {
            // The limit of this kind is reached: one event says that there were more.
            return Some(RecordedRefusal {
                actor: WILDCARD.to_owned(),
                namespace: String::new(),
                name: WILDCARD.to_owned(),
                action: label.to_owned(),
            });
        }
        self.seen.insert(key, 1);
        *self.seen.entry(format!("user\n{actor}")).or_default() += 1;
        Some(RecordedRefusal {
            actor,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            action: action.to_owned(),
        })
    }
}

/// An action of a caller that is recorded.
#[derive(Clone, Debug)]
pub struct AuditAction<'a> {
    /// The kind of the event, one CamelCase word.
    pub kind: &'static str,
    pub actor: &'a str,
    pub namespace: &'a str,
    /// The uid of the request. Empty when there is no such request.
    pub uid: &'a str,
    /// An object with further fields.
    pub detail: Value,
}

struct QueuedEvent {
    event: Event,
    stored: Option<oneshot::Sender<bool>>,
}

/// Queues events for the task that writes the chain.
pub struct Ledger {
    events: mpsc::Sender<QueuedEvent>,
    refusals: Mutex<RefusalWindow>,
    metrics: Arc<Metrics>,
}

impl Ledger {
    /// Starts the chain of this process, and its task. No other process writes to its prefix.
    #[must_use]
    pub fn start(records: Records, metrics: Arc<Metrics>) -> Self {
        let (events, queue) = mpsc::channel(QUEUE_CAPACITY);
        let chain = Chain::fresh(format!("audit/gateway/{}/", process_name()));
        tokio::spawn(write(records, chain, queue, Arc::clone(&metrics)));
        Self {
            events,
            refusals: Mutex::default(),
            metrics,
        }
    }

    /// Records an action, and returns when it is stored.
    ///
    /// # Errors
    /// 503 when it cannot be stored. The caller must not go on then.
    pub async fn record(&self, action: AuditAction<'_>) -> Result<(), Problem> {
        let (stored, answer) = oneshot::channel();
        let item = QueuedEvent {
            event: event(&action, Timestamp::now()),
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

    /// Records a refusal without waiting for it: once a minute for each user, action and request,
    /// and within the limits of the kind of caller.
    pub fn refused(&self, actor: &str, namespace: &str, name: &str, uid: &str, action: &str) {
        let now = Timestamp::now();
        self.metrics.refused();
        let recorded = {
            let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            let minute = now.as_second() / 60;
            refusals.admit((actor, action), (namespace, name), minute)
        };
        let Some(recorded) = recorded else { return };
        let detail = json!({"action": recorded.action, "request": recorded.name});
        let action = AuditAction {
            kind: "Refused",
            actor: &recorded.actor,
            namespace: &recorded.namespace,
            // A uid is recorded only with the name of one request.
            uid: if recorded.name == WILDCARD { "" } else { uid },
            detail,
        };
        if self
            .events
            .try_send(QueuedEvent {
                event: event(&action, now),
                stored: None,
            })
            .is_err()
        {
            self.metrics.ledger_failed();
        }
    }
}

/// A unique name for this process.
fn process_name() -> String {
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

/// The event of an action. The id is the same for the same action within a minute.
fn event(action: &AuditAction<'_>, now: Timestamp) -> Event {
    let minute = now.as_second() / 60;
    let identity = json!([
        action.kind,
        action.actor,
        action.namespace,
        action.uid,
        action.detail,
        minute
    ])
    .to_string();
    let detail = match &action.detail {
        Value::Object(map) => map.clone(),
        _ => Map::new(),
    };
    Event {
        id: Sha256Hex::of(identity.as_bytes()).short(32).to_owned(),
        kind: action.kind.to_owned(),
        actor: Some(action.actor.to_owned()),
        namespace: action.namespace.to_owned(),
        uid: action.uid.to_owned(),
        before: None,
        after: None,
        detail,
        time: now,
    }
}

async fn write(
    records: Records,
    chain: Chain,
    mut queue: mpsc::Receiver<QueuedEvent>,
    metrics: Arc<Metrics>,
) {
    let mut batch = Vec::with_capacity(BATCH_SIZE);
    while queue.recv_many(&mut batch, BATCH_SIZE).await > 0 {
        let events: Vec<Event> = batch.iter().map(|item| item.event.clone()).collect();
        let stored = append(&records, &chain, events).await;
        if !stored {
            metrics.ledger_failed();
        }
        for item in batch.drain(..) {
            if let Some(waiting) = item.stored {
                let _ = waiting.send(stored);
            }
        }
    }
}

async fn append(records: &Records, chain: &Chain, events: Vec<Event>) -> bool {
    for attempt in 1..=ATTEMPTS {
        match chain.append(records, events.clone()).await {
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

    fn ledger() -> (Ledger, mpsc::Receiver<QueuedEvent>) {
        let (events, queue) = mpsc::channel(QUEUE_CAPACITY);
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
        assert!(count <= 2 * (MAX_DISTINCT_REFUSALS + 1), "{count}");
    }

    /// Refusals that are recorded of many callers in one minute, by their kind.
    #[test]
    fn refusals_are_bounded_in_all_and_foreign_accounts_count_by_namespace() {
        let told = |actors: &mut dyn Iterator<Item = String>| {
            let mut minute = RefusalWindow::default();
            let mut told = Vec::new();
            for (n, actor) in actors.enumerate() {
                let (name, action) = (format!("r{n}"), ["upload", "content"][n % 2]);
                told.extend(minute.admit((&actor, action), ("project-a", &name), 7));
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
        for (max_per_minute, actor) in [
            (
                20,
                &(|n| account(&format!("other-{n}"), n)) as &dyn Fn(usize) -> String,
            ),
            (60, &|n| account("project-a", n)),
            (120, &|n| format!("person-{n}")),
        ] {
            let told = told(&mut (0..5000).map(actor));
            assert_eq!(told.len(), max_per_minute + 1);
            let last = told.last().unwrap();
            assert_eq!((last.actor.as_str(), last.namespace.as_str()), ("*", ""));
        }
    }

    #[test]
    fn accounts_do_not_hide_a_person_and_a_new_minute_begins_anew() {
        let mut minute = RefusalWindow::default();
        for n in 0..1000 {
            let actor = format!("system:serviceaccount:project-a:a{n}");
            minute.admit((&actor, "upload"), ("project-a", "r"), 7);
        }
        let mallory = ("mallory", "content");
        assert!(minute.admit(mallory, ("project-a", "r"), 7).is_some());
        assert_eq!(minute.admit(mallory, ("project-a", "r"), 7), None);
        assert!(minute.admit(mallory, ("project-a", "r"), 8).is_some());
    }

    #[test]
    fn the_same_act_within_a_minute_is_the_same_event() {
        let action = AuditAction {
            kind: "ContentOpened",
            actor: "bob",
            namespace: "a",
            uid: "u",
            detail: json!({"path": "x"}),
        };
        let at = |s| event(&action, Timestamp::from_second(s).unwrap()).id;
        assert_eq!(at(60), at(119));
        assert_ne!(at(60), at(120));
        let other = AuditAction {
            detail: json!({"path": "y"}),
            ..action.clone()
        };
        assert_ne!(
            event(&other, Timestamp::from_second(60).unwrap()).id,
            at(60)
        );
    }
}
