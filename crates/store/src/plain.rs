//! Requests as a plain client sends them: by a signed URL, or without credentials.
//!
//! They go through the SDK's own connection, so that its TLS settings apply.

use std::collections::BTreeMap;

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

use super::bucket::Bucket;
use super::error::{StorageError, uncounted};

/// Makes the SDK's connection send a signed URL as it is, without the SDK's own
/// signature and headers.
pub(super) struct Plain {
    /// The URL; none: the SDK's own, without a signature.
    pub url: Option<String>,
    /// Headers that go with it.
    pub headers: BTreeMap<String, String>,
}

impl std::fmt::Debug for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Plain(…)")
    }
}

impl Intercept for Plain {
    fn name(&self) -> &'static str {
        "Plain"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        let own: Vec<String> = request
            .headers()
            .iter()
            .map(|(name, _)| name.to_owned())
            .filter(|name| name != "content-length" && name != "content-type")
            .collect();
        for name in own {
            request.headers_mut().remove(name);
        }
        for (name, value) in &self.headers {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        if let Some(url) = &self.url {
            request.set_uri(url.clone())?;
        }
        Ok(())
    }
}

/// GETs a signed URL of an object; false: it was refused.
///
/// # Errors
/// When the server does not answer.
pub(super) async fn get(bucket: &Bucket, key: &str, url: &str) -> Result<bool, StorageError> {
    send(bucket, key, Some(url.to_owned())).await
}

/// GETs an object without credentials; false: it was refused.
///
/// # Errors
/// When the server does not answer.
pub(super) async fn get_anonymously(bucket: &Bucket, key: &str) -> Result<bool, StorageError> {
    send(bucket, key, None).await
}

/// Lists a bucket without credentials; false: it was refused.
///
/// # Errors
/// When the server does not answer.
pub(super) async fn list_anonymously(bucket: &Bucket) -> Result<bool, StorageError> {
    let plain = Plain {
        url: None,
        headers: BTreeMap::new(),
    };
    let answer = bucket
        .client()
        .list_objects_v2()
        .bucket(bucket.name())
        .max_keys(1)
        .customize()
        .interceptor(plain)
        .send()
        .await;
    match answer {
        Ok(_) => Ok(true),
        Err(error) => match uncounted("ListObjectsV2", bucket.name(), "", &error) {
            error @ StorageError::Unavailable { .. } => Err(error),
            _ => Ok(false),
        },
    }
}

async fn send(bucket: &Bucket, key: &str, url: Option<String>) -> Result<bool, StorageError> {
    let plain = Plain {
        url,
        headers: BTreeMap::new(),
    };
    let answer = bucket
        .client()
        .get_object()
        .bucket(bucket.name())
        .key(key)
        .customize()
        .interceptor(plain)
        .send()
        .await;
    match answer {
        Ok(_) => Ok(true),
        Err(error) => match uncounted("GetObject", bucket.name(), key, &error) {
            error @ StorageError::Unavailable { .. } => Err(error),
            _ => Ok(false),
        },
    }
}
