//! Packages read by the zip readers that people have (`tests/readers/run.py`).

use std::io::{Seek as _, SeekFrom, Write as _};
use std::process::Command;

use sha2::{Digest as _, Sha256};

use super::super::zip_format::LIMIT_32;
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

/// Packs files of these sizes, sparse on disk, and has all readers read the package.
async fn everybody_reads(files: &[(String, u64)], every: bool) {
    let manifest = manifest(
        files
            .iter()
            .map(|(path, size)| declared(path, *size))
            .collect(),
    );
    let digest = Sha256Hex::of(b"manifest");
    let plan = Plan::new(&inputs(&manifest, &digest)).unwrap();
    let dir = tempfile::tempdir_in(concat!(env!("CARGO_MANIFEST_DIR"), "/target")).unwrap();
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
            match bytes.iter().all(|b| *b == 0) {
                true => drop(zip.seek(SeekFrom::Current(bytes.len() as i64)).unwrap()),
                false => zip.write_all(&bytes).unwrap(),
            }
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
    let mut run = Command::new("python3");
    run.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/readers/run.py"));
    if every {
        run.arg("--all");
    }
    run.arg(&at).arg(entries.to_string()).arg(size.to_string());
    let ran = run.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    println!("{files:.3?}\n{said}");
    let words = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{said}{words}");
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
#[ignore = "needs all the readers, and some minutes"]
async fn every_reader_reads_packages_around_four_gibibytes() {
    for (first, size) in [
        ("a.bin", LIMIT_32 - 100_000),
        ("a.bin", LIMIT_32 - 1),
        ("a.bin", LIMIT_32 + 1),
        ("a-zeros.csv", LIMIT_32 - 1),
        ("a-zeros.csv", LIMIT_32 + (1 << 20)),
    ] {
        let mut files = named(&[(first, size)]);
        files.extend(named(&AFTER));
        everybody_reads(&files, true).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs all the readers, and some minutes"]
async fn every_reader_reads_as_many_entries_as_16_bits_say_and_one_more() {
    // Metadata and preview are entries, too.
    for count in [65_533, 65_534] {
        let files: Vec<_> = (0..count)
            .map(|n| (format!("d{}/{n:06}.txt", n % 100), 3))
            .collect();
        everybody_reads(&files, true).await;
    }
}
