//! The leader's dispatcher: takes what is due from the outbox, and delivers it.
//!
//! Every entry is a task of its own, and within it every channel and address: none
//! waits for another. Before each try it is asked whether this process still leads.
//! Killed at any point: the entry is still there, what was delivered has its mark,
//! and what was delivered without one is delivered again under the same id.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use kube::Client;
use kube::runtime::events::Recorder;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::channel::Way;
use super::delivery::{
    Failure, Notification, NotificationFailure, NotificationState, Slot, To, slots,
};
use super::message::Message;
use super::outbox::{Entry, Outbox};
use super::{backoff, checkpoint, shown};
use crate::audit::{Chain, Heads};
use crate::domain::notice::Kind;
use crate::lease::Leadership;
use crate::storage::commit::{commit, read};
use crate::storage::keys::{OUTBOX, RequestKey};
use crate::storage::{StorageError, UrlIssue, Zones, urls};

/// The whole outbox is listed at least so often.
const SLOWLY: Duration = Duration::from_secs(600);
/// So often it is looked whether a checkpoint covers a release.
const CHECKPOINT: Duration = Duration::from_secs(5);
/// After a failure it is listed again so soon.
const AGAIN: Duration = Duration::from_secs(10);
/// With more entries than this under way each is tried once and left where it is.
const CROWD: usize = 1_000;

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
enum Left {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("API server: {0}")]
    Kube(#[from] kube::Error),
    #[error("another controller leads")]
    NotLeading,
    #[error("a channel does not take it yet")]
    NotYet,
}

/// Delivers for as long as this process leads. It never ends.
pub async fn serve(dispatcher: Dispatcher) {
    if dispatcher.outbox.is_off() {
        return std::future::pending().await;
    }
    let mut woken = dispatcher.outbox.woken.lock().await;
    let mut running: JoinSet<(String, Result<(), Left>)> = JoinSet::new();
    let mut known: HashSet<String> = HashSet::new();
    let mut scan = Instant::now();
    loop {
        let mut found = Vec::new();
        tokio::select! {
            () = tokio::time::sleep_until(scan) => {
                let listed = dispatcher.zones.quarantine.bucket().list(OUTBOX).await;
                scan = Instant::now() + SLOWLY;
                match listed {
                    Ok(listed) => found.extend(listed.into_iter().map(|l| l.key)),
                    Err(error) => {
                        tracing::warn!(%error, "the outbox could not be listed; it is tried again");
                        scan = Instant::now() + AGAIN;
                    }
                }
            }
            Some(key) = woken.recv() => found.push(key),
            Some(ended) = running.join_next() => {
                if let Ok((key, result)) = ended {
                    known.remove(&key);
                    if let Err(left) = result {
                        tracing::warn!(key, reason = %left, "a notification stays in the outbox");
                        scan = scan.min(Instant::now() + AGAIN);
                    }
                }
            }
        }
        let now = Timestamp::now();
        for key in found {
            match due(&key) {
                Some(due) if due > now => {
                    let wait = Duration::try_from(due.duration_since(now)).unwrap_or(SLOWLY);
                    scan = scan.min(Instant::now() + wait);
                }
                Some(_) if known.contains(&key) => {}
                Some(_) => {
                    let (work, at) = (dispatcher.clone(), key.clone());
                    let patient = running.len() < CROWD;
                    known.insert(key);
                    running.spawn(async move {
                        let result = work.entry(&at, patient).await;
                        (at, result)
                    });
                }
                None => tracing::warn!(key, "is not the name of a notification; it is left alone"),
            }
        }
        dispatcher.outbox.metrics.under_way(known.len());
    }
}

/// When an entry is due, by its key.
fn due(key: &str) -> Option<Timestamp> {
    key.strip_prefix(OUTBOX)?.split_once('/')?.0.parse().ok()
}

