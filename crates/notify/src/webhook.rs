//! A webhook: CloudEvents 1.0 over HTTP, signed as Standard Webhooks.
//!
//! The connection goes to an address that was looked at ([`super::connect`]). Redirects
//! are not followed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, Mac as _};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Map, Value};
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::channel::{ChannelError, Secret};
use super::connect::{connect, system, through};
use super::delivery::{Failure, NotificationFailure};
use super::message::Message;
use trevor_config::address::Allowed;
use trevor_config::notifications::{Channel as Settings, Mode, Webhook as WebhookSettings};
use trevor_core::proxies::Proxy;
use trevor_net::tls::authorities;

/// From resolving to the answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A webhook that can be called.
pub struct Webhook {
    uri: Uri,
    mode: Mode,
    signs: Option<Signs>,
    allowed: Allowed,
    proxy: Option<Proxy>,
    tls: TlsConnector,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A URL may carry a token.
        f.debug_struct("Webhook")
            .field("host", &self.uri.host())
            .finish_non_exhaustive()
    }
}

/// A connection to the address that was checked.
enum Stream {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
}

/// The key of Standard Webhooks.
struct Signs(Vec<u8>);

impl Webhook {
    /// Sets it up.
    ///
    /// # Errors
    /// When its secret is missing or TLS cannot be set up.
    pub fn new(
        channel: &Settings,
        settings: &WebhookSettings,
        allowed: Allowed,
        secret: Option<&Secret>,
    ) -> Result<Self, ChannelError> {
        let refused = |problem| ChannelError::Secret {
            channel: channel.name.clone(),
            variable: channel.variable("SIGNING_SECRET"),
            problem,
        };
        let signs = match secret {
            Some(secret) => Some(Signs::new(secret).ok_or_else(|| {
                refused("is not whsec_ and base64 of 24 to 64 bytes (Standard Webhooks)")
            })?),
            None if settings.allow_unsigned => None,
            None => {
                return Err(refused(
                    "is not set; set it, or set allow_unsigned: true for the webhook",
                ));
            }
        };
        let tls_failed = |problem: String| ChannelError::Tls {
            channel: channel.name.clone(),
            problem,
        };
        let uri = settings.url.parse().map_err(|_| ChannelError::Settings {
            channel: channel.name.clone(),
            problem: "its URL is none".to_owned(),
        })?;
        Ok(Self {
            uri,
            mode: settings.mode,
            signs,
            allowed,
            // The configuration was checked.
            proxy: settings
                .proxy
                .as_deref()
                .and_then(|proxy| Proxy::parse(proxy, "webhook.proxy").ok()),
            tls: connector(settings.ca_bundle.as_deref()).map_err(tls_failed)?,
        })
    }

    /// Sends one message, once.
    ///
    /// # Errors
    /// When it was not taken.
    pub async fn send(&self, message: &Message<'_>, now: Timestamp) -> Result<(), Failure> {
        let request = self
            .request(message, now)
            .ok_or(Failure::lasting(NotificationFailure::Malformed))?;
        match tokio::time::timeout(PATIENCE, self.exchange(request)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::passing(NotificationFailure::TimedOut)),
        }
    }

    fn request(&self, message: &Message<'_>, now: Timestamp) -> Option<Request<Full<Bytes>>> {
        let (mut headers, body) = laid_out(message, self.mode)?;
        let id = message.notice.id();
        let at = now.as_second().to_string();
        headers.insert("webhook-id", HeaderValue::from_str(&id).ok()?);
        headers.insert("webhook-timestamp", HeaderValue::from_str(&at).ok()?);
        if let Some(signs) = &self.signs {
            let signature = signs.signature(&id, &at, &body)?;
            headers.insert("webhook-signature", HeaderValue::from_str(&signature).ok()?);
        }
        let host = match self.uri.port_u16() {
            Some(port) => format!("{}:{port}", self.uri.host()?),
            None => self.uri.host()?.to_owned(),
        };
        headers.insert(header::HOST, HeaderValue::from_str(&host).ok()?);
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("trevor/", env!("CARGO_PKG_VERSION"))),
        );
        let path = self.uri.path_and_query().map_or("/", |p| p.as_str());
        let mut request = Request::post(path).body(Full::new(body)).ok()?;
        *request.headers_mut() = headers;
        Some(request)
    }

    /// Connects, with TLS where it is https, and sends nothing.
    ///
    /// # Errors
    /// When nobody is reached who may be.
    pub async fn reach(&self) -> Result<(), Failure> {
        match tokio::time::timeout(PATIENCE, self.stream()).await {
            Ok(reached) => reached.map(drop),
            Err(_) => Err(Failure::passing(NotificationFailure::TimedOut)),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(), Failure> {
        match self.stream().await? {
            Stream::Plain(stream) => call(stream, request).await,
            Stream::Secure(stream) => call(stream, request).await,
        }
    }

    async fn stream(&self) -> Result<Stream, Failure> {
        let secure = self.uri.scheme_str() != Some("http");
        let host = self.uri.host().unwrap_or_default();
        let port = self.uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = match &self.proxy {
            Some(proxy) => through(proxy, (host, port)).await?,
            None => connect((host, port), &self.allowed, system).await?,
        };
        if !secure {
            return Ok(Stream::Plain(stream));
        }
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let failed = || Failure::passing(NotificationFailure::TlsFailed);
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| failed())?;
        let stream = self.tls.connect(name, stream).await.map_err(|_| failed())?;
        Ok(Stream::Secure(Box::new(stream)))
    }
}

