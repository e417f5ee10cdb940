//! One ticket that is due: whether the closing facts bear it out, and then the deletion.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;

use super::empty::{Emptied, Gate, empty, plan};
use super::error::RetentionError;
use super::sweep::Sweeper;
use super::witness::{Done, Whose, Witness};
use super::{holds, tickets};
use trevor_core::commit::{Closed, Revoked, Ticket};
use trevor_core::event::Event;
use trevor_core::keys::RequestKey;
use trevor_core::object_key::WorkKey;
use trevor_core::retention::{Deletion, Named, Standing, Verdict, What, belongs, judge, stops};
use trevor_store::audit::Chain;
use trevor_store::purge::Emptying;
use trevor_store::{StorageError, revocation};

/// What became of one ticket.
pub(super) enum Outcome {
    Deleted,
    Part,
    Held,
    Open,
    Early(Timestamp),
    /// Of another cluster.
    Foreign(String),
    Refused(String),
    /// Another sweeper was faster.
    Gone,
}

/// Whose ticket it is, as far as that is known without the closing facts.
enum Found {
    Of(Whose),
    Not(Outcome),
}

/// What a ticket is about, with all that is stored of it.
struct Case {
    whose: Whose,
    closed: Option<Closed>,
    revoked: Option<Revoked>,
    what: What,
}

impl Case {
    fn standing(&self) -> Standing<'_> {
        Standing {
            owner: Some(&self.whose.owner),
            closed: self.closed.as_ref(),
            revoked: self.revoked.as_ref(),
        }
    }
}

impl Sweeper {
    /// Acts on a ticket; whoever is told of failures is told here.
    pub(super) async fn process(
        &self,
        at: &WorkKey<Ticket>,
        named: &Named,
        now: Timestamp,
        witness: &impl Witness,
        left: &mut u64,
    ) -> Result<Outcome, RetentionError> {
        let whose = match self.find(at, named).await {
            Ok(Found::Of(whose)) => whose,
            Ok(Found::Not(outcome)) => return Ok(outcome),
            Err(error) => {
                witness.failed(named, None, &error).await;
                return Err(error);
            }
        };
        let done = self.act(at, named, &whose, now, witness, left).await;
        if let Err(error) = &done {
            witness.failed(named, Some(&whose), error).await;
        }
        done
    }

    async fn find(&self, at: &WorkKey<Ticket>, named: &Named) -> Result<Found, RetentionError> {
        let Some(body) = self.zones.quarantine.work().get_bytes(at).await? else {
            return Ok(Found::Not(Outcome::Gone));
        };
        let refused = |why: &str| Ok(Found::Not(Outcome::Refused(why.to_owned())));
        let ticket = match serde_json::from_slice::<Ticket>(&body) {
            Ok(ticket) if belongs(named, &ticket) => ticket,
            Ok(_) => return refused("it says another thing than its name"),
            Err(error) => return refused(&format!("it cannot be read: {error}")),
        };
        let key = RequestKey {
            namespace: ticket.namespace,
            uid: named.uid.clone(),
        };
        match self.zones.records.get(&key.owner()).await? {
            Some(owner) if owner.namespace == key.namespace && owner.uid == key.uid => {
                Ok(Found::Of(Whose { key, owner }))
            }
            Some(_) | None => refused(UNKNOWN),
        }
    }

