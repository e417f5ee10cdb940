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
use kube::runtime::reflector::ObjectRef;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::ages;
use super::context::Context;
use super::health::Health;
use crate::api::AirlockRequest;

/// What the listener needs.
#[derive(Clone)]
pub struct Hints {
    ctx: Arc<Context>,
    health: Arc<Health>,
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
    pub fn new(ctx: Arc<Context>, health: Arc<Health>) -> Self {
        Self {
            ctx,
            health,
            recent: Arc::default(),
        }
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

/// Ready when what is made now counts: a leader has proved the admission rules, their
/// epoch has settled, and storage answered lately. A follower is ready when it could lead.
async fn ready(State(hints): State<Hints>) -> (StatusCode, String) {
    let (report, now) = (hints.ctx.rules.report(), Timestamp::now());
    if !hints.health.is_storage_reached(now) {
        let message = "the storage servers have not answered lately".to_owned();
        return (StatusCode::SERVICE_UNAVAILABLE, message);
    }
    let leads = hints.ctx.leadership.current().is_some();
    if report.verified && (!leads || !report.live() || report.settled(now)) {
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
    let ctx = &hints.ctx;
    let text = [
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
            hints.health.is_storage_reached(Timestamp::now()),
        ),
        ctx.outbox.metrics.render(),
        ages::render(&ctx.requests.state(), Timestamp::now()),
        ctx.checkpoints.metrics(),
        ctx.certificates.metrics(),
        ctx.numbers.text(),
        ctx.throughput.text(),
        crate::storage::failures("trevor_storage_errors"),
        "# EOF\n".to_owned(),
    ]
    .concat();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text)
}

async fn hint(State(hints): State<Hints>, Json(hint): Json<Hint>) -> StatusCode {
    if hints.ctx.leadership.current().is_none() {
        return StatusCode::NO_CONTENT;
    }
    let target = ObjectRef::<AirlockRequest>::new(&hint.name).within(&hint.namespace);
    if hints.ctx.requests.get(&target).is_none() {
        return StatusCode::NO_CONTENT;
    }
    let mut recent = hints.recent.lock().await;
    let key = format!("{}/{}", hint.namespace, hint.name);
    recent.retain(|_, at| at.elapsed() < PAUSE);
    if recent.insert(key, Instant::now()).is_none() {
        drop(hints.ctx.wake.send(target));
    }
    StatusCode::NO_CONTENT
}
