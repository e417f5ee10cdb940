//! The packages themselves: the release bucket, a copy of it, or what lies of it in a
//! copy of the records.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use sha2::{Digest as _, Sha256};

use super::source::{Source, SourceError, below, failed, walk};
use super::{Findings, Kind};
use crate::{Release, StorageError, read_back};

/// Beyond this size it is said that a package is being read.
const LONG: u64 = 1 << 30;
/// What trevor writes to try a server.
const PROBES: [&str; 2] = ["work/probe/", "probe/"];
const RELEASES: &str = "releases/";
const PAGE: i32 = 1000;

/// Where packages are.
#[derive(Clone, Debug)]
pub enum Packages {
    /// A copy of the release bucket.
    Folder(PathBuf),
    /// The bucket.
    Bucket(Release),
}

impl Packages {
    /// Keys under a prefix, in order.
    pub(super) fn keys<'a>(
        &'a self,
        prefix: &str,
    ) -> stream::BoxStream<'a, Result<String, SourceError>> {
        match self {
            Self::Folder(root) => walk(root, prefix.to_owned()).boxed(),
            Self::Bucket(release) => pages(release, prefix.to_owned()).boxed(),
        }
    }

    /// Keys under a prefix of which bytes are kept: packages, and versions of them.
    pub(super) async fn ever_stored(&self, prefix: &str) -> Result<BTreeSet<String>, SourceError> {
        match self {
            Self::Folder(_) => self.keys(prefix).try_collect().await,
            Self::Bucket(release) => Ok(release.ever_stored(prefix).await?),
        }
    }

    /// Reads a package: what is wrong with it, if something is. One that went meanwhile
    /// is not wrong.
    pub(super) async fn compare(
        &self,
        key: &str,
        (sha256, size): (&str, u64),
        findings: &mut Findings<'_>,
    ) -> Result<(), SourceError> {
        if size > LONG {
            (findings.progress)(&format!("{key}: {size} bytes are read"));
        }
        let found = match self {
            Self::Folder(root) => match below(root, key).filter(|path| path.is_file()) {
                Some(path) => Some(hash(&path).map_err(|e| failed(&path, e))?),
                None => return Ok(()),
            },
            Self::Bucket(release) => match read_back(release, key, size, || ()).await {
                Ok(found) => found.map(|sha256| sha256.to_string()),
                Err(StorageError::NotFound { .. }) => return Ok(()),
                Err(error) => return Err(error.into()),
            },
        };
        findings.summary.packages += 1;
        let detail = match found {
            Some(found) if found == sha256 => return Ok(()),
            Some(found) => format!("has the SHA-256 {found}, and its record {sha256}"),
            None => format!("has not the {size} bytes of its record"),
        };
        findings.add(Kind::PackageDiffers, key, &detail);
        Ok(())
    }
}

/// What lies in the release bucket, and belongs to no request that the ledger knows.
pub async fn strays(
    packages: &Packages,
    records: &Source,
    findings: &mut Findings<'_>,
) -> Result<(), SourceError> {
    let mut known = (String::new(), false);
    // A copy may lie in one folder with that of the records.
    let prefix = match packages {
        Packages::Folder(_) => RELEASES,
        Packages::Bucket(_) => "",
    };
    let mut keys = packages.keys(prefix);
    while let Some(key) = keys.next().await {
        let key = key?;
        findings.looked_at_one();
        if PROBES.iter().any(|probe| key.starts_with(probe)) {
            continue;
        }
        let mut parts = key.strip_prefix(RELEASES).unwrap_or_default().split('/');
        let request = match (parts.next(), parts.next(), parts.next()) {
            (Some(namespace), Some(uid), Some(_)) => format!("{namespace}/{uid}"),
            _ => {
                findings.add(
                    Kind::Unexpected,
                    &key,
                    "is in the release bucket, where trevor writes nothing of this name",
                );
                continue;
            }
        };
        if known.0 != request {
            let first = format!("audit/requests/{request}/{}", crate::audit::entry_name(1));
            known = (request, records.exists(&first).await?);
        }
        if !known.1 {
            findings.add(
                Kind::Unexpected,
                &key,
                "is in the release bucket, and the ledger has no such request",
            );
        }
    }
    Ok(())
}

fn pages(
    release: &Release,
    prefix: String,
) -> impl Stream<Item = Result<String, SourceError>> + '_ {
    let first = Some(String::new());
    stream::try_unfold((first, prefix), move |(after, prefix)| async move {
        let Some(after) = after else {
            return Ok::<_, SourceError>(None);
        };
        let (page, more) = release.page_of(&prefix, &after, PAGE).await?;
        let next = page.last().filter(|_| more).map(|last| last.key.clone());
        let keys = stream::iter(page.into_iter().map(|listed| Ok(listed.key)));
        Ok(Some((keys, (next, prefix))))
    })
    .try_flatten()
}

/// The SHA-256 of a file.
fn hash(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(&buffer[..read]);
    }
}
