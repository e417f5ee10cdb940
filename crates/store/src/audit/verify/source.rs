//! Where a ledger is read from: a bucket, or a folder that is a copy of one.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use crate::{Bucket, Quarantine, Records, StorageError};
use trevor_core::object_key::{FactKey, FactPrefix};

/// Objects read at once.
const AT_ONCE: usize = 16;
const PAGE: i32 = 1000;

/// Why a ledger cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The bucket's server.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The folder, or a temporary file.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A bucket or its copy; keys of the copy are paths in the folder.
#[derive(Clone, Debug)]
pub enum Source {
    /// A copy.
    Folder(PathBuf),
    /// The bucket itself.
    Bucket(Read),
}

/// A bucket that is only read.
#[derive(Clone, Debug)]
pub struct Read(Bucket);

impl From<&Records> for Source {
    fn from(records: &Records) -> Self {
        Self::Bucket(Read(records.bucket().clone()))
    }
}

impl From<&Quarantine> for Source {
    fn from(quarantine: &Quarantine) -> Self {
        Self::Bucket(Read(quarantine.bucket().clone()))
    }
}

impl Source {
    /// An object, or none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, SourceError> {
        match self {
            Self::Bucket(Read(bucket)) => Ok(bucket.get(key).await?),
            Self::Folder(root) => {
                let Some(path) = below(root, key) else {
                    return Ok(None);
                };
                match std::fs::read(&path) {
                    Ok(bytes) => Ok(Some(bytes.into())),
                    Err(e) if is_absent(&e) => Ok(None),
                    Err(e) => Err(failed(&path, e)),
                }
            }
        }
    }

    /// Whether an object of any size is there.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub async fn exists(&self, key: &str) -> Result<bool, SourceError> {
        match self {
            Self::Bucket(Read(bucket)) => {
                let page = bucket.page(key, "", 1).await?;
                Ok(page.first().is_some_and(|listed| listed.key == key))
            }
            Self::Folder(root) => Ok(below(root, key).is_some_and(|path| path.is_file())),
        }
    }

    /// When an object was stored, by the server's clock; none in a copy.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub async fn stored(&self, key: &str) -> Result<Option<Timestamp>, SourceError> {
        match self {
            Self::Bucket(Read(bucket)) => Ok(bucket.last_written(key).await?),
            Self::Folder(_) => Ok(None),
        }
    }

    /// Keys under a prefix of which bytes are kept: objects, and versions of them.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn ever_stored(&self, prefix: &str) -> Result<BTreeSet<String>, SourceError> {
        match self {
            Self::Bucket(Read(bucket)) => Ok(bucket.ever_stored(prefix).await?),
            Self::Folder(_) => self.keys(prefix).try_collect().await,
        }
    }

    /// The folders directly under a prefix that ends in `/`, in the order of keys.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn folders(&self, prefix: &str) -> Result<Vec<String>, SourceError> {
        match self {
            Self::Bucket(Read(bucket)) => Ok(bucket.folders(prefix).await?.into_iter().collect()),
            Self::Folder(root) => {
                let names = sorted(&root.join(prefix))?;
                let folders = names.into_iter().filter_map(|name| {
                    let folder = name.strip_suffix('/')?;
                    Some(folder.to_owned())
                });
                Ok(folders.collect())
            }
        }
    }

    /// Every key under a prefix that ends in `/`, in order.
    pub fn keys<'a>(&'a self, prefix: &str) -> stream::BoxStream<'a, Result<String, SourceError>> {
        match self {
            Self::Bucket(Read(bucket)) => pages(bucket, prefix.to_owned()).boxed(),
            Self::Folder(root) => walk(root, prefix.to_owned()).boxed(),
        }
    }

    /// Every key under the prefix of a type, in order.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub(super) async fn list<T>(
        &self,
        prefix: &FactPrefix<T>,
    ) -> Result<Vec<FactKey<T>>, SourceError> {
        let keys = self.keys(prefix).try_filter_map(|listed| {
            let key = prefix.key_of(&listed);
            async move { Ok(key) }
        });
        keys.try_collect().await
    }

    /// Every object under a prefix, in the order of keys, read ahead a little.
    pub fn objects<'a>(
        &'a self,
        prefix: &str,
    ) -> stream::BoxStream<'a, Result<(String, Option<Bytes>), SourceError>> {
        self.keys(prefix)
            .map_ok(move |key| async move {
                let bytes = self.get(&key).await?;
                Ok((key, bytes))
            })
            .try_buffered(AT_ONCE)
            .boxed()
    }
}

fn pages(bucket: &Bucket, prefix: String) -> impl Stream<Item = Result<String, SourceError>> + '_ {
    let first = Some(String::new());
    stream::try_unfold((first, prefix), move |(after, prefix)| async move {
        let Some(after) = after else {
            return Ok::<_, SourceError>(None);
        };
        let after = if after.is_empty() {
            prefix.clone()
        } else {
            after
        };
        let (page, more) = bucket.page_of(&prefix, &after, PAGE).await?;
        let next = page.last().filter(|_| more).map(|last| last.key.clone());
        let keys: Vec<String> = page.into_iter().map(|listed| listed.key).collect();
        Ok(Some((
            stream::iter(keys.into_iter().map(Ok)),
            (next, prefix),
        )))
    })
    .try_flatten()
}

/// The files of a folder as a listing has them; one level's names in memory.
pub(super) fn walk(
    root: &Path,
    prefix: String,
) -> impl Stream<Item = Result<String, SourceError>> + '_ {
    let first = vec![(prefix.clone(), None::<std::vec::IntoIter<String>>)];
    stream::try_unfold(first, move |mut levels| async move {
        while let Some((prefix, names)) = levels.last_mut() {
            let here = match names {
                Some(names) => names,
                None => names.insert(sorted(&root.join(&*prefix))?.into_iter()),
            };
            let Some(name) = here.next() else {
                levels.pop();
                continue;
            };
            let key = format!("{prefix}{name}");
            if key.ends_with('/') {
                levels.push((key, None));
            } else {
                return Ok(Some((key, levels)));
            }
        }
        Ok(None)
    })
}

/// Names in a folder as parts of keys: folders end in `/`. None where there is none.
fn sorted(folder: &Path) -> Result<Vec<String>, SourceError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if is_absent(&e) => return Ok(Vec::new()),
        Err(e) => return Err(failed(folder, e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| failed(folder, e))?;
        let mut name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().map_err(|e| failed(folder, e))?.is_dir() {
            name.push('/');
        }
        names.push(name);
    }
    names.sort_unstable();
    Ok(names)
}

/// The path of a key in a folder; none where the key leads out of it: keys are read from
/// what may have been tampered with.
pub(super) fn below(root: &Path, key: &str) -> Option<PathBuf> {
    let inside = Path::new(key)
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    inside.then(|| root.join(key))
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
    )
}

/// An error of a file, named.
pub(super) fn failed(path: &Path, source: std::io::Error) -> SourceError {
    SourceError::File {
        path: path.display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_leads_out_of_the_folder() {
        let root = Path::new("/copy");
        assert_eq!(below(root, "a/b.json"), Some(root.join("a/b.json")));
        for key in ["../x", "a/../../x", "/etc/passwd", "a/./../..", ".."] {
            assert_eq!(below(root, key), None, "{key}");
        }
    }
}
