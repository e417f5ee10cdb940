//! A plain HTTP client: what people have.

use std::convert::Infallible;

use bytes::Bytes;
use futures::Stream;
use http::{HeaderMap, Method, StatusCode};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

type Sent = BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Sends requests as they are.
#[derive(Clone)]
pub struct Http {
    client: Client<HttpConnector, Sent>,
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
        self.json()["reason"].as_str().unwrap_or_default().to_owned()
    }

    /// The answer, if it has the expected status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }
}

impl Default for Http {
    fn default() -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http() }
    }
}

impl Http {
    /// One call with a whole body.
    pub async fn call(&self, method: Method, url: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let body = Full::new(body.into()).map_err(|e: Infallible| match e {}).boxed();
        self.send(method, url, headers, body).await.unwrap()
    }

    /// One call with a body that comes piece by piece, perhaps never to its end.
    pub async fn stream<S>(&self, method: Method, url: &str, headers: &[(&str, &str)], pieces: S) -> Result<Answer, String>
    where
        S: Stream<Item = Result<Bytes, std::io::Error>> + Send + Sync + 'static,
    {
        use futures::TryStreamExt as _;
        let frames = pieces.map_ok(Frame::data).map_err(|e| Box::new(e) as Box<dyn std::error::Error + Send + Sync>);
        self.send(method, url, headers, StreamBody::new(frames).boxed()).await
    }

    pub async fn get(&self, url: &str) -> Answer {
        self.call(Method::GET, url, &[], Bytes::new()).await
    }

    async fn send(&self, method: Method, url: &str, headers: &[(&str, &str)], body: Sent) -> Result<Answer, String> {
        let mut request = http::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.client.request(request.body(body).unwrap()).await.map_err(|e| format!("{e:?}"))?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.map_err(|e| e.to_string())?.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }
}
