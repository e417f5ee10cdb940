//! Clients of the storage servers, one for each identity.

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::SharedHttpClient;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{Builder, Region, RequestChecksumCalculation, ResponseChecksumValidation};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};

use super::presign::Signer;
use crate::config;

/// Which credentials a client signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "CONTRACT \"Configuration\": TREVOR_S3_<IDENTITY>_…"
)]
pub enum Identity {
    Quarantine,
    Release,
    Records,
    Staging,
    Signing,
}

impl Identity {
    fn variable(self, what: &str) -> String {
        let name = match self {
            Self::Quarantine => "QUARANTINE",
            Self::Release => "RELEASE",
            Self::Records => "RECORDS",
            Self::Staging => "STAGING",
            Self::Signing => "SIGNING",
        };
        format!("TREVOR_S3_{name}_{what}")
    }

    /// The credentials of the environment, where it has some.
    #[must_use]
    pub fn credentials(self) -> Option<Credentials> {
        let read = |what| {
            std::env::var(self.variable(what))
                .ok()
                .filter(|v| !v.is_empty())
        };
        Some(Credentials::new(
            read("ACCESS_KEY_ID")?,
            read("SECRET_ACCESS_KEY")?,
            read("SESSION_TOKEN"),
            None,
            "environment",
        ))
    }
}

/// What signs the URLs of the release bucket: credentials of its own where the
/// environment has some, for the endpoint that readers use.
pub async fn signer(release: &config::Bucket) -> Option<Signer> {
    let identity = match Identity::Signing.credentials() {
        Some(_) => Identity::Signing,
        None => Identity::Release,
    };
    signer_as(release, release.public_endpoint.as_deref(), identity).await
}

/// What signs URLs of a bucket as an identity, for `endpoint` (or the bucket's own).
pub(super) async fn signer_as(
    bucket: &config::Bucket,
    endpoint: Option<&str>,
    identity: Identity,
) -> Option<Signer> {
    let credentials = match identity.credentials() {
        Some(credentials) => SharedCredentialsProvider::new(credentials),
        None => shared(bucket).await.credentials_provider()?,
    };
    let client = connect(bucket, endpoint, identity).await;
    Some(Signer::new(client, credentials))
}

/// The SDK's default chain: the pod's own identity, and so on.
async fn shared(bucket: &config::Bucket) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(bucket.region.clone()))
        .load()
        .await
}

/// An HTTP client that trusts these authorities and no others. The configuration was
/// checked when it was loaded: they are certificates.
fn trusting(authorities: &[u8]) -> Option<SharedHttpClient> {
    let store = TrustStore::empty().with_pem_certificate(authorities);
    let context = TlsContext::builder().with_trust_store(store).build().ok()?;
    Some(
        aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(context)
            .build_https(),
    )
}

/// A client for one bucket's server, for `endpoint` (or the bucket's own).
pub async fn connect(
    bucket: &config::Bucket,
    endpoint: Option<&str>,
    identity: Identity,
) -> Client {
    let mut builder = if let Some(credentials) = identity.credentials() {
        Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(credentials)
    } else {
        Builder::from(&shared(bucket).await)
    };
    builder = builder
        .region(Region::new(bucket.region.clone()))
        .force_path_style(bucket.path_style)
        .retry_config(RetryConfig::standard().with_max_attempts(3))
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(Duration::from_secs(5))
                .read_timeout(Duration::from_secs(60))
                .build(),
        )
        // Our own SHA-256 covers the bytes; the SDK's default CRC would become an
        // aws-chunked trailer, which some servers store as Content-Encoding (FACTS).
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    if let Some(endpoint) = endpoint.or(bucket.endpoint.as_deref()) {
        builder = builder.endpoint_url(endpoint);
    }
    if let Some(http) = bucket.authorities.as_deref().and_then(trusting) {
        builder = builder.http_client(http);
    }
    Client::from_conf(builder.build())
}
