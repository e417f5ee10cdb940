//! The path of a file in a URL. It is percent-encoded by segment, so that an encoded slash would be
//! part of a name, where slashes are not allowed.

use percent_encoding::percent_decode_str;

use crate::problem::Problem;
use trevor_core::names;

/// Decodes the path of a file, and normalises it as stored paths are.
///
/// # Errors
/// 422 when the encoding or the path is not valid.
pub fn decode(raw: &str) -> Result<String, Problem> {
    let segments: Result<Vec<String>, Problem> = raw.split('/').map(segment).collect();
    let path = segments?.join("/");
    let path = names::normalise(&path);
    names::check_file(&path)
        .map_err(|error| Problem::unprocessable("InvalidName", error.to_string()))?;
    Ok(path.into_owned())
}

fn segment(raw: &str) -> Result<String, Problem> {
    let invalid = |what: &str| {
        Problem::unprocessable(
            "InvalidName",
            format!("the path {what}; percent-encode it by segment"),
        )
    };
    if !is_well_encoded(raw.as_bytes()) {
        return Err(invalid("has a % that is not followed by two hex digits"));
    }
    let decoded = percent_decode_str(raw)
        .decode_utf8()
        .map_err(|_| invalid("is not UTF-8"))?;
    if decoded.contains('/') {
        return Err(invalid("has an encoded slash inside a segment"));
    }
    Ok(decoded.into_owned())
}

fn is_well_encoded(raw: &[u8]) -> bool {
    let hex = |at: usize| raw.get(at).is_some_and(u8::is_ascii_hexdigit);
    raw.iter()
        .enumerate()
        .all(|(at, byte)| *byte != b'%' || (hex(at + 1) && hex(at + 2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_decoded_one_by_one() {
        for (raw, path) in [
            ("a.csv", "a.csv"),
            ("tables/t%201.csv", "tables/t 1.csv"),
            ("%C3%A9t%C3%A9/x", "été/x"),
            ("100%25.csv", "100%.csv"),
            ("%252F", "%2F"),
            ("e%CC%81t%C3%A9/x", "été/x"),
            ("%D9%85%DB%8C%E2%80%8C%D8%B1%D9%88%D8%AF", "می\u{200c}رود"),
        ] {
            assert_eq!(decode(raw).as_deref(), Ok(path), "{raw}");
        }
    }

    #[test]
    fn an_encoded_slash_bad_encoding_and_bad_utf_8_are_refused() {
        for raw in [
            "a%2Fb",
            "a%2fb",
            "..%2f..%2fx",
            "%",
            "%4",
            "%zz",
            "%ff",
            "a/%C3",
            "%EF%BC%8E%EF%BC%8E/x.csv",
        ] {
            assert_eq!(
                decode(raw).map_err(|p| p.status.as_u16()),
                Err(422),
                "{raw}"
            );
        }
    }
}
