//! Makes an authority, and certificates that it signs: ECDSA on P-256.

use std::collections::BTreeSet;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use x509_parser::time::ASN1Time;

/// A certificate and its private key, both in PEM.
#[derive(Clone)]
pub struct Pair {
    /// May be seen by everybody.
    pub certificate: String,
    /// Nobody's but its holder's.
    pub key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The library refuses.
    #[error("no certificate could be made: {0}")]
    Refused(#[from] rcgen::Error),
    /// A time that X.509 cannot say.
    #[error("no certificate could be made: {0} is no time that a certificate can state")]
    Time(i64),
}

/// An authority that signs certificates of servers and no other authority.
///
/// # Errors
/// When the library refuses.
pub fn authority(since: i64, until: i64) -> Result<Pair, IssueError> {
    let mut params = common(Vec::new(), "trevor gateway authority", since, until)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(pair(&certificate, &key))
}

/// A server's certificate for some names, signed by an authority.
///
/// # Errors
/// When the authority cannot be used, or a name is none.
pub fn serving(
    authority: &Pair,
    names: &BTreeSet<String>,
    since: i64,
    until: i64,
) -> Result<Pair, IssueError> {
    let issuer =
        Issuer::from_ca_cert_pem(&authority.certificate, KeyPair::from_pem(&authority.key)?)?;
    let names: Vec<String> = names.iter().cloned().collect();
    let mut params = common(names, "trevor gateway", since, until)?;
    params.use_authority_key_identifier_extension = true;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(pair(&certificate, &key))
}

fn common(
    names: Vec<String>,
    subject: &str,
    since: i64,
    until: i64,
) -> Result<CertificateParams, IssueError> {
    let time = |seconds| {
        ASN1Time::from_timestamp(seconds)
            .map(|time| time.to_datetime())
            .map_err(|_| IssueError::Time(seconds))
    };
    let mut params = CertificateParams::new(names)?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, subject);
    params.distinguished_name = name;
    params.not_before = time(since)?;
    params.not_after = time(until)?;
    Ok(params)
}

fn pair(certificate: &rcgen::Certificate, key: &KeyPair) -> Pair {
    Pair {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

    use super::*;
    use crate::tls::{authorities, look};

    const NOW: i64 = 2_000_000_000;

    fn names() -> BTreeSet<String> {
        ["gw.trevor-system.svc", "127.0.0.1", "::1"]
            .map(str::to_owned)
            .into()
    }

    /// Whether a client that trusts `authority` takes it for `name` at `time`.
    fn trusted(authority: &Pair, pair: &Pair, name: &str, time: i64) -> bool {
        let mut roots = RootCertStore::empty();
        for root in authorities::of_text(authority.certificate.as_bytes()).unwrap() {
            roots.add(root).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let leaf = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
        let at = UnixTime::since_unix_epoch(Duration::from_secs(time.unsigned_abs()));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let verified = verifier
            .build()
            .unwrap()
            .verify_server_cert(&leaf, &[], &name, &[], at);
        verified.is_ok()
    }

    #[test]
    fn a_client_takes_it_by_its_authority_its_names_and_its_time_alone() {
        let ours = authority(NOW - 10, NOW + 1000).unwrap();
        let other = authority(NOW - 10, NOW + 1000).unwrap();
        let made = serving(&ours, &names(), NOW, NOW + 100).unwrap();
        for name in ["gw.trevor-system.svc", "127.0.0.1", "::1"] {
            assert!(trusted(&ours, &made, name, NOW + 50), "{name}");
        }
        assert!(!trusted(&ours, &made, "evil.example", NOW + 50));
        assert!(!trusted(&other, &made, "gw.trevor-system.svc", NOW + 50));
        assert!(!trusted(&ours, &made, "gw.trevor-system.svc", NOW + 101));
        assert!(!trusted(&ours, &made, "gw.trevor-system.svc", NOW - 1));
    }

    #[test]
    fn what_is_made_says_what_was_asked_for() {
        let ours = authority(NOW - 10, NOW + 1000).unwrap();
        let made = serving(&ours, &names(), NOW, NOW + 100).unwrap();
        let of = look::of_pem(ours.certificate.as_bytes()).unwrap();
        let said = look::of_pem(made.certificate.as_bytes()).unwrap();
        assert_eq!((of.since, of.until), (NOW - 10, NOW + 1000));
        assert_eq!((said.since, said.until), (NOW, NOW + 100));
        assert_eq!(said.names, names());
        assert!(!of.id.is_empty());
        assert!(of.is_authority && !said.is_authority);
        assert_eq!(said.signed_by, of.id);
        assert!(!format!("{made:?}").contains("PRIVATE"));
    }

    #[test]
    fn two_authorities_have_two_ids_and_nonsense_is_refused() {
        let [one, two] = [(); 2].map(|()| authority(NOW, NOW + 10).unwrap());
        let id = |p: &Pair| look::of_pem(p.certificate.as_bytes()).unwrap().id;
        assert_ne!(id(&one), id(&two));
        let broken = Pair {
            key: "none".into(),
            ..one
        };
        assert!(serving(&broken, &names(), NOW, NOW + 1).is_err());
        assert!(authority(NOW, i64::MAX).is_err());
        assert!(look::of_pem(b"none").is_err());
    }
}
