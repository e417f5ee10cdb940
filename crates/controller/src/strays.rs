//! Releases whose request is gone, actions that are about nothing, and what arrives
//! after a revocation.
//!
//! Reconciling starts from requests; what has none is looked at here, from its
//! ReleaseRecord and the bucket alone. One loop of the leader: woken by actions and
//! revocations, and by itself while something may still arrive.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::ListParams;
use kube::runtime::events::{Event, EventType};
use kube::{Api, Resource as _, ResourceExt as _};

use super::actions::{self, Target};
use super::context::Context;
use super::effects::record::{self, Crossed};
use super::effects::{outbox, renew, revoke};
use super::error::EffectError;
use super::find::find;
use super::retries::Thing;
use super::{current, kept, ledger};
use trevor_api::{
    ActionKind, AirlockAction, AirlockRequest, Direction, ReleaseRecord, TargetKind, condition,
};
use trevor_core::commit::Revoked;
use trevor_core::keys::RequestKey;
use trevor_core::phase::{self, NOTHING_ASKED};
use trevor_store::observe;

/// Looks again this long after files were seen to be on their way.
const MOVING: Duration = Duration::from_secs(5);
/// Pauses between sweeps: they grow with the time since the revocation.
const SWEEPS: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(120));

/// Looks whenever there may be something to do. It never ends.
pub async fn serve(ctx: Arc<Context>) {
    loop {
        let acted = act_on_all(&ctx).await;
        let swept = late(&ctx).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "revoked releases could not be looked at");
            Some(ctx.retries.failed("", Thing::Loop("strays::late")))
        });
        let pause = acted.into_iter().chain(swept).min();
        let sleep = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sleep => {}
            () = ctx.strays.notified() => {}
        }
    }
}

/// When something is tried again. Files that are being moved have not failed to be.
fn pause(ctx: &Context, uid: &str, thing: Thing, error: &EffectError) -> Duration {
    match error {
        EffectError::Moving => MOVING,
        _ => ctx.retries.failed(uid, thing),
    }
}

/// Gives when to look again, if something failed.
async fn act_on_all(ctx: &Context) -> Option<Duration> {
    let mut again = None;
    for action in actions::strays(ctx) {
        let uid = action.uid().unwrap_or_default();
        let left = match ctx.retries.rests(&uid, &Thing::Action) {
            Some((left, _)) => left,
            None => match act(ctx, &action).await {
                Ok(()) => {
                    ctx.retries.forget(&uid);
                    continue;
                }
                Err(error) => {
                    let namespace = action.namespace().unwrap_or_default();
                    tracing::warn!(namespace, action = %action.name_any(), %error, "an action was not carried out; it is tried again");
                    pause(ctx, &uid, Thing::Action, &error)
                }
            },
        };
        again = again.into_iter().chain([left]).min();
    }
    again
}

async fn act(ctx: &Context, action: &AirlockAction) -> Result<(), EffectError> {
    let namespace = action.namespace().unwrap_or_default();
    let named = &action.spec.target.name;
    let requests: Api<AirlockRequest> = Api::namespaced(ctx.client.clone(), &namespace);
    if action.spec.target.kind == TargetKind::AirlockRequest {
        // Our cache may be older than the target: then its own event follows.
        return match find(&requests, named).await? {
            Some(_) => Ok(()),
            None => actions::tell_unknown(ctx, action).await,
        };
    }
    let records: Api<ReleaseRecord> = Api::namespaced(ctx.client.clone(), &namespace);
    let record = find(&records, named).await?;
    let Some(record) = record.filter(|r| r.uid().as_deref() == Some(&action.spec.target.uid))
    else {
        return actions::tell_unknown(ctx, action).await;
    };
    let request = find(&requests, &record.spec.request_ref.name).await?;
    if request.is_some_and(|r| r.uid().as_deref() == Some(&record.spec.request_ref.uid)) {
        return Ok(());
    }
    if act_alone(ctx, &namespace, &record).await? {
        Ok(())
    } else {
        actions::tell_unknown(ctx, action).await
    }
}

