//! The leader's dispatcher: takes what is due from the outbox, a page at a time, and has
//! it delivered.
//!
//! So many entries are under way at once, each tried once by every channel that has it
//! to tell; what a channel does not take waits in the outbox, and holds nothing up.
//! Before each try it is asked whether this process still leads. Killed at any point: the
//! entry is still there, what was delivered has its mark, and what was delivered without
//! one is delivered again under the same id.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use kube::runtime::events::Recorder;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::outbox::Outbox;
use super::queue::{Queue, Tries};
use trevor_cluster::lease::Leadership;
use trevor_core::keys::outbox;
use trevor_store::audit::Heads;
use trevor_store::{StorageError, Work, Zones};

/// The whole outbox is listed at least so often.
const SLOWLY: Duration = Duration::from_secs(600);
/// After a failure it is listed again so soon.
const AGAIN: Duration = Duration::from_secs(10);
/// So often it is looked whether something has waited for long enough.
const TICK: Duration = Duration::from_millis(500);
const PAGE: i32 = 1000;

/// What the dispatcher works with.
#[derive(Clone)]
pub struct Dispatcher {
    /// Buckets.
    pub zones: Zones,
    /// Kubernetes.
    pub client: Client,
    /// Events.
    pub recorder: Recorder,
    /// Whether this process leads.
    pub leadership: Leadership,
    /// What waits.
    pub outbox: Arc<Outbox>,
    /// uid of the cluster.
    pub cluster: String,
    /// How long a release waits to be told for a checkpoint that covers it; none: there
    /// are no checkpoints.
    pub checkpoint_patience: Option<Duration>,
    /// Hears what the ledger gets, for the next checkpoint.
    pub heads: Arc<Heads>,
}

/// Why an entry stays where it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum Left {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("API server: {0}")]
    Kube(#[from] kube::Error),
    #[error("another controller leads")]
    NotLeading,
    #[error("a channel does not take it yet")]
    Later(Instant, Tries),
}

/// Delivers for as long as this process leads. It never ends.
pub async fn serve(dispatcher: Dispatcher) {
    if dispatcher.outbox.is_off() {
        return std::future::pending().await;
    }
    let mut woken = dispatcher.outbox.woken.lock().await;
    let mut running: JoinSet<(String, Result<(), Left>)> = JoinSet::new();
    let mut queue = Queue::default();
    let mut scan = Instant::now();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(scan) => {
                scan = look(dispatcher.zones.quarantine.work(), &mut queue).await;
            }
            Some(key) = woken.recv() => scan = scan.min(take(&mut queue, key)),
            Some(ended) = running.join_next() => {
                // One that panicked is still in the outbox; it is not known any more.
                if let Ok((key, result)) = ended {
                    ends(&mut queue, &key, result);
                }
            }
            _ = tick.tick(), if queue.has_waiting() => queue.wake(Instant::now()),
        }
        if dispatcher.outbox.has_recovered() {
            queue.wake_all(Instant::now());
        }
        if dispatcher.outbox.has_missed() || queue.wants_more() {
            scan = Instant::now();
        }
        while let Some((key, tries)) = queue.next() {
            let work = dispatcher.clone();
            running.spawn(async move {
                let result = work.entry(&key, tries).await;
                (key, result)
            });
        }
        dispatcher.outbox.metrics.under_way(queue.len());
    }
}

fn ends(queue: &mut Queue, key: &str, result: Result<(), Left>) {
    match result {
        Ok(()) => queue.over(key),
        Err(Left::Later(until, tries)) => queue.later(key, until, Some(tries)),
        Err(left) => {
            tracing::warn!(key, reason = %left, "a notification stays in the outbox");
            queue.later(key, Instant::now() + AGAIN, None);
        }
    }
}

/// Goes through the outbox up to what is not due, or to what there is room for. Gives
/// when to look again.
async fn look(work: &Work, queue: &mut Queue) -> Instant {
    let mut after = String::new();
    let next = Instant::now() + SLOWLY;
    loop {
        let (page, more) = match work.page(&outbox(), &after, PAGE).await {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(%error, "the outbox could not be listed; it is tried again");
                return Instant::now() + AGAIN;
            }
        };
        let now = Timestamp::now();
        for key in &page {
            match due(key) {
                // What is due first comes first.
                Some(due) if due > now => return next.min(in_time(due, now)),
                Some(_) if queue.found(key.to_string()) => {}
                // Its time comes when there is room.
                Some(_) => return next,
                None => tracing::warn!(%key, "is not the name of a notification; it is left alone"),
            }
        }
        match page.last() {
            Some(last) if more => after = last.to_string(),
            _ => break,
        }
    }
    next
}

/// Takes one that was just stored; gives when to look at the outbox for it.
fn take(queue: &mut Queue, key: String) -> Instant {
    let now = Timestamp::now();
    match due(&key) {
        Some(due) if due > now => in_time(due, now),
        Some(_) => {
            queue.found(key);
            Instant::now() + SLOWLY
        }
        None => Instant::now() + SLOWLY,
    }
}

fn in_time(due: Timestamp, now: Timestamp) -> Instant {
    Instant::now() + Duration::try_from(due.duration_since(now)).unwrap_or(SLOWLY)
}

/// When an entry is due, by its key.
fn due(key: &str) -> Option<Timestamp> {
    key.strip_prefix(&*outbox())?
        .split_once('/')?
        .0
        .parse()
        .ok()
}
