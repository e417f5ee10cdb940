//! `GET crate`: the metadata and the preview of the crate. Before a decision they are rendered as
//! if the request were approved now by the required number of reviewers.

use std::sync::Arc;

use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use tracing::error;

use crate::cluster::requests;
use crate::identity::call::Call;
use crate::limits::response_body::body_with_permit;
use crate::problem::Problem;
use crate::read::access::readable_request;
use crate::records::frozen_rounds::not_frozen;
use crate::records::ledger::AuditAction;
use crate::state::Gateway;
use trevor_api::condition::second;
use trevor_core::commit::Verdict;
use trevor_core::keys::RequestKey;
use trevor_core::manifest::Frozen;
use trevor_package::{CrateInputs, metadata, preview};
use trevor_store::StorageError;

/// Whether the crate is that of a decision, or what is expected.
const BASIS: HeaderName = HeaderName::from_static("x-trevor-crate");

/// Shown while no publisher is configured. Nothing is released until then.
const MISSING_PUBLISHER: &str = "(publisher not configured)";

/// The query: metadata or preview.
#[derive(Debug, Default, Deserialize)]
pub struct CrateQuery {
    format: Option<String>,
}

/// The crate of the frozen round, for callers who may read its content.
///
/// # Errors
/// Those of docs/reference/wire-formats.md#problems.
pub async fn crate_view(
    gateway: &Arc<Gateway>,
    call: &Call,
    query: CrateQuery,
) -> Result<Response, Problem> {
    let html = match query.format.as_deref() {
        None | Some("metadata") => false,
        Some("preview") => true,
        Some(_) => {
            return Err(Problem::bad_request(
                "UnknownFormat",
                "format is metadata or preview",
            ));
        }
    };
    let request = readable_request(gateway, call).await?;
    let key = requests::key(&request);
    let round = requests::round(&request);
    let frozen = gateway.frozen_rounds.get(&key, round).await?;
    let size = frozen.as_ref().map_or(0, |f| 4 * f.bytes().len() as u64);
    let permit = gateway.reserve_estimate(call, size).await?;
    let frozen = frozen
        .and_then(|f| f.frozen())
        .ok_or_else(|| not_frozen(round))?;
    if let Some(call) = gateway.revalidate(call).await? {
        requests::ensure_same_uid(&readable_request(gateway, &call).await?, &key.uid)?;
    }
    let action = AuditAction {
        kind: "CrateOpened",
        actor: &call.caller.user,
        namespace: &key.namespace,
        uid: &key.uid,
        detail: json!({"round": round, "digest": frozen.digest}),
    };
    gateway.ledger.record(action).await?;
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
    Ok((headers, body_with_permit(body, permit)).into_response())
}

async fn inputs<'a>(
    gateway: &Gateway,
    key: &RequestKey,
    round: i64,
    frozen: &'a Frozen,
) -> Result<(CrateInputs<'a>, &'static str), Problem> {
    let records = &gateway.zones.records;
    let decision = match records.get(&key.decision(round)).await {
        // Without access to decisions the gateway shows what is expected.
        Err(StorageError::Refused { .. }) => None,
        decision => decision?,
    };
    if let Some(decision) = decision.filter(|d| d.verdict == Verdict::Approved) {
        return Ok((CrateInputs::decided(frozen, &decision), "decided"));
    }
    let seal = records
        .get(&key.seal(round))
        .await?
        .ok_or_else(|| not_frozen(round))?;
    let mut terms = gateway.config.terms(frozen.manifest.direction, &seal.rules);
    if !terms.names_a_publisher() {
        terms.publisher.name = MISSING_PUBLISHER.to_owned();
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
