//! One error for all that a storage server can say.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::failures;
use crate::tls;

/// What went wrong with an object.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The object is not there.
    #[error("{bucket}/{key}: not there")]
    NotFound {
        /// Bucket.
        bucket: String,
        /// Key.
        key: String,
    },
    /// A precondition (`If-Match`, `If-None-Match`) did not hold.
    #[error("{bucket}/{key}: changed meanwhile, or already there")]
    Precondition {
        /// Bucket.
        bucket: String,
        /// Key.
        key: String,
    },
    /// The server did not answer, or asks to try again.
    #[error("{operation} {bucket}/{key}: {message}; will be tried again")]
    Unavailable {
        /// S3 operation.
        operation: &'static str,
        /// Bucket.
        bucket: String,
        /// Key.
        key: String,
        /// What the server or the network said.
        message: String,
    },
    /// The server refuses.
    #[error(
        "{operation} {bucket}/{key}: refused ({code}); check the identity's permissions and the bucket"
    )]
    Refused {
        /// S3 operation.
        operation: &'static str,
        /// Bucket.
        bucket: String,
        /// Key.
        key: String,
        /// S3 error code.
        code: String,
    },
    /// The object is stored without the encryption that was asked for.
    #[error(
        "{bucket}/{key}: stored without the server-side encryption that was asked for; enable it on the server"
    )]
    NotEncrypted {
        /// Bucket.
        bucket: String,
        /// Key.
        key: String,
    },
    /// The object is not what it should be.
    #[error("{bucket}/{key}: {problem}")]
    Corrupt {
        /// Bucket.
        bucket: String,
        /// Key.
        key: String,
        /// What is wrong.
        problem: String,
    },
}

impl StorageError {
    /// Whether waiting may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Refused { .. })
    }
}

/// Translates an error of the SDK. The request itself (headers, signatures) is
/// never part of the message.
pub(super) fn translate<E>(
    operation: &'static str,
    bucket: &str,
    key: &str,
    error: &SdkError<E>,
) -> StorageError
where
    E: ProvideErrorMetadata,
{
    let translated = uncounted(operation, bucket, key, error);
    failures::count(&translated);
    translated
}

/// The same for an answer that is no failure, since a refusal is what is asked for.
pub(super) fn uncounted<E>(
    operation: &'static str,
    bucket: &str,
    key: &str,
    error: &SdkError<E>,
) -> StorageError
where
    E: ProvideErrorMetadata,
{
    let (bucket, key) = (bucket.to_owned(), key.to_owned());
    let SdkError::ServiceError(service) = error else {
        let message = match error {
            SdkError::TimeoutError(_) => "timed out".to_owned(),
            SdkError::DispatchFailure(failure) if failure.is_timeout() => "timed out".to_owned(),
            SdkError::DispatchFailure(failure) => {
                let error = failure.as_connector_error();
                match error.and_then(|e| tls::untrusted(e)) {
                    Some(problem) => format!(
                        "the server's certificate is not trusted ({problem}); ca_bundle of the bucket names a file of authorities"
                    ),
                    None => "the server cannot be reached".to_owned(),
                }
            }
            SdkError::ResponseError(_) => "the answer broke off".to_owned(),
            _ => "the request could not be sent".to_owned(),
        };
        return StorageError::Unavailable {
            operation,
            bucket,
            key,
            message,
        };
    };
    let status = service.raw().status().as_u16();
    let code = service
        .err()
        .code()
        .map_or_else(|| status.to_string(), str::to_owned);
    match (status, code.as_str()) {
        (404, "NoSuchBucket") => StorageError::Refused {
            operation,
            bucket,
            key,
            code,
        },
        (404, _) => StorageError::NotFound { bucket, key },
        (412 | 409, _) => StorageError::Precondition { bucket, key },
        (400..=499, code) if code != "RequestTimeout" && status != 429 && status != 408 => {
            StorageError::Refused {
                operation,
                bucket,
                key,
                code: code.to_owned(),
            }
        }
        // No request id: the message goes into status, and must not change by itself.
        _ => StorageError::Unavailable {
            operation,
            bucket,
            key,
            message: format!("HTTP {status} {code}"),
        },
    }
}
