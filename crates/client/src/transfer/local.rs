//! The files that are to be sent, looked at before the first byte leaves.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use super::plan::PlanFile;
use super::shown;
use trevor_core::digest::Sha256Hex;

/// A file that is as the plan wants it.
#[derive(Clone, Debug)]
pub struct Local {
    /// Where it is.
    pub file: PathBuf,
    stamp: Stamp,
}

/// What tells that a file is still the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    size: u64,
    modified: Option<SystemTime>,
}

/// Why a file is not sent.
#[derive(Debug, thiserror::Error)]
#[error("'{}' ({}): {problem}", shown(path), file.display())]
pub struct LocalError {
    path: String,
    file: PathBuf,
    problem: LocalProblem,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages explain each")]
pub enum LocalProblem {
    #[error("{0}")]
    Unreadable(#[from] std::io::Error),
    #[error("it is not a file; for a folder use --dir")]
    NotAFile,
    #[error("it has {is} bytes, and the plan wants {wanted}: another version of the file?")]
    Size { is: u64, wanted: u64 },
    #[error("its SHA-256 is {is}, and the plan wants {wanted}: another version of the file?")]
    Digest { is: Sha256Hex, wanted: Sha256Hex },
    #[error("it changed meanwhile")]
    Changed,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.len(),
            modified: metadata.modified().ok(),
        }
    }
}

impl Local {
    /// Looks at a file: its size, and its digest where the plan has one.
    ///
    /// # Errors
    /// When it is not what the plan wants.
    pub fn check(wanted: &PlanFile, file: &Path) -> Result<Self, LocalError> {
        Self::look(wanted, file).map_err(|problem| LocalError {
            path: wanted.path.clone(),
            file: file.to_owned(),
            problem,
        })
    }

    fn look(wanted: &PlanFile, file: &Path) -> Result<Self, LocalProblem> {
        // Looked at before it is opened: opening a pipe would wait for its writer.
        let metadata = std::fs::metadata(file)?;
        if !metadata.is_file() {
            return Err(LocalProblem::NotAFile);
        }
        if metadata.len() != wanted.size {
            return Err(LocalProblem::Size {
                is: metadata.len(),
                wanted: wanted.size,
            });
        }
        let local = Self {
            file: file.to_owned(),
            stamp: Stamp::of(&metadata),
        };
        let mut open = std::fs::File::open(file)?;
        if let Some(wanted) = &wanted.sha256 {
            let is = digest(&mut open)?;
            if is != *wanted {
                return Err(LocalProblem::Digest {
                    is,
                    wanted: wanted.clone(),
                });
            }
        }
        local
            .same(&open.metadata()?)
            .then_some(local)
            .ok_or(LocalProblem::Changed)
    }

    /// Whether the file is still the one that was looked at.
    #[must_use]
    pub fn same(&self, metadata: &Metadata) -> bool {
        metadata.is_file() && Stamp::of(metadata) == self.stamp
    }
}

/// The SHA-256 of all that can be read.
pub(crate) fn digest(from: &mut impl std::io::Read) -> std::io::Result<Sha256Hex> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(Sha256Hex::from_raw(&hash.finalize().into())),
            n => hash.update(buffer.get(..n).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(size: u64, sha256: Option<Sha256Hex>) -> PlanFile {
        PlanFile {
            path: "t/a.csv".into(),
            size,
            sha256,
            parts: Vec::new(),
            expires: None,
        }
    }

    #[test]
    fn a_file_that_is_not_the_plans_is_named_before_anything_is_sent() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.csv");
        std::fs::write(&file, b"abc").unwrap();
        let is = |wanted: &PlanFile, file: &Path| Local::check(wanted, file);
        assert!(is(&wanted(3, None), &file).is_ok());
        assert!(is(&wanted(3, Some(Sha256Hex::of(b"abc"))), &file).is_ok());
        for (wanted, file, said) in [
            (wanted(4, None), file.clone(), "3 bytes"),
            (
                wanted(3, Some(Sha256Hex::of(b"abd"))),
                file.clone(),
                "SHA-256",
            ),
            (wanted(3, None), folder.path().to_owned(), "--dir"),
            (wanted(3, None), folder.path().join("b"), "No such file"),
        ] {
            let error = is(&wanted, &file).unwrap_err().to_string();
            assert!(error.contains(said) && error.contains("t/a.csv"), "{error}");
        }
    }

    #[test]
    fn a_file_that_changes_is_noticed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"abc").unwrap();
        let local = Local::check(&wanted(3, None), file.path()).unwrap();
        assert!(local.same(&file.as_file().metadata().unwrap()));
        std::fs::write(file.path(), b"abcd").unwrap();
        assert!(!local.same(&file.as_file().metadata().unwrap()));
    }
}
