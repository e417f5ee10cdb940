//! The proof of staging: whoever has an upload URL can do that upload and nothing else.
//!
//! On some servers a header that was not signed turns a signed PUT into a copy of any
//! object that the signer can read, makes the object public, or tags it. What such a URL
//! can do is what the identity that signs it can do; so each header is tried by the
//! gateway, with URLs of its own identity, for a whole file and for a part alike, and with
//! a source in each bucket. The same PUT without the header must work, or the refusals
//! would show nothing.

use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use uuid::Uuid;

use super::error::{StorageError, uncounted};
use super::plain::{self, Plain};
use super::proof::ProofError;
use super::staging::{SignedPut, Staging};

const ZONE: &str = "staging";
const BODY: &[u8] = b"probe";
/// Longer than servers let clocks differ: a gateway whose clock is behind signs what would
/// else have ended before it is sent.
const TTL: Duration = Duration::from_secs(1800);
/// What the controller keeps in each bucket, as something that could be copied.
pub(super) const SOURCE: &str = "work/probe/source";
/// Where probes lie; the controller empties it, since the gateway deletes nothing.
pub(super) const PROBES: &str = "probe/";
const COPY: &str = "x-amz-copy-source";

/// How a PUT was answered.
#[derive(Debug)]
enum Sent {
    /// It was done.
    Taken,
    /// It was refused.
    Refused(StorageError),
    /// What it names is not there, so that nothing is shown.
    Nothing(StorageError),
}

/// Proves staging with the identity that signs; `others` are the buckets besides, each
/// with a [`SOURCE`].
///
/// # Errors
/// With the key of the configuration and what to do.
pub async fn prove_signing(staging: &Staging, others: &[String]) -> Result<(), ProofError> {
    let storage = |source| ProofError::Storage { zone: ZONE, source };
    let bucket = staging.probe_bucket();
    let name = |what: &str| format!("{PROBES}{}/{what}", Uuid::new_v4());
    let (control, tried, parted) = (name("control"), name("tried"), name("parted"));
    let whole = sign(staging, &control).await.map_err(storage)?;
    let worked = sent(staging, &control, &whole, None).await;
    match worked.map_err(storage)? {
        Sent::Taken => {}
        // In the server's words: it may have nothing to do with the signature.
        Sent::Refused(source) | Sent::Nothing(source) => {
            return Err(ProofError::RefusesSigned { source });
        }
    }
    let upload = bucket
        .start_upload(&parted, "application/octet-stream")
        .await
        .map_err(storage)?;
    let with = bucket.client();
    let length = BODY.len() as u64;
    let part = staging
        .sign_part(with, (&parted, &upload), 1, length, TTL)
        .await
        .map_err(storage)?;
    let whole = sign(staging, &tried).await.map_err(storage)?;
    let mut sources = vec![format!("/{}/{control}", bucket.name())];
    sources.extend(others.iter().map(|other| format!("/{other}/{SOURCE}")));
    for source in &sources {
        for (key, url) in [(&tried, &whole), (&parted, &part)] {
            let answer = sent(staging, key, url, Some((COPY, source))).await;
            match answer.map_err(storage)? {
                Sent::Refused(_) => {}
                Sent::Taken => return Err(ProofError::TakesUnsigned { header: COPY }),
                Sent::Nothing(_) => {
                    let place = source.clone();
                    return Err(ProofError::NoSource { place });
                }
            }
        }
    }
    for header in [
        ("x-amz-acl", "public-read"),
        ("x-amz-tagging", "probe=1"),
        ("x-amz-website-redirect-location", "https://example.org/"),
    ] {
        let answer = sent(staging, &tried, &whole, Some(header)).await;
        if !matches!(answer.map_err(storage)?, Sent::Taken) {
            continue;
        }
        let header = header.0;
        // Anybody can see whether an object is public. Some servers take the header, and do
        // nothing with it.
        let public = plain::get_anonymously(bucket, &tried).await;
        if public.map_err(storage)? {
            return Err(ProofError::TakesUnsigned { header });
        }
        // Of the object that was uploaded nothing but its bytes is taken over, and so
        // neither its tags nor where it redirects to.
        tracing::info!(
            header,
            "staging takes a signed PUT with this header, which nobody signed"
        );
    }
    Ok(())
}

/// For the endpoint that this process uses: the public one need not be reachable.
async fn sign(staging: &Staging, key: &str) -> Result<SignedPut, StorageError> {
    let with = staging.probe_bucket().client();
    staging
        .sign_put(with, key, BODY.len() as u64, None, TTL)
        .await
}

/// Sends a signed PUT as a plain client would.
async fn sent(
    staging: &Staging,
    key: &str,
    signed: &SignedPut,
    unsigned: Option<(&'static str, &str)>,
) -> Result<Sent, StorageError> {
    let bucket = staging.probe_bucket();
    let mut headers = signed.headers.clone();
    headers.extend(unsigned.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let plain = Plain {
        url: Some(signed.url.expose().to_owned()),
        headers,
    };
    let answer = bucket
        .client()
        .put_object()
        .bucket(bucket.name())
        .key(key)
        .body(ByteStream::from_static(BODY))
        .customize()
        .interceptor(plain)
        .send()
        .await;
    match answer {
        Ok(_) => Ok(Sent::Taken),
        Err(error) => match uncounted("PutObject", bucket.name(), key, &error) {
            error @ StorageError::Unavailable { .. } => Err(error),
            nothing @ StorageError::NotFound { .. } => Ok(Sent::Nothing(nothing)),
            refused => Ok(Sent::Refused(refused)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::tests::{bucket, client, s3_error, server};
    use super::*;

    async fn proof_on(answer: String) -> String {
        let (url, _) = server(move |_| answer.clone()).await;
        let staging = Staging::of_bucket(bucket(client(&url)));
        prove_signing(&staging, &[]).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn a_signed_put_that_is_refused_is_told_in_the_words_of_the_server() {
        let words = "Server side encryption specified but KMS is not configured";
        let said = proof_on(s3_error("501 Not Implemented", "NotImplemented", words)).await;
        assert!(said.starts_with("storage.staging: "), "{said}");
        for word in [words, "no key management", "MINIO_KMS_SECRET_KEY"] {
            assert!(said.contains(word), "{said}");
        }
        let said = proof_on(s3_error("403 Forbidden", "AccessDenied", "Access Denied.")).await;
        assert!(said.contains("allow it s3:PutObject"), "{said}");
        let said = proof_on(s3_error("404 Not Found", "NoSuchBucket", "m")).await;
        assert!(said.contains("correct storage.staging.bucket"), "{said}");
    }
}
