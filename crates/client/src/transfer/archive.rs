//! Checking a package before anything of it is used: what it holds, that all of
//! it is intact, and that each file is the one that its metadata describes.
//!
//! A package is a zip of regular files: `ro-crate-metadata.json`,
//! `ro-crate-preview.html` and what lies under `data/`. Anything else in it is
//! refused rather than skipped.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufReader, Read, Seek, SeekFrom};

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use zip::ZipArchive;
use zip::read::ZipFile;

use super::shown;
use trevor_core::digest::Sha256Hex;
use trevor_core::names::{self, NameError, SetError};
use trevor_package::{metadata, preview};

const DATA: &str = "data/";
/// The format knows nothing that grows more: 258 bytes for two bits.
const DEFLATE_RATIO: u64 = 1032;
/// Ten thousand files with long descriptions stay far below.
const METADATA_MAX: u64 = 256 << 20;

const FILE_TYPE: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;

/// A package of which every byte was read and found right.
#[derive(Clone, Debug)]
pub struct Checked {
    pub(super) entries: Vec<Entry>,
}

/// One file of it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) sha256: Sha256Hex,
}

impl Checked {
    /// Files under `data/`.
    #[must_use]
    pub fn data_files(&self) -> usize {
        let data = |e: &&Entry| e.name.starts_with(DATA);
        self.entries.iter().filter(data).count()
    }

    /// Bytes of all files, unpacked.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(|e| e.size).sum()
    }
}

