//! Writing the files of a checked package beneath a folder.
//!
//! First all places are looked at: a file that stands there is left alone if it
//! is the same, and stops everything if it is not. Then each file is written
//! under another name, hashed once more, and takes its name only if it is right.

use std::io::{Read, Seek, Write as _};
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use super::archive::{ArchiveError, Checked, Entry, Hashed, open};
use super::local::digest;
use super::{amount, shown};
use crate::beneath::{Folder, There, split};

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Files written.
    pub written: usize,
    /// Files that were there already, the same.
    pub same: usize,
}

/// Why a package was not unpacked.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages explain each")]
pub enum UnpackError {
    #[error("{}: {source}", folder.display())]
    Folder {
        folder: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "'{}' is there already, and is another file{}; nothing was written: \
         unpack into an empty folder",
        shown(name),
        others(*more)
    )]
    Exists { name: String, more: usize },
    #[error("it needs {}, and only {} are free", amount(*needed), amount(*free))]
    NoRoom { needed: u64, free: u64 },
    #[error("'{}': {source}", shown(name))]
    File {
        name: String,
        source: std::io::Error,
    },
    #[error("'{}' is no longer what was checked", shown(.0))]
    Changed(String),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

fn others(more: usize) -> String {
    match more {
        0 => String::new(),
        n => format!(" (and {n} more)"),
    }
}

/// Writes all files of a package, the one that `checked` was made of, into a folder.
///
/// # Errors
/// When a place is taken by another file, or a write fails. What was written
/// until then stays: the next time it is found to be the same.
pub fn unpack<R: Read + Seek>(
    package: R,
    checked: &Checked,
    folder: &Path,
) -> Result<Unpacked, UnpackError> {
    let top = Folder::top(folder).map_err(|source| UnpackError::Folder {
        folder: folder.to_owned(),
        source,
    })?;
    let missing = missing(&top, checked)?;
    let needed = missing.iter().map(|e| e.size).sum();
    let free = top.free().map_err(|source| UnpackError::Folder {
        folder: folder.to_owned(),
        source,
    })?;
    if needed > free {
        return Err(UnpackError::NoRoom { needed, free });
    }
    let mut archive = open(package)?;
    for entry in &missing {
        write(&mut archive, &top, entry)?;
    }
    Ok(Unpacked {
        written: missing.len(),
        same: checked.entries.len() - missing.len(),
    })
}

fn at(entry: &Entry) -> impl Fn(std::io::Error) -> UnpackError {
    |source| UnpackError::File {
        name: entry.name.clone(),
        source,
    }
}

/// The entries whose places are free.
fn missing<'a>(top: &Folder, checked: &'a Checked) -> Result<Vec<&'a Entry>, UnpackError> {
    let mut missing = Vec::new();
    let mut taken = Vec::new();
    for entry in &checked.entries {
        match top.look_at(&entry.name).map_err(at(entry))? {
            There::Nothing => missing.push(entry),
            There::File(mut file) => {
                // A longer one need not be read.
                let same = file.metadata().map_err(at(entry))?.len() == entry.size
                    && digest(&mut file).map_err(at(entry))? == entry.sha256;
                if !same {
                    taken.push(&entry.name);
                }
            }
            There::Other => taken.push(&entry.name),
        }
    }
    match taken.as_slice() {
        [] => Ok(missing),
        [first, more @ ..] => Err(UnpackError::Exists {
            name: (*first).clone(),
            more: more.len(),
        }),
    }
}

fn write<R: Read + Seek>(
    archive: &mut ZipArchive<R>,
    top: &Folder,
    entry: &Entry,
) -> Result<(), UnpackError> {
    let (folders, name) = split(&entry.name);
    let mut at_folder: Option<Folder> = None;
    for folder in folders {
        let next = at_folder.as_ref().unwrap_or(top).enter(folder);
        at_folder = Some(next.map_err(at(entry))?);
    }
    let folder = at_folder.as_ref().unwrap_or(top);
    let temporary = format!(".trevor-{:016x}.part", rand::random::<u64>());
    let written = write_to(archive, folder, &temporary, entry)
        .and_then(|()| folder.place(&temporary, name).map_err(at(entry)));
    if written.is_err() {
        // It may not even be there.
        let _ = folder.remove(&temporary);
    }
    written
}

fn write_to<R: Read + Seek>(
    archive: &mut ZipArchive<R>,
    folder: &Folder,
    temporary: &str,
    entry: &Entry,
) -> Result<(), UnpackError> {
    let packed = archive
        .by_index(entry.index)
        .map_err(|e| at(entry)(std::io::Error::other(e)))?;
    // Never more than was checked, whatever the zip has by now.
    let mut bytes = Hashed::of(packed.take(entry.size + 1));
    let mut file = folder.create(temporary).map_err(at(entry))?;
    std::io::copy(&mut bytes, &mut file)
        .and_then(|_| file.flush())
        .map_err(at(entry))?;
    if bytes.digest(entry.size).as_ref() != Some(&entry.sha256) {
        return Err(UnpackError::Changed(entry.name.clone()));
    }
    Ok(())
}
