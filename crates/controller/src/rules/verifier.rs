//! Verifies the rules, and keeps their epochs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::shipped::{File, Id, Shipped};
use super::store::Stored;
use super::{RulesError, live, probe};
use trevor_core::digest::Sha256Hex;
use trevor_core::epoch::{self, Began, Ended, Epoch};
use trevor_store::Records;

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What differs, for people; empty: the rules are in force.
    pub problems: Vec<String>,
    /// The epochs that are known, the current one open if it was verified.
    pub epochs: Vec<Epoch>,
    /// Whether anything was verified yet.
    pub verified: bool,
}

impl Report {
    /// Whether the rules are in force.
    #[must_use]
    pub fn live(&self) -> bool {
        self.verified && self.problems.is_empty()
    }

    /// The epoch in which something was made.
    #[must_use]
    pub fn epoch_of(&self, time: Timestamp) -> Option<i64> {
        epoch::of(&self.epochs, time)
    }

    /// Whether what is made now counts: the current epoch has settled.
    #[must_use]
    pub fn settled(&self, now: Timestamp) -> bool {
        let current = self.epochs.last().filter(|epoch| epoch.until.is_none());
        self.live() && current.is_some_and(|epoch| epoch.covers(now))
    }

    /// One line, for conditions.
    #[must_use]
    pub fn message(&self) -> String {
        if !self.verified {
            return "the admission rules were not verified yet".to_owned();
        }
        if self.problems.is_empty() {
            return "the admission rules are those of the chart".to_owned();
        }
        let shown: Vec<&str> = self.problems.iter().take(3).map(String::as_str).collect();
        let more = self.problems.len().saturating_sub(3);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        format!(
            "the admission rules are not those of the chart: {}{more}; a cluster admin restores them (helm upgrade)",
            shown.join("; ")
        )
    }
}

/// What is known between verifications; rebuilt after a restart.
#[derive(Default)]
struct Known {
    file: File,
    stored: Option<Stored>,
    term: Option<i64>,
    /// The last good verification: fingerprint and what the objects said.
    good: Option<(live::Fingerprint, Sha256Hex)>,
    started: Option<Instant>,
}

/// What is live against the file.
struct Compared {
    problems: Vec<String>,
    said: Sha256Hex,
    found: live::Fingerprint,
}

/// Verifies, one at a time.
pub struct Verifier {
    client: Client,
    namespace: String,
    /// uid of the cluster: epochs are kept by it.
    cluster: String,
    records: Records,
    file: Option<PathBuf>,
    known: Mutex<Known>,
    report: watch::Sender<Arc<Report>>,
}

