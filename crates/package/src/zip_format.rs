//! The records of the zip format (PKWARE APPNOTE 6.3.3), as bytes, and the choice of
//! layout for each entry ([`Layout`]).
//!
//! We write them ourselves since the manifest knows each file's size and CRC-32
//! before the first byte is read: a stored entry then states them in its header
//! and needs no data descriptor. A descriptor behind stored bytes is something
//! that readers of streams must guess at, and that a hostile file could forge.
//!
//! Readers disagree where an entry's records do, so that these rules hold for every entry,
//! whatever its size and place:
//!
//! - An entry has a data descriptor only where its compressed size is not known before its
//!   header is written: it is deflated, and too large to be deflated in memory first.
//! - Local and central header agree: both have a zip64 extra field or neither, with the
//!   same version and flags. Some readers take the central header's extra field as the
//!   sign that the descriptor has fields of 8 bytes (Info-ZIP with the check for
//!   overlapping entries), others the local one's, and others the size of the data (Java's
//!   `ZipInputStream`). So an entry with a descriptor has zip64 if and only if its data
//!   has more than 4 GiB. One for which this cannot be had is stored: behind 4 GiB of
//!   other entries its central header needs zip64 for the offset alone.
//! - An entry with a descriptor has an extra field in both headers: where it has no zip64,
//!   an extended timestamp (APPNOTE 4.6, "UT") that holds no time. Info-ZIP's unzip with
//!   that check forgets only at the next extra field that an entry had zip64, and so took
//!   a descriptor of 4-byte fields for one of 8, in every package that has both.
//!
//! The rules for Info-ZIP are from its source (github.com/madler/unzip): 47b3cea (2019-06)
//! added the check, which takes the size of a descriptor from `G.zip64`; 122050b (2021-01)
//! takes it from the central header, ad27f06 (2021-12) from the local one, and af0d07f
//! (2022-07) takes either size. Distributions patched their unzip 6.0 with builds between.

use jiff::Timestamp;
use jiff::civil::DateTime;

/// Sizes and offsets from here on need zip64 (the value itself is its mark).
pub(super) const LIMIT_32: u64 = 0xffff_ffff;
const LIMIT_16: u64 = 0xffff;

const VERSION_PLAIN: u16 = 20;
const VERSION_ZIP64: u16 = 45;
const MADE_ON_UNIX: u16 = 3 << 8;
const FLAG_DESCRIPTOR: u16 = 1 << 3;
const FLAG_UTF8: u16 = 1 << 11;
const ZIP64_EXTRA: u16 = 1;
/// An extended timestamp: its id, one byte of flags, and none of the times set.
const NO_TIMESTAMP: &[u8] = b"UT\x01\x00\x00";
/// A regular file that its owner may write and all may read.
const ATTRIBUTES: u32 = 0o100_644 << 16;

/// Bytes of the records at the end, at most.
pub(super) const END_MAX: u64 = 56 + 20 + 22;

/// How an entry's bytes are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// As they are.
    Stored,
    /// Compressed.
    Deflated,
}

/// Date and time in the form of DOS, which every entry carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DosTime {
    date: u16,
    time: u16,
}

impl DosTime {
    /// In UTC, and within the years that the form can say.
    pub(super) fn new(time: Timestamp) -> Self {
        let utc = time.to_zoned(jiff::tz::TimeZone::UTC).datetime();
        let first = DateTime::constant(1980, 1, 1, 0, 0, 0, 0);
        let last = DateTime::constant(2107, 12, 31, 23, 59, 58, 0);
        let at = utc.clamp(first, last);
        // All are small and not negative after the clamp.
        let part = |n: i64| u16::try_from(n).unwrap_or_default();
        Self {
            date: part(i64::from(at.year()) - 1980) << 9
                | part(at.month().into()) << 5
                | part(at.day().into()),
            time: part(at.hour().into()) << 11
                | part(at.minute().into()) << 5
                | part(i64::from(at.second()) / 2),
        }
    }
}

/// Files up to this size are deflated in memory, before their header is written.
pub(super) const HELD: u64 = 1 << 20;

/// How an entry is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) method: Method,
    /// Its headers have a zip64 extra field, and its descriptor has fields of 8 bytes.
    pub(super) zip64: bool,
    /// Its compressed size is not known before its header is written.
    pub(super) descriptor: bool,
}

impl Layout {
    /// Of an entry at an offset. `held`: its bytes are in memory.
    pub(super) fn of(planned: Method, size: u64, held: bool, offset: u64) -> Self {
        let held = held || size <= HELD;
        let beyond = offset >= LIMIT_32;
        let streams = planned == Method::Deflated && !held;
        // With zip64 only where the data alone makes every reader expect it.
        let large = size > LIMIT_32;
        let small = !beyond && packed_max(Method::Deflated, size) < LIMIT_32;
        let descriptor = streams && (large || small);
        let method = match streams && !descriptor {
            true => Method::Stored,
            false => planned,
        };
        Self {
            method,
            zip64: beyond || packed_max(method, size) >= LIMIT_32,
            descriptor,
        }
    }
}

