//! The memory of failures: how often a thing failed in a row, and until when it rests.
//! It is kept for each thing by itself, and only that thing's own success ends it: that
//! something else went well, or that a look at a request ended, says nothing about it.
//!
//! The memory may be lost at any time; then pauses start small again.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::context::{Context, held};
use super::error::EffectError;
use crate::spans::effect;
use trevor_core::retry::{ENDS_ACCESS, PASSING, Schedule};
use trevor_store::StorageError;

/// What can fail again and again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Thing {
    /// A step of a look, by its name.
    Effect(&'static str),
    /// A look as a whole: reading facts, taking up actions, writing the ledger, time.
    Look,
    /// Writing status.
    Status,
    /// Making, sending and verifying what crosses, by round.
    Release(i64),
    /// Taking files over from staging.
    Confirmation,
    /// Copying a package for a renewal, by uid of the action.
    Renewal(String),
    /// An action whose request is gone; by its own uid.
    Action,
    /// Sweeping what was revoked.
    Revocation,
    /// A loop of the leader, by its name.
    Loop(&'static str),
}

/// Things that are remembered. Beyond that the oldest are forgotten, which costs tries
/// and nothing else.
const REMEMBERED: usize = 20_000;

/// What is known of a thing that failed.
#[derive(Clone, Debug)]
struct Failing {
    failures: u32,
    until: Instant,
    why: Why,
}

/// Why a thing failed the last time, for status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Why {
    /// The condition's reason; empty where the thing has one of its own.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

type All = HashMap<String, HashMap<Thing, Failing>>;

/// Failures, by uid of the request (or the like) and thing.
#[derive(Debug, Default)]
pub struct Retries(Mutex<All>);

impl Retries {
    /// A thing failed, in a way that may pass by itself; gives the pause until it is
    /// tried again.
    pub fn failed(&self, uid: &str, thing: Thing) -> Duration {
        let schedule = match thing {
            Thing::Revocation | Thing::Action | Thing::Effect("revoke::revoke") => ENDS_ACCESS,
            _ => PASSING,
        };
        self.failed_for(uid, thing, schedule, Why::default())
    }

    /// A thing failed; gives the pause until it is tried again.
    pub fn failed_for(&self, uid: &str, thing: Thing, schedule: Schedule, why: Why) -> Duration {
        let mut all = held(&self.0);
        make_room(&mut all, uid);
        let things = all.entry(uid.to_owned()).or_default();
        let failures = things.get(&thing).map_or(0, |known| known.failures);
        let failures = failures.saturating_add(1);
        let pause = schedule.pause(failures, rand::random());
        let until = Instant::now() + pause;
        things.insert(
            thing,
            Failing {
                failures,
                until,
                why,
            },
        );
        pause
    }

    /// How long a thing still rests, and why; none: it may be tried.
    pub fn rests(&self, uid: &str, thing: &Thing) -> Option<(Duration, Why)> {
        let all = held(&self.0);
        let known = all.get(uid)?.get(thing)?;
        let left = known.until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then(|| (left, known.why.clone()))
    }

    /// Why a thing failed the last time, if it has not gone right since.
    pub fn why(&self, uid: &str, thing: &Thing) -> Option<Why> {
        let all = held(&self.0);
        Some(all.get(uid)?.get(thing)?.why.clone())
    }

    /// How often a thing has failed in a row.
    #[cfg(test)]
    pub fn failures(&self, uid: &str, thing: &Thing) -> u32 {
        let all = held(&self.0);
        let known = all.get(uid).and_then(|things| things.get(thing));
        known.map_or(0, |known| known.failures)
    }

    /// A thing went right: its pauses start small again. Nothing else is touched.
    pub fn succeeded(&self, uid: &str, thing: &Thing) {
        let mut all = held(&self.0);
        let Some(things) = all.get_mut(uid) else {
            return;
        };
        things.remove(thing);
        if things.is_empty() {
            all.remove(uid);
        }
    }

    /// The request is closed: what it took to get there does not matter any more.
    pub fn closed(&self, uid: &str) {
        if let Some(things) = held(&self.0).get_mut(uid) {
            things.retain(|thing, _| {
                !matches!(thing, Thing::Release(_) | Thing::Confirmation | Thing::Look)
            });
        }
    }

    /// Nothing of a request is to be done any more.
    pub fn forget(&self, uid: &str) {
        held(&self.0).remove(uid);
    }
}

/// Forgets what may be tried already, if there is too much.
fn make_room(all: &mut All, uid: &str) {
    if all.len() < REMEMBERED || all.contains_key(uid) {
        return;
    }
    let now = Instant::now();
    all.retain(|_, things| {
        things.retain(|_, known| known.until > now);
        !things.is_empty()
    });
    if all.len() >= REMEMBERED {
        all.clear();
    }
}

/// A step of a look that failed, or the look as a whole.
pub struct Broke {
    /// Why.
    pub error: EffectError,
    /// What.
    pub thing: Thing,
}

impl From<EffectError> for Broke {
    fn from(error: EffectError) -> Self {
        let thing = Thing::Look;
        Self { error, thing }
    }
}

impl From<StorageError> for Broke {
    fn from(error: StorageError) -> Self {
        EffectError::from(error).into()
    }
}

/// Takes a step of a look. That it went right ends the memory of its own failures.
pub async fn tried<T>(
    ctx: &Context,
    uid: &str,
    name: &'static str,
    work: impl Future<Output = Result<T, EffectError>>,
) -> Result<T, Broke> {
    let thing = Thing::Effect(name);
    match effect(name, work).await {
        Ok(done) => {
            ctx.retries.succeeded(uid, &thing);
            Ok(done)
        }
        Err(error) => Err(Broke { error, thing }),
    }
}

#[cfg(test)]
#[path = "retries_tests.rs"]
mod tests;
