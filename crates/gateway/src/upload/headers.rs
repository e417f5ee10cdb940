//! The header fields of an upload: its length, its digest, and that its body is the plain bytes of
//! the file.

use axum::body::Body;
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, TRANSFER_ENCODING,
};
use http::{HeaderMap, StatusCode};
use http_body::Body as _;

use crate::problem::Problem;
use crate::upload::digest_field;
use trevor_core::digest::Sha256Hex;

/// What the sender states of an upload. What is received must match it.
#[derive(Debug)]
pub struct UploadHeaders {
    /// The length of the file. None when it is sent in chunks.
    pub length: Option<u64>,
    /// The SHA-256 of the file, if the sender states it.
    pub sha256: Option<Sha256Hex>,
}

impl UploadHeaders {
    /// Reads the header fields.
    ///
    /// # Errors
    /// 400, 411 or 415 when the stored file would differ from what the sender means.
    pub fn parse(headers: &HeaderMap, body: &Body) -> Result<Self, Problem> {
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
        if is_multipart(headers) {
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
        Ok(Self {
            length: body.size_hint().exact(),
            sha256: digest_field::stated_sha256(headers)?,
        })
    }
}

/// Whether the body is a multipart form around files. `application/x-www-form-urlencoded` is
/// accepted, because clients send it with plain bytes (`curl --data-binary`, `wget --body-file`).
fn is_multipart(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    types.any(|t| {
        let start = t.as_bytes().trim_ascii_start().get(..10);
        start.is_some_and(|s| s.eq_ignore_ascii_case(b"multipart/"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(fields: &[(&'static str, &str)]) -> Result<UploadHeaders, (u16, String)> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        UploadHeaders::parse(&headers, &Body::from("abc"))
            .map_err(|p| (p.status.as_u16(), p.detail))
    }

    #[test]
    fn a_form_upload_is_refused_with_the_command_that_works() {
        for form in [
            "multipart/form-data; boundary=x",
            "Multipart/Mixed",
            " multipart/related",
        ] {
            let (status, told) =
                parsed(&[("content-length", "3"), ("content-type", form)]).unwrap_err();
            assert_eq!(status, 415, "{form}");
            assert!(told.contains("curl -T"), "{told}");
        }
        // Types that clients send by default with plain bytes.
        for plain in [
            "application/x-www-form-urlencoded",
            "text/csv",
            "application/octet-stream",
        ] {
            let taken = parsed(&[("content-length", "3"), ("content-type", plain)]).unwrap();
            assert_eq!(taken.length, Some(3), "{plain}");
        }
    }

    #[test]
    fn an_upload_without_any_length_is_refused() {
        assert_eq!(parsed(&[]).unwrap_err().0, 411);
        assert!(parsed(&[("transfer-encoding", "chunked")]).is_ok());
        assert!(parsed(&[("content-length", "0")]).is_ok());
    }

    #[test]
    fn an_encoded_or_partial_upload_is_refused() {
        let length = ("content-length", "3");
        assert!(parsed(&[length, ("content-encoding", "Identity")]).is_ok());
        for (encodings, status) in [(&["gzip"][..], 415), (&["identity", "gzip"], 415)] {
            let fields: Vec<_> = encodings.iter().map(|e| ("content-encoding", *e)).collect();
            let fields = [&[length][..], &fields[..]].concat();
            assert_eq!(parsed(&fields).unwrap_err().0, status, "{encodings:?}");
        }
        let partial = parsed(&[length, ("content-range", "bytes 0-2/3")]);
        assert_eq!(partial.unwrap_err().0, 400);
    }
}
