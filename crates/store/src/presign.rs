//! Pre-signed URLs: GET only, for the endpoint that the reader will use, and never
//! beyond the life of the credentials that sign them.

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::PresigningConfig;

use super::error::{StorageError, translate};
use super::unreached;
use trevor_core::attachment::disposition;
use trevor_core::url_issue::SecretUrl;

/// Which URLs, and whose credentials sign them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// To packages.
    Release,
    /// To upload to staging.
    Plan,
    /// To files that crossed inwards.
    Ingress,
}

impl Links {
    /// The key that names the credentials, and the one that says how long a URL lives.
    fn keys(self) -> (&'static str, &'static str) {
        match self {
            Self::Release => (
                "storage.release.signing",
                "storage.presigned_url_ttl_seconds",
            ),
            Self::Plan => (
                "storage.staging.credentials_secret",
                "storage.presigned_url_ttl_seconds, at most a day",
            ),
            Self::Ingress => (
                "storage.quarantine.credentials_secret",
                "ingress.urlTTLSeconds of a policy that says nothing else",
            ),
        }
    }

    /// The configuration key that names the credentials.
    #[must_use]
    pub fn key(self) -> &'static str {
        self.keys().0
    }
}

/// How long credentials live from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// For ever.
    Endless,
    /// So long.
    Ends(Duration),
    /// They are those of a session, which ends, and nobody says when.
    Unknown,
}

impl Life {
    fn of(credentials: &Credentials) -> Self {
        match credentials.expiry() {
            Some(end) => Self::Ends(end.duration_since(SystemTime::now()).unwrap_or_default()),
            None if credentials.session_token().is_some() => Self::Unknown,
            None => Self::Endless,
        }
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endless => f.write_str("its credentials have no end"),
            Self::Ends(life) => write!(f, "its credentials live for {} s more", life.as_secs()),
            Self::Unknown => f.write_str(
                "its credentials are those of a session (session_token), which ends, and their Secret does not say when (key expiration, as 2026-12-31T23:59:59Z)",
            ),
        }
    }
}

/// The credentials of a URL end before it would.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "configuration key {}: {life}, and links are to live for {wanted} s ({}): a link dies with the credentials that signed it; name long-lived ones, or set storage.allow_shorter_ttl: true",
    .links.keys().0, .links.keys().1
)]
pub struct ShortLived {
    /// Which URLs.
    pub links: Links,
    /// How long the credentials live.
    pub life: Life,
    /// Seconds that a URL is to live.
    pub wanted: u64,
}

/// Whether URLs of `wanted` seconds can be signed by credentials that live for `life`.
///
/// # Errors
/// When they cannot, unless shorter ones are allowed.
pub fn check_life(
    links: Links,
    life: Life,
    wanted: Duration,
    allow_shorter: bool,
) -> Result<(), ShortLived> {
    let enough = match life {
        Life::Endless => true,
        Life::Ends(life) => life >= wanted,
        Life::Unknown => false,
    };
    if enough || allow_shorter {
        return Ok(());
    }
    Err(ShortLived {
        links,
        life,
        wanted: wanted.as_secs(),
    })
}

/// Signs URLs.
#[derive(Clone, Debug)]
pub struct Signer {
    client: Client,
    credentials: SharedCredentialsProvider,
}

impl Signer {
    /// Signs with a client, whose credentials come from `credentials`.
    #[must_use]
    pub fn new(client: Client, credentials: SharedCredentialsProvider) -> Self {
        Self {
            client,
            credentials,
        }
    }

    /// How long the credentials live from now.
    ///
    /// # Errors
    /// When there are no credentials.
    pub async fn life(&self) -> Result<Life, StorageError> {
        Ok(Life::of(&self.found().await?))
    }

    async fn found(&self) -> Result<Credentials, StorageError> {
        let found = self.credentials.provide_credentials().await;
        found.map_err(|error| unavailable("", "", &unreached::credentials(&error)))
    }

    /// A client that signs with the very credentials whose life is looked at, and how
    /// long what it signs lives: `wanted` (at most 7 days, checked by the
    /// configuration), or as long as they do.
    ///
    /// # Errors
    /// When there are no credentials to sign with, or they end now.
    pub async fn hold(&self, wanted: Duration) -> Result<(Client, Duration), StorageError> {
        let credentials = self.found().await?;
        let usable = match Life::of(&credentials) {
            Life::Ends(life) => life.min(wanted),
            // That it may end sooner is what storage.allow_shorter_ttl allows.
            Life::Endless | Life::Unknown => wanted,
        };
        let whole = Duration::from_secs(usable.as_secs());
        if whole.is_zero() {
            return Err(unavailable("", "", "the signing credentials have ended"));
        }
        let with = self.client.config().to_builder();
        let with = Client::from_conf(with.credentials_provider(credentials).build());
        Ok((with, whole))
    }

