//! The layout rules, read back from the bytes by a parser of our own: readers of the last
//! ten years disagree wherever an entry's records do.

use std::io::{Cursor, Read, Seek, SeekFrom};

use super::super::zip_format::{self, DosTime, HELD, LIMIT_32, Layout, Record};
use super::*;

/// A zip of which only some stretches are written down; the rest is zeros.
#[derive(Default)]
struct Sparse {
    stretches: Vec<(u64, Vec<u8>)>,
    length: u64,
    at: u64,
}

impl Sparse {
    fn write(&mut self, bytes: Vec<u8>) {
        let length = bytes.len() as u64;
        self.stretches.push((self.length, bytes));
        self.length += length;
    }
}

impl Read for Sparse {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let after = |start: &(u64, Vec<u8>)| start.0 <= self.at;
        let known = self.stretches.partition_point(after);
        let next = self.stretches.get(known).map_or(self.length, |s| s.0);
        let mut left = out.len().min(usize::try_from(next - self.at).unwrap());
        let bytes = known.checked_sub(1).and_then(|k| {
            let (start, bytes) = &self.stretches[k];
            bytes.get(usize::try_from(self.at - start).ok()?..)
        });
        match bytes.filter(|bytes| !bytes.is_empty()) {
            Some(bytes) => {
                left = left.min(bytes.len());
                out[..left].copy_from_slice(&bytes[..left]);
            }
            None => out[..left].fill(0),
        }
        self.at += left as u64;
        Ok(left)
    }
}

impl Seek for Sparse {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.at = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::End(by) => self.length.checked_add_signed(by).unwrap(),
            SeekFrom::Current(by) => self.at.checked_add_signed(by).unwrap(),
        };
        Ok(self.at)
    }
}

/// Reads little-endian numbers.
struct Bytes_<'a>(&'a [u8]);

impl<'a> Bytes_<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, left) = self.0.split_at(count);
        self.0 = left;
        taken
    }
    fn number(&mut self, count: usize) -> u64 {
        let mut wide = [0; 8];
        wide[..count].copy_from_slice(self.take(count));
        u64::from_le_bytes(wide)
    }
}

fn at(zip: &mut (impl Read + Seek), offset: u64, count: u64) -> Vec<u8> {
    zip.seek(SeekFrom::Start(offset)).unwrap();
    let mut bytes = vec![0; usize::try_from(count).unwrap()];
    zip.read_exact(&mut bytes).unwrap();
    bytes
}

/// What a local or central header says.
#[derive(Debug, PartialEq)]
struct Header {
    version: u64,
    flags: u64,
    method: u64,
    crc32: u64,
    packed: u64,
    size: u64,
    zip64: bool,
    /// An extended timestamp without a time.
    stamp: bool,
    name: Vec<u8>,
}

/// Takes such a timestamp away; whether there was one.
fn stamp(extra: &mut Bytes_<'_>) -> bool {
    let rest = extra.0.strip_prefix(b"UT\x01\x00\x00");
    extra.0 = rest.unwrap_or(extra.0);
    rest.is_some()
}

/// The zip64 extra field's numbers, if there is one.
fn zip64(mut extra: Bytes_<'_>) -> Option<Vec<u64>> {
    let mut found = None;
    while !extra.0.is_empty() {
        let (id, length) = (extra.number(2), extra.number(2));
        let mut field = Bytes_(extra.take(usize::try_from(length).unwrap()));
        assert_eq!((id, length % 8), (1, 0), "another extra field");
        assert!(found.is_none(), "two of them");
        let mut numbers = Vec::new();
        while !field.0.is_empty() {
            numbers.push(field.number(8));
        }
        found = Some(numbers);
    }
    found
}

/// Takes the numbers that are marked as being in the zip64 extra field out of it.
fn wide(fields: &mut [&mut u64], extra: Option<Vec<u64>>) {
    let mut extra = extra.unwrap_or_default().into_iter();
    for field in fields {
        if **field == LIMIT_32 {
            **field = extra.next().expect("a mark without its number");
        }
    }
    assert_eq!(extra.next(), None, "a number without its mark");
}

/// A local header and the offset behind it.
fn local(zip: &mut (impl Read + Seek), offset: u64) -> (Header, u64) {
    let bytes = at(zip, offset, 30);
    let mut b = Bytes_(&bytes);
    assert_eq!(b.take(4), b"PK\x03\x04");
    let (version, flags, method) = (b.number(2), b.number(2), b.number(2));
    b.take(4);
    let (crc32, mut packed, mut size) = (b.number(4), b.number(4), b.number(4));
    let (name, extra) = (b.number(2), b.number(2));
    let bytes = at(zip, offset + 30, name + extra);
    let mut b = Bytes_(&bytes);
    let named = b.take(usize::try_from(name).unwrap()).to_vec();
    let stamp = stamp(&mut b);
    let extra_field = zip64(b);
    let has = extra_field.is_some();
    if has {
        assert_eq!(extra_field.as_ref().unwrap().len(), 2, "both sizes");
    }
    wide(&mut [&mut size, &mut packed], extra_field);
    let header = Header {
        version,
        flags,
        method,
        crc32,
        packed,
        size,
        zip64: has,
        stamp,
        name: named,
    };
    (header, offset + 30 + name + extra)
}

