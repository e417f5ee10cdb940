//! The digests that a sender states of an upload. SHA-256 is compared: in the fields of RFC 9530
//! (`Content-Digest`, `Repr-Digest`), of RFC 3230 (`Digest`) and of S3 clients. An upload that
//! states only other digests is refused, so that its sender does not believe that they were
//! compared.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use http::header::TRAILER;

use crate::problem::Problem;
use trevor_core::digest::Sha256Hex;

/// Dictionaries of byte sequences (RFC 9530).
const DICTIONARIES: [&str; 2] = ["content-digest", "repr-digest"];
/// A list of instance digests (RFC 3230).
const INSTANCE: &str = "digest";
/// Base64 of a SHA-256, as S3 clients state it.
const AMZ: &str = "x-amz-checksum-sha256";
/// Hex of a SHA-256, or a keyword of S3 clients.
const AMZ_CONTENT: &str = "x-amz-content-sha256";
/// Fields and prefixes of fields with digests that are not compared.
const OTHERS: &[&str] = &[
    "content-md5",
    "oc-checksum",
    "x-bz-content-sha1",
    "x-content-md5",
    "x-goog-hash",
    "x-ms-blob-content-md5",
    "x-ms-content-crc64",
];
const OTHER_PREFIXES: &[&str] = &["x-amz-checksum-", "x-checksum-"];
/// Fields that name only the algorithm of a checksum.
const NO_DIGEST: &[&str] = &[
    "x-amz-checksum-algorithm",
    "x-amz-checksum-type",
    "x-amz-checksum-mode",
];

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The SHA-256 that the sender states, if any.
///
/// # Errors
/// 400 when a field is malformed, when two fields differ, or when only other digests are stated.
pub fn stated_sha256(headers: &HeaderMap) -> Result<Option<Sha256Hex>, Problem> {
    let mut found = Vec::new();
    for field in DICTIONARIES {
        if let Some(text) = joined(headers, field)? {
            found.push((field, parse(field, &text)?));
        }
    }
    if let Some(text) = joined(headers, INSTANCE)? {
        found.push((INSTANCE, instance(&text)?));
    }
    if let Some(text) = joined(headers, AMZ)? {
        found.push((AMZ, Some(decoded(AMZ, &text)?)));
    }
    if let Some(text) = joined(headers, AMZ_CONTENT)? {
        found.extend(content_sha256(&text)?.map(|sha256| (AMZ_CONTENT, Some(sha256))));
    }
    let mut all = found.iter().filter_map(|(_, sha256)| sha256.as_ref());
    let first = all.next().cloned();
    if all.any(|other| Some(other) != first.as_ref()) {
        return Err(Problem::bad_request(
            "MalformedDigest",
            "two fields state different SHA-256 digests; send one",
        ));
    }
    if first.is_none() {
        let other = found.first().map(|(field, _)| (*field).to_owned());
        if let Some(field) = other.or_else(|| uncompared(headers)) {
            return Err(not_compared(&field));
        }
    }
    if let Some(field) = in_trailer(headers) {
        return Err(not_compared(&format!("{field} in a trailer")));
    }
    Ok(first)
}

/// All lines of a field, joined by commas.
fn joined(headers: &HeaderMap, field: &'static str) -> Result<Option<String>, Problem> {
    let mut lines = Vec::new();
    for value in headers.get_all(field) {
        lines.push(
            value
                .to_str()
                .map_err(|_| malformed(field, "is not ASCII"))?,
        );
    }
    Ok((!lines.is_empty()).then(|| lines.join(",")))
}

fn states_another(field: &str) -> bool {
    let begins = OTHER_PREFIXES
        .iter()
        .any(|prefix| field.starts_with(prefix));
    OTHERS.contains(&field) || (begins && field != AMZ && !NO_DIGEST.contains(&field))
}

fn uncompared(headers: &HeaderMap) -> Option<String> {
    let mut names = headers.keys().map(http::HeaderName::as_str);
    names.find(|name| states_another(name)).map(str::to_owned)
}

/// A digest field that is announced for the trailer, which is not read.
fn in_trailer(headers: &HeaderMap) -> Option<String> {
    let lines = headers
        .get_all(TRAILER)
        .iter()
        .filter_map(|v| v.to_str().ok());
    let mut names = lines
        .flat_map(|line| line.split(','))
        .map(|name| name.trim().to_ascii_lowercase());
    names.find(|name| {
        let compared = [INSTANCE, AMZ].contains(&name.as_str());
        compared || DICTIONARIES.contains(&name.as_str()) || states_another(name)
    })
}

const SEND: &str =
    "send Content-Digest: sha-256=:<base64 of the 32 bytes>: (RFC 9530), which is compared";

fn not_compared(field: &str) -> Problem {
    Problem::bad_request(
        "DigestNotCompared",
        format!("the digest of {field} is not compared here; {SEND}, or leave it out"),
    )
}

fn malformed(field: &str, what: &str) -> Problem {
    Problem::bad_request("MalformedDigest", format!("{field} {what}; {SEND}"))
}

