//! What is shown of retention on a request: holds, and what was deleted.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::actions::{self, Target};
use super::context::Context;
use super::current;
use super::effects::record::{self, Crossed, record_name};
use super::error::EffectError;
use trevor_api::{ActionKind, AirlockRequestStatus, Direction, TargetKind};
use trevor_core::action::ActionFact;
use trevor_core::commit::Owner;
use trevor_core::event::Event;
use trevor_core::keys::RequestKey;
use trevor_core::phase::{self, Facts, NOTHING_ASKED};
use trevor_core::retention::{Deletion, Hold, HoldState, What};
use trevor_lifecycle::Trouble;
use trevor_lifecycle::holds::{self, Asked};
use trevor_store::StorageError;
use trevor_store::observe;

/// What is stored of it.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// The last word on a hold.
    pub hold: Option<Hold>,
    /// The receipt of the quarantined files.
    pub deleted: Option<Deletion>,
    /// Why something that is due is not deleted.
    pub trouble: Option<Trouble>,
}

impl Kept {
    /// The hold that stands.
    pub fn held(&self) -> Option<&Hold> {
        let hold = self.hold.as_ref();
        hold.filter(|hold| hold.state == HoldState::Held)
    }
}

/// Loads it.
pub async fn look(ctx: &Context, key: &RequestKey, facts: &Facts) -> Result<Kept, EffectError> {
    if facts.owner.is_none() {
        return Ok(Kept::default());
    }
    let hold = match holds::standing(ctx.zones.quarantine.work(), key).await {
        Ok(hold) => hold,
        // The sweeper takes it for a hold, and so it is shown.
        Err(StorageError::Corrupt { problem, .. }) => Some(Hold {
            sequence: 0,
            state: HoldState::Held,
            by: "unknown".to_owned(),
            reason: Some(format!("the last word on a hold cannot be read: {problem}")),
            action: None,
            time: Timestamp::UNIX_EPOCH,
            unconfirmed: false,
        }),
        Err(error) => return Err(error.into()),
    };
    let deleted = match &facts.closed {
        Some(_) => {
            let at = key.deletion(What::Quarantine.word());
            ctx.zones.records.get(&at).await?
        }
        None => None,
    };
    Ok(Kept {
        hold,
        deleted,
        trouble: ctx.troubles.of(&key.uid),
    })
}

/// Carries out what hold officers asked for: a hold stands before anybody is told.
/// Gives the events.
pub async fn carry_out(
    ctx: &Context,
    crossed: &Crossed,
    taken: &[ActionFact],
) -> Result<BTreeMap<String, Event>, EffectError> {
    let key = &crossed.key;
    let mut events = BTreeMap::new();
    for fact in taken.iter().filter(|fact| fact.refused.is_none()) {
        let state = match fact.action {
            ActionKind::Hold => HoldState::Held,
            ActionKind::LiftHold => HoldState::Lifted,
            _ => continue,
        };
        let asked = Asked {
            state,
            by: fact.actor.clone(),
            reason: fact.reason.clone(),
            action: Some(fact.uid.clone()),
            time: fact.time,
            unconfirmed: fact.unconfirmed,
        };
        let hold = holds::say(ctx.zones.quarantine.work(), key, &asked).await?;
        let event = holds::event(key, &hold);
        events.insert(event.id.clone(), event);
        record::show_held(ctx, crossed, &hold).await?;
        if state == HoldState::Lifted {
            ctx.sweeps.notify_one();
        }
    }
    Ok(events)
}

/// Carries out what hold officers asked for until now, as the API server has it, before
/// something is deleted. The ledger has it with the next look at the request.
pub async fn take_up_holds(
    ctx: &Context,
    key: &RequestKey,
    owner: &Owner,
) -> Result<(), EffectError> {
    let crossed = Crossed {
        key: key.clone(),
        record: record_name(&owner.name, &key.uid),
        // The namespace may be gone: the bucket has it all.
        going: true,
    };
    let namespace = &key.namespace;
    let name = Some(owner.name.as_str());
    let mut asked = current::actions_on_both(ctx, namespace, name, &crossed.record).await?;
    asked.retain(|action| {
        let target = &action.spec.target;
        let holds = matches!(action.spec.action, ActionKind::Hold | ActionKind::LiftHold);
        // Another request may have the name by now.
        holds && (target.kind == TargetKind::ReleaseRecord || target.uid == key.uid)
    });
    if asked.is_empty() {
        return Ok(());
    }
    ctx.claim()?;
    let facts = observe::facts(&ctx.zones.records, key).await?;
    let (phase, round) = phase::standing(&facts, NOTHING_ASKED);
    let target = Target {
        key,
        request: name,
        record: &crossed.record,
        submitter: &owner.submitter,
        phase,
        round,
        window_over: false,
        inwards: owner.direction == Direction::Ingress,
    };
    let taken = actions::judge_all(ctx, &target, asked).await?;
    carry_out(ctx, &crossed, &taken).await?;
    Ok(())
}

/// What was deleted of a request, and when.
pub async fn deletions(ctx: &Context, key: &RequestKey) -> Result<Vec<Deletion>, EffectError> {
    let mut found = Vec::new();
    for what in What::ALL {
        let at = key.deletion(what.word());
        found.extend(ctx.zones.records.get(&at).await?);
    }
    Ok(found)
}

/// Whether a closed request's status may be behind what the sweeper did.
pub fn is_behind(status: &AirlockRequestStatus, now: Timestamp) -> bool {
    status.quarantine.as_ref().is_some_and(|quarantine| {
        let due = quarantine.delete_after_time.as_ref();
        due.is_some_and(|due| due.0 <= now) && quarantine.deleted_time.is_none()
    })
}
