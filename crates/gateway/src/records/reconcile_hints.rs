//! Hints that make the controller reconcile a request early, for example when the last declared
//! file has arrived. They are best effort: the controller finds the same without them. Each is
//! signed ([`trevor_core::hint`]).

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
use trevor_store::Work;
use trevor_store::audit::SigningKey;

/// The shortest time between two hints for one request.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(1);
/// When a signing key is replaced. The controller deletes keys that are much older.
const KEY_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// A request, by namespace and name.
type Target = (String, String);

/// Sends hints to the controller.
#[derive(Clone)]
pub struct ReconcileHints {
    client: Client<HttpConnector, Full<Bytes>>,
    url: Option<http::Uri>,
    schedule: Arc<Mutex<HintSchedule>>,
    work: Work,
    signer: Arc<tokio::sync::Mutex<Option<HintSigner>>>,
}

/// The signing key of this process.
struct HintSigner {
    gateway: String,
    key: SigningKey,
    created: Instant,
}

impl HintSigner {
    /// Generates a key, and stores its public half before it signs anything.
    async fn establish(work: &Work) -> Option<Self> {
        let gateway = Uuid::new_v4().simple().to_string();
        let key = SigningKey::generate().ok()?;
        let fact = HintKey {
            key: key.public().vkey(),
            time: Timestamp::now(),
        };
        let stored = work.create(&hint_key(&gateway), &fact).await;
        if let Err(error) = stored {
            debug!(%error, "the key for hints could not be stored");
            return None;
        }
        Some(Self {
            gateway,
            key,
            created: Instant::now(),
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

/// When the last hint for a request was sent, or will be sent.
#[derive(Debug, Default)]
struct HintSchedule(HashMap<Target, Instant>);

impl HintSchedule {
    /// How long to wait before sending. None when a hint for the request is scheduled already.
    fn delay_for(&mut self, target: &Target, now: Instant) -> Option<Duration> {
        self.0.retain(|_, at| now < *at + MIN_INTERVAL);
        let at = match self.0.get(target) {
            Some(last) if now < *last => return None,
            Some(last) => *last + MIN_INTERVAL,
            None => now,
        };
        self.0.insert(target.clone(), at);
        Some(at.saturating_duration_since(now))
    }
}

impl ReconcileHints {
    /// Sends to the controller at `url`. Only plain HTTP is used, because hints hold no secret. The
    /// public key is stored in `work`.
    #[must_use]
    pub fn new(url: &str, work: Work) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(1)
            .build(connector);
        let url = format!("{}/hint", url.trim_end_matches('/'))
            .parse::<http::Uri>()
            .ok();
        Self {
            client,
            url: url.filter(|u| u.scheme_str() == Some("http")),
            schedule: Arc::default(),
            work,
            signer: Arc::default(),
        }
    }

    async fn signed(&self, target: &Target) -> Option<Hint> {
        let mut signer = self.signer.lock().await;
        if signer
            .as_ref()
            .is_none_or(|s| s.created.elapsed() > KEY_LIFETIME)
        {
            *signer = HintSigner::establish(&self.work).await;
        }
        signer.as_ref().map(|signer| signer.sign(target))
    }

    /// Sends a hint without waiting for it. A hint soon after another one is delayed rather than
    /// dropped, so that the controller learns of the last change too.
    pub fn send(&self, namespace: &str, name: &str) {
        let target = (namespace.to_owned(), name.to_owned());
        let Some(url) = self.url.clone() else { return };
        let delay = {
            let mut schedule = self.schedule.lock().unwrap_or_else(PoisonError::into_inner);
            schedule.delay_for(&target, Instant::now())
        };
        let Some(delay) = delay else { return };
        let hints = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
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
            let answered = tokio::time::timeout(TIMEOUT, hints.client.request(request)).await;
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
        let (mut schedule, start) = (HintSchedule::default(), Instant::now());
        let mut delay_for = |name: &str, ms: u64| {
            let now = start + Duration::from_millis(ms);
            schedule
                .delay_for(&target(name), now)
                .map(|d| d.as_millis())
        };
        assert_eq!(delay_for("r", 0), Some(0));
        assert_eq!(delay_for("r", 300), Some(700));
        assert_eq!(delay_for("r", 600), None, "the one at 1000 tells it");
        assert_eq!(delay_for("other", 600), Some(0));
        assert_eq!(delay_for("r", 1200), Some(800));
        assert_eq!(delay_for("r", 4000), Some(0));
    }
}
