use std::ffi::OsStr;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use rustix::fs::{CWD, FileType as Kind, Mode, mknodat};

use super::*;
use crate::volume::testing::{may_mount, mount, write};

fn find(root: &Path, include: &[&str], exclude: &[&str]) -> Result<Vec<String>, String> {
    find_at_most(root, include, exclude, (10_000, u64::MAX))
}

fn find_at_most(
    root: &Path,
    include: &[&str],
    exclude: &[&str],
    (files, bytes): (usize, u64),
) -> Result<Vec<String>, String> {
    let owned = |globs: &[&str]| globs.iter().map(|g| (*g).to_owned()).collect::<Vec<_>>();
    let wanted = Wanted::new(&owned(include), &owned(exclude)).unwrap();
    let folder = Folder::volume(root).unwrap();
    let found = walk(&folder, &wanted, &mut Room::new(files, bytes));
    let mut paths: Vec<String> = found
        .map_err(|e| e.to_string())?
        .into_iter()
        .map(|l| l.path)
        .collect();
    paths.sort();
    Ok(paths)
}

#[test]
fn what_matches_is_found_however_deep() {
    let root = tempfile::tempdir().unwrap();
    write(
        root.path(),
        &[
            ("tables/a.csv", "1"),
            ("tables/x/y/b.csv", "2"),
            ("tables/c.tmp", "3"),
            ("other/d.csv", "4"),
            ("e", "5"),
        ],
    );
    std::fs::create_dir_all(root.path().join("empty/folder")).unwrap();
    let all = [
        "e",
        "other/d.csv",
        "tables/a.csv",
        "tables/c.tmp",
        "tables/x/y/b.csv",
    ];
    assert_eq!(find(root.path(), &[], &[]).unwrap(), all);
    let some = ["tables/a.csv", "tables/x/y/b.csv"];
    assert_eq!(
        find(root.path(), &["tables/**"], &["**/*.tmp"]).unwrap(),
        some
    );
    assert!(find(root.path(), &["none/**"], &[]).unwrap().is_empty());
}

#[test]
fn a_decomposed_name_is_collected_under_its_composed_form() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), &[("e\u{301}te\u{301}/u\u{308}.csv", "1")]);
    let wanted = Wanted::new(&["été/*.csv".to_owned()], &[]).unwrap();
    let folder = Folder::volume(root.path()).unwrap();
    let found = walk(&folder, &wanted, &mut Room::new(10, 10)).unwrap();
    let listed = Listed {
        path: "été/ü.csv".into(),
        at: "e\u{301}te\u{301}/u\u{308}.csv".into(),
    };
    assert_eq!(found, [listed]);
}

#[test]
fn a_link_that_matches_is_an_error_and_another_is_not_looked_at() {
    let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(root.path(), &[("a.csv", "1")]);
    write(outside.path(), &[("secret.csv", "geheim")]);
    symlink(
        outside.path().join("secret.csv"),
        root.path().join("link.csv"),
    )
    .unwrap();
    symlink(outside.path(), root.path().join("folder")).unwrap();
    symlink(root.path().join("nowhere"), root.path().join("dangling")).unwrap();
    for include in [
        &[][..],
        &["link.csv"],
        &["*.csv"],
        &["folder/**"],
        &["folder/secret.csv"],
        &["dangling"],
    ] {
        let error = find(root.path(), include, &[]).unwrap_err();
        assert!(error.contains("symbolic link"), "{include:?}: {error}");
    }
    assert_eq!(find(root.path(), &["a.csv"], &[]).unwrap(), ["a.csv"]);
    assert_eq!(
        find(root.path(), &["*.csv"], &["link.*"]).unwrap(),
        ["a.csv"]
    );
    assert_eq!(
        find(root.path(), &[], &["link.csv", "folder", "dangling"]).unwrap(),
        ["a.csv"]
    );
}

