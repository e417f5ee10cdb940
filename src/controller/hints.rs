//! The controller's HTTP listener: health, and hints from gateways that a
//! request may have all its files. A hint only makes us look; correctness never
//! depends on it, and a follower drops it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use kube::runtime::reflector::{ObjectRef, Store};
use serde::Deserialize;
use tokio::sync::{Mutex, mpsc};

use crate::api::AirlockRequest;
use crate::lease::Leadership;

/// What the listener needs.
#[derive(Clone)]
pub struct Hints {
    wake: mpsc::UnboundedSender<ObjectRef<AirlockRequest>>,
    requests: Store<AirlockRequest>,
    leadership: Leadership,
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
    ) -> Self {
        Self {
            wake,
            requests,
            leadership,
            recent: Arc::default(),
        }
    }

    /// The routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/livez", get(|| async { "ok" }))
            .route("/readyz", get(|| async { "ok" }))
            .route("/hint", post(hint))
            .with_state(self)
    }
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
