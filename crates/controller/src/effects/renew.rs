//! A new URL within the download window (AirlockAction `Renew`).
//!
//! A URL carries the uid of the action that asked for it, so that a repetition finds
//! it. With `revokeOld` the package moves to a key of its own first: a pre-signed URL
//! ends only with the object that it names.
//!
//! Killed at any point: where the package goes is recorded before it is copied, the
//! copy is read back and hashed before a URL names it, and the old one is deleted
//! last, by the keys of earlier URLs alone.

use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;

use super::super::context::Context;
use super::super::current::ForRenewal;
use super::super::error::EffectError;
use super::super::retries::{Retries, Thing};
use super::close;
use super::record::{self, Crossed};
use super::url::{self, Life};
use trevor_api::AirlockRequest;
use trevor_core::action::ActionFact;
use trevor_core::commit::{Move, MoveFailure, PackageFact};
use trevor_core::keys::RequestKey;
use trevor_core::manifest::Frozen;
use trevor_core::phase::{Facts, Round};
use trevor_core::quorum::{Approved, approve};
use trevor_core::url_issue::UrlIssue;
use trevor_store::{Records, Release, StorageError, read_back, urls};

/// How far a renewal is.
#[derive(Clone, Debug)]
pub enum Renewed {
    /// The URL is there.
    Done(UrlIssue),
    /// The package is being copied.
    UnderWay,
    /// The download window is over.
    WindowOver,
    /// The copy is not the package.
    Failed(String),
}

/// Makes the URL that an action asks for, once it was read that nothing takes the release
/// back. A revocation by somebody else is seen at
/// the end: then the facts have it.
pub async fn renew(
    ctx: &Context,
    crossed: &Crossed,
    request: &str,
    facts: &mut Facts,
    (fact, now): (&ActionFact, ForRenewal),
) -> Result<Renewed, EffectError> {
    let work = ctx.zones.quarantine.work();
    let (all, made) = loop {
        let all = urls::issues(work, &crossed.key).await?;
        let known = all.iter().find(|i| i.action.as_deref() == Some(&fact.uid));
        if let Some(known) = known.cloned() {
            break (all, known);
        }
        match issue(ctx, crossed, request, facts, (fact, &now), &all).await? {
            Issued::Stored(made) => break (all, made),
            Issued::NotYet(renewed) => return Ok(renewed),
            // The package may be elsewhere by now: look again.
            Issued::Overtaken => {}
        }
    };
    // What an earlier look knew of later ones does not matter: only earlier ones go.
    if all.iter().all(|issue| issue.issue <= made.issue) {
        let created = url::make_secret(ctx, crossed, &made).await;
        if crossed.tolerate_going(created)?.is_some() {
            record::show_available(ctx, crossed, Some(&made)).await?;
        }
    }
    for earlier in all.iter().filter(|issue| issue.issue < made.issue) {
        url::delete_secret(ctx, crossed, &earlier.secret_name).await?;
    }
    if fact.revoke_old {
        let first = facts.released().map(|(package, _)| package.key.clone());
        let earlier = all.iter().filter(|issue| issue.issue < made.issue);
        let mut old: Vec<String> = earlier.filter_map(|i| i.key.clone()).chain(first).collect();
        old.retain(|key| Some(key) != made.key.as_ref());
        old.sort();
        old.dedup();
        ctx.release.delete(&old).await?;
    }
    facts.revoked = ctx.zones.records.get(&crossed.key.revoked()).await?;
    Ok(Renewed::Done(made))
}

enum Issued {
    Stored(UrlIssue),
    NotYet(Renewed),
    /// Another action has this number.
    Overtaken,
}

/// Stores the URL, or says why there is none yet.
async fn issue(
    ctx: &Context,
    crossed: &Crossed,
    request: &str,
    facts: &Facts,
    (fact, _): (&ActionFact, &ForRenewal),
    all: &[UrlIssue],
) -> Result<Issued, EffectError> {
    if let Some(later) = facts.later() {
        return Err(ctx.zones.records.too_late(later).into());
    }
    let over = Ok(Issued::NotYet(Renewed::WindowOver));
    let (Some((package, terms)), Some(until)) = (facts.released(), window_end(facts)) else {
        return over;
    };
    let mut package = package.clone();
    if let Some(key) = all.last().and_then(|issue| issue.key.clone()) {
        package.key = key;
    }
    if fact.revoke_old {
        if until <= Timestamp::now() {
            return over;
        }
        match moved(ctx, crossed, request, facts, fact, &package).await? {
            Ok(key) => package.key = key,
            Err(not_yet) => return Ok(Issued::NotYet(not_yet)),
        }
    }
    let life = Life {
        seconds: terms.url_ttl_seconds,
        until,
    };
    let Some(mut made) = url::sign(ctx, crossed, &package, life).await? else {
        return over;
    };
    ctx.claim()?;
    made.action = Some(fact.uid.clone());
    made.issue = all.last().map_or(0, |issue| issue.issue) + 1;
    let key = crossed.key.url(made.issue);
    let work = ctx.zones.quarantine.work();
    let standing = work.create(&key, &made).await?.into_inner();
    if standing.action == made.action {
        Ok(Issued::Stored(standing))
    } else {
        Ok(Issued::Overtaken)
    }
}

