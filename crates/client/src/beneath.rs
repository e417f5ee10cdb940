//! Files beneath one folder. Each name is opened in its folder, and no symlink is
//! followed, so nothing is read or written elsewhere, whoever changes what lies
//! there meanwhile. Nothing waits when it is opened: a pipe without a writer, say.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// An open folder.
#[derive(Debug)]
pub(crate) struct Folder {
    fd: OwnedFd,
    within: Within,
}

/// How far beneath.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    /// Wherever folders lead: the folder is the person's own.
    Links,
    /// In one file system, as the kernel itself sees to.
    FileSystem,
}

/// What stands at a name.
#[derive(Debug)]
pub(crate) enum There {
    Nothing,
    File(File),
    /// A folder, link, device: nothing that is read or written here.
    Other,
}

impl Folder {
    /// The folder itself: where the person says, links and all. Made if missing.
    pub(crate) fn top(path: &Path) -> io::Result<Self> {
        match std::fs::create_dir(path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        Ok(Self {
            fd: open_top(path)?,
            within: Within::Links,
        })
    }

    /// A volume as it is mounted. What lies beneath is opened by `openat2`, which
    /// follows no link and leaves neither the folder nor its file system.
    pub(crate) fn volume(path: &Path) -> io::Result<Self> {
        let volume = Self {
            fd: open_top(path)?,
            within: Within::FileSystem,
        };
        match volume.open(Path::new("."), OFlags::DIRECTORY | OFlags::RDONLY) {
            // Old container runtimes forbid what they do not know.
            Err(Errno::NOSYS | Errno::PERM) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the kernel of this node has no openat2 (Linux 5.6), without which nothing is read safely; use a newer node",
            )),
            Err(e) => Err(e.into()),
            Ok(_) => Ok(volume),
        }
    }

    fn open(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // A mode is for files that are made, and for no others.
        let mode = match flags.contains(OFlags::CREATE) {
            true => Mode::from_raw_mode(0o666),
            false => Mode::empty(),
        };
        match self.within {
            Within::Links => rustix::fs::openat(&self.fd, path, flags, mode),
            Within::FileSystem => open_within(self.fd.as_fd(), path, flags, mode),
        }
    }

    /// For reading what is in it.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// A folder in this one, if it is there and one.
    pub(crate) fn find(&self, name: impl AsRef<Path>) -> io::Result<Option<Self>> {
        match self.open(name.as_ref(), OFlags::DIRECTORY | OFlags::RDONLY) {
            Ok(fd) => Ok(Some(Self {
                fd,
                within: self.within,
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR) => Err(io::Error::other(
                "it is no folder; a link to one is not followed",
            )),
            Err(e) => Err(plain(e)),
        }
    }

    /// A folder in this one, made if missing.
    pub(crate) fn enter(&self, name: &str) -> io::Result<Self> {
        self.make(name).map(|(folder, _)| folder)
    }

    /// A folder in this one, and whether it was made now.
    pub(crate) fn make(&self, name: &str) -> io::Result<(Self, bool)> {
        let made = match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(0o777)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(e) => return Err(e.into()),
        };
        let folder = self.find(name)?;
        let folder = folder.ok_or_else(|| io::Error::other("it went away"))?;
        Ok((folder, made))
    }

    /// What stands at a name.
    pub(crate) fn look(&self, name: impl AsRef<Path>) -> io::Result<There> {
        // Not to wait for the writer of a pipe.
        match self.open(name.as_ref(), OFlags::RDONLY | OFlags::NONBLOCK) {
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
            // A link, a socket, a device of which there is none.
            Err(Errno::LOOP | Errno::NXIO | Errno::NODEV) => Ok(There::Other),
            Err(e) => Err(plain(e)),
        }
    }

    /// What stands at a path.
    pub(crate) fn look_at(&self, path: &str) -> io::Result<There> {
        let (folders, name) = split(path);
        let mut at: Option<Self> = None;
        for folder in folders {
            match at.as_ref().unwrap_or(self).find(folder)? {
                Some(found) => at = Some(found),
                None => return Ok(There::Nothing),
            }
        }
        at.as_ref().unwrap_or(self).look(name)
    }

    /// A new file, which nothing stood in the place of.
    pub(crate) fn create(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        Ok(self.open(Path::new(name), flags)?.into())
    }

    /// Gives a file its final name, if nothing has that.
    pub(crate) fn place(&self, from: &str, to: &str) -> io::Result<()> {
        rename_new(&self.fd, Path::new(from), Path::new(to))
    }

    /// Removes a file.
    pub(crate) fn remove(&self, name: impl AsRef<Path>) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(
            &self.fd,
            name.as_ref(),
            AtFlags::empty(),
        )?)
    }

    /// The same folder once more.
    pub(crate) fn again(&self) -> io::Result<Self> {
        Ok(Self {
            fd: self.fd.try_clone()?,
            within: self.within,
        })
    }

    /// Makes what was named in it last, across a crash of the machine.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match rustix::fs::fsync(&self.fd) {
            // Some file systems cannot, of folders.
            Ok(()) | Err(Errno::INVAL | Errno::NOTSUP) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Bytes that may still be written here.
    pub(crate) fn free(&self) -> io::Result<u64> {
        let room = rustix::fs::fstatvfs(&self.fd)?;
        Ok(room.f_bavail.saturating_mul(room.f_frsize))
    }
}

/// The folders of a path, and the name in the last of them.
pub(crate) fn split(path: &str) -> (impl Iterator<Item = &str>, &str) {
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    (folders.split('/').filter(|f| !f.is_empty()), name)
}

fn open_top(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

#[cfg(target_os = "linux")]
fn open_within(
    folder: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    mode: Mode,
) -> rustix::io::Result<OwnedFd> {
    use rustix::fs::ResolveFlags;
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    // The kernel gives up when something is renamed at the same time.
    for _ in 0..1000 {
        match rustix::fs::openat2(folder, path, flags, mode, resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            done => return done,
        }
    }
    Err(Errno::AGAIN)
}

#[cfg(not(target_os = "linux"))]
fn open_within(_: BorrowedFd<'_>, _: &Path, _: OFlags, _: Mode) -> rustix::io::Result<OwnedFd> {
    Err(Errno::NOSYS)
}

/// What the kernel says, in words where its own mislead.
fn plain(error: Errno) -> io::Error {
    match error {
        Errno::XDEV => io::Error::other(
            "another file system is mounted there, and only the volume itself is read and written",
        ),
        error => error.into(),
    }
}

/// Renames, if nothing stands at the new name.
pub(crate) fn rename_new(folder: impl AsFd, from: &Path, to: &Path) -> io::Result<()> {
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
        for top in [Folder::top(inside.path()), Folder::volume(inside.path())] {
            let top = top.unwrap();
            assert!(top.find("folder").is_err() && top.enter("folder").is_err());
            assert!(matches!(top.look("file").unwrap(), There::Other));
            assert!(top.look_at("folder/secret").is_err());
            assert!(top.create("dangling").is_err());
        }
        let volume = Folder::volume(inside.path()).unwrap();
        let out = outside.path().join("secret");
        for path in ["folder/secret", "../x", "a/../../x"] {
            assert!(!matches!(volume.look(path), Ok(There::File(_))), "{path}");
        }
        assert!(!matches!(volume.look(&out), Ok(There::File(_))));
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
