//! Chains that were appended to since the last checkpoint.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::chain::Head;

/// The newest head of each chain that changed, by its prefix. A process that makes no
/// checkpoints keeps none.
#[derive(Debug, Default)]
pub struct Heads {
    kept: Option<Mutex<BTreeMap<String, Head>>>,
}

impl Heads {
    /// For a process that makes checkpoints.
    #[must_use]
    pub fn kept() -> Self {
        Self {
            kept: Some(Mutex::default()),
        }
    }

    /// A chain was appended to.
    pub fn changed(&self, prefix: &str, head: &Head) {
        let Some(kept) = &self.kept else { return };
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = kept
            .entry(prefix.to_owned())
            .or_insert_with(|| head.clone());
        if newest.sequence < head.sequence {
            *newest = head.clone();
        }
    }

    /// The first of those that changed, at most `limit`.
    #[must_use]
    pub fn waiting(&self, limit: usize) -> BTreeMap<String, Head> {
        let Some(kept) = &self.kept else {
            return BTreeMap::new();
        };
        let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let first = kept.iter().take(limit);
        first.map(|(p, h)| (p.clone(), h.clone())).collect()
    }

    /// A checkpoint has these: what is not newer waits no more.
    pub fn covered(&self, heads: &BTreeMap<String, Head>) {
        let Some(kept) = &self.kept else { return };
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        for (prefix, head) in heads {
            if kept
                .get(prefix)
                .is_some_and(|newest| newest.sequence <= head.sequence)
            {
                kept.remove(prefix);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trevor_core::digest::Sha256Hex;

    fn head(sequence: i64) -> Head {
        let hash = Sha256Hex::of(&sequence.to_be_bytes());
        Head { sequence, hash }
    }

    #[test]
    fn a_chain_waits_with_its_newest_head_until_a_checkpoint_has_that() {
        let heads = Heads::kept();
        heads.changed("a/", &head(2));
        heads.changed("a/", &head(1));
        heads.changed("b/", &head(1));
        assert_eq!(heads.waiting(9)["a/"], head(2));
        assert_eq!(heads.waiting(1).len(), 1);
        let seen = heads.waiting(9);
        heads.changed("b/", &head(2));
        heads.covered(&seen);
        assert_eq!(
            heads.waiting(9),
            BTreeMap::from([("b/".to_owned(), head(2))])
        );
        let none = Heads::default();
        none.changed("a/", &head(1));
        assert!(none.waiting(9).is_empty());
    }
}
