//! The start-up proof of staging: whoever has an upload URL can do that upload
//! and nothing else.
//!
//! On some servers a header that was not signed turns a signed PUT into a copy of
//! any object that the signer can read, makes the object public, or tags it (FACTS
//! "S3 servers"). Each is tried, with URLs as the gateway signs them, and must be
//! refused; the same PUT without the header must work, or the refusals would show
//! nothing.

use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use uuid::Uuid;

use super::error::{StorageError, uncounted};
use super::plain::Plain;
use super::proof::ProofError;
use super::staging::{SignedPut, Staging};

const ZONE: &str = "staging";
const BODY: &[u8] = b"probe";
const TTL: Duration = Duration::from_secs(60);

/// Proves staging with the controller's identity.
///
/// # Errors
/// With the key of the configuration and what to do.
pub async fn prove_staging(staging: &Staging) -> Result<(), ProofError> {
    let storage = |source| ProofError::Storage { zone: ZONE, source };
    let bucket = staging.probe_bucket();
    let prefix = format!("probe/{}/", Uuid::new_v4());
    let proved = prove(staging, &prefix).await;
    staging.custody().empty(&prefix).await.map_err(storage)?;
    tracing::debug!(
        bucket = bucket.name(),
        "looked at what a signed PUT lets through"
    );
    proved
}

async fn prove(staging: &Staging, prefix: &str) -> Result<(), ProofError> {
    let storage = |source| ProofError::Storage { zone: ZONE, source };
    let bucket = staging.probe_bucket();
    let (control, tried, parted) = (
        format!("{prefix}control"),
        format!("{prefix}tried"),
        format!("{prefix}parted"),
    );
    let whole = sign(staging, &control).await.map_err(storage)?;
    if !sent(staging, &control, &whole, None)
        .await
        .map_err(storage)?
    {
        return Err(ProofError::RefusesSigned);
    }
    let source = format!("/{}/{control}", bucket.name());
    let whole = sign(staging, &tried).await.map_err(storage)?;
    for header in [
        ("x-amz-copy-source", source.as_str()),
        ("x-amz-acl", "public-read"),
        ("x-amz-tagging", "probe=1"),
        ("x-amz-website-redirect-location", "https://example.org/"),
    ] {
        if sent(staging, &tried, &whole, Some(header))
            .await
            .map_err(storage)?
        {
            return Err(ProofError::TakesUnsigned { header: header.0 });
        }
    }
    let upload = bucket
        .start_upload(&parted, "application/octet-stream")
        .await
        .map_err(storage)?;
    let part = staging
        .sign_part(
            bucket.client(),
            (&parted, &upload),
            1,
            BODY.len() as u64,
            TTL,
        )
        .await
        .map_err(storage)?;
    let header = ("x-amz-copy-source", source.as_str());
    if sent(staging, &parted, &part, Some(header))
        .await
        .map_err(storage)?
    {
        return Err(ProofError::TakesUnsigned { header: header.0 });
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

/// Sends a signed PUT as a plain client would; false: it was refused.
async fn sent(
    staging: &Staging,
    key: &str,
    signed: &SignedPut,
    unsigned: Option<(&'static str, &str)>,
) -> Result<bool, StorageError> {
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
        Ok(_) => Ok(true),
        Err(error) => match uncounted("PutObject", bucket.name(), key, &error) {
            error @ StorageError::Unavailable { .. } => Err(error),
            _ => Ok(false),
        },
    }
}
