//! The gateway's own chain of the ledger: reads, before their first byte, and
//! refusals, each once a minute (DESIGN §7). Events that come together go as one
//! entry.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;
use uuid::Uuid;

use super::metrics::Metrics;
use super::problem::Problem;
use crate::audit::{Chain, Event};
use crate::domain::digest::Sha256Hex;
use crate::storage::Bucket;

const QUEUE: usize = 4096;
const BATCH: usize = 200;
const TRIES: u64 = 3;
/// Refusals of one user a minute that are told apart.
const TOLD_APART: usize = 30;

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
    refusals: Mutex<(i64, HashMap<String, usize>)>,
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
    /// and request.
    pub fn refused(&self, actor: &str, namespace: &str, name: &str, uid: &str, action: &str) {
        let now = Timestamp::now();
        let Some(name) = self.told_apart(actor, action, namespace, name, now) else {
            return;
        };
        let detail = json!({"action": action, "request": name});
        let act = Act {
            kind: "Refused",
            actor,
            namespace,
            uid,
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

    /// The request's name as it is recorded, `*` for a user who tries many;
    /// none when this refusal is recorded already.
    fn told_apart(
        &self,
        actor: &str,
        action: &str,
        namespace: &str,
        name: &str,
        now: Timestamp,
    ) -> Option<String> {
        let minute = now.as_second() / 60;
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if refusals.0 != minute || refusals.1.len() > QUEUE {
            *refusals = (minute, HashMap::new());
        }
        let seen = &mut refusals.1;
        let of_user = seen.entry(format!("user {actor}")).or_default();
        let name = if *of_user < TOLD_APART { name } else { "*" };
        let key = format!("{actor} {action} {namespace} {name}");
        if seen.contains_key(&key) {
            return None;
        }
        seen.insert(key, 1);
        *seen.entry(format!("user {actor}")).or_default() += 1;
        Some(name.to_owned())
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
