//! Hints to the controller: the last declared file is there, a file was read whole.
//! Best effort: nothing depends on them. Each is signed ([`trevor_core::hint`]).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use http::header::CONTENT_TYPE;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use tracing::debug;
use uuid::Uuid;

use trevor_core::hint::{Hint, HintKey};
use trevor_core::keys::hint_key;
use trevor_store::Bucket;
use trevor_store::audit::SigningKey;
use trevor_store::commit::commit;

/// Hints for one request are so far apart.
const APART: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(1);
/// A key is replaced after this time; the controller deletes those that are much older.
const KEY_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// A request, by namespace and name.
type Target = (String, String);

/// Sends hints.
#[derive(Clone)]
pub struct Hints {
    client: Client<HttpConnector, Full<Bytes>>,
    url: Option<http::Uri>,
    last: Arc<Mutex<Last>>,
    bucket: Bucket,
    signer: Arc<tokio::sync::Mutex<Option<Signer>>>,
}

/// Signs for this process.
struct Signer {
    gateway: String,
    key: SigningKey,
    drawn: Instant,
}

impl Signer {
    /// Draws a key, and stores its public half before anything is signed with it.
    async fn establish(bucket: &Bucket) -> Option<Self> {
        let gateway = Uuid::new_v4().simple().to_string();
        let key = SigningKey::generate().ok()?;
        let fact = HintKey {
            key: key.public().vkey(),
            time: Timestamp::now(),
        };
        let stored = commit(bucket, &hint_key(&gateway), &fact).await;
        if let Err(error) = stored {
            debug!(%error, "the key for hints could not be stored");
            return None;
        }
        Some(Self {
            gateway,
            key,
            drawn: Instant::now(),
        })
    }

    fn sign(&self, (namespace, name): &Target) -> Hint {
        let mut hint = Hint {
            namespace: namespace.clone(),
            name: name.clone(),
            time: Timestamp::now(),
            gateway: self.gateway.clone(),
            signature: String::new(),
        };
        hint.signature = STANDARD.encode(self.key.sign(hint.text().as_bytes()));
        hint
    }
}

/// When the last hint for a request goes, or went.
#[derive(Debug, Default)]
struct Last(HashMap<Target, Instant>);

impl Last {
    /// How long a hint of now waits; nothing if one that still waits says it too.
    fn wait(&mut self, target: &Target, now: Instant) -> Option<Duration> {
        self.0.retain(|_, at| now < *at + APART);
        let at = match self.0.get(target) {
            Some(last) if now < *last => return None,
            Some(last) => *last + APART,
            None => now,
        };
        self.0.insert(target.clone(), at);
        Some(at.saturating_duration_since(now))
    }
}

impl Hints {
    /// To the controller at `url`; over plain HTTP only, for there is no secret
    /// in a hint. The key is stored in the quarantine bucket.
    #[must_use]
    pub fn new(url: &str, bucket: Bucket) -> Self {
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
            last: Arc::default(),
            bucket,
            signer: Arc::default(),
        }
    }

    async fn signed(&self, target: &Target) -> Option<Hint> {
        let mut signer = self.signer.lock().await;
        if signer.as_ref().is_none_or(|s| s.drawn.elapsed() > KEY_LIFE) {
            *signer = Signer::establish(&self.bucket).await;
        }
        signer.as_ref().map(|signer| signer.sign(target))
    }

    /// Sends one, without waiting for it. What happens soon after another hint is
    /// told a little later, so that the last thing is told too.
    pub fn send(&self, namespace: &str, name: &str) {
        let target = (namespace.to_owned(), name.to_owned());
        let Some(url) = self.url.clone() else { return };
        let wait = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            last.wait(&target, Instant::now())
        };
        let Some(wait) = wait else { return };
        let hints = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let Some(hint) = hints.signed(&target).await else {
                return;
            };
            let Ok(body) = serde_json::to_vec(&hint) else {
                return;
            };
            let request = Request::post(url)
                .header(CONTENT_TYPE, "application/json")
                .body(Full::from(body));
            let Ok(request) = request else { return };
            let answered = tokio::time::timeout(PATIENCE, hints.client.request(request)).await;
            debug!(
                reached = matches!(answered, Ok(Ok(_))),
                "hinted to the controller"
            );
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_apart_and_the_last_thing_that_happened_is_told() {
        let target = |name: &str| ("a".to_owned(), name.to_owned());
        let (mut last, start) = (Last::default(), Instant::now());
        let mut wait = |name: &str, ms: u64| {
            let now = start + Duration::from_millis(ms);
            last.wait(&target(name), now).map(|d| d.as_millis())
        };
        assert_eq!(wait("r", 0), Some(0));
        assert_eq!(wait("r", 300), Some(700));
        assert_eq!(wait("r", 600), None, "the one at 1000 tells it");
        assert_eq!(wait("other", 600), Some(0));
        assert_eq!(wait("r", 1200), Some(800));
        assert_eq!(wait("r", 4000), Some(0));
    }
}
