//! First stage: the files' bytes, in order, a little ahead of who needs them.
//!
//! Small files wait for the store, not for their bytes; so the next ones are
//! opened, and read whole, while one is passed on. How far ahead is bounded by
//! bytes (`window`): that bounds the memory, and keeps a large file from being
//! opened hours before its turn, when the store would long have hung up.

use std::future::Future;

use bytes::Bytes;
use futures::{FutureExt as _, Stream, StreamExt as _, stream};
use tokio::sync::{mpsc, watch};

use super::stream::{PackError, Stop};
use trevor_core::manifest::ManifestFile;

/// Files opened at the same time, at most.
const OPEN_AHEAD: usize = 16;
/// Files up to this size are read whole ahead of their turn.
const SMALL: u64 = 256 << 10;
/// Bytes of a stream that are passed on together, about.
const BATCH: usize = 256 << 10;

/// Why a file cannot be read.
#[derive(Debug)]
pub enum OpenError<E> {
    /// The store has no such object.
    Missing,
    /// Anything else.
    Failed(E),
}

/// Bytes of the file whose turn it is.
#[derive(Debug, Default)]
pub(super) struct FileData {
    pub(super) chunks: Vec<Bytes>,
    /// Whether these are its last.
    pub(super) end: bool,
}

/// A file, opened: whole if it is small.
enum Opened<S> {
    Whole(Vec<Bytes>),
    Stream(S),
}

/// Reads all files and passes their bytes on.
pub(super) async fn read_all<E, S, Fut>(
    files: &[ManifestFile],
    open: impl Fn(&ManifestFile) -> Fut,
    window: u64,
    out: mpsc::Sender<FileData>,
) -> Result<(), Stop<E>>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    Fut: Future<Output = Result<S, OpenError<E>>>,
{
    // Where in all bytes the pipeline is, so that nothing runs too far ahead.
    let (position, positions) = watch::channel(0_u64);
    let (opened, mut in_order) = mpsc::channel(OPEN_AHEAD);

    let ahead = async {
        // Indexes, not references: a future over borrowed items is not `Send`
        // in the eyes of the compiler (rust-lang/rust#102211).
        let starts = (0..files.len()).scan(0_u64, |next, index| {
            let start = *next;
            *next += files[index].size;
            Some((start, index))
        });
        let gated = stream::iter(starts).then(|(start, index)| {
            let mut positions = positions.clone();
            async move {
                // Fails only once nobody reads on: then nothing matters any more.
                let _ = positions
                    .wait_for(|at| start <= at.saturating_add(window))
                    .await;
                (start, index)
            }
        });
        let mut opening = std::pin::pin!(
            gated
                .map(|(start, index)| {
                    let stream = open(&files[index]);
                    async move { (start, index, fetch(&files[index], stream).await) }
                })
                .buffered(OPEN_AHEAD)
        );
        while let Some(next) = opening.next().await {
            if opened.send(next).await.is_err() {
                return;
            }
        }
        drop(opened);
    };

    let forward = async {
        while let Some((start, index, fetched)) = in_order.recv().await {
            let file = &files[index];
            match fetched? {
                Opened::Whole(chunks) => send(&out, FileData { chunks, end: true }).await?,
                Opened::Stream(mut stream) => {
                    let mut at = start;
                    let mut end = false;
                    while !end {
                        let batch = next_batch(file, &mut stream).await?;
                        end = batch.end;
                        at += batch.chunks.iter().map(|c| c.len() as u64).sum::<u64>();
                        send(&out, batch).await?;
                        position.send_replace(at.min(start + file.size));
                    }
                }
            }
            position.send_replace(start + file.size);
        }
        Ok(())
    };

    tokio::pin!(ahead);
    tokio::pin!(forward);
    // A failure ends the reading ahead at once.
    tokio::select! {
        result = &mut forward => result,
        () = &mut ahead => forward.await,
    }
}

