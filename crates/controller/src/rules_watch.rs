//! Verifies the admission rules for as long as the process lives.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::Notify;

use super::context::Context;
use super::policies;
use crate::rules;
use trevor_core::retry;

/// Between two verifications of rules that are in force.
const EVERY: Duration = Duration::from_secs(30);
/// After one that failed.
const FAILED: Duration = Duration::from_secs(2);

/// Verifies the admission rules: at once when one of them changes, and every now
/// and then besides, since a probe alone shows that they are enforced; with short pauses
/// that grow while they are not in force. The result is shown in the status of the
/// policies, and queues all requests when it changed.
pub async fn serve(ctx: Arc<Context>, policy_changed: Arc<Notify>) {
    let changes = rules::watch::changes(&ctx.client);
    tokio::pin!(changes);
    let mut leadership = ctx.leadership.clone();
    let mut shown = None;
    let mut not_live = 0_u32;
    loop {
        let term = ctx.claim().ok().map(|claim| claim.term);
        let pause = match ctx.rules.verify(term).await {
            Ok(report) => {
                if term.is_some() {
                    if shown.as_ref() != Some(&(report.live(), report.epochs.len())) {
                        shown = Some((report.live(), report.epochs.len()));
                        ctx.queue.add_all(&ctx.requests);
                    }
                    if let Err(error) = policies::show_all(&ctx, &report).await {
                        tracing::warn!(%error, "the status of a policy could not be written");
                    }
                }
                if report.live() {
                    not_live = 0;
                    EVERY
                } else {
                    tracing::warn!(problems = ?report.problems, "reviews wait: the admission rules are not those of the chart");
                    not_live = not_live.saturating_add(1);
                    retry::RULES.pause(not_live, rand::random())
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the admission rules could not be verified");
                FAILED
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = policy_changed.notified() => {}
            Some(()) = changes.next() => not_live = 0,
            _ = leadership.acquired(), if term.is_none() => {}
        }
    }
}
