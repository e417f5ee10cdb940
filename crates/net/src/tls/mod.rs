//! Certificates: what one says ([`look`]), making the gateway's own ([`issue`]), and
//! files of authorities ([`authorities`]).

pub mod authorities;
pub mod issue;
pub mod look;

/// Why a peer's certificate is not trusted, if that is what an error comes from.
#[must_use]
pub fn untrusted(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(rustls::Error::InvalidCertificate(problem)) = cause.downcast_ref() {
            return Some(said(problem));
        }
        next = cause_of(cause);
    }
    None
}

/// What an error comes from. What an I/O error wraps is not its source.
#[must_use]
pub fn cause_of<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a (dyn std::error::Error + 'static)> {
    let wrapped = error
        .downcast_ref::<std::io::Error>()
        .and_then(|e| e.get_ref());
    match wrapped {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// An error with what caused it, which says more than "client error".
#[must_use]
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

/// A problem of a certificate in words; some have none in the library but their name.
fn said(problem: &rustls::CertificateError) -> String {
    use rustls::CertificateError;
    match problem {
        CertificateError::UnknownIssuer => "it is signed by an authority that is not trusted".to_owned(),
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "it is marked as an authority (CA:TRUE, as openssl makes self-signed ones) and the server uses it as its own; make the server's with basicConstraints=CA:FALSE, or have an authority sign it".to_owned()
        }
        other => other.to_string(),
    }
}
