//! Third stage: the SHA-256 of the whole zip, and its parts.
//!
//! A second hash over the same bytes, on a thread of its own beside the first:
//! the package's digest is known before it is stored, so that reading it back
//! proves something.

use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::frame::Framed;
use super::spool::{Part, Place, Pool};
use super::stream::{PackError, Stop};
use trevor_core::digest::Sha256Hex;

/// The zip as it was cut.
#[derive(Debug)]
pub(super) struct Assembled {
    pub(super) size: u64,
    pub(super) sha256: Sha256Hex,
    pub(super) parts: i32,
}

/// Cuts the zip into parts of `part_size` bytes and sends them on, the last one
/// only when the stage before says that all is complete.
pub(super) fn assemble<E>(
    part_size: u64,
    mut input: mpsc::Receiver<Framed>,
    mut pool: Pool,
    parts: mpsc::Sender<Part>,
) -> Result<Assembled, Stop<E>> {
    let mut sha256 = Sha256::new();
    let mut size = 0;
    let mut number = 1;
    let mut place: Option<Place> = None;
    loop {
        let batch = match input.blocking_recv() {
            Some(Framed::Bytes(batch)) => batch,
            Some(Framed::Complete) => break,
            None => return Err(Stop::Elsewhere),
        };
        for bytes in batch {
            sha256.update(&bytes);
            size += bytes.len() as u64;
            let mut rest = bytes.as_ref();
            while !rest.is_empty() {
                // A full part waits for the next byte: it could be the last.
                if let Some(full) = place.take_if(|place| place.size() == part_size) {
                    send(&parts, full, &mut number, false)?;
                }
                if parts.is_closed() {
                    return Err(PackError::SinkClosed.into());
                }
                let current = match &mut place {
                    Some(current) => current,
                    none => none.insert(pool.take().map_err(PackError::Spool)?),
                };
                let room = usize::try_from(part_size - current.size()).unwrap_or(usize::MAX);
                let (now, later) = rest.split_at(rest.len().min(room));
                current.write(now).map_err(PackError::Spool)?;
                rest = later;
            }
        }
    }
    if let Some(last) = place {
        send(&parts, last, &mut number, true)?;
    }
    let sha256 = Sha256Hex::from_raw(&sha256.finalize().into());
    Ok(Assembled {
        size,
        sha256,
        parts: number - 1,
    })
}

fn send<E>(
    parts: &mpsc::Sender<Part>,
    place: Place,
    number: &mut i32,
    last: bool,
) -> Result<(), Stop<E>> {
    let part = Part {
        number: *number,
        body: place.finish(),
        last,
    };
    *number += 1;
    parts
        .blocking_send(part)
        .map_err(|_| PackError::SinkClosed.into())
}
