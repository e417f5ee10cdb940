//! Configuration: one tree, with the names that the Helm values have.
//!
//! Wrong or missing configuration stops the process at start with one line
//! that names the key (docs/reference/configuration.md). Credentials are not here: they come from
//! the environment (`TREVOR_S3_<IDENTITY>_…`) or from the pod's own identity.

pub mod address;
mod default_policy;
mod jobs;
pub mod notifications;
mod packaging;
mod places;

use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use self::jobs::{Jobs, Resources};
pub use self::packaging::{Packaging, PackagingMode};
use crate::notifications::Notifications;
use trevor_api::{Direction, Publisher};
use trevor_core::commit::Terms;
use trevor_core::policy::{ConfiguredPolicy, Rules};
use trevor_core::proxies::{Kind, NoProxyUrl, Proxies};
use trevor_net::tls::authorities;

/// The longest life of a pre-signed URL that S3 allows (AWS: 7 days).
pub const MAX_URL_TTL_SECONDS: i64 = 604_800;
const DAY: i64 = 86_400;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or cannot be read.
    #[error("configuration file {path}: {source}; give its path with --config")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not the tree that we know.
    #[error("configuration file {path}: {message}")]
    Parse {
        /// The file.
        path: String,
        /// Where, and what is wrong.
        message: String,
    },
    /// A proxy of the environment cannot be used.
    #[error(transparent)]
    Proxy(NoProxyUrl),
    /// A key has a value that cannot work.
    #[error("configuration key {key}: {problem}")]
    Key {
        /// The key, as `storage.release.bucket`.
        key: String,
        /// What is wrong and what to do.
        problem: String,
    },
}

fn bad(key: impl Into<String>, problem: impl Into<String>) -> ConfigError {
    ConfigError::Key {
        key: key.into(),
        problem: problem.into(),
    }
}

/// The whole tree.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "docs/reference/configuration.md")]
pub struct Config {
    pub storage: Storage,
    #[serde(default)]
    pub gateway: Gateway,
    #[serde(default)]
    pub controller: Controller,
    #[serde(rename = "crate", default)]
    pub crate_: Crate,
    #[serde(default)]
    pub identity: Identity,
    #[serde(default)]
    pub audit: Audit,
    #[serde(default)]
    pub notifications: Notifications,
    #[serde(default)]
    pub jobs: Jobs,
    #[serde(default)]
    pub log: Log,
    #[serde(default = "default_policy::unless_said")]
    default_policy: Option<default_policy::DefaultPolicy>,
    /// The policy where no AirlockPolicy applies; none where `default_policy` is null.
    #[serde(skip)]
    pub configured_policy: Option<ConfiguredPolicy>,
}

/// `audit`. The key itself comes from the environment (`TREVOR_AUDIT_SIGNING_KEY`).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "docs/reference/configuration.md#audit")]
pub struct Audit {
    pub signing_key_secret: Option<String>,
    pub checkpoint_seconds: i64,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            signing_key_secret: None,
            checkpoint_seconds: 60,
        }
    }
}

/// `storage`: buckets and their rules.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "docs/reference/configuration.md#storage")]
pub struct Storage {
    pub quarantine: Bucket,
    pub release: Bucket,
    #[serde(default)]
    pub records: Option<Bucket>,
    #[serde(default)]
    pub staging: Option<Bucket>,
    #[serde(default)]
    pub allow_shared_bucket: bool,
    #[serde(default)]
    pub allow_http: bool,
    #[serde(default = "default_url_ttl")]
    pub presigned_url_ttl_seconds: i64,
    #[serde(default)]
    pub allow_shorter_ttl: bool,
    #[serde(default)]
    pub quarantine_retention_days: Option<i64>,
    #[serde(default)]
    pub release_retention_days: Option<i64>,
    #[serde(default)]
    pub quarantine_retention_seconds: Option<i64>,
    #[serde(default)]
    pub release_retention_seconds: Option<i64>,
    #[serde(default)]
    pub allow_short_retention: bool,
}

fn default_url_ttl() -> i64 {
    MAX_URL_TTL_SECONDS
}

