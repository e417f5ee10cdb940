//! Files of certificate authorities, in PEM.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Every certificate of a PEM text; each can be an authority.
///
/// # Errors
/// In words, when there is none, or one that is no certificate.
pub fn of_text(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|e| e.to_string())?;
    if all.is_empty() {
        return Err("no certificate in it".to_owned());
    }
    let mut roots = rustls::RootCertStore::empty();
    for certificate in &all {
        roots.add(certificate.clone()).map_err(|e| e.to_string())?;
    }
    Ok(all)
}

/// The text of a file that holds authorities and nothing else that is PEM.
///
/// # Errors
/// In words, with the file's name.
pub fn of_file(path: &Path) -> Result<Vec<u8>, String> {
    let problem = |e: String| format!("{}: {e}", path.display());
    let text = std::fs::read(path).map_err(|e| problem(e.to_string()))?;
    of_text(&text).map_err(problem)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::issue;

    #[test]
    fn a_file_is_one_or_more_certificates_and_nothing_less() {
        let one = issue::authority(2_000_000_000, 2_000_086_400).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        assert!(of_file(&path).unwrap_err().contains("ca.pem"));
        for (text, good) in [
            (one.certificate.clone(), true),
            (one.certificate.repeat(2), true),
            (String::new(), false),
            ("no certificate".to_owned(), false),
            (one.key.clone(), false),
            (one.certificate.replacen("MII", "MIX", 1), false),
        ] {
            std::fs::write(&path, &text).unwrap();
            assert_eq!(of_file(&path).is_ok(), good, "{text}");
        }
    }
}
