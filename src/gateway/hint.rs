//! A hint to the controller that the last declared file is there. Best effort:
//! nothing depends on it (DESIGN §4 "Gateway").

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::CONTENT_TYPE;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tracing::debug;

use super::cache::Cache;

/// At most one hint for a request in this time.
const APART: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(1);

/// Sends hints.
pub struct Hints {
    client: Client<HttpConnector, Full<Bytes>>,
    url: Option<http::Uri>,
    sent: Cache<(String, String), ()>,
}

impl Hints {
    /// To the controller at `url`; over plain HTTP only, for there is no secret
    /// in a hint.
    #[must_use]
    pub fn new(url: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(PATIENCE));
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(1)
            .build(connector);
        let url = format!("{}/hint", url.trim_end_matches('/'))
            .parse::<http::Uri>()
            .ok();
        Self {
            client,
            url: url.filter(|u| u.scheme_str() == Some("http")),
            sent: Cache::new(4096),
        }
    }

    /// Sends one, without waiting for it.
    pub fn send(&self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        let Some(url) = self.url.clone().filter(|_| self.sent.get(&key).is_none()) else {
            return;
        };
        self.sent.put(key, (), APART);
        let body = serde_json::json!({"namespace": namespace, "name": name}).to_string();
        let request = Request::post(url)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body));
        let Ok(request) = request else { return };
        let answer = self.client.request(request);
        tokio::spawn(async move {
            let answered = tokio::time::timeout(PATIENCE, answer).await;
            debug!(
                reached = matches!(answered, Ok(Ok(_))),
                "hinted to the controller"
            );
        });
    }
}