/// One bucket.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "docs/reference/configuration.md#storage")]
pub struct Bucket {
    pub bucket: String,
    #[serde(default)]
    pub endpoint: Option<String>,
    #[serde(default = "default_region")]
    pub region: String,
    #[serde(default)]
    pub public_endpoint: Option<String>,
    #[serde(default = "yes")]
    pub path_style: bool,
    #[serde(default)]
    pub encryption: Encryption,
    #[serde(default)]
    pub kms_key_id: Option<String>,
    /// PEM file: the server's certificate is signed by one of these, and no other
    /// authority is trusted for it.
    #[serde(default)]
    pub ca_bundle: Option<PathBuf>,
    /// What is in `ca_bundle`.
    #[serde(skip)]
    pub authorities: Option<Vec<u8>>,
    #[serde(default)]
    pub credentials_secret: Option<String>,
    #[serde(default)]
    pub signing: Option<Signing>,
}

/// `storage.release.signing`: credentials that sign URLs, where others are short-lived.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "docs/reference/configuration.md#storage")]
pub struct Signing {
    #[serde(default)]
    pub credentials_secret: Option<String>,
}

fn default_region() -> String {
    "us-east-1".to_owned()
}

fn yes() -> bool {
    true
}

/// Server-side encryption that every write asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Encryption {
    /// Keys of the server (SSE-S3).
    #[default]
    #[serde(rename = "AES256")]
    Aes256,
    /// Keys of a key management service (SSE-KMS).
    #[serde(rename = "aws:kms")]
    Kms,
}

/// `gateway`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "docs/reference/configuration.md#gateway")]
pub struct Gateway {
    pub listen: String,
    pub metrics_listen: Option<String>,
    pub tls: Tls,
    pub audience: String,
    pub memory_budget_mib: u64,
    pub min_rate_kib_s: u64,
    pub url: String,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            listen: "0.0.0.0:8443".into(),
            metrics_listen: None,
            tls: Tls::default(),
            audience: "trevor-gateway".into(),
            memory_budget_mib: 64,
            min_rate_kib_s: 16,
            url: "https://trevor-gateway.trevor-system.svc".into(),
        }
    }
}

/// `gateway.tls`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "docs/reference/configuration.md#gateway")]
pub struct Tls {
    /// The Secret that the gateway serves with, mounted as files.
    pub secret: Option<String>,
    /// Secret and ConfigMap of the authority with which the operator makes `secret` by
    /// itself; none: somebody else does.
    pub authority: Option<String>,
    /// Whom a certificate of the operator's is for, besides the host of `gateway.url`.
    pub dns_names: Vec<String>,
    pub allow_plaintext: bool,
}

impl Gateway {
    fn check(&self) -> Result<(), ConfigError> {
        let tls = &self.tls;
        if tls.secret.is_none() && !tls.allow_plaintext {
            return Err(bad(
                "gateway.tls",
                "has no secret; name one, or set allow_plaintext: true behind something that serves TLS",
            ));
        }
        if tls.authority.is_some() && tls.secret.is_none() {
            return Err(bad(
                "gateway.tls.authority",
                "needs gateway.tls.secret: the Secret that it fills",
            ));
        }
        if tls.authority.is_some() && tls.authority == tls.secret {
            return Err(bad(
                "gateway.tls.authority",
                "is gateway.tls.secret; the gateway sees that one, and no key of an authority",
            ));
        }
        Ok(())
    }
}

/// `controller`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "docs/reference/configuration.md#controller")]
pub struct Controller {
    pub listen: String,
    /// Where the gateway sends its hints.
    pub url: String,
    pub concurrency: u16,
    pub packaging: Packaging,
    pub retention: Retention,
}

impl Default for Controller {
    fn default() -> Self {
        Self {
            listen: "0.0.0.0:8080".into(),
            url: "http://trevor-controller.trevor-system.svc:8080".into(),
            concurrency: 4,
            packaging: Packaging::default(),
            retention: Retention::default(),
        }
    }
}

/// `controller.retention`: how fast files go that are due.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Object versions deleted in a second, at most.
    pub deletes_per_second: u32,
    /// Object versions deleted before holds, clocks and leadership of the whole are
    /// looked at again.
    pub deletes_per_sweep: u64,
    /// Seconds between two looks at everything, where nothing is due before.
    pub look_seconds: u64,
    /// Seconds between two scans for requests that nobody closes.
    pub orphans_seconds: u64,
    /// Seconds after the last part of an upload that never ended, or after a file that no
    /// receipt names was stored, until that is deleted.
    pub leftovers_seconds: u64,
    /// Seconds until a review of a request that is not there is deleted.
    pub unknown_reviews_seconds: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            deletes_per_second: 1000,
            deletes_per_sweep: 50_000,
            look_seconds: 600,
            orphans_seconds: 86_400,
            leftovers_seconds: 86_400,
            unknown_reviews_seconds: 86_400,
        }
    }
}

