//! Since when the admission rules were proved to be in force, and until when.

use std::collections::BTreeMap;

use futures::TryStreamExt as _;
use jiff::Timestamp;

use super::source::{Source, SourceError};
use super::{Findings, Kind};
use crate::domain::epoch::{Began, Ended, Epoch};

const PREFIX: &str = "audit/epochs/";

/// The epochs, by their number.
#[derive(Debug, Default)]
pub struct Epochs(BTreeMap<i64, Epoch>);

impl Epochs {
    /// Reads all of them: there are as many as the rules were changed.
    pub async fn load(source: &Source, findings: &mut Findings<'_>) -> Result<Self, SourceError> {
        let mut epochs: BTreeMap<i64, Epoch> = BTreeMap::new();
        // The end of an epoch sorts before its beginning.
        let mut ends: BTreeMap<i64, (String, Timestamp)> = BTreeMap::new();
        let mut objects = source.objects(PREFIX);
        while let Some((key, bytes)) = objects.try_next().await? {
            let bytes = bytes.unwrap_or_default();
            if key.ends_with(".ended.json") {
                match serde_json::from_slice::<Ended>(&bytes) {
                    Ok(ended) => drop(ends.insert(ended.sequence, (key, ended.until))),
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
                        epochs.insert(began.sequence, epoch);
                    }
                    Err(_) => findings.add(Kind::Corrupt, &key, "is no epoch"),
                }
            }
        }
        for (sequence, (key, until)) in ends {
            match epochs.get_mut(&sequence) {
                Some(epoch) => epoch.until = Some(until),
                None => findings.add(Kind::EntryMissing, &key, "ends an epoch that is not there"),
            }
        }
        Ok(Self(epochs))
    }

    /// Whether what bears this time was made in that epoch.
    pub fn cover(&self, epoch: Option<i64>, time: Timestamp) -> bool {
        let epoch = epoch.and_then(|epoch| self.0.get(&epoch));
        epoch.is_some_and(|epoch| epoch.covers(time))
    }
}
