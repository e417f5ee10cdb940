//! A private authority, and TLS before a server that has none.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use trevor_net::tls::issue::{self, Pair};

/// An authority that nobody knows but who reads its file.
pub struct Authority {
    pair: Pair,
    folder: tempfile::TempDir,
}

impl Default for Authority {
    fn default() -> Self {
        let now = jiff::Timestamp::now().as_second();
        let pair = issue::authority(now - 3600, now + 86_400).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), &pair.certificate).unwrap();
        Self { pair, folder }
    }
}

impl Authority {
    /// Its certificate, as a file.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The folder with that file alone, for SSL_CERT_DIR.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its certificate, as text.
    pub fn pem(&self) -> &str {
        &self.pair.certificate
    }

    /// What it signs for a name, for so many seconds.
    pub fn signs(&self, name: &str, seconds: i64) -> Pair {
        let now = jiff::Timestamp::now().as_second();
        let names = [name.to_owned()].into();
        issue::serving(&self.pair, &names, now - 3600, now + seconds).unwrap()
    }
}

/// Writes tls.crt and tls.key as kubelet does: a folder that a link names, swapped at once.
pub fn mounts(folder: &Path, pair: &Pair) {
    let name = format!("..{:08x}", rand::random::<u32>());
    let fresh = folder.join(&name);
    std::fs::create_dir(&fresh).unwrap();
    std::fs::write(fresh.join("tls.crt"), &pair.certificate).unwrap();
    std::fs::write(fresh.join("tls.key"), &pair.key).unwrap();
    std::os::unix::fs::symlink(&name, folder.join("..data_tmp")).unwrap();
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    for file in ["tls.crt", "tls.key"] {
        let link = folder.join(file);
        if !link.exists() {
            std::os::unix::fs::symlink(format!("..data/{file}"), link).unwrap();
        }
    }
}

/// Speaks TLS, and hands what it hears to a server that speaks none.
pub struct Terminates {
    pub port: u16,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Terminates {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Terminates {
    /// Before a `host:port`, or a URL of one.
    pub async fn before(server: &str, pair: &Pair) -> Self {
        let server = server.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = TlsAcceptor::from(Arc::new(config(pair)));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, server) = (acceptor.clone(), server.clone());
                tokio::spawn(async move {
                    // Who does not trust us goes away here.
                    let Ok(mut client) = acceptor.accept(client).await else {
                        return;
                    };
                    let mut server = TcpStream::connect(server).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { port, task }
    }

    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }
}

fn config(pair: &Pair) -> ServerConfig {
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(pair.certificate.as_bytes())
            .collect::<Result<_, _>>()
            .unwrap();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap()
}