/// `crate`: what the RO-Crate says unless a policy says otherwise.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Crate {
    /// URL of a licence; none: packages say that none is granted.
    pub license: Option<String>,
    /// Who releases. Without a name nothing is released: requests wait after their last
    /// approval.
    pub publisher: Publisher,
}

impl Crate {
    fn check(&self) -> Result<(), ConfigError> {
        let url = self.license.as_deref().unwrap_or("https://none.example");
        let uri = url.parse::<http::Uri>().ok();
        if !uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https"))) {
            return Err(bad(
                "crate.license",
                format!("is {url:?}; give the URL of a licence, or leave it out"),
            ));
        }
        Ok(())
    }
}

/// `identity`: rendered into the admission policies by the chart.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "docs/reference/configuration.md#identity")]
pub struct Identity {
    pub delegates: Vec<String>,
    pub reviewing_service_accounts: Vec<String>,
    pub require_pod_bound_token: Option<bool>,
    pub require_credential_id: bool,
    /// The admission rules as the chart rendered them for the operator; without it
    /// reviews wait.
    pub rules: Option<PathBuf>,
}

/// `log`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "docs/reference/configuration.md#log")]
pub struct Log {
    pub format: LogFormat,
    pub level: String,
    /// Base URL of a collector that takes spans by OTLP over HTTP; none: nothing leaves.
    pub otlp_endpoint: Option<String>,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Json,
            level: "info".into(),
            otlp_endpoint: None,
        }
    }
}

impl Log {
    fn check(&self) -> Result<(), ConfigError> {
        let Some(endpoint) = &self.otlp_endpoint else {
            return Ok(());
        };
        let uri = endpoint.parse::<http::Uri>().ok();
        let usable = uri.is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.query().is_none()
                && uri.authority().is_some_and(|a| !a.as_str().contains('@'))
        });
        if usable {
            return Ok(());
        }
        Err(bad(
            "log.otlp_endpoint",
            "is not the URL of a collector; give http(s)://host:4318, without credentials",
        ))
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people; control characters escaped.
    Text,
}

