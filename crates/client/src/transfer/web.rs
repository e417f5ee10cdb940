//! The HTTP client: one exchange, and what can go wrong with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{PROXY_AUTHORIZATION, RETRY_AFTER};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::through::{Through, authorization};
use trevor_core::proxies::{Kind, NoProxyUrl, Proxies};
use trevor_net::tls::{self, causes};

/// What is sent.
pub type Outgoing = UnsyncBoxBody<Bytes, std::io::Error>;

const CONNECT: Duration = Duration::from_secs(15);
/// A connection on which nothing moves for so long is given up.
const STALL: Duration = Duration::from_secs(60);
/// Of an error's text so much is read.
const ERROR_BODY: usize = 64 << 10;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages explain each")]
pub enum WebError {
    #[error("{path}: {problem}; --ca takes a file of PEM certificates")]
    Ca { path: PathBuf, problem: String },
    #[error("the text of PEM certificates cannot be used: {0}")]
    Authorities(String),
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    #[error(transparent)]
    Proxy(#[from] NoProxyUrl),
}

/// Why one exchange with the server failed. Holds no URL.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The connection broke, or there was none.
    #[error("no connection, or it broke: {0}")]
    Broken(String),
    /// Whoever answers is not known to be the server.
    #[error("the server's certificate is not trusted: {0}; --ca names a file of authorities")]
    Untrusted(String),
    /// Nothing moved for too long.
    #[error("the server does not answer")]
    Stalled,
    /// The server says no.
    #[error("the server answers {}", said(*status, code.as_deref()))]
    Status {
        /// The status code.
        status: u16,
        /// The error's name in S3.
        code: Option<String>,
        /// When to come back.
        asked: Option<Duration>,
    },
    /// Something of our own machine failed.
    #[error("{0}")]
    Here(String),
}

fn said(status: u16, code: Option<&str>) -> String {
    match code {
        Some(code) => format!("{status} {code}"),
        None => status.to_string(),
    }
}

impl Trouble {
    pub(crate) fn status(status: u16, code: Option<String>, asked: Option<Duration>) -> Self {
        Self::Status {
            status,
            code,
            asked,
        }
    }

    /// Whether it may be gone the next time.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Self::Broken(_) | Self::Stalled => true,
            Self::Status { status, code, .. } => {
                // S3 has a 400 for a body that came too slowly.
                matches!(status, 408 | 429 | 500..=599) || code.as_deref() == Some("RequestTimeout")
            }
            Self::Here(_) | Self::Untrusted(_) => false,
        }
    }

    /// When the server wants to see us again.
    pub(super) fn asked(&self) -> Option<Duration> {
        match self {
            Self::Status { asked, .. } => *asked,
            _ => None,
        }
    }

    /// Whether the URL itself is refused: ended, revoked, or not whole.
    #[must_use]
    pub fn refused(&self) -> bool {
        match self {
            Self::Status { status, code, .. } => {
                *status == 403 || code.as_deref() == Some("AuthorizationQueryParametersError")
            }
            _ => false,
        }
    }
}

/// Bytes that moved: whoever moves some says so, and a watcher sees that it goes on.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// Something went on.
    pub fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Speaks HTTP/1.1 with storage servers. Follows no redirect.
#[derive(Clone, Debug)]
pub struct Web {
    client: Client<HttpsConnector<Through>, Outgoing>,
    tls: ClientConfig,
    proxies: Arc<Proxies>,
    stall: Duration,
}

