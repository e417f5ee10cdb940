//! Deleting many objects in one call, or one by one where the server has no such call.

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};

use super::bucket::Bucket;
use super::checksum::md5_of;
use super::error::{StorageError, translate};
use super::purge::Kept;
use trevor_core::server_words::Answer;

/// Objects of one call, as S3 has it.
const BATCH: usize = 1000;

/// A key, and its version where one is meant.
pub(super) type Target = (String, Option<String>);

impl Bucket {
    /// Deletes objects or versions; gives those that the server keeps. What is not there
    /// is no error.
    ///
    /// # Errors
    /// As the server says of a call as a whole.
    pub(super) async fn delete_targets(
        &self,
        targets: &[Target],
    ) -> Result<Vec<Kept>, StorageError> {
        let mut kept = Vec::new();
        for batch in targets.chunks(BATCH) {
            match self.delete_batch(batch).await {
                Err(StorageError::Refused { code, words, .. })
                    if has_no_such_call(&code, &words) =>
                {
                    for target in batch {
                        kept.extend(self.delete_one(target).await?);
                    }
                }
                done => kept.extend(done?),
            }
        }
        Ok(kept)
    }

    async fn delete_batch(&self, batch: &[Target]) -> Result<Vec<Kept>, StorageError> {
        let first = batch.first().map_or("", |(key, _)| key);
        let objects = batch
            .iter()
            .map(|(key, version)| {
                let object = ObjectIdentifier::builder().key(key);
                object.set_version_id(version.clone()).build()
            })
            .collect::<Result<Vec<_>, _>>()
            .and_then(|objects| {
                let delete = Delete::builder().set_objects(Some(objects));
                delete.quiet(true).build()
            })
            .map_err(|error| StorageError::Corrupt {
                bucket: self.name().to_owned(),
                key: first.to_owned(),
                problem: error.to_string(),
            })?;
        let answer = self
            .client()
            .delete_objects()
            .bucket(self.name())
            .delete(objects)
            .customize()
            .interceptor(ContentMd5)
            .send()
            .await
            .map_err(|e| translate("DeleteObjects", self.name(), first, &e))?;
        let errors = answer.errors().iter();
        let kept = errors.filter(|e| !matches!(e.code(), Some("NoSuchKey" | "NoSuchVersion")));
        Ok(kept
            .map(|error| {
                // Each object has an answer of its own inside the one answer.
                let said = Answer {
                    operation: "DeleteObjects",
                    status: 200,
                    code: error.code(),
                    message: error.message(),
                    region: None,
                };
                Kept {
                    key: error.key().unwrap_or_default().to_owned(),
                    code: error.code().unwrap_or("unknown").to_owned(),
                    words: said.words().replace("HTTP 200 ", ""),
                }
            })
            .collect())
    }

    async fn delete_one(&self, (key, version): &Target) -> Result<Option<Kept>, StorageError> {
        let deleted = self
            .client()
            .delete_object()
            .bucket(self.name())
            .key(key)
            .set_version_id(version.clone())
            .send()
            .await
            .map_err(|e| translate("DeleteObject", self.name(), key, &e));
        match deleted {
            Ok(_) | Err(StorageError::NotFound { .. }) => Ok(None),
            Err(StorageError::Refused { code, words, .. }) => Ok(Some(Kept {
                key: key.clone(),
                code: code.into(),
                words: words.into(),
            })),
            Err(error) => Err(error),
        }
    }
}

/// Some servers do not have DeleteObjects, or want of it what no client sends them. What
/// stands between may say so by the status alone.
fn has_no_such_call(code: &str, words: &str) -> bool {
    match code {
        "" => words.starts_with("HTTP 405") || words.starts_with("HTTP 501"),
        code => matches!(
            code,
            "NotImplemented" | "MethodNotAllowed" | "MissingContentMD5" | "InvalidDigest"
        ),
    }
}

/// The digest of the list that DeleteObjects sends: older servers refuse it without.
#[derive(Debug)]
struct ContentMd5;

impl Intercept for ContentMd5 {
    fn name(&self) -> &'static str {
        "ContentMd5"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        if let Some(body) = request.body().bytes() {
            let md5 = md5_of(body);
            request.headers_mut().insert("content-md5", md5);
        }
        Ok(())
    }
}
