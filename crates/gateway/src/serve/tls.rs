//! The certificate of `gateway.tls.secret`, mounted as files; a renewed one is
//! taken up without a restart, and one that cannot be used is not.

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

/// Where the chart mounts the Secret, unless the environment says otherwise.
const FOLDER: &str = "/etc/trevor/tls";
const VARIABLE: &str = "TREVOR_GATEWAY_TLS_DIR";
/// Kubelet takes a minute or so to bring a new one; files are read this often.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Why the certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "configuration key gateway.tls.secret: {path}: {problem}; mount the Secret (tls.crt, tls.key) at {FOLDER}, or name its folder in {VARIABLE}"
)]
pub struct TlsError {
    path: String,
    problem: String,
}

/// Serves TLS with the newest certificate that can be used.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    served: Mutex<Served>,
    reloads: AtomicU64,
    failures: AtomicU64,
}

#[derive(Clone)]
struct Served {
    config: Arc<ServerConfig>,
    said: Said,
}

/// Both files, as they are.
#[derive(PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    /// Reads the certificate, and looks for a newer one from then on.
    ///
    /// # Errors
    /// When it is not there or makes no sense.
    pub fn watch() -> Result<Self, TlsError> {
        let folder = PathBuf::from(std::env::var(VARIABLE).unwrap_or_else(|_| FOLDER.to_owned()));
        let files = read(&folder)?;
        let served = usable(&folder, &files)?;
        if served.said.until <= Timestamp::now().as_second() {
            // Clients say so, too; a process that does not start would say less.
            warn!("the certificate has expired");
        }
        if served.said.is_authority {
            warn!(
                "the certificate of gateway.tls.secret is marked as an authority (CA:TRUE, as openssl makes self-signed ones): trevor and other clients do not take it; make one with basicConstraints=CA:FALSE, or have an authority sign it"
            );
        }
        let tls = Self(Arc::new(Shared {
            served: Mutex::new(served),
            reloads: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }));
        tokio::spawn(renew(tls.clone(), folder, files));
        Ok(tls)
    }

    /// For the next connection.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.served().config)
    }

    /// Numbers, as the text that Prometheus reads.
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

    fn served(&self) -> Served {
        let served = self.0.served.lock();
        served.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes up what is in the folder, if it is new, and says what it saw.
    fn look(&self, folder: &Path, seen: Option<Files>, now: i64) -> Option<Files> {
        let files = match read(folder) {
            Ok(files) if seen.as_ref() == Some(&files) => return seen,
            Ok(files) => files,
            Err(error) => {
                // Said once: `seen` is nothing until the files are there again.
                if seen.is_some() {
                    self.refuses(&error);
                }
                return None;
            }
        };
        match usable(folder, &files) {
            Ok(new) if new.said.until <= now => self.refuses(&problem(folder, "has expired")),
            Ok(new) => {
                let (since, until) = (new.said.since, new.said.until);
                *self.0.served.lock().unwrap_or_else(PoisonError::into_inner) = new;
                self.0.reloads.fetch_add(1, Relaxed);
                info!(since, until, "a new certificate is served");
            }
            Err(error) => self.refuses(&error),
        }
        Some(files)
    }

    fn refuses(&self, error: &TlsError) {
        self.0.failures.fetch_add(1, Relaxed);
        warn!(%error, "the new certificate cannot be used; the old one stays");
    }
}

async fn renew(tls: Tls, folder: PathBuf, files: Files) {
    let mut seen = Some(files);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        seen = tls.look(&folder, seen, Timestamp::now().as_second());
    }
}

fn problem(path: &Path, problem: impl Into<String>) -> TlsError {
    TlsError {
        path: path.display().to_string(),
        problem: problem.into(),
    }
}

fn read(folder: &Path) -> Result<Files, TlsError> {
    let file = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).map_err(|e| problem(&path, e.to_string()))
    };
    Ok(Files {
        certificate: file("tls.crt")?,
        key: file("tls.key")?,
    })
}

fn usable(folder: &Path, files: &Files) -> Result<Served, TlsError> {
    let certificate = |e: String| problem(&folder.join("tls.crt"), e);
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&files.certificate)
        .collect::<Result<_, _>>()
        .map_err(|e| certificate(e.to_string()))?;
    let said = chain
        .first()
        .ok_or_else(|| "no certificate in it".to_owned())
        .and_then(|first| look::of_der(first))
        .map_err(certificate)?;
    let private = PrivateKeyDer::from_pem_slice(&files.key)
        .map_err(|e| problem(&folder.join("tls.key"), e.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| certificate(e.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|e| certificate(e.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Served {
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
        Tls(Arc::new(Shared {
            served: Mutex::new(usable(folder, &files).unwrap()),
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
                seen = tls.look(folder, seen, NOW);
            }
            assert_eq!(tls.served().said.until, NOW + until);
            assert_eq!(tls.0.reloads.load(Relaxed), reloads);
            assert_eq!(tls.0.failures.load(Relaxed), failures);
        }
        let expired = pair(NOW);
        write(folder, &expired.certificate, &expired.key);
        seen = tls.look(folder, seen, NOW);
        assert_eq!(
            tls.served().said.until,
            NOW + 100,
            "an expired one is not taken up"
        );
        std::fs::remove_file(folder.join("tls.key")).unwrap();
        for _ in 0..2 {
            seen = tls.look(folder, seen, NOW);
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