/// Opens a file, and reads it if it is small. One that turns out longer than
/// the manifest says is read no further: the next stage refuses it.
async fn fetch<E, S>(
    file: &ManifestFile,
    opening: impl Future<Output = Result<S, OpenError<E>>>,
) -> Result<Opened<S>, Stop<E>>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    let mut stream = match opening.await {
        Ok(stream) => stream,
        Err(OpenError::Missing) => {
            return Err(PackError::FileMissing {
                path: file.path.clone(),
            }
            .into());
        }
        Err(OpenError::Failed(source)) => return Err(failed(file, source)),
    };
    if file.size > SMALL {
        return Ok(Opened::Stream(stream));
    }
    let mut chunks = Vec::new();
    let mut size = 0;
    while size <= file.size {
        match stream.next().await {
            Some(Ok(chunk)) => {
                size += chunk.len() as u64;
                chunks.push(chunk);
            }
            Some(Err(source)) => return Err(failed(file, source)),
            None => break,
        }
    }
    Ok(Opened::Whole(chunks))
}

/// The next bytes: one chunk, and more if they are there already.
async fn next_batch<E, S>(file: &ManifestFile, stream: &mut S) -> Result<FileData, Stop<E>>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    let mut data = FileData::default();
    let mut size = 0;
    let mut next = stream.next().await;
    loop {
        match next {
            Some(Ok(chunk)) => {
                size += chunk.len();
                data.chunks.push(chunk);
            }
            Some(Err(source)) => return Err(failed(file, source)),
            None => {
                data.end = true;
                return Ok(data);
            }
        }
        if size >= BATCH {
            return Ok(data);
        }
        match stream.next().now_or_never() {
            Some(ready) => next = ready,
            None => return Ok(data),
        }
    }
}

fn failed<E>(file: &ManifestFile, source: E) -> Stop<E> {
    PackError::Source {
        path: file.path.clone(),
        source,
    }
    .into()
}

async fn send<E>(out: &mpsc::Sender<FileData>, data: FileData) -> Result<(), Stop<E>> {
    out.send(data).await.map_err(|_| Stop::Elsewhere)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use trevor_core::digest::{Crc32, Sha256Hex};

    fn file(size: u64) -> ManifestFile {
        ManifestFile {
            path: "a".into(),
            size,
            sha256: Sha256Hex::of(b""),
            crc32: Crc32(0),
            media_type: String::new(),
            sniffed: None,
            remark: None,
            description: String::new(),
            justification: String::new(),
            suppression_notes: String::new(),
            output_type: None,
            statbarn: String::new(),
            collected_by: None,
            folder: None,
            version: String::new(),
            key: String::new(),
        }
    }

    /// Files opened while nobody takes what was read.
    async fn opened_ahead(files: &[ManifestFile], window: u64) -> usize {
        let opened = AtomicUsize::new(0);
        let open = |file: &ManifestFile| {
            opened.fetch_add(1, Ordering::Relaxed);
            let bytes = Bytes::from(vec![0; usize::try_from(file.size).unwrap()]);
            std::future::ready(Ok::<_, OpenError<Infallible>>(stream::iter([Ok(bytes)])))
        };
        let (out, _kept) = mpsc::channel(1);
        let reading = read_all(files, open, window, out);
        assert!(
            tokio::time::timeout(Duration::from_millis(50), reading)
                .await
                .is_err()
        );
        opened.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn what_is_read_ahead_is_bounded_by_bytes_and_by_number() {
        // One is passed on; the window begins behind it.
        let medium: Vec<_> = (0..100).map(|_| file(100_000)).collect();
        assert_eq!(opened_ahead(&medium, 500_000).await, 1 + 6);
        let small: Vec<_> = (0..1000).map(|_| file(10)).collect();
        assert!(opened_ahead(&small, 500_000).await <= 3 * OPEN_AHEAD);
    }

    #[tokio::test]
    async fn a_file_is_not_opened_long_before_its_turn() {
        let large: Vec<_> = (0..10).map(|_| file(10_000_000)).collect();
        assert_eq!(opened_ahead(&large, 500_000).await, 2);
    }
}
