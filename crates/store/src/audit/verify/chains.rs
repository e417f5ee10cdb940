//! The chains: each entry follows on the one before, and has the hash that the
//! checkpoints say.

use bytes::Bytes;
use futures::TryStreamExt as _;

use super::requests::Requests;
use super::source::{Source, SourceError};
use super::spool::{Sorted, Spool};
use super::{Findings, Kind};
use crate::audit::keeper::{GATEWAYS, REQUESTS, entry};
use crate::audit::{Head, checkpoint};
use trevor_core::canonical;
use trevor_core::digest::Sha256Hex;
use trevor_core::event::Entry;
use trevor_core::event::Event;

/// Events of one request that are compared with what is stored.
const EVENTS: usize = 20_000;

/// Goes through all entries; of each request, what is stored is compared with them.
pub async fn verify(
    source: &Source,
    heads: Spool,
    requests: &Requests<'_>,
    findings: &mut Findings<'_>,
) -> Result<(), SourceError> {
    let mut heads = heads.sorted()?;
    let mut current: Option<Walk> = None;
    // In the order of their keys, as the heads are.
    for prefix in [GATEWAYS, REQUESTS] {
        let mut objects = source.objects(prefix);
        while let Some((key, bytes)) = objects.try_next().await? {
            findings.looked_at_one();
            let Some((chain, sequence)) = entry(&key) else {
                findings.add(Kind::Unexpected, &key, "is no entry of the ledger");
                continue;
            };
            if current.as_ref().is_none_or(|walk| walk.chain != chain) {
                if let Some(done) = current.take() {
                    end(done, &mut heads, requests, findings).await?;
                }
                missing_before(Some(chain), &mut heads, findings)?;
                findings.summary.chains += 1;
                current = Some(Walk::new(chain));
            }
            if let Some(walk) = &mut current {
                walk.entry(
                    &key,
                    sequence,
                    &bytes.unwrap_or_default(),
                    &mut heads,
                    findings,
                )?;
            }
        }
    }
    if let Some(done) = current.take() {
        end(done, &mut heads, requests, findings).await?;
    }
    missing_before(None, &mut heads, findings)
}

/// One chain on the way.
struct Walk {
    chain: String,
    last: Head,
    covered: i64,
    events: Vec<Event>,
}

impl Walk {
    fn new(chain: &str) -> Self {
        Self {
            chain: chain.to_owned(),
            last: checkpoint::start(),
            covered: 0,
            events: Vec::new(),
        }
    }

    fn entry(
        &mut self,
        key: &str,
        sequence: i64,
        bytes: &Bytes,
        heads: &mut Sorted,
        findings: &mut Findings<'_>,
    ) -> Result<(), SourceError> {
        findings.summary.entries += 1;
        let hash = Sha256Hex::of(bytes);
        let wanted = self.last.sequence + 1;
        if sequence != wanted {
            let detail = format!("entries {wanted} to {} before it are missing", sequence - 1);
            findings.add(Kind::EntryMissing, key, &detail);
        }
        let parsed: Option<Entry> = serde_json::from_slice(bytes).ok();
        let parsed = parsed.filter(|_| canonical::is_canonical(bytes));
        match parsed {
            None => findings.add(Kind::Corrupt, key, "is no entry as the ledger writes them"),
            Some(found) => {
                if found.sequence != sequence {
                    let detail = format!("says that it is entry {}", found.sequence);
                    findings.add(Kind::OutOfOrder, key, &detail);
                } else if sequence == wanted && found.previous != self.last.hash {
                    findings.add(
                        Kind::EntryChanged,
                        key,
                        "does not follow on the entry before it as that is stored: one of them was changed",
                    );
                }
                if self.chain.starts_with(REQUESTS) && self.events.len() < EVENTS {
                    self.events.extend(found.events);
                }
            }
        }
        let chain = self.chain.as_str();
        while let Some(head) = heads.next_if(|h| h.chain == chain && h.sequence <= sequence)? {
            self.covered = self.covered.max(head.sequence);
            if head.sequence == sequence && head.hash != hash.as_str() {
                let detail = format!("is another than checkpoint {} has", head.checkpoint);
                findings.add(Kind::EntryChanged, key, &detail);
            }
        }
        self.last = Head { sequence, hash };
        Ok(())
    }
}

async fn end(
    walk: Walk,
    heads: &mut Sorted,
    requests: &Requests<'_>,
    findings: &mut Findings<'_>,
) -> Result<(), SourceError> {
    let chain = walk.chain.as_str();
    let mut beyond = None;
    while let Some(head) = heads.next_if(|h| h.chain == chain)? {
        beyond = Some(head);
    }
    if let Some(head) = beyond {
        let detail = format!(
            "ends with entry {}, and checkpoint {} has it up to {}: it was cut short",
            walk.last.sequence, head.checkpoint, head.sequence
        );
        findings.add(Kind::Truncated, chain, &detail);
    } else {
        let behind = u64::try_from(walk.last.sequence - walk.covered).unwrap_or(0);
        findings.summary.not_yet_covered += behind;
    }
    let named = chain
        .strip_prefix(REQUESTS)
        .and_then(|rest| rest.trim_end_matches('/').split_once('/'));
    if let Some((namespace, uid)) = named {
        requests
            .compare(
                (namespace, uid),
                (&walk.events, walk.last.sequence),
                findings,
            )
            .await?;
    }
    Ok(())
}

/// Chains that checkpoints have, and that are gone.
fn missing_before(
    chain: Option<&str>,
    heads: &mut Sorted,
    findings: &mut Findings<'_>,
) -> Result<(), SourceError> {
    let mut told = String::new();
    while let Some(head) = heads.next_if(|h| chain.is_none_or(|chain| h.chain.as_str() < chain))? {
        if told != head.chain {
            let detail = format!("is gone, and checkpoint {} has it", head.checkpoint);
            findings.add(Kind::Truncated, &head.chain, &detail);
            told = head.chain;
        }
    }
    Ok(())
}
