//! Epochs as they are kept: two create-only objects each, under `audit/epochs/<cluster>/`.
//!
//! A bucket may be used by more than one cluster: each keeps epochs of its own, and none
//! ends those of another. Versions up to the first format kept them without the cluster,
//! directly under `audit/epochs/`: these are still read, and one that goes on is this
//! cluster's if any object of it is: definitions keep their uid when a chart is installed
//! again.

use std::collections::{BTreeMap, BTreeSet};

use trevor_core::epoch::{Began, Ended, Epoch};
use trevor_core::keys::{epoch_began, epoch_ended, epochs, epochs_began, epochs_ended};
use trevor_core::object_key::FactKey;
use trevor_store::{Records, StorageError};

/// An epoch by its sequence, and whether it is kept under its cluster.
type Id = (i64, bool);

/// uid and generation of each object, by kind and name.
type Marks = BTreeMap<String, String>;

/// What is stored.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// uid of the cluster.
    cluster: String,
    began: BTreeMap<Id, Began>,
    ended: BTreeMap<Id, Ended>,
    /// Those that cannot be read.
    lost: BTreeSet<Id>,
}

impl Stored {
    /// Reads the epochs of a cluster. One that cannot be read counts for nothing, and what
    /// follows it is numbered behind it; what does not belong here is passed over.
    pub async fn load(records: &Records, cluster: &str) -> Result<Self, StorageError> {
        let mut stored = Self {
            cluster: cluster.to_owned(),
            ..Self::default()
        };
        let (begins, ends) = (epochs_began(), epochs_ended());
        for listed in records.list(&epochs()).await? {
            let Some((id, _)) = stored.name(&listed) else {
                continue;
            };
            let found = match (ends.key_of(&listed), begins.key_of(&listed)) {
                (Some(at), _) => records.get_known(&at).await.map(|ended| {
                    stored.ended.extend(ended.map(|ended| (id, ended)));
                }),
                (None, Some(at)) => records.get_known(&at).await.map(|began| {
                    stored.began.extend(began.map(|began| (id, began)));
                }),
                (None, None) => continue,
            };
            match found {
                Ok(()) => {}
                Err(StorageError::Corrupt { problem, .. }) => {
                    tracing::error!(
                        key = %listed,
                        problem,
                        "an epoch is lost: what was made in it counts no more"
                    );
                    stored.lost.insert(id);
                }
                Err(error) => return Err(error),
            }
        }
        for id in &stored.lost {
            stored.began.remove(id);
            stored.ended.remove(id);
        }
        Ok(stored)
    }

    /// Which epoch of this cluster, or of before clusters were told apart, a key is of, and
    /// whether it is its end.
    fn name(&self, key: &str) -> Option<(Id, bool)> {
        let rest = key.strip_prefix(&*epochs())?;
        let (own, name) = match rest.split_once('/') {
            Some((cluster, name)) if cluster == self.cluster => (true, name),
            // Another cluster's.
            Some(_) => return None,
            None => (false, rest),
        };
        let Some(sequence) = name.split('.').next().and_then(|n| n.parse().ok()) else {
            tracing::warn!(key, "is no epoch");
            return None;
        };
        Some(((sequence, own), name.ends_with(".ended.json")))
    }

    fn began_at(&self, (sequence, own): Id) -> FactKey<Began> {
        epoch_began(own.then_some(self.cluster.as_str()), sequence)
    }

    fn ended_at(&self, (sequence, own): Id) -> FactKey<Ended> {
        epoch_ended(own.then_some(self.cluster.as_str()), sequence)
    }

    /// Epochs of this cluster that did not end, with these objects at hand.
    fn open<'a, 'b>(
        &'a self,
        now: &'b Marks,
    ) -> impl Iterator<Item = (Id, &'a Began)> + use<'a, 'b> {
        let ours = move |(id, began): &(&Id, &Began)| {
            !self.ended.contains_key(*id) && (id.1 || shares(&began.objects, now))
        };
        self.began
            .iter()
            .filter(ours)
            .map(|(id, began)| (*id, began))
    }