/// Asserts every rule of every entry; gives how many entries have a descriptor.
fn follows_the_rules(zip: &mut (impl Read + Seek), count: usize) -> usize {
    let length = zip.seek(SeekFrom::End(0)).unwrap();
    let end = at(zip, length - 22, 22);
    let mut b = Bytes_(&end);
    assert_eq!(b.take(4), b"PK\x05\x06");
    b.take(6);
    let (mut entries, mut size, mut directory) = (b.number(2), b.number(4), b.number(4));
    let before = at(zip, length - 42, 20);
    let mut b = Bytes_(&before);
    let has_zip64 = b.take(4) == b"PK\x06\x07";
    let marked = entries == 0xffff || size == LIMIT_32 || directory == LIMIT_32;
    assert_eq!(has_zip64, marked, "the end has zip64 where it is needed");
    let mut stops = length - 22;
    if has_zip64 {
        b.take(4);
        stops = b.number(8);
        let end = at(zip, stops, 56);
        let mut b = Bytes_(&end);
        assert_eq!(b.take(4), b"PK\x06\x06");
        b.take(28);
        (entries, size, directory) = (b.number(8), b.number(8), b.number(8));
    }
    assert_eq!(entries, count as u64);
    assert_eq!(directory + size, stops);

    let central = at(zip, directory, size);
    let mut b = Bytes_(&central);
    let (mut next, mut descriptors) = (0, 0);
    for _ in 0..count {
        assert_eq!(b.take(4), b"PK\x01\x02");
        let made = b.number(2);
        let (version, flags, method) = (b.number(2), b.number(2), b.number(2));
        assert_eq!(made & 0xff, version);
        b.take(4);
        let (crc32, mut packed, mut size) = (b.number(4), b.number(4), b.number(4));
        let (name, extra) = (b.number(2), b.number(2));
        b.take(10);
        let mut offset = b.number(4);
        let name = b.take(usize::try_from(name).unwrap()).to_vec();
        let mut extra = Bytes_(b.take(usize::try_from(extra).unwrap()));
        let stamp = stamp(&mut extra);
        let extra = zip64(extra);
        let has = extra.is_some();
        wide(&mut [&mut size, &mut packed, &mut offset], extra);
        let shown = String::from_utf8_lossy(&name).into_owned();

        assert_eq!(offset, next, "{shown}: nothing lies between two entries");
        let (local, data) = local(zip, offset);
        next = data + packed;
        assert_eq!(
            has, local.zip64,
            "{shown}: zip64 in both headers or neither"
        );
        assert_eq!(version, if has { 45 } else { 20 }, "{shown}");
        let central = Header {
            version,
            flags,
            method,
            crc32,
            packed,
            size,
            zip64: has,
            stamp,
            name,
        };
        assert_eq!(
            stamp,
            flags & 8 != 0 && !has,
            "{shown}: an extra field wherever there is a descriptor"
        );
        if flags & 8 == 0 {
            assert_eq!(local, central);
            continue;
        }
        descriptors += 1;
        assert_eq!(method, 8, "{shown}: only what is deflated has a descriptor");
        assert!(
            size > HELD,
            "{shown}: it could have been deflated beforehand"
        );
        let large = size > LIMIT_32;
        assert_eq!(
            has, large,
            "{shown}: readers go by zip64, or by the size of the data"
        );
        let empty = Header {
            crc32: 0,
            packed: 0,
            size: 0,
            ..central
        };
        assert_eq!(local, empty, "{shown}");
        let wide = if large { 8 } else { 4 };
        let descriptor = at(zip, next, 8 + 2 * wide);
        let mut d = Bytes_(&descriptor);
        assert_eq!(d.take(4), b"PK\x07\x08");
        let wide = usize::try_from(wide).unwrap();
        assert_eq!(d.number(4), crc32, "{shown}");
        assert_eq!((d.number(wide), d.number(wide)), (packed, size), "{shown}");
        next += descriptor.len() as u64;
    }
    assert_eq!(next, directory);
    assert!(b.0.is_empty());
    descriptors
}

