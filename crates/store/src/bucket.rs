//! One bucket: the S3 calls that we make, each with the encryption that was
//! asked for and with errors translated once.

use std::collections::BTreeSet;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::put_object::{PutObjectError, PutObjectOutput};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, ServerSideEncryption};
use bytes::Bytes;

use super::checksum::{PartBytes, md5_of, sha256_of};
use super::deleting::Target;
use super::error::{StorageError, translate};
use super::transfer::{COPIED, Source};
use trevor_config::{self as config, Encryption};

/// A bucket, its client, and the encryption that every write asks for.
#[derive(Clone, Debug)]
pub struct Bucket {
    client: Client,
    name: String,
    encryption: Encryption,
    kms_key_id: Option<String>,
}

/// What a create-only write found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The key was free, and is ours.
    New,
    /// Somebody was first.
    Exists,
}

/// A stored object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Entity tag, for `If-Match`.
    pub etag: Option<String>,
    /// Bytes.
    pub size: u64,
}

/// A key of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The key.
    pub key: String,
    /// Bytes.
    pub size: u64,
}

/// Headers of an answer.
#[derive(Debug, Default)]
struct Headers {
    server: Option<String>,
    date: Option<String>,
}

/// Whether a server knows no checksum but MD5, and wants one.
fn wants_md5<E>(error: &SdkError<E>) -> bool
where
    E: ProvideErrorMetadata,
{
    let SdkError::ServiceError(service) = error else {
        return false;
    };
    let said = service.err().meta();
    said.code() == Some("MissingContentMD5")
        || (service.raw().status().as_u16() == 400
            && said.message().is_some_and(|m| m.contains("Content-MD5")))
}

/// A body on its way, with what the server said of it.
#[derive(Debug)]
pub struct ObjectBody {
    /// The bytes.
    pub body: ByteStream,
    /// Bytes of this answer (of the range, where one was asked for).
    pub length: u64,
}

