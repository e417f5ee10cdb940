//! One sweep: the tickets that are due, one after another, oldest first.
//!
//! What goes wrong with one is told and tried again later; the others go on.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::case::Outcome;
use super::clock;
use super::error::RetentionError;
use super::memory::Memory;
use super::numbers::Numbers;
use super::pace::Pace;
use super::taken::is_taken;
use super::witness::Witness;
use trevor_config as config;
use trevor_core::commit::Ticket;
use trevor_core::keys::tickets;
use trevor_core::object_key::WorkKey;
use trevor_core::retention::{Named, named};
use trevor_store::{Release, StorageError, Zones};

/// Tickets of a page.
const PAGE: i32 = 500;
/// Signatures of upload plans may be used for so long beyond their end, where clocks
/// differ.
pub const SLACK_SECONDS: i64 = 600;
/// A ticket that stays so long after its time is overdue.
const OVERDUE: SignedDuration = SignedDuration::from_hours(1);
/// Deletions in a row that a server does not answer, before a sweep breaks off.
const PATIENCE: u32 = 5;
/// Tickets that a sweep names; all are counted.
const SHOWN: usize = 1_000;

/// Deletes what is due.
pub struct Sweeper {
    pub(super) zones: Zones,
    pub(super) release: Release,
    /// Whose requests are touched.
    pub(super) cluster: String,
    pub(super) plan_life: SignedDuration,
    pub(super) pace: Pace,
    most: u64,
    pub(super) numbers: Arc<Numbers>,
    memory: Mutex<Memory>,
    /// Which other clusters' requests are taken over, as asked in this sweep.
    taken: Mutex<HashMap<String, bool>>,
}

/// What a sweep found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Tickets that were due.
    pub due: u64,
    /// Of them: deleted, and their tickets gone.
    pub deleted: u64,
    /// Stopped by a hold.
    pub held: u64,
    /// Of requests that are not closed.
    pub open: u64,
    /// Earlier than the closing facts: put right.
    pub early: u64,
    /// Of other clusters, which nobody here took over.
    pub foreign: u64,
    /// How many of them by cluster, for more than an hour: nobody deletes them.
    pub abandoned: BTreeMap<String, u64>,
    /// Borne out by nothing.
    pub refusals: u64,
    /// The first of them by key, with the reason.
    pub refused: BTreeMap<String, String>,
    /// Failed.
    pub failures: u64,
    /// The first of them by key, with the error.
    pub failed: BTreeMap<String, String>,
    /// For more than an hour.
    pub overdue: u64,
    /// The last so many failed because a server does not answer.
    unanswered: u32,
    /// There is more to do at once.
    pub more: bool,
    /// When the next ticket is due, or a failed one is tried again.
    pub next: Option<Timestamp>,
}

impl Sweep {
    fn is_foreign(&mut self, cluster: String, late: bool) {
        self.foreign += 1;
        if late && (self.abandoned.len() < SHOWN || self.abandoned.contains_key(&cluster)) {
            *self.abandoned.entry(cluster).or_default() += 1;
        }
    }

    fn fails(&mut self, key: &str, why: &str) {
        self.failures += 1;
        if self.failed.len() < SHOWN {
            self.failed.insert(key.to_owned(), why.to_owned());
        }
    }
}

impl Sweeper {
    /// For the requests of one cluster.
    #[must_use]
    pub fn new(
        zones: Zones,
        release: Release,
        cluster: &str,
        storage: &config::Storage,
        limits: &config::Retention,
        numbers: Arc<Numbers>,
    ) -> Self {
        let plans = storage.plan_ttl_seconds() + SLACK_SECONDS;
        Self {
            zones,
            release,
            cluster: cluster.to_owned(),
            plan_life: SignedDuration::from_secs(plans),
            pace: Pace::of(limits.deletes_per_second),
            most: limits.deletes_per_sweep,
            numbers,
            memory: Mutex::default(),
            taken: Mutex::default(),
        }
    }