/// A zip of entries whose data is zeros, laid out as `frame` does it.
fn sparse(entries: &[(&str, Method, u64)]) -> Sparse {
    let mut zip = Sparse::default();
    let mut directory = Vec::new();
    let time = DosTime::new("2026-01-02T03:04:05Z".parse().unwrap());
    for (name, planned, size) in entries {
        let layout = Layout::of(*planned, *size, false, zip.length);
        let packed = match layout.method {
            Method::Stored => *size,
            Method::Deflated => size / 2,
        };
        let record = Record {
            name,
            layout,
            time,
            crc32: 7,
            size: *size,
            packed,
            offset: zip.length,
        };
        let mut header = Vec::new();
        record.local_header(&mut header);
        zip.write(header);
        zip.length += packed;
        let mut descriptor = Vec::new();
        record.descriptor(&mut descriptor);
        zip.write(descriptor);
        record.central_header(&mut directory);
    }
    let (offset, size) = (zip.length, directory.len() as u64);
    zip_format::end(&mut directory, entries.len() as u64, offset, size);
    zip.write(directory);
    zip
}

const GIB: u64 = 1 << 30;

#[test]
fn headers_and_descriptors_agree_at_every_size_and_place() {
    use Method::{Deflated, Stored};
    let sizes = [
        0,
        1,
        4096,
        HELD,
        HELD + 1,
        10_000_000,
        // Deflate could make more than 4 GiB of it, or less.
        3 * GIB + GIB / 2,
        LIMIT_32 * 8 / 9,
        LIMIT_32 - 1,
        LIMIT_32,
        LIMIT_32 + 1,
        9 * GIB,
    ];
    for first in sizes {
        for second in sizes {
            for methods in [
                [Stored, Stored],
                [Stored, Deflated],
                [Deflated, Stored],
                [Deflated, Deflated],
            ] {
                let entries = [
                    ("first", methods[0], first),
                    ("second", methods[1], second),
                    ("data/small.csv", Deflated, 5000),
                    ("data/larger.csv", Deflated, 10_000_000),
                    ("data/stored.png", Stored, 10_000_000),
                ];
                follows_the_rules(&mut sparse(&entries), entries.len());
            }
        }
    }
}

#[test]
fn what_ends_just_below_or_above_four_gibibytes_follows_the_rules() {
    // So that the next header, or the directory, begins around the limit.
    for before in -120_i64..=8 {
        let first = LIMIT_32.checked_add_signed(before).unwrap();
        let entries = [
            ("a", Method::Stored, first),
            ("b.csv", Method::Deflated, 2 * HELD),
            ("c", Method::Stored, 1),
        ];
        follows_the_rules(&mut sparse(&entries), 3);
        follows_the_rules(&mut sparse(&entries[..1]), 1);
    }
}

#[test]
fn many_entries_follow_the_rules_around_the_limit_of_their_number() {
    for count in [65_534, 65_535, 65_536, 70_000] {
        let names: Vec<String> = (0..count).map(|n| format!("data/{n}")).collect();
        let entries: Vec<_> = names
            .iter()
            .map(|n| (n.as_str(), Method::Stored, 3))
            .collect();
        let mut zip = sparse(&entries);
        follows_the_rules(&mut zip, count);
        assert_eq!(zip::ZipArchive::new(zip).unwrap().len(), count);
    }
}

async fn of(content: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let manifest = manifest(
        content
            .iter()
            .map(|(path, bytes)| file(path, bytes))
            .collect(),
    );
    let digest = Sha256Hex::of(b"manifest");
    let plan = Plan::new(&inputs(&manifest, &digest)).unwrap();
    packed(&plan, &budget(), &Store::of(content, 10_000))
        .await
        .unwrap()
        .bytes
}

#[tokio::test]
async fn a_package_follows_the_rules_and_only_large_tables_have_descriptors() {
    let content = [
        ("empty.csv", vec![]),
        ("large.csv", table(400_000)),
        ("medium.csv", table(10_000)),
        ("noise.csv", noise(9000, 5)),
        ("plot.png", noise(3_000_000, 1)),
        ("small.csv", table(10)),
    ];
    let bytes = of(&content).await;
    assert_eq!(
        follows_the_rules(&mut Cursor::new(bytes), content.len() + 2),
        1
    );
}

#[tokio::test]
async fn a_reader_of_streams_without_descriptors_reads_what_is_held_in_memory() {
    // Metadata and preview of a thousand files are deflated.
    let names: Vec<String> = (0..1000).map(|n| format!("t{n}.csv")).collect();
    let content: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), table(500)))
        .collect();
    let mut stream = Cursor::new(of(&content).await);
    let mut read = 0;
    while let Some(mut entry) = zip::read::read_zipfile_from_stream(&mut stream).unwrap() {
        std::io::copy(&mut entry, &mut std::io::sink()).unwrap();
        read += 1;
    }
    assert_eq!(read, content.len() + 2);
}
