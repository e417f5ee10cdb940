//! Delivers one entry everywhere, as far as it goes now: each channel and address for
//! itself, and each tried once. What is not over stays in the outbox for a later look, so
//! that nothing waits here for a channel in trouble.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use super::channel::{Channel, Way};
use super::delivery::{
    Failure, Notification, NotificationFailure, NotificationState, Slot, To, slots,
};
use super::dispatch::{Dispatcher, Left};
use super::health::is_of_channel;
use super::message::Message;
use super::queue::Tries;
use super::{backoff, checkpoint, shown};
use trevor_core::keys::{self, RequestKey};
use trevor_core::notice::{Kind, OutboxEntry};
use trevor_core::object_key::FactKey;
use trevor_core::url_issue::UrlIssue;
use trevor_store::audit::Chain;
use trevor_store::{StorageError, urls};

/// So often it is looked whether a checkpoint covers a release.
const CHECKPOINT: Duration = Duration::from_secs(5);
/// So long a message waits for its turn on a channel; longer, where others have theirs.
const TURN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// After that it waits for its turn again, the longer the more often it did.
const AGAIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30));

/// So often a mark that could not be stored is tried again at once, before the whole delivery is.
const MARK_RETRIES: i64 = 3;

/// What became of one delivery.
enum End {
    /// It is over, now or since an earlier time.
    Over(Notification),
    /// It is tried again then; whether this was a try.
    Later(Instant, bool),
}