impl Config {
    /// Reads and checks a configuration file (YAML).
    ///
    /// # Errors
    /// With the key and what to do, in one line.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.display().to_string(),
            source,
        })?;
        let mut config = Self::parse(&text, &path.display().to_string())?;
        config.storage.read_authorities()?;
        let proxies = trevor_net::proxies::of_environment().map_err(ConfigError::Proxy)?;
        config.storage.check_proxies(&proxies)?;
        Ok(config)
    }

    /// Parses and checks; `origin` is named in errors.
    ///
    /// # Errors
    /// With the key and what to do, in one line.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ConfigError> {
        let mut config: Self = serde_yaml::from_str(text).map_err(|error| ConfigError::Parse {
            path: origin.to_owned(),
            message: error.to_string().replace('\n', " "),
        })?;
        config.check()?;
        let policy = config.default_policy.take();
        config.configured_policy = policy.map(|policy| policy.checked()).transpose()?;
        Ok(config)
    }

    /// What a release needs of rules and configuration, as they are now.
    #[must_use]
    pub fn terms(&self, direction: Direction, rules: &Rules) -> Terms {
        let storage = &self.storage;
        let crate_ = &rules.crate_;
        let configured = &self.crate_;
        let ttl = rules.url_ttl_seconds.unwrap_or(match direction {
            Direction::Egress => storage.presigned_url_ttl_seconds,
            Direction::Ingress => 3600,
        });
        // The configuration was checked at start; its own defaults stand otherwise.
        let quarantine = storage.quarantine_retention().unwrap_or(90 * 86_400);
        let release = storage.release_retention().unwrap_or(30 * 86_400);
        Terms {
            license: crate_
                .license
                .clone()
                .or_else(|| configured.license.clone())
                .unwrap_or_default(),
            publisher: crate_
                .publisher
                .clone()
                .unwrap_or_else(|| configured.publisher.clone()),
            names_reviewers: crate_.names_reviewers.unwrap_or(false),
            url_ttl_seconds: ttl,
            quarantine_retention_seconds: rules.quarantine_retention_seconds.unwrap_or(quarantine),
            release_retention_seconds: rules.release_retention_seconds.unwrap_or(release),
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.storage.check()?;
        self.jobs.check()?;
        self.controller.packaging.check()?;
        let every = self.audit.checkpoint_seconds;
        if !(1..=86_400).contains(&every) {
            return Err(bad(
                "audit.checkpoint_seconds",
                format!("is {every}; give 1 to 86,400"),
            ));
        }
        self.notifications.check()?;
        self.crate_.check()?;
        for (key, mib) in [
            ("gateway.memory_budget_mib", self.gateway.memory_budget_mib),
            (
                "controller.packaging.memory_budget_mib",
                self.controller.packaging.memory_budget_mib,
            ),
        ] {
            if !(32..=65_536).contains(&mib) {
                return Err(bad(key, format!("is {mib}; give 32 to 65,536")));
            }
        }
        let retention = &self.controller.retention;
        for (key, value) in [
            (
                "deletes_per_second",
                u64::from(retention.deletes_per_second),
            ),
            ("deletes_per_sweep", retention.deletes_per_sweep),
            ("look_seconds", retention.look_seconds),
            ("orphans_seconds", retention.orphans_seconds),
        ] {
            if value == 0 {
                return Err(bad(
                    format!("controller.retention.{key}"),
                    "is 0; give 1 or more",
                ));
            }
        }
        let concurrency = self.controller.concurrency;
        if !(1..=256).contains(&concurrency) {
            return Err(bad(
                "controller.concurrency",
                format!("is {concurrency}; give 1 to 256"),
            ));
        }
        self.gateway.check()?;
        self.log.check()?;
        for (key, address) in [
            ("gateway.listen", &self.gateway.listen),
            ("controller.listen", &self.controller.listen),
        ] {
            if address.parse::<std::net::SocketAddr>().is_err() {
                return Err(bad(
                    key,
                    format!("is {address:?}; give an address and a port, such as 0.0.0.0:8080"),
                ));
            }
        }
        Ok(())
    }
}

impl Storage {
    fn check(&self) -> Result<(), ConfigError> {
        self.check_bucket("quarantine", &self.quarantine)?;
        self.check_bucket("release", &self.release)?;
        if self.quarantine.same_place(&self.release) {
            return Err(bad(
                "storage.release.bucket",
                "is the quarantine bucket; release needs one of its own",
            ));
        }
        if let Some(records) = &self.records {
            self.check_bucket("records", records)?;
            if records.same_place(&self.release) {
                return Err(bad(
                    "storage.records.bucket",
                    "is the release bucket; records stay inside the boundary",
                ));
            }
        }
        if let Some(staging) = &self.staging {
            self.check_bucket("staging", staging)?;
            if staging.same_place(&self.release) {
                return Err(bad(
                    "storage.staging.bucket",
                    "is the release bucket; staging needs one of its own",
                ));
            }
            if self.records.as_ref().is_some_and(|r| staging.same_place(r)) {
                return Err(bad(
                    "storage.staging.bucket",
                    "is the records bucket; outsiders write to staging, so it needs one of its own",
                ));
            }
            if staging.same_place(&self.quarantine) && !self.allow_shared_bucket {
                return Err(bad(
                    "storage.staging.bucket",
                    "is the quarantine bucket; use another, or set storage.allow_shared_bucket: true",
                ));
            }
        }
        let ttl = self.presigned_url_ttl_seconds;
        if !(60..=MAX_URL_TTL_SECONDS).contains(&ttl) {
            return Err(bad(
                "storage.presigned_url_ttl_seconds",
                format!("is {ttl}; give 60 to 604,800 (7 days, the limit of S3)"),
            ));
        }
        self.quarantine_retention()?;
        self.release_retention()?;
        Ok(())
    }

