//! Bringing the files of a request's sources to the gateway.
//!
//! All are found and hashed first, and the whole list is put to the gateway, which
//! says what of it is missing: what it has from before is not sent again. What is
//! missing is sent, and the list is put once more, so that it is stored when all of
//! it stands in quarantine. Each step can be repeated from the start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::Method;
use http::header::{CONTENT_LENGTH, HeaderName};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde::Deserialize;
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use super::globs::{GlobError, Wanted};
use super::read::{self, Held, ReadError};
use super::shown;
use super::walk::{Listed, Room, WalkError, walk};
use super::wire::{Gateway, WireError, json, of_file};
use crate::beneath::Folder;
use crate::transfer::{Outgoing, Pulse};
use trevor_core::names::{SetError, check_set};
use trevor_core::volume::{Collection, Missing, VolumeFile};

/// Files sent at the same time.
const AT_ONCE: usize = 4;
/// Bytes read at once.
const READ: usize = 256 << 10;
/// How often the gateway may miss something that it was sent.
const TURNS: usize = 3;

/// A folder to collect from, as the Job's arguments have it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Where the volume is mounted.
    pub root: PathBuf,
    /// Folder in it; empty: its root.
    #[serde(default)]
    pub path: String,
    /// Globs of what to take; empty: all.
    #[serde(default)]
    pub include: Vec<String>,
    /// Globs of what to leave.
    #[serde(default)]
    pub exclude: Vec<String>,
}

/// What to collect, and how much at most.
#[derive(Clone, Debug)]
pub struct Errand {
    /// The round that it is for.
    pub round: i64,
    /// From where.
    pub sources: Vec<Source>,
    /// The most files.
    pub most_files: usize,
    /// The most bytes.
    pub most_bytes: u64,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collected {
    /// Files in all.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were sent: the others were there.
    pub sent: usize,
}

/// Why the sources were not collected.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages explain each")]
pub enum CollectError {
    #[error("source {number}: the volume cannot be opened: {source}")]
    Volume {
        number: usize,
        source: std::io::Error,
    },
    #[error("source {number}: the folder '{}': {problem}", shown(Path::new(path)))]
    Folder {
        number: usize,
        path: String,
        problem: std::io::Error,
    },
    #[error("source {number}: {problem}")]
    Globs { number: usize, problem: GlobError },
    #[error("source {number}: {problem}")]
    Walk { number: usize, problem: WalkError },
    #[error("no file matches; look at path, include and exclude of the sources")]
    Nothing,
    #[error(
        "'{}' is in source {first} and in source {second}; exclude one",
        shown(Path::new(path))
    )]
    Twice {
        path: String,
        first: usize,
        second: usize,
    },
    #[error("{0}")]
    Names(#[from] SetError),
    #[error(
        "source {number}: '{}' is there twice, in Unicode's composed and decomposed form; rename or exclude one",
        shown(Path::new(path))
    )]
    TwoForms { number: usize, path: String },
    #[error("source {number}: '{}': {problem}", shown(Path::new(path)))]
    Read {
        number: usize,
        path: String,
        problem: ReadError,
    },
    #[error("'{}': {problem}", shown(Path::new(path)))]
    Send { path: String, problem: WireError },
    #[error("the list of files: {0}")]
    List(#[from] WireError),
    #[error("the gateway still misses '{}' after it was sent; does somebody else change the files of this request?", shown(Path::new(.0)))]
    StillMissing(String),
    #[error("the collector broke off: {0}")]
    Broken(String),
}

/// A file that was hashed, and where it lies.
#[derive(Clone, Debug)]
struct Ready {
    number: usize,
    folder: Arc<Folder>,
    /// The path as the volume spells it.
    at: String,
    held: Held,
}

/// Collects.
///
/// # Errors
/// With one line that names what stands in the way. What was sent until then is
/// not sent again the next time.
pub async fn collect(errand: Errand, gateway: &Gateway) -> Result<Collected, CollectError> {
    let round = errand.round;
    let broken = |e: tokio::task::JoinError| CollectError::Broken(e.to_string());
    let ready = tokio::task::spawn_blocking(move || prepare(&errand));
    let ready = ready.await.map_err(broken)??;
    let list = body(round, &ready)?;
    let mut sent = 0;
    let mut missing = put_list(gateway, &list).await?;
    for _ in 0..TURNS {
        if missing.is_empty() {
            break;
        }
        sent += send_all(gateway, &ready, &missing).await?;
        missing = put_list(gateway, &list).await?;
    }
    match missing.into_iter().next() {
        Some(path) => Err(CollectError::StillMissing(path)),
        None => Ok(Collected {
            files: ready.len(),
            bytes: ready.values().map(|r| r.held.stamp.size()).sum(),
            sent,
        }),
    }
}

