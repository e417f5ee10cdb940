//! The controller's HTTP listener: health, and hints from gateways that a
//! request may have all its files. A hint only makes us look; correctness never
//! depends on it, and a follower drops it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use kube::runtime::reflector::{ObjectRef, Store};
use serde::Deserialize;
use tokio::sync::{Mutex, mpsc};

use super::ages;
use super::certificate::Certificates;
use super::checkpoints::Standing;
use crate::api::AirlockRequest;
use crate::lease::Leadership;
use crate::notify::Outbox;
use crate::retention::Numbers;
use crate::rules::Verifier;

/// What the listener needs.
#[derive(Clone)]
pub struct Hints {
    wake: mpsc::UnboundedSender<ObjectRef<AirlockRequest>>,
    requests: Store<AirlockRequest>,
    leadership: Leadership,
    rules: Arc<Verifier>,
    outbox: Arc<Outbox>,
    checkpoints: Arc<Standing>,
    certificates: Arc<Certificates>,
    numbers: Arc<Numbers>,
    recent: Arc<Mutex<HashMap<String, Instant>>>,
}

#[derive(Deserialize)]
struct Hint {
    namespace: String,
    name: String,
}

/// One hint a request and this long.
const PAUSE: Duration = Duration::from_millis(500);

impl Hints {
    /// Puts it together.
    pub fn new(
        wake: mpsc::UnboundedSender<ObjectRef<AirlockRequest>>,
        requests: Store<AirlockRequest>,
        leadership: Leadership,
        rules: Arc<Verifier>,
        outbox: Arc<Outbox>,
        numbers: Arc<Numbers>,
    ) -> Self {
        Self {
            wake,
            requests,
            leadership,
            rules,
            outbox,
            checkpoints: Arc::default(),
            certificates: Arc::default(),
            numbers,
            recent: Arc::default(),
        }
    }

    /// Tells how checkpoints and the gateway's certificate stand, too.
    pub fn with_metrics_of(
        mut self,
        checkpoints: Arc<Standing>,
        certificates: Arc<Certificates>,
    ) -> Self {
        self.checkpoints = checkpoints;
        self.certificates = certificates;
        self
    }

    /// The routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/livez", get(|| async { "ok" }))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .route("/hint", post(hint))
            .with_state(self)
    }
}

/// Ready when what is made now counts: a leader has proved the admission rules, and
/// their epoch has settled. A follower is ready when it could lead.
async fn ready(State(hints): State<Hints>) -> (StatusCode, String) {
    let report = hints.rules.report();
    let leads = hints.leadership.current().is_some();
    if report.verified && (!leads || !report.live() || report.settled(Timestamp::now())) {
        (StatusCode::OK, "ok".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, report.message())
    }
}

/// Numbers about this process, in the text format of OpenMetrics.
async fn metrics(State(hints): State<Hints>) -> impl IntoResponse {
    let gauge = |name: &str, help: &str, value: bool| {
        format!(
            "# TYPE {name} gauge\n# HELP {name} {help}\n{name} {}\n",
            u8::from(value)
        )
    };
    let text = [
        gauge(
            "trevor_rules_live",
            "Whether the admission rules were found to be those of the chart.",
            hints.rules.report().live(),
        ),
        gauge(
            "trevor_leader",
            "Whether this process leads.",
            hints.leadership.current().is_some(),
        ),
        hints.outbox.metrics.render(),
        ages::render(&hints.requests.state(), Timestamp::now()),
        hints.checkpoints.metrics(),
        hints.certificates.metrics(),
        hints.numbers.text(),
        "# EOF\n".to_owned(),
    ]
    .concat();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text)
}

async fn hint(State(hints): State<Hints>, Json(hint): Json<Hint>) -> StatusCode {
    if hints.leadership.current().is_none() {
        return StatusCode::NO_CONTENT;
    }
    let target = ObjectRef::<AirlockRequest>::new(&hint.name).within(&hint.namespace);
    if hints.requests.get(&target).is_none() {
        return StatusCode::NO_CONTENT;
    }
    let mut recent = hints.recent.lock().await;
    let key = format!("{}/{}", hint.namespace, hint.name);
    recent.retain(|_, at| at.elapsed() < PAUSE);
    if recent.insert(key, Instant::now()).is_none() {
        drop(hints.wake.send(target));
    }
    StatusCode::NO_CONTENT
}
