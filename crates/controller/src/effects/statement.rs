//! The signed statement of a release, stored beside its record.
//!
//! Repeated: create-only, and signatures follow from what they are over. Without a
//! signing key there is none.

use super::super::context::Context;
use super::super::error::EffectError;
use super::record::Crossed;
use trevor_core::canonical;
use trevor_core::phase::Facts;
use trevor_store::StorageError;
use trevor_store::audit::dsse;
use trevor_store::audit::statement::Statement;

/// Stores the statement of a package that crossed.
pub async fn keep(ctx: &Context, crossed: &Crossed, facts: &Facts) -> Result<(), EffectError> {
    let Some(signing) = &ctx.signing else {
        return Ok(());
    };
    let last = facts.last.as_ref();
    let statement = last.and_then(|last| {
        let (decision, outcome) = (last.decision.as_ref()?, last.outcome.as_ref()?);
        let package = outcome.package.as_ref()?;
        let key = &crossed.key;
        Statement::of(&key.namespace, &key.uid, decision, package, outcome.time)
    });
    let Some(statement) = statement else {
        return Ok(());
    };
    let (records, at) = (&ctx.zones.records, crossed.key.statement());
    let payload = canonical::to_vec(&statement).map_err(|error| StorageError::Corrupt {
        bucket: records.name().to_owned(),
        key: at.to_string(),
        problem: error.to_string(),
    })?;
    let envelope = dsse::sign(&payload, signing);
    Ok(records.create_unread(&at, &envelope).await?)
}

/// The statement as stored, to be delivered with a URL.
pub async fn stored(ctx: &Context, crossed: &Crossed) -> Result<Option<String>, EffectError> {
    let at = crossed.key.statement();
    let stored = ctx.zones.records.get_bytes(&at).await?;
    Ok(stored.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}
