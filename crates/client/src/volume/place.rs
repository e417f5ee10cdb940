//! Writing files into a volume: under a temporary name, on disk, and only then
//! under their own, if nothing has that. What stands is never replaced.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::Dir;

use super::shown;
use crate::beneath::{Folder, There, split};
use crate::transfer::{amount, digest};
use trevor_core::names;
use trevor_core::volume::VolumeFile;

/// Why files cannot be written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages explain each")]
pub enum PlaceError {
    #[error("the volume cannot be opened: {}", words(source))]
    Volume { source: io::Error },
    #[error("the folder '{}': {}", shown(Path::new(path)), words(source))]
    Folder { path: String, source: io::Error },
    #[error(
        "'{}' is there already, and is another file{}; nothing was written: move it away, or deliver into another folder",
        shown(Path::new(path)),
        others(*more)
    )]
    Exists { path: String, more: usize },
    #[error("the volume is full: {} are needed, and only {} are free", amount(*needed), amount(*free))]
    NoRoom { needed: u64, free: u64 },
    #[error("'{}': {}", shown(Path::new(path)), words(source))]
    File { path: String, source: io::Error },
    #[error("'{}': what was written is not what was approved; nothing has its name", shown(Path::new(.0)))]
    Another(String),
}

fn others(more: usize) -> String {
    match more {
        0 => String::new(),
        n => format!(" (and {n} more)"),
    }
}

/// What an error of the file system means here.
fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull => "the volume is full".to_owned(),
        io::ErrorKind::QuotaExceeded => "the quota of the volume is used up".to_owned(),
        io::ErrorKind::FileTooLarge => "the volume takes no file of this size".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "the volume is read-only".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "the volume does not let this Job write or read there (permission denied)".to_owned()
        }
        _ => error.to_string(),
    }
}

/// A folder of a volume that files are delivered into.
#[derive(Debug)]
pub(super) struct Destination {
    folder: Folder,
    /// Of which request temporary files are.
    mark: String,
}

/// A file that is being written.
#[derive(Debug)]
pub(super) struct Writing {
    folder: Folder,
    temporary: String,
    placed: bool,
}

impl Destination {
    /// The folder `path` of the volume at `root`, made if missing.
    pub(super) fn open(
        root: &Path,
        path: &str,
        (namespace, request): (&str, &str),
    ) -> Result<Self, PlaceError> {
        let mut folder = Folder::volume(root).map_err(|source| PlaceError::Volume { source })?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            folder = enter(&folder, name).map_err(|source| PlaceError::Folder {
                path: path.to_owned(),
                source,
            })?;
        }
        let mark = names::derived(request, &format!("{namespace}/{request}"));
        Ok(Self {
            folder,
            mark: format!(".trevor-{mark}-"),
        })
    }

    /// The files that are not there yet.
    pub(super) fn missing<'a>(
        &self,
        files: &'a [VolumeFile],
    ) -> Result<Vec<&'a VolumeFile>, PlaceError> {
        let mut missing = Vec::new();
        let mut taken = Vec::new();
        for file in files {
            match self.stands(file) {
                Ok(None) => missing.push(file),
                Ok(Some(true)) => {}
                Ok(Some(false)) => taken.push(&file.path),
                Err(source) => return Err(of(file, source)),
            }
        }
        match taken.as_slice() {
            [] => Ok(missing),
            [first, more @ ..] => Err(PlaceError::Exists {
                path: (*first).clone(),
                more: more.len(),
            }),
        }
    }

    /// Whether a file is there, and the same.
    fn stands(&self, file: &VolumeFile) -> io::Result<Option<bool>> {
        Ok(match self.folder.look_at(&file.path)? {
            There::Nothing => None,
            There::Other => Some(false),
            // A longer one need not be read.
            There::File(mut open) => {
                Some(open.metadata()?.len() == file.size && digest(&mut open)? == file.sha256)
            }
        })
    }

    /// Removes what earlier runs for this request left behind when they were killed.
    pub(super) fn clear(&self, files: &[VolumeFile]) -> Result<(), PlaceError> {
        let folders: BTreeSet<&str> = files
            .iter()
            .map(|f| f.path.rsplit_once('/').map_or(".", |(folder, _)| folder))
            .collect();
        for path in folders {
            let at = |source: io::Error| PlaceError::Folder {
                path: path.to_owned(),
                source,
            };
            if let Some(folder) = self.folder.find(path).map_err(at)? {
                self.clear_one(&folder).map_err(at)?;
            }
        }
        Ok(())
    }

    fn clear_one(&self, folder: &Folder) -> io::Result<()> {
        // Listed first: what a listing shows of names that go meanwhile differs.
        let mut left: Vec<PathBuf> = Vec::new();
        for entry in Dir::read_from(folder.fd())? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name.as_bytes().starts_with(self.mark.as_bytes())
                && name.as_bytes().ends_with(b".part")
            {
                left.push(name.into());
            }
        }
        for name in left {
            match folder.remove(&name) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether there is room.
    pub(super) fn has_room(&self, missing: &[&VolumeFile]) -> Result<(), PlaceError> {
        let needed = missing.iter().map(|f| f.size).fold(0, u64::saturating_add);
        let free = self.folder.free();
        let free = free.map_err(|source| PlaceError::Volume { source })?;
        if needed > free {
            return Err(PlaceError::NoRoom { needed, free });
        }
        Ok(())
    }

    /// Begins a file, in the folder that it belongs into.
    pub(super) fn begin(&self, file: &VolumeFile) -> Result<(Writing, File), PlaceError> {
        let begin = || {
            let (folders, _) = split(&file.path);
            let mut folder = self.folder.again()?;
            for name in folders {
                folder = enter(&folder, name)?;
            }
            let temporary = format!("{}{:016x}.part", self.mark, rand::random::<u64>());
            let open = folder.create(&temporary)?;
            let writing = Writing {
                folder,
                temporary,
                placed: false,
            };
            Ok((writing, open))
        };
        begin().map_err(|source| of(file, source))
    }

    /// Gives a file that was written its name. Somebody who wrote the same meanwhile
    /// is no hindrance.
    pub(super) fn place(
        &self,
        mut writing: Writing,
        written: &File,
        file: &VolumeFile,
    ) -> Result<(), PlaceError> {
        let (_, name) = split(&file.path);
        let at = |source| of(file, source);
        written.sync_all().map_err(at)?;
        match writing.folder.place(&writing.temporary, name) {
            Ok(()) => writing.placed = true,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                if self.stands(file).map_err(at)? != Some(true) {
                    return Err(PlaceError::Exists {
                        path: file.path.clone(),
                        more: 0,
                    });
                }
            }
            Err(e) => return Err(at(e)),
        }
        writing.folder.sync().map_err(at)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if !self.placed {
            // The next run tries it too.
            let _ = self.folder.remove(&self.temporary);
        }
    }
}

/// An error about a file.
pub(super) fn of(file: &VolumeFile, source: io::Error) -> PlaceError {
    PlaceError::File {
        path: file.path.clone(),
        source,
    }
}

/// A folder, made if missing, so that it is there after a crash of the machine.
fn enter(folder: &Folder, name: &str) -> io::Result<Folder> {
    let (inner, made) = folder.make(name)?;
    if made {
        folder.sync()?;
    }
    Ok(inner)
}
