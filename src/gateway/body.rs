//! JSON that a caller sends, bounded.

use axum::body::Body;
use serde::de::DeserializeOwned;

use super::pace::Pace;
use super::problem::Problem;
use super::reader::Reader;
use super::state::{Call, Gateway};

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
) -> Result<(T, super::shares::Reserved), Problem> {
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