impl Dispatcher {
    /// Delivers one entry everywhere, marks that, and takes it out of the outbox.
    async fn entry(&self, at: &str, patient: bool) -> Result<(), Left> {
        let bucket = self.zones.quarantine.bucket();
        let entry: Entry = match read(bucket, at).await {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok(()),
            Err(error @ StorageError::Corrupt { .. }) => {
                tracing::error!(key = at, %error, "a notification cannot be read; it is left alone");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let key = RequestKey {
            namespace: entry.notice.namespace.clone(),
            uid: entry.notice.uid.clone(),
        };
        let slots = slots(&entry, &self.outbox.channels);
        let ends = slots
            .iter()
            .map(|slot| self.slot(&key, &entry, slot, patient));
        let mut over = Vec::new();
        let mut left = None;
        for (slot, end) in slots.iter().zip(join_all(ends).await) {
            match end {
                Ok(delivery) => over.push((slot.name(), delivery)),
                Err(why) => left = Some(why),
            }
        }
        let deliveries: Vec<Notification> = over.iter().map(|(_, d)| d.clone()).collect();
        shown::on_record(&self.client, &entry, &deliveries).await?;
        if let Some(left) = left {
            return Err(left);
        }
        self.leads()?;
        let events = over
            .iter()
            .map(|(slot, delivery)| shown::in_ledger(&key, &entry, slot, delivery))
            .collect();
        Chain::new(key.ledger())
            .telling(Arc::clone(&self.heads))
            .append(self.zones.records.bucket(), events)
            .await?;
        bucket.delete_versions(at).await?;
        Ok(())
    }

    /// Tries until one slot is over. Gives how it ended, now or at an earlier time.
    async fn slot(
        &self,
        key: &RequestKey,
        entry: &Entry,
        slot: &Slot,
        patient: bool,
    ) -> Result<Notification, Left> {
        let records = self.zones.records.bucket();
        let mark = key.notified(&entry.notice.what, &slot.name());
        if let Some(over) = read::<Notification>(records, &mark).await? {
            return Ok(over);
        }
        let mut attempts = 0;
        loop {
            self.leads()?;
            let tried = self.try_once(key, entry, slot).await?;
            if matches!(tried, Tried::Waits) {
                tokio::time::sleep(CHECKPOINT).await;
                continue;
            }
            attempts += i64::from(!matches!(tried, Tried::Superseded));
            let now = Timestamp::now();
            let (state, failure) = match tried {
                Tried::Taken => (NotificationState::Delivered, None),
                Tried::Superseded | Tried::Waits => (NotificationState::Superseded, None),
                Tried::Failed(failure) if failure.permanent || self.is_late(entry, now) => {
                    (NotificationState::Failed, Some(failure))
                }
                Tried::Failed(failure) => (NotificationState::Pending, Some(failure)),
            };
            let id = entry.notice.id();
            let delivery = slot.delivery(&id, state, attempts, failure, now);
            if shown::is_over(&delivery) {
                let stands = commit(records, &mark, &delivery).await?.into_inner();
                self.outbox.metrics.ended(self.label(slot), stands.state);
                if stands.state == NotificationState::Failed {
                    tracing::warn!(id, channel = slot.channel, attempts, error = ?stands.last_error, "a notification was given up");
                    shown::by_event(&self.recorder, entry, &stands).await;
                }
                // At once: others of the entry may take long. What fails is shown at its end.
                self.show(entry, &stands).await;
                return Ok(stands);
            }
            self.outbox.metrics.failed_try(self.label(slot));
            tracing::debug!(
                id,
                channel = slot.channel,
                attempts,
                ?failure,
                "a notification was not taken"
            );
            self.show(entry, &delivery).await;
            if !patient {
                return Err(Left::NotYet);
            }
            tokio::time::sleep(backoff::pause(attempts)).await;
        }
    }

    async fn show(&self, entry: &Entry, delivery: &Notification) {
        let all = std::slice::from_ref(delivery);
        if let Err(error) = shown::on_record(&self.client, entry, all).await {
            tracing::debug!(id = delivery.id, %error, "a delivery could not be shown");
        }
    }

    /// Channels that nobody configured are one word: a policy can name anything.
    fn label<'a>(&self, slot: &'a Slot) -> &'a str {
        match self.outbox.channels.get(&slot.channel) {
            Some(_) => &slot.channel,
            None => "unknown",
        }
    }

