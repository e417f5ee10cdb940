//! Pre-signed URLs: GET only, for the endpoint that the reader will use.

use std::fmt;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::PresigningConfig;

use super::error::{StorageError, translate};

/// A pre-signed URL. It is a secret: whoever has it can read the object, so it
/// prints as nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// The URL, for its bucket object, its Secret or the one who asked for it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// From a text that was stored before.
    #[must_use]
    pub fn from_stored(url: String) -> Self {
        Self(url)
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretUrl(…)")
    }
}

/// Signs a GET of one object for `ttl` (at most 7 days, checked by the
/// configuration). `file_name` becomes the name under which a browser saves it.
///
/// # Errors
/// When there are no credentials to sign with.
pub async fn presign_get(
    client: &Client,
    bucket: &str,
    key: &str,
    ttl: Duration,
    file_name: &str,
) -> Result<SecretUrl, StorageError> {
    let unavailable = |message: String| StorageError::Unavailable {
        operation: "presign",
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        message,
    };
    let config = PresigningConfig::expires_in(ttl).map_err(|e| unavailable(e.to_string()))?;
    let signed = client
        .get_object()
        .bucket(bucket)
        .key(key)
        .response_content_disposition(format!("attachment; filename=\"{file_name}\""))
        .presigned(config)
        .await
        .map_err(|e| translate("presign", bucket, key, &e))?;
    Ok(SecretUrl(signed.uri().to_owned()))
}
