//! The heads of all checkpoints, sorted by chain: in memory up to a size, beyond that
//! in temporary files, so that a ledger of any length is verified in bounded memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Lines, Seek as _, Write as _};

use super::source::{SourceError, failed};
use crate::audit::Head;

/// Heads in memory at once.
const MOST: usize = 100_000;

/// One head of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Covered {
    /// The chain's prefix.
    pub chain: String,
    /// The entry.
    pub sequence: i64,
    /// Its hash.
    pub hash: String,
    /// The checkpoint that says so.
    pub checkpoint: i64,
}

/// Takes heads in any order.
#[derive(Default)]
pub struct Spool {
    run: Vec<Covered>,
    files: Vec<File>,
}

/// Gives them in order.
pub struct Sorted {
    runs: Vec<Run>,
    /// The next of each run.
    next: BinaryHeap<Reverse<(Covered, usize)>>,
}

enum Run {
    Memory(std::vec::IntoIter<Covered>),
    File(Lines<BufReader<File>>),
}

impl Spool {
    /// Takes one.
    ///
    /// # Errors
    /// When a temporary file cannot be written.
    pub fn push(&mut self, chain: &str, head: &Head, checkpoint: i64) -> Result<(), SourceError> {
        self.run.push(Covered {
            chain: chain.to_owned(),
            sequence: head.sequence,
            hash: head.hash.to_string(),
            checkpoint,
        });
        if self.run.len() >= MOST {
            self.spill().map_err(temporary)?;
        }
        Ok(())
    }

    fn spill(&mut self) -> std::io::Result<()> {
        self.run.sort_unstable();
        let mut out = BufWriter::new(tempfile::tempfile()?);
        for head in self.run.drain(..) {
            // A chain's prefix could hold anything in a ledger that was tampered with.
            let chain = serde_json::to_string(&head.chain)?;
            writeln!(
                out,
                "{} {} {} {chain}",
                head.sequence, head.checkpoint, head.hash
            )?;
        }
        let mut file = out
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)?;
        file.rewind()?;
        self.files.push(file);
        Ok(())
    }

    /// All of them, in order.
    ///
    /// # Errors
    /// When a temporary file cannot be read.
    pub fn sorted(mut self) -> Result<Sorted, SourceError> {
        self.run.sort_unstable();
        let mut runs = vec![Run::Memory(self.run.into_iter())];
        runs.extend(
            self.files
                .into_iter()
                .map(|file| Run::File(BufReader::new(file).lines())),
        );
        let mut sorted = Sorted {
            next: BinaryHeap::new(),
            runs,
        };
        for run in 0..sorted.runs.len() {
            let first = sorted.runs[run].next().map_err(temporary)?;
            sorted.next.extend(first.map(|head| Reverse((head, run))));
        }
        Ok(sorted)
    }
}

impl Run {
    fn next(&mut self) -> std::io::Result<Option<Covered>> {
        match self {
            Self::Memory(heads) => Ok(heads.next()),
            Self::File(lines) => lines.next().transpose().map(|line| parse(&line?)),
        }
    }
}

fn parse(line: &str) -> Option<Covered> {
    let mut words = line.splitn(4, ' ');
    Some(Covered {
        sequence: words.next()?.parse().ok()?,
        checkpoint: words.next()?.parse().ok()?,
        hash: words.next()?.to_owned(),
        chain: serde_json::from_str(words.next()?).ok()?,
    })
}

impl Sorted {
    /// Takes the next, if it is as wanted.
    ///
    /// # Errors
    /// When a temporary file cannot be read.
    pub fn next_if(
        &mut self,
        wanted: impl FnOnce(&Covered) -> bool,
    ) -> Result<Option<Covered>, SourceError> {
        let Some(mut top) = self.next.peek_mut() else {
            return Ok(None);
        };
        let Reverse((head, run)) = &*top;
        if !wanted(head) {
            return Ok(None);
        }
        let (head, run) = (head.clone(), *run);
        match self.runs[run].next().map_err(temporary)? {
            Some(following) => *top = Reverse((following, run)),
            None => drop(PeekMut::pop(top)),
        }
        Ok(Some(head))
    }
}

fn temporary(error: std::io::Error) -> SourceError {
    failed(&std::env::temp_dir(), error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use trevor_core::digest::Sha256Hex;

    #[test]
    fn heads_come_out_in_order_whether_they_fit_or_not() {
        let mut spool = Spool::default();
        let mut wanted = Vec::new();
        for n in 0..i64::try_from(2 * MOST + 10).unwrap() {
            let (chain, sequence) = (format!("c\n {}/", n * 7919 % 1000), n % 777);
            let hash = Sha256Hex::of(b"x");
            spool
                .push(
                    &chain,
                    &Head {
                        sequence,
                        hash: hash.clone(),
                    },
                    n,
                )
                .unwrap();
            wanted.push(Covered {
                chain,
                sequence,
                hash: hash.to_string(),
                checkpoint: n,
            });
        }
        wanted.sort_unstable();
        assert_eq!(spool.files.len(), 2);
        let mut sorted = spool.sorted().unwrap();
        assert_eq!(sorted.next_if(|_| false).unwrap(), None);
        for head in wanted {
            assert_eq!(sorted.next_if(|_| true).unwrap(), Some(head));
        }
        assert_eq!(sorted.next_if(|_| true).unwrap(), None);
    }
}