impl Dispatcher {
    /// Tries what is not over of an entry; once all is, marks that, and takes it out of the
    /// outbox.
    pub(super) async fn entry(&self, at: &str, mut tries: Tries) -> Result<(), Left> {
        let work = self.zones.quarantine.work();
        let Some(at) = keys::outbox().key_of(at) else {
            return Ok(());
        };
        let entry = match work.get(&at).await {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok(()),
            Err(error @ StorageError::Corrupt { .. }) => {
                tracing::error!(key = %at, %error, "a notification cannot be read; it is left alone");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let key = RequestKey {
            namespace: entry.notice.namespace.clone(),
            uid: entry.notice.uid.clone(),
        };
        tries.looks += 1;
        let slots = slots(&entry, &self.outbox.channels);
        let ends = slots
            .iter()
            .map(|slot| self.slot(&key, &entry, slot, &tries));
        let mut before = tries.slots.clone();
        let mut over = Vec::new();
        let (mut left, mut later) = (None, None::<Instant>);
        for (slot, end) in slots.iter().zip(join_all(ends).await) {
            match end {
                Ok(End::Over(delivery)) => {
                    before.remove(&slot.name());
                    over.push((slot.name(), delivery));
                }
                Ok(End::Later(until, tried)) => {
                    *before.entry(slot.name()).or_default() += i64::from(tried);
                    later = Some(later.map_or(until, |known| known.min(until)));
                }
                Err(why) => left = Some(why),
            }
        }
        let deliveries: Vec<Notification> = over.iter().map(|(_, d)| d.clone()).collect();
        shown::on_record(&self.client, &entry, &deliveries).await?;
        if let Some(left) = left {
            return Err(left);
        }
        if let Some(until) = later {
            let tries = Tries {
                looks: tries.looks,
                slots: before,
            };
            return Err(Left::Later(until, tries));
        }
        self.leads()?;
        let events = over
            .iter()
            .map(|(slot, delivery)| shown::in_ledger(&key, &entry, slot, delivery))
            .collect();
        Chain::new(key.ledger())
            .telling(Arc::clone(&self.heads))
            .append(&self.zones.records, events)
            .await?;
        work.delete_versions(&at).await?;
        Ok(())
    }

    /// Tries one slot, once, unless it is over or its channel rests.
    async fn slot(
        &self,
        key: &RequestKey,
        entry: &OutboxEntry,
        slot: &Slot,
        tries: &Tries,
    ) -> Result<End, Left> {
        let mark = key.notified(&entry.notice.what, &slot.name());
        if let Some(over) = self.zones.records.get(&mark).await? {
            return Ok(End::Over(over));
        }
        self.leads()?;
        let before = tries.slots.get(&slot.name()).copied().unwrap_or(0);
        let pause = backoff::pause(tries.looks);
        let tried = self.try_once(key, entry, slot).await?;
        let now = Timestamp::now();
        let late = self.is_late(entry, now);
        let (attempts, state, failure) = match tried {
            Tried::Waits(until) => return Ok(End::Later(until, false)),
            Tried::Turn => {
                let pause = pause.clamp(AGAIN.0, AGAIN.1);
                return Ok(End::Later(Instant::now() + pause, false));
            }
            // It was tried by others, for as long as this one was to be told.
            Tried::Rests(_, failure) if late => (before, NotificationState::Failed, Some(failure)),
            Tried::Rests(until, _) => {
                // The longer it waits the more rarely it is looked at, until the channel is back.
                return Ok(End::Later(until.max(Instant::now() + pause), false));
            }
            Tried::Taken => (before + 1, NotificationState::Delivered, None),
            Tried::Superseded => (before, NotificationState::Superseded, None),
            Tried::Failed(failure) if failure.permanent || late => {
                (before + 1, NotificationState::Failed, Some(failure))
            }
            Tried::Failed(failure) => (before + 1, NotificationState::Pending, Some(failure)),
        };
        let id = entry.notice.id();
        let delivery = slot.delivery(&id, state, attempts, failure, now);
        if shown::is_over(&delivery) {
            let stands = self.store(&mark, &delivery).await?;
            self.outbox.metrics.ended(self.label(slot), stands.state);
            if stands.state == NotificationState::Failed {
                tracing::warn!(id, channel = slot.channel, attempts, error = ?stands.last_error, "a notification was given up");
                shown::by_event(&self.recorder, entry, &stands).await;
            }
            // At once: others of the entry may take long. What fails is shown at its end.
            self.show(entry, &stands).await;
            return Ok(End::Over(stands));
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
        Ok(End::Later(Instant::now() + backoff::pause(attempts), true))
    }

    /// Stores how a slot ended. What was taken would be sent again if this failed, or be
    /// recorded as superseded where a revocation comes first: so it is tried a few times.
    async fn store(
        &self,
        mark: &FactKey<Notification>,
        delivery: &Notification,
    ) -> Result<Notification, Left> {
        let mut failures = 0;
        loop {
            self.leads()?;
            match self.zones.records.create(mark, delivery).await {
                Ok(stands) => return Ok(stands.into_inner()),
                Err(error) if error.is_transient() && failures < MARK_RETRIES => {
                    failures += 1;
                    tokio::time::sleep(backoff::pause(failures)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn show(&self, entry: &OutboxEntry, delivery: &Notification) {
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

    fn is_late(&self, entry: &OutboxEntry, now: Timestamp) -> bool {
        let since = Duration::try_from(now.duration_since(entry.notice.time));
        since.is_ok_and(|since| since >= self.outbox.channels.patience)
    }

    fn waits_for_checkpoint(&self, entry: &OutboxEntry) -> bool {
        let patience = self.checkpoint_patience;
        let since = Duration::try_from(Timestamp::now().duration_since(entry.notice.time));
        entry.notice.kind == Kind::Released
            && patience.is_some_and(|patience| since.is_ok_and(|since| since < patience))
    }

    async fn try_once(
        &self,
        key: &RequestKey,
        entry: &OutboxEntry,
        slot: &Slot,
    ) -> Result<Tried, Left> {
        let failed = |reason| Ok(Tried::Failed(Failure::lasting(reason)));
        let channel = match (&slot.to, self.outbox.channels.get(&slot.channel)) {
            (To::Nowhere(reason), _) => return failed(*reason),
            (_, None) => return failed(NotificationFailure::UnknownChannel),
            (_, Some(channel)) => channel,
        };
        if let Some((until, failure)) = channel.health().resting(Instant::now()) {
            return Ok(Tried::Rests(until, failure));
        }
        let Some(_permit) = turn(channel).await else {
            return Ok(Tried::Turn);
        };
        // After the wait: a release may have been revoked meanwhile.
        let Some(mut message) = self.message(key, entry).await? else {
            return Ok(Tried::Superseded);
        };
        if message.checkpoint.is_none() && self.waits_for_checkpoint(entry) {
            return Ok(Tried::Waits(Instant::now() + CHECKPOINT));
        }
        if let Err((until, failure)) = channel.health().ask(Instant::now()) {
            return Ok(Tried::Rests(until, failure));
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
        channel.health().moves(Instant::now());
        match &sent {
            Err(failure) if is_of_channel(failure) => {
                channel.health().fails(*failure, Instant::now());
            }
            Ok(()) | Err(_) => {
                if channel.health().works() {
                    self.outbox.recovers();
                }
            }
        }
        Ok(match sent {
            Ok(()) => Tried::Taken,
            Err(failure) => Tried::Failed(failure),
        })
    }

    /// What is to be said now; none where it is no longer so.
    async fn message<'a>(
        &'a self,
        key: &RequestKey,
        entry: &'a OutboxEntry,
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
        let records = &self.zones.records;
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
        let issues = urls::issues(self.zones.quarantine.work(), key).await?;
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
    /// It is not its turn.
    Turn,
    /// A checkpoint that covers it is on its way.
    Waits(Instant),
    /// The channel takes nothing: why, and when it is tried again.
    Rests(Instant, Failure),
    Failed(Failure),
    Superseded,
}

/// A turn on a channel, where one comes soon: one that hangs keeps all of its own.
async fn turn(channel: &Channel) -> Option<SemaphorePermit<'_>> {
    let mut turn = std::pin::pin!(channel.permits.acquire());
    let end = Instant::now() + TURN.1;
    loop {
        // What waits keeps its place.
        match tokio::time::timeout(TURN.0, &mut turn).await {
            Ok(permit) => return permit.ok(),
            Err(_) => {
                let now = Instant::now();
                if now >= end || !channel.health().is_moving(now) {
                    return None;
                }
            }
        }
    }
}
