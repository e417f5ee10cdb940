//! The `Content-Digest` field (RFC 9530): a dictionary of byte sequences, of
//! which `sha-256` is verified and others are let be.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;

use super::problem::Problem;
use crate::domain::digest::Sha256Hex;

const FIELD: &str = "content-digest";
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The SHA-256 that the sender states, if it does.
///
/// # Errors
/// 400 when the field is not a dictionary of byte sequences.
pub fn stated(headers: &HeaderMap) -> Result<Option<Sha256Hex>, Problem> {
    let mut lines = Vec::new();
    for value in headers.get_all(FIELD) {
        lines.push(value.to_str().map_err(|_| malformed("is not ASCII"))?);
    }
    if lines.is_empty() {
        Ok(None)
    } else {
        parse(&lines.join(","))
    }
}

fn malformed(what: &str) -> Problem {
    let detail = format!(
        "Content-Digest {what}; send Content-Digest: sha-256=:<base64 of the 32 bytes>: (RFC 9530)"
    );
    Problem::bad_request("MalformedDigest", detail)
}

fn parse(field: &str) -> Result<Option<Sha256Hex>, Problem> {
    let mut found = None;
    for member in field.split(',') {
        let (key, item) = member
            .trim_matches([' ', '\t'])
            .split_once('=')
            .ok_or_else(|| malformed("is not a dictionary of digests"))?;
        if !is_key(key) {
            return Err(malformed("has a malformed algorithm"));
        }
        let (encoded, parameters) = item
            .strip_prefix(':')
            .and_then(|rest| rest.split_once(':'))
            .ok_or_else(|| malformed("has a digest that is not between colons"))?;
        if !(parameters.is_empty() || parameters.starts_with(';')) {
            return Err(malformed("has something behind a digest"));
        }
        let bytes = LENIENT
            .decode(encoded)
            .map_err(|_| malformed("has a digest that is not base64"))?;
        if key == "sha-256" {
            let raw: [u8; 32] = bytes
                .try_into()
                .map_err(|_| malformed("has a sha-256 that is not 32 bytes long"))?;
            found = Some(Sha256Hex::from_raw(&raw));
        }
    }
    Ok(found)
}

fn is_key(key: &str) -> bool {
    let tail = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.*".contains(&b);
    key.bytes()
        .next()
        .is_some_and(|b| b.is_ascii_lowercase() || b == b'*')
        && key.bytes().all(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

    #[test]
    fn sha_256_is_found_among_others() {
        let empty = Some(Sha256Hex::of(b""));
        for field in [
            format!("sha-256=:{EMPTY}:"),
            format!("sha-256=:{}:", EMPTY.trim_end_matches('=')),
            format!("sha-512=:AAAA:, sha-256=:{EMPTY}:"),
            format!("sha-256=:{EMPTY}:;p=1 , md5=:AAAA:"),
            format!("sha-256=:{}:, sha-256=:{EMPTY}:", EMPTY.replace('4', "5")),
        ] {
            assert_eq!(parse(&field), Ok(empty.clone()), "{field}");
        }
        assert_eq!(parse("sha-512=:AAAA:"), Ok(None));
    }

    #[test]
    fn what_is_no_dictionary_of_digests_is_a_bad_request() {
        for field in [
            String::new(),
            "sha-256".into(),
            format!("sha-256={EMPTY}"),
            format!("SHA-256=:{EMPTY}:"),
            "sha-256=:AAAA:".into(),
            "sha-256=:!!!!:".into(),
            format!("sha-256=:{EMPTY}:x"),
            format!("sha-256=:{EMPTY}:,"),
            "sha-512=AAAA".into(),
        ] {
            assert_eq!(
                parse(&field).map_err(|p| p.status.as_u16()),
                Err(400),
                "{field:?}"
            );
        }
    }
}
