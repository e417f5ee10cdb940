//! The stages, put together.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use tokio::sync::mpsc;
use tokio::task;

use super::assemble::{Assembled, assemble};
use super::frame::frame;
use super::plan::Plan;
use super::read::{OpenError, read_all};
use super::spool::{Kind, Part, Pool};
use trevor_core::digest::Sha256Hex;
use trevor_core::manifest::ManifestFile;
use trevor_core::texts;

/// Batches between two stages, at most: about 256 KiB each.
const BETWEEN: usize = 4;
/// What the batches between the stages hold at most, about.
const IN_PASSING: u64 = 4 << 20;
/// Parts at the same time, at least: one being filled, two on their way.
const DEPTH: u64 = 3;
/// And at most: who sends has three on their way, and more make nothing faster.
const MOST: usize = 4;

/// What packing may use.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Bytes of memory.
    pub memory: u64,
    /// Where parts go that are too large for the memory.
    pub spool_dir: PathBuf,
}

impl Budget {
    /// An eighth is for reading ahead.
    fn window(&self) -> u64 {
        self.memory / 8
    }

    /// Places for parts: in memory if three parts fit what is left.
    fn places(&self, plan: &Plan<'_>) -> (usize, Kind) {
        let left = self.memory.saturating_sub(self.window() + IN_PASSING);
        let part = plan.part_size().min(plan.max_size());
        let count = left / part.max(1);
        match usize::try_from(part) {
            Ok(part) if count >= DEPTH || plan.is_small() => (
                usize::try_from(count).unwrap_or(MOST).clamp(1, MOST),
                Kind::Memory(part),
            ),
            _ => (DEPTH as usize, Kind::Disk(self.spool_dir.clone())),
        }
    }
}

/// A package that was streamed to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Bytes of the zip.
    pub size: u64,
    /// SHA-256 of the zip.
    pub sha256: Sha256Hex,
    /// Files of the request in it.
    pub files: usize,
    /// Parts that it was cut into.
    pub parts: i32,
}

/// What of a file differs from the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words are their own explanation")]
pub enum Mismatch {
    Size,
    Sha256,
    Crc32,
}

/// Why a package cannot be.
#[derive(Debug, thiserror::Error)]
pub enum PackError<E> {
    /// A file's bytes are not those that reviewers approved.
    #[error(
        "{} is not what the manifest says: its {what:?} differs",
        texts::harmless_line(path, 120)
    )]
    IntegrityMismatch {
        /// The file.
        path: String,
        /// What differs.
        what: Mismatch,
    },
    /// A file is not in the store.
    #[error("{} is not in the store", texts::harmless_line(path, 120))]
    FileMissing {
        /// The file.
        path: String,
    },
    /// A file cannot be read.
    #[error("{} cannot be read: {source}", texts::harmless_line(path, 120))]
    Source {
        /// The file.
        path: String,
        /// Why.
        source: E,
    },
    /// Nobody takes the parts any more.
    #[error("the upload ended before the package")]
    SinkClosed,
    /// A part cannot be written to the spool directory.
    #[error("a part cannot be spooled to disk: {0}")]
    Spool(std::io::Error),
    /// Deflate failed, which it has no reason to.
    #[error("deflate failed")]
    Deflate,
    /// A stage panicked, or the process is shutting down.
    #[error("packing was interrupted")]
    Interrupted,
}

/// Why a stage stopped.
#[derive(Debug)]
pub(super) enum Stop<E> {
    /// For a reason of its own.
    Because(PackError<E>),
    /// Since another stage did, which says why.
    Elsewhere,
}

impl<E> From<PackError<E>> for Stop<E> {
    fn from(error: PackError<E>) -> Self {
        Self::Because(error)
    }
}

impl Stop<std::convert::Infallible> {
    /// Reasons of stages that read no source, among those of one that does.
    fn widen<E>(self) -> Stop<E> {
        match self {
            Self::Elsewhere => Stop::Elsewhere,
            Self::Because(error) => Stop::Because(match error {
                PackError::IntegrityMismatch { path, what } => {
                    PackError::IntegrityMismatch { path, what }
                }
                PackError::FileMissing { path } => PackError::FileMissing { path },
                PackError::Source { source, .. } => match source {},
                PackError::SinkClosed => PackError::SinkClosed,
                PackError::Spool(error) => PackError::Spool(error),
                PackError::Deflate => PackError::Deflate,
                PackError::Interrupted => PackError::Interrupted,
            }),
        }
    }
}

/// Streams the package: reads files through `open`, in order, and sends the
/// parts of the zip.
///
/// Every part but the last has [`Plan::part_size`] bytes. Parts must be dropped
/// as they are stored; the budget holds only so many. Dropping the future, or
/// the receiver of the parts, ends the work within a part.
///
/// # Errors
/// When a file is missing, cannot be read or is not what the manifest says, or
/// the parts have nowhere to go. No part marked as the last was sent then.
pub async fn pack<E, S, Fut>(
    plan: &Plan<'_>,
    budget: &Budget,
    open: impl Fn(&ManifestFile) -> Fut,
    parts: mpsc::Sender<Part>,
) -> Result<Packed, PackError<E>>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    Fut: Future<Output = Result<S, OpenError<E>>>,
{
    let (read, to_frame) = mpsc::channel(BETWEEN);
    let (framed, to_cut) = mpsc::channel(BETWEEN);
    let (places, kind) = budget.places(plan);
    let (entries, time, part_size) = (Arc::clone(&plan.entries), plan.time, plan.part_size());

    let framing = task::spawn_blocking(move || frame(&entries, time, to_frame, framed));
    let cutting =
        task::spawn_blocking(move || assemble(part_size, to_cut, Pool::new(places, kind), parts));
    let reading = read_all(&plan.manifest.files, open, budget.window(), read);

    let (read, framed, cut) = futures::join!(reading, framing, cutting);
    let Assembled {
        size,
        sha256,
        parts,
    } = first_reason(read, joined(framed), joined(cut))?;
    Ok(Packed {
        size,
        sha256,
        files: plan.files(),
        parts,
    })
}

fn joined<T, E>(
    result: Result<Result<T, Stop<std::convert::Infallible>>, task::JoinError>,
) -> Result<T, Stop<E>> {
    match result {
        Ok(result) => result.map_err(Stop::widen),
        Err(_) => Err(PackError::Interrupted.into()),
    }
}

/// The result of the last stage, or the reason of the first that had one.
fn first_reason<T, E>(
    read: Result<(), Stop<E>>,
    framed: Result<(), Stop<E>>,
    cut: Result<T, Stop<E>>,
) -> Result<T, PackError<E>> {
    for result in [read, framed] {
        if let Err(Stop::Because(reason)) = result {
            return Err(reason);
        }
    }
    cut.map_err(|stop| match stop {
        Stop::Because(reason) => reason,
        // No stage stops for no reason.
        Stop::Elsewhere => PackError::Interrupted,
    })
}
