//! The channels of the configuration, with their secrets and connections.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::delivery::Failure;
use super::health::Health;
use super::mail::Mail;
use super::webhook::Webhook;
use trevor_config::address::Allowed;
use trevor_config::notifications::{Channel as Settings, Notifications};
use trevor_core::notice::Kind;

/// Messages that are on their way by one channel at once.
const AT_ONCE: usize = 4;

/// Why a channel cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// A secret is missing or malformed.
    #[error("environment variable {variable} of notification channel {channel}: {problem}")]
    Secret {
        /// The channel.
        channel: String,
        /// The variable.
        variable: String,
        /// What is wrong and what to do.
        problem: &'static str,
    },
    /// TLS cannot be set up.
    #[error("notification channel {channel}: {problem}; ca_bundle is a file of PEM certificates")]
    Tls {
        /// The channel.
        channel: String,
        /// What is wrong.
        problem: String,
    },
    /// A setting cannot work.
    #[error("notification channel {channel}: {problem}")]
    Settings {
        /// The channel.
        channel: String,
        /// What is wrong.
        problem: String,
    },
}

/// A secret of a channel: it prints as nothing.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Its text, for the one who signs or logs in.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// One channel.
#[derive(Debug)]
pub struct Channel {
    /// As configured.
    pub config: Settings,
    /// How it goes.
    pub way: Way,
    /// So many messages at once.
    pub permits: Semaphore,
    health: Mutex<Health>,
}

impl Channel {
    /// Whether it takes anything at all.
    pub(super) fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a channel goes.
#[derive(Debug)]
pub enum Way {
    /// HTTP.
    Webhook(Box<Webhook>),
    /// SMTP.
    Mail(Box<Mail>),
}

/// All channels, by name.
#[derive(Debug)]
pub struct Channels {
    all: BTreeMap<String, Channel>,
    /// How long a message is tried.
    pub patience: Duration,
}

impl Channels {
    /// Sets them up. `secret` gives the value of an environment variable.
    ///
    /// # Errors
    /// When a secret is missing, or TLS cannot be set up.
    pub fn new(
        config: &Notifications,
        secret: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ChannelError> {
        let allowed = Allowed::parse(&config.allowed_hosts).unwrap_or_default();
        let mut all = BTreeMap::new();
        for settings in &config.channels {
            let secret = |what: &str| {
                let text = secret(&settings.variable(what))?;
                // A Secret that was made from a file ends in a line break.
                let text = text.trim_end_matches(['\r', '\n']);
                (!text.is_empty()).then(|| Secret(text.to_owned()))
            };
            let way = match (&settings.webhook, &settings.smtp) {
                (Some(webhook), _) => Way::Webhook(Box::new(Webhook::new(
                    settings,
                    webhook,
                    allowed.clone(),
                    secret("SIGNING_SECRET").as_ref(),
                )?)),
                (None, Some(smtp)) => Way::Mail(Box::new(Mail::new(
                    settings,
                    smtp,
                    secret("PASSWORD").as_ref(),
                )?)),
                (None, None) => continue,
            };
            let channel = Channel {
                config: settings.clone(),
                way,
                permits: Semaphore::new(AT_ONCE),
                health: Mutex::default(),
            };
            all.insert(settings.name.clone(), channel);
        }
        Ok(Self {
            all,
            patience: Duration::from_secs(config.retry_seconds.unsigned_abs()),
        })
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.all.keys()
    }

    /// Tries whether each is reached, without sending anything.
    pub async fn reach(&self) -> Vec<(&str, Result<(), Failure>)> {
        let tries = self.all.iter().map(|(name, channel)| async move {
            let reached = match &channel.way {
                Way::Webhook(webhook) => webhook.reach().await,
                Way::Mail(mail) => mail.reach().await,
            };
            (name.as_str(), reached)
        });
        futures::future::join_all(tries).await
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Channel> {
        self.all.get(name)
    }

    /// Those that tell of something.
    #[must_use]
    pub fn names_of(&self, kind: Kind) -> Vec<String> {
        let telling = self.all.iter().filter(|(_, c)| c.config.tells_of(kind));
        telling.map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_break_at_the_end_of_a_channels_secret_is_none_of_it() {
        let config: Notifications = serde_yaml::from_str(
            "{allowed_hosts: [hooks.example], channels: [{name: desk, webhook: {url: 'https://hooks.example/'}}]}",
        )
        .unwrap();
        let key = format!("whsec_{}", "a2V5".repeat(8));
        for (value, taken) in [
            (key.clone(), true),
            (format!("{key}\n"), true),
            (format!("{key}\r\n"), true),
            ("\n".to_owned(), false),
            (format!("{key} {key}"), false),
        ] {
            let made = Channels::new(&config, |name| {
                (name == "TREVOR_NOTIFY_DESK_SIGNING_SECRET").then(|| value.clone())
            });
            assert_eq!(made.is_ok(), taken, "{value:?}");
        }
    }
}
