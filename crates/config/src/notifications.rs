//! `notifications` of the configuration: the channels, and where they may lead.
//!
//! Secrets are not here. They come as environment variables that carry the
//! channel's name: `TREVOR_NOTIFY_<NAME>_SIGNING_SECRET` of a webhook (Standard
//! Webhooks, `whsec_…`) and `TREVOR_NOTIFY_<NAME>_PASSWORD` of a mail server, with
//! the name in capitals and `_` for `-`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Deserialize;

use super::address::Allowed;
use crate::ConfigError;
use trevor_core::notice::Kind;
use trevor_core::proxies::{self, Proxy};

/// Channels that a configuration can have.
const MOST: usize = 20;
/// Addresses that a channel writes to.
const MOST_ADDRESSES: usize = 50;

/// `notifications`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Notifications {
    /// The channels; a policy names some of them, or all are used.
    pub channels: Vec<Channel>,
    /// Where webhooks may lead: names of hosts; and addresses or networks
    /// (`10.1.0.0/16`), without which no private, loopback or link-local address is
    /// connected to, whatever a name resolves to.
    pub allowed_hosts: Vec<String>,
    /// Seconds after which a message that cannot be delivered is given up.
    pub retry_seconds: i64,
}

impl Default for Notifications {
    fn default() -> Self {
        Self {
            channels: Vec::new(),
            allowed_hosts: Vec::new(),
            retry_seconds: 86_400,
        }
    }
}

/// One channel: a webhook or a mail server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// Its name, by which policies, status and environment variables know it.
    pub name: String,
    /// What it tells of; all, unless given.
    #[serde(default)]
    pub events: Option<BTreeSet<Kind>>,
    /// A webhook.
    #[serde(default)]
    pub webhook: Option<Webhook>,
    /// A mail server.
    #[serde(default)]
    pub smtp: Option<Smtp>,
    /// The Secret from which the chart sets its environment variables.
    #[serde(default)]
    pub credentials_secret: Option<String>,
}

/// `webhook`: CloudEvents 1.0 over HTTP.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where to POST.
    pub url: String,
    /// How the event is laid out.
    #[serde(default)]
    pub mode: Mode,
    /// Send without a signature (Standard Webhooks), for which there is no secret.
    #[serde(default)]
    pub allow_unsigned: bool,
    /// Send over plain HTTP.
    #[serde(default)]
    pub allow_plaintext: bool,
    /// PEM file with the certificate authority, if not a public one.
    #[serde(default)]
    pub ca_bundle: Option<PathBuf>,
    /// An HTTP proxy to call through. It resolves the host's name itself, so that only the
    /// name is checked and no address. Proxies of the environment are never used.
    #[serde(default)]
    pub proxy: Option<String>,
}

/// Content modes of CloudEvents over HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Mode {
    /// The whole event is the body.
    #[default]
    Structured,
    /// Attributes are headers, the data is the body.
    Binary,
}

/// `smtp`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Smtp {
    /// The mail server.
    pub host: String,
    /// Its port.
    #[serde(default = "submission")]
    pub port: u16,
    /// How the connection is protected.
    #[serde(default)]
    pub tls: Tls,
    /// Send without TLS (`tls: None`).
    #[serde(default)]
    pub allow_plaintext: bool,
    /// PEM file with the certificate authority, if not a public one.
    #[serde(default)]
    pub ca_bundle: Option<PathBuf>,
    /// Who logs in; nobody, unless given.
    #[serde(default)]
    pub username: Option<String>,
    /// Whom the mail is from.
    pub from: String,
    /// Whom it goes to, whatever the request: checkers, operators.
    #[serde(default)]
    pub to: Vec<String>,
    /// Tell those whom a request names of its release, its URLs and its revocation.
    #[serde(default)]
    pub recipients: bool,
}

fn submission() -> u16 {
    587
}

/// How a connection to a mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Tls {
    /// By STARTTLS, which must be offered.
    #[default]
    StartTls,
    /// From the start.
    Tls,
    /// Not at all.
    None,
}

