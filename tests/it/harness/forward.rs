//! A forward proxy, as companies have them: it is told whole URLs of what is plain, and makes
//! tunnels for the rest. It asks who one is, writes down what passes, and knows hosts that no
//! other name server knows, so that nobody reaches them without it.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Hosts below this are on this machine.
pub const BEHIND: &str = ".trevor.test";

/// The longest head that it reads.
const HEAD: usize = 64 << 10;
const REFUSED: &[u8] =
    b"HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n";
const NOWHERE: &[u8] = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n";

/// A running proxy.
pub struct Forward {
    /// With user and password.
    pub url: String,
    passed: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Forward {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://me:p%40ss@{}", listener.local_addr().unwrap());
        let passed: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&passed);
        let task = tokio::spawn(async move {
            // Aborted with this task.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(pass(client, Arc::clone(&kept)));
            }
        });
        Self { url, passed, task }
    }

    /// What passed since the last time this was asked: `CONNECT host:port`, or a method and
    /// `http://host:port`.
    pub fn passed(&self) -> Vec<String> {
        std::mem::take(&mut self.passed.lock().unwrap())
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(mut client: TcpStream, passed: Arc<Mutex<Vec<String>>>) {
    let Some(head) = head(&mut client).await else {
        return;
    };
    let basic = "proxy-authorization: basic bwu6cebzcw==";
    if !head.lines().any(|line| line.to_ascii_lowercase() == basic) {
        let _ = client.write_all(REFUSED).await;
        return;
    }
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let (host, first) = match target.strip_prefix("http://") {
        None => (target, None),
        Some(rest) => {
            let (host, path) = rest.split_once('/').unwrap();
            (host, Some(told(&head, target, path)))
        }
    };
    let scheme = if first.is_some() { "http://" } else { "" };
    passed
        .lock()
        .unwrap()
        .push(format!("{method} {scheme}{host}"));
    let (name, port) = host.rsplit_once(':').unwrap();
    let here = name.ends_with(BEHIND);
    let address = if here { "127.0.0.1" } else { name };
    let Ok(mut server) = TcpStream::connect(format!("{address}:{port}")).await else {
        let _ = client.write_all(NOWHERE).await;
        return;
    };
    let begun = match first {
        None => client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await,
        Some(first) => server.write_all(first.as_bytes()).await,
    };
    if begun.is_ok() {
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}

/// The head as the server is to see it; one request a connection.
fn told(head: &str, target: &str, path: &str) -> String {
    let lines = head.replacen(target, &format!("/{path}"), 1);
    let for_us = |line: &&str| !line.to_ascii_lowercase().starts_with("proxy-");
    let kept: Vec<&str> = lines.trim_end().split("\r\n").filter(for_us).collect();
    format!("{}\r\nconnection: close\r\n\r\n", kept.join("\r\n"))
}

async fn head(client: &mut TcpStream) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HEAD || client.read(&mut byte).await.ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}
