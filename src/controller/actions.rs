//! AirlockActions: what is asked of a request beside reviews.
//!
//! Whether an action is carried out is stored once, create-only, with the round it
//! is about: an action never reaches a later round, whatever crashes.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, ResourceExt as _};
use serde::{Deserialize, Serialize};

use super::context::Context;
use super::effects::record::record_name;
use super::effects::renew::Renewed;
use super::effects::revoke;
use super::error::EffectError;
use super::word;
use crate::api::condition::reason;
use crate::api::{
    ActionKind, ActionRole, AirlockAction, AirlockRequest, AirlockReviewStatus, Phase,
    ReleaseRecord, ReviewState, TargetKind,
};
use crate::domain::action::{Refused, Standing, judge};
use crate::domain::commit::{Recall, Revoked, RevokedThrough};
use crate::domain::phase::Facts;
use crate::storage::commit::{commit, read};
use crate::storage::keys::RequestKey;

/// `actions/<uid>.json`: what became of an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionFact {
    /// Name of the AirlockAction.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// What it asks for.
    pub action: ActionKind,
    /// In which role.
    #[serde(rename = "as")]
    pub role: ActionRole,
    /// Who.
    pub actor: String,
    /// Why, in the actor's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The round that it is about.
    pub round: i64,
    /// Of a renewal: the earlier URLs are to end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub revoke_old: bool,
    /// Why it is not carried out; none: it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// When the action was created.
    pub time: Timestamp,
}

crate::domain::format::fact!(ActionFact);

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

/// Judges the actions that have no word yet, and stores what becomes of each.
/// Gives them all.
pub async fn take_up(ctx: &Context, target: &Target<'_>) -> Result<Vec<ActionFact>, EffectError> {
    let mut taken = Vec::new();
    let namespace = &target.key.namespace;
    for action in untold(ctx, namespace, target.request, target.record) {
        let uid = action.uid().unwrap_or_default();
        let key = target.key.action(&uid);
        let records = ctx.zones.records.bucket();
        if let Some(known) = read::<ActionFact>(records, &key).await? {
            taken.push(known);
            continue;
        }
        let spec = &action.spec;
        let actor = spec.actor.clone().unwrap_or_default();
        let standing = Standing {
            phase: target.phase,
            submitter: target.submitter,
            window_over: target.window_over,
            inwards: target.inwards,
        };
        let verdict = if is_about(ctx, target, &action).await? {
            judge(spec.action, spec.r#as, &actor, standing)
        } else {
            Err(Refused::UnknownTarget)
        };
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
            time: action
                .metadata
                .creation_timestamp
                .as_ref()
                .map_or(Timestamp::UNIX_EPOCH, |Time(t)| *t),
        };
        taken.push(commit(records, &key, &fact).await?.into_inner());
    }
    Ok(taken)
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
    namespace: &str,
    facts: &Facts,
    taken: &[ActionFact],
    renewed: &BTreeMap<String, Renewed>,
) -> Result<(), EffectError> {
    for fact in taken {
        let status = match (fact.refused, fact.action) {
            (Some(refused), _) => refusal(refused),
            (None, ActionKind::Recall) => recalled(facts, fact),
            (None, ActionKind::Revoke) => revoked(facts, fact),
            (None, ActionKind::Renew) => renewal(facts, renewed.get(&fact.uid)),
            // The word stands in the bucket before anybody is told.
            (None, ActionKind::Hold | ActionKind::LiftHold) => word::counted(),
        };
        word::write::<AirlockAction>(ctx, namespace, &fact.name, &fact.uid, &status).await?;
    }
    Ok(())
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
    match renewed {
        Some(Renewed::Done(url)) => AirlockReviewStatus {
            message: Some(format!(
                "issue {}, in the Secret {}, until {}",
                url.issue, url.secret_name, url.expires
            )),
            ..word::counted()
        },
        _ if facts.revoked.is_some() => refusal(Refused::AlreadyRevoked),
        Some(Renewed::WindowOver) => refusal(Refused::WindowOver),
        Some(Renewed::Failed(message)) => word::not_counted(reason::INTEGRITY_MISMATCH, message),
        Some(Renewed::UnderWay) => word::pending(
            "Copying",
            "the package is being copied to another key, so that the earlier URLs end",
        ),
        None => word::pending("Renewing", "the URL is being made"),
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

fn recalled(facts: &Facts, fact: &ActionFact) -> AirlockReviewStatus {
    let of_round = facts.last.as_ref().filter(|last| last.round == fact.round);
    let recalled = of_round.is_some_and(|last| {
        let decided = last.decision.as_ref().and_then(|d| d.recalled.as_ref());
        let refused = last.freeze.as_deref().and_then(|f| match f {
            crate::domain::commit::Freeze::Refusal(refusal) => refusal.recalled.as_ref(),
            crate::domain::commit::Freeze::Manifest(_) => None,
        });
        decided.or(refused).is_some_and(|by| by.uid == fact.uid)
    });
    let ended = of_round.is_none_or(|last| last.end().is_some() || last.decision.is_some());
    if recalled {
        word::counted()
    } else if ended {
        refusal(Refused::AlreadyDecided)
    } else {
        AirlockReviewStatus {
            state: Some(ReviewState::Pending),
            ..AirlockReviewStatus::default()
        }
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
        let state = action.status.as_ref().and_then(|s| s.state);
        named
            && action.namespace().as_deref() == Some(namespace)
            && state.is_none_or(|state| state == ReviewState::Pending)
    });
    found.sort_by_key(|action| {
        let created = action
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|Time(t)| *t);
        (created, action.uid())
    });
    found
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
