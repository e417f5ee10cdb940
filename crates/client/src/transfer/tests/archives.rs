//! Packages, good and hostile.

use std::io::{Cursor, Write as _};
use std::os::unix::fs::symlink;

use serde_json::{Value, json};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::transfer::archive::{self, ArchiveError, Problem};
use crate::transfer::unpack::{UnpackError, Unpacked, unpack};
use trevor_core::digest::Sha256Hex;

const STORED: zip::CompressionMethod = zip::CompressionMethod::Stored;
const DEFLATED: zip::CompressionMethod = zip::CompressionMethod::Deflated;

/// Metadata that describes files.
fn metadata(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut graph = vec![json!({"@id": "./", "@type": "Dataset", "hasPart": []})];
    for (name, bytes) in files {
        let id = name.replace('%', "%25").replace(' ', "%20");
        graph.push(json!({"@id": id, "@type": "File", "sha256": Sha256Hex::of(bytes)}));
    }
    json!({"@context": "c", "@graph": graph})
        .to_string()
        .into_bytes()
}

fn zip(entries: &[(&str, &[u8])], method: zip::CompressionMethod) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in entries {
        writer.start_file(*name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A package of files, with metadata that describes them.
fn package(files: &[(&str, &[u8])]) -> Vec<u8> {
    let text = metadata(files);
    let mut entries: Vec<(&str, &[u8])> = vec![("ro-crate-metadata.json", &text)];
    entries.extend(files);
    zip(&entries, STORED)
}

fn find(bytes: &[u8], what: &[u8]) -> Vec<usize> {
    let found = bytes.windows(what.len()).enumerate();
    found
        .filter(|(_, w)| *w == what)
        .map(|(at, _)| at)
        .collect()
}

/// Writes another name of the same length, wherever it stands in headers.
fn renamed(mut zip: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let places = find(&zip, from.as_bytes());
    // In the local header and in the directory; the metadata says it, too.
    assert!(places.len() >= 2);
    for at in places {
        let header = zip[..at].ends_with(b"PK") || is_header(&zip, at);
        if header {
            zip[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
    }
    zip
}

fn is_header(zip: &[u8], at: usize) -> bool {
    let signed = |before: usize, signature: &[u8]| {
        at.checked_sub(before)
            .is_some_and(|s| zip[s..].starts_with(signature))
    };
    signed(30, b"PK\x03\x04") || signed(46, b"PK\x01\x02")
}

/// Where the directory's header of a name begins.
fn central(zip: &[u8], name: &str) -> usize {
    let places = find(zip, name.as_bytes());
    let header = |at: &usize| {
        at.checked_sub(46)
            .filter(|s| zip[*s..].starts_with(b"PK\x01\x02"))
    };
    places.iter().find_map(header).unwrap()
}

fn patched(mut zip: Vec<u8>, name: &str, at: usize, bytes: &[u8]) -> Vec<u8> {
    let start = central(&zip, name) + at;
    zip[start..start + bytes.len()].copy_from_slice(bytes);
    zip
}

/// One file of unix mode `mode`.
fn of_mode(mode: u32) -> Vec<u8> {
    let zip = package(&[("data/a", b"target")]);
    let zip = patched(zip, "data/a", 5, &[3]);
    patched(zip, "data/a", 38, &(mode << 16).to_le_bytes())
}

fn overlapping() -> Vec<u8> {
    let large = vec![7; 10_000];
    let mut zip = package(&[("data/a", &large), ("data/b", b""), ("data/c", b"")]);
    let first = central(&zip, "data/a");
    let (sizes, offset) = (
        zip[first + 16..first + 28].to_vec(),
        zip[first + 42..first + 46].to_vec(),
    );
    for name in ["data/b", "data/c"] {
        zip = patched(patched(zip, name, 16, &sizes), name, 42, &offset);
    }
    zip
}

fn check(zip: &[u8]) -> Result<archive::Checked, ArchiveError> {
    archive::check(Cursor::new(zip))
}

#[test]
fn a_package_that_is_whole_passes() {
    let files: [(&str, &[u8]); 3] = [
        ("data/a.csv", b"a,b\n"),
        ("data/t/Gr\u{f6}\u{df}e 100%.txt", b"x"),
        ("data/empty", b""),
    ];
    for zip in [package(&files), {
        let text = metadata(&files);
        let mut entries: Vec<(&str, &[u8])> = files.to_vec();
        entries.extend([
            ("ro-crate-metadata.json", text.as_slice()),
            ("ro-crate-preview.html", b"<p>"),
        ]);
        zip(&entries, DEFLATED)
    }] {
        let checked = check(&zip).unwrap();
        assert_eq!(checked.data_files(), 3);
    }
}

#[test]
fn a_hostile_or_damaged_package_is_refused() {
    type Cause = fn(&ArchiveError) -> bool;
    let name: Cause = |e| {
        matches!(
            e,
            ArchiveError::Entry {
                problem: Problem::Name(_),
                ..
            }
        )
    };
    let foreign: Cause = |e| {
        matches!(
            e,
            ArchiveError::Entry {
                problem: Problem::Foreign,
                ..
            }
        )
    };
    let no_file: Cause = |e| {
        matches!(
            e,
            ArchiveError::Entry {
                problem: Problem::NotAFile,
                ..
            }
        )
    };
    let bomb: Cause = |e| {
        matches!(
            e,
            ArchiveError::Entry {
                problem: Problem::Bomb,
                ..
            }
        )
    };
    let damaged: Cause = |e| {
        matches!(
            e,
            ArchiveError::Entry {
                problem: Problem::Damaged(_),
                ..
            }
        )
    };
    let clash: Cause = |e| matches!(e, ArchiveError::Clash(_));
    let no_zip: Cause = |e| matches!(e, ArchiveError::NotAZip(_));
    let crate_text: Cause = |e| matches!(e, ArchiveError::Metadata);

    let one = package(&[("data/abcd", b"hello")]);
    let two = package(&[("data/abcd", b"hello"), ("data/efgh", b"hello")]);
    let mut crc = one.clone();
    let hello = find(&crc, b"hello")[0];
    crc[hello] ^= 1;
    let text = |json: Value| {
        zip(
            &[
                ("ro-crate-metadata.json", json.to_string().as_bytes()),
                ("data/a", b"x"),
            ],
            STORED,
        )
    };
    let entity = |id: &str, sha: &str| json!({"@id": id, "sha256": sha});
    let x = Sha256Hex::of(b"x").to_string();
    let zeros = vec![0; 100_000];
    let mut before = b"#!/bin/sh\n".to_vec();
    before.extend(&one);

    let cases: Vec<(&str, Vec<u8>, Cause)> = vec![
        (
            "out of the folder",
            renamed(one.clone(), "data/abcd", "../abcdef"),
            name,
        ),
        (
            "out of data",
            renamed(one.clone(), "data/abcd", "data/../a"),
            name,
        ),
        (
            "absolute",
            renamed(one.clone(), "data/abcd", "/etc/pass"),
            name,
        ),
        (
            "backslash",
            renamed(one.clone(), "data/abcd", "data/..\\a"),
            name,
        ),
        (
            "drive",
            renamed(one.clone(), "data/abcd", "data/C:ab"),
            name,
        ),
        (
            "directory",
            renamed(one.clone(), "data/abcd", "data/abc/"),
            name,
        ),
        (
            "terminal",
            renamed(one.clone(), "data/abcd", "data/\u{1b}[2J"),
            name,
        ),
        (
            "elsewhere",
            renamed(one.clone(), "data/abcd", "evil/abcd"),
            foreign,
        ),
        ("symlink", of_mode(0o120_777), no_file),
        ("device", of_mode(0o020_666), no_file),
        ("pipe", of_mode(0o010_666), no_file),
        ("folder by mode", of_mode(0o040_755), no_file),
        (
            "twice",
            renamed(two.clone(), "data/efgh", "data/abcd"),
            |e| matches!(e, ArchiveError::Twice(_)),
        ),
        (
            "metadata twice",
            {
                let text = metadata(&[]);
                let zip = zip(
                    &[
                        ("ro-crate-metadata.json", &text),
                        ("ro-crate-metadata.jsom", &text),
                    ],
                    STORED,
                );
                renamed(zip, "ro-crate-metadata.jsom", "ro-crate-metadata.json")
            },
            |e| matches!(e, ArchiveError::Twice(_)),
        ),
        (
            "twice but for case",
            renamed(two.clone(), "data/efgh", "data/ABCD"),
            clash,
        ),
        (
            "file and folder",
            package(&[("data/a", b"x"), ("data/a/b", b"y")]),
            clash,
        ),
        ("wrong checksum", crc, damaged),
        ("cut", one[..one.len() - 30].to_vec(), no_zip),
        ("no zip", b"<html>".to_vec(), no_zip),
        ("empty", Vec::new(), no_zip),
        ("something before it", before, no_zip),
        (
            "larger than it can be",
            patched(
                zip(&[("data/a", &zeros)], DEFLATED),
                "data/a",
                24,
                &u32::MAX.wrapping_sub(1).to_le_bytes(),
            ),
            bomb,
        ),
        (
            "stored, and larger than it is",
            patched(one.clone(), "data/abcd", 24, &6_u32.to_le_bytes()),
            bomb,
        ),
        ("overlapping", overlapping(), |e| {
            matches!(e, ArchiveError::Overlap)
        }),
        (
            "longer than it says",
            {
                let text = metadata(&[("data/a", &zeros)]);
                let zip = zip(
                    &[("ro-crate-metadata.json", &text), ("data/a", &zeros)],
                    DEFLATED,
                );
                patched(zip, "data/a", 24, &99_999_u32.to_le_bytes())
            },
            |e| {
                matches!(
                    e,
                    ArchiveError::Entry {
                        problem: Problem::Size | Problem::Damaged(_),
                        ..
                    }
                )
            },
        ),
        (
            "other bytes than described",
            {
                let text = metadata(&[("data/a", b"x")]);
                zip(
                    &[("ro-crate-metadata.json", &text), ("data/a", b"y")],
                    STORED,
                )
            },
            |e| matches!(e, ArchiveError::Digest(name) if name == "data/a"),
        ),
        (
            "not described",
            {
                let text = metadata(&[]);
                zip(
                    &[("ro-crate-metadata.json", &text), ("data/a", b"y")],
                    STORED,
                )
            },
            |e| matches!(e, ArchiveError::Undescribed(_)),
        ),
        (
            "described, not there",
            {
                let text = metadata(&[("data/a", b"x")]);
                zip(&[("ro-crate-metadata.json", &text)], STORED)
            },
            |e| matches!(e, ArchiveError::Absent(_)),
        ),
        ("no metadata", zip(&[("data/a", b"x")], STORED), |e| {
            matches!(e, ArchiveError::NoMetadata)
        }),
        (
            "metadata is no JSON",
            zip(&[("ro-crate-metadata.json", b"{")], STORED),
            crate_text,
        ),
        ("no graph", text(json!({})), crate_text),
        (
            "no digest",
            text(json!({"@graph": [{"@id": "data/a"}]})),
            crate_text,
        ),
        (
            "two digests",
            text(json!({"@graph": [entity("data/a", &x), entity("data/%61", &x)]})),
            crate_text,
        ),
        (
            "no real digest",
            text(json!({"@graph": [entity("data/a", "x")]})),
            crate_text,
        ),
    ];
    for (what, zip, is) in cases {
        match check(&zip) {
            Err(error) => {
                assert!(is(&error), "{what}: {error:?}");
                assert!(!error.to_string().contains('\u{1b}'), "{what}: {error}");
            }
            Ok(_) => panic!("{what} passes"),
        }
    }
}

#[test]
fn unpacking_writes_all_and_a_second_time_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("new");
    let zip = package(&[
        ("data/a.csv", b"a,b\n"),
        ("data/t/u/b", b"x"),
        ("data/empty", b""),
    ]);
    let checked = check(&zip).unwrap();
    let first = unpack(Cursor::new(&zip), &checked, &into).unwrap();
    assert_eq!(
        first,
        Unpacked {
            written: 4,
            same: 0
        }
    );
    assert_eq!(std::fs::read(into.join("data/t/u/b")).unwrap(), b"x");
    assert_eq!(std::fs::read(into.join("data/empty")).unwrap(), b"");
    std::fs::remove_file(into.join("data/a.csv")).unwrap();
    let second = unpack(Cursor::new(&zip), &checked, &into).unwrap();
    assert_eq!(
        second,
        Unpacked {
            written: 1,
            same: 3
        }
    );
    let left: Vec<_> = std::fs::read_dir(into.join("data")).unwrap().collect();
    assert_eq!(left.len(), 3, "no temporary file stays");
}

#[test]
fn unpacking_never_replaces_a_file_or_leaves_the_folder() {
    let zip = package(&[("data/a", b"new"), ("data/t/b", b"new")]);
    let checked = check(&zip).unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("b"), b"old").unwrap();
    type Before<'a> = Box<dyn Fn(&std::path::Path) + 'a>;
    let cases: Vec<(&str, Before<'_>)> = vec![
        (
            "another file",
            Box::new(|d| std::fs::write(d.join("data/a"), b"old").unwrap()),
        ),
        (
            "another of its size",
            Box::new(|d| std::fs::write(d.join("data/a"), b"nev").unwrap()),
        ),
        (
            "a folder",
            Box::new(|d| std::fs::create_dir(d.join("data/a")).unwrap()),
        ),
        (
            "a file for a folder",
            Box::new(|d| std::fs::write(d.join("data/t"), b"").unwrap()),
        ),
        (
            "a link",
            Box::new(|d| symlink(outside.path().join("b"), d.join("data/a")).unwrap()),
        ),
        (
            "a link to nothing",
            Box::new(|d| symlink(outside.path().join("c"), d.join("data/a")).unwrap()),
        ),
        (
            "a linked folder",
            Box::new(|d| symlink(outside.path(), d.join("data/t")).unwrap()),
        ),
    ];
    for (what, before) in cases {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        before(folder.path());
        let error = unpack(Cursor::new(&zip), &checked, folder.path()).expect_err(what);
        assert!(
            matches!(error, UnpackError::Exists { .. } | UnpackError::File { .. }),
            "{what}: {error}"
        );
        let data = std::fs::read_dir(folder.path().join("data"))
            .unwrap()
            .count();
        assert_eq!(data, 1, "{what}: nothing was written");
        let outside: Vec<_> = std::fs::read_dir(outside.path()).unwrap().collect();
        assert_eq!(outside.len(), 1, "{what}");
    }
    assert_eq!(std::fs::read(outside.path().join("b")).unwrap(), b"old");
}

#[test]
fn what_changed_after_the_check_is_not_put_in_place() {
    let good = package(&[("data/abcd", b"hello")]);
    let checked = check(&good).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let other = package(&[("data/abcd", b"hallo")]);
    let error = unpack(Cursor::new(&other), &checked, folder.path()).unwrap_err();
    assert!(matches!(error, UnpackError::Changed(_)), "{error}");
    assert!(!folder.path().join("data/abcd").exists());
}