async fn call<S>(stream: S, request: Request<Full<Bytes>>) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broke = |_| Failure::passing(NotificationFailure::Unreachable);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broke)?;
    let answer = {
        // The connection ends with this call.
        let mut connection = std::pin::pin!(connection);
        let mut sent = std::pin::pin!(sender.send_request(request));
        tokio::select! {
            answer = &mut sent => answer,
            _ = &mut connection => sent.await,
        }
    };
    let status = answer.map_err(broke)?.status();
    let code = Some(status.as_u16());
    let failure = |reason| Failure {
        code,
        ..Failure::passing(reason)
    };
    match status.as_u16() {
        200..=299 => Ok(()),
        300..=399 => Err(failure(NotificationFailure::Redirected)),
        // Standard Webhooks: nobody wants to hear of it any more.
        410 => Err(Failure {
            code,
            ..Failure::lasting(NotificationFailure::Refused)
        }),
        _ => Err(failure(NotificationFailure::Refused)),
    }
}

/// Headers and body of an event (CloudEvents 1.0, HTTP protocol binding).
fn laid_out(message: &Message<'_>, mode: Mode) -> Option<(HeaderMap, Bytes)> {
    let mut headers = HeaderMap::new();
    let data = message.data();
    let (kind, body) = match mode {
        Mode::Structured => {
            let mut event = Map::new();
            for (name, value) in message.attributes() {
                event.insert(name.to_owned(), Value::String(value));
            }
            event.insert("datacontenttype".to_owned(), "application/json".into());
            event.insert("data".to_owned(), data);
            (
                "application/cloudevents+json; charset=utf-8",
                Value::Object(event),
            )
        }
        Mode::Binary => {
            for (name, value) in message.attributes() {
                let name = HeaderName::try_from(format!("ce-{name}")).ok()?;
                headers.insert(name, HeaderValue::from_str(&value).ok()?);
            }
            ("application/json", data)
        }
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Some((headers, Bytes::from(serde_json::to_vec(&body).ok()?)))
}

impl Signs {
    fn new(secret: &Secret) -> Option<Self> {
        let text = secret.expose();
        let key = STANDARD
            .decode(text.strip_prefix("whsec_").unwrap_or(text))
            .ok()?;
        (24..=64).contains(&key.len()).then_some(Self(key))
    }

    fn signature(&self, id: &str, at: &str, body: &[u8]) -> Option<String> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(format!("{id}.{at}.").as_bytes());
        mac.update(body);
        Some(format!(
            "v1,{}",
            STANDARD.encode(mac.finalize().into_bytes())
        ))
    }
}

fn connector(ca: Option<&Path>) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    for certificate in rustls_native_certs::load_native_certs().certs {
        let _ = roots.add(certificate);
    }
    if let Some(path) = ca {
        for certificate in authorities::of_text(&authorities::of_file(path)?)? {
            roots.add(certificate).map_err(|e| e.to_string())?;
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_standard_webhooks() {
        // The example of its specification's reference libraries.
        let signs = Signs::new(&Secret::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")).unwrap();
        let signature = signs.signature(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(
            signature.unwrap(),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn a_secret_that_is_too_short_or_no_base64_signs_nothing() {
        for secret in ["whsec_", "whsec_AAAA", "whsec_not base64", ""] {
            assert!(Signs::new(&Secret::from(secret)).is_none(), "{secret}");
        }
    }
}
