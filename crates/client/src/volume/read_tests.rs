use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};

use super::*;
use crate::volume::testing::write;

const SWAPS: usize = 10_000;

/// Swaps two names again and again, as somebody who writes to the volume can.
fn while_swapped(root: &std::path::Path, names: (&str, &str), mut read: impl FnMut()) {
    let (a, b) = (root.join(names.0), root.join(names.1));
    let swapped = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for _ in 0..SWAPS {
                renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE).unwrap();
            }
            swapped.store(true, Ordering::Relaxed);
        });
        while !swapped.load(Ordering::Relaxed) {
            read();
        }
        read();
    });
}

#[test]
fn a_link_swapped_in_and_out_ten_thousand_times_is_never_followed() {
    let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(
        outside.path(),
        &[("token", "geheim"), ("in/a.csv", "geheim")],
    );
    write(root.path(), &[("a.csv", "open"), ("in/a.csv", "open")]);
    symlink(outside.path().join("token"), root.path().join("link")).unwrap();
    symlink(outside.path().join("in"), root.path().join("folder")).unwrap();
    let folder = Folder::volume(root.path()).unwrap();
    let open = Sha256Hex::of(b"open");
    for (names, path) in [(("a.csv", "link"), "a.csv"), (("in", "folder"), "in/a.csv")] {
        let (mut whole, mut refused) = (0, 0);
        while_swapped(root.path(), names, || match hash(&folder, path) {
            Ok(held) => {
                assert_eq!(held.sha256, open, "the secret was read");
                whole += 1;
            }
            Err(_) => refused += 1,
        });
        assert!(
            whole > 0 && refused > 0,
            "{path}: {whole} read, {refused} refused"
        );
    }
}

#[test]
fn a_file_that_is_written_to_while_it_is_read_is_noticed() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), &[("a", "before")]);
    let folder = Folder::volume(root.path()).unwrap();
    let (file, stamp) = open(&folder, "a").unwrap();
    assert!(stamp.still(&file).is_ok());
    // As long as before, with the time of before.
    let modified = file.metadata().unwrap().modified().unwrap();
    std::fs::write(root.path().join("a"), "after!").unwrap();
    let writer = File::options()
        .write(true)
        .open(root.path().join("a"))
        .unwrap();
    writer.set_modified(modified).unwrap();
    assert!(matches!(stamp.still(&file), Err(ReadError::Changed)));
    assert_ne!(open(&folder, "a").unwrap().1, stamp);
}

#[test]
fn a_file_that_grows_and_shrinks_is_never_taken_for_another() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), &[("a", "")]);
    let folder = Folder::volume(root.path()).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for text in ["x".repeat(3 << 20), String::new()] {
                    std::fs::write(root.path().join("a"), text).unwrap();
                }
            }
        });
        let mut noticed = 0;
        while noticed < 5 {
            match hash(&folder, "a") {
                Ok(held) => {
                    let bytes = vec![b'x'; held.stamp.size().try_into().unwrap()];
                    assert_eq!(held.sha256, Sha256Hex::of(&bytes));
                }
                Err(error) => {
                    assert!(matches!(error, ReadError::Changed), "{error}");
                    noticed += 1;
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn what_is_no_file_is_refused_without_waiting_for_it() {
    let root = tempfile::tempdir().unwrap();
    mknodat(
        CWD,
        root.path().join("pipe"),
        FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.path().join("socket")).unwrap();
    std::fs::create_dir(root.path().join("folder")).unwrap();
    symlink("/etc/passwd", root.path().join("link")).unwrap();
    let folder = Folder::volume(root.path()).unwrap();
    for name in ["pipe", "socket", "folder", "link"] {
        assert!(
            matches!(hash(&folder, name), Err(ReadError::NotAFile)),
            "{name}"
        );
    }
    assert!(matches!(hash(&folder, "gone"), Err(ReadError::Changed)));
}
