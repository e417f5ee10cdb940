//! One sweep: the tickets that are due, one after another, oldest first.
//!
//! What goes wrong with one is told and tried again later; the others go on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::empty::{Emptied, Gate, Place, empty, plan};
use super::error::RetentionError;
use super::numbers::Numbers;
use super::pace::Pace;
use super::{clock, holds, tickets};
use crate::audit::{Chain, Event, Head, Heads};
use crate::config;
use crate::domain::commit::{Closed, Owner, Revoked, Ticket};
use crate::domain::retention::{
    Deletion, Named, Standing, Verdict, What, belongs, judge, named, stops,
};
use crate::storage::commit::{commit, read};
use crate::storage::keys::{RequestKey, TICKETS};
use crate::storage::{Release, StorageError, Zones, revocation};

/// Tickets of a page.
const PAGE: i32 = 500;
/// Signatures of upload plans may be used for so long beyond their end, where clocks
/// differ.
pub const SLACK_SECONDS: i64 = 600;
/// Pauses after failures: doubling, from and to.
const PAUSES: (i64, i64) = (5, 900);
/// A ticket that stays so long after its time is overdue.
const OVERDUE: SignedDuration = SignedDuration::from_hours(1);
/// Failures and reports that are remembered.
const REMEMBERED: usize = 10_000;

/// Deletes what is due.
pub struct Sweeper {
    zones: Zones,
    release: Release,
    /// Whose requests are touched.
    cluster: String,
    plan_life: SignedDuration,
    pace: Pace,
    most: u64,
    numbers: Arc<Numbers>,
    memory: Mutex<Memory>,
}

/// What may be lost at any time.
#[derive(Default)]
struct Memory {
    failures: HashMap<String, (u32, Timestamp)>,
    reported: HashSet<String>,
}

/// A deletion that is recorded.
#[derive(Debug)]
pub struct Done {
    /// Whose files.
    pub key: RequestKey,
    /// The request, as it was known.
    pub owner: Owner,
    /// The receipt.
    pub receipt: Deletion,
    /// What the ledger says of it.
    pub event: Event,
    /// Where the ledger has it, or something later.
    pub head: Head,
    /// Secrets that hold URLs to what is gone.
    pub secrets: Vec<String>,
    /// Whether it was a release that had been revoked.
    pub revoked: bool,
}

/// Who shows what is done, and says whether to go on.
pub trait Witness: Send + Sync {
    /// Whether this process may still act.
    fn leads(&self) -> bool;
    /// Who is told of what the ledger gets, for the next checkpoint.
    fn heads(&self) -> Arc<Heads> {
        Arc::default()
    }
    /// Something is deleted, and recorded; it is shown before its ticket goes.
    fn deleted(&self, done: &Done) -> impl Future<Output = Result<(), String>> + Send;
    /// Something is due and a hold stops it.
    fn held(&self, key: &RequestKey, owner: &Owner) -> impl Future<Output = ()> + Send;
    /// Something is due and cannot be deleted.
    fn failed(
        &self,
        key: &RequestKey,
        owner: &Owner,
        error: &RetentionError,
    ) -> impl Future<Output = ()> + Send;
    /// The request of a due ticket was never closed; gives whether it is closed now.
    fn open(&self, key: &RequestKey, owner: &Owner) -> impl Future<Output = bool> + Send;
}

/// Shows nothing: the cluster is gone.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Witness for Silent {
    fn leads(&self) -> bool {
        true
    }
    async fn deleted(&self, _: &Done) -> Result<(), String> {
        Ok(())
    }
    async fn held(&self, _: &RequestKey, _: &Owner) {}
    async fn failed(&self, _: &RequestKey, _: &Owner, _: &RetentionError) {}
    async fn open(&self, _: &RequestKey, _: &Owner) -> bool {
        false
    }
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
    /// Of other clusters.
    pub foreign: u64,
    /// Borne out by nothing, by key, with the reason.
    pub refused: BTreeMap<String, String>,
    /// Failed, by key, with the error.
    pub failed: BTreeMap<String, String>,
    /// For more than an hour.
    pub overdue: u64,
    /// There is more to do at once.
    pub more: bool,
    /// When the next ticket is due, or a failed one is tried again.
    pub next: Option<Timestamp>,
}

