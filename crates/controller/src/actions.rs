//! AirlockActions: what is asked of a request beside reviews.
//!
//! Whether an action is carried out is stored once, create-only, with the round it
//! is about: an action never reaches a later round, whatever crashes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, ResourceExt as _};

use super::context::Context;
use super::effects::record::record_name;
use super::effects::renew::Renewed;
use super::effects::revoke;
use super::error::EffectError;
use super::{kept, word};
use crate::rules::Report;
use trevor_api::condition::reason;
use trevor_api::{
    ActionKind, AirlockAction, AirlockRequest, AirlockReviewStatus, Phase, ReleaseRecord,
    ReviewState, TargetKind,
};
use trevor_core::action::{ActionFact, Refused, Standing, TO_CONFIRM, judge, loosens};
use trevor_core::commit::{Recall, Revoked, RevokedThrough};
use trevor_core::keys::RequestKey;
use trevor_core::phase::{Facts, Round};
use trevor_core::retention::{self, Deletion, HeldAfter};
use trevor_store::observe;

/// An action whose epoch could not be told is looked at again after this long.
const AGAIN: Duration = Duration::from_secs(2);

/// What actions are about, with its request or without.
pub struct Target<'a> {
    /// The request.
    pub key: &'a RequestKey,
    /// The request's name, while it is there.
    pub request: Option<&'a str>,
    /// Name of its ReleaseRecord, if it has one.
    pub record: &'a str,
    /// Who submitted it.
    pub submitter: &'a str,
    /// Where it stands.
    pub phase: Phase,
    /// In which round.
    pub round: i64,
    /// Whether the download window is over.
    pub window_over: bool,
    /// Whether it crosses inwards.
    pub inwards: bool,
}

/// Judges the actions that the watch tells of and that have no word yet, and stores what
/// becomes of each. Gives them all.
pub async fn take_up(ctx: &Context, target: &Target<'_>) -> Result<Vec<ActionFact>, EffectError> {
    let seen = untold(ctx, &target.key.namespace, target.request, target.record);
    judge_all(ctx, target, seen).await
}

