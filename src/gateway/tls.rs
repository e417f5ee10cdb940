//! The certificate of `gateway.tls.secret`, mounted as files; a renewed one is
//! taken up without a restart.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

/// Where the chart mounts the Secret, unless the environment says otherwise.
const FOLDER: &str = "/etc/trevor/tls";
const VARIABLE: &str = "TREVOR_GATEWAY_TLS_DIR";
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Why the certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "configuration key gateway.tls.secret: {path}: {problem}; mount the Secret (tls.crt, tls.key) at {FOLDER}, or name its folder in {VARIABLE}"
)]
pub struct TlsError {
    path: String,
    problem: String,
}

/// Serves TLS with the newest certificate.
#[derive(Clone)]
pub struct Tls(Arc<RwLock<Arc<ServerConfig>>>);

impl Tls {
    /// Reads the certificate, and looks for a newer one from then on.
    ///
    /// # Errors
    /// When it is not there or makes no sense.
    pub fn watch() -> Result<Self, TlsError> {
        let folder = PathBuf::from(std::env::var(VARIABLE).unwrap_or_else(|_| FOLDER.to_owned()));
        let tls = Self(Arc::new(RwLock::new(read(&folder)?)));
        tokio::spawn(renew(tls.clone(), folder));
        Ok(tls)
    }

    /// For the next connection.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(
            &self.0.read().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

async fn renew(tls: Tls, folder: PathBuf) {
    let mut seen = changed(&folder);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = changed(&folder);
        if now == seen {
            continue;
        }
        match read(&folder) {
            Ok(config) => {
                *tls.0.write().unwrap_or_else(PoisonError::into_inner) = config;
                seen = now;
                info!("the certificate was renewed");
            }
            Err(error) => warn!(%error, "the new certificate cannot be used; the old one stays"),
        }
    }
}

fn changed(folder: &Path) -> Option<SystemTime> {
    std::fs::metadata(folder.join("tls.crt"))
        .and_then(|m| m.modified())
        .ok()
}

fn read(folder: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
    let wrong = |path: &Path, problem: String| TlsError {
        path: path.display().to_string(),
        problem,
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&certificate)
        .and_then(Iterator::collect)
        .map_err(|e| wrong(&certificate, e.to_string()))?;
    let private = PrivateKeyDer::from_pem_file(&key).map_err(|e| wrong(&key, e.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong(&certificate, e.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|e| wrong(&certificate, e.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