/// Carries out what is asked of a release whose request is gone; false where the
/// bucket knows of no such release.
async fn act_alone(
    ctx: &Context,
    namespace: &str,
    record: &ReleaseRecord,
) -> Result<bool, EffectError> {
    ctx.claim()?;
    let key = RequestKey {
        namespace: namespace.to_owned(),
        uid: record.spec.request_ref.uid.clone(),
    };
    let records = &ctx.zones.records;
    let kept = records.get(&key.record()).await?;
    let mut facts = observe::facts(records, &key).await?;
    let Some(owner) = facts.owner.clone() else {
        return Ok(false);
    };
    if kept.as_ref() != Some(&record.spec) {
        return Ok(false);
    }
    let crossed = Crossed {
        key: key.clone(),
        record: record.name_any(),
        going: false,
    };
    let (phase, round) = phase::standing(&facts, NOTHING_ASKED);
    let target = Target {
        key: &key,
        request: None,
        record: &crossed.record,
        submitter: &owner.submitter,
        phase,
        round,
        window_over: renew::window_end(&facts).is_some_and(|end| end <= Timestamp::now()),
        inwards: owner.direction == Direction::Ingress,
    };
    let read = current::for_renewal_alone(ctx, namespace, &crossed.record).await?;
    let taken = actions::judge_all(ctx, &target, read.actions).await?;
    let holds = kept::carry_out(ctx, &crossed, &taken).await?;
    let mut renewed = BTreeMap::new();
    if facts.revoked.is_none() && actions::revocation(&taken).is_none() {
        for fact in actions::renewals(&taken) {
            let read = current::for_renewal_alone(ctx, namespace, &crossed.record).await?;
            let revokes = |action: &AirlockAction| action.spec.action == ActionKind::Revoke;
            if read.actions.iter().any(|action| revokes(action)) {
                break;
            }
            let done = renew::renew(ctx, &crossed, &owner.name, &mut facts, (&fact, read)).await?;
            renewed.insert(fact.uid, done);
        }
    }
    let asked = actions::revocation(&taken);
    let before = facts.revoked.is_some();
    if let Some(revoked) = revoke::fix(ctx, &key, &mut facts, asked.as_ref()).await? {
        revoke::clear(ctx, &crossed, &facts).await?;
        revoke::show(ctx, &crossed, &revoked).await?;
        if !before {
            publish(ctx, record, &revoked).await;
        }
    }
    let mut events = ledger::events(&key, &facts);
    events.extend(ledger::of_actions(&key, &taken));
    events.extend(holds);
    events.extend(ledger::of_urls(ctx, &key, facts.revoked.as_ref()).await?);
    let told = outbox::told(&key, &facts, &events, true);
    let head = ledger::append(ctx, &key, &facts, events).await?;
    Box::pin(outbox::fill_alone(ctx, &key, &facts, told, head.as_ref())).await?;
    actions::tell(ctx, &key, &facts, &taken, &renewed).await?;
    ctx.forget(&key.uid);
    Ok(true)
}

async fn publish(ctx: &Context, record: &ReleaseRecord, revoked: &Revoked) {
    let event = Event {
        type_: EventType::Normal,
        reason: condition::reason::REVOKED.to_owned(),
        note: Some(format!("revoked by {}; no URL of it works", revoked.by)),
        action: "Revoke".to_owned(),
        secondary: None,
    };
    let reference = record.object_ref(&());
    if let Err(error) = ctx.recorder.publish(&event, &reference).await {
        tracing::debug!(record = %record.name_any(), %error, "the Event was not stored");
    }
}

/// Sweeps what was revoked lately: something that was sent before may have arrived.
/// Gives when to look again, if more may come.
async fn late(ctx: &Context) -> Result<Option<Duration>, EffectError> {
    let api: Api<ReleaseRecord> = Api::all(ctx.client.clone());
    let params = ListParams::default().fields("status.phase=Revoked");
    let mut next = None;
    let listed = match api.list(&params).await {
        Ok(listed) => listed,
        // The definition was deleted.
        Err(kube::Error::Api(answer)) if answer.code == 404 => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    for record in listed.items {
        let conditions = record.status.iter().flat_map(|s| &s.conditions);
        let mut ready = conditions.filter(|c| c.type_ == condition::READY);
        if ready.any(|c| c.status == "True") {
            continue;
        }
        let uid = record.spec.request_ref.uid.as_str();
        let again = match ctx.retries.rests(uid, &Thing::Revocation) {
            Some((left, _)) => Some(left),
            None => match sweep(ctx, &record).await {
                Ok(again) => {
                    ctx.retries.succeeded(uid, &Thing::Revocation);
                    again
                }
                Err(error) => {
                    tracing::warn!(record = %record.name_any(), %error, "a revoked release was not swept; it is tried again");
                    Some(pause(ctx, uid, Thing::Revocation, &error))
                }
            },
        };
        next = again.into_iter().chain(next).min();
    }
    ctx.retries.succeeded("", &Thing::Loop("strays::late"));
    Ok(next)
}

async fn sweep(ctx: &Context, record: &ReleaseRecord) -> Result<Option<Duration>, EffectError> {
    ctx.claim()?;
    let crossed = Crossed {
        key: RequestKey {
            namespace: record.namespace().unwrap_or_default(),
            uid: record.spec.request_ref.uid.clone(),
        },
        record: record.name_any(),
        going: false,
    };
    let facts = observe::facts(&ctx.zones.records, &crossed.key).await?;
    let Some(revoked) = facts.revoked.clone() else {
        return Ok(None);
    };
    let settled = revoke::settled(&revoked);
    revoke::clear(ctx, &crossed, &facts).await?;
    if settled {
        record::show_revoked(ctx, &crossed, &revoked, true).await?;
        return Ok(None);
    }
    let since = Timestamp::now().duration_since(revoked.time);
    let since = Duration::try_from(since).unwrap_or_default();
    Ok(Some((since / 2).clamp(SWEEPS.0, SWEEPS.1)))
}