impl Web {
    /// Trusts the system's certificate authorities, and those in the file `ca`.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn new(ca: Option<&Path>) -> Result<Self, WebError> {
        Self::trusting(roots(ca)?)
    }

    /// Trusts the authorities of a text of PEM certificates, and no others.
    ///
    /// # Errors
    /// When there is none in it.
    pub fn of_authorities(pem: &str) -> Result<Self, WebError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let added = certificate.map(|c| roots.add(c));
            match added {
                Ok(Ok(())) => {}
                Ok(Err(e)) => return Err(WebError::Authorities(e.to_string())),
                Err(e) => return Err(WebError::Authorities(e.to_string())),
            }
        }
        if roots.is_empty() {
            return Err(WebError::Authorities("no certificate in it".to_owned()));
        }
        Self::trusting(roots)
    }

    fn trusting(roots: RootCertStore) -> Result<Self, WebError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| WebError::Tls(e.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let proxies = Arc::default();
        Ok(Self {
            client: client(&tls, Arc::clone(&proxies)),
            tls,
            proxies,
            stall: STALL,
        })
    }

    /// The same, through the proxies of the environment.
    ///
    /// # Errors
    /// When one of them is none.
    pub fn through_proxies(self) -> Result<Self, WebError> {
        let proxies = trevor_net::proxies::of_environment()?;
        Ok(self.through(proxies))
    }

    pub(super) fn through(self, proxies: Proxies) -> Self {
        let proxies = Arc::new(proxies);
        Self {
            client: client(&self.tls, Arc::clone(&proxies)),
            proxies,
            ..self
        }
    }

    #[cfg(test)]
    pub(super) fn with_stall(mut self, stall: Duration) -> Self {
        self.stall = stall;
        self
    }

    /// One exchange that succeeds, as far as the server says.
    pub(crate) async fn exchange(
        &self,
        request: Request<Outgoing>,
        pulse: &Pulse,
    ) -> Result<Response<Incoming>, Trouble> {
        let response = self.answer(request, pulse).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(response).await)
    }

    /// One exchange, whatever the answer; given up when neither the body (by `pulse`)
    /// nor the answer moves.
    pub async fn answer(
        &self,
        mut request: Request<Outgoing>,
        pulse: &Pulse,
    ) -> Result<Response<Incoming>, Trouble> {
        // What is not encrypted is told to the proxy itself, with its password.
        if request.uri().scheme_str() == Some("http")
            && let Some(proxy) = self.proxies.of_url(request.uri())
            && proxy.kind != Kind::Socks5
            && let Some(authorization) = authorization(proxy)
        {
            let headers = request.headers_mut();
            headers.insert(PROXY_AUTHORIZATION, authorization);
        }
        let mut answer = std::pin::pin!(self.client.request(request));
        let mut seen = pulse.count();
        loop {
            match tokio::time::timeout(self.stall, &mut answer).await {
                Ok(result) => return result.map_err(|e| broken(&e)),
                Err(_) if pulse.count() == seen => return Err(Trouble::Stalled),
                Err(_) => seen = pulse.count(),
            }
        }
    }

    /// All of an answer that has at most so many bytes.
    pub async fn whole(&self, mut body: Incoming, most: usize) -> Result<Bytes, Trouble> {
        let mut all = bytes::BytesMut::new();
        while let Some(piece) = self.next(&mut body).await? {
            if all.len() + piece.len() > most {
                return Err(Trouble::Here("the answer is too long".to_owned()));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }

    /// The next bytes of an answer.
    pub(crate) async fn next(&self, body: &mut Incoming) -> Result<Option<Bytes>, Trouble> {
        loop {
            match tokio::time::timeout(self.stall, body.frame()).await {
                Err(_) => return Err(Trouble::Stalled),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(Trouble::Broken(causes(&error))),
                Ok(Some(Ok(frame))) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    /// Reads what is left of a short answer, so that its connection can be used
    /// again. An answer that does not end is none.
    pub(crate) async fn finish(&self, body: Incoming) -> Result<(), Trouble> {
        let rest = Limited::new(body, ERROR_BODY).collect();
        match tokio::time::timeout(self.stall, rest).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Trouble::Broken(causes(error.as_ref()))),
            Err(_) => Err(Trouble::Stalled),
        }
    }

    async fn refusal(&self, response: Response<Incoming>) -> Trouble {
        let status = response.status().as_u16();
        let asked = asked(response.headers());
        let body = Limited::new(response.into_body(), ERROR_BODY).collect();
        let text = match tokio::time::timeout(self.stall, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            _ => Bytes::new(),
        };
        Trouble::status(status, code(&String::from_utf8_lossy(&text)), asked)
    }
}

fn client(tls: &ClientConfig, proxies: Arc<Proxies>) -> Client<HttpsConnector<Through>, Outgoing> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT));
    tcp.set_nodelay(true);
    let to_proxy = HttpsConnectorBuilder::new()
        .with_tls_config(tls.clone())
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp.clone());
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls.clone())
        .https_or_http()
        .enable_http1()
        .wrap_connector(Through {
            to_proxy,
            direct: tcp,
            proxies,
        });
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(20))
        .build(connector)
}

/// When a server wants to see us again.
pub(crate) fn asked(headers: &http::HeaderMap) -> Option<Duration> {
    let field = headers.get(RETRY_AFTER)?.to_str().ok()?;
    field.trim().parse().ok().map(Duration::from_secs)
}

