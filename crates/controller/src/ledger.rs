//! The request's ledger: what is appended before a success is shown.

use std::collections::BTreeMap;

use jiff::Timestamp;
use trevor_core::commit::{Revoked, UrlDeleted};
use trevor_core::event::Event;
use trevor_core::keys::RequestKey;
use trevor_core::ledger;
pub use trevor_core::ledger::{
    events, in_order, of_actions, of_edits, of_idle, of_reviews, of_warning,
};
use trevor_core::phase::Facts;
use trevor_store::audit::Head;
use trevor_store::{StorageError, urls};

use super::context::Context;

/// The events of the URLs of a release, made and deleted, by id.
pub async fn of_urls(
    ctx: &Context,
    key: &RequestKey,
    revoked: Option<&Revoked>,
) -> Result<BTreeMap<String, Event>, StorageError> {
    let issues = urls::issues(ctx.zones.quarantine.work(), key).await?;
    let made: Vec<UrlDeleted> = issues.iter().map(|issue| issue.receipt()).collect();
    let mut deleted = Vec::new();
    if revoked.is_some() {
        let records = &ctx.zones.records;
        for at in records.list(&key.urls_deleted()).await? {
            deleted.extend(records.get(&at).await?);
        }
    }
    let now = Timestamp::now();
    Ok(ledger::of_urls(key, &made, &deleted, revoked, now))
}

/// Appends what the chain does not have.
pub async fn append(
    ctx: &Context,
    key: &RequestKey,
    facts: &Facts,
    events: BTreeMap<String, Event>,
) -> Result<Option<Head>, StorageError> {
    if facts.owner.is_none() {
        return Ok(None);
    }
    let records = &ctx.zones.records;
    let head = ctx.chain(key).append(records, in_order(events)).await?;
    Ok(Some(head))
}
