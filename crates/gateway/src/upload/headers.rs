//! What an upload says of itself before its bytes come: its length and its digest, and
//! that it is the bytes of the file as they are.

use axum::body::Body;
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, TRANSFER_ENCODING,
};
use http::{HeaderMap, StatusCode};
use http_body::Body as _;

use crate::problem::Problem;
use crate::upload::digest_field;
use trevor_core::digest::Sha256Hex;

/// What arrived must be this.
#[derive(Debug)]
pub(crate) struct Announced {
    /// Its bytes; none: they are sent in chunks.
    pub length: Option<u64>,
    /// Its SHA-256, where the sender states one.
    pub sha256: Option<Sha256Hex>,
}

/// Reads the header fields of an upload.
///
/// # Errors
/// 400, 411 or 415 where what would be stored is not what the sender means.
pub(crate) fn announced(headers: &HeaderMap, body: &Body) -> Result<Announced, Problem> {
    if headers.contains_key(CONTENT_RANGE) {
        return Err(Problem::bad_request(
            "PartialUpload",
            "Content-Range: a file is sent as a whole",
        ));
    }
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    if encodings.any(|e| !e.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let detail = "Content-Encoding: send the bytes of the file as they are";
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "EncodedUpload",
            detail,
        ));
    }
    if is_envelope(headers) {
        let detail = "the body is a form (multipart), whose envelope would be stored around the file; send the bytes of the file as they are: curl -T FILE URL, and not curl -F";
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "FormUpload",
            detail,
        ));
    }
    if !headers.contains_key(CONTENT_LENGTH) && !headers.contains_key(TRANSFER_ENCODING) {
        return Err(Problem::new(
            StatusCode::LENGTH_REQUIRED,
            "LengthRequired",
            "send Content-Length, or Transfer-Encoding: chunked; without them there is no body, and an empty file would be stored: curl -T FILE URL sends it",
        ));
    }
    Ok(Announced {
        length: body.size_hint().exact(),
        sha256: digest_field::stated(headers)?,
    })
}

/// Whether the body wraps files, as forms do. `application/x-www-form-urlencoded` does
/// not: clients state it of bytes that they send as they are (`curl --data-binary`,
/// `wget --body-file`).
fn is_envelope(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    types.any(|t| {
        let start = t.as_bytes().trim_ascii_start().get(..10);
        start.is_some_and(|s| s.eq_ignore_ascii_case(b"multipart/"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &[(&'static str, &str)]) -> Result<Announced, (u16, String)> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        announced(&headers, &Body::from("abc")).map_err(|p| (p.status.as_u16(), p.detail))
    }

    #[test]
    fn a_form_upload_is_refused_with_the_command_that_works() {
        for form in [
            "multipart/form-data; boundary=x",
            "Multipart/Mixed",
            " multipart/related",
        ] {
            let (status, told) =
                of(&[("content-length", "3"), ("content-type", form)]).unwrap_err();
            assert_eq!(status, 415, "{form}");
            assert!(told.contains("curl -T"), "{told}");
        }
        // What clients state by themselves of plain bytes.
        for plain in [
            "application/x-www-form-urlencoded",
            "text/csv",
            "application/octet-stream",
        ] {
            let taken = of(&[("content-length", "3"), ("content-type", plain)]).unwrap();
            assert_eq!(taken.length, Some(3), "{plain}");
        }
    }

    #[test]
    fn an_upload_without_any_length_is_refused() {
        assert_eq!(of(&[]).unwrap_err().0, 411);
        assert!(of(&[("transfer-encoding", "chunked")]).is_ok());
        assert!(of(&[("content-length", "0")]).is_ok());
    }

    #[test]
    fn an_encoded_or_partial_upload_is_refused() {
        let length = ("content-length", "3");
        assert!(of(&[length, ("content-encoding", "Identity")]).is_ok());
        for (encodings, status) in [(&["gzip"][..], 415), (&["identity", "gzip"], 415)] {
            let fields: Vec<_> = encodings.iter().map(|e| ("content-encoding", *e)).collect();
            let fields = [&[length][..], &fields[..]].concat();
            assert_eq!(of(&fields).unwrap_err().0, status, "{encodings:?}");
        }
        let partial = of(&[length, ("content-range", "bytes 0-2/3")]);
        assert_eq!(partial.unwrap_err().0, 400);
    }
}