/// The `Code` of an S3 error. Nothing else of it is kept: it can repeat the signature.
fn code(xml: &str) -> Option<String> {
    let (_, rest) = xml.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let plain =
        !code.is_empty() && code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric());
    plain.then(|| code.to_owned())
}

fn broken(error: &(dyn std::error::Error + 'static)) -> Trouble {
    match tls::untrusted(error) {
        Some(problem) => Trouble::Untrusted(problem),
        None => Trouble::Broken(causes(error)),
    }
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, WebError> {
    let mut roots = RootCertStore::empty();
    // A system without certificates is no error: the file may suffice, and
    // without any the handshake says so.
    for certificate in rustls_native_certs::load_native_certs().certs {
        let _ = roots.add(certificate);
    }
    let Some(path) = ca else { return Ok(roots) };
    let problem = |problem: String| WebError::Ca {
        path: path.to_owned(),
        problem,
    };
    let mut found = 0;
    for certificate in CertificateDer::pem_file_iter(path).map_err(|e| problem(e.to_string()))? {
        let certificate = certificate.map_err(|e| problem(e.to_string()))?;
        roots.add(certificate).map_err(|e| problem(e.to_string()))?;
        found += 1;
    }
    if found == 0 {
        return Err(problem("no certificate in it".to_owned()));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\n\
        MIIBdjCCARugAwIBAgIUdoHBfx4fuIyeBvbsfmeMhVVFqi8wCgYIKoZIzj0EAwIw\n\
        DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjYwMTE3NDlaGA8yMTI2MTEwMjAxMTc0\n\
        OVowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABDmh\n\
        9oMAE2KkIYsyoP/4OQiYNkuQ3Yew+GcKfj9Ch73BeeaZxG/dr1fhPI0S559DUlVn\n\
        42hlFn5I+9JBqu3TCyijUzBRMB0GA1UdDgQWBBQ7j2AktF6AEZpmVGqM7EoFmVVC\n\
        XjAfBgNVHSMEGDAWgBQ7j2AktF6AEZpmVGqM7EoFmVVCXjAPBgNVHRMBAf8EBTAD\n\
        AQH/MAoGCCqGSM49BAMCA0kAMEYCIQCT5DRCCh1HoWYGfUoM0mP4QhGcoWpam6sV\n\
        A9UQxGfPlQIhAKgGTa5OJvmyb5sZRIY8xWtYh5hlYpfLrtmTkgHfDLK+\n\
        -----END CERTIFICATE-----\n";

    #[test]
    fn of_an_error_only_its_name_is_kept() {
        let xml = "<Error><Code>SignatureDoesNotMatch</Code><Message>m</Message><SignatureProvided>secret</SignatureProvided></Error>";
        assert_eq!(code(xml).as_deref(), Some("SignatureDoesNotMatch"));
        for text in [
            "",
            "<Code></Code>",
            "<Code>a b</Code>",
            "<Code>\u{1b}[2J</Code>",
            "<Code>a",
        ] {
            assert_eq!(code(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_may_pass_is_told_from_what_stays() {
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(Trouble::status(status, None, None).passes(), "{status}");
        }
        for status in [301, 400, 403, 404, 409, 411, 412, 413] {
            assert!(!Trouble::status(status, None, None).passes(), "{status}");
        }
        assert!(Trouble::status(400, Some("RequestTimeout".into()), None).passes());
        assert!(Trouble::Stalled.passes());
        assert!(!Trouble::Here("disk full".into()).passes());
    }

    #[test]
    fn authorities_are_those_of_the_text_and_a_text_without_any_is_refused() {
        assert!(Web::of_authorities(CERTIFICATE).is_ok());
        assert!(Web::of_authorities(&CERTIFICATE.repeat(2)).is_ok());
        let broken = CERTIFICATE.replace('B', "A");
        for text in ["", "no certificate", &broken] {
            let error = Web::of_authorities(text).err();
            assert!(matches!(error, Some(WebError::Authorities(_))), "{text}");
        }
    }

    #[test]
    fn a_file_without_a_certificate_is_no_authority() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(
            Web::new(Some(file.path())),
            Err(WebError::Ca { .. })
        ));
        assert!(matches!(
            Web::new(Some(Path::new("/nonexistent"))),
            Err(WebError::Ca { .. })
        ));
    }
}