fn bad(key: String, problem: impl Into<String>) -> ConfigError {
    ConfigError::Key {
        key,
        problem: problem.into(),
    }
}

impl Notifications {
    /// Says which key cannot work.
    ///
    /// # Errors
    /// With the key and what to do, in one line.
    pub fn check(&self) -> Result<(), ConfigError> {
        let key = |rest: &str| format!("notifications.{rest}");
        let allowed = Allowed::parse(&self.allowed_hosts).map_err(|entry| {
            bad(
                key("allowed_hosts"),
                format!(
                    "has {entry:?}; give names of hosts, addresses, or networks such as 10.1.0.0/16"
                ),
            )
        })?;
        if !(1..=2_592_000).contains(&self.retry_seconds) {
            let problem = format!("is {}; give 1 to 2,592,000 (30 days)", self.retry_seconds);
            return Err(bad(key("retry_seconds"), problem));
        }
        if self.channels.len() > MOST {
            return Err(bad(
                key("channels"),
                format!("has more than {MOST} entries"),
            ));
        }
        let mut names = BTreeSet::new();
        for (index, channel) in self.channels.iter().enumerate() {
            let key = |rest: &str| format!("notifications.channels[{index}].{rest}");
            if !is_name(&channel.name) {
                return Err(bad(
                    key("name"),
                    format!(
                        "is {:?}; give 1 to 63 lower-case letters, digits and -",
                        channel.name
                    ),
                ));
            }
            if !names.insert(&channel.name) {
                return Err(bad(key("name"), "is that of another channel"));
            }
            match (&channel.webhook, &channel.smtp) {
                (Some(webhook), None) => webhook.check(&allowed, &key)?,
                (None, Some(smtp)) => smtp.check(&key)?,
                _ => {
                    return Err(bad(
                        format!("notifications.channels[{index}]"),
                        "needs webhook or smtp, and not both",
                    ));
                }
            }
        }
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(plain)
}

impl Channel {
    /// Whether it tells of something.
    #[must_use]
    pub fn tells_of(&self, kind: Kind) -> bool {
        let for_somebody = self.smtp.as_ref().is_none_or(|smtp| {
            !smtp.to.is_empty() || (smtp.recipients && kind.is_for_recipients())
        });
        for_somebody
            && self
                .events
                .as_ref()
                .is_none_or(|kinds| kinds.contains(&kind))
    }

    /// The environment variable with a secret of it.
    #[must_use]
    pub fn variable(&self, what: &str) -> String {
        let name = self.name.to_uppercase().replace('-', "_");
        format!("TREVOR_NOTIFY_{name}_{what}")
    }
}

impl Webhook {
    fn check(&self, allowed: &Allowed, key: &impl Fn(&str) -> String) -> Result<(), ConfigError> {
        let uri: http::Uri = self
            .url
            .parse()
            .map_err(|_| bad(key("webhook.url"), "is not a URL"))?;
        let Some(host) = uri.host() else {
            return Err(bad(key("webhook.url"), "has no host"));
        };
        if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
            let problem =
                "has a user or a password; it is in no file, and the signature says who sends";
            return Err(bad(key("webhook.url"), problem));
        }
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if self.allow_plaintext => {}
            _ => {
                return Err(bad(
                    key("webhook.url"),
                    "is not https; use https, or set allow_plaintext: true for a test",
                ));
            }
        }
        if let Some(proxy) = &self.proxy {
            match Proxy::parse(proxy, "it") {
                Ok(proxy) if proxy.kind == proxies::Kind::Http && proxy.user.is_none() => {}
                _ => {
                    return Err(bad(
                        key("webhook.proxy"),
                        "is not the URL of an HTTP proxy without a password; give http://host:port",
                    ));
                }
            }
        }
        if !allowed.host(host) {
            return Err(bad(
                key("webhook.url"),
                format!("leads to {host}, which notifications.allowed_hosts does not have"),
            ));
        }
        Ok(())
    }
}

