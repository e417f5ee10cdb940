//! The parts of an upload, in memory or on disk.
//!
//! A part of a small package is a buffer that goes back to its pool when the
//! upload drops it, so that a package needs as many buffers as its budget holds,
//! whatever its size. A part of a very large package is larger than the budget
//! and lies in a file, which goes when it is dropped.

use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tempfile::{NamedTempFile, TempPath};
use tokio::sync::mpsc;

const PREFIX: &str = "trevor-part-";
const LOCK: &str = "trevor-spool.lock";

/// One part of the upload. Drop it as soon as it is stored: its memory, or its
/// place on disk, is then used for another.
#[derive(Debug)]
pub struct Part {
    /// Its number, from 1.
    pub number: i32,
    /// Its bytes.
    pub body: PartBody,
    /// Whether it is the last.
    pub last: bool,
}

/// The bytes of a part.
#[derive(Debug)]
pub enum PartBody {
    /// In memory.
    Memory(Bytes),
    /// In a file.
    File(SpooledPart),
}

impl PartBody {
    /// Bytes of the part.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(spooled) => spooled.size,
        }
    }
}

/// A part in a temporary file.
#[derive(Debug)]
pub struct SpooledPart {
    path: TempPath,
    size: u64,
    _place: Lease,
}

impl SpooledPart {
    /// Where the bytes are, as long as this value lives.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The folder for parts on disk, while a process uses it.
///
/// A process that is killed leaves its parts behind. The next one removes them before it
/// packs anything, unless another living process uses the folder: each holds a lock on a file
/// there, which ends with the process, whatever ends it.
#[derive(Debug)]
pub struct Spool {
    _lock: File,
}

impl Spool {
    /// Makes the folder where there is none, and removes what killed processes left in it.
    ///
    /// # Errors
    /// When the folder cannot be made, read or locked. A file that cannot be removed is left.
    pub fn open(dir: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let path = dir.join(LOCK);
        let mut options = File::options();
        let lock = options
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        match lock.try_lock() {
            Ok(()) => remove_parts(dir)?,
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        lock.lock_shared()?;
        Ok(Self { _lock: lock })
    }
}

fn remove_parts(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX)
            && let Err(error) = std::fs::remove_file(entry.path())
        {
            let path = entry.path();
            tracing::warn!(%error, path = %path.display(), "what a killed process left could not be removed");
        }
    }
    Ok(())
}

/// A bounded number of places for parts. Whoever wants one more waits until an
/// upload has dropped one.
pub(super) struct Pool {
    free: mpsc::UnboundedReceiver<Vec<u8>>,
    give_back: mpsc::UnboundedSender<Vec<u8>>,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Buffers of so many bytes.
    Memory(usize),
    /// Files in a folder.
    Disk(PathBuf),
}

impl Pool {
    pub(super) fn new(places: usize, kind: Kind) -> Self {
        let (give_back, free) = mpsc::unbounded_channel();
        for _ in 0..places.max(1) {
            // The receiver lives: it is ours.
            let _ = give_back.send(Vec::new());
        }
        Self {
            free,
            give_back,
            kind,
        }
    }

    /// A place for the next part; blocks until there is one.
    pub(super) fn take(&mut self) -> io::Result<Place> {
        let mut buffer = self.free.blocking_recv().unwrap_or_default();
        let give_back = self.give_back.clone();
        match &self.kind {
            Kind::Memory(size) => {
                buffer.clear();
                buffer.reserve_exact(*size);
                Ok(Place::Memory(Lease { buffer, give_back }))
            }
            Kind::Disk(dir) => {
                let lease = Lease { buffer, give_back };
                let file = tempfile::Builder::new().prefix(PREFIX).tempfile_in(dir)?;
                Ok(Place::Disk {
                    file,
                    size: 0,
                    lease,
                })
            }
        }
    }
}

/// A place, which goes back to its pool when dropped.
#[derive(Debug)]
pub(super) struct Lease {
    buffer: Vec<u8>,
    give_back: mpsc::UnboundedSender<Vec<u8>>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Without a receiver the package is done, and the memory goes.
        let _ = self.give_back.send(std::mem::take(&mut self.buffer));
    }
}

impl AsRef<[u8]> for Lease {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

/// A part that is being filled.
pub(super) enum Place {
    Memory(Lease),
    Disk {
        file: NamedTempFile<File>,
        size: u64,
        lease: Lease,
    },
}

impl Place {
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Memory(lease) => lease.buffer.len() as u64,
            Self::Disk { size, .. } => *size,
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Memory(lease) => lease.buffer.extend_from_slice(bytes),
            Self::Disk { file, size, .. } => {
                file.write_all(bytes)?;
                *size += bytes.len() as u64;
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> PartBody {
        match self {
            Self::Memory(lease) => PartBody::Memory(Bytes::from_owner(lease)),
            Self::Disk { file, size, lease } => PartBody::File(SpooledPart {
                path: file.into_temp_path(),
                size,
                _place: lease,
            }),
        }
    }
}