impl Verifier {
    /// Of the rules in `file`; probes in `namespace`; keeps epochs of `cluster` in `records`.
    #[must_use]
    pub fn new(
        client: Client,
        (cluster, namespace): (&str, &str),
        records: Records,
        file: Option<PathBuf>,
    ) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            cluster: cluster.to_owned(),
            records,
            file,
            known: Mutex::default(),
            report: watch::Sender::default(),
        }
    }

    /// The last report.
    #[must_use]
    pub fn report(&self) -> Arc<Report> {
        self.report.borrow().clone()
    }

    /// Follows the reports; a report that says the same is not sent again.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<Arc<Report>> {
        self.report.subscribe()
    }

    /// A verification that started after this call. `term`: of the leader, who
    /// alone begins and ends epochs.
    ///
    /// # Errors
    /// When it cannot be told: what was known before stays known.
    pub async fn verify(&self, term: Option<i64>) -> Result<Arc<Report>, RulesError> {
        let asked = Instant::now();
        let mut known = self.known.lock().await;
        let fresh = known.started.is_some_and(|started| started >= asked);
        if fresh && (term.is_none() || term == known.term) {
            return Ok(self.report());
        }
        let started = Instant::now();
        let report = Arc::new(self.look(&mut known, term).await?);
        known.started = Some(started);
        self.report.send_if_modified(|last| {
            let other = *last != report;
            *last = Arc::clone(&report);
            other
        });
        Ok(report)
    }

    async fn look(&self, known: &mut Known, term: Option<i64>) -> Result<Report, RulesError> {
        let mut stored = match known.stored.take() {
            Some(stored) if term.is_some() && term == known.term => stored,
            _ => Stored::load(&self.records, &self.cluster).await?,
        };
        known.term = term;
        let Some(file) = &self.file else {
            return Ok(Report {
                problems: vec![
                    "configuration key identity.rules names no file to compare them with"
                        .to_owned(),
                ],
                epochs: stored.epochs(&BTreeMap::new(), false),
                verified: true,
            });
        };
        let shipped = known.file.read(file)?;
        let Compared {
            mut problems,
            said,
            found,
        } = self.compare(known, &stored, &shipped).await?;
        if problems.is_empty() {
            problems = probe::probe(&self.client, &self.namespace, &shipped.rules).await?;
        }
        if term.is_some() {
            self.keep(known, &mut stored, &found, &said, &problems)
                .await?;
        }
        let named = found.named();
        let verified = stored.current(&named).is_some();
        let epochs = stored.epochs(&named, problems.is_empty() && verified);
        if problems.is_empty() {
            known.good = Some((found, said));
        }
        known.stored = Some(stored);
        Ok(Report {
            problems,
            epochs,
            verified: true,
        })
    }

    /// Compares what is live with the file, or, while an upgrade is under way, with
    /// what the current epoch began with.
    async fn compare(
        &self,
        known: &Known,
        stored: &Stored,
        shipped: &Shipped,
    ) -> Result<Compared, RulesError> {
        let ids: BTreeSet<Id> = shipped.rules.0.keys().cloned().collect();
        if let Some((good, said)) = known
            .good
            .as_ref()
            .filter(|(_, said)| *said == shipped.digest)
        {
            let found = live::fingerprint(&self.client, &ids).await?;
            if good.objects == found.objects {
                return Ok(Compared {
                    problems: Vec::new(),
                    said: said.clone(),
                    found,
                });
            }
        }
        let (live, found) = live::rules(&self.client, &ids).await?;
        let said = live.digest();
        let upgrading = stored
            .current(&found.named())
            .is_some_and(|epoch| epoch.rules == said);
        let problems = if upgrading {
            Vec::new()
        } else {
            shipped.rules.differences(&live)
        };
        Ok(Compared {
            problems,
            said,
            found,
        })
    }

    /// Begins and ends epochs.
    async fn keep(
        &self,
        known: &Known,
        stored: &mut Stored,
        found: &live::Fingerprint,
        said: &Sha256Hex,
        problems: &[String],
    ) -> Result<(), RulesError> {
        let named = found.named();
        for (id, over) in stored.over(&named, !problems.is_empty()) {
            let because = problems.first().map_or_else(
                || "the rules were replaced".to_owned(),
                |problem| problem.chars().take(500).collect(),
            );
            let proved = known
                .good
                .as_ref()
                .filter(|(good, _)| good.named() == over.objects);
            let ended = Ended {
                sequence: over.sequence,
                until: proved.map_or(over.time, |(good, _)| good.time),
                noticed: Some(found.time),
                because,
            };
            stored.end(&self.records, id, ended).await?;
        }
        if !problems.is_empty() || stored.current(&named).is_some() {
            return Ok(());
        }
        let began = Began {
            sequence: stored.next(),
            rules: said.clone(),
            objects: named,
            // The server's clock is cut to the second; the epoch begins when that is over.
            time: found
                .time
                .checked_add(SignedDuration::from_secs(1))
                .unwrap_or(Timestamp::MAX),
        };
        if !stored.begin(&self.records, began).await? {
            *stored = Stored::load(&self.records, &self.cluster).await?;
        }
        Ok(())
    }
}