    /// The epoch that goes on, if the objects are still these.
    pub fn current(&self, now: &Marks) -> Option<&Began> {
        let current = self.open(now).find(|(_, began)| began.objects == *now);
        current.map(|(_, began)| began)
    }

    /// Those that are over: the objects are no longer those that they began with, or
    /// (`all`) they are not what the chart has.
    pub fn over(&self, now: &Marks, all: bool) -> Vec<(Id, Began)> {
        self.open(now)
            .filter(|(_, began)| all || began.objects != *now)
            .map(|(id, began)| (id, began.clone()))
            .collect()
    }

    /// Ends an epoch; who ends it second adopts the first.
    pub async fn end(
        &mut self,
        records: &Records,
        id: Id,
        ended: Ended,
    ) -> Result<(), StorageError> {
        let ended = records.create(&self.ended_at(id), &ended).await?;
        let ended = ended.into_inner();
        self.ended.insert(id, ended);
        Ok(())
    }

    /// Begins the next epoch; false: another process did first.
    pub async fn begin(&mut self, records: &Records, began: Began) -> Result<bool, StorageError> {
        let id = (began.sequence, true);
        let stored = records.create(&self.began_at(id), &began).await?;
        let stored = stored.into_inner();
        let ours = stored == began;
        self.began.insert(id, stored);
        Ok(ours)
    }

    /// The next sequence.
    pub fn next(&self) -> i64 {
        let all = self.began.keys().chain(&self.lost).chain(self.ended.keys());
        all.map(|(sequence, _)| *sequence).max().unwrap_or(0) + 1
    }

    /// As the quorum asks for them; the one that goes on is open only while `verified`, with
    /// these objects.
    ///
    /// One of before clusters were told apart counts for what was made before this cluster
    /// kept its own, and after that only if it is known to be this cluster's.
    pub fn epochs(&self, now: &Marks, verified: bool) -> Vec<Epoch> {
        let mut own = self.began.iter().filter(|(id, _)| id.1);
        let first = own.next().map(|(_, began)| began.time);
        let epoch = |(id, began): (&Id, &Began)| {
            let ended = self.ended.get(id).map(|ended| ended.until);
            let goes_on = verified && began.objects == *now;
            let until = match ended {
                Some(until) => Some(until),
                None if goes_on => None,
                None => return None,
            };
            let ours = id.1 || shares(&began.objects, now);
            Some(Epoch {
                sequence: began.sequence,
                began: began.time,
                until: match (ours, first) {
                    (false, Some(first)) => Some(until.map_or(first, |until| until.min(first))),
                    _ => until,
                },
            })
        };
        self.began.iter().filter_map(epoch).collect()
    }
}

/// Whether two states of the rules have an object in common, whatever became of it.
fn shares(before: &Marks, now: &Marks) -> bool {
    let uid = |mark: &str| mark.split('@').next().unwrap_or_default().to_owned();
    let same = |(name, mark): (&String, &String)| {
        let uid_now = now.get(name).map(|mark| uid(mark));
        uid_now.is_some_and(|now| !now.is_empty() && now == uid(mark))
    };
    before.iter().any(same)
}

#[cfg(test)]
mod tests {
    use super::*;
    use trevor_core::digest::Sha256Hex;

    fn marks(all: &[(&str, &str)]) -> Marks {
        let owned = |(name, mark): &(&str, &str)| ((*name).to_owned(), (*mark).to_owned());
        all.iter().map(owned).collect()
    }

    fn at(second: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(second).unwrap()
    }

    fn began(sequence: i64, second: i64, objects: &Marks) -> Began {
        Began {
            sequence,
            rules: Sha256Hex::of(b"rules"),
            objects: objects.clone(),
            time: at(second),
        }
    }

