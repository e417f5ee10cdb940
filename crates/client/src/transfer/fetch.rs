//! Fetching a package: download, check, put in place, unpack.

use std::fs::File;
use std::io::Seek as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::archive::{self, ArchiveError, Checked};
use super::download::Downloader;
use super::local::digest;
use super::part_file::PartFile;
use super::unpack::{self, UnpackError, Unpacked};
use super::{Address, Trouble};
use trevor_core::digest::Sha256Hex;

/// What to fetch, and what to do with it.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The pre-signed URL.
    pub url: Address,
    /// The digest it must have.
    pub sha256: Option<Sha256Hex>,
    /// Where it goes, unless the server's name for it will do.
    pub out: Option<PathBuf>,
    /// A folder to unpack it in.
    pub extract: Option<PathBuf>,
}

/// What was fetched.
#[derive(Debug)]
pub struct Fetched {
    /// Where it is.
    pub file: PathBuf,
    /// Bytes of it.
    pub size: u64,
    /// Its digest.
    pub sha256: Sha256Hex,
    /// What is in it.
    pub package: Checked,
    /// Whether it was there already.
    pub was_there: bool,
    /// What was unpacked.
    pub unpacked: Option<Unpacked>,
}

/// Why a package was not fetched.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages explain each")]
pub enum FetchError {
    #[error("{trouble}{}", advice(trouble))]
    Download { trouble: Trouble },
    #[error(
        "{} is there already; with --sha256 it is checked where it is, with --out the new one goes elsewhere",
        .0.display()
    )]
    Exists(PathBuf),
    #[error("{} is there already, and its SHA-256 is {is}; move it away, or use --out", file.display())]
    Another { file: PathBuf, is: Sha256Hex },
    #[error(
        "what was downloaded has the SHA-256 {is}, not the one wanted: it was removed; \
         fetch it again, and if that stays so, ask who gave you the link"
    )]
    Digest { is: Sha256Hex },
    #[error("the package is not what it should be: {0}; do not use it, ask who gave you the link")]
    Package(ArchiveError),
    #[error("{}: {source}", file.display())]
    File {
        file: PathBuf,
        source: std::io::Error,
    },
    #[error("{} is there, but was not unpacked: {source}", file.display())]
    Unpack { file: PathBuf, source: UnpackError },
}

fn advice(trouble: &Trouble) -> &'static str {
    match trouble {
        t if t.refused() => {
            ": the link has ended, was revoked, or was not copied whole; ask for a new one"
        }
        Trouble::Status { status: 404, .. } => ": the package was revoked or deleted",
        Trouble::Status {
            status: 300..=399, ..
        } => ": it points elsewhere, which is not followed",
        t if t.passes() => "; try again later: the same command goes on from what is there",
        _ => "",
    }
}

/// Fetches a package.
///
/// # Errors
/// When it cannot be had, or is not what it should be; then it is not put in place.
pub async fn fetch(wish: Wish, downloader: &Downloader) -> Result<Fetched, FetchError> {
    if let Some(out) = &wish.out
        && exists(out)
    {
        return blocking(out.clone(), move || there_already(&wish)).await;
    }
    let failed = |trouble| FetchError::Download { trouble };
    let object = downloader.ask(&wish.url).await.map_err(failed)?;
    let file = wish
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from(&object.name));
    let wish = Wish {
        out: Some(file.clone()),
        ..wish
    };
    if exists(&file) {
        return blocking(file, move || there_already(&wish)).await;
    }
    let part = PartFile::open(&file).map_err(at(&file))?;
    downloader
        .fill(&wish.url, object, &part)
        .await
        .map_err(failed)?;
    blocking(file.clone(), move || take(&wish, &file, &part)).await
}

fn exists(file: &Path) -> bool {
    file.symlink_metadata().is_ok()
}

fn at(file: &Path) -> impl Fn(std::io::Error) -> FetchError {
    |source| FetchError::File {
        file: file.to_owned(),
        source,
    }
}

/// Hashing, checking and unpacking use the processor and the disk alone.
async fn blocking<T: Send + 'static>(
    file: PathBuf,
    work: impl FnOnce() -> Result<T, FetchError> + Send + 'static,
) -> Result<T, FetchError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(at(&file)(std::io::Error::other(error))),
    }
}

/// Checks a file that stands where the package belongs.
fn there_already(wish: &Wish) -> Result<Fetched, FetchError> {
    let file = wish.out.clone().unwrap_or_default();
    let Some(wanted) = &wish.sha256 else {
        return Err(FetchError::Exists(file));
    };
    let mut open = File::open(&file).map_err(at(&file))?;
    let is = digest(&mut open).map_err(at(&file))?;
    if is != *wanted {
        return Err(FetchError::Another { file, is });
    }
    let package = archive::check(&open).map_err(FetchError::Package)?;
    finished(wish, file, open, is, package, true)
}

/// Checks what was downloaded, and puts it in place.
fn take(wish: &Wish, file: &Path, part: &Arc<PartFile>) -> Result<Fetched, FetchError> {
    let mut open = part.reader().map_err(at(file))?;
    let is = digest(&mut open).map_err(at(file))?;
    if wish.sha256.as_ref().is_some_and(|wanted| is != *wanted) {
        part.discard().map_err(at(file))?;
        return Err(FetchError::Digest { is });
    }
    let package = match archive::check(&open) {
        Ok(package) => package,
        Err(error) => {
            part.discard().map_err(at(file))?;
            return Err(FetchError::Package(error));
        }
    };
    part.finish().map_err(at(file))?;
    finished(wish, file.to_owned(), open, is, package, false)
}

fn finished(
    wish: &Wish,
    file: PathBuf,
    mut open: File,
    sha256: Sha256Hex,
    package: Checked,
    was_there: bool,
) -> Result<Fetched, FetchError> {
    let size = open.metadata().map_err(at(&file))?.len();
    let unpacked = match &wish.extract {
        None => None,
        Some(folder) => {
            open.rewind().map_err(at(&file))?;
            let done = unpack::unpack(&open, &package, folder);
            Some(done.map_err(|source| FetchError::Unpack {
                file: file.clone(),
                source,
            })?)
        }
    };
    Ok(Fetched {
        file,
        size,
        sha256,
        package,
        was_there,
        unpacked,
    })
}