/// Finds and hashes everything.
fn prepare(errand: &Errand) -> Result<BTreeMap<String, Ready>, CollectError> {
    let mut room = Room::new(errand.most_files, errand.most_bytes);
    let mut all: BTreeMap<String, (usize, Arc<Folder>, String)> = BTreeMap::new();
    for (at, source) in errand.sources.iter().enumerate() {
        let number = at + 1;
        let folder = Arc::new(open(number, source)?);
        for Listed { path, at } in find(number, &folder, source, &mut room)? {
            let mine = (number, Arc::clone(&folder), at);
            match all.insert(path.clone(), mine) {
                None => {}
                Some((first, ..)) if first == number => {
                    return Err(CollectError::TwoForms { number, path });
                }
                Some((first, ..)) => {
                    return Err(CollectError::Twice {
                        path,
                        first,
                        second: number,
                    });
                }
            }
        }
    }
    if all.is_empty() {
        return Err(CollectError::Nothing);
    }
    check_set(all.keys().map(String::as_str))?;
    all.into_iter()
        .map(|(path, (number, folder, at))| {
            let held = read::hash(&folder, &at).map_err(|problem| CollectError::Read {
                number,
                path: path.clone(),
                problem,
            })?;
            let ready = Ready {
                number,
                folder,
                at,
                held,
            };
            Ok((path, ready))
        })
        .collect()
}

fn open(number: usize, source: &Source) -> Result<Folder, CollectError> {
    let volume = Folder::volume(&source.root);
    let volume = volume.map_err(|source| CollectError::Volume { number, source })?;
    let path = source.path.trim_matches('/');
    if path.is_empty() {
        return Ok(volume);
    }
    let problem = |problem| CollectError::Folder {
        number,
        path: source.path.clone(),
        problem,
    };
    volume
        .find(path)
        .map_err(problem)?
        .ok_or_else(|| problem(std::io::Error::other("it is not there")))
}

fn find(
    number: usize,
    folder: &Folder,
    source: &Source,
    room: &mut Room,
) -> Result<Vec<Listed>, CollectError> {
    let wanted = Wanted::new(&source.include, &source.exclude);
    let mut wanted = wanted.map_err(|problem| CollectError::Globs { number, problem })?;
    if source.path.trim_matches('/').is_empty() {
        wanted = wanted.of_a_whole_volume();
    }
    walk(folder, &wanted, room).map_err(|problem| CollectError::Walk { number, problem })
}

fn body(round: i64, ready: &BTreeMap<String, Ready>) -> Result<Bytes, CollectError> {
    let files = ready.iter().map(|(path, ready)| VolumeFile {
        path: path.clone(),
        size: ready.held.stamp.size(),
        sha256: ready.held.sha256.clone(),
    });
    let list = Collection {
        round,
        files: files.collect(),
    };
    let text = serde_json::to_vec(&list).map_err(|e| CollectError::Broken(e.to_string()))?;
    Ok(text.into())
}

/// Puts the list; gives what is missing of it.
async fn put_list(gateway: &Gateway, list: &Bytes) -> Result<Vec<String>, CollectError> {
    let (status, answer) = gateway.put("collection", list).await?;
    match status {
        201 => Ok(Vec::new()),
        _ => Ok(json::<Missing>(&answer)?.missing),
    }
}

async fn send_all(
    gateway: &Gateway,
    ready: &BTreeMap<String, Ready>,
    missing: &[String],
) -> Result<usize, CollectError> {
    let known = missing
        .iter()
        .filter_map(|path| ready.get_key_value(path.as_str()));
    let sending = stream::iter(known)
        .map(|(path, ready)| send(gateway, path, ready))
        .buffer_unordered(AT_ONCE);
    let sent = sending.try_fold(0, |sent, ()| std::future::ready(Ok(sent + 1)));
    sent.await
}

/// Sends one file, as it was when it was hashed.
async fn send(gateway: &Gateway, path: &str, ready: &Ready) -> Result<(), CollectError> {
    let local = |problem: ReadError| CollectError::Read {
        number: ready.number,
        path: path.to_owned(),
        problem,
    };
    let mut tries = gateway.tries();
    loop {
        let (file, stamp) = read::open(&ready.folder, &ready.at).map_err(local)?;
        if stamp != ready.held.stamp {
            return Err(local(ReadError::Changed));
        }
        let watched = file.try_clone().map_err(|e| local(e.into()))?;
        let sent = put_file(gateway, path, &ready.held, file).await;
        // What was written to while it was read went out as neither version, and
        // was refused by its digest; this says why.
        stamp.still(&watched).map_err(local)?;
        match sent {
            Ok(()) => return Ok(()),
            Err(error) => tries
                .after(error)
                .await
                .map_err(|problem| CollectError::Send {
                    path: path.to_owned(),
                    problem,
                })?,
        }
    }
}

async fn put_file(
    gateway: &Gateway,
    path: &str,
    held: &Held,
    file: std::fs::File,
) -> Result<(), WireError> {
    let digest = STANDARD.encode(held.sha256.raw());
    let headers = [
        (CONTENT_LENGTH, held.stamp.size().to_string()),
        (
            HeaderName::from_static("content-digest"),
            format!("sha-256=:{digest}:"),
        ),
    ];
    let pulse = Pulse::default();
    let outgoing = outgoing(file, held.stamp.size(), pulse.clone());
    let answer = gateway
        .call(
            Method::PUT,
            &of_file("files", path),
            &headers,
            outgoing,
            &pulse,
        )
        .await?;
    gateway.finish(answer.into_body()).await
}

/// A file, read as it is sent.
fn outgoing(file: std::fs::File, size: u64, pulse: Pulse) -> Outgoing {
    let mut file = tokio::fs::File::from_std(file);
    file.set_max_buf_size(READ);
    let pieces = ReaderStream::with_capacity(file.take(size), READ);
    let frames = pieces.map(move |piece| {
        pulse.beat();
        piece.map(Frame::data)
    });
    StreamBody::new(frames).boxed_unsync()
}

#[cfg(test)]
#[path = "collect_tests.rs"]
mod tests;