    fn check_bucket(&self, zone: &str, bucket: &Bucket) -> Result<(), ConfigError> {
        let key = |name: &str| format!("storage.{zone}.{name}");
        if bucket.bucket.len() < 3 {
            return Err(bad(
                key("bucket"),
                "is missing or shorter than three letters",
            ));
        }
        for (name, url) in [
            ("endpoint", &bucket.endpoint),
            ("public_endpoint", &bucket.public_endpoint),
        ] {
            let Some(url) = url else { continue };
            let Ok(uri) = url.parse::<http::Uri>() else {
                return Err(bad(key(name), "is not a URL"));
            };
            match uri.scheme_str() {
                Some("https") => {}
                Some("http") if self.allow_http => {}
                Some("http") => {
                    return Err(bad(
                        key(name),
                        "is plain http; use https, or set storage.allow_http: true for a test",
                    ));
                }
                _ => return Err(bad(key(name), "has no scheme; give https://host[:port]")),
            }
            let named = uri.authority().is_some_and(|a| a.as_str().contains('@'));
            if uri.host().is_none() || uri.path() != "/" || uri.query().is_some() || named {
                return Err(bad(key(name), "is scheme, host and port only"));
            }
        }
        if bucket.kms_key_id.is_some() && bucket.encryption != Encryption::Kms {
            return Err(bad(key("kms_key_id"), "needs encryption: aws:kms"));
        }
        Ok(())
    }

    fn read_authorities(&mut self) -> Result<(), ConfigError> {
        let zones = [
            ("quarantine", Some(&mut self.quarantine)),
            ("release", Some(&mut self.release)),
            ("records", self.records.as_mut()),
            ("staging", self.staging.as_mut()),
        ];
        for (zone, bucket) in zones {
            let Some(bucket) = bucket else { continue };
            let read = bucket.ca_bundle.as_deref().map(authorities::of_file);
            bucket.authorities = read
                .transpose()
                .map_err(|problem| bad(format!("storage.{zone}.ca_bundle"), problem))?;
        }
        Ok(())
    }

    /// Calls to storage go through HTTP proxies alone.
    fn check_proxies(&self, proxies: &Proxies) -> Result<(), ConfigError> {
        let buckets = [
            ("quarantine", Some(&self.quarantine)),
            ("release", Some(&self.release)),
            ("records", self.records.as_ref()),
            ("staging", self.staging.as_ref()),
        ];
        for (zone, bucket) in buckets {
            let url = bucket.and_then(|bucket| bucket.called_at(None));
            let proxy = url.as_ref().and_then(|url| proxies.of_url(url));
            if proxy.is_some_and(|proxy| proxy.kind == Kind::Socks5) {
                return Err(bad(
                    format!("storage.{zone}.endpoint"),
                    "would be reached through a SOCKS proxy (HTTPS_PROXY, HTTP_PROXY or ALL_PROXY), which storage is not; name an HTTP proxy, or the host in NO_PROXY",
                ));
            }
        }
        Ok(())
    }

    /// Seconds that an upload plan is good for; a new one can be had at any time.
    #[must_use]
    pub fn plan_ttl_seconds(&self) -> i64 {
        self.presigned_url_ttl_seconds.min(DAY)
    }

    /// Seconds that quarantined files are kept after closing.
    ///
    /// # Errors
    /// When days and seconds are both given, or out of bounds.
    pub fn quarantine_retention(&self) -> Result<i64, ConfigError> {
        self.retention(
            "quarantine",
            self.quarantine_retention_days,
            self.quarantine_retention_seconds,
            90,
        )
    }

    /// Seconds that a package is kept after release.
    ///
    /// # Errors
    /// When days and seconds are both given, or out of bounds.
    pub fn release_retention(&self) -> Result<i64, ConfigError> {
        self.retention(
            "release",
            self.release_retention_days,
            self.release_retention_seconds,
            30,
        )
    }