/// What became of one ticket.
enum Outcome {
    Deleted,
    Part,
    Held,
    Open,
    Early(Timestamp),
    Foreign,
    Refused(String),
    /// Another sweeper was faster.
    Gone,
}

/// What a ticket is about, with all that is stored of it.
struct Case {
    key: RequestKey,
    owner: Owner,
    closed: Option<Closed>,
    revoked: Option<Revoked>,
    what: What,
}

impl Case {
    fn standing(&self) -> Standing<'_> {
        Standing {
            owner: Some(&self.owner),
            closed: self.closed.as_ref(),
            revoked: self.revoked.as_ref(),
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
        let work = self.zones.quarantine.bucket();
        let (mut found, mut left) = (Sweep::default(), self.most.max(1));
        let mut after = String::new();
        'pages: loop {
            let page = work.page(TICKETS, &after, PAGE).await?;
            for key in page.iter().map(|listed| &listed.key) {
                let Some(named) = key.strip_prefix(TICKETS).and_then(named) else {
                    self.refuse(&mut found, key, "its name is not that of a ticket");
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
                Some(last) if page.len() >= usize::try_from(PAGE).unwrap_or(1) => {
                    after.clone_from(&last.key);
                }
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
        key: &str,
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
        if let Some(until) = self.rests(key, now) {
            found
                .failed
                .insert(key.to_owned(), "tried a moment ago".to_owned());
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
            Ok(Outcome::Foreign) => found.foreign += 1,
            Ok(Outcome::Early(due)) => {
                found.early += 1;
                found.next = Some(due).into_iter().chain(found.next).min();
            }
            Ok(Outcome::Refused(why)) => {
                self.refuse(found, key, &why);
                found.overdue += u64::from(late);
            }
            Err(RetentionError::NotLeading) => return Err(RetentionError::NotLeading),
            Err(error) => {
                let again = self.fail(key, now);
                tracing::warn!(ticket = key, reason = error.reason(), %error, %again, "a deletion failed; it is tried again");
                found.failed.insert(key.to_owned(), error.to_string());
                found.overdue += u64::from(late);
                found.next = Some(again).into_iter().chain(found.next).min();
                return Ok(());
            }
        }
        self.remember(|memory| memory.failures.remove(key));
        Ok(())
    }

    async fn process(
        &self,
        at: &str,
        named: &Named,
        now: Timestamp,
        witness: &impl Witness,
        left: &mut u64,
    ) -> Result<Outcome, RetentionError> {
        let work = self.zones.quarantine.bucket();
        let Some(body) = work.get(at).await? else {
            return Ok(Outcome::Gone);
        };
        let ticket = match serde_json::from_slice::<Ticket>(&body) {
            Ok(ticket) if belongs(named, &ticket) => ticket,
            Ok(_) => {
                return Ok(Outcome::Refused(
                    "it says another thing than its name".into(),
                ));
            }
            Err(error) => return Ok(Outcome::Refused(format!("it cannot be read: {error}"))),
        };
        let key = RequestKey {
            namespace: ticket.namespace,
            uid: named.uid.clone(),
        };
        let unknown = || Outcome::Refused("no request of this name and uid is recorded".into());
        let records = self.zones.records.bucket();
        let Some(owner) = read::<Owner>(records, &key.owner()).await? else {
            return Ok(unknown());
        };
        if owner.namespace != key.namespace {
            return Ok(unknown());
        }
        let (closed_at, revoked_at) = (key.closed(), key.revoked());
        let (closed, revoked) =
            tokio::try_join!(read(records, &closed_at), read(records, &revoked_at))?;
        let mut case = Case {
            key,
            owner,
            closed,
            revoked,
            what: named.what,
        };
        loop {
            return match judge(named, case.standing(), &self.cluster, self.plan_life, now) {
                Verdict::Unknown => Ok(unknown()),
                Verdict::Foreign => Ok(Outcome::Foreign),
                Verdict::Open
                    if case.closed.is_none() && witness.open(&case.key, &case.owner).await =>
                {
                    case.closed = read(records, &closed_at).await?;
                    if case.closed.is_some() {
                        continue;
                    }
                    Ok(Outcome::Open)
                }
                Verdict::Open => Ok(Outcome::Open),
                Verdict::Early(due) => {
                    tracing::warn!(ticket = at, %due, "a ticket is earlier than the closing facts; it is put right, and nothing is deleted");
                    tickets::write(work, &case.key, case.what, due).await?;
                    tickets::remove(work, at).await?;
                    Ok(Outcome::Early(due))
                }
                Verdict::Delete(due) => {
                    let done = self.delete(&case, due, now, witness, left).await;
                    if let Err(error) = &done {
                        witness.failed(&case.key, &case.owner, error).await;
                    }
                    let outcome = done?;
                    if matches!(outcome, Outcome::Deleted) {
                        tickets::remove(work, at).await?;
                    }
                    Ok(outcome)
                }
            };
        }
    }

    /// Deletes what is due, and records and shows it.
    async fn delete(
        &self,
        case: &Case,
        due: Timestamp,
        now: Timestamp,
        witness: &impl Witness,
        left: &mut u64,
    ) -> Result<Outcome, RetentionError> {
        let (key, what) = (&case.key, case.what);
        let gate = NotHeld {
            sweeper: self,
            case,
            leads: || witness.leads(),
        };
        if !gate.open().await? {
            witness.held(key, &case.owner).await;
            return Ok(Outcome::Held);
        }
        let place = self.place(key, what)?;
        let records = self.zones.records.bucket();
        let plan = plan(records, key, &place, (what, due, now)).await?;
        match empty(&place, &gate, &self.pace, left).await? {
            Emptied::All => {}
            Emptied::Part => return Ok(Outcome::Part),
            Emptied::Held => {
                witness.held(key, &case.owner).await;
                return Ok(Outcome::Held);
            }
        }
        let secrets = self.leftovers(key, what).await?;
        let totals = plan.totals;
        let receipt = plan.done(crate::api::condition::second(now.max(Timestamp::now())));
        let receipt: Deletion = commit(records, &key.deletion(what.word()), &receipt)
            .await?
            .into_inner();
        let event = event(key, &receipt);
        let chain = Chain::new(key.ledger()).telling(witness.heads());
        let head = chain.append(records, vec![event.clone()]).await?;
        let done = Done {
            key: key.clone(),
            owner: case.owner.clone(),
            receipt,
            event,
            head,
            secrets,
            revoked: case.revoked.is_some(),
        };
        witness
            .deleted(&done)
            .await
            .map_err(RetentionError::NotShown)?;
        tracing::info!(
            namespace = key.namespace,
            uid = key.uid,
            what = what.word(),
            objects = totals.objects,
            bytes = totals.bytes,
            "deleted what was due"
        );
        self.numbers.deletions.fetch_add(1, Relaxed);
        self.numbers.versions.fetch_add(totals.versions, Relaxed);
        self.numbers.bytes.fetch_add(totals.bytes, Relaxed);
        Ok(Outcome::Deleted)
    }

    fn place(&self, key: &RequestKey, what: What) -> Result<Place, RetentionError> {
        let (bucket, prefix) = match what {
            What::Quarantine => (self.zones.quarantine.bucket().emptying(), key.files()),
            What::Release => (self.release.emptying(), key.releases()),
            What::Staging => {
                let staging = self.zones.staging.as_ref();
                let staging = staging.ok_or(RetentionError::NoStaging)?;
                (staging.emptying(), key.staged())
            }
        };
        Ok(Place { bucket, prefix })
    }

    /// What else goes with it; gives the Secrets that hold URLs to what is gone.
    async fn leftovers(&self, key: &RequestKey, what: What) -> Result<Vec<String>, StorageError> {
        let work = self.zones.quarantine.bucket();
        match what {
            What::Release => {
                let secrets = revocation::receipts(&self.zones, key).await?;
                revocation::forget(&self.zones, key).await?;
                Ok(secrets)
            }
            What::Quarantine => {
                work.delete_versions(&key.jobs()).await?;
                work.delete_versions(&key.plans()).await?;
                Ok(Vec::new())
            }
            What::Staging => {
                work.delete_versions(&key.plans()).await?;
                Ok(Vec::new())
            }
        }
    }

    /// Nothing is deleted while our clock and a server's differ.
    async fn clocks(&self, now: Timestamp) -> Result<(), RetentionError> {
        clock::agree(&self.zones.quarantine.bucket().emptying(), now).await?;
        clock::agree(&self.zones.records.bucket().emptying(), now).await?;
        clock::agree(&self.release.emptying(), now).await?;
        if let Some(staging) = &self.zones.staging {
            clock::agree(&staging.emptying(), now).await?;
        }
        Ok(())
    }

    fn number(&self, found: &Sweep, now: Timestamp) {
        let numbers = &self.numbers;
        numbers.due.store(found.due, Relaxed);
        numbers.overdue.store(found.overdue, Relaxed);
        numbers.held.store(found.held, Relaxed);
        let refused = found.refused.len() as u64;
        numbers.refused.store(refused, Relaxed);
        let second = u64::try_from(now.as_second()).unwrap_or(0);
        numbers.swept.store(second, Relaxed);
    }

    fn remember<T>(&self, with: impl FnOnce(&mut Memory) -> T) -> T {
        with(&mut self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn rests(&self, key: &str, now: Timestamp) -> Option<Timestamp> {
        self.remember(|memory| {
            let (_, until) = memory.failures.get(key)?;
            (*until > now).then_some(*until)
        })
    }

    /// Gives when it is tried again.
    fn fail(&self, key: &str, now: Timestamp) -> Timestamp {
        self.numbers.failures.fetch_add(1, Relaxed);
        self.remember(|memory| {
            if memory.failures.len() >= REMEMBERED {
                memory.failures.clear();
            }
            let entry = memory.failures.entry(key.to_owned()).or_insert((0, now));
            let pause = (PAUSES.0 << entry.0.min(10)).min(PAUSES.1);
            let until = now.checked_add(SignedDuration::from_secs(pause));
            *entry = (entry.0 + 1, until.unwrap_or(Timestamp::MAX));
            entry.1
        })
    }

    /// Reported once in the log, and in the numbers as long as it is there.
    fn refuse(&self, found: &mut Sweep, key: &str, why: &str) {
        let first = self.remember(|memory| {
            if memory.reported.len() >= REMEMBERED {
                memory.reported.clear();
            }
            memory.reported.insert(key.to_owned())
        });
        if first {
            tracing::error!(
                ticket = key,
                why,
                "a ticket that nothing bears out deletes nothing; look who wrote it, and delete it"
            );
        }
        if found.refused.len() < REMEMBERED {
            found.refused.insert(key.to_owned(), why.to_owned());
        }
    }
}

/// Open while no hold stops it, looked up each time, and while this process leads.
struct NotHeld<'a, L> {
    sweeper: &'a Sweeper,
    case: &'a Case,
    leads: L,
}

impl<L: Fn() -> bool + Sync> Gate for NotHeld<'_, L> {
    async fn open(&self) -> Result<bool, RetentionError> {
        if !(self.leads)() {
            return Err(RetentionError::NotLeading);
        }
        let work = self.sweeper.zones.quarantine.bucket();
        let hold = holds::standing(work, &self.case.key).await?;
        Ok(!stops(
            hold.as_ref(),
            self.case.what,
            self.case.revoked.is_some(),
        ))
    }
}

fn event(key: &RequestKey, receipt: &Deletion) -> Event {
    let word = receipt.what.word();
    let detail = json!({
        "what": word, "due": receipt.due, "bucket": receipt.bucket, "prefix": receipt.prefix,
        "objects": receipt.totals.objects, "versions": receipt.totals.versions,
        "bytes": receipt.totals.bytes, "uploads": receipt.totals.uploads,
    });
    Event {
        id: format!("deleted-{word}"),
        kind: "Deleted".to_owned(),
        actor: None,
        namespace: key.namespace.clone(),
        uid: key.uid.clone(),
        before: None,
        after: None,
        detail: match detail {
            serde_json::Value::Object(map) => map,
            _ => serde_json::Map::new(),
        },
        time: receipt.finished,
    }
}
