//! Second stage: every file is hashed anew, compared with the manifest, deflated
//! where planned, and framed by the records of the zip.
//!
//! Stored bytes pass through without being copied. This stage works on a thread
//! of its own: hashing would hold up everybody else's network.

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress, Status};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::plan::Entry;
use super::read::FileData;
use super::stream::{Mismatch, PackError, Stop};
use super::zip_format::{self, DosTime, Layout, Method, Record};

/// Smaller pieces are gathered before they are passed on.
const GATHER: usize = 16 << 10;
/// Bytes passed on at a time, about.
const BATCH: usize = 256 << 10;
/// What deflate is fed at a time. Its output depends on how the input is cut,
/// so the cut must not depend on the network.
const BLOCK: usize = 128 << 10;
/// The level of deflate: the fastest.
const LEVEL: u32 = 1;

/// What this stage passes on.
#[derive(Debug)]
pub(super) enum Framed {
    /// The next bytes of the zip.
    Bytes(Vec<Bytes>),
    /// All is written and every file was what the manifest says.
    Complete,
}

/// Frames all entries and ends the zip.
pub(super) fn frame<E>(
    entries: &[Entry],
    time: DosTime,
    mut input: mpsc::Receiver<FileData>,
    output: mpsc::Sender<Framed>,
) -> Result<(), Stop<E>> {
    let mut out = Output::new(output);
    let mut directory = Vec::new();
    let mut deflate = Deflate::new();
    for entry in entries {
        let held = entry.ours.is_some();
        let mut record = Record {
            name: &entry.name,
            layout: Layout::of(entry.method, entry.size, held, out.written),
            time,
            crc32: entry.crc32,
            size: entry.size,
            packed: entry.size,
            offset: out.written,
        };
        let layout = record.layout;
        if layout.method == Method::Deflated && !layout.descriptor {
            let mut packed: Vec<u8> = Vec::new();
            each_chunk(entry, &mut input, |chunk| {
                deflate.write(&chunk, &mut packed)
            })?;
            deflate.finish(&mut packed)?;
            record.packed = packed.len() as u64;
            record.local_header(&mut out.gathered);
            out.settle()?;
            out.write(packed.into())?;
        } else {
            record.local_header(&mut out.gathered);
            out.settle()?;
            let start = out.written;
            each_chunk(entry, &mut input, |chunk| match layout.method {
                Method::Stored => out.write(chunk),
                Method::Deflated => deflate.write(&chunk, &mut out),
            })?;
            if layout.method == Method::Deflated {
                deflate.finish(&mut out)?;
            }
            record.packed = out.written - start;
            record.descriptor(&mut out.gathered);
            out.settle()?;
        }
        record.central_header(&mut directory);
    }
    let (offset, size) = (out.written, directory.len() as u64);
    zip_format::end(&mut directory, entries.len() as u64, offset, size);
    out.write(directory.into())?;
    out.finish()
}

/// The bytes of an entry, which are those of the manifest once this returns.
fn each_chunk<E>(
    entry: &Entry,
    input: &mut mpsc::Receiver<FileData>,
    mut write: impl FnMut(Bytes) -> Result<(), Stop<E>>,
) -> Result<(), Stop<E>> {
    let mut check = Check::new(entry);
    loop {
        let data = match &entry.ours {
            Some(bytes) => FileData {
                chunks: vec![bytes.clone()],
                end: true,
            },
            None => input.blocking_recv().ok_or(Stop::Elsewhere)?,
        };
        for chunk in data.chunks {
            check.update(&chunk)?;
            write(chunk)?;
        }
        if data.end {
            return check.finish();
        }
    }
}

/// A file on its way, against what the manifest says of it.
struct Check<'a> {
    entry: &'a Entry,
    size: u64,
    crc32: crc32fast::Hasher,
    sha256: Sha256,
}

impl<'a> Check<'a> {
    fn new(entry: &'a Entry) -> Self {
        Self {
            entry,
            size: 0,
            crc32: crc32fast::Hasher::new(),
            sha256: Sha256::new(),
        }
    }

    fn update<E>(&mut self, chunk: &[u8]) -> Result<(), Stop<E>> {
        self.size += chunk.len() as u64;
        if self.size > self.entry.size {
            return Err(self.mismatch(Mismatch::Size));
        }
        self.crc32.update(chunk);
        self.sha256.update(chunk);
        Ok(())
    }

    fn finish<E>(self) -> Result<(), Stop<E>> {
        let Self { entry, size, .. } = self;
        if size != entry.size {
            return Err(self.mismatch(Mismatch::Size));
        }
        if self.sha256.clone().finalize().as_slice() != entry.sha256 {
            return Err(self.mismatch(Mismatch::Sha256));
        }
        if self.crc32.clone().finalize() != entry.crc32 {
            return Err(self.mismatch(Mismatch::Crc32));
        }
        Ok(())
    }

