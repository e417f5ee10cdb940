//! Files beneath one folder. Each name is opened in its folder and never by a
//! path, and no symlink is followed, so nothing is read or written elsewhere,
//! whoever changes what lies there meanwhile.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder(OwnedFd);

/// What stands at a name.
#[derive(Debug)]
pub(super) enum There {
    Nothing,
    File(File),
    /// A folder, link, device: nothing that is read or written here.
    Other,
}

impl Folder {
    /// The folder itself: where the person says, links and all. Made if missing.
    pub(super) fn top(path: &Path) -> io::Result<Self> {
        match std::fs::create_dir(path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::openat(CWD, path, flags, Mode::empty())?))
    }

    /// A folder in this one, if it is there and one.
    pub(super) fn find(&self, name: &str) -> io::Result<Option<Self>> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.0, name, flags, Mode::empty()) {
            Ok(folder) => Ok(Some(Self(folder))),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR) => Err(io::Error::other("it is not a folder")),
            Err(e) => Err(e.into()),
        }
    }

    /// A folder in this one, made if missing.
    pub(super) fn enter(&self, name: &str) -> io::Result<Self> {
        match rustix::fs::mkdirat(&self.0, name, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        self.find(name)?
            .ok_or_else(|| io::Error::other("it went away"))
    }

    /// What stands at a name.
    pub(super) fn look(&self, name: &str) -> io::Result<There> {
        // Not to wait for the writer of a pipe.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.0, name, flags, Mode::empty()) {
            Ok(file) => {
                let file = File::from(file);
                let regular = file.metadata()?.is_file();
                Ok(if regular {
                    There::File(file)
                } else {
                    There::Other
                })
            }
            Err(Errno::NOENT) => Ok(There::Nothing),
            Err(Errno::LOOP | Errno::NXIO) => Ok(There::Other),
            Err(e) => Err(e.into()),
        }
    }

    /// A new file, which nothing stood in the place of.
    pub(super) fn create(&self, name: &str) -> io::Result<File> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.0, name, flags, Mode::from_raw_mode(0o666))?;
        Ok(file.into())
    }

    /// Gives a file its final name, if nothing has that.
    pub(super) fn place(&self, from: &str, to: &str) -> io::Result<()> {
        rename_new(&self.0, Path::new(from), Path::new(to))
    }

    /// Removes a file.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    /// Bytes that may still be written here.
    pub(super) fn free(&self) -> io::Result<u64> {
        let room = rustix::fs::fstatvfs(&self.0)?;
        Ok(room.f_bavail.saturating_mul(room.f_frsize))
    }
}

/// Renames, if nothing stands at the new name.
pub(super) fn rename_new(folder: impl AsFd, from: &Path, to: &Path) -> io::Result<()> {
    let folder = folder.as_fd();
    match rustix::fs::renameat_with(folder, from, folder, to, RenameFlags::NOREPLACE) {
        // Some file systems have no such rename, but links.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            rustix::fs::linkat(folder, from, folder, to, AtFlags::empty())?;
            Ok(rustix::fs::unlinkat(folder, from, AtFlags::empty())?)
        }
        done => Ok(done?),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_is_reached_through_a_link() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("secret"), b"x").unwrap();
        symlink(outside.path(), inside.path().join("folder")).unwrap();
        symlink(outside.path().join("secret"), inside.path().join("file")).unwrap();
        symlink(outside.path().join("new"), inside.path().join("dangling")).unwrap();
        let top = Folder::top(inside.path()).unwrap();
        assert!(top.find("folder").is_err() && top.enter("folder").is_err());
        assert!(matches!(top.look("file").unwrap(), There::Other));
        assert!(top.create("dangling").is_err());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let top = Folder::top(folder.path()).unwrap();
        for name in ["a", "b"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        assert!(top.place("a", "b").is_err());
        assert!(top.create("b").is_err());
        assert_eq!(std::fs::read(folder.path().join("b")).unwrap(), b"b");
        top.place("a", "c").unwrap();
        assert!(matches!(top.look("a").unwrap(), There::Nothing));
    }
}
