//! The certificate of `gateway.tls.secret`, which is mounted as files. A renewed certificate is
//! served without a restart. One that cannot be used is ignored and counted.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use trevor_net::tls::look::{self, Said};

/// Where the chart mounts the Secret. [`DIRECTORY_VARIABLE`] overrides it.
const DEFAULT_DIRECTORY: &str = "/etc/trevor/tls";
const DIRECTORY_VARIABLE: &str = "TREVOR_GATEWAY_TLS_DIR";
/// How often the files are read. The kubelet takes about a minute to update them.
const RELOAD_INTERVAL: Duration = Duration::from_secs(5);

/// Why the certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "configuration key gateway.tls.secret: {path}: {problem}; mount the Secret (tls.crt, tls.key) at {DEFAULT_DIRECTORY}, or name its folder in {DIRECTORY_VARIABLE}"
)]
pub struct TlsError {
    path: String,
    problem: String,
}

/// Serves TLS with the newest certificate that can be used.
#[derive(Clone)]
pub struct Tls(Arc<TlsState>);

struct TlsState {
    served: Mutex<ServedCertificate>,
    reloads: AtomicU64,
    failures: AtomicU64,
}

#[derive(Clone)]
struct ServedCertificate {
    config: Arc<ServerConfig>,
    said: Said,
}

/// The content of both files.
#[derive(PartialEq, Eq)]
struct CertificateFiles {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    /// Loads the certificate, and starts a task that reloads it when the files change.
    ///
    /// # Errors
    /// When the files are missing or not valid.
    pub fn watch() -> Result<Self, TlsError> {
        let folder = PathBuf::from(
            std::env::var(DIRECTORY_VARIABLE).unwrap_or_else(|_| DEFAULT_DIRECTORY.to_owned()),
        );
        let files = read(&folder)?;
        let served = load(&folder, &files)?;
        if served.said.until <= Timestamp::now().as_second() {
            warn!("the certificate has expired");
        }
        if served.said.is_authority {
            warn!(
                "the certificate of gateway.tls.secret is marked as an authority (CA:TRUE, as openssl makes self-signed ones): trevor and other clients do not take it; make one with basicConstraints=CA:FALSE, or have an authority sign it"
            );
        }
        let tls = Self(Arc::new(TlsState {
            served: Mutex::new(served),
            reloads: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }));
        tokio::spawn(reload_in_a_loop(tls.clone(), folder, files));
        Ok(tls)
    }

    /// The acceptor for the next connection.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.served().config)
    }

    /// Metrics, in the text format of Prometheus.
    #[must_use]
    pub fn metrics(&self) -> String {
        let said = self.served().said;
        let mut text = String::new();
        for (name, kind, help, value) in [
            (
                "certificate_expiry_timestamp_seconds",
                "gauge",
                "When the certificate ends that is served.",
                said.until.unsigned_abs(),
            ),
            (
                "certificate_not_before_timestamp_seconds",
                "gauge",
                "When the certificate began that is served.",
                said.since.unsigned_abs(),
            ),
            (
                "certificate_reloads_total",
                "counter",
                "New certificates that were taken up.",
                self.0.reloads.load(Relaxed),
            ),
            (
                "certificate_reload_failures_total",
                "counter",
                "Files of a new certificate that could not be used; the old one stayed.",
                self.0.failures.load(Relaxed),
            ),
        ] {
            text += &format!(
                "# HELP trevor_gateway_{name} {help}\n# TYPE trevor_gateway_{name} {kind}\ntrevor_gateway_{name} {value}\n"
            );
        }
        text
    }

    fn served(&self) -> ServedCertificate {
        let served = self.0.served.lock();
        served.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Loads the files if they changed since `seen`, and returns what was read.
    fn reload(
        &self,
        folder: &Path,
        seen: Option<CertificateFiles>,
        now: i64,
    ) -> Option<CertificateFiles> {
        let files = match read(folder) {
            Ok(files) if seen.as_ref() == Some(&files) => return seen,
            Ok(files) => files,
            Err(error) => {
                // Reported once: `seen` is none until the files can be read again.
                if seen.is_some() {
                    self.record_failure(&error);
                }
                return None;
            }
        };
        match load(folder, &files) {
            Ok(new) if new.said.until <= now => {
                self.record_failure(&error_at(folder, "has expired"))
            }
            Ok(new) => {
                let (since, until) = (new.said.since, new.said.until);
                *self.0.served.lock().unwrap_or_else(PoisonError::into_inner) = new;
                self.0.reloads.fetch_add(1, Relaxed);
                info!(since, until, "a new certificate is served");
            }
            Err(error) => self.record_failure(&error),
        }
        Some(files)
    }

    fn record_failure(&self, error: &TlsError) {
        self.0.failures.fetch_add(1, Relaxed);
        warn!(%error, "the new certificate cannot be used; the old one stays");
    }
}