/// When the download window ends.
pub fn window_end(facts: &Facts) -> Option<Timestamp> {
    let (_, terms) = facts.released()?;
    Some(close::due(
        facts.released_time()?,
        terms.release_retention_seconds,
    ))
}

/// Where the package was moved to and verified; or that this is under way.
async fn moved(
    ctx: &Context,
    crossed: &Crossed,
    request: &str,
    facts: &Facts,
    fact: &ActionFact,
    package: &PackageFact,
) -> Result<Result<String, Renewed>, EffectError> {
    let records = &ctx.zones.records;
    let key = &crossed.key;
    if let Some(failed) = records.get(&key.move_failed(&fact.uid)).await? {
        return Ok(Err(Renewed::Failed(failed.message)));
    }
    let nonce = uuid::Uuid::new_v4().simple().to_string();
    let file = package.key.rsplit('/').next().unwrap_or("package.zip");
    let wanted = Move {
        action: fact.uid.clone(),
        key: key.release(&nonce, file),
    };
    let to = records.create(&key.moved(&fact.uid), &wanted).await?;
    let to = to.into_inner().key;
    if ctx.is_verified(&to) {
        return Ok(Ok(to));
    }
    let last = facts.last.as_ref();
    let approved = last
        .and_then(Round::frozen)
        .zip(last.and_then(|last| last.decision.as_ref()))
        .and_then(|(frozen, decision)| approve(frozen, decision).ok());
    let Some(approved) = approved else {
        return Ok(Err(Renewed::Failed(
            "the stored decision does not approve what is released; look at the records bucket"
                .to_owned(),
        )));
    };
    let work = Copying {
        release: ctx.release.clone(),
        records: records.clone(),
        key: key.clone(),
        action: fact.uid.clone(),
        approved,
        package: package.clone(),
        to: to.clone(),
        retries: std::sync::Arc::clone(&ctx.retries),
    };
    let (queue, strays, verified) = (
        ctx.queue.clone(),
        std::sync::Arc::clone(&ctx.strays),
        std::sync::Arc::clone(&ctx.verified),
    );
    let target = ObjectRef::<AirlockRequest>::new(request).within(&key.namespace);
    ctx.in_background(&format!("move-{}", fact.uid), async move {
        if work.until_done().await {
            verified
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .insert(to);
        }
        // Whoever asked looks again: the request, or its record where that is gone.
        queue.add(target);
        strays.notify_one();
    });
    Ok(Err(Renewed::UnderWay))
}

/// Copies a package and reads the copy back.
struct Copying {
    release: Release,
    records: Records,
    key: RequestKey,
    action: String,
    approved: Approved<Frozen>,
    package: PackageFact,
    to: String,
    retries: std::sync::Arc<Retries>,
}

impl Copying {
    /// Goes on until the copy is verified (true), or there will be none.
    async fn until_done(&self) -> bool {
        let uid = self.key.uid.as_str();
        loop {
            let thing = Thing::Renewal(self.action.clone());
            match self.once().await {
                Ok(done) => {
                    self.retries.succeeded(uid, &thing);
                    return done;
                }
                Err(error) => {
                    let gone = matches!(error, StorageError::NotFound { .. });
                    let pause = self.retries.failed(uid, thing);
                    tracing::warn!(
                        uid, %error, pause_seconds = pause.as_secs(),
                        "the package was not moved; it is tried again"
                    );
                    tokio::time::sleep(pause).await;
                    if gone {
                        // It was moved by another action, or deleted: whoever asked
                        // looks again.
                        return false;
                    }
                }
            }
        }
    }

    async fn once(&self) -> Result<bool, StorageError> {
        if self.records.exists(&self.key.revoked()).await? {
            return Ok(false);
        }
        let size = self.package.size;
        let there = match self.release.head(&self.to).await {
            Ok(stored) => stored.size == size,
            Err(StorageError::NotFound { .. }) => false,
            Err(error) => return Err(error),
        };
        if !there {
            self.release
                .copy(&self.approved, &self.package, &self.to)
                .await?;
        }
        let found = read_back(&self.release, &self.to, size, || ()).await?;
        if found.as_ref() == Some(&self.package.sha256) {
            return Ok(true);
        }
        self.release.delete(std::slice::from_ref(&self.to)).await?;
        let failure = MoveFailure {
            message: "the stored package is not what was released; revoke it, and look at the release server".to_owned(),
            time: trevor_api::condition::second(Timestamp::now()),
        };
        let at = self.key.move_failed(&self.action);
        self.records.create(&at, &failure).await?;
        Ok(false)
    }
}
