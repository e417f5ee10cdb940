//! The controller's HTTP listener: probes, numbers, and hints from gateways that a
//! request may be ready for its next step. A hint only makes us look; correctness never
//! depends on it, and a follower drops it. Only gateways give hints: each is signed with a
//! key that the gateway stored where nobody else writes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request, StatusCode, header};
use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;

use super::ages;
use super::context::Context;
use super::health::Health;
use trevor_api::AirlockRequest;
use trevor_core::hint::Hint;
use trevor_core::keys::hint_key;
use trevor_net::cache::Cache;
use trevor_store::audit::PublicKey;

/// The longest hint.
const MOST: usize = 4096;
/// How long a gateway's key is believed, and how long one that is not there stays unknown.
const KEY_BELIEVED: Duration = Duration::from_secs(600);
const KEYS: usize = 256;
/// Keys are looked up so far apart, so that invented gateways cost next to nothing.
const LOOK_UPS_APART: Duration = Duration::from_millis(250);

/// What the listener needs.
pub struct Hints {
    ctx: Arc<Context>,
    health: Arc<Health>,
    paces: Mutex<Paces>,
    keys: Cache<String, String>,
    looked_up: Mutex<Option<Instant>>,
    /// Numbers are put together once at a time.
    numbers: Mutex<()>,
}

impl Hints {
    /// Puts it together.
    pub fn new(ctx: Arc<Context>, health: Arc<Health>) -> Arc<Self> {
        Arc::new(Self {
            ctx,
            health,
            paces: Mutex::default(),
            keys: Cache::new(KEYS),
            looked_up: Mutex::default(),
            numbers: Mutex::default(),
        })
    }

    /// Answers a call.
    pub async fn answer(self: Arc<Self>, request: Request<Body>) -> Response {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/livez") => "ok".into_response(),
            (&Method::GET, "/readyz") => self.ready().into_response(),
            (&Method::GET, "/metrics") => self.metrics().into_response(),
            (&Method::POST, "/hint") => self.hint(request.into_body()).await.into_response(),
            (_, "/livez" | "/readyz" | "/metrics" | "/hint") => {
                StatusCode::METHOD_NOT_ALLOWED.into_response()
            }
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    }

    /// Ready when what is made now counts: a leader has proved the admission rules, their
    /// epoch has settled, and storage answered lately. A follower is ready when it could lead.
    fn ready(&self) -> (StatusCode, String) {
        let (report, now) = (self.ctx.rules.report(), Timestamp::now());
        if !self.health.is_storage_reached(now) {
            let message = "the storage servers have not answered lately".to_owned();
            return (StatusCode::SERVICE_UNAVAILABLE, message);
        }
        let leads = self.ctx.leadership.current().is_some();
        if report.verified && (!leads || !report.live() || report.settled(now)) {
            (StatusCode::OK, "ok".to_owned())
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, report.message())
        }
    }

    /// Numbers about this process, in the text format of OpenMetrics.
    fn metrics(&self) -> impl IntoResponse + use<> {
        let text = {
            let _turn = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
            self.numbers()
        };
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        ([(header::CONTENT_TYPE, kind)], text)
    }

    fn numbers(&self) -> String {
        let gauge = |name: &str, help: &str, value: bool| {
            format!(
                "# TYPE {name} gauge\n# HELP {name} {help}\n{name} {}\n",
                u8::from(value)
            )
        };
        let ctx = &self.ctx;
        [
            gauge(
                "trevor_rules_live",
                "Whether the admission rules were found to be those of the chart.",
                ctx.rules.report().live(),
            ),
            gauge(
                "trevor_leader",
                "Whether this process leads.",
                ctx.leadership.current().is_some(),
            ),
            gauge(
                "trevor_storage_reached",
                "Whether the storage servers answered lately.",
                self.health.is_storage_reached(Timestamp::now()),
            ),
            ctx.outbox.metrics.render(),
            ages::render(&ctx.requests.state(), Timestamp::now()),
            ctx.checkpoints.metrics(),
            ctx.certificates.metrics(),
            ctx.numbers.text(),
            ctx.throughput.text(),
            trevor_store::failures("trevor_storage_errors"),
            "# EOF\n".to_owned(),
        ]
        .concat()
    }

    async fn hint(&self, body: Body) -> StatusCode {
        let Ok(text) = to_bytes(body, MOST).await else {
            return StatusCode::PAYLOAD_TOO_LARGE;
        };
        let Ok(hint) = serde_json::from_slice::<Hint>(&text) else {
            return StatusCode::BAD_REQUEST;
        };
        if !hint.is_well_formed() || !hint.is_fresh(Timestamp::now()) {
            return StatusCode::FORBIDDEN;
        }
        if self.ctx.leadership.current().is_none() {
            return StatusCode::NO_CONTENT;
        }
        let Some(key) = self.key_of(&hint.gateway).await else {
            return StatusCode::FORBIDDEN;
        };
        let signature = STANDARD.decode(&hint.signature).unwrap_or_default();
        if !key.verifies(hint.text().as_bytes(), &signature) {
            return StatusCode::FORBIDDEN;
        }
        self.wake(&hint);
        StatusCode::NO_CONTENT
    }

    fn wake(&self, hint: &Hint) {
        let target = ObjectRef::<AirlockRequest>::new(&hint.name).within(&hint.namespace);
        if self.ctx.requests.get(&target).is_none() {
            return;
        }
        let key = format!("{}/{}", hint.namespace, hint.name);
        let wait = {
            let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
            paces.wait(key, Instant::now())
        };
        let Some(wait) = wait else { return };
        let queue = self.ctx.queue.clone();
        if wait.is_zero() {
            queue.add(target);
            return;
        }
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            queue.add(target);
        });
    }

    /// The key that a gateway stored, if it is known or may be looked up now.
    async fn key_of(&self, gateway: &str) -> Option<PublicKey> {
        let known = self.keys.get(&gateway.to_owned());
        let line = match known {
            Some(line) => line,
            None => {
                if !self.may_look_up() {
                    return None;
                }
                let work = self.ctx.zones.quarantine.work();
                let fact = work.get(&hint_key(gateway)).await.ok()??;
                self.keys
                    .put(gateway.to_owned(), fact.key.clone(), KEY_BELIEVED);
                fact.key
            }
        };
        PublicKey::parse(&line).ok()
    }

    fn may_look_up(&self) -> bool {
        let mut last = self
            .looked_up
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let may = last.is_none_or(|at| now.duration_since(at) >= LOOK_UPS_APART);
        if may {
            *last = Some(now);
        }
        may
    }
}