impl Bucket {
    /// A bucket as configured.
    #[must_use]
    pub fn new(client: Client, config: &config::Bucket) -> Self {
        Self {
            client,
            name: config.bucket.clone(),
            encryption: config.encryption,
            kms_key_id: config.kms_key_id.clone(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn sse(&self) -> ServerSideEncryption {
        match self.encryption {
            Encryption::Aes256 => ServerSideEncryption::Aes256,
            Encryption::Kms => ServerSideEncryption::AwsKms,
        }
    }

    pub(super) fn kms_key_id(&self) -> Option<String> {
        self.kms_key_id.clone()
    }

    pub(super) fn check_sse(
        &self,
        key: &str,
        stored: Option<&ServerSideEncryption>,
    ) -> Result<(), StorageError> {
        if stored == Some(&self.sse()) {
            Ok(())
        } else {
            Err(StorageError::NotEncrypted {
                bucket: self.name.clone(),
                key: key.to_owned(),
            })
        }
    }

    /// Writes an object only where none is (`If-None-Match: *`), and checks that
    /// it is encrypted.
    ///
    /// # Errors
    /// As the server says; an object that is already there is no error. A server that
    /// answers 409 to one of several writers at once may have stored nobody's: that is an
    /// error, unless the object is there.
    pub async fn create(
        &self,
        key: &str,
        body: Bytes,
        content_type: &str,
    ) -> Result<Created, StorageError> {
        let put = match self.put_new(key, &body, content_type, false).await {
            Err(error) if wants_md5(&error) => self.put_new(key, &body, content_type, true).await,
            put => put,
        };
        match put {
            Ok(answer) => {
                match answer.server_side_encryption() {
                    Some(sse) => self.check_sse(key, Some(sse))?,
                    None => {
                        self.head(key).await?;
                    }
                }
                Ok(Created::New)
            }
            Err(error) => {
                let conflicts = error.raw_response().map(|r| r.status().as_u16()) == Some(409);
                match translate("PutObject", &self.name, key, &error) {
                    StorageError::Precondition { .. } if conflicts && !self.exists(key).await? => {
                        Err(StorageError::Unavailable {
                            operation: "PutObject",
                            bucket: self.name.clone(),
                            key: key.to_owned(),
                            message: "a concurrent create-only write was refused".to_owned(),
                        })
                    }
                    StorageError::Precondition { .. } => Ok(Created::Exists),
                    other => Err(other),
                }
            }
        }
    }

    /// With SHA-256, which a bucket that locks objects by default asks for; and with MD5
    /// for servers that know no other checksum.
    async fn put_new(
        &self,
        key: &str,
        body: &Bytes,
        content_type: &str,
        md5: bool,
    ) -> Result<PutObjectOutput, SdkError<PutObjectError>> {
        self.client
            .put_object()
            .bucket(&self.name)
            .key(key)
            .if_none_match("*")
            .content_type(content_type)
            .checksum_sha256(sha256_of(body))
            .set_content_md5(md5.then(|| md5_of(body)))
            .server_side_encryption(self.sse())
            .set_ssekms_key_id(self.kms_key_id.clone())
            .body(ByteStream::from(body.clone()))
            .send()
            .await
    }

    /// Size and tag; also checks that the object is encrypted.
    ///
    /// # Errors
    /// As the server says.
    pub async fn head(&self, key: &str) -> Result<Stored, StorageError> {
        let head = self
            .client
            .head_object()
            .bucket(&self.name)
            .key(key)
            .send()
            .await;
        let head = match head.map_err(|e| translate("HeadObject", &self.name, key, &e)) {
            Ok(head) => head,
            Err(error) if error.is_wordless() => return Err(self.in_words(key, error).await),
            Err(error) => return Err(error),
        };
        self.check_sse(key, head.server_side_encryption())?;
        Ok(Stored {
            etag: head.e_tag().map(str::to_owned),
            size: head
                .content_length()
                .and_then(|n| u64::try_from(n).ok())
                .unwrap_or(0),
        })
    }

    /// An answer to HEAD has no body, and so no words: the same is asked with GET.
    async fn in_words(&self, key: &str, wordless: StorageError) -> StorageError {
        let first = Some("bytes=0-0".to_owned());
        match self.open(key, first).await {
            Err(told @ StorageError::Refused { .. }) => told,
            _ => wordless,
        }
    }

    /// Asks for a key that is never there, since the headers of the answer are what is
    /// wanted. By GET: an answer to HEAD has no body, and so no words about what is wrong.
    async fn ask_for_absent(&self) -> Result<Headers, StorageError> {
        const ABSENT: &str = "work/probe/absent";
        let got = self
            .client
            .get_object()
            .bucket(&self.name)
            .key(ABSENT)
            .send()
            .await;
        let Err(error) = got else {
            return Ok(Headers::default());
        };
        let header = |name| {
            let headers = error.raw_response()?.headers();
            headers.get(name).map(str::to_owned)
        };
        let headers = Headers {
            server: header("server"),
            date: header("date"),
        };
        match translate("GetObject", &self.name, ABSENT, &error) {
            StorageError::NotFound { .. } => Ok(headers),
            other => Err(other),
        }
    }

    /// What the server calls itself (`Server` header), or nothing.
    ///
    /// # Errors
    /// As the server says.
    pub(crate) async fn server_version(&self) -> Result<String, StorageError> {
        let headers = self.ask_for_absent().await?;
        Ok(headers.server.unwrap_or_default())
    }

    /// The date of an answer, as the server writes it.
    pub(super) async fn server_date(&self) -> Result<Option<String>, StorageError> {
        Ok(self.ask_for_absent().await?.date)
    }

    /// Whether a key is there.
    ///
    /// # Errors
    /// As the server says.
    pub(crate) async fn exists(&self, key: &str) -> Result<bool, StorageError> {
        match self.get(key).await {
            Ok(found) => Ok(found.is_some()),
            Err(error) => Err(error),
        }
    }

    /// A whole small object, or `None`.
    ///
    /// # Errors
    /// As the server says.
    pub(crate) async fn get(&self, key: &str) -> Result<Option<Bytes>, StorageError> {
        match self.open(key, None).await {
            Ok(found) => {
                let bytes =
                    found
                        .body
                        .collect()
                        .await
                        .map_err(|error| StorageError::Unavailable {
                            operation: "GetObject",
                            bucket: self.name.clone(),
                            key: key.to_owned(),
                            message: error.to_string(),
                        })?;
                Ok(Some(bytes.into_bytes()))
            }
            Err(StorageError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens an object for streaming; `range` is a `Range` header's value.
    ///
    /// # Errors
    /// As the server says.
    pub async fn open(&self, key: &str, range: Option<String>) -> Result<ObjectBody, StorageError> {
        let got = self
            .client
            .get_object()
            .bucket(&self.name)
            .key(key)
            .set_range(range)
            .send()
            .await
            .map_err(|e| translate("GetObject", &self.name, key, &e))?;
        self.check_sse(key, got.server_side_encryption())?;
        let length = got
            .content_length()
            .and_then(|n| u64::try_from(n).ok())
            .unwrap_or(0);
        Ok(ObjectBody {
            body: got.body,
            length,
        })
    }

    /// All keys under a prefix, in order.
    ///
    /// # Errors
    /// As the server says.
    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StorageError> {
        let mut found = Vec::new();
        let each = |key: &str, size| {
            found.push(Listed {
                key: key.to_owned(),
                size,
            });
        };
        self.visit(prefix, each).await?;
        Ok(found)
    }

    /// Every key under a prefix with its size, in order, a page in memory at a time.
    ///
    /// # Errors
    /// As the server says.
    pub async fn visit(
        &self,
        prefix: &str,
        mut each: impl FnMut(&str, u64) + Send,
    ) -> Result<(), StorageError> {
        let mut pages = self
            .client
            .list_objects_v2()
            .bucket(&self.name)
            .prefix(prefix)
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| translate("ListObjectsV2", &self.name, prefix, &e))?;
            for object in page.contents() {
                let size = object.size().and_then(|n| u64::try_from(n).ok());
                if let Some(key) = object.key() {
                    each(key, size.unwrap_or(0));
                }
            }
        }
        Ok(())
    }

    /// The folders directly under a prefix that ends in `/`, without it.
    ///
    /// # Errors
    /// As the server says.
    pub(crate) async fn folders(&self, prefix: &str) -> Result<BTreeSet<String>, StorageError> {
        let mut found = BTreeSet::new();
        let mut pages = self
            .client
            .list_objects_v2()
            .bucket(&self.name)
            .prefix(prefix)
            .delimiter("/")
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| translate("ListObjectsV2", &self.name, prefix, &e))?;
            for common in page.common_prefixes() {
                let name = common.prefix().and_then(|p| p.strip_prefix(prefix));
                found.extend(name.map(|n| n.trim_end_matches('/').to_owned()));
            }
        }
        Ok(found)
    }

    /// Deletes keys (a delete marker where the bucket keeps versions). Keys that
    /// are not there are no error.
    ///
    /// # Errors
    /// As the server says, errors inside a 200 included.
    pub(crate) async fn delete(&self, keys: &[String]) -> Result<(), StorageError> {
        let targets: Vec<Target> = keys.iter().map(|key| (key.clone(), None)).collect();
        match self.delete_targets(&targets).await?.into_iter().next() {
            None => Ok(()),
            Some(kept) => Err(StorageError::Refused {
                operation: "DeleteObjects",
                bucket: self.name.clone(),
                key: kept.key,
                code: kept.code.into(),
                words: kept.words.into(),
            }),
        }
    }

    fn corrupt(&self, key: &str, problem: &str) -> StorageError {
        StorageError::Corrupt {
            bucket: self.name.clone(),
            key: key.to_owned(),
            problem: problem.to_owned(),
        }
    }

    /// Starts a multipart upload.
    ///
    /// # Errors
    /// As the server says.
    pub async fn start_upload(
        &self,
        key: &str,
        content_type: &str,
    ) -> Result<String, StorageError> {
        let started = self
            .client
            .create_multipart_upload()
            .bucket(&self.name)
            .key(key)
            .content_type(content_type)
            .server_side_encryption(self.sse())
            .set_ssekms_key_id(self.kms_key_id.clone())
            .send()
            .await
            .map_err(|e| translate("CreateMultipartUpload", &self.name, key, &e))?;
        started
            .upload_id()
            .map(str::to_owned)
            .ok_or_else(|| self.corrupt(key, "a multipart upload without an id"))
    }

    /// Sends one part (numbers from 1) with its MD5, which a server that locks objects
    /// asks for; returns its tag. The payload is not signed: what is stored is hashed again
    /// before it counts.
    ///
    /// # Errors
    /// As the server says.
    pub async fn put_part(
        &self,
        key: &str,
        upload: &str,
        number: i32,
        bytes: PartBytes,
    ) -> Result<CompletedPart, StorageError> {
        let read = bytes.with_md5().await;
        let (md5, body) = read.map_err(|error| StorageError::Unavailable {
            operation: "UploadPart",
            bucket: self.name.clone(),
            key: key.to_owned(),
            message: format!("a part cannot be read from the spool folder: {error}"),
        })?;
        let put = self
            .client
            .upload_part()
            .bucket(&self.name)
            .key(key)
            .upload_id(upload)
            .part_number(number)
            .content_md5(md5)
            .body(body)
            .customize()
            .disable_payload_signing()
            .send()
            .await
            .map_err(|e| translate("UploadPart", &self.name, key, &e))?;
        Ok(CompletedPart::builder()
            .part_number(number)
            .set_e_tag(put.e_tag)
            .build())
    }

    /// Completes a multipart upload and checks size and encryption of the object.
    ///
    /// # Errors
    /// As the server says.
    pub async fn complete_upload(
        &self,
        key: &str,
        upload: &str,
        parts: Vec<CompletedPart>,
    ) -> Result<Stored, StorageError> {
        self.finish_upload(key, upload, parts).await?;
        self.head(key).await
    }

    /// The same, without a look at what is stored.
    pub(super) async fn finish_upload(
        &self,
        key: &str,
        upload: &str,
        parts: Vec<CompletedPart>,
    ) -> Result<(), StorageError> {
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(parts))
            .build();
        self.client
            .complete_multipart_upload()
            .bucket(&self.name)
            .key(key)
            .upload_id(upload)
            .multipart_upload(parts)
            .send()
            .await
            .map_err(|e| translate("CompleteMultipartUpload", &self.name, key, &e))?;
        Ok(())
    }

    /// Copies an object on the server, in parts where it is large: a copy of many
    /// gigabytes takes longer than an answer may.
    ///
    /// # Errors
    /// As the server says.
    pub(crate) async fn copy(
        &self,
        from: &str,
        to: &str,
        content_type: &str,
    ) -> Result<(), StorageError> {
        self.copy_in_parts(from, to, content_type, COPIED).await
    }

    /// The same; an object of more than `whole` bytes is copied in parts of so many.
    ///
    /// # Errors
    /// As the server says.
    pub(crate) async fn copy_in_parts(
        &self,
        from: &str,
        to: &str,
        content_type: &str,
        whole: u64,
    ) -> Result<(), StorageError> {
        let stored = self.head(from).await?;
        // Of a copy that was killed.
        for (key, upload) in self.open_uploads(to).await? {
            self.abort_upload(&key, &upload).await?;
        }
        let etag = stored.etag.as_deref();
        let source = Source {
            bucket: self,
            key: from,
            etag: etag.ok_or_else(|| self.corrupt(from, "the server gives it no tag"))?,
            size: stored.size,
            content_type,
            whole,
        };
        source.copy(self, to).await
    }

    /// Aborts a multipart upload; one that is gone is no error.
    ///
    /// # Errors
    /// As the server says.
    pub async fn abort_upload(&self, key: &str, upload: &str) -> Result<(), StorageError> {
        let aborted = self
            .client
            .abort_multipart_upload()
            .bucket(&self.name)
            .key(key)
            .upload_id(upload)
            .send()
            .await;
        match aborted.map_err(|e| translate("AbortMultipartUpload", &self.name, key, &e)) {
            Ok(_) | Err(StorageError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Open multipart uploads under a prefix, as key and upload id.
    ///
    /// # Errors
    /// As the server says.
    pub(crate) async fn open_uploads(
        &self,
        prefix: &str,
    ) -> Result<Vec<(String, String)>, StorageError> {
        let mut found = Vec::new();
        let (mut key_marker, mut id_marker) = (None, None);
        loop {
            let page = self
                .client
                .list_multipart_uploads()
                .bucket(&self.name)
                .prefix(prefix)
                .set_key_marker(key_marker)
                .set_upload_id_marker(id_marker)
                .send()
                .await
                .map_err(|e| translate("ListMultipartUploads", &self.name, prefix, &e))?;
            found.extend(page.uploads().iter().filter_map(|upload| {
                let key = upload.key().filter(|k| k.starts_with(prefix))?;
                Some((key.to_owned(), upload.upload_id()?.to_owned()))
            }));
            if page.is_truncated() != Some(true) || page.next_key_marker().is_none() {
                return Ok(found);
            }
            key_marker = page.next_key_marker().map(str::to_owned);
            id_marker = page.next_upload_id_marker().map(str::to_owned);
        }
    }
}
