//! Transfers through a real little proxy.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::QUICK;
use super::server::Server;
use crate::transfer::Web;
use crate::transfer::download::Downloader;
use crate::transfer::part_file::PartFile;
use trevor_core::proxies::Proxies;

/// Passes on what it is told whole, and digs tunnels; keeps the heads of requests.
async fn proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(pass(stream, Arc::clone(&kept)));
        }
    });
    (address, heads)
}

async fn pass(mut client: TcpStream, kept: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if client.read(&mut byte).await.unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    kept.lock().unwrap().push(head.clone());
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let (host, first) = match method {
        "CONNECT" => (target.to_owned(), None),
        _ => {
            let rest = target.strip_prefix("http://").expect("a whole URL");
            let (host, path) = rest.split_once('/').unwrap();
            let first = head.replacen(target, &format!("/{path}"), 1);
            let first = first.replacen("\r\n", "\r\nconnection: close\r\n", 1);
            (host.to_owned(), Some(first))
        }
    };
    let Ok(mut server) = TcpStream::connect(host).await else {
        let _ = client.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await;
        return;
    };
    match first {
        None => client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap(),
        Some(first) => server.write_all(first.as_bytes()).await.unwrap(),
    }
    let _ = copy_bidirectional(&mut client, &mut server).await;
}

fn through(variables: &[(&str, String)]) -> Downloader {
    let proxies = Proxies::of(|name| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.clone())
    });
    Downloader {
        web: Web::new(None).unwrap().through(proxies.unwrap()),
        patience: QUICK,
        parallel: 2,
    }
}

async fn download(server: &Server, downloader: &Downloader) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (url, to) = (server.url("b/k"), folder.path().join("a"));
    let object = downloader.ask(&url).await.unwrap();
    let part = PartFile::open(&to).unwrap();
    downloader.fill(&url, object, &part).await.unwrap();
    part.finish().unwrap();
    std::fs::read(&to).unwrap()
}

#[tokio::test]
async fn a_plain_url_is_told_to_the_proxy_whole_with_its_password() {
    let server = Server::with(b"hello".to_vec()).await;
    let (address, heads) = proxy().await;
    let downloader = through(&[("http_proxy", format!("http://me:p%40ss@{address}"))]);
    assert_eq!(download(&server, &downloader).await, b"hello");
    let heads = heads.lock().unwrap();
    assert!(!heads.is_empty());
    for head in heads.iter() {
        assert!(head.starts_with("GET http://127.0.0.1:"), "{head}");
        let basic = "proxy-authorization: Basic bWU6cEBzcw==";
        assert!(
            head.lines().any(|line| line.eq_ignore_ascii_case(basic)),
            "{head}"
        );
    }
}

#[tokio::test]
async fn what_no_proxy_names_does_not_go_through_it() {
    let server = Server::with(b"hello".to_vec()).await;
    let (address, heads) = proxy().await;
    for direct in ["127.0.0.0/8", "*", "127.0.0.1"] {
        let variables = [
            ("HTTP_PROXY", address.clone()),
            ("NO_PROXY", direct.to_owned()),
        ];
        assert_eq!(download(&server, &through(&variables)).await, b"hello");
    }
    assert!(heads.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_encrypted_url_gets_a_tunnel() {
    let (address, heads) = proxy().await;
    // Whoever listens there speaks no TLS: what counts is the way.
    let server = Server::with(b"hello".to_vec()).await;
    let text = server
        .url("b/k")
        .uri()
        .to_string()
        .replace("http://", "https://");
    let url = crate::transfer::Address::parse(&text, false).unwrap();
    let downloader = through(&[("https_proxy", format!("me:word@{address}"))]);
    assert!(downloader.ask(&url).await.is_err());
    let heads = heads.lock().unwrap();
    assert!(heads[0].starts_with("CONNECT 127.0.0.1:"), "{}", heads[0]);
    assert!(
        heads[0]
            .to_lowercase()
            .contains("proxy-authorization: basic "),
        "{}",
        heads[0]
    );
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_without_its_password() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let server = Server::with(b"hello".to_vec()).await;
    let downloader = through(&[("http_proxy", format!("http://me:geheim@{address}"))]);
    let said = downloader
        .ask(&server.url("b/k"))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        said.contains(&format!("by the proxy http://{address}")),
        "{said}"
    );
    assert!(!said.contains("geheim"), "{said}");
}