    fn retention(
        &self,
        zone: &str,
        days: Option<i64>,
        seconds: Option<i64>,
        default_days: i64,
    ) -> Result<i64, ConfigError> {
        let key = |unit: &str| format!("storage.{zone}_retention_{unit}");
        match (days, seconds) {
            (Some(_), Some(_)) => Err(bad(
                key("seconds"),
                "and the same in days are both given; keep one",
            )),
            (_, Some(_)) if !self.allow_short_retention => Err(bad(
                key("seconds"),
                "needs storage.allow_short_retention: true",
            )),
            (_, Some(s)) if s < 1 => Err(bad(key("seconds"), "must be at least 1")),
            (_, Some(s)) => Ok(s),
            (days, None) => {
                let days = days.unwrap_or(default_days);
                if (1..=3650).contains(&days) {
                    Ok(days * DAY)
                } else {
                    Err(bad(key("days"), format!("is {days}; give 1 to 3,650")))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
storage:
  quarantine: {bucket: trevor-quarantine, endpoint: 'https://q.example'}
  release: {bucket: trevor-release, endpoint: 'https://r.example'}
gateway: {tls: {allow_plaintext: true}}
crate: {publisher: {name: University}}
";

    #[test]
    fn the_smallest_configuration_has_the_defaults_of_the_storage_decision() {
        let config = Config::parse(GOOD, "test").unwrap();
        assert_eq!(config.storage.presigned_url_ttl_seconds, 604_800);
        assert_eq!(config.storage.quarantine_retention().unwrap(), 90 * DAY);
        assert_eq!(config.storage.release_retention().unwrap(), 30 * DAY);
    }

    #[test]
    fn without_a_publisher_or_a_licence_it_starts_and_none_is_made_up() {
        let text = GOOD.replace("crate: {publisher: {name: University}}", "");
        let config = Config::parse(&text, "test").unwrap();
        let rules = Rules::of(Direction::Egress, None);
        let terms = config.terms(Direction::Egress, &rules);
        assert_eq!(
            (terms.publisher.name.as_str(), terms.license.as_str()),
            ("", "")
        );
        assert!(!terms.names_a_publisher());
        let named = Config::parse(GOOD, "test").unwrap();
        assert!(named.terms(Direction::Egress, &rules).names_a_publisher());
    }

    #[test]
    fn the_policy_of_the_configuration_is_in_force_unless_it_is_null() {
        let of = |text: &str| Config::parse(text, "test").unwrap().configured_policy;
        assert_eq!(of(GOOD).unwrap().shown(), "default (configuration)");
        assert_eq!(of(&format!("{GOOD}default_policy: null\n")), None);
        let one = of(&format!(
            "{GOOD}default_policy: {{name: house, egress: {{requiredApprovals: 1}}}}\n"
        ));
        assert_eq!(one.unwrap().egress.required_approvals, Some(1));
    }

    #[test]
    fn each_wrong_configuration_is_one_line_that_names_the_key() {
        let rows = [
            ("bucket: trevor-quarantine, ", "", "storage.quarantine"),
            (
                "https://q.example",
                "http://q.example",
                "storage.quarantine.endpoint",
            ),
            ("https://r.example", "r.example", "storage.release.endpoint"),
            ("gateway: {tls: {allow_plaintext: true}}", "", "gateway.tls"),
            ("crate: {", "crate: {license: 'CC BY', ", "crate.license"),
            (
                "gateway: {",
                "default_policy: {egress: {requiredApprovals: 0}}\ngateway: {",
                "default_policy.egress.requiredApprovals",
            ),
            (
                "storage:",
                "storage:\n  presigned_url_ttl_seconds: 604801",
                "storage.presigned_url_ttl_seconds",
            ),
            (
                "storage:",
                "storage:\n  quarantine_retention_days: 0",
                "storage.quarantine_retention_days",
            ),
            (
                "storage:",
                "storage:\n  release_retention_seconds: 5",
                "storage.release_retention_seconds",
            ),
            ("storage:", "storage:\n  retention: 5", "retention"),
            (
                "bucket: trevor-release, endpoint: 'https://r.example'",
                "bucket: trevor-quarantine, endpoint: 'https://q.example'",
                "storage.release.bucket",
            ),
            (
                "bucket: trevor-release, endpoint: 'https://r.example'",
                "bucket: trevor-quarantine, endpoint: 'https://Q.example.:443/'",
                "storage.release.bucket",
            ),
            (
                "https://r.example",
                "https://me@r.example",
                "storage.release.endpoint",
            ),
            (
                "gateway: {",
                "gateway: {memory_budget_mib: 1, ",
                "gateway.memory_budget_mib",
            ),
        ];
        for (from, to, key) in rows {
            let text = GOOD.replace(from, to);
            assert_ne!(text, GOOD, "the row {from:?} changes nothing");
            let error = Config::parse(&text, "test").unwrap_err().to_string();
            assert!(error.contains(key), "{error:?} does not name {key}");
            assert!(!error.contains('\n'));
        }
    }
}
