//! An HTTP client: what people have.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use http::{HeaderMap, Method, StatusCode};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use trevor_net::tls::authorities;

type Sent = BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Sends requests as they are.
#[derive(Clone)]
pub struct Http {
    client: Client<HttpsConnector<HttpConnector>, Sent>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// The one-word reason of a problem.
    pub fn reason(&self) -> String {
        self.json()["reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// The answer, if it has the expected status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(
            self.status.as_u16(),
            status,
            "{}",
            String::from_utf8_lossy(&self.body)
        );
        self
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }
}

/// The authorities of a text of PEM.
pub(super) fn roots(pem: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for certificate in authorities::of_text(pem.as_bytes()).unwrap() {
        roots.add(certificate).unwrap();
    }
    roots
}

/// Plain HTTP, and TLS with whom these authorities vouch for.
pub(super) fn connector(roots: RootCertStore) -> HttpsConnector<HttpConnector> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp)
}

impl Default for Http {
    fn default() -> Self {
        Self::with(RootCertStore::empty())
    }
}

impl Http {
    /// Trusts the authorities of a text of PEM, and nobody else.
    pub fn trusting(pem: &str) -> Self {
        Self::with(roots(pem))
    }

    fn with(roots: RootCertStore) -> Self {
        Self {
            client: Client::builder(TokioExecutor::new()).build(connector(roots)),
        }
    }

    /// One call without a body, which may come to nothing.
    pub async fn tries(&self, url: &str) -> Result<Answer, String> {
        let body = Full::new(Bytes::new()).map_err(|e: Infallible| match e {});
        self.send(Method::GET, url, &[], body.boxed()).await
    }

    /// One call with a whole body.
    pub async fn call(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let body: Bytes = body.into();
        let mut headers = headers.to_vec();
        // The client states no length of nothing, and the gateway asks for one.
        let stated = headers.iter().any(|(name, _)| *name == "content-length");
        if method == Method::PUT && body.is_empty() && !stated {
            headers.push(("content-length", "0"));
        }
        let body = Full::new(body).map_err(|e: Infallible| match e {}).boxed();
        self.send(method, url, &headers, body).await.unwrap()
    }

    /// One call with a body that comes piece by piece, perhaps never to its end.
    pub async fn stream<S>(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        pieces: S,
    ) -> Result<Answer, String>
    where
        S: Stream<Item = Result<Bytes, std::io::Error>> + Send + Sync + 'static,
    {
        use futures::TryStreamExt as _;
        let frames = pieces
            .map_ok(Frame::data)
            .map_err(|e| Box::new(e) as Box<dyn std::error::Error + Send + Sync>);
        self.send(method, url, headers, StreamBody::new(frames).boxed())
            .await
    }

    pub async fn get(&self, url: &str) -> Answer {
        self.call(Method::GET, url, &[], Bytes::new()).await
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Sent,
    ) -> Result<Answer, String> {
        let mut request = http::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self
            .client
            .request(request.body(body).unwrap())
            .await
            .map_err(|e| format!("{e:?}"))?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.map_err(|e| e.to_string())?.to_bytes();
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        })
    }
}
