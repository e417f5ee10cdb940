//! Downloads that break, and go on.

use std::path::Path;
use std::time::Duration;

use super::server::{Fault, Server};
use super::{QUICK, noise};
use crate::transfer::download::Downloader;
use crate::transfer::fetch::{FetchError, Fetched, Wish, fetch};
use crate::transfer::part_file::PartFile;
use crate::transfer::{Trouble, Web};

fn downloader() -> Downloader {
    Downloader {
        web: Web::new(None).unwrap(),
        patience: QUICK,
        parallel: 4,
    }
}

/// Downloads to `to`, without any check.
async fn download(server: &Server, to: &Path) -> Result<Vec<u8>, Trouble> {
    let (downloader, url) = (downloader(), server.url("b/k"));
    let object = downloader.ask(&url).await?;
    let part = PartFile::open(to).unwrap();
    downloader.fill(&url, object, &part).await?;
    part.finish().unwrap();
    Ok(std::fs::read(to).unwrap())
}

#[tokio::test]
async fn pieces_make_up_the_object() {
    let folder = tempfile::tempdir().unwrap();
    let object = noise((33 << 20) + 7);
    let server = Server::with(object.clone()).await;
    let got = download(&server, &folder.path().join("a")).await.unwrap();
    assert!(got == object);
    assert_eq!(server.seen().len(), 1 + 3);
}

#[tokio::test]
async fn a_piece_that_breaks_is_read_on_from_there() {
    let folder = tempfile::tempdir().unwrap();
    let object = noise(3 << 20);
    let server = Server::with(object.clone()).await;
    let cut = Fault::Cut(700_000);
    // More often than attempts in a row are allowed: each gets on.
    server.fails([
        Fault::Cut(1),
        cut.clone(),
        Fault::Status(503, "SlowDown"),
        cut.clone(),
        cut.clone(),
        cut,
    ]);
    let got = download(&server, &folder.path().join("a")).await.unwrap();
    assert!(got == object);
    assert!(
        server.sent() <= object.len() + 10,
        "nothing is read twice: {} of {}",
        server.sent(),
        object.len()
    );
}

#[tokio::test]
async fn a_later_process_goes_on_where_the_first_ended() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("a");
    let object = noise(3 << 20);
    let server = Server::with(object.clone()).await;
    server.fails([
        Fault::Cut(1),
        Fault::Cut(2 << 20),
        Fault::Status(403, "AccessDenied"),
    ]);
    let error = download(&server, &to).await.unwrap_err();
    assert!(error.refused(), "{error}");
    assert!(!to.exists());
    let before = server.sent();
    let got = download(&server, &to).await.unwrap();
    assert!(got == object);
    assert_eq!(server.sent() - before, 1 + (1 << 20));
}

#[tokio::test]
async fn an_object_that_changed_is_read_anew() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("a");
    let server = Server::with(noise(2 << 20)).await;
    server.fails([
        Fault::Cut(1),
        Fault::Cut(1 << 20),
        Fault::Status(403, "AccessDenied"),
    ]);
    download(&server, &to).await.unwrap_err();
    let other = noise((2 << 20) + 5).split_off(5);
    server.replace(other.clone(), "\"two\"");
    assert!(download(&server, &to).await.unwrap() == other);

    // And while it is read: the version that is asked for is gone.
    let to = folder.path().join("b");
    let (downloader, url) = (downloader(), server.url("b/k"));
    let object = downloader.ask(&url).await.unwrap();
    server.replace(noise(100), "\"three\"");
    let part = PartFile::open(&to).unwrap();
    downloader.fill(&url, object, &part).await.unwrap();
    part.finish().unwrap();
    assert_eq!(std::fs::read(&to).unwrap(), noise(100));
}

#[tokio::test]
async fn a_server_without_ranges_or_versions_is_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let object = noise(2 << 20);
    let server = Server::without_ranges(object.clone()).await;
    server.fails([
        Fault::Cut(10),
        Fault::Cut(1 << 20),
        Fault::Status(500, "InternalError"),
    ]);
    let got = download(&server, &folder.path().join("a")).await.unwrap();
    assert!(got == object);
    let weak = Server::with(object.clone()).await;
    weak.replace(object.clone(), "W/\"one\"");
    let got = download(&weak, &folder.path().join("b")).await.unwrap();
    assert!(got == object);
    let empty = Server::with(Vec::new()).await;
    let got = download(&empty, &folder.path().join("c")).await.unwrap();
    assert!(got.is_empty());
}

#[tokio::test]
async fn a_server_that_never_works_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::with(noise(100)).await;
    server.fails(vec![Fault::Status(503, "SlowDown"); 4]);
    let error = download(&server, &folder.path().join("a"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("503 SlowDown"), "{error}");
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn a_server_that_falls_silent_is_given_up() {
    let server = Server::with(noise(100)).await;
    let mut downloader = downloader();
    downloader.web = downloader.web.with_stall(Duration::from_millis(50));
    server.fails(vec![Fault::Silence; 4]);
    let error = downloader.ask(&server.url("b/k")).await.unwrap_err();
    assert!(matches!(error, Trouble::Stalled), "{error}");
    assert!(downloader.ask(&server.url("b/k")).await.is_ok());
}

async fn fetched(server: &Server, wish: impl FnOnce(&mut Wish)) -> Result<Fetched, FetchError> {
    let mut asked = Wish {
        url: server.url("b/k"),
        sha256: None,
        out: None,
        extract: None,
    };
    wish(&mut asked);
    fetch(asked, &downloader()).await
}

#[tokio::test]
async fn what_is_not_a_package_is_not_put_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("a.zip");
    let server = Server::with(b"<html>no zip</html>".to_vec()).await;
    let error = fetched(&server, |w| w.out = Some(out.clone()))
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Package(_)), "{error}");
    let wanted = trevor_core::digest::Sha256Hex::of(b"something else");
    let wish = |w: &mut Wish| (w.out, w.sha256) = (Some(out.clone()), Some(wanted));
    let error = fetched(&server, wish).await.unwrap_err();
    assert!(matches!(error, FetchError::Digest { .. }), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_file_that_is_there_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("a.zip");
    std::fs::write(&out, b"mine").unwrap();
    let server = Server::with(noise(100)).await;
    let error = fetched(&server, |w| w.out = Some(out.clone()))
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Exists(_)), "{error}");
    let wanted = trevor_core::digest::Sha256Hex::of(b"yours");
    let wish = |w: &mut Wish| (w.out, w.sha256) = (Some(out.clone()), Some(wanted));
    let error = fetched(&server, wish).await.unwrap_err();
    assert!(matches!(error, FetchError::Another { .. }), "{error}");
    assert_eq!(std::fs::read(&out).unwrap(), b"mine");
}

#[tokio::test]
async fn errors_say_what_to_do_and_hold_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::with(noise(100)).await;
    for (status, code, said) in [
        (403, "AccessDenied", "ask for a new one"),
        (404, "NoSuchKey", "revoked or deleted"),
        (307, "TemporaryRedirect", "not followed"),
    ] {
        server.fails([Fault::Status(status, code)]);
        let out = folder.path().join("a.zip");
        let error = fetched(&server, |w| w.out = Some(out)).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains(said) && text.contains(code), "{text}");
        assert!(!text.contains("geheim"), "{text}");
    }
}