/// The same with actions that were read, oldest first.
pub async fn judge_all(
    ctx: &Context,
    target: &Target<'_>,
    actions: Vec<Arc<AirlockAction>>,
) -> Result<Vec<ActionFact>, EffectError> {
    let mut taken = Vec::new();
    let mut fresh = Vec::new();
    let records = &ctx.zones.records;
    for action in actions {
        let key = target.key.action(&action.uid().unwrap_or_default());
        match records.get(&key).await? {
            Some(known) => taken.push(known),
            None => fresh.push(action),
        }
    }
    if fresh.is_empty() {
        return Ok(taken);
    }
    let epochs = Epochs::of_now(ctx).await;
    for action in fresh {
        let spec = &action.spec;
        // Whether it counts cannot be told now: what stops is not put off for that.
        if loosens(spec.action)
            && let Epochs::Unknown(why) = &epochs
        {
            tracing::warn!(namespace = target.key.namespace, uid = target.key.uid, action = %action.name_any(), %why, "an action waits: the admission rules could not be verified");
            look_again(ctx, target);
            continue;
        }
        let time = created(&action);
        let actor = spec.actor.clone().unwrap_or_default();
        let in_epoch = epochs.covers(time);
        let standing = Standing {
            phase: target.phase,
            submitter: target.submitter,
            window_over: target.window_over,
            inwards: target.inwards,
            in_epoch,
        };
        let verdict = if is_about(ctx, target, &action).await? {
            judge(spec.action, spec.r#as, &actor, standing)
        } else {
            Err(Refused::UnknownTarget)
        };
        let uid = action.uid().unwrap_or_default();
        let key = target.key.action(&uid);
        let fact = ActionFact {
            name: action.name_any(),
            uid,
            action: spec.action,
            role: spec.r#as,
            actor,
            reason: spec.reason.clone(),
            round: target.round,
            revoke_old: spec.revoke_old.unwrap_or(false),
            refused: verdict.err(),
            time,
            unconfirmed: verdict.is_ok() && !in_epoch,
        };
        taken.push(records.create(&key, &fact).await?.into_inner());
    }
    Ok(taken)
}

/// What is known of epochs after the actions were read.
enum Epochs {
    Known(Arc<Report>),
    Unknown(EffectError),
}

impl Epochs {
    /// By a verification of now, so that the current epoch covers what was read before.
    async fn of_now(ctx: &Context) -> Self {
        let verified = async { Ok(ctx.rules.verify(Some(ctx.claim()?.term)).await?) };
        match verified.await {
            Ok(report) => Self::Known(report),
            Err(error) => Self::Unknown(error),
        }
    }

    fn covers(&self, time: Timestamp) -> bool {
        match self {
            Self::Known(report) => report.epoch_of(time).is_some(),
            Self::Unknown(_) => false,
        }
    }
}

/// Another look in a moment: at the request, or at the record where that is gone.
fn look_again(ctx: &Context, target: &Target<'_>) {
    let wakes = target
        .request
        .map(|request| ObjectRef::<AirlockRequest>::new(request).within(&target.key.namespace));
    let (queue, strays) = (ctx.queue.clone(), Arc::clone(&ctx.strays));
    ctx.in_background(&format!("action-{}", target.key.uid), async move {
        tokio::time::sleep(AGAIN).await;
        match wakes {
            // The receiver is gone when the process stops.
            Some(request) => queue.add(request),
            None => strays.notify_one(),
        }
    });
}

fn created(action: &AirlockAction) -> Timestamp {
    let created = action.metadata.creation_timestamp.as_ref();
    created.map_or(Timestamp::UNIX_EPOCH, |Time(at)| *at)
}

fn accepted(taken: &[ActionFact], kind: ActionKind) -> impl Iterator<Item = &ActionFact> {
    taken
        .iter()
        .filter(move |fact| fact.action == kind && fact.refused.is_none())
}

/// What is asked to be revoked, if something is.
pub fn revocation(taken: &[ActionFact]) -> Option<Revoked> {
    accepted(taken, ActionKind::Revoke).next().map(|fact| {
        let through = RevokedThrough::Action {
            name: fact.name.clone(),
            uid: fact.uid.clone(),
        };
        revoke::asked(&fact.actor, through, fact.reason.clone())
    })
}

/// The renewals that are to be carried out, oldest first.
pub fn renewals(taken: &[ActionFact]) -> Vec<ActionFact> {
    accepted(taken, ActionKind::Renew).cloned().collect()
}

/// The recall that is to be carried out, if one is.
pub fn recall(taken: &[ActionFact]) -> Option<Recall> {
    accepted(taken, ActionKind::Recall)
        .next()
        .map(|fact| Recall {
            more: Default::default(),
            action: fact.name.clone(),
            uid: fact.uid.clone(),
            actor: fact.actor.clone(),
            round: fact.round,
            time: fact.time,
        })
}

/// Tells the authors what became of their actions.
pub async fn tell(
    ctx: &Context,
    key: &RequestKey,
    facts: &Facts,
    taken: &[ActionFact],
    renewed: &BTreeMap<String, Renewed>,
) -> Result<(), EffectError> {
    let holds = accepted(taken, ActionKind::Hold).next().is_some();
    let deleted = match facts.closed.is_some() && holds {
        true => kept::deletions(ctx, key).await?,
        false => Vec::new(),
    };
    for fact in taken {
        let status = match (fact.refused, fact.action) {
            (Some(refused), _) => refusal(refused),
            (None, ActionKind::Recall) => recalled(ctx, key, facts, fact).await?,
            (None, ActionKind::Revoke) => revoked(facts, fact),
            (None, ActionKind::Renew) => renewal(facts, renewed.get(&fact.uid)),
            // The word stands in the bucket before anybody is told.
            (None, ActionKind::Hold) => held(&deleted),
            (None, ActionKind::LiftHold) => word::counted(),
        };
        let status = if fact.unconfirmed {
            to_confirm(status)
        } else {
            status
        };
        let named = (fact.name.as_str(), fact.uid.as_str());
        word::write::<AirlockAction>(ctx, &key.namespace, named.0, named.1, &status).await?;
    }
    Ok(())
}

/// A hold that came after the files were deleted says so.
fn held(deleted: &[Deletion]) -> AirlockReviewStatus {
    match retention::held_after(deleted) {
        Some(HeldAfter::All(what)) => word::not_counted(reason::TOO_LATE, &what),
        Some(HeldAfter::Part(what)) => AirlockReviewStatus {
            message: Some(what),
            ..word::counted()
        },
        None => word::counted(),
    }
}

/// What was carried out and is to be confirmed says so.
fn to_confirm(status: AirlockReviewStatus) -> AirlockReviewStatus {
    if status.state != Some(ReviewState::Counted) {
        return status;
    }
    AirlockReviewStatus {
        reason: Some(reason::UNCONFIRMED.to_owned()),
        message: Some(TO_CONFIRM.to_owned()),
        ..status
    }
}

fn refusal(refused: Refused) -> AirlockReviewStatus {
    word::not_counted(refused.reason(), refused.message())
}

fn revoked(facts: &Facts, fact: &ActionFact) -> AirlockReviewStatus {
    match facts.revoked.as_ref().map(|revoked| &revoked.through) {
        Some(RevokedThrough::Action { uid, .. }) if *uid == fact.uid => word::counted(),
        Some(_) => refusal(Refused::AlreadyRevoked),
        None => word::pending("Revoking", "it is being revoked"),
    }
}

fn renewal(facts: &Facts, renewed: Option<&Renewed>) -> AirlockReviewStatus {
    if let Some(Renewed::Done(url)) = renewed {
        return AirlockReviewStatus {
            message: Some(format!(
                "issue {}, in the Secret {}, until {}",
                url.issue, url.secret_name, url.expires
            )),
            ..word::counted()
        };
    }
    if let Some(revoked) = &facts.revoked {
        let what = format!(
            "the release was revoked by {} at {}, before a URL was made; no URL of it works",
            revoked.by, revoked.time
        );
        return word::not_counted(reason::TOO_LATE, &what);
    }
    match renewed {
        Some(Renewed::WindowOver) => refusal(Refused::WindowOver),
        Some(Renewed::Failed(message)) => word::not_counted(reason::INTEGRITY_MISMATCH, message),
        Some(Renewed::UnderWay) => word::pending(
            "Copying",
            "the package is being copied to another key, so that the earlier URLs end",
        ),
        Some(Renewed::Done(_)) | None => word::pending("Renewing", "the URL is being made"),
    }
}

/// The request that an action is about, if there is one of that name.
pub fn target(
    action: &AirlockAction,
    requests: &Store<AirlockRequest>,
) -> Option<ObjectRef<AirlockRequest>> {
    let namespace = action.namespace()?;
    let named = &action.spec.target.name;
    match action.spec.target.kind {
        TargetKind::AirlockRequest => {
            let target = ObjectRef::<AirlockRequest>::new(named).within(&namespace);
            requests.get(&target).map(|_| target)
        }
        TargetKind::ReleaseRecord => requests
            .state()
            .into_iter()
            .find(|request| {
                let uid = request.uid().unwrap_or_default();
                request.namespace().as_deref() == Some(&namespace)
                    && record_name(&request.name_any(), &uid) == *named
            })
            .map(|request| ObjectRef::from_obj(request.as_ref())),
    }
}

/// An action on something that is not there.
pub async fn tell_unknown(ctx: &Context, action: &AirlockAction) -> Result<(), EffectError> {
    let namespace = action.namespace().unwrap_or_default();
    let status = refusal(Refused::UnknownTarget);
    let uid = action.uid().unwrap_or_default();
    word::write::<AirlockAction>(ctx, &namespace, &action.name_any(), &uid, &status).await
}

async fn recalled(
    ctx: &Context,
    key: &RequestKey,
    facts: &Facts,
    fact: &ActionFact,
) -> Result<AirlockReviewStatus, EffectError> {
    // The next round may have come before its author could be told.
    let earlier = match &facts.last {
        Some(last) if last.round > fact.round => {
            Some(observe::round(&ctx.zones.records, key, fact.round).await?)
        }
        _ => None,
    };
    let last = facts.last.as_ref().filter(|last| last.round == fact.round);
    Ok(recalled_in(earlier.as_ref().or(last), fact))
}

/// What became of a recall, by the round that it is about.
fn recalled_in(of_round: Option<&Round>, fact: &ActionFact) -> AirlockReviewStatus {
    let recalled = of_round.and_then(Round::recalled);
    let recalled = recalled.is_some_and(|by| by.uid == fact.uid);
    let ended = of_round.is_none_or(|last| last.end().is_some() || last.decision.is_some());
    if recalled {
        word::counted()
    } else if ended {
        word::not_counted(reason::TOO_LATE, &overtaken(of_round))
    } else {
        AirlockReviewStatus {
            state: Some(ReviewState::Pending),
            ..AirlockReviewStatus::default()
        }
    }
}

/// What had happened to a round before it could be taken back.
fn overtaken(round: Option<&Round>) -> String {
    let decided = round.and_then(|round| round.decision.as_ref());
    match decided {
        Some(decision) => format!(
            "round {} was decided ({:?}) at {}, before the recall could be carried out; set spec.withdrawn to stop a release, or revoke it",
            decision.round, decision.verdict, decision.time
        ),
        None => "the round had ended before the recall could be carried out".to_owned(),
    }
}

/// Whether an action on the request has no word yet, or waits to be carried out.
pub fn awaits(ctx: &Context, request: &AirlockRequest) -> bool {
    let (name, namespace) = (request.name_any(), request.namespace().unwrap_or_default());
    let record = record_name(&name, &request.uid().unwrap_or_default());
    untold(ctx, &namespace, Some(&name), &record)
        .iter()
        .any(|action| {
            action.status.as_ref().and_then(|s| s.state).is_none() || is_carried_out(action)
        })
}

/// Whether it is one that waits to be carried out while it is pending.
fn is_carried_out(action: &AirlockAction) -> bool {
    action.spec.action != ActionKind::Recall
}

/// Actions that no request of ours is about.
pub fn strays(ctx: &Context) -> Vec<Arc<AirlockAction>> {
    let mut found = ctx.actions.state();
    found.retain(|action| {
        let state = action.status.as_ref().and_then(|s| s.state);
        state.is_none_or(|state| state == ReviewState::Pending && is_carried_out(action))
            && target(action, &ctx.requests).is_none()
    });
    found
}

/// Actions on a request, or its record, that have no final word.
fn untold(
    ctx: &Context,
    namespace: &str,
    request: Option<&str>,
    record: &str,
) -> Vec<Arc<AirlockAction>> {
    let mut found = ctx.actions.state();
    found.retain(|action| {
        let target = &action.spec.target;
        let named = match target.kind {
            TargetKind::AirlockRequest => Some(target.name.as_str()) == request,
            TargetKind::ReleaseRecord => target.name == record,
        };
        named && action.namespace().as_deref() == Some(namespace)
    });
    in_order(found)
}

/// Those that have no final word, oldest first.
pub fn in_order(mut actions: Vec<Arc<AirlockAction>>) -> Vec<Arc<AirlockAction>> {
    actions.retain(|action| {
        let state = action.status.as_ref().and_then(|s| s.state);
        state.is_none_or(|state| state == ReviewState::Pending)
    });
    actions.sort_by_key(|action| (created(action), action.uid()));
    actions
}

/// Whether the target's uid is that of the object.
async fn is_about(
    ctx: &Context,
    about: &Target<'_>,
    action: &AirlockAction,
) -> Result<bool, EffectError> {
    let target = &action.spec.target;
    if target.kind == TargetKind::AirlockRequest {
        return Ok(target.uid == about.key.uid);
    }
    let api: Api<ReleaseRecord> = Api::namespaced(ctx.client.clone(), &about.key.namespace);
    let record = api.get_opt(&target.name).await?;
    Ok(record.and_then(|r| r.uid()).as_deref() == Some(&target.uid))
}
