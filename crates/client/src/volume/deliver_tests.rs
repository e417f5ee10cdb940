use std::os::unix::fs::symlink;

use super::*;
use crate::volume::testing::{Served, may_mount, mount, write};

const WHOSE: (&str, &str) = ("a", "r");

async fn served(files: &[(&str, &str)]) -> Served {
    let served = Served::start().await;
    for (path, text) in files {
        served
            .held()
            .files
            .insert((*path).into(), text.as_bytes().to_vec());
    }
    served
}

async fn run(root: &Path, path: &str, served: &Served) -> Result<Done, String> {
    let into = Into {
        root,
        path,
        whose: WHOSE,
    };
    let done = deliver(into, &served.client()).await;
    done.map_err(|e| e.to_string())
}

/// Everything beneath a folder, with what it holds.
fn all(root: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            let inner = all(&entry.path()).into_iter();
            found.extend(inner.map(|(path, text)| (format!("{name}/{path}"), text)));
        } else {
            let text = std::fs::read(entry.path()).unwrap_or_default();
            found.push((name, String::from_utf8_lossy(&text).into_owned()));
        }
    }
    found.sort();
    found
}

fn pairs(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files
        .iter()
        .map(|(p, t)| ((*p).into(), (*t).into()))
        .collect()
}

#[tokio::test]
async fn files_are_written_once_and_the_receipt_says_which() {
    let root = tempfile::tempdir().unwrap();
    let files = [("a.csv", "1"), ("b c/d/é.csv", "22"), ("empty", "")];
    let served = served(&files).await;
    let first = run(root.path(), "in/here", &served).await.unwrap();
    assert_eq!(
        first,
        Done {
            written: 3,
            kept: 0
        }
    );
    assert_eq!(all(&root.path().join("in/here")), pairs(&files));
    let receipt = served.held().receipt.clone().unwrap();
    assert_eq!(receipt.files.len(), 3);
    served.held().calls.clear();
    assert_eq!(
        run(root.path(), "in/here", &served).await,
        Ok(Done {
            written: 0,
            kept: 3
        })
    );
    assert_eq!(served.held().calls, ["GET delivery", "PUT delivery"]);
}

#[tokio::test]
async fn another_file_in_the_way_stops_it_before_anything_is_written() {
    let files = [("a", "1"), ("b", "2"), ("c/d", "3")];
    type Make = fn(&Path);
    let ways: [(Make, &str); 6] = [
        (|r| write(r, &[("c/d", "x")]), "'c/d' is there already"),
        (|r| write(r, &[("c/d", "longer")]), "'c/d' is there already"),
        (
            |r| std::fs::create_dir_all(r.join("b")).unwrap(),
            "'b' is there already",
        ),
        (
            |r| symlink("/etc/passwd", r.join("b")).unwrap(),
            "'b' is there already",
        ),
        (|r| write(r, &[("c", "a file")]), "'c/d': it is no folder"),
        (
            |r| symlink("/tmp", r.join("c")).unwrap(),
            "'c/d': it is no folder",
        ),
    ];
    for (make, said) in ways {
        let root = tempfile::tempdir().unwrap();
        make(root.path());
        let before = all(root.path());
        let served = served(&files).await;
        let line = run(root.path(), "", &served).await.unwrap_err();
        assert!(line.starts_with(said) && !line.contains('\n'), "{line}");
        assert_eq!(all(root.path()), before);
        assert!(served.held().receipt.is_none());
    }
}

#[tokio::test]
async fn the_folder_itself_is_not_reached_through_a_link() {
    let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    symlink(outside.path(), root.path().join("in")).unwrap();
    let served = served(&[("a", "1")]).await;
    for path in ["in", "in/deeper", "..", "../x"] {
        let line = run(root.path(), path, &served).await.unwrap_err();
        assert!(line.starts_with(&format!("the folder '{path}'")), "{line}");
    }
    assert!(all(outside.path()).is_empty());
}

#[tokio::test]
async fn what_a_killed_run_left_is_made_good_and_what_is_not_ours_stays() {
    let root = tempfile::tempdir().unwrap();
    let files = [("a", "1"), ("c/d", "3"), ("c/e", "4")];
    let served = served(&files).await;
    let mark = names::derived("r", "a/r");
    let left = format!("c/.trevor-{mark}-0011223344556677.part");
    let others = [
        "c/.trevor-s-01234567-0011223344556677.part",
        "c/.trevor-x",
        "z/kept",
    ];
    write(root.path(), &[("c/d", "3"), (&left, "ha")]);
    for path in others {
        write(root.path(), &[(path, "o")]);
    }
    assert_eq!(
        run(root.path(), "", &served).await,
        Ok(Done {
            written: 2,
            kept: 1
        })
    );
    let mut expected = pairs(&files);
    expected.extend(pairs(&others.map(|path| (path, "o"))));
    expected.sort();
    assert_eq!(all(root.path()), expected);
}