    fn ended(sequence: i64, second: i64) -> Ended {
        Ended {
            sequence,
            until: at(second),
            noticed: None,
            because: String::new(),
        }
    }

    fn stored(all: &[(Id, Began)]) -> Stored {
        Stored {
            cluster: "c".into(),
            began: all.iter().cloned().collect(),
            ..Stored::default()
        }
    }

    #[test]
    fn a_key_is_an_epoch_of_this_cluster_of_no_cluster_or_of_another() {
        let stored = stored(&[]);
        for (key, found) in [
            (
                "audit/epochs/00000000000000000007.json",
                Some(((7, false), false)),
            ),
            (
                "audit/epochs/00000000000000000007.ended.json",
                Some(((7, false), true)),
            ),
            (
                "audit/epochs/c/00000000000000000007.json",
                Some(((7, true), false)),
            ),
            (
                "audit/epochs/c/00000000000000000007.ended.json",
                Some(((7, true), true)),
            ),
            ("audit/epochs/d/00000000000000000007.json", None),
            ("audit/epochs/x.json", None),
        ] {
            assert_eq!(stored.name(key), found, "{key}");
            if let Some((id, end)) = found {
                let at = match end {
                    true => stored.ended_at(id).to_string(),
                    false => stored.began_at(id).to_string(),
                };
                assert_eq!(at, key);
            }
        }
    }

    #[test]
    fn an_epoch_of_old_goes_on_if_it_is_ours_and_is_left_alone_if_it_is_another_clusters() {
        let then = marks(&[("crd", "u1@1"), ("policy", "u2@1")]);
        let stored = stored(&[((1, false), began(1, 10, &then))]);
        assert!(stored.current(&then).is_some());
        assert_eq!(stored.over(&then, false), []);
        assert_eq!(stored.epochs(&then, true).len(), 1);
        assert_eq!(stored.epochs(&then, false).len(), 0);
        // Changed, and still ours: it is over.
        let changed = marks(&[("crd", "u1@2"), ("policy", "u3@1")]);
        assert!(stored.current(&changed).is_none());
        assert_eq!(stored.over(&changed, false).len(), 1);
        // Another cluster's: nothing of it is the same.
        let others = marks(&[("crd", "v1@1"), ("policy", "v2@1")]);
        assert!(stored.current(&others).is_none());
        assert_eq!(stored.over(&others, true), []);
        assert_eq!(stored.epochs(&others, true), []);
        assert_eq!(stored.next(), 2);
    }

    #[test]
    fn our_own_epochs_end_when_the_objects_change_or_are_not_the_charts() {
        let then = marks(&[("crd", "u1@1")]);
        let stored = stored(&[((4, true), began(4, 10, &then))]);
        assert_eq!(stored.over(&then, false), []);
        assert_eq!(stored.over(&then, true).len(), 1);
        let all_new = marks(&[("crd", "v1@1")]);
        assert_eq!(stored.over(&all_new, false).len(), 1);
        assert_eq!(stored.next(), 5);
    }

    #[test]
    fn what_another_cluster_ended_counts_only_for_what_was_made_before_we_kept_our_own() {
        let (theirs, ours) = (marks(&[("crd", "v1@1")]), marks(&[("crd", "u1@1")]));
        let mut stored = stored(&[
            ((1, false), began(1, 10, &theirs)),
            ((2, false), began(2, 20, &ours)),
            ((3, true), began(3, 40, &ours)),
        ]);
        stored.ended.insert((1, false), ended(1, 90));
        stored.ended.insert((2, false), ended(2, 60));
        let until: Vec<_> = stored
            .epochs(&ours, true)
            .into_iter()
            .map(|epoch| (epoch.sequence, epoch.until.map(|at| at.as_second())))
            .collect();
        assert_eq!(until, [(1, Some(40)), (2, Some(60)), (3, None)]);
    }
}
