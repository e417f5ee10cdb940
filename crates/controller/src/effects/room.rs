//! Whether what arrived still fits its project (policy `maxStoredBytes`). The plan was
//! refused where it did not; since then others may have been confirmed.

use super::super::context::Context;
use super::super::error::EffectError;
use super::super::reconcile::Subject;
use trevor_core::keys::is_quarantined;

/// What there is room for.
pub enum Room {
    /// For all of it.
    Enough,
    /// Perhaps, once what is being taken over elsewhere is done.
    Later,
    /// There is none: why, for people.
    None(String),
}

/// Looks for room for so many bytes.
pub async fn look(ctx: &Context, subject: &Subject, coming: u64) -> Result<Room, EffectError> {
    let Ok(applied) = &subject.policy else {
        return Ok(Room::Enough);
    };
    if applied.rules.max_stored_bytes.is_none() {
        return Ok(Room::Enough);
    }
    let key = &subject.key;
    // Before the listing, which then has whatever is done by now.
    let elsewhere = ctx.confirmations.coming(&key.namespace, &key.uid);
    let mut held = 0_u64;
    let prefix = format!("requests/{}/", key.namespace);
    let each = |key: &str, size: u64| {
        if is_quarantined(key) {
            held = held.saturating_add(size);
        }
    };
    ctx.zones.quarantine.bucket().visit(&prefix, each).await?;
    Ok(match applied.rules.no_room(held, coming) {
        Some(why) => Room::None(why),
        None if applied
            .rules
            .no_room(held.saturating_add(elsewhere), coming)
            .is_some() =>
        {
            Room::Later
        }
        None => Room::Enough,
    })
}