    fn leads(&self) -> Result<(), Left> {
        self.leadership.current().map(drop).ok_or(Left::NotLeading)
    }

    fn is_late(&self, entry: &Entry, now: Timestamp) -> bool {
        let since = Duration::try_from(now.duration_since(entry.notice.time));
        since.is_ok_and(|since| since >= self.outbox.channels.patience)
    }

    fn waits_for_checkpoint(&self, entry: &Entry) -> bool {
        let patience = self.checkpoint_patience;
        let since = Duration::try_from(Timestamp::now().duration_since(entry.notice.time));
        entry.notice.kind == Kind::Released
            && patience.is_some_and(|patience| since.is_ok_and(|since| since < patience))
    }

    async fn try_once(&self, key: &RequestKey, entry: &Entry, slot: &Slot) -> Result<Tried, Left> {
        let failed = |reason| Ok(Tried::Failed(Failure::lasting(reason)));
        let channel = match (&slot.to, self.outbox.channels.get(&slot.channel)) {
            (To::Nowhere(reason), _) => return failed(*reason),
            (_, None) => return failed(NotificationFailure::UnknownChannel),
            (_, Some(channel)) => channel,
        };
        let Ok(_permit) = channel.permits.acquire().await else {
            return Err(Left::NotLeading);
        };
        // After the wait: a release may have been revoked meanwhile.
        let Some(mut message) = self.message(key, entry).await? else {
            return Ok(Tried::Superseded);
        };
        if message.checkpoint.is_none() && self.waits_for_checkpoint(entry) {
            return Ok(Tried::Waits);
        }
        let sent = match (&slot.to, &channel.way) {
            (To::Webhook, Way::Webhook(webhook)) => webhook.send(&message, Timestamp::now()).await,
            (To::Recipient(address), Way::Mail(mail)) => mail.send(&message, address).await,
            (To::Own(_, address), Way::Mail(mail)) => {
                // The URL is for those whom the request names.
                message.url = None;
                mail.send(&message, address).await
            }
            _ => return failed(NotificationFailure::UnknownChannel),
        };
        Ok(match sent {
            Ok(()) => Tried::Taken,
            Err(failure) => Tried::Failed(failure),
        })
    }

    /// What is to be said now; none where it is no longer so.
    async fn message<'a>(
        &'a self,
        key: &RequestKey,
        entry: &'a Entry,
    ) -> Result<Option<Message<'a>>, StorageError> {
        let notice = &entry.notice;
        let mut message = Message {
            notice,
            cluster: &self.cluster,
            url: None,
            checkpoint: None,
        };
        let of_url = matches!(
            notice.kind,
            Kind::Released | Kind::UrlRenewed | Kind::UrlEnding | Kind::WindowEnding
        );
        if !of_url {
            return Ok(Some(message));
        }
        let records = self.zones.records.bucket();
        let over = notice.ends.is_some_and(|ends| ends <= Timestamp::now());
        if over || records.exists(&key.revoked()).await? {
            return Ok(None);
        }
        if notice.kind == Kind::Released {
            let since = notice.time;
            message.checkpoint = checkpoint::covering(records, key, entry.sequence, since).await?;
        }
        let Some(issue) = notice.issue.filter(|_| notice.kind != Kind::WindowEnding) else {
            return Ok(Some(message));
        };
        let issues = urls::issues(self.zones.quarantine.bucket(), key).await?;
        let in_force: Option<&UrlIssue> = issues.last();
        Ok(match (notice.kind, in_force) {
            // A later one is told of by itself.
            (Kind::UrlEnding | Kind::UrlRenewed, Some(url)) if url.issue != issue => None,
            (Kind::UrlEnding | Kind::UrlRenewed, None) => None,
            (_, Some(url)) if url.expires <= Timestamp::now() => None,
            (kind, Some(url)) if kind.hands_out() => {
                message.url = Some((url.url(), url.expires));
                Some(message)
            }
            _ => Some(message),
        })
    }
}

/// How a try ended.
enum Tried {
    Taken,
    /// A checkpoint that covers it is on its way.
    Waits,
    Failed(Failure),
    Superseded,
}
