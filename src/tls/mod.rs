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
            return Some(problem.to_string());
        }
        // What an I/O error wraps is not its source.
        let wrapped = cause
            .downcast_ref::<std::io::Error>()
            .and_then(|e| e.get_ref());
        next = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => cause.source(),
        };
    }
    None
}