/// Requests that hints came for lately, and when the next look at each is due: one that
/// is hinted at again and again is looked at with growing pauses.
#[derive(Debug, Default)]
struct Paces(HashMap<String, Pace>);

#[derive(Debug)]
struct Pace {
    /// No look before this.
    next: Instant,
    /// From one look to the next.
    pause: Duration,
    /// A look is due then already.
    due: Option<Instant>,
}

/// The first pause between two looks, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(16);
/// Requests that are remembered at the same time; hints for more are dropped.
const REMEMBERED: usize = 4096;

impl Paces {
    /// How long the look that a hint asks for waits; none when one is due that sees the
    /// same. The last of several hints is always followed by a look.
    fn wait(&mut self, key: String, now: Instant) -> Option<Duration> {
        self.0.retain(|_, pace| now < pace.next + pace.pause);
        if self.0.len() >= REMEMBERED && !self.0.contains_key(&key) {
            return None;
        }
        let Some(pace) = self.0.get_mut(&key) else {
            let pace = Pace {
                next: now + FIRST_PAUSE,
                pause: FIRST_PAUSE,
                due: None,
            };
            self.0.insert(key, pace);
            return Some(Duration::ZERO);
        };
        if pace.due.is_some_and(|due| now < due) {
            return None;
        }
        let at = pace.next.max(now);
        pace.pause = (pace.pause * 2).min(LONGEST_PAUSE);
        pace.next = at + pace.pause;
        pace.due = Some(at);
        Some(at.duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_is_hinted_at_all_the_time_is_looked_at_ever_more_rarely() {
        let (mut paces, start) = (Paces::default(), Instant::now());
        let mut looks = Vec::new();
        for ms in (0..60_000).step_by(50) {
            let now = start + Duration::from_millis(ms);
            if let Some(wait) = paces.wait("a/r".to_owned(), now) {
                looks.push((now + wait).duration_since(start).as_millis());
            }
        }
        assert_eq!(looks[..6], [0, 500, 1500, 3500, 7500, 15500]);
        assert!(looks.len() <= 10, "{looks:?}");
        // After some quiet it begins anew.
        let later = start + Duration::from_secs(200);
        assert_eq!(paces.wait("a/r".to_owned(), later), Some(Duration::ZERO));
    }

    #[test]
    fn the_last_hint_is_followed_by_a_look_and_others_wait_for_nobody() {
        let (mut paces, start) = (Paces::default(), Instant::now());
        let mut wait =
            |key: &str, ms| paces.wait(key.to_owned(), start + Duration::from_millis(ms));
        assert_eq!(wait("a/r", 0), Some(Duration::ZERO));
        assert_eq!(wait("a/r", 100), Some(Duration::from_millis(400)));
        assert_eq!(wait("a/r", 200), None, "the look at 500 sees it");
        assert_eq!(wait("b/r", 200), Some(Duration::ZERO));
        assert_eq!(wait("a/r", 600), Some(Duration::from_millis(900)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut paces, now) = (Paces::default(), Instant::now());
        let taken = (0..2 * REMEMBERED).filter(|n| paces.wait(n.to_string(), now).is_some());
        assert_eq!(taken.count(), REMEMBERED);
    }
}
