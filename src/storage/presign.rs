//! Pre-signed URLs: GET only, for the endpoint that the reader will use, and never
//! beyond the life of the credentials that sign them.

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::PresigningConfig;

use super::error::{StorageError, translate};
use crate::domain::attachment::disposition;

/// A pre-signed URL. It is a secret: whoever has it can read the object, so it
/// prints as nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// The URL, for its bucket object, its Secret or the one who asked for it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// From a text that was stored before.
    #[must_use]
    pub fn from_stored(url: String) -> Self {
        Self(url)
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretUrl(…)")
    }
}

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

/// The credentials of a URL end before it would.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "configuration key {}: its credentials live for {life} s more, and links are to live for {wanted} s ({}): a link dies with the credentials that signed it; name long-lived ones, or set storage.allow_shorter_ttl: true",
    .links.keys().0, .links.keys().1
)]
pub struct ShortLived {
    /// Which URLs.
    pub links: Links,
    /// Seconds that the credentials live.
    pub life: u64,
    /// Seconds that a URL is to live.
    pub wanted: u64,
}

/// Whether URLs of `wanted` seconds can be signed by credentials that live for
/// `life` (none: for ever).
///
/// # Errors
/// When they cannot, unless shorter ones are allowed.
pub fn check_life(
    links: Links,
    life: Option<Duration>,
    wanted: Duration,
    allow_shorter: bool,
) -> Result<(), ShortLived> {
    match life {
        Some(life) if life < wanted && !allow_shorter => Err(ShortLived {
            links,
            life: life.as_secs(),
            wanted: wanted.as_secs(),
        }),
        _ => Ok(()),
    }
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

    /// How long the credentials live from now; none: for ever.
    ///
    /// # Errors
    /// When there are no credentials.
    pub async fn life(&self) -> Result<Option<Duration>, StorageError> {
        Ok(life(&self.found().await?))
    }

    async fn found(&self) -> Result<Credentials, StorageError> {
        let found = self.credentials.provide_credentials().await;
        found.map_err(|error| unavailable("", "", &error.to_string()))
    }

    /// A client that signs with the very credentials whose life is looked at, and how
    /// long what it signs lives: `wanted` (at most 7 days, checked by the
    /// configuration), or as long as they do.
    ///
    /// # Errors
    /// When there are no credentials to sign with, or they end now.
    pub async fn hold(&self, wanted: Duration) -> Result<(Client, Duration), StorageError> {
        let credentials = self.found().await?;
        let usable = life(&credentials).unwrap_or(wanted).min(wanted);
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
        .presigned(config)
        .await
        .map_err(|e| translate("presign", bucket, key, &e))?;
    Ok(SecretUrl(signed.uri().to_owned()))
}

fn life(credentials: &Credentials) -> Option<Duration> {
    credentials.expiry().map(|end| {
        end.duration_since(SystemTime::now())
            .unwrap_or(Duration::ZERO)
    })
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
        assert_eq!(check_life(Links::Plan, None, week, false), Ok(()));
        assert_eq!(check_life(Links::Plan, Some(week), week, false), Ok(()));
        assert_eq!(check_life(Links::Plan, Some(hour), week, true), Ok(()));
        for links in [Links::Release, Links::Plan, Links::Ingress] {
            let refused = check_life(links, Some(hour), week, false).unwrap_err();
            let said = refused.to_string();
            assert!(said.contains("allow_shorter_ttl"), "{said}");
            assert!(said.contains(links.key()), "{said}");
            assert_eq!((refused.life, refused.wanted), (3600, 604_800));
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
