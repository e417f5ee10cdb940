//! Pre-signed URLs as they come from people.

use std::fmt;

use http::Uri;

/// A URL that holds a signature: whoever has it can read or write the object,
/// so it prints as nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(Uri);

/// Why a text is not taken as a URL. The text itself is never shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages explain each")]
pub enum AddressError {
    #[error("the URL cannot be read; copy it whole, in quotes, from https:// to its end")]
    NotAUrl,
    #[error("the URL is neither https:// nor http://")]
    Scheme,
    #[error(
        "the URL is http://, so anybody on the way could read and change what it carries; \
         ask for an https:// one, or use --allow-http"
    )]
    Plain,
    #[error("the URL holds a user name; a pre-signed one does not")]
    User,
}

impl Address {
    /// Reads a URL. `http://` is for this machine only, unless `allow_http`.
    ///
    /// # Errors
    /// When it is no URL that may be used.
    pub fn parse(text: &str, allow_http: bool) -> Result<Self, AddressError> {
        let uri: Uri = text.trim().parse().map_err(|_| AddressError::NotAUrl)?;
        let authority = uri.authority().ok_or(AddressError::NotAUrl)?;
        if authority.as_str().contains('@') {
            return Err(AddressError::User);
        }
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if allow_http || is_this_machine(authority.host()) => {}
            Some("http") => return Err(AddressError::Plain),
            _ => return Err(AddressError::Scheme),
        }
        Ok(Self(uri))
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.0
    }

    /// Host and port, as the `Host` field has them.
    pub(super) fn authority(&self) -> &str {
        self.0.authority().map_or("", |a| a.as_str())
    }
}

fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_tls_is_for_this_machine_unless_it_is_allowed() {
        for (url, expected) in [
            ("https://s3.example/b/k?X-Amz-Signature=1", Ok(())),
            ("http://localhost:8333/b/k", Ok(())),
            ("http://127.0.0.9/b/k", Ok(())),
            ("http://[::1]:80/b/k", Ok(())),
            (" https://s3.example/b\n", Ok(())),
            ("http://s3.example/b/k", Err(AddressError::Plain)),
            ("http://127.0.0.1.example/b", Err(AddressError::Plain)),
            ("http://localhost.example/b", Err(AddressError::Plain)),
            ("ftp://s3.example/b", Err(AddressError::Scheme)),
            ("https://me:word@s3.example/b", Err(AddressError::User)),
            ("http://localhost@s3.example/b", Err(AddressError::User)),
            ("/b/k", Err(AddressError::NotAUrl)),
            ("https://s3.example/a b", Err(AddressError::NotAUrl)),
            ("", Err(AddressError::NotAUrl)),
        ] {
            assert_eq!(Address::parse(url, false).map(|_| ()), expected, "{url}");
        }
        assert!(Address::parse("http://s3.example/b", true).is_ok());
    }

    #[test]
    fn a_url_never_prints() {
        let url = Address::parse("https://s3.example/b?X-Amz-Signature=secret", false).unwrap();
        assert_eq!(format!("{url:?}"), "Address(…)");
    }
}
