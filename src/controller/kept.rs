//! What is shown of retention on a request: holds, and what was deleted.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::actions::ActionFact;
use super::context::Context;
use super::effects::record::{self, Crossed};
use super::error::EffectError;
use crate::api::{ActionKind, AirlockRequestStatus};
use crate::audit::Event;
use crate::domain::phase::Facts;
use crate::domain::retention::{Deletion, Hold, HoldState, What};
use crate::retention::Trouble;
use crate::retention::holds::{self, Asked};
use crate::storage::StorageError;
use crate::storage::commit::read;
use crate::storage::keys::RequestKey;

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
    let hold = match holds::standing(ctx.zones.quarantine.bucket(), key).await {
        Ok(hold) => hold,
        // The sweeper takes it for a hold, and so it is shown.
        Err(StorageError::Corrupt { problem, .. }) => Some(Hold {
            sequence: 0,
            state: HoldState::Held,
            by: "unknown".to_owned(),
            reason: Some(format!("the last word on a hold cannot be read: {problem}")),
            action: None,
            time: Timestamp::UNIX_EPOCH,
        }),
        Err(error) => return Err(error.into()),
    };
    let deleted = match &facts.closed {
        Some(_) => {
            let at = key.deletion(What::Quarantine.word());
            read(ctx.zones.records.bucket(), &at).await?
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
        };
        let hold = holds::say(ctx.zones.quarantine.bucket(), key, &asked).await?;
        let event = holds::event(key, &hold);
        events.insert(event.id.clone(), event);
        record::show_held(ctx, crossed, &hold).await?;
        if state == HoldState::Lifted {
            ctx.sweeps.notify_one();
        }
    }
    Ok(events)
}

/// Whether a closed request's status may be behind what the sweeper did.
pub fn is_behind(status: &AirlockRequestStatus, now: Timestamp) -> bool {
    status.quarantine.as_ref().is_some_and(|quarantine| {
        let due = quarantine.delete_after_time.as_ref();
        due.is_some_and(|due| due.0 <= now) && quarantine.deleted_time.is_none()
    })
}
