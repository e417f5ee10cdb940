//! `GET crate`: the metadata and the preview that would be released.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use serde::Deserialize;

use super::content::readable;
use super::lists::not_frozen;
use super::problem::Problem;
use super::request;
use super::state::{Call, Gateway};

/// In which form.
#[derive(Debug, Default, Deserialize)]
pub struct Form {
    format: Option<String>,
}

/// The crate of the frozen round, for those who may read its content.
///
/// # Errors
/// CONTRACT "Gateway, on the wire".
pub async fn crate_view(
    gateway: &Arc<Gateway>,
    call: &Call,
    form: Form,
) -> Result<Response, Problem> {
    let request = readable(gateway, call).await?;
    let key = request::key(&request);
    let round = request::round(&request);
    let frozen = gateway
        .freezes
        .get(&key, round)
        .await?
        .filter(|f| f.manifest().is_some())
        .ok_or_else(|| not_frozen(round))?;
    let (content_type, body) = match form.format.as_deref() {
        None | Some("metadata") => ("application/ld+json", metadata(&frozen)?),
        Some("preview") => ("text/html; charset=utf-8", preview(&frozen)?),
        Some(_) => {
            return Err(Problem::bad_request(
                "UnknownFormat",
                "format is metadata or preview",
            ));
        }
    };
    Ok(([(CONTENT_TYPE, content_type)], Body::from(body)).into_response())
}

fn metadata(_: &super::freezes::FrozenRound) -> Result<Vec<u8>, Problem> {
    Err(Problem::new(
        http::StatusCode::NOT_IMPLEMENTED,
        "NotImplemented",
        "not there yet",
    ))
}

fn preview(_: &super::freezes::FrozenRound) -> Result<Vec<u8>, Problem> {
    Err(Problem::new(
        http::StatusCode::NOT_IMPLEMENTED,
        "NotImplemented",
        "not there yet",
    ))
}
