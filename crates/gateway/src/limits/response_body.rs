//! Bodies of responses that hold their memory permit until they are sent.

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Serialize;

use crate::limits::memory::MemoryPermit;
use crate::problem::Problem;

/// Bytes and the permit for them. Both are dropped when the last byte is sent.
struct BytesWithPermit<B> {
    bytes: B,
    _permit: MemoryPermit,
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for BytesWithPermit<B> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

/// A body that holds `permit`, shrunk to its size. A client that does not read it holds memory of
/// its own share only.
pub fn body_with_permit(
    bytes: impl AsRef<[u8]> + Send + 'static,
    mut permit: MemoryPermit,
) -> Body {
    permit.shrink(bytes.as_ref().len() as u64);
    Body::from(Bytes::from_owner(BytesWithPermit {
        bytes,
        _permit: permit,
    }))
}

/// A JSON response that holds `permit`.
///
/// # Errors
/// 500 when `value` cannot be serialized.
pub fn json_with_permit<T: Serialize>(
    value: &T,
    permit: MemoryPermit,
) -> Result<Response, Problem> {
    let text = serde_json::to_vec(value).map_err(|_| {
        let detail = "the answer cannot be written";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal", detail)
    })?;
    Ok((
        [(CONTENT_TYPE, "application/json")],
        body_with_permit(text, permit),
    )
        .into_response())
}
