//! The outbox: notifications that wait in the quarantine bucket, one object each.
//!
//! An entry is create-only under a name that follows from what it tells of. When
//! every channel is done with it, `notified/…` of the request says so for ever, and
//! the entry goes: whoever derives the same notification again finds either.
//! Killed at any point: the next look derives the same ids and stores what is missing.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

use super::channel::Channels;
use super::metrics::Metrics;
use trevor_core::keys::RequestKey;
use trevor_core::notice::{Kind, Notice, OutboxEntry};
use trevor_store::{StorageError, Zones};

/// Keys of new entries that wait to be heard.
const NEW: usize = 1_000;

/// By which way a request's notifications go.
#[derive(Clone, Debug)]
pub struct Route {
    /// Name of the request.
    pub request: String,
    /// Name of its ReleaseRecord.
    pub record: String,
    /// Channels that the policy names; none: all of the configuration.
    pub channels: Option<BTreeSet<String>>,
    /// Whom the request names, as far as the policy lets mail go there.
    pub recipients: Vec<String>,
    /// Sequence of the ledger's last entry.
    pub sequence: i64,
}

/// What the controller puts in and the dispatcher takes out.
pub struct Outbox {
    /// The channels of the configuration.
    pub channels: Channels,
    /// Numbers about it.
    pub metrics: Metrics,
    /// Keys of new entries.
    pub(super) woken: tokio::sync::Mutex<mpsc::Receiver<String>>,
    wake: mpsc::Sender<String>,
    /// There were more of them than there is room for: the outbox has them.
    missed: AtomicBool,
    /// A channel that was in trouble took something.
    recovered: AtomicBool,
    /// What is known to be stored, by uid; it may be lost at any time.
    known: Mutex<HashMap<String, HashSet<String>>>,
}

impl Outbox {
    /// An outbox for these channels.
    #[must_use]
    pub fn new(channels: Channels) -> Self {
        let (wake, woken) = mpsc::channel(NEW);
        Self {
            metrics: Metrics::of(channels.names()),
            channels,
            woken: tokio::sync::Mutex::new(woken),
            wake,
            missed: AtomicBool::new(false),
            recovered: AtomicBool::new(false),
            known: Mutex::default(),
        }
    }

    /// Whether anybody could be told of anything.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.channels.is_empty()
    }

    /// Stores what is not stored yet, and wakes the dispatcher.
    ///
    /// # Errors
    /// As the server says; what was not stored is found missing by the next look.
    pub async fn put(
        &self,
        zones: &Zones,
        key: &RequestKey,
        route: &Route,
        notices: Vec<Notice>,
    ) -> Result<(), StorageError> {
        if self.is_off() || notices.is_empty() {
            return Ok(());
        }
        let mut wanted: Vec<(Notice, Vec<String>)> = Vec::new();
        for notice in notices {
            let channels = self.telling(route, notice.kind);
            if !channels.is_empty() && !self.knows(key, &notice.what) {
                wanted.push((notice, channels));
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let prefix = key.all_notified();
        let mut done = HashSet::new();
        for at in zones.records.list(&prefix).await? {
            let rest = at.strip_prefix(&*prefix).and_then(|r| r.split_once('/'));
            done.extend(rest.map(|(what, _)| what.to_owned()));
        }
        let work = zones.quarantine.work();
        for (notice, channels) in wanted {
            let what = notice.what.clone();
            if !done.contains(&what) {
                let due = notice.time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
                let at = key.outbox(&due, &what);
                let entry = OutboxEntry {
                    notice,
                    channels,
                    recipients: route.recipients.clone(),
                    request: route.request.clone(),
                    record: route.record.clone(),
                    sequence: route.sequence,
                };
                work.create_unread(&at, &entry).await?;
                // The dispatcher may be another process's by now; then its list has it.
                if self.wake.try_send(at.into()).is_err() {
                    self.missed.store(true, Ordering::Relaxed);
                }
            }
            self.learns(key, what);
        }
        Ok(())
    }

    /// Whether entries were stored that the dispatcher was not told of.
    pub(super) fn has_missed(&self) -> bool {
        self.missed.swap(false, Ordering::Relaxed)
    }

    /// A channel that was in trouble is back.
    pub(super) fn recovers(&self) {
        self.recovered.store(true, Ordering::Relaxed);
    }

    /// Whether one is back.
    pub(super) fn has_recovered(&self) -> bool {
        self.recovered.swap(false, Ordering::Relaxed)
    }

    /// Nothing of the request needs to be remembered.
    pub fn forget(&self, uid: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(uid);
    }

    /// Channels that tell of something on a route; those that nobody configured too:
    /// that they are missing is to be seen.
    fn telling(&self, route: &Route, kind: Kind) -> Vec<String> {
        match &route.channels {
            None => self.channels.names_of(kind),
            Some(named) => named
                .iter()
                .filter(|name| {
                    self.channels
                        .get(name)
                        .is_none_or(|channel| channel.config.tells_of(kind))
                })
                .cloned()
                .collect(),
        }
    }

    fn knows(&self, key: &RequestKey, what: &str) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&key.uid).is_some_and(|all| all.contains(what))
    }

    fn learns(&self, key: &RequestKey, what: String) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(key.uid.clone()).or_default().insert(what);
    }
}
