//! The current files of a round: those of the last frozen round, changed by the receipts of this
//! one.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use trevor_core::names;
use trevor_core::receipt::{self, Receipt};

/// The latest receipt of each path of a round, and the totals of the files.
#[derive(Debug)]
pub struct CurrentFiles {
    round: i64,
    carried_over: Arc<Vec<Receipt>>,
    latest: BTreeMap<String, Arc<Receipt>>,
    count: usize,
    bytes: u64,
}

impl CurrentFiles {
    /// The files of a round that starts with those of `carried_over`.
    #[must_use]
    pub fn new(round: i64, carried_over: Arc<Vec<Receipt>>) -> Self {
        let mut files = Self {
            round,
            carried_over: Arc::clone(&carried_over),
            latest: BTreeMap::new(),
            count: 0,
            bytes: 0,
        };
        for receipt in carried_over.iter() {
            files.apply(&names::folded(&receipt.path), &Arc::new(receipt.clone()));
        }
        files
    }

    /// The number of the round.
    #[must_use]
    pub fn round(&self) -> i64 {
        self.round
    }

    /// The number of files.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The total size of the files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The size of the file at a path.
    #[must_use]
    pub fn size_of(&self, folded: &str) -> Option<u64> {
        let content = self.latest.get(folded)?.content.as_ref()?;
        Some(content.size)
    }

    /// The latest receipt of a path, which may be a removal.
    #[must_use]
    pub fn latest(&self, folded: &str) -> Option<&Arc<Receipt>> {
        self.latest.get(folded)
    }

    /// The receipts of all files, by the rule that the freeze applies.
    #[must_use]
    pub fn receipts(&self) -> Vec<Receipt> {
        let receipts: Vec<Receipt> = self.latest.values().map(|r| r.as_ref().clone()).collect();
        receipt::standing(&self.carried_over, &receipts, self.round)
    }

    /// Applies a receipt of the round.
    pub fn apply(&mut self, folded: &str, receipt: &Arc<Receipt>) {
        let previous = self.latest.get(folded);
        if previous.is_some_and(|previous| previous.version >= receipt.version) {
            return;
        }
        if let Some(replaced) = previous.and_then(|previous| previous.content.as_ref()) {
            self.count -= 1;
            self.bytes = self.bytes.saturating_sub(replaced.size);
        }
        if let Some(new) = &receipt.content {
            self.count += 1;
            self.bytes = self.bytes.saturating_add(new.size);
        }
        self.latest.insert(folded.to_owned(), Arc::clone(receipt));
    }

    /// The path of a file, as it was spelled in its receipt.
    #[must_use]
    pub fn path_of(&self, folded: &str) -> Option<&str> {
        self.latest
            .get(folded)
            .filter(|r| r.content.is_some())
            .map(|r| r.path.as_str())
    }

    /// Any file below a folder.
    #[must_use]
    pub fn file_below(&self, folded: &str) -> Option<&str> {
        let folder = format!("{folded}/");
        self.latest
            .range::<str, _>((Bound::Included(folder.as_str()), Bound::Unbounded))
            .take_while(|(path, _)| path.starts_with(&folder))
            .find(|(_, r)| r.content.is_some())
            .map(|(_, r)| r.path.as_str())
    }
}
