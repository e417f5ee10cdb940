//! Sessions: accepts those that were created while the admission rules were in force, ends
//! the others, and deletes those whose time is over.
//!
//! The gateway takes only a session that is marked as accepted, so that it needs to know
//! nothing of epochs. A session is marked once, soon after it was created; the mark is in
//! its status and names the generation of its spec. Repeated: a session that has its mark
//! is not written again. Killed before the mark: the next leader sees the session without.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::context::Context;
use super::error::EffectError;
use super::removal;
use crate::rules::Report;
use trevor_api::{AirlockSession, AirlockSessionStatus, SessionState};
use trevor_cluster::pages;
use trevor_core::session::judge;

/// The longest pause: a session that is made meanwhile may end within it.
const PAUSE: Duration = Duration::from_secs(3600);
/// Tries again this long after something failed.
const AGAIN: Duration = Duration::from_secs(2);
/// Sessions of a page of the watch: one may have a thousand groups.
const PAGE: u32 = 50;
/// Sessions that are judged by one verification of the rules.
const BATCH: usize = 64;

/// Accepts sessions, and deletes those whose time is over. It never ends.
pub async fn serve(ctx: Arc<Context>) {
    tokio::join!(accept(&ctx), expire(&ctx));
}

/// Deletes what is over, when it is, and every hour. The gateway refuses it already.
async fn expire(ctx: &Context) {
    loop {
        let pause = match sweep(ctx).await {
            Ok(next) => next.map_or(PAUSE, |at| until(at).min(PAUSE)),
            Err(error) => {
                tracing::warn!(%error, "sessions whose time is over were not deleted; it is tried again");
                Duration::from_secs(60)
            }
        };
        tokio::time::sleep(pause).await;
    }
}

fn until(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default()
        + Duration::from_secs(1)
}

/// Gives when the next one ends.
async fn sweep(ctx: &Context) -> Result<Option<Timestamp>, EffectError> {
    let all: Api<AirlockSession> = Api::all(ctx.client.clone());
    let mut next: Option<Timestamp> = None;
    let mut listed = pin!(pages::objects(&all));
    while let Some(page) = listed.try_next().await? {
        for session in &page {
            let Some(end) = end(session) else { continue };
            if Timestamp::now() < end {
                next = Some(next.map_or(end, |next| next.min(end)));
            } else {
                // One that is gone was logged out meanwhile.
                removal::remove(ctx, &of(ctx, session), session).await?;
            }
        }
    }
    Ok(next)
}

fn end(session: &AirlockSession) -> Option<Timestamp> {
    let life = SignedDuration::from_secs(session.spec.ttl_seconds);
    created(session)?.checked_add(life).ok()
}

fn created(session: &AirlockSession) -> Option<Timestamp> {
    session.creation_timestamp().map(|Time(at)| at)
}

fn of(ctx: &Context, session: &AirlockSession) -> Api<AirlockSession> {
    let namespace = session.namespace().unwrap_or_default();
    Api::namespaced(ctx.client.clone(), &namespace)
}

/// Judges each session as its watch tells of it, and all of them when the rules changed.
async fn accept(ctx: &Context) {
    let config = watcher::Config::default().page_size(PAGE);
    let watch = watcher(Api::<AirlockSession>::all(ctx.client.clone()), config)
        .modify(|session| session.managed_fields_mut().clear())
        .default_backoff()
        .applied_objects();
    let mut seen = pin!(watch.ready_chunks(BATCH));
    let mut reports = ctx.rules.follow();
    let mut waiting: Vec<AirlockSession> = Vec::new();
    loop {
        let mut changed = false;
        tokio::select! {
            chunk = seen.next() => match chunk {
                Some(chunk) => waiting.extend(chunk.into_iter().flatten()),
                None => return,
            },
            Ok(()) = reports.changed() => changed = true,
            () = tokio::time::sleep(AGAIN), if !waiting.is_empty() => {}
        }
        let judged = match changed {
            true => judge_all(ctx).await,
            false => Ok(()),
        };
        if let Err(error) = judged.and(judge_some(ctx, &mut waiting).await) {
            tracing::warn!(%error, "sessions were not judged; it is tried again");
        }
    }
}

/// What an earlier epoch covered no longer counts where that epoch turns out to have ended
/// before, so that all are judged again.
async fn judge_all(ctx: &Context) -> Result<(), EffectError> {
    let all: Api<AirlockSession> = Api::all(ctx.client.clone());
    let mut listed = pin!(pages::objects(&all));
    while let Some(mut page) = listed.try_next().await? {
        judge_some(ctx, &mut page).await?;
    }
    Ok(())
}