    async fn act(
        &self,
        at: &WorkKey<Ticket>,
        named: &Named,
        whose: &Whose,
        now: Timestamp,
        witness: &impl Witness,
        left: &mut u64,
    ) -> Result<Outcome, RetentionError> {
        let (work, records) = (self.zones.quarantine.work(), &self.zones.records);
        let (closed_at, revoked_at) = (whose.key.closed(), whose.key.revoked());
        let (closed, revoked) =
            tokio::try_join!(records.get(&closed_at), records.get(&revoked_at))?;
        let mut case = Case {
            whose: whose.clone(),
            closed,
            revoked,
            what: named.what,
        };
        let owned_by = &whose.owner.cluster;
        let cluster = match self.takes(owned_by).await? {
            true => owned_by,
            false => &self.cluster,
        };
        loop {
            return match judge(named, case.standing(), cluster, self.plan_life, now) {
                Verdict::Unknown => Ok(Outcome::Refused(UNKNOWN.to_owned())),
                Verdict::Foreign => Ok(Outcome::Foreign(owned_by.clone())),
                Verdict::Open
                    if case.closed.is_none() && witness.open(&whose.key, &whose.owner).await =>
                {
                    case.closed = records.get(&closed_at).await?;
                    if case.closed.is_some() {
                        continue;
                    }
                    Ok(Outcome::Open)
                }
                Verdict::Open => Ok(Outcome::Open),
                Verdict::Early(due) => {
                    tracing::warn!(ticket = %at, %due, "a ticket is earlier than the closing facts; it is put right, and nothing is deleted");
                    tickets::write(work, &whose.key, case.what, due).await?;
                    tickets::remove(work, at).await?;
                    Ok(Outcome::Early(due))
                }
                Verdict::Delete(due) => {
                    let outcome = self.delete(&case, due, now, witness, left).await?;
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
        let (key, what) = (&case.whose.key, case.what);
        let gate = NotHeld {
            sweeper: self,
            case,
            witness,
            asked: Mutex::default(),
        };
        if !gate.open().await? {
            witness.held(key, &case.whose.owner).await;
            return Ok(Outcome::Held);
        }
        let place = self.place(key, what)?;
        let records = &self.zones.records;
        let plan = plan(records, key, &place, (what, due, now)).await?;
        match empty(&place, &gate, &self.pace, left).await? {
            Emptied::All => {}
            Emptied::Part => return Ok(Outcome::Part),
            Emptied::Held => {
                witness.held(key, &case.whose.owner).await;
                return Ok(Outcome::Held);
            }
        }
        let secrets = self.leftovers(key, what).await?;
        let totals = plan.totals;
        let receipt = plan.done(trevor_api::condition::second(now.max(Timestamp::now())));
        let receipt = records
            .create(&key.deletion(what.word()), &receipt)
            .await?
            .into_inner();
        let event = event(key, &receipt);
        let chain = Chain::new(key.ledger()).telling(witness.heads());
        let head = chain.append(records, vec![event.clone()]).await?;
        let done = Done {
            key: key.clone(),
            owner: case.whose.owner.clone(),
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

    fn place(&self, key: &RequestKey, what: What) -> Result<Emptying, RetentionError> {
        Ok(match what {
            What::Quarantine => self.zones.quarantine.emptying(key),
            What::Release => self.release.emptying(key),
            What::Staging => {
                let staging = self.zones.staging.as_ref();
                staging.ok_or(RetentionError::NoStaging)?.emptying(key)
            }
        })
    }

    /// What else goes with it; gives the Secrets that hold URLs to what is gone.
    async fn leftovers(&self, key: &RequestKey, what: What) -> Result<Vec<String>, StorageError> {
        let work = self.zones.quarantine.work();
        match what {
            What::Release => {
                let secrets = revocation::receipts(&self.zones, key).await?;
                revocation::forget(&self.zones, key).await?;
                Ok(secrets)
            }
            What::Quarantine => {
                work.delete_all_versions(&key.jobs()).await?;
                work.delete_all_versions(&key.plans()).await?;
                Ok(Vec::new())
            }
            What::Staging => {
                work.delete_all_versions(&key.plans()).await?;
                Ok(Vec::new())
            }
        }
    }
}

const UNKNOWN: &str = "no request of this namespace and uid is recorded";

/// What was asked for is read again before a batch, when the last read is so old.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// Open while no hold stops it, looked up each time, and while this process leads.
struct NotHeld<'a, W> {
    sweeper: &'a Sweeper,
    case: &'a Case,
    witness: &'a W,
    asked: Mutex<Option<Instant>>,
}

impl<W: Witness> NotHeld<'_, W> {
    async fn ask(&self) -> Result<(), RetentionError> {
        let began = Instant::now();
        let last = *self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| began.duration_since(last) < READ_AGAIN) {
            return Ok(());
        }
        let whose = &self.case.whose;
        self.witness.asked(&whose.key, &whose.owner).await?;
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(began);
        Ok(())
    }
}

impl<W: Witness> Gate for NotHeld<'_, W> {
    async fn open(&self) -> Result<bool, RetentionError> {
        if !self.witness.leads() {
            return Err(RetentionError::NotLeading);
        }
        self.ask().await?;
        let work = self.sweeper.zones.quarantine.work();
        let hold = holds::standing(work, &self.case.whose.key).await?;
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
