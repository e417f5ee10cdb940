//! Spans: one for each look at a request, and one for each effect in it. They carry
//! namespace, uid and the effect's name: no word of a researcher, no URL, no secret, so
//! that they may be exported.

use std::pin::Pin;

use tracing::Instrument as _;
use tracing::instrument::Instrumented;

/// Target of every span of ours; no other is exported.
pub const TARGET: &str = "trevor::span";

/// A look at a request.
#[must_use]
pub fn look(namespace: &str, uid: &str) -> tracing::Span {
    tracing::info_span!(target: TARGET, "look", namespace, uid)
}

/// An effect, with a place of its own on the heap: together they would be a future of
/// many KiB, which the stack of a worker does not bear in every build.
pub fn effect<F: Future>(effect: &'static str, work: F) -> Instrumented<Pin<Box<F>>> {
    let span = tracing::info_span!(target: TARGET, "effect", otel.name = effect, effect);
    Box::pin(work).instrument(span)
}
