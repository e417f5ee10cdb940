//! One notification by one channel to one address, and how a try ends.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::channel::{Channels, Way};
use super::outbox::Entry;
use crate::api::condition::second;
pub use crate::api::{Notification, NotificationError, NotificationFailure, NotificationState};
use crate::domain::digest::Sha256Hex;

/// Why a try failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// One word.
    pub reason: NotificationFailure,
    /// Status code of HTTP or SMTP.
    pub code: Option<u16>,
    /// Another try would end the same.
    pub permanent: bool,
}

impl Failure {
    /// One that may pass.
    #[must_use]
    pub fn passing(reason: NotificationFailure) -> Self {
        Self {
            reason,
            code: None,
            permanent: false,
        }
    }

    /// One that stays.
    #[must_use]
    pub fn lasting(reason: NotificationFailure) -> Self {
        Self {
            permanent: true,
            ..Self::passing(reason)
        }
    }
}

impl From<Failure> for NotificationError {
    fn from(failure: Failure) -> Self {
        Self {
            reason: failure.reason,
            code: failure.code.map(i64::from),
        }
    }
}

/// Where one notification is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Name of the channel.
    pub channel: String,
    /// Where to.
    pub to: To,
}

/// Where to, by a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// The channel's URL.
    Webhook,
    /// Somebody whom the request names; the URL is for them.
    Recipient(String),
    /// One of the channel's own addresses.
    Own(usize, String),
    /// There is nobody to tell, or no such channel.
    Nowhere(NotificationFailure),
}

impl Slot {
    /// Its name among those of one notification, without an address in it.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.to {
            To::Webhook | To::Nowhere(_) => self.channel.clone(),
            To::Recipient(address) | To::Own(_, address) => {
                let hash = Sha256Hex::of(address.as_bytes());
                format!("{}.{}", self.channel, hash.short(12))
            }
        }
    }

    /// A delivery of it.
    #[must_use]
    pub fn delivery(
        &self,
        id: &str,
        state: NotificationState,
        attempts: i64,
        failure: Option<Failure>,
        now: Timestamp,
    ) -> Notification {
        Notification {
            channel: self.channel.clone(),
            target: match &self.to {
                To::Recipient(address) => Some(address.clone()),
                To::Own(index, _) => Some(format!("to[{index}]")),
                To::Webhook | To::Nowhere(_) => None,
            },
            id: id.to_owned(),
            state,
            attempts,
            last_error: failure.map(NotificationError::from),
            time: Time(second(now)),
        }
    }
}

/// Everywhere that an entry goes.
#[must_use]
pub fn slots(entry: &Entry, channels: &Channels) -> Vec<Slot> {
    let kind = entry.notice.kind;
    let mut found = Vec::new();
    for name in &entry.channels {
        let mut add = |to| {
            let slot = Slot {
                channel: name.clone(),
                to,
            };
            found.push(slot);
        };
        let Some(channel) = channels.get(name) else {
            add(To::Nowhere(NotificationFailure::UnknownChannel));
            continue;
        };
        if !channel.config.tells_of(kind) {
            continue;
        }
        let (own, recipients) = match &channel.way {
            Way::Webhook(_) => {
                add(To::Webhook);
                continue;
            }
            Way::Mail(mail) => (&mail.config.to, mail.config.recipients),
        };
        let told = recipients && kind.is_for_recipients();
        if own.is_empty() && told && entry.recipients.is_empty() {
            add(To::Nowhere(NotificationFailure::NoAddress));
        }
        for (index, address) in own.iter().enumerate() {
            add(To::Own(index, address.clone()));
        }
        for address in entry.recipients.iter().filter(|a| told && !own.contains(a)) {
            add(To::Recipient(address.clone()));
        }
    }
    found
}
