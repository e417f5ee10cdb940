//! What a certificate says.

use std::collections::BTreeSet;
use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::X509Certificate;

/// Of one certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Its key's identifier, in hex; empty if it has none.
    pub id: String,
    /// The identifier of the key that signed it; empty if it has none.
    pub signed_by: String,
    /// Host names and addresses that it is for.
    pub names: BTreeSet<String>,
    /// It is marked as that of an authority, which clients do not take of a server.
    pub is_authority: bool,
    /// Valid from then, in seconds since 1970.
    pub since: i64,
    /// Valid until then.
    pub until: i64,
}

/// Reads the first certificate of a PEM text.
///
/// # Errors
/// In words, when there is none.
pub fn of_pem(pem: &[u8]) -> Result<Said, String> {
    let first = CertificateDer::pem_slice_iter(pem).next();
    let first = first.ok_or("no certificate in it")?;
    of_der(&first.map_err(|e| e.to_string())?)
}

/// Reads a certificate.
///
/// # Errors
/// In words, when it is none.
pub fn of_der(der: &[u8]) -> Result<Said, String> {
    let (_, certificate) =
        x509_parser::parse_x509_certificate(der).map_err(|_| "is no certificate")?;
    let validity = certificate.validity();
    let mut said = Said {
        since: validity.not_before.timestamp(),
        until: validity.not_after.timestamp(),
        ..Said::default()
    };
    read_extensions(&certificate, &mut said);
    Ok(said)
}

fn read_extensions(certificate: &X509Certificate<'_>, said: &mut Said) {
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(basic) => said.is_authority = basic.ca,
            ParsedExtension::SubjectKeyIdentifier(key) => said.id = hex::encode(key.0),
            ParsedExtension::AuthorityKeyIdentifier(of) => {
                if let Some(key) = &of.key_identifier {
                    said.signed_by = hex::encode(key.0);
                }
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                said.names = names.general_names.iter().filter_map(name).collect();
            }
            _ => {}
        }
    }
}

fn name(of: &GeneralName<'_>) -> Option<String> {
    match of {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let address: IpAddr = match bytes.len() {
                4 => <[u8; 4]>::try_from(*bytes).ok()?.into(),
                _ => <[u8; 16]>::try_from(*bytes).ok()?.into(),
            };
            Some(address.to_string())
        }
        _ => None,
    }
}
