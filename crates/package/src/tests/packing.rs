//! Packing: the same bytes each time, the right bytes or none.

use std::io::Read as _;

use super::*;

fn content() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("a/empty.txt", vec![]),
        ("a/one.bin", vec![7]),
        ("figures/plot.png", noise(3_000_000, 1)),
        ("tables/small.csv", table(100)),
        ("tables/t1.csv", table(200_000)),
        ("żółć/表 №1.csv", noise(300_000, 2)),
    ]
}

fn manifest_of(content: &[(&str, Vec<u8>)]) -> Manifest {
    manifest(
        content
            .iter()
            .map(|(path, bytes)| file(path, bytes))
            .collect(),
    )
}

#[tokio::test]
async fn a_package_reads_back_as_what_was_approved() {
    let content = content();
    let manifest = manifest_of(&content);
    let digest = Sha256Hex::of(b"manifest");
    let plan = Plan::with_parts_of(&inputs(&manifest, &digest), 100_000).unwrap();
    let zip = packed(&plan, &budget(), &Store::of(&content, 10_000))
        .await
        .unwrap();
    assert_eq!(zip.packed.files, content.len());

    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(zip.bytes)).unwrap();
    let names: Vec<String> = archive.file_names().map(Into::into).collect();
    let mut expected = vec![
        "ro-crate-metadata.json".to_owned(),
        "ro-crate-preview.html".to_owned(),
    ];
    expected.extend(content.iter().map(|(path, _)| format!("data/{path}")));
    assert_eq!(names, expected);
    for (path, bytes) in &content {
        let mut entry = archive.by_name(&format!("data/{path}")).unwrap();
        assert_eq!(entry.unix_mode(), Some(0o100_644));
        let time = entry.last_modified().unwrap();
        assert_eq!(time.to_string(), "2026-11-24 10:20:30");
        let mut read = Vec::new();
        entry.read_to_end(&mut read).unwrap();
        assert!(read == *bytes, "{path}");
    }
}

#[tokio::test]
async fn two_packages_of_one_decision_are_the_same_bytes() {
    let content = content();
    let manifest = manifest_of(&content);
    let digest = Sha256Hex::of(b"manifest");
    let inputs = inputs(&manifest, &digest);
    let plan = Plan::with_parts_of(&inputs, 1 << 20).unwrap();
    let first = packed(&plan, &budget(), &Store::of(&content, 1_000_000))
        .await
        .unwrap();
    for chunk in [1013, 65_536, 131_072, 7_777_777] {
        let plan = Plan::with_parts_of(&inputs, 200_000).unwrap();
        let again = packed(&plan, &budget(), &Store::of(&content, chunk))
            .await
            .unwrap();
        assert!(again.bytes == first.bytes, "in chunks of {chunk}");
    }
    let mut later = inputs;
    later.decided += jiff::SignedDuration::from_secs(2);
    let plan = Plan::new(&later).unwrap();
    let other = packed(&plan, &budget(), &Store::of(&content, 1013))
        .await
        .unwrap();
    assert_ne!(other.packed.sha256, first.packed.sha256);
}

#[tokio::test]
async fn parts_that_exceed_the_budget_are_spooled_and_removed() {
    let content = content();
    let manifest = manifest_of(&content);
    let digest = Sha256Hex::of(b"manifest");
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan::with_parts_of(&inputs(&manifest, &digest), 500_000).unwrap();
    let in_memory = packed(&plan, &budget(), &Store::of(&content, 10_000))
        .await
        .unwrap();
    let little = Budget {
        memory: 1 << 20,
        spool_dir: dir.path().into(),
    };
    let spooled = packed(&plan, &little, &Store::of(&content, 10_000))
        .await
        .unwrap();
    assert!(spooled.bytes == in_memory.bytes);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let nowhere = Budget {
        memory: 1 << 20,
        spool_dir: dir.path().join("missing"),
    };
    let (error, _) = packed(&plan, &nowhere, &Store::of(&content, 1))
        .await
        .err()
        .unwrap();
    assert!(matches!(error, PackError::Spool(_)));
}

