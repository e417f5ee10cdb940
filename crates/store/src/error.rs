//! One error for all that a storage server can say.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::{failures, unreached};
use trevor_core::server_words::{Answer, harmless, key_prefix};

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
    #[error("{operation} {bucket}/{}: {message}", key_prefix(key))]
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
    #[error("{operation} {bucket}/{}: {words}", key_prefix(key))]
    Refused {
        /// S3 operation.
        operation: &'static str,
        /// Bucket.
        bucket: String,
        /// Key.
        key: String,
        /// S3 error code; empty: the answer had none.
        code: Box<str>,
        /// Status, code, the server's message and what to do.
        words: Box<str>,
    },
    /// The object is stored without the encryption that was asked for.
    #[error(
        "{bucket}/{key}: stored without the server-side encryption that was asked for; enable it on the server, or use a server that has it"
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

    /// The same words with the name that the bucket has in the configuration.
    #[must_use]
    pub fn of_zone(&self, zone: &str) -> String {
        self.to_string().replace("<zone>", zone)
    }

    /// Refused with an answer that had no words, as every answer to HEAD.
    pub(super) fn is_wordless(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code.is_empty())
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
        return StorageError::Unavailable {
            operation,
            bucket,
            key,
            message: unreached::why(error),
        };
    };
    let raw = service.raw();
    let body = raw.body().bytes().unwrap_or_default();
    let body = String::from_utf8_lossy(body.get(..BODY.min(body.len())).unwrap_or_default());
    let answer = Answer {
        operation,
        status: raw.status().as_u16(),
        code: service.err().code(),
        message: service.err().message(),
        region: raw
            .headers()
            .get("x-amz-bucket-region")
            .or_else(|| element(&body, "Region")),
    };
    match (answer.status, answer.code) {
        (404, Some("NoSuchBucket")) => {}
        (404, _) => return StorageError::NotFound { bucket, key },
        (412 | 409, _) => return StorageError::Precondition { bucket, key },
        _ => {}
    }
    // No request id: the words go into status, and must not change by themselves.
    let words = answer.words();
    if answer.meaning().passes {
        return StorageError::Unavailable {
            operation,
            bucket,
            key,
            message: words,
        };
    }
    StorageError::Refused {
        operation,
        bucket,
        key,
        code: answer.code.map(harmless).unwrap_or_default().into(),
        words: words.into(),
    }
}

/// So much of an error's body is looked at.
const BODY: usize = 16 << 10;

/// What stands in an element of an S3 error, by its name.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    (!text.is_empty() && !text.contains('<')).then_some(text)
}

#[cfg(test)]
#[path = "error_tests.rs"]
pub(super) mod tests;
