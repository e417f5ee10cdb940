//! A file of a volume, read as one and the same file: opened beneath the volume,
//! and looked at before and after, so that what is written meanwhile is noticed.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;

use crate::beneath::{Folder, There};
use crate::transfer::digest;
use trevor_core::digest::Sha256Hex;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages explain each")]
pub enum ReadError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("it changed while it was collected; collect when nothing writes there")]
    Changed,
    #[error("it is no file any more, but a link, a pipe or the like, which is not read")]
    NotAFile,
}

/// What tells that a file is still the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) stamp: Stamp,
    pub(super) sha256: Sha256Hex,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Whether an open file is still the same.
    pub(super) fn still(&self, file: &File) -> Result<(), ReadError> {
        match Self::of(&file.metadata()?) == *self {
            true => Ok(()),
            false => Err(ReadError::Changed),
        }
    }
}

/// Opens a file beneath a folder.
///
/// # Errors
/// When it is none, or is gone.
pub(super) fn open(folder: &Folder, path: &str) -> Result<(File, Stamp), ReadError> {
    match folder.look(path)? {
        There::File(file) => {
            let stamp = Stamp::of(&file.metadata()?);
            Ok((file, stamp))
        }
        There::Other => Err(ReadError::NotAFile),
        There::Nothing => Err(ReadError::Changed),
    }
}

/// Reads a file to its end.
///
/// # Errors
/// When it cannot be read, or changes.
pub(super) fn hash(folder: &Folder, path: &str) -> Result<Held, ReadError> {
    let (mut file, stamp) = open(folder, path)?;
    // One that grows as fast as it is read would never end.
    let mut bytes = std::io::Read::take(&mut file, stamp.size.saturating_add(1));
    let sha256 = digest(&mut bytes)?;
    let read = stamp.size.saturating_add(1) - bytes.limit();
    stamp.still(&file)?;
    match read == stamp.size {
        true => Ok(Held { stamp, sha256 }),
        false => Err(ReadError::Changed),
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