    /// Goes through what is due, up to the limit of a sweep.
    ///
    /// # Errors
    /// When the clocks disagree, tickets cannot be listed, or another process leads.
    pub async fn sweep(
        &self,
        now: Timestamp,
        witness: &impl Witness,
    ) -> Result<Sweep, RetentionError> {
        self.clocks(now).await?;
        self.taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        let (work, tickets) = (self.zones.quarantine.work(), tickets());
        let (mut found, mut left) = (Sweep::default(), self.most.max(1));
        let mut after = String::new();
        'pages: loop {
            let (page, more) = work.page(&tickets, &after, PAGE).await?;
            for key in &page {
                let Some(named) = key.strip_prefix(&*tickets).and_then(named) else {
                    let why = "its name is not that of a ticket";
                    self.refuse(&mut found, (key, None), why, witness).await;
                    continue;
                };
                if named.due > now {
                    found.next = Some(named.due).into_iter().chain(found.next).min();
                    break 'pages;
                }
                if left == 0 {
                    found.more = true;
                    break 'pages;
                }
                self.take(&mut found, key, &named, now, witness, &mut left)
                    .await?;
            }
            match page.last() {
                Some(last) if more => after = last.to_string(),
                _ => break,
            }
        }
        self.number(&found, now);
        Ok(found)
    }

    /// One ticket, and what becomes of it.
    async fn take(
        &self,
        found: &mut Sweep,
        key: &WorkKey<Ticket>,
        named: &Named,
        now: Timestamp,
        witness: &impl Witness,
        left: &mut u64,
    ) -> Result<(), RetentionError> {
        found.due += 1;
        if !witness.leads() {
            return Err(RetentionError::NotLeading);
        }
        let late = now.duration_since(named.due) > OVERDUE;
        if let Some(cluster) = self.remember(|memory| memory.foreign_cluster(key))
            && !self.takes(&cluster).await?
        {
            found.is_foreign(cluster, late);
            return Ok(());
        }
        if let Some(until) = self.remember(|memory| memory.rests(key, now)) {
            found.fails(key, "tried a moment ago");
            found.overdue += u64::from(late);
            found.next = Some(until).into_iter().chain(found.next).min();
            return Ok(());
        }
        // A future of many KiB, in a loop: it has a place of its own.
        let outcome = Box::pin(self.process(key, named, now, witness, left)).await;
        match outcome {
            Ok(Outcome::Deleted) => found.deleted += 1,
            Ok(Outcome::Gone) => {}
            Ok(Outcome::Part) => {
                found.more = true;
                *left = 0;
            }
            Ok(Outcome::Held) => found.held += 1,
            Ok(Outcome::Open) => found.open += 1,
            Ok(Outcome::Foreign(cluster)) => {
                self.remember(|memory| memory.foreign(key, &cluster));
                found.is_foreign(cluster, late);
            }
            Ok(Outcome::Early(due)) => {
                found.early += 1;
                found.next = Some(due).into_iter().chain(found.next).min();
            }
            Ok(Outcome::Refused(why)) => {
                self.refuse(found, (key, Some(named)), &why, witness).await;
                found.overdue += u64::from(late);
            }
            Err(RetentionError::NotLeading) => return Err(RetentionError::NotLeading),
            Err(error) => {
                self.numbers.failures.fetch_add(1, Relaxed);
                let again = self.remember(|memory| memory.failed(key, now));
                tracing::warn!(ticket = %key, reason = error.reason(), %error, %again, "a deletion failed; it is tried again");
                found.fails(key, &error.to_string());
                found.overdue += u64::from(late);
                found.next = Some(again).into_iter().chain(found.next).min();
                found.unanswered += u32::from(error.is_unanswered());
                if found.unanswered >= PATIENCE {
                    return Err(error);
                }
                return Ok(());
            }
        }
        found.unanswered = 0;
        if self.remember(|memory| memory.passed(key)) {
            witness.passed(named);
        }
        Ok(())
    }

    /// Whether a cluster's requests are another's no more: it is gone, and somebody said
    /// that this one deletes what is due of them.
    pub(super) async fn takes(&self, cluster: &str) -> Result<bool, StorageError> {
        if cluster == self.cluster {
            return Ok(true);
        }
        let asked = || self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = asked().get(cluster).copied() {
            return Ok(known);
        }
        let records = &self.zones.records;
        let taken = is_taken(records, cluster, &self.cluster).await?;
        asked().insert(cluster.to_owned(), taken);
        Ok(taken)
    }

    /// Nothing is deleted while our clock and a server's differ.
    async fn clocks(&self, now: Timestamp) -> Result<(), RetentionError> {
        clock::agree(self.zones.quarantine.work().clock(), now).await?;
        clock::agree(self.zones.records.clock(), now).await?;
        clock::agree(self.release.clock(), now).await?;
        if let Some(staging) = &self.zones.staging {
            clock::agree(staging.clock(), now).await?;
        }
        Ok(())
    }

    fn number(&self, found: &Sweep, now: Timestamp) {
        let numbers = &self.numbers;
        numbers.due.store(found.due, Relaxed);
        numbers.overdue.store(found.overdue, Relaxed);
        numbers.held.store(found.held, Relaxed);
        numbers.refused.store(found.refusals, Relaxed);
        numbers.failing.store(found.failures, Relaxed);
        numbers
            .abandoned
            .store(found.abandoned.values().sum(), Relaxed);
        for (cluster, count) in &found.abandoned {
            tracing::warn!(
                cluster,
                count,
                "files of another cluster's requests were due for more than an hour, and nobody deletes them: if it is gone, trevor retention take-over"
            );
        }
        let second = u64::try_from(now.as_second()).unwrap_or(0);
        numbers.swept.store(second, Relaxed);
    }

    fn remember<T>(&self, with: impl FnOnce(&mut Memory) -> T) -> T {
        with(&mut self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reported once, and in the numbers as long as it is there.
    async fn refuse(
        &self,
        found: &mut Sweep,
        (key, named): (&str, Option<&Named>),
        why: &str,
        witness: &impl Witness,
    ) {
        if self.remember(|memory| memory.refused(key)) {
            tracing::error!(
                ticket = key,
                why,
                "a ticket that nothing bears out deletes nothing; look who wrote it, and delete it"
            );
            if let Some(named) = named {
                witness.refused(named, why).await;
            }
        }
        found.refusals += 1;
        if found.refused.len() < SHOWN {
            found.refused.insert(key.to_owned(), why.to_owned());
        }
    }
}
