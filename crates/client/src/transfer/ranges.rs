//! Which bytes of a file are there.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Ranges of bytes, sorted, none touching the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// Adds a range.
    pub(super) fn add(&mut self, new: Range<u64>) {
        if new.is_empty() {
            return;
        }
        let first = self.0.partition_point(|r| r.end < new.start);
        let after = self.0.partition_point(|r| r.start <= new.end);
        let mut merged = new;
        for old in self.0.get(first..after).unwrap_or_default() {
            merged = merged.start.min(old.start)..merged.end.max(old.end);
        }
        self.0.splice(first..after, [merged]);
    }

    /// Bytes in all of them.
    pub(super) fn bytes(&self) -> u64 {
        self.0.iter().map(|r| r.end - r.start).sum()
    }

    /// What is missing of `size` bytes, in pieces of at most `piece`.
    pub(super) fn missing(&self, size: u64, piece: u64) -> Vec<Range<u64>> {
        let mut missing = Vec::new();
        let mut at = 0;
        let end = size..size;
        for there in self.0.iter().chain([&end]) {
            while at < there.start.min(size) {
                let next = (at + piece).min(there.start).min(size);
                missing.push(at..next);
                at = next;
            }
            at = at.max(there.end);
        }
        missing
    }

    /// Whether they could come from a file of `size` bytes.
    pub(super) fn fits(&self, size: u64) -> bool {
        let sorted = self.0.windows(2).all(|w| match w {
            [a, b] => a.end < b.start,
            _ => true,
        });
        sorted && self.0.iter().all(|r| r.start < r.end && r.end <= size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_that_touch_become_one() {
        let mut ranges = Ranges::default();
        for range in [10..20, 30..40, 5..5, 20..30, 0..1] {
            ranges.add(range);
        }
        assert_eq!(ranges, Ranges(vec![0..1, 10..40]));
        assert_eq!(ranges.bytes(), 31);
        assert_eq!(ranges.missing(45, 4), [1..5, 5..9, 9..10, 40..44, 44..45]);
        assert!(ranges.fits(40) && !ranges.fits(39));
        assert!(!Ranges(vec![0..2, 1..3]).fits(10));
    }

    proptest! {
        #[test]
        fn there_and_missing_make_up_the_whole(
            added in prop::collection::vec((0_u64..100, 0_u64..30), 0..20),
            piece in 1_u64..40,
        ) {
            let mut ranges = Ranges::default();
            let mut bytes = [false; 130];
            for (start, length) in added {
                ranges.add(start..start + length);
                bytes[start as usize..(start + length) as usize].fill(true);
            }
            prop_assert!(ranges.fits(130));
            let mut missing = [false; 130];
            for range in ranges.missing(130, piece) {
                prop_assert!(range.end - range.start <= piece && !range.is_empty());
                missing[range.start as usize..range.end as usize].fill(true);
            }
            for at in 0..130 {
                prop_assert_eq!(bytes[at], !missing[at]);
            }
        }
    }
}