    fn mismatch<E>(&self, what: Mismatch) -> Stop<E> {
        let name = &self.entry.name;
        let path = name.strip_prefix("data/").unwrap_or(name).to_owned();
        PackError::IntegrityMismatch { path, what }.into()
    }
}

/// Where deflated bytes go.
trait Sink {
    fn take<E>(&mut self, bytes: &[u8]) -> Result<(), Stop<E>>;
}

impl Sink for Output {
    fn take<E>(&mut self, bytes: &[u8]) -> Result<(), Stop<E>> {
        self.write(Bytes::copy_from_slice(bytes))
    }
}

impl Sink for Vec<u8> {
    fn take<E>(&mut self, bytes: &[u8]) -> Result<(), Stop<E>> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

/// Deflate whose output depends on the bytes alone.
struct Deflate {
    stream: Compress,
    block: Vec<u8>,
    packed: Vec<u8>,
}

impl Deflate {
    fn new() -> Self {
        Self {
            stream: Compress::new(Compression::new(LEVEL), false),
            block: Vec::new(),
            packed: Vec::new(),
        }
    }

    fn write<E>(&mut self, mut bytes: &[u8], out: &mut impl Sink) -> Result<(), Stop<E>> {
        self.block.reserve_exact(BLOCK - self.block.len());
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - self.block.len()));
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() == BLOCK {
                self.deflate(FlushCompress::None, out)?;
            }
        }
        Ok(())
    }

    fn finish<E>(&mut self, out: &mut impl Sink) -> Result<(), Stop<E>> {
        self.deflate(FlushCompress::Finish, out)?;
        self.stream.reset();
        Ok(())
    }

    /// Takes in the whole block, and with `Finish` gives out all there is.
    fn deflate<E>(&mut self, flush: FlushCompress, out: &mut impl Sink) -> Result<(), Stop<E>> {
        let mut taken = 0;
        loop {
            self.packed.clear();
            self.packed.reserve_exact(BLOCK);
            let before = self.stream.total_in();
            let input = self.block.get(taken..).unwrap_or_default();
            let status = self.stream.compress_vec(input, &mut self.packed, flush);
            taken += usize::try_from(self.stream.total_in() - before).unwrap_or(usize::MAX);
            out.take(&self.packed)?;
            match (status, flush) {
                (Ok(Status::StreamEnd), _) => break,
                (Ok(_), FlushCompress::None) if taken >= self.block.len() => break,
                // It had no room: once more, with room.
                (Ok(_), _) if !self.packed.is_empty() => {}
                _ => return Err(PackError::Deflate.into()),
            }
        }
        self.block.clear();
        Ok(())
    }
}

/// The zip's bytes on their way to the next stage.
struct Output {
    next: mpsc::Sender<Framed>,
    /// Small pieces, such as headers, not yet in the batch.
    gathered: Vec<u8>,
    settled: usize,
    batch: Vec<Bytes>,
    batch_size: usize,
    written: u64,
}

impl Output {
    fn new(next: mpsc::Sender<Framed>) -> Self {
        Self {
            next,
            gathered: Vec::new(),
            settled: 0,
            batch: Vec::new(),
            batch_size: 0,
            written: 0,
        }
    }

    fn write<E>(&mut self, bytes: Bytes) -> Result<(), Stop<E>> {
        if bytes.len() < GATHER {
            self.gathered.extend_from_slice(&bytes);
            return self.settle();
        }
        self.gather();
        self.written += bytes.len() as u64;
        self.batch_size += bytes.len();
        self.batch.push(bytes);
        self.pass_on(BATCH)
    }

    /// Counts what was gathered, and passes it on when it is enough.
    fn settle<E>(&mut self) -> Result<(), Stop<E>> {
        self.written += (self.gathered.len() - self.settled) as u64;
        self.settled = self.gathered.len();
        if self.gathered.len() < BATCH {
            return Ok(());
        }
        self.gather();
        self.pass_on(BATCH)
    }

    fn gather(&mut self) {
        if !self.gathered.is_empty() {
            self.batch_size += self.gathered.len();
            self.batch.push(std::mem::take(&mut self.gathered).into());
            self.settled = 0;
        }
    }

    fn pass_on<E>(&mut self, at_least: usize) -> Result<(), Stop<E>> {
        if self.batch_size < at_least {
            return Ok(());
        }
        self.batch_size = 0;
        let batch = Framed::Bytes(std::mem::take(&mut self.batch));
        self.next.blocking_send(batch).map_err(|_| Stop::Elsewhere)
    }

    fn finish<E>(mut self) -> Result<(), Stop<E>> {
        self.gather();
        self.pass_on(0)?;
        self.next
            .blocking_send(Framed::Complete)
            .map_err(|_| Stop::Elsewhere)
    }
}
