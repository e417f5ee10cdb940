//! The JSON body of a call that sends a list of files.

use axum::body::Body;
use serde::de::DeserializeOwned;

use crate::identity::call::Call;
use crate::limits::body_reader::BodyReader;
use crate::limits::memory::MemoryPermit;
use crate::limits::rate::MinimumRate;
use crate::problem::Problem;
use crate::state::Gateway;

const MAX_LIST_BYTES: u64 = 16 << 20;
/// About how many times its JSON a parsed list takes in memory.
const PARSED_FACTOR: u64 = 3;

/// Reads and parses a list, and reserves the memory that it takes.
///
/// # Errors
/// 413 when the list is too long, 400 when it is malformed, and those of [`BodyReader::fill`].
pub async fn read_list<T: DeserializeOwned>(
    gateway: &Gateway,
    call: &Call,
    body: &mut Body,
) -> Result<(T, MemoryPermit), Problem> {
    use http_body::Body as _;
    let length = body
        .size_hint()
        .exact()
        .unwrap_or(MAX_LIST_BYTES)
        .min(MAX_LIST_BYTES);
    let permit = gateway
        .reserve_estimate(call, PARSED_FACTOR * length)
        .await?;
    let rate = MinimumRate::new(gateway.config.gateway.min_rate_kib_s);
    let mut reader = BodyReader::new(body, rate, MAX_LIST_BYTES, &gateway.metrics);
    let mut text = Vec::new();
    while !reader.ended() {
        let want = text.len() + (64 << 10);
        let read = reader.fill(&mut text, want).await;
        read.map_err(|problem| match problem.reason {
            "TooLarge" => Problem::new(
                problem.status,
                "TooLarge",
                format!("the list has more than {MAX_LIST_BYTES} bytes"),
            ),
            _ => problem,
        })?;
    }
    let parsed = serde_json::from_slice(&text)
        .map_err(|error| Problem::bad_request("Malformed", format!("the list: {error}")))?;
    Ok((parsed, permit))
}
