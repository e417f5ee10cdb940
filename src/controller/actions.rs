//! AirlockActions: what is asked of a request beside reviews.
//!
//! Whether an action is carried out is stored once, create-only, with the round it
//! is about: an action never reaches a later round, whatever crashes.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, ResourceExt as _};
use serde::{Deserialize, Serialize};

use super::context::Context;
use super::effects::deliver;
use super::error::EffectError;
use super::reconcile::Subject;
use super::word;
use crate::api::{
    ActionKind, ActionRole, AirlockAction, AirlockRequest, AirlockReviewStatus, ReleaseRecord,
    ReviewState, TargetKind,
};
use crate::domain::action::{Refused, Standing, judge};
use crate::domain::commit::Recall;
use crate::domain::phase::{Facts, standing};
use crate::storage::commit::{commit, read};

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
    /// Why it is not carried out; none: it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// When the action was created.
    pub time: Timestamp,
}

/// Judges the actions on a request that have no word yet, and stores what becomes
/// of each. Gives them all.
pub async fn take_up(
    ctx: &Context,
    subject: &Subject,
    facts: &Facts,
) -> Result<Vec<ActionFact>, EffectError> {
    let mut taken = Vec::new();
    if facts.owner.is_none() {
        return Ok(taken);
    }
    for action in untold(ctx, &subject.request) {
        let uid = action.uid().unwrap_or_default();
        let key = subject.key.action(&uid);
        let records = ctx.zones.records.bucket();
        if let Some(known) = read::<ActionFact>(records, &key).await? {
            taken.push(known);
            continue;
        }
        let spec = &action.spec;
        let actor = spec.actor.clone().unwrap_or_default();
        let (phase, round) = standing(facts, subject.wish());
        let submitter = subject
            .request
            .spec
            .submitter
            .as_deref()
            .unwrap_or_default();
        let verdict = if is_about(ctx, subject, &action).await? {
            judge(
                spec.action,
                spec.r#as,
                &actor,
                Standing { phase, submitter },
            )
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
            round,
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

/// The recall that is to be carried out, if one is.
pub fn recall(taken: &[ActionFact]) -> Option<Recall> {
    taken
        .iter()
        .find(|fact| fact.action == ActionKind::Recall && fact.refused.is_none())
        .map(|fact| Recall {
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
    subject: &Subject,
    facts: &Facts,
    taken: &[ActionFact],
) -> Result<(), EffectError> {
    for fact in taken {
        let status = match fact.refused {
            Some(refused) => word::not_counted(refused.reason(), refused.message()),
            None => carried_out(facts, fact),
        };
        word::write::<AirlockAction>(ctx, &subject.key.namespace, &fact.name, &fact.uid, &status)
            .await?;
    }
    Ok(())
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
                    && deliver::record_name(&request.name_any(), &uid) == *named
            })
            .map(|request| ObjectRef::from_obj(request.as_ref())),
    }
}

/// An action on something that is not there. Our cache may be older than its
/// target, so the API server is asked.
pub async fn tell_unknown(ctx: &Context, action: &AirlockAction) -> Result<(), EffectError> {
    let namespace = action.namespace().unwrap_or_default();
    let named = &action.spec.target.name;
    let there = match action.spec.target.kind {
        TargetKind::AirlockRequest => {
            let api: Api<AirlockRequest> = Api::namespaced(ctx.client.clone(), &namespace);
            api.get_opt(named).await?.is_some()
        }
        TargetKind::ReleaseRecord => {
            let api: Api<ReleaseRecord> = Api::namespaced(ctx.client.clone(), &namespace);
            api.get_opt(named).await?.is_some()
        }
    };
    if there {
        return Ok(());
    }
    let unknown = Refused::UnknownTarget;
    let status = word::not_counted(unknown.reason(), unknown.message());
    let uid = action.uid().unwrap_or_default();
    word::write::<AirlockAction>(ctx, &namespace, &action.name_any(), &uid, &status).await
}

fn carried_out(facts: &Facts, fact: &ActionFact) -> AirlockReviewStatus {
    if fact.action != ActionKind::Recall {
        return AirlockReviewStatus {
            state: Some(ReviewState::Pending),
            reason: Some("Accepted".to_owned()),
            message: Some(
                "it is permitted and recorded; this version does not carry it out yet".to_owned(),
            ),
            observed_time: None,
        };
    }
    let of_round = facts.last.as_ref().filter(|last| last.round == fact.round);
    let recalled = of_round.is_some_and(|last| {
        let decided = last.decision.as_ref().and_then(|d| d.recalled.as_ref());
        let refused = last.freeze.as_ref().and_then(|f| match f {
            crate::domain::commit::Freeze::Refusal(refusal) => refusal.recalled.as_ref(),
            crate::domain::commit::Freeze::Manifest(_) => None,
        });
        decided.or(refused).is_some_and(|by| by.uid == fact.uid)
    });
    let ended = of_round.is_none_or(|last| last.end().is_some() || last.decision.is_some());
    if recalled {
        word::counted()
    } else if ended {
        let late = Refused::AlreadyDecided;
        word::not_counted(late.reason(), late.message())
    } else {
        AirlockReviewStatus {
            state: Some(ReviewState::Pending),
            ..AirlockReviewStatus::default()
        }
    }
}

/// Whether an action on the request has no word yet.
pub fn awaits(ctx: &Context, request: &AirlockRequest) -> bool {
    untold(ctx, request)
        .iter()
        .any(|action| action.status.as_ref().and_then(|s| s.state).is_none())
}

/// Actions on the request, or its record, that have no final word.
fn untold(ctx: &Context, request: &AirlockRequest) -> Vec<Arc<AirlockAction>> {
    let (name, namespace) = (request.name_any(), request.namespace());
    let record = deliver::record_name(&name, &request.uid().unwrap_or_default());
    let mut found = ctx.actions.state();
    found.retain(|action| {
        let target = &action.spec.target;
        let named = match target.kind {
            TargetKind::AirlockRequest => target.name == name,
            TargetKind::ReleaseRecord => target.name == record,
        };
        let state = action.status.as_ref().and_then(|s| s.state);
        named
            && action.namespace() == namespace
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
    subject: &Subject,
    action: &AirlockAction,
) -> Result<bool, EffectError> {
    let target = &action.spec.target;
    if target.kind == TargetKind::AirlockRequest {
        return Ok(target.uid == subject.key.uid);
    }
    let api: Api<ReleaseRecord> = Api::namespaced(ctx.client.clone(), &subject.key.namespace);
    let record = api.get_opt(&target.name).await?;
    Ok(record.and_then(|r| r.uid()).as_deref() == Some(&target.uid))
}