async fn reload_in_a_loop(tls: Tls, folder: PathBuf, files: CertificateFiles) {
    let mut seen = Some(files);
    loop {
        tokio::time::sleep(RELOAD_INTERVAL).await;
        seen = tls.reload(&folder, seen, Timestamp::now().as_second());
    }
}

fn error_at(path: &Path, problem: impl Into<String>) -> TlsError {
    TlsError {
        path: path.display().to_string(),
        problem: problem.into(),
    }
}

fn read(folder: &Path) -> Result<CertificateFiles, TlsError> {
    let file = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).map_err(|e| error_at(&path, e.to_string()))
    };
    Ok(CertificateFiles {
        certificate: file("tls.crt")?,
        key: file("tls.key")?,
    })
}

fn load(folder: &Path, files: &CertificateFiles) -> Result<ServedCertificate, TlsError> {
    let certificate = |e: String| error_at(&folder.join("tls.crt"), e);
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&files.certificate)
        .collect::<Result<_, _>>()
        .map_err(|e| certificate(e.to_string()))?;
    let said = chain
        .first()
        .ok_or_else(|| "no certificate in it".to_owned())
        .and_then(|first| look::of_der(first))
        .map_err(certificate)?;
    let private = PrivateKeyDer::from_pem_slice(&files.key)
        .map_err(|e| error_at(&folder.join("tls.key"), e.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| certificate(e.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|e| certificate(e.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(ServedCertificate {
        config: Arc::new(config),
        said,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use trevor_net::tls::issue::{self, Pair};

    const NOW: i64 = 2_000_000_000;

    fn pair(until: i64) -> Pair {
        let authority = issue::authority(NOW - 100, NOW + 10_000).unwrap();
        let names = ["gw".to_owned()].into();
        issue::serving(&authority, &names, NOW - 100, until).unwrap()
    }

    fn write(folder: &Path, certificate: &str, key: &str) {
        std::fs::write(folder.join("tls.crt"), certificate).unwrap();
        std::fs::write(folder.join("tls.key"), key).unwrap();
    }

    fn serves(folder: &Path) -> Tls {
        let files = read(folder).unwrap();
        Tls(Arc::new(TlsState {
            served: Mutex::new(load(folder, &files).unwrap()),
            reloads: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }))
    }

    #[test]
    fn a_new_certificate_is_served_and_a_bad_one_is_counted_once_and_not_served() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let (first, second) = (pair(NOW + 100), pair(NOW + 200));
        write(folder, &first.certificate, &first.key);
        let tls = serves(folder);
        let mut seen = read(folder).ok();
        let rows: [(&str, &str, i64, u64, u64); 7] = [
            (&first.certificate, &first.key, 100, 0, 0),
            (&second.certificate, &second.key, 200, 1, 0),
            ("none", &first.key, 200, 1, 1),
            // Of two pairs: half of a swap, or a mistake.
            (&first.certificate, &second.key, 200, 1, 2),
            (&pair(NOW).certificate, &first.key, 200, 1, 3),
            (&second.certificate, "none", 200, 1, 4),
            (&first.certificate, &first.key, 100, 2, 4),
        ];
        for (certificate, key, until, reloads, failures) in rows {
            write(folder, certificate, key);
            for _ in 0..2 {
                seen = tls.reload(folder, seen, NOW);
            }
            assert_eq!(tls.served().said.until, NOW + until);
            assert_eq!(tls.0.reloads.load(Relaxed), reloads);
            assert_eq!(tls.0.failures.load(Relaxed), failures);
        }
        let expired = pair(NOW);
        write(folder, &expired.certificate, &expired.key);
        seen = tls.reload(folder, seen, NOW);
        assert_eq!(
            tls.served().said.until,
            NOW + 100,
            "an expired one is not taken up"
        );
        std::fs::remove_file(folder.join("tls.key")).unwrap();
        for _ in 0..2 {
            seen = tls.reload(folder, seen, NOW);
        }
        assert!(seen.is_none());
        let text = tls.metrics();
        for line in [
            "trevor_gateway_certificate_expiry_timestamp_seconds 2000000100",
            "trevor_gateway_certificate_reloads_total 2",
            "trevor_gateway_certificate_reload_failures_total 6",
        ] {
            assert_eq!(
                text.lines().filter(|l| *l == line).count(),
                1,
                "{line}: {text}"
            );
        }
    }
}
