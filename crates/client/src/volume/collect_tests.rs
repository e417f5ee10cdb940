use super::*;
use crate::volume::testing::{Served, write};

fn errand(sources: &[(&Path, &str)]) -> Errand {
    let source = |(root, path): &(&Path, &str)| Source {
        root: (*root).to_owned(),
        path: (*path).to_owned(),
        include: Vec::new(),
        exclude: Vec::new(),
    };
    Errand {
        round: 1,
        sources: sources.iter().map(source).collect(),
        most_files: 10,
        most_bytes: 1 << 20,
    }
}

#[tokio::test]
async fn what_the_gateway_misses_is_sent_and_nothing_else() {
    let (root, served) = (tempfile::tempdir().unwrap(), Served::start().await);
    write(
        root.path(),
        &[
            ("out/a.csv", "1"),
            ("out/b c/é.csv", "22"),
            ("out/empty", ""),
            ("x", "not asked for"),
        ],
    );
    served.held().files.insert("a.csv".into(), b"1".to_vec());
    let gateway = served.client();
    let collected = collect(errand(&[(root.path(), "out")]), &gateway)
        .await
        .unwrap();
    assert_eq!(
        collected,
        Collected {
            files: 3,
            bytes: 3,
            sent: 2
        }
    );
    let list = served.held().collection.clone().unwrap();
    let paths: Vec<_> = list.files.iter().map(|f| f.path.as_str()).collect();
    assert_eq!(
        (list.round, paths),
        (1, vec!["a.csv", "b c/é.csv", "empty"])
    );
    served.held().calls.clear();
    let again = collect(errand(&[(root.path(), "/out/")]), &gateway)
        .await
        .unwrap();
    assert_eq!(again.sent, 0);
    assert_eq!(served.held().calls, ["PUT collection"]);
}

#[tokio::test]
async fn faults_that_pass_are_waited_out_and_others_end_it_with_one_line() {
    let (root, served) = (tempfile::tempdir().unwrap(), Served::start().await);
    write(root.path(), &[("a.csv", "1")]);
    served.held().busy = 3;
    let gateway = served.client();
    assert!(
        collect(errand(&[(root.path(), "")]), &gateway)
            .await
            .is_ok()
    );
    served.held().busy = 4;
    let error = collect(errand(&[(root.path(), "")]), &gateway)
        .await
        .unwrap_err();
    let line = error.to_string();
    assert!(
        line.contains("503") && !line.contains('\n') && !line.contains("geheim"),
        "{line}"
    );
}

#[tokio::test]
async fn a_file_that_changed_since_it_was_hashed_is_not_sent() {
    let (root, served) = (tempfile::tempdir().unwrap(), Served::start().await);
    write(root.path(), &[("a.csv", "before")]);
    let ready = prepare(&errand(&[(root.path(), "")])).unwrap();
    write(root.path(), &[("a.csv", "after!")]);
    let error = send_all(&served.client(), &ready, &["a.csv".into()])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("it changed while"), "{error}");
    assert!(served.held().files.is_empty());
}

#[tokio::test]
async fn bytes_that_are_not_those_that_were_hashed_are_not_taken() {
    let (root, served) = (tempfile::tempdir().unwrap(), Served::start().await);
    write(root.path(), &[("a.csv", "before")]);
    let ready = prepare(&errand(&[(root.path(), "")])).unwrap();
    let held = &ready["a.csv"].held;
    write(root.path(), &[("a.csv", "after!")]);
    for text in ["after!", "aft"] {
        write(root.path(), &[("a.csv", text)]);
        let file = std::fs::File::open(root.path().join("a.csv")).unwrap();
        assert!(
            put_file(&served.client(), "a.csv", held, file)
                .await
                .is_err(),
            "{text}"
        );
    }
    assert!(served.held().files.is_empty());
}

#[test]
fn what_stands_in_the_way_is_told_with_its_source() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(one.path(), &[("in/a.csv", "1"), ("B.csv", "")]);
    write(two.path(), &[("a.csv", "2"), ("b.csv", "")]);
    std::fs::create_dir(two.path().join("empty")).unwrap();
    std::os::unix::fs::symlink(two.path(), one.path().join("link")).unwrap();
    let said = |sources: &[(&Path, &str)]| match prepare(&errand(sources)) {
        Ok(ready) => panic!("{ready:?}"),
        Err(error) => error.to_string(),
    };
    let gone = one.path().join("gone");
    for (sources, expected) in [
        (
            vec![(two.path(), ""), (one.path(), "in")],
            "'a.csv' is in source 1 and in source 2",
        ),
        (
            vec![(one.path(), "in"), (two.path(), "none")],
            "source 2: the folder 'none': it is not there",
        ),
        (
            vec![(one.path(), "link")],
            "source 1: the folder 'link': it is no folder",
        ),
        (vec![(one.path(), "../x")], "source 1: the folder '../x'"),
        (
            vec![(gone.as_path(), "")],
            "source 1: the volume cannot be opened",
        ),
        (vec![(two.path(), "empty")], "no file matches"),
    ] {
        let line = said(&sources);
        assert!(line.starts_with(expected) && !line.contains('\n'), "{line}");
    }
    let mut apart = errand(&[(one.path(), ""), (two.path(), "")]);
    apart.sources[0].include = vec!["B.csv".into()];
    apart.sources[1].include = vec!["b.csv".into()];
    let error = prepare(&apart).unwrap_err().to_string();
    assert!(error.contains("the same name where case"), "{error}");
}

#[test]
fn a_source_is_read_as_the_job_has_it() {
    let text = r#"{"exclude":[],"include":["a/**"],"path":"","root":"/sources/0"}"#;
    let source: Source = serde_json::from_str(text).unwrap();
    assert_eq!(
        (source.root.as_path(), source.include.len()),
        (Path::new("/sources/0"), 1)
    );
    assert!(serde_json::from_str::<Source>(r#"{"path":"x"}"#).is_err());
    assert!(serde_json::from_str::<Source>(r#"{"root":"/","other":1}"#).is_err());
}

/// Only root may open it on ext4; here whatever lies in it would be collected.
#[tokio::test]
async fn a_whole_volume_is_collected_without_its_lost_and_found() {
    let (root, served) = (tempfile::tempdir().unwrap(), Served::start().await);
    write(
        root.path(),
        &[("lost+found/x.csv", "1"), ("out/lost+found/a.csv", "2")],
    );
    let mut errand = errand(&[(root.path(), "")]);
    errand.sources[0].include = vec!["**/*.csv".to_owned()];
    collect(errand, &served.client()).await.unwrap();
    let list = served.held().collection.clone().unwrap();
    let paths: Vec<_> = list.files.iter().map(|f| f.path.as_str()).collect();
    assert_eq!(paths, ["out/lost+found/a.csv"]);
}
