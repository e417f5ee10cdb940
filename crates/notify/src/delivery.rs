//! One notification by one channel to one address, and how a try ends.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::channel::{Channels, Way};
use trevor_api::condition::second;
pub use trevor_api::{Notification, NotificationError, NotificationFailure, NotificationState};
use trevor_core::digest::Sha256Hex;
use trevor_core::notice::OutboxEntry;

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
pub fn slots(entry: &OutboxEntry, channels: &Channels) -> Vec<Slot> {
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
        // Who is both is a recipient: the URL is for them.
        let both = |address: &String| told && entry.recipients.contains(address);
        for (index, address) in own.iter().enumerate().filter(|(_, a)| !both(a)) {
            add(To::Own(index, address.clone()));
        }
        for address in entry.recipients.iter().filter(|_| told) {
            add(To::Recipient(address.clone()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use trevor_core::notice::Kind;

    const CHANNELS: &str = "
allowed_hosts: [hooks.example]
channels:
- name: desk
  webhook: {url: 'https://hooks.example', allow_unsigned: true}
  events: [Released, Overdue]
- name: mail
  smtp: {host: m.example, tls: None, allow_plaintext: true, from: a@tre.example, to: [desk@tre.example], recipients: true}
- name: people
  smtp: {host: m.example, tls: None, allow_plaintext: true, from: a@tre.example, recipients: true}
";

    fn found(kind: Kind, channels: &[&str], recipients: &[&str]) -> Vec<(String, To)> {
        let settings: trevor_config::notifications::Notifications =
            serde_yaml::from_str(CHANNELS).unwrap();
        settings.check().unwrap();
        let all = Channels::new(&settings, |_| None).unwrap();
        let entry = serde_json::json!({"channels": channels, "recipients": recipients,
            "request": "r", "record": "r", "notice": {"what": "w", "kind": kind, "namespace": "a",
                "uid": "u", "time": "2026-01-02T03:04:05Z"}});
        let entry: OutboxEntry = serde_json::from_value(entry).unwrap();
        let slots = slots(&entry, &all);
        let names: std::collections::BTreeSet<_> = slots.iter().map(Slot::name).collect();
        assert_eq!(names.len(), slots.len(), "each has a mark of its own");
        assert!(names.iter().all(|n| !n.contains('@')), "{names:?}");
        slots.into_iter().map(|s| (s.channel, s.to)).collect()
    }

    #[test]
    fn a_notice_goes_to_each_channel_that_tells_of_it_and_to_recipients_of_a_release_alone() {
        let all = ["desk", "mail", "people"];
        let own = || ("mail".to_owned(), To::Own(0, "desk@tre.example".to_owned()));
        let desk = || ("desk".to_owned(), To::Webhook);
        let to = |c: &str, who: &str| (c.to_owned(), To::Recipient(who.to_owned()));
        let nowhere = |c: &str, why| (c.to_owned(), To::Nowhere(why));
        let lead = "lead@uni.example";
        for (kind, recipients, expected) in [
            (Kind::Submitted, &[lead][..], vec![own()]),
            (Kind::Overdue, &[lead], vec![desk(), own()]),
            (
                Kind::Released,
                &[lead],
                vec![desk(), own(), to("mail", lead), to("people", lead)],
            ),
            // Who is both is a recipient, and told once; nobody to tell is said.
            (
                Kind::Released,
                &["desk@tre.example"],
                vec![
                    desk(),
                    to("mail", "desk@tre.example"),
                    to("people", "desk@tre.example"),
                ],
            ),
            (
                Kind::Revoked,
                &[],
                vec![own(), nowhere("people", NotificationFailure::NoAddress)],
            ),
        ] {
            assert_eq!(found(kind, &all, recipients), expected, "{kind:?}");
        }
        assert_eq!(
            found(Kind::Submitted, &["gone"], &[]),
            [nowhere("gone", NotificationFailure::UnknownChannel)]
        );
    }
}
