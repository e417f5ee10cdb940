//! What stands in a round, kept up to date receipt by receipt.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use trevor_core::names;
use trevor_core::receipt::{self, Receipt};

/// One round: what the last freeze listed, overlaid by the round's receipts.
#[derive(Debug)]
pub struct Overlay {
    round: i64,
    carried: Arc<Vec<Receipt>>,
    latest: BTreeMap<String, Arc<Receipt>>,
    standing: usize,
    bytes: u64,
}

impl Overlay {
    /// A round that starts from `carried`.
    #[must_use]
    pub fn new(round: i64, carried: Arc<Vec<Receipt>>) -> Self {
        let mut overlay = Self {
            round,
            carried: Arc::clone(&carried),
            latest: BTreeMap::new(),
            standing: 0,
            bytes: 0,
        };
        for receipt in carried.iter() {
            overlay.absorb(&names::folded(&receipt.path), &Arc::new(receipt.clone()));
        }
        overlay
    }

    /// Which round.
    #[must_use]
    pub fn round(&self) -> i64 {
        self.round
    }

    /// How many files stand.
    #[must_use]
    pub fn count(&self) -> usize {
        self.standing
    }

    /// Their bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of a path that stands.
    #[must_use]
    pub fn size_of(&self, folded: &str) -> Option<u64> {
        let content = self.latest.get(folded)?.content.as_ref()?;
        Some(content.size)
    }

    /// The latest word on a path, a removal included.
    #[must_use]
    pub fn latest(&self, folded: &str) -> Option<&Arc<Receipt>> {
        self.latest.get(folded)
    }

    /// What stands, by the rule that the freeze uses.
    #[must_use]
    pub fn standing(&self) -> Vec<Receipt> {
        let receipts: Vec<Receipt> = self.latest.values().map(|r| r.as_ref().clone()).collect();
        receipt::standing(&self.carried, &receipts, self.round)
    }

    /// Adds a receipt of the round.
    pub fn absorb(&mut self, folded: &str, receipt: &Arc<Receipt>) {
        let held = self.latest.get(folded);
        if held.is_some_and(|held| held.version >= receipt.version) {
            return;
        }
        if let Some(gone) = held.and_then(|held| held.content.as_ref()) {
            self.standing -= 1;
            self.bytes = self.bytes.saturating_sub(gone.size);
        }
        if let Some(new) = &receipt.content {
            self.standing += 1;
            self.bytes = self.bytes.saturating_add(new.size);
        }
        self.latest.insert(folded.to_owned(), Arc::clone(receipt));
    }

    /// The spelling of a path that stands.
    #[must_use]
    pub fn stands(&self, folded: &str) -> Option<&str> {
        self.latest
            .get(folded)
            .filter(|r| r.content.is_some())
            .map(|r| r.path.as_str())
    }

    /// A file that stands beneath a folder.
    #[must_use]
    pub fn beneath(&self, folded: &str) -> Option<&str> {
        let folder = format!("{folded}/");
        self.latest
            .range::<str, _>((Bound::Included(folder.as_str()), Bound::Unbounded))
            .take_while(|(path, _)| path.starts_with(&folder))
            .find(|(_, r)| r.content.is_some())
            .map(|(_, r)| r.path.as_str())
    }
}