#[test]
fn a_pipe_or_socket_that_matches_is_an_error_at_once_and_another_is_left() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), &[("a.csv", "1")]);
    let _socket = UnixListener::bind(root.path().join("socket")).unwrap();
    mknodat(
        CWD,
        root.path().join("pipe"),
        Kind::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    for name in ["socket", "pipe"] {
        let error = find(root.path(), &[name], &[]).unwrap_err();
        assert!(
            error.contains(name) && error.contains("a pipe, a socket or a device"),
            "{error}"
        );
    }
    assert_eq!(find(root.path(), &["*.csv"], &[]).unwrap(), ["a.csv"]);
}

#[test]
fn a_name_that_cannot_be_stored_is_told_in_a_form_that_does_nothing() {
    for (name, told) in [
        (b"..x".as_slice(), None),
        (b"con", Some("con")),
        (b"a:b", Some("a:b")),
        (b"a\\b", Some("a\\b")),
        (b"x\x1b[2J", Some("x\\u{1b}[2J")),
        (b"two\nlines", Some("two\\nlines")),
        (b"trailing.", Some("trailing.")),
        (b"\xff.csv", Some("\\xff.csv")),
        (b"..", None),
    ] {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("in").join(OsStr::from_bytes(name));
        std::fs::create_dir(root.path().join("in")).unwrap();
        if name != b".." {
            std::fs::write(path, "x").unwrap();
        }
        let found = find(root.path(), &[], &[]);
        match told {
            None => assert!(found.is_ok(), "{found:?}"),
            Some(told) => {
                let error = found.unwrap_err();
                assert!(
                    error.contains(&format!("'in/{told}'"))
                        && !error.contains('\x1b')
                        && !error.contains('\n'),
                    "{error}"
                );
                assert!(find(root.path(), &["other"], &[]).unwrap().is_empty());
            }
        }
    }
}

#[test]
fn of_twenty_thousand_files_the_bound_is_told_and_few_that_match_are_found() {
    let root = tempfile::tempdir().unwrap();
    for folder in 0..20 {
        let at = root.path().join(format!("{folder}"));
        std::fs::create_dir(&at).unwrap();
        for file in 0..1000 {
            std::fs::write(at.join(format!("{file}.csv")), "").unwrap();
        }
    }
    let error = find(root.path(), &[], &[]).unwrap_err();
    assert!(error.contains("more than 10000 files"), "{error}");
    let few = find(root.path(), &["**/7.csv"], &[]).unwrap();
    assert_eq!(few.len(), 20);
    assert_eq!(
        find(root.path(), &["3/**"], &["3/9*"]).unwrap().len(),
        1000 - 111
    );
    assert!(find_at_most(root.path(), &["3/**"], &[], (1000, 0)).is_ok());
    assert!(find_at_most(root.path(), &["3/**"], &[], (999, 0)).is_err());
}

#[test]
fn more_bytes_than_may_be_is_told() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), &[("a", "123"), ("b", "456")]);
    assert!(find_at_most(root.path(), &[], &[], (2, 6)).is_ok());
    let error = find_at_most(root.path(), &[], &[], (2, 5)).unwrap_err();
    assert!(error.contains("more than 5 bytes"), "{error}");
}

#[test]
fn folders_in_folders_without_end_are_told() {
    let root = tempfile::tempdir().unwrap();
    let deep = ["d"; 200].join("/");
    std::fs::create_dir_all(root.path().join(&deep)).unwrap();
    let error = find(root.path(), &[], &[]).unwrap_err();
    assert!(error.contains("folders deep"), "{error}");
    assert!(find(root.path(), &["*.csv"], &["d/**"]).unwrap().is_empty());
}

#[test]
fn another_file_system_is_not_entered() {
    if !may_mount("volume::walk::tests::another_file_system_is_not_entered") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    write(root.path(), &[("a.csv", "1"), ("inner/x", "")]);
    mount(&root.path().join("inner"), "size=1m");
    write(root.path(), &[("inner/secret.csv", "geheim")]);
    let error = find(root.path(), &[], &[]).unwrap_err();
    assert!(
        error.contains("'inner'") && error.contains("another file system"),
        "{error}"
    );
    assert_eq!(
        find(root.path(), &["*.csv"], &["inner"]).unwrap(),
        ["a.csv"]
    );
    let volume = Folder::volume(root.path()).unwrap();
    assert!(volume.look("inner/secret.csv").is_err());
}