#[test]
fn what_a_crash_left_in_the_spool_is_removed_unless_another_process_uses_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("spool");
    let first = Spool::open(&dir).unwrap();
    let left = || {
        for name in ["trevor-part-abc", "trevor-part-", "else"] {
            std::fs::write(dir.join(name), "x").unwrap();
        }
    };
    let parts = || {
        let names = std::fs::read_dir(&dir).unwrap();
        names
            .filter(|entry| {
                let name = entry.as_ref().unwrap().file_name();
                name.to_string_lossy().starts_with("trevor-part-")
            })
            .count()
    };
    left();
    let second = Spool::open(&dir).unwrap();
    assert_eq!(parts(), 2, "they may be those of the first");
    drop((first, second));
    let third = Spool::open(&dir).unwrap();
    assert_eq!(parts(), 0);
    assert!(dir.join("else").exists());
    drop(third);
    std::fs::write(folder.path().join("file"), "x").unwrap();
    assert!(Spool::open(&folder.path().join("file")).is_err());
}

/// Packs with one file changed in the store; small and large, stored and deflated.
async fn with_changed(change: impl Fn(&mut Vec<u8>)) -> Vec<PackError<Infallible>> {
    let content = content();
    let manifest = manifest_of(&content);
    let digest = Sha256Hex::of(b"manifest");
    let plan = Plan::with_parts_of(&inputs(&manifest, &digest), 100_000).unwrap();
    let mut errors = Vec::new();
    for index in 1..content.len() {
        let mut changed = content.clone();
        change(&mut changed[index].1);
        let result = packed(&plan, &budget(), &Store::of(&changed, 10_000)).await;
        let (error, last) = result.err().unwrap();
        assert!(!last, "a last part after {error}");
        let PackError::IntegrityMismatch { path, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(path, changed[index].0);
        errors.push(error);
    }
    errors
}

#[tokio::test]
async fn one_wrong_bit_stops_the_package() {
    for error in with_changed(|bytes| *bytes.last_mut().unwrap() ^= 1).await {
        assert!(matches!(
            error,
            PackError::IntegrityMismatch {
                what: Mismatch::Sha256,
                ..
            }
        ));
    }
}

#[tokio::test]
async fn a_byte_too_few_or_too_many_stops_the_package() {
    for error in with_changed(|bytes| bytes.truncate(bytes.len() - 1)).await {
        assert!(matches!(
            error,
            PackError::IntegrityMismatch {
                what: Mismatch::Size,
                ..
            }
        ));
    }
    for error in with_changed(|bytes| bytes.push(0)).await {
        assert!(matches!(
            error,
            PackError::IntegrityMismatch {
                what: Mismatch::Size,
                ..
            }
        ));
    }
}

#[tokio::test]
async fn a_wrong_checksum_in_the_manifest_stops_the_package() {
    let content = content();
    let mut manifest = manifest_of(&content);
    manifest.files[2].crc32.0 ^= 1;
    let digest = Sha256Hex::of(b"manifest");
    let plan = Plan::new(&inputs(&manifest, &digest)).unwrap();
    let (error, last) = packed(&plan, &budget(), &Store::of(&content, 9999))
        .await
        .err()
        .unwrap();
    assert!(
        matches!(
            error,
            PackError::IntegrityMismatch {
                what: Mismatch::Crc32,
                ..
            }
        ) && !last
    );
}

#[tokio::test]
async fn a_missing_file_is_named() {
    let content = content();
    let manifest = manifest_of(&content);
    let digest = Sha256Hex::of(b"manifest");
    let plan = Plan::new(&inputs(&manifest, &digest)).unwrap();
    let store = Store::of(&content[..5], 9999);
    let (error, last) = packed(&plan, &budget(), &store).await.err().unwrap();
    assert_eq!(error.to_string(), "żółć/表 №1.csv is not in the store");
    assert!(!last);
}

#[tokio::test]
async fn a_source_that_fails_on_the_way_is_named() {
    let bytes = noise(2_000_000, 3);
    let manifest = manifest(vec![file("a.png", &bytes)]);
    let digest = Sha256Hex::of(b"manifest");
    let plan = Plan::new(&inputs(&manifest, &digest)).unwrap();
    let (parts, mut sink) = mpsc::channel(1);
    let open = |_: &ManifestFile| async {
        let chunks = [Ok(Bytes::from_static(b"some")), Err("connection reset")];
        Ok::<_, OpenError<&str>>(stream::iter(chunks))
    };
    let error = pack(&plan, &budget(), open, parts).await.unwrap_err();
    assert_eq!(error.to_string(), "a.png cannot be read: connection reset");
    assert!(sink.recv().await.is_none());
}

#[tokio::test]
async fn ten_thousand_small_files_do_not_wait_for_each_other() {
    let paths: Vec<String> = (0..10_000)
        .map(|n| format!("d{}/f{n}.txt", n % 10))
        .collect();
    let content: Vec<(&str, Vec<u8>)> = paths
        .iter()
        .map(|path| (path.as_str(), format!("{path:1024}").into_bytes()))
        .collect();
    let manifest = manifest_of(&content);
    let digest = Sha256Hex::of(b"manifest");
    let plan = Plan::new(&inputs(&manifest, &digest)).unwrap();
    let store = Store::of(&content, 4096);
    let (parts, mut sink) = mpsc::channel(1);
    let drain = async { while sink.recv().await.is_some() {} };
    let open = |file: &ManifestFile| {
        let opening = store.clone().open(file.key.clone());
        async move {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            opening.await
        }
    };
    let budget = budget();
    let start = std::time::Instant::now();
    let (result, ()) = tokio::join!(pack(&plan, &budget, open, parts), drain);
    let took = start.elapsed();
    assert_eq!(result.unwrap().files, 10_000);
    // One after the other they would wait for 20 s and more.
    assert!(took.as_secs() < 12, "{took:?}");
}

#[tokio::test]
async fn who_drops_the_receiver_ends_the_work() {
    let content = content();
    let manifest = manifest_of(&content);
    let digest = Sha256Hex::of(b"manifest");
    let plan = Plan::with_parts_of(&inputs(&manifest, &digest), 100_000).unwrap();
    let store = Store::of(&content, 10_000);
    let (parts, mut sink) = mpsc::channel(1);
    let open = |file: &ManifestFile| store.clone().open(file.key.clone());
    let budget = budget();
    let take_two = async {
        sink.recv().await.unwrap();
        sink.recv().await.unwrap();
        drop(sink);
    };
    let (result, ()) = tokio::join!(pack(&plan, &budget, open, parts), take_two);
    assert!(matches!(result, Err(PackError::SinkClosed)));
}

#[tokio::test]
async fn who_drops_the_future_ends_the_work() {
    let content = content();
    let manifest = manifest_of(&content);
    let digest = Sha256Hex::of(b"manifest");
    let plan = Plan::with_parts_of(&inputs(&manifest, &digest), 100_000).unwrap();
    let (parts, mut sink) = mpsc::channel(1);
    let never = |_: &ManifestFile| async {
        Ok::<_, OpenError<Infallible>>(stream::pending::<Result<Bytes, Infallible>>())
    };
    let budget = budget();
    let packing = pack(&plan, &budget, never, parts);
    assert!(
        tokio::time::timeout(std::time::Duration::from_millis(50), packing)
            .await
            .is_err()
    );
    // The threads are gone, and with them the sender.
    let end = tokio::time::timeout(std::time::Duration::from_secs(5), async {
        while let Some(part) = sink.recv().await {
            assert!(!part.last);
        }
    });
    end.await.unwrap();
}

#[test]
fn packing_can_move_between_threads() {
    fn sent<T: Send>(_: &T) {}
    let content = content();
    let manifest = manifest_of(&content);
    let digest = Sha256Hex::of(b"manifest");
    let plan = Plan::new(&inputs(&manifest, &digest)).unwrap();
    let store = Store::of(&content, 10_000);
    let (parts, _sink) = mpsc::channel(1);
    let open = |file: &ManifestFile| store.clone().open(file.key.clone());
    let budget = budget();
    sent(&pack(&plan, &budget, open, parts));
}