/// Bytes of an entry's data in the zip, at most. The fastest level of deflate can spend
/// nine bits on a byte.
pub(super) fn packed_max(method: Method, size: u64) -> u64 {
    match method {
        Method::Stored => size,
        Method::Deflated => size
            .saturating_add(size / 8)
            .saturating_add(size / 1024 + 64),
    }
}

/// An entry, as its records describe it.
#[derive(Clone, Debug)]
pub(super) struct Record<'a> {
    pub(super) name: &'a str,
    pub(super) layout: Layout,
    pub(super) time: DosTime,
    pub(super) crc32: u32,
    pub(super) size: u64,
    /// Bytes in the zip: where a descriptor follows, known afterwards.
    pub(super) packed: u64,
    /// Where its local header is.
    pub(super) offset: u64,
}

impl Record<'_> {
    fn flags(&self) -> u16 {
        if self.layout.descriptor {
            FLAG_UTF8 | FLAG_DESCRIPTOR
        } else {
            FLAG_UTF8
        }
    }

    /// What stands for the zip64 extra field where readers need one to see that it is not.
    fn instead_of_zip64(&self) -> &'static [u8] {
        match self.layout.descriptor && !self.layout.zip64 {
            true => NO_TIMESTAMP,
            false => &[],
        }
    }

    /// What local and central header have in common.
    fn common(&self, out: &mut Vec<u8>, sizes: [u32; 3], extra: usize) {
        let version = match self.layout.zip64 {
            true => VERSION_ZIP64,
            false => VERSION_PLAIN,
        };
        let method: u16 = match self.layout.method {
            Method::Stored => 0,
            Method::Deflated => 8,
        };
        for field in [
            version,
            self.flags(),
            method,
            self.time.time,
            self.time.date,
        ] {
            out.extend(field.to_le_bytes());
        }
        for field in sizes {
            out.extend(field.to_le_bytes());
        }
        out.extend(low_16(self.name.len() as u64).to_le_bytes());
        out.extend(low_16(extra as u64).to_le_bytes());
    }

    /// Before the bytes.
    pub(super) fn local_header(&self, out: &mut Vec<u8>) {
        // What is only known afterwards is zero here, and in the descriptor.
        let known = if self.layout.descriptor {
            (0, 0, 0)
        } else {
            (self.crc32, self.packed, self.size)
        };
        let (crc32, packed, size) = known;
        out.extend(b"PK\x03\x04");
        if self.layout.zip64 {
            self.common(out, [crc32, u32::MAX, u32::MAX], 20);
            out.extend(self.name.as_bytes());
            zip64_extra(out, &[size, packed]);
        } else {
            let extra = self.instead_of_zip64();
            self.common(out, [crc32, low_32(packed), low_32(size)], extra.len());
            out.extend(self.name.as_bytes());
            out.extend(extra);
        }
    }

    /// After the bytes of an entry whose header could not say how many they are.
    pub(super) fn descriptor(&self, out: &mut Vec<u8>) {
        if !self.layout.descriptor {
            return;
        }
        out.extend(b"PK\x07\x08");
        out.extend(self.crc32.to_le_bytes());
        if self.layout.zip64 {
            out.extend(self.packed.to_le_bytes());
            out.extend(self.size.to_le_bytes());
        } else {
            out.extend(low_32(self.packed).to_le_bytes());
            out.extend(low_32(self.size).to_le_bytes());
        }
    }

    /// In the central directory.
    pub(super) fn central_header(&self, out: &mut Vec<u8>) {
        let large: Vec<u64> = [self.size, self.packed, self.offset]
            .into_iter()
            .filter(|n| *n >= LIMIT_32)
            .collect();
        let extra = match large.is_empty() {
            true => self.instead_of_zip64().len(),
            false => 4 + 8 * large.len(),
        };
        out.extend(b"PK\x01\x02");
        let version = match self.layout.zip64 {
            true => VERSION_ZIP64,
            false => VERSION_PLAIN,
        };
        out.extend((MADE_ON_UNIX | version).to_le_bytes());
        self.common(
            out,
            [self.crc32, low_32(self.packed), low_32(self.size)],
            extra,
        );
        // No comment, the first disk, no internal attributes.
        out.extend([0; 6]);
        out.extend(ATTRIBUTES.to_le_bytes());
        out.extend(low_32(self.offset).to_le_bytes());
        out.extend(self.name.as_bytes());
        match large.is_empty() {
            true => out.extend(self.instead_of_zip64()),
            false => zip64_extra(out, &large),
        }
    }
}