/// Takes out of `waiting` those that are judged. The rules are verified after the sessions
/// were read, so that the current epoch covers them.
async fn judge_some(ctx: &Context, waiting: &mut Vec<AirlockSession>) -> Result<(), EffectError> {
    let known = ctx.rules.report();
    waiting.retain(|session| needs_a_look(session, &known));
    if waiting.is_empty() {
        return Ok(());
    }
    let report = ctx.rules.verify(Some(ctx.claim()?.term)).await?;
    let mut failed = (Vec::new(), Ok(()));
    for session in std::mem::take(waiting) {
        if let Err(error) = settle(ctx, &session, &report).await {
            failed = (failed.0, Err(error));
            failed.0.push(session);
        }
    }
    *waiting = failed.0;
    failed.1
}

/// Whether it has no mark, or one that the known epochs do not bear out.
fn needs_a_look(session: &AirlockSession, report: &Report) -> bool {
    let status = session.status.as_ref();
    let over = end(session).is_none_or(|end| end <= Timestamp::now());
    let going = session.metadata.deletion_timestamp.is_some();
    if over || going {
        return false;
    }
    match status.and_then(|status| status.state) {
        None => true,
        Some(SessionState::Accepted) => verdict(session, report).is_err(),
        Some(SessionState::Refused) => false,
    }
}

fn verdict(
    session: &AirlockSession,
    report: &Report,
) -> Result<i64, trevor_core::session::SessionRefused> {
    let epoch = created(session).and_then(|at| report.epoch_of(at));
    judge(epoch, session.metadata.generation)
}

/// Marks a session; one that is marked as accepted and is not to be is deleted.
async fn settle(
    ctx: &Context,
    session: &AirlockSession,
    report: &Report,
) -> Result<(), EffectError> {
    let verdict = verdict(session, report);
    let accepted = session.status.as_ref().and_then(|s| s.state) == Some(SessionState::Accepted);
    if accepted {
        if let Err(refused) = verdict {
            let namespace = session.namespace().unwrap_or_default();
            tracing::warn!(
                namespace,
                session = session.name_any(),
                reason = refused.reason(),
                "a session is ended: the admission rules do not bear it out"
            );
            removal::remove(ctx, &of(ctx, session), session).await?;
        }
        return Ok(());
    }
    let mut status = AirlockSessionStatus {
        observed_generation: session.metadata.generation,
        observed_time: Some(Time(trevor_api::condition::second(Timestamp::now()))),
        ..AirlockSessionStatus::default()
    };
    match verdict {
        Ok(epoch) => {
            status.state = Some(SessionState::Accepted);
            status.epoch = Some(epoch);
        }
        Err(refused) => {
            status.state = Some(SessionState::Refused);
            status.reason = Some(refused.reason().to_owned());
            status.message = Some(refused.message().to_owned());
        }
    }
    ctx.claim()?;
    // On the condition that it is as it was read: the mark is about that object.
    let patch = json!({
        "metadata": {"uid": session.uid(), "resourceVersion": session.resource_version()},
        "status": status,
    });
    let patched = of(ctx, session)
        .patch_status(
            &session.name_any(),
            &PatchParams::default(),
            &Patch::Merge(&patch),
        )
        .await;
    match patched {
        Ok(_) => Ok(()),
        // It was logged out, or changed: its watch tells of what it is now. One in a
        // namespace that is not among those of the operator is not its business.
        Err(kube::Error::Api(answer)) if matches!(answer.code, 403 | 404 | 409) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trevor_core::epoch::Epoch;

    fn session(second: i64, state: Option<SessionState>) -> AirlockSession {
        let mut made: AirlockSession = serde_json::from_value(json!({
            "apiVersion": "airlock.karectl.io/v1alpha1", "kind": "AirlockSession",
            "metadata": {"name": "s", "generation": 1,
                "creationTimestamp": Timestamp::from_second(second).unwrap()},
            "spec": {"tokenSHA256": "", "ttlSeconds": i64::from(u32::MAX)},
        }))
        .unwrap();
        made.status = state.map(|state| AirlockSessionStatus {
            state: Some(state),
            ..AirlockSessionStatus::default()
        });
        made
    }

    #[test]
    fn a_session_is_looked_at_until_it_is_marked_and_again_when_its_epoch_is_not_borne_out() {
        let now = Timestamp::now().as_second();
        let report = Report {
            problems: Vec::new(),
            epochs: vec![Epoch {
                sequence: 1,
                began: Timestamp::from_second(now - 100).unwrap(),
                until: None,
            }],
            verified: true,
        };
        for (made, state, looks) in [
            (now - 10, None, true),
            (now - 200, None, true),
            (now - 10, Some(SessionState::Accepted), false),
            (now - 200, Some(SessionState::Accepted), true),
            (now - 200, Some(SessionState::Refused), false),
        ] {
            let session = session(made, state);
            assert_eq!(needs_a_look(&session, &report), looks, "{made} {state:?}");
        }
        let mut over = session(now - 10, None);
        over.spec.ttl_seconds = 5;
        assert!(!needs_a_look(&over, &report), "it is deleted");
        let mut changed = session(now - 10, Some(SessionState::Accepted));
        changed.metadata.generation = Some(2);
        assert!(needs_a_look(&changed, &report));
    }
}