#[tokio::test]
async fn a_connection_that_breaks_is_taken_up_where_it_broke() {
    let root = tempfile::tempdir().unwrap();
    let served = served(&[("a", "0123456789")]).await;
    served.held().cuts = 3;
    served.held().busy = 2;
    assert!(run(root.path(), "", &served).await.is_ok());
    assert_eq!(all(root.path()), pairs(&[("a", "0123456789")]));
    served.held().cuts = 0;
    served.held().busy = 9;
    let line = run(root.path(), "", &served).await.unwrap_err();
    assert!(line.contains("503") && !line.contains("geheim"), "{line}");
}

#[tokio::test]
async fn bytes_that_were_not_approved_get_no_name() {
    for forged in ["0123456788", "01234567890", "012345678"] {
        let root = tempfile::tempdir().unwrap();
        let served = served(&[("a", "0123456789")]).await;
        served.held().forged = Some(forged.into());
        let line = run(root.path(), "", &served).await.unwrap_err();
        assert!(line.starts_with("'a'"), "{line}");
        assert!(all(root.path()).is_empty(), "{forged}");
        assert!(served.held().receipt.is_none());
    }
}

#[tokio::test]
async fn names_that_would_lead_elsewhere_are_refused_whoever_says_them() {
    let root = tempfile::tempdir().unwrap();
    for path in ["../x", "/x", "a/../../x", "con", ""] {
        let served = served(&[(path, "1")]).await;
        assert!(run(root.path(), "", &served).await.is_err(), "{path}");
    }
    let clash = served(&[("a", "1"), ("A", "1")]).await;
    assert!(run(root.path(), "", &clash).await.is_err());
    assert!(all(root.path()).is_empty());
}

/// A test with a volume of its own, run in a namespace where one can be mounted.
fn on_a_volume(
    test: &str,
    options: &str,
    files: &[(&str, &str)],
    check: impl FnOnce(&Path, &Result<Done, String>),
) {
    if !may_mount(&format!("volume::deliver::tests::{test}")) {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    mount(root.path(), options);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let done = runtime.block_on(async {
        let served = served(files).await;
        run(root.path(), "", &served).await
    });
    check(root.path(), &done);
}

#[test]
fn a_full_volume_is_told_before_anything_is_written() {
    let large = "x".repeat(2 << 20);
    let files = [("a", "1"), ("b", large.as_str())];
    on_a_volume(
        "a_full_volume_is_told_before_anything_is_written",
        "size=1m",
        &files,
        |root, done| {
            let line = done.clone().unwrap_err();
            assert!(
                line.starts_with("the volume is full") && !line.contains('\n'),
                "{line}"
            );
            assert!(all(root).is_empty());
        },
    );
}

#[test]
fn a_volume_that_fills_up_meanwhile_is_told_and_nothing_half_is_left() {
    // Room for the bytes, but not for so many files.
    let many: Vec<String> = (0..40).map(|n| format!("{n:02}")).collect();
    let files: Vec<(&str, &str)> = many.iter().map(|n| (n.as_str(), "x")).collect();
    let name = "a_volume_that_fills_up_meanwhile_is_told_and_nothing_half_is_left";
    on_a_volume(name, "size=1m,nr_inodes=20", &files, |root, done| {
        let line = done.clone().unwrap_err();
        assert!(line.ends_with("the volume is full"), "{line}");
        assert!(
            all(root)
                .iter()
                .all(|(path, text)| path.len() == 2 && text == "x"),
            "{:?}",
            all(root)
        );
    });
}

#[test]
fn a_read_only_volume_is_told() {
    on_a_volume(
        "a_read_only_volume_is_told",
        "size=1m,ro",
        &[("a", "1")],
        |_, done| {
            assert_eq!(done.clone().unwrap_err(), "'a': the volume is read-only");
        },
    );
}

#[test]
fn what_the_file_system_says_is_told_in_words() {
    let file = VolumeFile {
        path: "a".into(),
        size: 1,
        sha256: Sha256Hex::of(b"1"),
    };
    for (code, said) in [
        (rustix::io::Errno::NOSPC, "the volume is full"),
        (rustix::io::Errno::DQUOT, "quota"),
        (rustix::io::Errno::ROFS, "read-only"),
        (rustix::io::Errno::ACCESS, "permission denied"),
        (rustix::io::Errno::FBIG, "of this size"),
    ] {
        let line = of(&file, code.into()).to_string();
        assert!(line.contains(said) && !line.contains('\n'), "{line}");
    }
}

#[test]
fn what_is_written_when_the_disk_is_full_ends_the_delivery() {
    // The one file of every system that is always full.
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let file = VolumeFile {
        path: "a".into(),
        size: 3,
        sha256: Sha256Hex::of(b"123"),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let line = runtime.block_on(async {
        let served = served(&[("a", "123")]).await;
        let mut fetching = Fetching {
            file: &file,
            into: tokio::fs::File::from_std(full),
            hash: Sha256::new(),
            at: 0,
        };
        fetching
            .all(&served.client())
            .await
            .unwrap_err()
            .to_string()
    });
    assert_eq!(line, "'a': the volume is full");
}