fn decoded(field: &str, encoded: &str) -> Result<Sha256Hex, Problem> {
    let bytes = BASE64
        .decode(encoded.trim())
        .map_err(|_| malformed(field, "has a digest that is not base64"))?;
    let raw: [u8; 32] = bytes
        .try_into()
        .map_err(|_| malformed(field, "has a SHA-256 that is not 32 bytes long"))?;
    Ok(Sha256Hex::from_raw(&raw))
}

/// `SHA-256=<base64>,MD5=<base64>`, in any case.
fn instance(field: &str) -> Result<Option<Sha256Hex>, Problem> {
    let mut found = None;
    for member in field.split(',') {
        let (algorithm, encoded) = member
            .split_once('=')
            .ok_or_else(|| malformed(INSTANCE, "is not a list of digests"))?;
        if algorithm.trim().eq_ignore_ascii_case("sha-256") {
            found = Some(decoded(INSTANCE, encoded)?);
        }
    }
    Ok(found)
}

/// Reads `x-amz-content-sha256`: hex, or `UNSIGNED-PAYLOAD`. Bodies in signed chunks are refused,
/// because they are not the plain bytes of the file.
fn content_sha256(text: &str) -> Result<Option<Sha256Hex>, Problem> {
    if text == "UNSIGNED-PAYLOAD" {
        return Ok(None);
    }
    let mut raw = [0; 32];
    hex::decode_to_slice(text, &mut raw).map_err(|_| {
        malformed(
            AMZ_CONTENT,
            "is not a SHA-256 in hex, as of a body that is sent as it is",
        )
    })?;
    Ok(Some(Sha256Hex::from_raw(&raw)))
}

/// A dictionary of byte sequences (RFC 9651).
fn parse(name: &str, field: &str) -> Result<Option<Sha256Hex>, Problem> {
    let malformed = |what: &str| malformed(name, what);
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
        if key == "sha-256" {
            found = Some(decoded(name, encoded)?);
        } else if BASE64.decode(encoded).is_err() {
            return Err(malformed("has a digest that is not base64"));
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
            assert_eq!(
                parse("content-digest", &field),
                Ok(empty.clone()),
                "{field}"
            );
        }
        assert_eq!(parse("content-digest", "sha-512=:AAAA:"), Ok(None));
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
                parse("content-digest", &field).map_err(|p| p.status.as_u16()),
                Err(400),
                "{field:?}"
            );
        }
    }

    fn of(fields: &[(&'static str, &str)]) -> Result<Option<Sha256Hex>, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        stated_sha256(&headers).map_err(|p| {
            assert_eq!(p.status.as_u16(), 400);
            p.detail
        })
    }

    #[test]
    fn a_sha_256_is_compared_in_whatever_field_it_is_stated() {
        let empty = Ok(Some(Sha256Hex::of(b"")));
        let dictionary = format!("sha-256=:{EMPTY}:");
        let hex = Sha256Hex::of(b"").to_string();
        for field in [
            ("content-digest", dictionary.as_str()),
            ("repr-digest", dictionary.as_str()),
            ("digest", format!("SHA-256={EMPTY}").as_str()),
            ("digest", format!("md5=AAAA, sha-256={EMPTY}").as_str()),
            ("x-amz-checksum-sha256", EMPTY),
            ("x-amz-content-sha256", hex.as_str()),
        ] {
            assert_eq!(of(&[field]), empty, "{field:?}");
            let beside = ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==");
            assert_eq!(of(&[beside, field]), empty, "{field:?}");
        }
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(
            of(&[("x-amz-content-sha256", "UNSIGNED-PAYLOAD")]),
            Ok(None)
        );
        let other = format!("sha-256=:{}:", EMPTY.replace('4', "5"));
        let two = of(&[("content-digest", &dictionary), ("repr-digest", &other)]);
        assert!(two.unwrap_err().contains("different"));
    }

    #[test]
    fn a_digest_that_is_not_compared_is_refused_by_the_name_of_one_that_is() {
        for field in [
            ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="),
            ("digest", "MD5=1B2M2Y8AsgTpgAmY7PhCfg=="),
            ("digest", "sha-512=AAAA"),
            ("content-digest", "sha-512=:AAAA:"),
            ("repr-digest", "sha-512=:AAAA:"),
            ("x-amz-checksum-crc32", "AAAAAA=="),
            ("x-amz-checksum-crc64nvme", "AAAAAAAAAAA="),
            ("x-amz-checksum-sha1", "AAAA"),
            ("x-checksum-sha1", "da39a3ee"),
            ("x-goog-hash", "crc32c=AAAAAA=="),
            ("x-ms-blob-content-md5", "AAAA"),
            ("trailer", "Content-Digest"),
            ("trailer", "Expires, x-amz-checksum-crc32"),
        ] {
            let told = of(&[field]).unwrap_err();
            assert!(told.contains("Content-Digest: sha-256"), "{told}");
            assert!(told.contains("not compared"), "{told}");
        }
        for field in [
            ("x-amz-checksum-sha256", "AAAA"),
            ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
            ("digest", "nonsense"),
        ] {
            assert!(of(&[field]).is_err(), "{field:?}");
        }
        assert_eq!(of(&[("x-amz-checksum-algorithm", "SHA256")]), Ok(None));
        assert_eq!(of(&[("want-content-digest", "sha-256=1")]), Ok(None));
    }
}
