//! Clients of the storage servers, one for each identity.

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::SharedHttpClient;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{Builder, Region, RequestChecksumCalculation, ResponseChecksumValidation};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};

use super::credentials::Identity;
use super::presign::Signer;
use trevor_config as config;
use trevor_core::proxies::{Kind, Proxies, Proxy};

/// Addresses of a node's own that give credentials to pods: no proxy has a way to them.
const LINK_LOCAL: &str = "169.254.0.0/16,fd00:ec2::/32";

/// What signs the URLs of the release bucket: credentials of its own where the
/// environment has some, for the endpoint that readers use.
pub async fn signer(release: &config::Bucket) -> Option<Signer> {
    let identity = match Identity::Signing.is_configured() {
        true => Identity::Signing,
        false => Identity::Release,
    };
    signer_as(release, release.public_endpoint.as_deref(), identity).await
}

/// What signs URLs of a bucket as an identity, for `endpoint` (or the bucket's own).
pub(super) async fn signer_as(
    bucket: &config::Bucket,
    endpoint: Option<&str>,
    identity: Identity,
) -> Option<Signer> {
    let credentials = provider(bucket, identity).await?;
    let client = connect(bucket, endpoint, identity).await;
    Some(Signer::new(client, credentials))
}

/// What gives the credentials of an identity.
pub(super) async fn provider(
    bucket: &config::Bucket,
    identity: Identity,
) -> Option<SharedCredentialsProvider> {
    match identity.provider() {
        Some(provider) => Some(provider),
        None => shared(bucket).await.credentials_provider(),
    }
}

/// The SDK's default chain: the pod's own identity, and so on.
async fn shared(bucket: &config::Bucket) -> SdkConfig {
    let mut loader =
        aws_config::defaults(BehaviorVersion::latest()).region(Region::new(bucket.region.clone()));
    let proxies = proxies();
    if let Some(proxy) = proxies.of_https().and_then(usable) {
        let direct = std::env::var("NO_PROXY").or_else(|_| std::env::var("no_proxy"));
        let direct = format!("{},{LINK_LOCAL}", direct.unwrap_or_default());
        if let Ok(proxy) = ProxyConfig::https(proxy.url()) {
            loader = loader.http_client(http_client(None, proxy.no_proxy(direct)));
        }
    }
    loader.load().await
}

/// The proxies of the environment, which were looked at when the configuration was loaded.
fn proxies() -> Proxies {
    trevor_net::proxies::of_environment().unwrap_or_default()
}

/// A proxy that the storage client can speak with; the configuration's check names others.
fn usable(proxy: &Proxy) -> Option<&Proxy> {
    matches!(proxy.kind, Kind::Http | Kind::Https).then_some(proxy)
}

/// What is needed beyond the SDK's own HTTP client: authorities of the bucket's own, and
/// no others; and a proxy.
fn special(bucket: &config::Bucket, endpoint: Option<&str>) -> Option<SharedHttpClient> {
    let proxies = proxies();
    let url = bucket.called_at(endpoint);
    let proxy = url.as_ref().and_then(|url| proxies.of_url(url));
    let proxy = proxy.and_then(usable);
    if bucket.authorities.is_none() && proxy.is_none() {
        return None;
    }
    let proxy = proxy.and_then(|proxy| ProxyConfig::all(proxy.url()).ok());
    let context = bucket.authorities.as_deref().and_then(trusting);
    Some(http_client(
        context,
        proxy.unwrap_or_else(ProxyConfig::disabled),
    ))
}

/// Trusts these authorities and no others. The configuration was checked when it was
/// loaded: they are certificates.
fn trusting(authorities: &[u8]) -> Option<TlsContext> {
    let store = TrustStore::empty().with_pem_certificate(authorities);
    TlsContext::builder().with_trust_store(store).build().ok()
}

fn http_client(context: Option<TlsContext>, proxy: ProxyConfig) -> SharedHttpClient {
    let context = context.unwrap_or_default();
    aws_smithy_http_client::Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(context.clone())
            .proxy_config(proxy.clone());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        connector.build()
    })
}

/// A client for one bucket's server, for `endpoint` (or the bucket's own).
pub async fn connect(
    bucket: &config::Bucket,
    endpoint: Option<&str>,
    identity: Identity,
) -> Client {
    let mut builder = if let Some(credentials) = identity.provider() {
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
        // aws-chunked trailer, which some servers store as Content-Encoding.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    builder.set_http_client(special(bucket, endpoint));
    if let Some(endpoint) = endpoint.or(bucket.endpoint.as_deref()) {
        builder = builder.endpoint_url(endpoint);
    }
    Client::from_conf(builder.build())
}
