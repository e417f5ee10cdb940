//! Packages read by the zip readers that people have (`tests/readers/run.py`).

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::Command;

use sha2::{Digest as _, Sha256};

use super::super::zip_format::{self, DosTime, LIMIT_32, Layout, Record};
use super::*;

/// What of a file is not zeros: it repeats.
fn bytes_of(path: &str, at: u64, length: usize) -> Vec<u8> {
    if !path.starts_with("table") {
        return vec![0; length];
    }
    let row = b"12,60-69,120.5\n";
    let phase = usize::try_from(at).unwrap() % row.len();
    row.iter()
        .cycle()
        .skip(phase)
        .take(length)
        .copied()
        .collect()
}

const CHUNK: usize = 1 << 20;

fn chunks(path: &str, size: u64) -> impl Iterator<Item = Bytes> + use<> {
    let path = path.to_owned();
    let zeros = Bytes::from(vec![0; CHUNK]);
    let mut at = 0;
    std::iter::from_fn(move || {
        let length = usize::try_from((size - at).min(CHUNK as u64)).unwrap();
        let next = match path.starts_with("table") {
            true => Bytes::from(bytes_of(&path, at, length)),
            false => zeros.slice(..length),
        };
        at += length as u64;
        (length > 0).then_some(next)
    })
}

fn declared(path: &str, size: u64) -> ManifestFile {
    let (mut sha256, mut crc32) = (Sha256::new(), crc32fast::Hasher::new());
    for chunk in chunks(path, size) {
        sha256.update(&chunk);
        crc32.update(&chunk);
    }
    let mut declared = file(path, b"");
    declared.size = size;
    declared.sha256 = format!("{:x}", sha256.finalize()).parse().unwrap();
    declared.crc32 = Crc32(crc32.finalize());
    declared
}

fn crc32_of(path: &str, size: u64) -> u32 {
    let mut crc32 = crc32fast::Hasher::new();
    for chunk in chunks(path, size) {
        crc32.update(&chunk);
    }
    crc32.finalize()
}

/// What is written at a place of a file that is sparse where the content is zeros.
fn write_at(zip: &mut std::fs::File, bytes: &[u8]) {
    match bytes.iter().all(|b| *b == 0) {
        true => drop(zip.seek(SeekFrom::Current(bytes.len() as i64)).unwrap()),
        false => zip.write_all(bytes).unwrap(),
    }
}

/// Where packages lie while they are read.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target")).unwrap()
}

/// Packs files of these sizes, and has all readers read the package.
async fn everybody_reads(files: &[(String, u64)], every: bool) {
    let manifest = manifest(
        files
            .iter()
            .map(|(path, size)| declared(path, *size))
            .collect(),
    );
    let digest = Sha256Hex::of(b"manifest");
    let plan = Plan::new(&inputs(&manifest, &digest)).unwrap();
    let dir = folder();
    let at = dir.path().join("package.zip");
    let mut zip = std::fs::File::create(&at).unwrap();
    let (parts, mut sink) = mpsc::channel::<Part>(1);
    let open = |file: &ManifestFile| {
        let chunks = chunks(&file.path, file.size).map(Ok::<_, Infallible>);
        async move { Ok::<_, OpenError<Infallible>>(stream::iter(chunks)) }
    };
    let store = async {
        while let Some(part) = sink.recv().await {
            let PartBody::Memory(bytes) = part.body else {
                panic!("a part on disk")
            };
            write_at(&mut zip, &bytes);
        }
    };
    let budget = Budget {
        memory: 256 << 20,
        spool_dir: dir.path().into(),
    };
    let (packed, ()) = tokio::join!(pack(&plan, &budget, open, parts), store);
    packed.unwrap();
    let (entries, size) = plan
        .entries
        .iter()
        .fold((0, 0), |(n, sum), e| (n + 1, sum + e.size));
    let shown: Vec<_> = files.iter().take(3).collect();
    each_reader_reads(&at, (entries, size), &format!("{shown:?}"), every);
}

/// `entries`: how many there are, and their bytes.
fn each_reader_reads(at: &Path, entries: (u64, u64), shown: &str, every: bool) {
    a_stream_in_rust_reads(at, entries);
    let mut run = Command::new("python3");
    run.arg(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/readers/run.py"
    ));
    if every {
        run.arg("--all");
    }
    run.arg(at)
        .args([entries.0.to_string(), entries.1.to_string()]);
    let ran = run.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    println!("{shown}\n{said}");
    let words = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{shown}\n{said}{words}");
}

