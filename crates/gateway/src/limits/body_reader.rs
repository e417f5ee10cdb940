//! Reads the body of a call, with a bound on its size and on the rate of its sender. A body that
//! breaks off is an error.

use std::time::Instant;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt as _;

use crate::limits::rate::MinimumRate;
use crate::metrics::Metrics;
use crate::problem::Problem;

/// Reads a body into buffers.
pub struct BodyReader<'a> {
    body: &'a mut Body,
    buffered: Bytes,
    rate: MinimumRate,
    metrics: &'a Metrics,
    limit: u64,
    received: u64,
    ended: bool,
}

impl<'a> BodyReader<'a> {
    /// Reads at most `limit` bytes of `body`.
    pub fn new(body: &'a mut Body, rate: MinimumRate, limit: u64, metrics: &'a Metrics) -> Self {
        Self {
            body,
            buffered: Bytes::new(),
            rate,
            metrics,
            limit,
            received: 0,
            ended: false,
        }
    }

    /// Bytes received so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Whether the end of the body was reached.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Appends to `buffer` until it has `want` bytes or the body ends.
    ///
    /// # Errors
    /// 400 when the body breaks off, 413 when it is too large, 503 when it comes too slowly.
    pub async fn fill(&mut self, buffer: &mut Vec<u8>, want: usize) -> Result<(), Problem> {
        while buffer.len() < want && !self.ended {
            if self.buffered.is_empty() {
                self.read_frame().await?;
            }
            let taken = self
                .buffered
                .split_to(self.buffered.len().min(want - buffer.len()));
            buffer.extend_from_slice(&taken);
        }
        Ok(())
    }

    async fn read_frame(&mut self) -> Result<(), Problem> {
        let start = Instant::now();
        let frame = tokio::time::timeout(self.rate.window_left(), self.body.frame()).await;
        let waited = start.elapsed();
        let bytes = match frame {
            Ok(None) => {
                self.ended = true;
                return Ok(());
            }
            Ok(Some(Err(_))) => {
                return Err(Problem::truncated());
            }
            Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            Err(_) => Bytes::new(),
        };
        if !self.rate.record(waited, bytes.len()) {
            return Err(Problem::unavailable(
                "TooSlow",
                "the body comes too slowly; nothing was stored",
                30,
            ));
        }
        self.metrics.bytes_in(bytes.len());
        self.received += bytes.len() as u64;
        if self.received > self.limit {
            return Err(Problem::too_large(self.limit));
        }
        self.buffered = bytes;
        Ok(())
    }
}
