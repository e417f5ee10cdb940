//! What is to be told of a look: stored in the outbox after the ledger has it and
//! before status shows it.
//!
//! Repeated: ids follow from the ledger's events and the stored facts, and entries are
//! create-only. A request at rest has all of its entries: its status is written after
//! them.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::super::context::Context;
use super::super::reconcile::Subject;
use super::super::status;
use super::record::record_name;
use super::renew::window_end;
use trevor_core::event::Event;
use trevor_core::keys::RequestKey;
use trevor_core::notice::{self, Kind, Lifetime, Notice};
use trevor_core::phase::{self, Facts, Round};
use trevor_core::policy::Rules;
use trevor_notify::Route;
use trevor_store::audit::Head;
use trevor_store::{StorageError, urls};

/// What follows from the events of a look. What somebody is told to be done must be
/// done: `done` says that the look came to its end.
pub fn told(
    key: &RequestKey,
    facts: &Facts,
    events: &BTreeMap<String, Event>,
    done: bool,
) -> Vec<Notice> {
    let mut notices = notice::of_events(&key.namespace, &key.uid, events.values());
    notices.retain(|notice| match notice.kind {
        // Its URL is there when it is closed.
        Kind::Released => facts.closed.is_some(),
        Kind::Revoked => done,
        _ => true,
    });
    notices
}

/// Stores what is to be told of a request.
pub async fn fill(
    ctx: &Context,
    subject: &Subject,
    facts: &Facts,
    mut notices: Vec<Notice>,
    head: Option<&Head>,
) -> Result<(), StorageError> {
    if ctx.outbox.is_off() || facts.owner.is_none() {
        return Ok(());
    }
    let key = &subject.key;
    let (phase, round) = phase::standing(facts, subject.wish());
    let late = status::limit_of(facts, phase).and_then(|limit| {
        let request = (key.namespace.as_str(), key.uid.as_str());
        notice::overdue(request, phase, round, limit, Timestamp::now())
    });
    notices.extend(late);
    let current = subject.policy.as_ref().ok().map(|applied| &applied.rules);
    let about = About {
        key,
        name: &subject.name,
        facts,
        head,
    };
    put(ctx, &about, current, notices).await
}

/// The same of a release whose request is gone.
pub async fn fill_alone(
    ctx: &Context,
    key: &RequestKey,
    facts: &Facts,
    notices: Vec<Notice>,
    head: Option<&Head>,
) -> Result<(), StorageError> {
    let about = About {
        key,
        name: facts.owner.as_ref().map_or("", |owner| &owner.name),
        facts,
        head,
    };
    put(ctx, &about, None, notices).await
}

/// A request that something is told about.
struct About<'a> {
    key: &'a RequestKey,
    name: &'a str,
    facts: &'a Facts,
    /// Of its ledger.
    head: Option<&'a Head>,
}

async fn put(
    ctx: &Context,
    about: &About<'_>,
    current: Option<&Rules>,
    mut notices: Vec<Notice>,
) -> Result<(), StorageError> {
    let About {
        key, name, facts, ..
    } = *about;
    let released = notices.iter().find(|n| n.kind == Kind::Released).cloned();
    if let Some(released) = released.filter(|_| facts.revoked.is_none())
        && !ctx.outbox.is_off()
        && let Some(life) = lifetime(ctx, key, facts).await?
    {
        notices.extend(notice::of_lifetime(&released, &life));
    }
    let route = Route {
        request: name.to_owned(),
        record: record_name(name, &key.uid),
        channels: current
            .or_else(|| sealed(facts))
            .and_then(|rules| rules.channels.clone()),
        recipients: recipients(facts, current),
        sequence: about.head.map_or(0, |head| head.sequence),
    };
    ctx.outbox.put(&ctx.zones, key, &route, notices).await?;
    if facts.closed.is_some() {
        ctx.outbox.forget(&key.uid);
    }
    Ok(())
}

fn sealed(facts: &Facts) -> Option<&Rules> {
    Some(&facts.last.as_ref()?.seal.as_ref()?.rules)
}

/// Whom the manifest names, as far as the policy let mail go there when the round was
/// sealed and lets it go there now.
fn recipients(facts: &Facts, current: Option<&Rules>) -> Vec<String> {
    let Some(frozen) = facts.last.as_ref().and_then(Round::frozen) else {
        return Vec::new();
    };
    let may = |address: &String| {
        let domain = address
            .rsplit('@')
            .next()
            .unwrap_or_default()
            .to_lowercase();
        let mut rules = sealed(facts).into_iter().chain(current);
        rules.all(|rules| rules.recipient_domains.contains(&domain))
    };
    let all = frozen.manifest.recipients.iter().cloned();
    all.filter(may).collect()
}

async fn lifetime(
    ctx: &Context,
    key: &RequestKey,
    facts: &Facts,
) -> Result<Option<Lifetime>, StorageError> {
    let (Some((_, terms)), Some(window_end)) = (facts.released(), window_end(facts)) else {
        return Ok(None);
    };
    let url = urls::issues(ctx.zones.quarantine.work(), key).await?.pop();
    Ok(Some(Lifetime {
        renewed: url.as_ref().is_some_and(|url| url.action.is_some()),
        url: url.map(|url| (url.issue, url.expires)),
        url_seconds: terms.url_ttl_seconds,
        window_end,
        window_seconds: terms.release_retention_seconds,
    }))
}