/// The `zip` crate on a stream: it knows no data descriptors, and so reads whatever comes
/// before the first entry that has one.
fn a_stream_in_rust_reads(at: &Path, (entries, size): (u64, u64)) {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(at).unwrap()).unwrap();
    assert_eq!(archive.len() as u64, entries);
    let mut expected = (0, 0);
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).unwrap();
        let mut flags = [0; 2];
        let mut file = std::fs::File::open(at).unwrap();
        file.seek(SeekFrom::Start(entry.header_start() + 6))
            .unwrap();
        file.read_exact(&mut flags).unwrap();
        if flags[0] & 8 != 0 {
            break;
        }
        expected = (expected.0 + 1, expected.1 + entry.size());
    }
    let mut stream = std::io::BufReader::with_capacity(CHUNK, std::fs::File::open(at).unwrap());
    let mut read = (0, 0);
    while let Ok(Some(mut entry)) = zip::read::read_zipfile_from_stream(&mut stream) {
        read.1 += std::io::copy(&mut entry, &mut std::io::sink()).unwrap();
        read.0 += 1;
    }
    assert_eq!(read, expected, "of {entries} entries and {size} bytes");
}

/// Stored entries of zeros, laid out as packages are, so that it is known where each begins.
fn of_zeros(at: &Path, entries: &[(&str, u64)]) {
    let mut zip = std::fs::File::create(at).unwrap();
    let time = DosTime::new("2026-01-02T03:04:05Z".parse().unwrap());
    let (mut offset, mut directory) = (0, Vec::new());
    for (name, size) in entries {
        let record = Record {
            name,
            layout: Layout::of(Method::Stored, *size, false, offset),
            time,
            crc32: crc32_of(name, *size),
            size: *size,
            packed: *size,
            offset,
        };
        let mut header = Vec::new();
        record.local_header(&mut header);
        zip.write_all(&header).unwrap();
        record.central_header(&mut directory);
        zip.seek(SeekFrom::Current(i64::try_from(*size).unwrap()))
            .unwrap();
        offset += header.len() as u64 + size;
    }
    let size = directory.len() as u64;
    zip_format::end(&mut directory, entries.len() as u64, offset, size);
    zip.write_all(&directory).unwrap();
}

fn named(files: &[(&str, u64)]) -> Vec<(String, u64)> {
    let named = files.iter().map(|(path, size)| ((*path).to_owned(), *size));
    named.collect()
}

/// What follows a file, small and large, stored and deflated.
const AFTER: [(&str, u64); 4] = [
    ("plot.png", 100_000),
    ("table-large.csv", 3 << 20),
    ("table-small.csv", 60_000),
    ("z-empty.txt", 0),
];

#[tokio::test]
async fn ten_megabytes_are_read_by_every_reader_that_is_here() {
    let mut files = named(&[("a.bin", 10_000_000)]);
    files.extend(named(&AFTER));
    everybody_reads(&files, false).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs all the readers, and many minutes"]
async fn every_reader_reads_packages_around_four_gibibytes() {
    for (first, size) in [
        // What follows begins before 4 GiB and after it.
        ("a.bin", LIMIT_32 - 100_000),
        ("a.bin", LIMIT_32 - 1),
        ("a.bin", LIMIT_32),
        ("a.bin", LIMIT_32 + 1),
        // Its compressed size is not known beforehand: below 4 GiB, near it, above it.
        ("a-zeros.csv", 3 << 30),
        ("a-zeros.csv", LIMIT_32 - 1),
        ("a-zeros.csv", LIMIT_32 + (1 << 20)),
    ] {
        let mut files = named(&[(first, size)]);
        files.extend(named(&AFTER));
        everybody_reads(&files, true).await;
    }
    // One begins below 4 GiB and ends above it.
    let mut files = named(&[("a.bin", 3 << 30), ("b.bin", 2 << 30)]);
    files.extend(named(&AFTER));
    everybody_reads(&files, true).await;
}

#[test]
#[ignore = "needs all the readers, and many minutes"]
fn every_reader_reads_an_entry_that_begins_at_four_gibibytes() {
    let dir = folder();
    let at = dir.path().join("package.zip");
    for begins in [LIMIT_32 - 1, LIMIT_32, LIMIT_32 + 1] {
        let header = 30 + "a.bin".len() as u64;
        let entries = [("a.bin", begins - header), ("b.bin", 3), ("c.bin", 70_000)];
        of_zeros(&at, &entries);
        let size = entries.iter().map(|(_, size)| size).sum();
        let shown = format!("b.bin begins at {begins}");
        each_reader_reads(&at, (entries.len() as u64, size), &shown, true);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs all the readers, and some minutes"]
async fn every_reader_reads_as_many_entries_as_16_bits_say_and_one_more() {
    // Metadata and preview are entries, too: 65,534, 65,535 and 65,536 of them.
    for count in [65_532, 65_533, 65_534] {
        let files: Vec<_> = (0..count)
            .map(|n| (format!("d{}/{n:06}.txt", n % 100), 3))
            .collect();
        everybody_reads(&files, true).await;
    }
}
