//! Since when the admission rules were proved to be in force, and until when.

use std::collections::BTreeMap;

use futures::TryStreamExt as _;
use jiff::Timestamp;

use super::source::{Source, SourceError};
use super::{Findings, Kind};
use trevor_core::epoch::{Began, Ended, Epoch, LONGEST_LOOK};

const PREFIX: &str = "audit/epochs/";

/// The cluster whose epoch it is, and its number. Epochs of before clusters were told apart
/// are of none.
type Id = (String, i64);

/// The epochs, by their number.
#[derive(Debug, Default)]
pub struct Epochs {
    epochs: BTreeMap<Id, Epoch>,
    /// When it was seen that an epoch is over.
    noticed: BTreeMap<Id, Timestamp>,
}

impl Epochs {
    /// Reads all of them: there are as many as the rules were changed.
    pub async fn load(source: &Source, findings: &mut Findings<'_>) -> Result<Self, SourceError> {
        let mut epochs: BTreeMap<Id, Epoch> = BTreeMap::new();
        // The end of an epoch sorts before its beginning.
        let mut ends: BTreeMap<Id, (String, Ended)> = BTreeMap::new();
        let mut objects = source.objects(PREFIX);
        while let Some((key, bytes)) = objects.try_next().await? {
            let bytes = bytes.unwrap_or_default();
            let rest = &key[PREFIX.len()..];
            let cluster = rest.split_once('/').map_or("", |(cluster, _)| cluster);
            if key.ends_with(".ended.json") {
                match serde_json::from_slice::<Ended>(&bytes) {
                    Ok(ended) => {
                        ends.insert((cluster.to_owned(), ended.sequence), (key, ended));
                    }
                    Err(_) => findings.add(Kind::Corrupt, &key, "is no end of an epoch"),
                }
            } else {
                match serde_json::from_slice::<Began>(&bytes) {
                    Ok(began) => {
                        let epoch = Epoch {
                            sequence: began.sequence,
                            began: began.time,
                            until: None,
                        };
                        epochs.insert((cluster.to_owned(), began.sequence), epoch);
                    }
                    Err(_) => findings.add(Kind::Corrupt, &key, "is no epoch"),
                }
            }
        }
        let mut noticed = BTreeMap::new();
        for (id, (key, ended)) in ends {
            match epochs.get_mut(&id) {
                Some(epoch) => epoch.until = Some(ended.until),
                None => findings.add(Kind::EntryMissing, &key, "ends an epoch that is not there"),
            }
            noticed.extend(ended.noticed.map(|time| (id, time)));
        }
        Ok(Self { epochs, noticed })
    }

    /// Whether a review that bears this time, and was counted in that epoch by a decision of
    /// that cluster, was made in it.
    pub fn cover(
        &self,
        cluster: &str,
        epoch: Option<i64>,
        time: Timestamp,
        decided: Timestamp,
    ) -> bool {
        let Some(sequence) = epoch else {
            return false;
        };
        [cluster, ""]
            .into_iter()
            .any(|cluster| self.covers(&(cluster.to_owned(), sequence), time, decided))
    }

    /// The end of an epoch is the last proof that whoever ended it knew of, in whole
    /// seconds. A decision is made after a proof of its own, which may be a later one: of
    /// the same second, or by a process that is gone.
    fn covers(&self, id: &Id, time: Timestamp, decided: Timestamp) -> bool {
        let Some(epoch) = self.epochs.get(id) else {
            return false;
        };
        let noticed = self.noticed.get(id);
        let before = noticed.is_some_and(|at| {
            at.checked_add(LONGEST_LOOK)
                .is_ok_and(|latest| decided <= latest)
        });
        let open = Epoch {
            until: None,
            ..*epoch
        };
        epoch.covers(time) || (before && open.covers(time))
    }
}
