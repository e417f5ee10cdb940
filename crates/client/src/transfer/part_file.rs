//! A download on its way: `FILE.part`, and beside it `FILE.part.json` that says
//! which bytes of which version are there. The URL is in neither.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::fs::{CWD, OFlags};
use serde::{Deserialize, Serialize};

use super::ranges::Ranges;
use crate::beneath::rename_new;

/// What a killed process has to read again is bounded by both.
const SAVE_EVERY: Duration = Duration::from_secs(1);
const SAVE_BYTES: u64 = 4 << 20;

/// The version of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) etag: String,
    pub(super) size: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    version: Option<Version>,
    done: Ranges,
    #[serde(skip)]
    saved: Option<Instant>,
    #[serde(skip)]
    unsaved: u64,
}

impl State {
    fn is_due(&self) -> bool {
        self.unsaved >= SAVE_BYTES || self.saved.is_none_or(|s| s.elapsed() >= SAVE_EVERY)
    }
}

/// A file that is being downloaded, by nobody else.
#[derive(Debug)]
pub(super) struct PartFile {
    file: File,
    path: PathBuf,
    beside: PathBuf,
    end: PathBuf,
    state: Mutex<State>,
}

impl PartFile {
    /// Opens what a former download of this file left, or begins.
    pub(super) fn open(end: &Path) -> io::Result<Arc<Self>> {
        let with = |suffix: &str| {
            let mut name = end.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        let (path, beside) = (with(".part"), with(".part.json"));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::other("another process is downloading it"));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let length = file.metadata()?.len();
        let state = read_state(&beside, length).unwrap_or_default();
        Ok(Arc::new(Self {
            file,
            path,
            beside,
            end: end.to_owned(),
            state: Mutex::new(state),
        }))
    }

    /// Keeps what is there of this version, and nothing of another. Gives the
    /// bytes that are there.
    pub(super) fn begin(&self, version: Option<&Version>) -> io::Result<u64> {
        let mut state = self.state();
        if version.is_none() || state.version.as_ref() != version {
            self.file.set_len(0)?;
            *state = State::default();
            state.version = version.cloned();
        }
        if let Some(version) = version {
            self.file.set_len(version.size)?;
            self.save(&mut state)?;
        }
        Ok(state.done.bytes())
    }

    /// What is missing of a version, in pieces.
    pub(super) fn missing(&self, size: u64, piece: u64) -> Vec<Range<u64>> {
        self.state().done.missing(size, piece)
    }

    /// Writes bytes to their place.
    pub(super) async fn write(self: &Arc<Self>, at: u64, pieces: Vec<Bytes>) -> io::Result<()> {
        let part = Arc::clone(self);
        let writing = tokio::task::spawn_blocking(move || part.write_now(at, &pieces));
        writing.await.map_err(io::Error::other)?
    }

    fn write_now(&self, at: u64, pieces: &[Bytes]) -> io::Result<()> {
        let mut next = at;
        for piece in pieces {
            self.file.write_all_at(piece, next)?;
            next += piece.len() as u64;
        }
        let mut state = self.state();
        state.done.add(at..next);
        state.unsaved += next - at;
        if state.version.is_some() && state.is_due() {
            self.save(&mut state)?;
        }
        Ok(())
    }

    /// Writes down what is there.
    pub(super) fn keep(&self) -> io::Result<()> {
        let mut state = self.state();
        if state.version.is_some() {
            self.save(&mut state)?;
        }
        Ok(())
    }

    /// What was downloaded, to be read from its beginning.
    pub(super) fn reader(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    /// Gives the file its name, if nothing has that.
    pub(super) fn finish(&self) -> io::Result<()> {
        self.file.sync_all()?;
        rename_new(CWD, &self.path, &self.end)?;
        remove(&self.beside)
    }

    /// Removes what was downloaded.
    pub(super) fn discard(&self) -> io::Result<()> {
        remove(&self.beside)?;
        remove(&self.path)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save(&self, state: &mut State) -> io::Result<()> {
        let new = self.beside.with_extension("json.new");
        std::fs::write(&new, serde_json::to_vec(&*state)?)?;
        std::fs::rename(&new, &self.beside)?;
        state.saved = Some(Instant::now());
        state.unsaved = 0;
        Ok(())
    }
}

/// What was written down, if it can be true of a file of this length.
fn read_state(path: &Path, length: u64) -> Option<State> {
    let state: State = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    state.done.fits(length).then_some(state)
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(etag: &str) -> Version {
        Version {
            etag: etag.to_owned(),
            size: 10,
        }
    }

    #[test]
    fn what_is_there_is_kept_for_the_same_version_only() {
        let folder = tempfile::tempdir().unwrap();
        let end = folder.path().join("a.zip");
        let part = PartFile::open(&end).unwrap();
        assert_eq!(part.begin(Some(&version("\"1\""))).unwrap(), 0);
        part.write_now(2, &[Bytes::from("ab"), Bytes::from("c")])
            .unwrap();
        part.keep().unwrap();
        assert!(PartFile::open(&end).is_err(), "two at once");
        drop(part);

        let part = PartFile::open(&end).unwrap();
        assert_eq!(part.begin(Some(&version("\"1\""))).unwrap(), 3);
        assert_eq!(part.missing(10, 100), [0..2, 5..10]);
        assert_eq!(part.begin(Some(&version("\"2\""))).unwrap(), 0);
        part.write_now(0, &[Bytes::from("x")]).unwrap();
        assert_eq!(part.begin(None).unwrap(), 0);
    }

    #[test]
    fn what_cannot_be_true_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let end = folder.path().join("a.zip");
        for lie in [
            "",
            "{}",
            "[]",
            r#"{"version":{"etag":"\"1\"","size":10},"done":[{"start":0,"end":10}]}"#,
        ] {
            std::fs::write(folder.path().join("a.zip.part"), b"short").unwrap();
            std::fs::write(folder.path().join("a.zip.part.json"), lie).unwrap();
            let part = PartFile::open(&end).unwrap();
            assert_eq!(part.begin(Some(&version("\"1\""))).unwrap(), 0, "{lie}");
        }
    }

    #[test]
    fn a_finished_file_replaces_nothing_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let end = folder.path().join("a.zip");
        let part = PartFile::open(&end).unwrap();
        part.begin(Some(&version("\"1\""))).unwrap();
        std::fs::write(&end, b"mine").unwrap();
        assert!(part.finish().is_err());
        assert_eq!(std::fs::read(&end).unwrap(), b"mine");
        std::fs::remove_file(&end).unwrap();
        part.finish().unwrap();
        let left: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(left, ["a.zip"]);
    }
}