/// Why a package is not used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages explain each")]
pub enum ArchiveError {
    #[error("it is not a whole zip: {0}")]
    NotAZip(String),
    #[error("its entry '{}': {problem}", shown(name))]
    Entry { name: String, problem: Problem },
    #[error("it has the entry '{}' twice", shown(.0))]
    Twice(String),
    #[error(transparent)]
    Clash(#[from] SetError),
    #[error("its entries overlap: it was made to fill disks")]
    Overlap,
    #[error("ro-crate-metadata.json is not in it")]
    NoMetadata,
    #[error("its ro-crate-metadata.json cannot be read as that of a package")]
    Metadata,
    #[error("'{}' is not what ro-crate-metadata.json says: its SHA-256 is another", shown(.0))]
    Digest(String),
    #[error("ro-crate-metadata.json says nothing of '{}'", shown(.0))]
    Undescribed(String),
    #[error("'{}' is in ro-crate-metadata.json and not in the zip", shown(.0))]
    Absent(String),
}

/// What is wrong with an entry.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages explain each")]
pub enum Problem {
    #[error("its name is refused: {0}")]
    Name(#[from] NameError),
    #[error("its name is not UTF-8")]
    Encoding,
    #[error("it does not belong in a package")]
    Foreign,
    #[error("it is not a regular file")]
    NotAFile,
    #[error("it is encrypted")]
    Encrypted,
    #[error("it says to be larger than its bytes can be")]
    Bomb,
    #[error("its bytes are damaged: {0}")]
    Damaged(String),
    #[error("it has another size than the zip says")]
    Size,
}

/// Reads all of a package.
///
/// # Errors
/// At the first thing that is not right.
pub fn check<R: Read + Seek>(reader: R) -> Result<Checked, ArchiveError> {
    let mut archive = open(reader)?;
    let listed = list(&mut archive)?;
    let mut described = None;
    let mut entries = Vec::with_capacity(listed.len());
    for (index, (name, size)) in listed.into_iter().enumerate() {
        let damaged = |problem| ArchiveError::Entry {
            name: name.clone(),
            problem,
        };
        let file = archive
            .by_index(index)
            .map_err(|e| damaged(Problem::Damaged(e.to_string())))?;
        let mut hashed = Hashed::of(file.take(size + 1));
        if name == metadata::FILE_NAME {
            let parsed = described_files(&mut hashed).map_err(|e| match e.classify() {
                serde_json::error::Category::Io => damaged(Problem::Damaged(e.to_string())),
                _ => ArchiveError::Metadata,
            })?;
            described = Some(parsed);
        }
        let sha256 = hashed
            .whole(size)
            .map_err(|e| damaged(Problem::Damaged(e.to_string())))?
            .ok_or_else(|| damaged(Problem::Size))?;
        entries.push(Entry {
            index,
            name,
            size,
            sha256,
        });
    }
    compare(
        &entries,
        by_name(described.ok_or(ArchiveError::NoMetadata)?)?,
    )?;
    Ok(Checked { entries })
}

/// Opens a zip whose directory names every entry once. The reader of the format
/// keeps the last of two entries of one name, so the directory is walked anew.
pub(super) fn open<R: Read + Seek>(reader: R) -> Result<ZipArchive<R>, ArchiveError> {
    let not_a_zip = |e: &dyn std::fmt::Display| ArchiveError::NotAZip(e.to_string());
    let archive = ZipArchive::new(reader).map_err(|e| not_a_zip(&e))?;
    if archive.offset() != 0 {
        return Err(not_a_zip(&"other bytes stand before it"));
    }
    let start = archive.central_directory_start();
    let mut reader = archive.into_inner();
    let names = directory_names(&mut reader, start).map_err(|e| not_a_zip(&e))?;
    let mut seen = HashSet::new();
    for name in &names {
        if !seen.insert(name) {
            return Err(ArchiveError::Twice(
                String::from_utf8_lossy(name).into_owned(),
            ));
        }
    }
    let archive = ZipArchive::new(reader).map_err(|e| not_a_zip(&e))?;
    if archive.len() != names.len() {
        return Err(not_a_zip(&"its directory contradicts itself"));
    }
    Ok(archive)
}

/// The names as the central directory has them.
fn directory_names<R: Read + Seek>(reader: &mut R, start: u64) -> std::io::Result<Vec<Vec<u8>>> {
    let mut reader = BufReader::new(reader);
    reader.seek(SeekFrom::Start(start))?;
    let mut names = Vec::new();
    loop {
        let mut signature = [0; 4];
        reader.read_exact(&mut signature)?;
        match &signature {
            b"PK\x01\x02" => {}
            b"PK\x05\x06" | b"PK\x06\x06" => return Ok(names),
            _ => return Err(std::io::Error::other("its directory is damaged")),
        }
        // 24 bytes on are the lengths of name, extra field and comment.
        let mut rest = [0; 42];
        reader.read_exact(&mut rest)?;
        let [name, extra, comment] =
            [24, 26, 28].map(|at| u16::from_le_bytes([rest[at], rest[at + 1]]));
        let mut bytes = vec![0; usize::from(name)];
        reader.read_exact(&mut bytes)?;
        names.push(bytes);
        reader.seek_relative(i64::from(extra) + i64::from(comment))?;
    }
}

/// Name and size of every entry, none of which was read yet.
fn list<R: Read + Seek>(archive: &mut ZipArchive<R>) -> Result<Vec<(String, u64)>, ArchiveError> {
    let mut listed = Vec::with_capacity(archive.len());
    let mut packed = 0_u64;
    for index in 0..archive.len() {
        let file = archive
            .by_index_raw(index)
            .map_err(|e| ArchiveError::NotAZip(e.to_string()))?;
        let name = judge(&file).map_err(|problem| ArchiveError::Entry {
            name: String::from_utf8_lossy(file.name_raw()).into_owned(),
            problem,
        })?;
        packed = packed.saturating_add(file.compressed_size());
        listed.push((name, file.size()));
    }
    if packed > archive.central_directory_start() {
        return Err(ArchiveError::Overlap);
    }
    names::check_set(
        listed
            .iter()
            .filter_map(|(name, _)| name.strip_prefix(DATA)),
    )?;
    Ok(listed)
}

/// The name of an entry that may be in a package.
fn judge<R: Read>(file: &ZipFile<'_, R>) -> Result<String, Problem> {
    let name = std::str::from_utf8(file.name_raw()).map_err(|_| Problem::Encoding)?;
    // Of directories this is said too: a package names none.
    if file
        .unix_mode()
        .is_some_and(|m| !matches!(m & FILE_TYPE, 0 | REGULAR))
    {
        return Err(Problem::NotAFile);
    }
    match name.strip_prefix(DATA) {
        Some(path) => names::check_file(path)?,
        None if name == metadata::FILE_NAME || name == preview::FILE_NAME => {}
        None => {
            names::check_file(name)?;
            return Err(Problem::Foreign);
        }
    }
    if file.encrypted() {
        return Err(Problem::Encrypted);
    }
    let most = match file.compression() {
        zip::CompressionMethod::Stored => file.compressed_size(),
        _ => file.compressed_size().saturating_mul(DEFLATE_RATIO),
    };
    let too_much_text = name == metadata::FILE_NAME && file.size() > METADATA_MAX;
    if file.size() > most || too_much_text {
        return Err(Problem::Bomb);
    }
    Ok(name.to_owned())
}

/// What the metadata says of one thing.
#[derive(Deserialize)]
struct Entity {
    #[serde(rename = "@id")]
    id: String,
    #[serde(default)]
    sha256: Option<Sha256Hex>,
}

/// Of the metadata only this is kept, however long its texts are.
fn described_files(from: impl Read) -> serde_json::Result<Vec<Entity>> {
    #[derive(Deserialize)]
    struct Document {
        #[serde(rename = "@graph")]
        graph: Vec<Entity>,
    }
    let document: Document = serde_json::from_reader(BufReader::new(from))?;
    Ok(document.graph)
}

/// The SHA-256 of each file under `data/`, by its name in the zip.
fn by_name(entities: Vec<Entity>) -> Result<BTreeMap<String, Sha256Hex>, ArchiveError> {
    let mut described = BTreeMap::new();
    for entity in entities.into_iter().filter(|e| e.id.starts_with(DATA)) {
        let name = percent_decode_str(&entity.id)
            .decode_utf8()
            .map_err(|_| ArchiveError::Metadata)?
            .into_owned();
        let sha256 = entity.sha256.ok_or(ArchiveError::Metadata)?;
        if described.insert(name, sha256).is_some() {
            return Err(ArchiveError::Metadata);
        }
    }
    Ok(described)
}

fn compare(
    entries: &[Entry],
    mut described: BTreeMap<String, Sha256Hex>,
) -> Result<(), ArchiveError> {
    for entry in entries.iter().filter(|e| e.name.starts_with(DATA)) {
        match described.remove(&entry.name) {
            Some(sha256) if sha256 == entry.sha256 => {}
            Some(_) => return Err(ArchiveError::Digest(entry.name.clone())),
            None => return Err(ArchiveError::Undescribed(entry.name.clone())),
        }
    }
    match described.pop_first() {
        Some((name, _)) => Err(ArchiveError::Absent(name)),
        None => Ok(()),
    }
}

/// Hashes what is read through it.
pub(super) struct Hashed<R> {
    from: R,
    hash: Sha256,
    bytes: u64,
}

impl<R: Read> Hashed<R> {
    pub(super) fn of(from: R) -> Self {
        Self {
            from,
            hash: Sha256::new(),
            bytes: 0,
        }
    }

    /// Reads the rest, by which the zip's own checksum is compared too; gives
    /// the digest if it were `size` bytes in all.
    fn whole(mut self, size: u64) -> std::io::Result<Option<Sha256Hex>> {
        std::io::copy(&mut self, &mut std::io::sink())?;
        Ok(self.digest(size))
    }

    pub(super) fn digest(self, size: u64) -> Option<Sha256Hex> {
        (self.bytes == size).then(|| Sha256Hex::from_raw(&self.hash.finalize().into()))
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.hash.update(buffer.get(..read).unwrap_or_default());
        self.bytes += read as u64;
        Ok(read)
    }
}