/// The records that end a zip.
pub(super) fn end(out: &mut Vec<u8>, entries: u64, directory: u64, directory_size: u64) {
    if entries >= LIMIT_16 || directory >= LIMIT_32 || directory_size >= LIMIT_32 {
        let zip64_end = directory + directory_size;
        out.extend(b"PK\x06\x06");
        out.extend(44_u64.to_le_bytes());
        out.extend((MADE_ON_UNIX | VERSION_ZIP64).to_le_bytes());
        out.extend(VERSION_ZIP64.to_le_bytes());
        out.extend([0; 8]);
        for field in [entries, entries, directory_size, directory] {
            out.extend(field.to_le_bytes());
        }
        out.extend(b"PK\x06\x07");
        out.extend([0; 4]);
        out.extend(zip64_end.to_le_bytes());
        out.extend(1_u32.to_le_bytes());
    }
    out.extend(b"PK\x05\x06");
    out.extend([0; 4]);
    out.extend(low_16(entries).to_le_bytes());
    out.extend(low_16(entries).to_le_bytes());
    out.extend(low_32(directory_size).to_le_bytes());
    out.extend(low_32(directory).to_le_bytes());
    out.extend([0; 2]);
}

/// Bytes that an entry adds to a zip besides its data, at most.
pub(super) fn overhead_max(name: &str) -> u64 {
    let name = name.len() as u64;
    (30 + name + 20) + 24 + (46 + name + 28)
}

fn zip64_extra(out: &mut Vec<u8>, fields: &[u64]) {
    out.extend(ZIP64_EXTRA.to_le_bytes());
    out.extend(low_16(8 * fields.len() as u64).to_le_bytes());
    for field in fields {
        out.extend(field.to_le_bytes());
    }
}

/// The number, or the mark that zip64 has it.
fn low_32(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn low_16(n: u64) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Result, Seek, SeekFrom};

    use super::*;

    /// Some bytes, zeros up to `from`, and more bytes.
    struct Sparse {
        head: Vec<u8>,
        from: u64,
        tail: Vec<u8>,
        at: u64,
    }

    impl Read for Sparse {
        fn read(&mut self, out: &mut [u8]) -> Result<usize> {
            let of = |piece: &[u8], at: u64| piece.get(at as usize..).unwrap_or(&[]).to_vec();
            let bytes = match self.at.checked_sub(self.from) {
                Some(at) => of(&self.tail, at),
                None if self.at < self.head.len() as u64 => of(&self.head, self.at),
                None => vec![0; out.len().min((self.from - self.at) as usize)],
            };
            let len = bytes.len().min(out.len());
            out[..len].copy_from_slice(&bytes[..len]);
            self.at += len as u64;
            Ok(len)
        }
    }

    impl Seek for Sparse {
        fn seek(&mut self, to: SeekFrom) -> Result<u64> {
            let (from, by) = match to {
                SeekFrom::Start(at) => (at, 0),
                SeekFrom::End(by) => (self.from + self.tail.len() as u64, by),
                SeekFrom::Current(by) => (self.at, by),
            };
            self.at = from.checked_add_signed(by).unwrap();
            Ok(self.at)
        }
    }

    #[test]
    fn entries_above_and_beyond_four_gibibytes_read_back() {
        let time = DosTime::new("2026-01-02T03:04:05Z".parse().unwrap());
        let large = 5 << 30;
        let stored = |name, size, offset| Record {
            name,
            layout: Layout::of(Method::Stored, size, false, offset),
            time,
            crc32: crc32fast::hash(b"beyond"),
            size,
            packed: size,
            offset,
        };
        let mut head = Vec::new();
        stored("large", large, 0).local_header(&mut head);
        let offset = head.len() as u64 + large;
        let mut tail = Vec::new();
        stored("small", 6, offset).local_header(&mut tail);
        tail.extend(b"beyond");
        let directory = offset + tail.len() as u64;
        stored("large", large, 0).central_header(&mut tail);
        stored("small", 6, offset).central_header(&mut tail);
        let size = offset + tail.len() as u64 - directory;
        end(&mut tail, 2, directory, size);

        let file = Sparse {
            head,
            from: offset,
            tail,
            at: 0,
        };
        let mut archive = zip::ZipArchive::new(file).unwrap();
        assert_eq!(archive.by_name("large").unwrap().size(), large);
        let mut text = String::new();
        archive
            .by_name("small")
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "beyond");
    }

    #[test]
    fn no_time_is_outside_what_dos_can_say() {
        let of = |time: &str| DosTime::new(time.parse().unwrap());
        assert_eq!(of("1970-01-01T00:00:00Z"), of("1980-01-01T00:00:00Z"));
        assert_eq!(of("2500-01-01T00:00:00Z"), of("2107-12-31T23:59:59Z"));
        assert_eq!(
            of("2026-11-24T10:20:31Z"),
            DosTime {
                date: 0x5d78,
                time: 0x528f
            }
        );
    }
}
