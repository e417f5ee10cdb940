//! What became of earlier rounds, as rounds that look back ask for it. Most of it never
//! changes once it is stored, so that it is remembered: a path that a project releases
//! every week is read once, and not each week again.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use kube::runtime::reflector::{ObjectRef, Store};
use lru::LruCache;

use super::context::held;
use trevor_api::{AirlockRequest, Phase, PriorDecision};
use trevor_core::keys::RequestKey;
use trevor_core::object_key::FactKey;
use trevor_core::seen::{Sighting, became};
use trevor_store::{Records, StorageError};

/// Sightings and fates that are remembered; about 500 bytes each.
const REMEMBERED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);

/// What became of a round, and who said so.
pub type Fate = (PriorDecision, Vec<String>);

/// The round that a sighting is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sighted {
    namespace: String,
    name: String,
    uid: String,
    round: i64,
}

impl Sighted {
    /// Of a sighting.
    pub fn of(sighting: &Arc<Sighting>) -> Self {
        Self {
            namespace: sighting.namespace.clone(),
            name: sighting.name.clone(),
            uid: sighting.uid.clone(),
            round: sighting.round,
        }
    }
}

/// The memory.
pub struct Past {
    requests: Store<AirlockRequest>,
    sightings: Mutex<LruCache<String, Arc<Sighting>>>,
    fates: Mutex<LruCache<Sighted, Fate>>,
}

impl Past {
    /// Without a memory yet, beside the requests as watched.
    pub fn new(requests: Store<AirlockRequest>) -> Self {
        Self {
            requests,
            sightings: Mutex::new(LruCache::new(REMEMBERED)),
            fates: Mutex::new(LruCache::new(REMEMBERED)),
        }
    }

    /// An entry of the index, if it is there.
    pub async fn sighting(
        &self,
        records: &Records,
        key: &FactKey<Sighting>,
    ) -> Result<Option<Arc<Sighting>>, StorageError> {
        if let Some(known) = held(&self.sightings).get(key.as_str()) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some(found) = records.get(key).await? else {
            return Ok(None);
        };
        let found = Arc::new(found);
        held(&self.sightings).put(key.to_string(), Arc::clone(&found));
        Ok(Some(found))
    }

    /// What became of an earlier round.
    pub async fn fate(&self, records: &Records, round: &Sighted) -> Result<Fate, StorageError> {
        let known = held(&self.fates).get(round).cloned();
        if let Some(known) = known.filter(|(decision, _)| self.stands(*decision, round)) {
            return Ok(known);
        }
        let key = RequestKey {
            namespace: round.namespace.clone(),
            uid: round.uid.clone(),
        };
        let (owner, revoked) = (key.owner(), key.revoked());
        let (decision, outcome) = (key.decision(round.round), key.outcome(round.round));
        let (decision, outcome, owner, revoked) = tokio::try_join!(
            records.get(&decision),
            records.get(&outcome),
            records.get(&owner),
            records.get(&revoked)
        )?;
        let submitter = owner.map(|o| o.submitter).unwrap_or_default();
        let by = revoked.as_ref().map(|r| r.by.as_str());
        let fate = became(decision.as_ref(), outcome.as_ref(), &submitter, by);
        held(&self.fates).put(round.clone(), fate.clone());
        Ok(fate)
    }

    /// Whether what was remembered is so still: a release can be revoked, and the
    /// request shows it.
    fn stands(&self, decision: PriorDecision, round: &Sighted) -> bool {
        match decision {
            // A later round of the request may be released, and revoked.
            PriorDecision::InReview | PriorDecision::Approved | PriorDecision::Returned => false,
            PriorDecision::Released => {
                let named = ObjectRef::new(&round.name).within(&round.namespace);
                self.requests.get(&named).is_some_and(|request| {
                    let phase = request.status.as_ref().and_then(|status| status.phase);
                    request.metadata.uid.as_deref() == Some(&round.uid)
                        && phase == Some(Phase::Released)
                })
            }
            PriorDecision::Rejected | PriorDecision::Revoked | PriorDecision::Withdrawn => true,
        }
    }
}
