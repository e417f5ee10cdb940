//! The zip, laid out before a byte is read.
//!
//! Which entries there are, which of them are deflated, how large the zip can
//! become and how large its parts are: all follows from the manifest, so that a
//! five-terabyte upload does not find out at part 10,001 that it cannot end.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::inputs::{CrateInputs, entry_name};
use super::zip_format::{self, DosTime, packed_max};
use super::{metadata, preview};
use trevor_core::manifest::{Manifest, ManifestFile};
use trevor_core::{media_type, names};

pub use super::zip_format::Method;

const MIB: u64 = 1 << 20;
/// Parts of one upload, at most.
pub const MAX_PARTS: u64 = 10_000;
/// Bytes of a part, at least.
pub const MIN_PART: u64 = 8 * MIB;
/// Bytes of a part, at most.
pub const MAX_PART: u64 = 5 << 30;
/// Smaller files are stored: deflate would spend more time than it saves bytes.
const WORTH_DEFLATING: u64 = 4096;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A path has no place in a zip.
    #[error("a path of the manifest is refused: {0}")]
    Name(#[from] names::NameError),
    /// Paths that cannot lie beside each other.
    #[error("paths of the manifest clash: {0}")]
    Set(#[from] names::SetError),
    /// More bytes than one upload can hold.
    #[error("the package could have {bytes} bytes, more than one upload can hold")]
    TooLarge {
        /// Bytes that it could have.
        bytes: u64,
    },
    /// The metadata cannot be written.
    #[error("the metadata cannot be written: {0}")]
    Metadata(#[from] serde_json::Error),
}

/// A package, laid out.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) entries: Arc<[Entry]>,
    pub(super) time: DosTime,
    max_size: u64,
    part_size: u64,
}

/// One entry of the zip, with what its bytes must be.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) method: Method,
    pub(super) size: u64,
    pub(super) crc32: u32,
    pub(super) sha256: [u8; 32],
    /// The bytes of an entry that we made; a file's come from the storage.
    pub(super) ours: Option<Bytes>,
}

impl<'a> Plan<'a> {
    /// Lays the package out.
    ///
    /// # Errors
    /// When a path is not one that [`names`] accepts, or the package would be
    /// larger than an upload can be.
    pub fn new(inputs: &CrateInputs<'a>) -> Result<Self, PlanError> {
        Self::with_parts_of(inputs, MIN_PART)
    }

    /// As [`Plan::new`], with parts of at least so many bytes.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn with_parts_of(inputs: &CrateInputs<'a>, min_part: u64) -> Result<Self, PlanError> {
        let manifest = inputs.manifest;
        // The names were checked at the door; nothing is released on that word alone.
        manifest
            .files
            .iter()
            .try_for_each(|f| names::check_file(&f.path))?;
        names::check_set(manifest.files.iter().map(|f| f.path.as_str()))?;

        let mut entries = Vec::with_capacity(manifest.files.len() + 2);
        entries.push(Entry::ours(metadata::FILE_NAME, metadata::render(inputs)?));
        entries.push(Entry::ours(
            preview::FILE_NAME,
            preview::render(inputs).into_bytes(),
        ));
        entries.extend(manifest.files.iter().map(Entry::of));

        let (max_size, part_size) = sizes(
            entries.iter().map(|e| (e.name.as_str(), e.method, e.size)),
            min_part,
        )?;
        Ok(Self {
            manifest,
            entries: entries.into(),
            time: DosTime::new(inputs.decided),
            max_size,
            part_size,
        })
    }

    /// Bytes that the zip has at most.
    #[must_use]
    pub fn max_size(&self) -> u64 {
        self.max_size
    }

    /// Bytes of each part but the last, which may be smaller.
    #[must_use]
    pub fn part_size(&self) -> u64 {
        self.part_size
    }

    /// Whether the whole zip fits one part, so that one PUT can store it.
    #[must_use]
    pub fn is_small(&self) -> bool {
        self.max_size <= self.part_size
    }

    /// Number of files of the request in the package.
    #[must_use]
    pub fn files(&self) -> usize {
        self.manifest.files.len()
    }

    /// The entries in order: name, and how each is kept.
    pub fn layout(&self) -> impl Iterator<Item = (&str, Method)> {
        self.entries.iter().map(|e| (e.name.as_str(), e.method))
    }

    /// The folders that the package unfolds to.
    #[must_use]
    pub fn folders(&self) -> BTreeSet<&str> {
        self.entries
            .iter()
            .flat_map(|e| names::ancestors(&e.name))
            .collect()
    }
}

impl Entry {
    fn ours(name: &str, bytes: Vec<u8>) -> Self {
        let size = bytes.len() as u64;
        let method = method(size, true);
        Self {
            name: name.to_owned(),
            method,
            size,
            crc32: crc32fast::hash(&bytes),
            sha256: Sha256::digest(&bytes).into(),
            ours: Some(bytes.into()),
        }
    }

    fn of(file: &ManifestFile) -> Self {
        let method = method(file.size, media_type::compresses(&file.media_type));
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(&file.sha256.raw());
        Self {
            name: entry_name(file),
            method,
            size: file.size,
            crc32: file.crc32.0,
            sha256,
            ours: None,
        }
    }
}

fn method(size: u64, compresses: bool) -> Method {
    if compresses && size >= WORTH_DEFLATING {
        Method::Deflated
    } else {
        Method::Stored
    }
}

/// The most bytes that a zip of these entries has, and the size of its parts.
pub(super) fn sizes<'n>(
    entries: impl Iterator<Item = (&'n str, Method, u64)>,
    min_part: u64,
) -> Result<(u64, u64), PlanError> {
    let most = entries.fold(zip_format::END_MAX, |sum, (name, method, size)| {
        sum.saturating_add(packed_max(method, size))
            .saturating_add(zip_format::overhead_max(name))
    });
    let part = if most <= min_part.saturating_mul(MAX_PARTS) {
        min_part
    } else {
        most.div_ceil(MAX_PARTS).div_ceil(MIB) * MIB
    };
    match part <= MAX_PART {
        true => Ok((most, part)),
        false => Err(PlanError::TooLarge { bytes: most }),
    }
}
