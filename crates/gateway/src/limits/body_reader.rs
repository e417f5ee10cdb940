//! The body of an upload as it comes in: bounded, paced, and whole or an error.

use std::time::Instant;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt as _;

use crate::limits::rate::Pace;
use crate::metrics::Metrics;
use crate::problem::Problem;

/// Reads a body into buffers.
pub struct Reader<'a> {
    body: &'a mut Body,
    rest: Bytes,
    pace: Pace,
    metrics: &'a Metrics,
    limit: u64,
    received: u64,
    ended: bool,
}

impl<'a> Reader<'a> {
    /// A reader that takes at most `limit` bytes.
    pub fn new(body: &'a mut Body, pace: Pace, limit: u64, metrics: &'a Metrics) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            pace,
            metrics,
            limit,
            received: 0,
            ended: false,
        }
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Whether the end was seen.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Adds to `buffer` until it has `want` bytes or the body ends.
    ///
    /// # Errors
    /// When the client goes away, is too slow, or sends too much.
    pub async fn fill(&mut self, buffer: &mut Vec<u8>, want: usize) -> Result<(), Problem> {
        while buffer.len() < want && !self.ended {
            if self.rest.is_empty() {
                self.next().await?;
            }
            let taken = self.rest.split_to(self.rest.len().min(want - buffer.len()));
            buffer.extend_from_slice(&taken);
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<(), Problem> {
        let start = Instant::now();
        let frame = tokio::time::timeout(self.pace.patience(), self.body.frame()).await;
        let waited = start.elapsed();
        let bytes = match frame {
            Ok(None) => {
                self.ended = true;
                return Ok(());
            }
            Ok(Some(Err(_))) => {
                return Err(Problem::bad_request(
                    "Truncated",
                    "the body broke off; nothing was stored",
                ));
            }
            Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            Err(_) => Bytes::new(),
        };
        if !self.pace.count(waited, bytes.len()) {
            return Err(Problem::unavailable(
                "TooSlow",
                "the body comes too slowly; nothing was stored",
                30,
            ));
        }
        self.metrics.bytes_in(bytes.len());
        self.received += bytes.len() as u64;
        if self.received > self.limit {
            return Err(too_large(self.limit));
        }
        self.rest = bytes;
        Ok(())
    }
}

/// More than may be taken.
#[must_use]
pub fn too_large(limit: u64) -> Problem {
    Problem::new(
        http::StatusCode::PAYLOAD_TOO_LARGE,
        "TooLarge",
        format!("the file has more than {limit} bytes, which is the most that the policy allows"),
    )
}
