//! The files of a source, found folder by folder. What is kept in memory is what
//! matches, which is bounded, and one open folder a level.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType};

use super::globs::Wanted;
use super::shown;
use crate::beneath::Folder;
use trevor_core::names::{self, NameError};

/// Folders in folders. No path that is taken has so many.
const DEEPEST: usize = 128;

/// A file that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// Relative to the folder; a name that may be stored, composed.
    pub(super) path: String,
    /// The same as the volume spells it.
    pub(super) at: String,
}

/// Why files cannot be collected. Each names what it is about.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages explain each")]
pub enum WalkError {
    #[error("'{}': {source}", shown(path))]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("'{}' is a symbolic link, and links are not followed; put the file itself there, or exclude it", shown(.0))]
    Link(PathBuf),
    #[error("'{}' is a pipe, a socket or a device, and no file; exclude it", shown(.0))]
    Special(PathBuf),
    #[error(
        "'{}' cannot be collected under its name: {problem}, or exclude it",
        shown(path)
    )]
    Name { path: PathBuf, problem: NameError },
    #[error("'{}' cannot be collected under its name: it is not UTF-8; rename it, or exclude it", shown(.0))]
    NotUtf8(PathBuf),
    #[error("'{}' lies more than {DEEPEST} folders deep; exclude it", shown(.0))]
    TooDeep(PathBuf),
    #[error("more than {0} files match; narrow include and exclude, or pack some together")]
    TooMany(usize),
    #[error("the files that match have more than {0} bytes; narrow include and exclude")]
    TooMuch(u64),
}

/// What may still be taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Files, of this many in all.
    pub(super) files: usize,
    /// The bound on files.
    pub(super) most_files: usize,
    /// Bytes, of this many in all.
    pub(super) bytes: u64,
    /// The bound on bytes.
    pub(super) most_bytes: u64,
}

impl Room {
    pub(super) fn new(most_files: usize, most_bytes: u64) -> Self {
        Self {
            files: most_files,
            most_files,
            bytes: most_bytes,
            most_bytes,
        }
    }

    fn take(&mut self, size: u64) -> Result<(), WalkError> {
        let files = self.files.checked_sub(1);
        self.files = files.ok_or(WalkError::TooMany(self.most_files))?;
        let bytes = self.bytes.checked_sub(size);
        self.bytes = bytes.ok_or(WalkError::TooMuch(self.most_bytes))?;
        Ok(())
    }
}

/// One folder that is being read.
struct Level {
    folder: Folder,
    entries: Dir,
    path: PathBuf,
}

/// The files beneath a folder that are wanted, in no order.
///
/// # Errors
/// When something that is wanted is no file, has no name that may be stored, or is
/// too much.
pub(super) fn walk(
    top: &Folder,
    wanted: &Wanted,
    room: &mut Room,
) -> Result<Vec<Listed>, WalkError> {
    let top = top.find(".").map_err(|source| io(Path::new("."), source))?;
    let mut found = Vec::new();
    let mut levels = Vec::new();
    if let Some(top) = top {
        levels.push(level(top, PathBuf::new())?);
    }
    while let Some(Level {
        folder,
        entries,
        path,
    }) = levels.last_mut()
    {
        let Some(entry) = entries.next() else {
            levels.pop();
            continue;
        };
        let entry = entry.map_err(|e| io(path, e.into()))?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let at = path.join(name);
        match kind(folder, name, entry.file_type()).map_err(|e| io(&at, e))? {
            // Gone since.
            None => {}
            Some(FileType::Directory) if wanted.enters(&at) => {
                let inner = folder.find(name).map_err(|e| io(&at, e))?;
                if levels.len() >= DEEPEST {
                    return Err(WalkError::TooDeep(at));
                }
                if let Some(inner) = inner {
                    levels.push(level(inner, at)?);
                }
            }
            Some(FileType::Directory) => {}
            Some(FileType::RegularFile) if wanted.takes(&at) => {
                found.push(listed(folder, name, at, room)?);
            }
            Some(FileType::RegularFile) => {}
            Some(FileType::Symlink) if wanted.takes(&at) || wanted.names(&at) => {
                return Err(WalkError::Link(at));
            }
            Some(FileType::Symlink) => {}
            Some(_) if wanted.takes(&at) => return Err(WalkError::Special(at)),
            Some(_) => {}
        }
    }
    Ok(found)
}

fn io(path: &Path, source: std::io::Error) -> WalkError {
    WalkError::Io {
        path: path.to_owned(),
        source,
    }
}

fn level(folder: Folder, path: PathBuf) -> Result<Level, WalkError> {
    let entries = Dir::read_from(folder.fd()).map_err(|e| io(&path, e.into()))?;
    Ok(Level {
        folder,
        entries,
        path,
    })
}

/// What an entry is, by the listing or, where that does not say, by looking. Nothing
/// is opened.
fn kind(folder: &Folder, name: &OsStr, listed: FileType) -> std::io::Result<Option<FileType>> {
    match listed {
        FileType::Unknown => {
            let stat = rustix::fs::statat(folder.fd(), name, AtFlags::SYMLINK_NOFOLLOW);
            match stat {
                Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
                Err(rustix::io::Errno::NOENT) => Ok(None),
                Err(e) => Err(e.into()),
            }
        }
        known => Ok(Some(known)),
    }
}

fn listed(
    folder: &Folder,
    name: &OsStr,
    at: PathBuf,
    room: &mut Room,
) -> Result<Listed, WalkError> {
    let stat = rustix::fs::statat(folder.fd(), name, AtFlags::SYMLINK_NOFOLLOW);
    let stat = stat.map_err(|e| io(&at, e.into()))?;
    // What it is by now is looked at once more when it is opened.
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let Some(spelled) = at.to_str() else {
        return Err(WalkError::NotUtf8(at));
    };
    let path = names::normalise(spelled).into_owned();
    if let Err(problem) = names::check_file(&path) {
        return Err(WalkError::Name { path: at, problem });
    }
    room.take(size)?;
    Ok(Listed {
        path,
        at: spelled.to_owned(),
    })
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
