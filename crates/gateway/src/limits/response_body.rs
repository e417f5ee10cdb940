//! JSON that a caller sends, bounded; and bodies of answers, which hold the share of
//! memory that they take for as long as nobody has read them.

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits::body_reader::Reader;
use crate::limits::memory::Reserved;
use crate::limits::rate::Pace;
use crate::problem::Problem;
use crate::state::{Call, Gateway};

/// The most bytes of a list of files.
const MOST: u64 = 16 << 20;
/// Of an entry of it, in memory, as a multiple of its bytes, about.
const PARSED: u64 = 3;

/// Reads and parses a body, with a share of the memory that it takes meanwhile.
///
/// # Errors
/// 413 when it is longer, 400 when it is not what it must be.
pub async fn json<T: DeserializeOwned>(
    gateway: &Gateway,
    call: &Call,
    body: &mut Body,
) -> Result<(T, Reserved), Problem> {
    use http_body::Body as _;
    let length = body.size_hint().exact().unwrap_or(MOST).min(MOST);
    let user = &call.caller.user;
    let share = gateway
        .shares
        .reserve_at_most(user, PARSED * length)
        .await?;
    let pace = Pace::new(gateway.config.gateway.min_rate_kib_s);
    let mut reader = Reader::new(body, pace, MOST, &gateway.metrics);
    let mut text = Vec::new();
    while !reader.ended() {
        let want = text.len() + (64 << 10);
        let read = reader.fill(&mut text, want).await;
        read.map_err(|problem| match problem.reason {
            "TooLarge" => Problem::new(
                problem.status,
                "TooLarge",
                format!("the list has more than {MOST} bytes"),
            ),
            _ => problem,
        })?;
    }
    let parsed = serde_json::from_slice(&text)
        .map_err(|error| Problem::bad_request("Malformed", format!("the list: {error}")))?;
    Ok((parsed, share))
}

/// Bytes and the share of memory that they take; both go when the last of them is sent.
struct Held<B> {
    bytes: B,
    _share: Reserved,
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for Held<B> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

/// The body of an answer, with the share that was reserved for it: a reader who takes
/// nothing of it holds their own share, and no more.
pub fn held(bytes: impl AsRef<[u8]> + Send + 'static, mut share: Reserved) -> Body {
    share.shrink(bytes.as_ref().len() as u64);
    let held = Held {
        bytes,
        _share: share,
    };
    Body::from(Bytes::from_owner(held))
}

/// An answer in JSON that holds a share.
///
/// # Errors
/// 500 when it cannot be written.
pub fn json_held<T: Serialize>(value: &T, share: Reserved) -> Result<Response, Problem> {
    let text = serde_json::to_vec(value).map_err(|_| {
        let detail = "the answer cannot be written";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal", detail)
    })?;
    Ok(([(CONTENT_TYPE, "application/json")], held(text, share)).into_response())
}