    /// Signs a GET of one object for `wanted`, or for as long as the credentials live.
    /// `file_name` becomes the name under which a browser saves it. Gives the URL and
    /// its real life.
    ///
    /// # Errors
    /// When there are no credentials to sign with, or they end now.
    pub async fn sign_get(
        &self,
        bucket: &str,
        key: &str,
        wanted: Duration,
        file_name: &str,
    ) -> Result<(SecretUrl, Duration), StorageError> {
        let (with, life) = self.hold(wanted).await?;
        let url = presign_get(&with, bucket, key, life, file_name).await?;
        Ok((url, life))
    }
}

/// Signs a GET of one object for `ttl` with a client's own credentials.
///
/// # Errors
/// When there are none.
pub async fn presign_get(
    client: &Client,
    bucket: &str,
    key: &str,
    ttl: Duration,
    file_name: &str,
) -> Result<SecretUrl, StorageError> {
    let config =
        PresigningConfig::expires_in(ttl).map_err(|e| unavailable(bucket, key, &e.to_string()))?;
    let signed = client
        .get_object()
        .bucket(bucket)
        .key(key)
        .response_content_disposition(disposition(file_name))
        // A browser that kept it would show it again after a revocation.
        .response_cache_control("private, no-store")
        .presigned(config)
        .await
        .map_err(|e| translate("presign", bucket, key, &e))?;
    Ok(SecretUrl::from_stored(signed.uri().to_owned()))
}

fn unavailable(bucket: &str, key: &str, message: &str) -> StorageError {
    StorageError::Unavailable {
        operation: "presign",
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_lived_credentials_stop_the_start_unless_shorter_urls_are_allowed() {
        let (hour, week) = (Duration::from_secs(3600), Duration::from_secs(604_800));
        assert_eq!(check_life(Links::Plan, Life::Endless, week, false), Ok(()));
        assert_eq!(
            check_life(Links::Plan, Life::Ends(week), week, false),
            Ok(())
        );
        for life in [Life::Ends(hour), Life::Unknown] {
            assert_eq!(check_life(Links::Plan, life, week, true), Ok(()));
            for links in [Links::Release, Links::Plan, Links::Ingress] {
                let refused = check_life(links, life, week, false).unwrap_err();
                let said = refused.to_string();
                assert!(said.contains("allow_shorter_ttl"), "{said}");
                assert!(said.contains(links.key()), "{said}");
                assert_eq!((refused.life, refused.wanted), (life, 604_800));
            }
        }
    }

    fn signer(end: Option<SystemTime>) -> Signer {
        let credentials = Credentials::new("id", "key", None, end, "test");
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(aws_sdk_s3::config::BehaviorVersion::latest())
            .region(aws_sdk_s3::config::Region::new("us-east-1"))
            .endpoint_url("http://localhost:1")
            .credentials_provider(credentials.clone())
            .build();
        Signer::new(
            Client::from_conf(config),
            SharedCredentialsProvider::new(credentials),
        )
    }

    #[test]
    fn a_session_without_an_end_that_is_known_is_not_endless() {
        let of = |token: Option<&str>, end| {
            let token = token.map(str::to_owned);
            Life::of(&Credentials::new("id", "key", token, end, "test"))
        };
        assert_eq!(of(None, None), Life::Endless);
        assert_eq!(of(Some("t"), None), Life::Unknown);
        let past = Some(SystemTime::UNIX_EPOCH);
        assert_eq!(of(Some("t"), past), Life::Ends(Duration::ZERO));
        let said = Life::Unknown.to_string();
        assert!(
            said.contains("session_token") && said.contains("expiration"),
            "{said}"
        );
    }

    #[tokio::test]
    async fn a_link_tells_browsers_to_keep_nothing() {
        let hour = Duration::from_secs(3600);
        let (url, _) = signer(None)
            .sign_get("b-b-b", "k", hour, "p.zip")
            .await
            .unwrap();
        let field = "response-cache-control=private%2C%20no-store";
        assert!(url.expose().split(['?', '&']).any(|f| f == field));
    }

    #[tokio::test]
    async fn a_url_never_outlives_the_credentials_that_sign_it() {
        let week = Duration::from_secs(604_800);
        let (url, life) = signer(None)
            .sign_get("b-b-b", "k", week, "p.zip")
            .await
            .unwrap();
        assert_eq!(life, week);
        assert!(url.expose().contains("X-Amz-Expires=604800"));
        let (url, _) = signer(None)
            .sign_get("b-b-b", "k", week, "été/表.csv")
            .await
            .unwrap();
        // The field is percent-encoded, and its own encoding once more.
        let name = "filename%2A%3DUTF-8%27%27%25E8%25A1%25A8.csv";
        assert!(url.expose().contains(name), "{}", url.expose());
        let soon = SystemTime::now() + Duration::from_secs(100);
        let (url, life) = signer(Some(soon))
            .sign_get("b-b-b", "k", week, "p.zip")
            .await
            .unwrap();
        assert!((98..=100).contains(&life.as_secs()), "{life:?}");
        assert!(!url.expose().contains("X-Amz-Expires=604800"));
        let over = signer(Some(SystemTime::UNIX_EPOCH));
        assert!(over.sign_get("b-b-b", "k", week, "p.zip").await.is_err());
    }
}
