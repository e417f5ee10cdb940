//! `GET crate`: the metadata and the preview that would be released. Before a
//! decision they say what a decision of now, with just the approvals that are
//! asked for, would make of them.

use std::sync::Arc;

use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use tracing::error;

use crate::cluster::requests as request;
use crate::limits::response_body::held;
use crate::problem::Problem;
use crate::read::content::readable;
use crate::read::lists::not_frozen;
use crate::records::ledger::Act;
use crate::state::{Call, Gateway};
use trevor_api::condition::second;
use trevor_core::commit::{Decision, Seal, Verdict};
use trevor_core::keys::RequestKey;
use trevor_core::manifest::Frozen;
use trevor_package::{CrateInputs, metadata, preview};
use trevor_store::StorageError;
use trevor_store::commit::read;

/// Says whether the crate is that of a decision, or only what is expected.
const BASIS: HeaderName = HeaderName::from_static("x-trevor-crate");

/// Shown until the configuration names one; nothing is released before.
const NO_PUBLISHER: &str = "(publisher not configured)";

/// In which form.
#[derive(Debug, Default, Deserialize)]
pub struct Form {
    format: Option<String>,
}

/// The crate of the frozen round, for those who may read its content.
///
/// # Errors
/// Those of docs/reference/wire-formats.md#problems.
pub async fn crate_view(
    gateway: &Arc<Gateway>,
    call: &Call,
    form: Form,
) -> Result<Response, Problem> {
    let html = match form.format.as_deref() {
        None | Some("metadata") => false,
        Some("preview") => true,
        Some(_) => {
            return Err(Problem::bad_request(
                "UnknownFormat",
                "format is metadata or preview",
            ));
        }
    };
    let request = readable(gateway, call).await?;
    let key = request::key(&request);
    let round = request::round(&request);
    let frozen = gateway.freezes.get(&key, round).await?;
    let size = frozen.as_ref().map_or(0, |f| 4 * f.bytes().len() as u64);
    let share = gateway
        .shares
        .reserve_at_most(&call.caller.user, size)
        .await?;
    let frozen = frozen
        .and_then(|f| f.frozen())
        .ok_or_else(|| not_frozen(round))?;
    if let Some(call) = gateway.anew(call).await? {
        request::same(&readable(gateway, &call).await?, &key.uid)?;
    }
    let act = Act {
        kind: "CrateOpened",
        actor: &call.caller.user,
        namespace: &key.namespace,
        uid: &key.uid,
        detail: json!({"round": round, "digest": frozen.digest}),
    };
    gateway.ledger.record(act).await?;
    let (inputs, basis) = inputs(gateway, &key, round, &frozen).await?;
    let (content_type, body) = if html {
        (
            "text/html; charset=utf-8",
            preview::render(&inputs).into_bytes(),
        )
    } else {
        let rendered = metadata::render(&inputs).map_err(|error| {
            error!(%error, "a crate cannot be written");
            Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Internal",
                "the crate cannot be written",
            )
        })?;
        ("application/ld+json", rendered)
    };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (BASIS, HeaderValue::from_static(basis)),
    ];
    Ok((headers, held(body, share)).into_response())
}

async fn inputs<'a>(
    gateway: &Gateway,
    key: &RequestKey,
    round: i64,
    frozen: &'a Frozen,
) -> Result<(CrateInputs<'a>, &'static str), Problem> {
    let records = gateway.zones.records.bucket();
    let decision: Option<Decision> = match read(records, &key.decision(round)).await {
        // Where the gateway's identity may not read decisions, only what is expected can be told.
        Err(StorageError::Refused { .. }) => None,
        decision => decision?,
    };
    if let Some(decision) = decision.filter(|d| d.verdict == Verdict::Approved) {
        return Ok((CrateInputs::decided(frozen, &decision), "decided"));
    }
    let seal: Seal = read(records, &key.seal(round))
        .await?
        .ok_or_else(|| not_frozen(round))?;
    let mut terms = gateway.config.terms(frozen.manifest.direction, &seal.rules);
    if !terms.names_a_publisher() {
        terms.publisher.name = NO_PUBLISHER.to_owned();
    }
    let required = seal.rules.required(frozen.manifest.created_by.is_some());
    let inputs = CrateInputs {
        manifest: &frozen.manifest,
        digest: &frozen.digest,
        decided: second(Timestamp::now()),
        approvals: usize::try_from(required).unwrap_or(0),
        reviewers: None,
        license: Some(terms.license).filter(|url| !url.is_empty()),
        publisher: terms.publisher,
    };
    Ok((inputs, "expected"))
}