impl Smtp {
    fn check(&self, key: &impl Fn(&str) -> String) -> Result<(), ConfigError> {
        if self.host.trim().is_empty() {
            return Err(bad(key("smtp.host"), "is missing"));
        }
        if self.tls == Tls::None && !self.allow_plaintext {
            return Err(bad(
                key("smtp.tls"),
                "is None; use StartTls or Tls, or set allow_plaintext: true for a test",
            ));
        }
        if self.from.parse::<lettre::message::Mailbox>().is_err() {
            return Err(bad(key("smtp.from"), "is not an address"));
        }
        if self.to.len() > MOST_ADDRESSES {
            let problem = format!("has more than {MOST_ADDRESSES} addresses");
            return Err(bad(key("smtp.to"), problem));
        }
        for address in &self.to {
            if address.parse::<lettre::Address>().is_err() {
                return Err(bad(
                    key("smtp.to"),
                    format!("has {address:?}, which is not an address"),
                ));
            }
        }
        if self.to.is_empty() && !self.recipients {
            return Err(bad(
                key("smtp.to"),
                "is empty and recipients is false: nobody would be told",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
allowed_hosts: [hooks.example, 10.1.0.0/16]
channels:
- name: desk
  webhook: {url: 'https://hooks.example/trevor', mode: Binary}
  events: [Released, Failed]
- name: mail-2
  smtp: {host: mail.example, from: 'Airlock <airlock@tre.example>', to: [desk@tre.example]}
";

    fn check(text: &str) -> Result<Notifications, String> {
        let parsed: Notifications = serde_yaml::from_str(text).map_err(|e| e.to_string())?;
        parsed.check().map_err(|e| e.to_string())?;
        Ok(parsed)
    }

    #[test]
    fn channels_tell_of_what_they_are_to_and_their_secrets_are_named_by_them() {
        let good = check(GOOD).unwrap();
        let [desk, mail] = good.channels.as_slice() else {
            panic!("two channels")
        };
        assert!(desk.tells_of(Kind::Released) && !desk.tells_of(Kind::Submitted));
        assert!(mail.tells_of(Kind::Submitted));
        assert_eq!(mail.variable("PASSWORD"), "TREVOR_NOTIFY_MAIL_2_PASSWORD");
        assert_eq!(good.retry_seconds, 86_400);
    }

    #[test]
    fn each_wrong_channel_is_one_line_that_names_the_key() {
        for (from, to, key) in [
            ("name: desk", "name: Desk", "channels[0].name"),
            ("name: mail-2", "name: desk", "channels[1].name"),
            ("https://hooks", "http://hooks", "channels[0].webhook.url"),
            ("https://hooks", "https://other", "channels[0].webhook.url"),
            (
                "https://hooks",
                "https://u:p@hooks",
                "channels[0].webhook.url",
            ),
            (
                "https://hooks.example",
                "https://169.254.169.254",
                "channels[0].webhook.url",
            ),
            ("mail.example,", "'',", "channels[1].smtp.host"),
            (
                "mail.example,",
                "mail.example, tls: None,",
                "channels[1].smtp.tls",
            ),
            (
                "Airlock <airlock@tre.example>",
                "nobody",
                "channels[1].smtp.from",
            ),
            ("[desk@tre.example]", "[desk]", "channels[1].smtp.to"),
            ("[desk@tre.example]", "[]", "channels[1].smtp.to"),
            ("10.1.0.0/16", "10.1.0.0/99", "allowed_hosts"),
            (
                "smtp: {",
                "webhook: {url: 'https://hooks.example'}\n  smtp: {",
                "channels[1]",
            ),
            ("channels:", "retry_seconds: 0\nchannels:", "retry_seconds"),
            ("[Released, Failed]", "[Everything]", "Everything"),
            ("mode: Binary", "method: PUT", "method"),
        ] {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "the row {from:?} changes nothing");
            let error = check(&text).unwrap_err();
            assert!(error.contains(key), "{error:?} does not name {key}");
        }
    }
}
