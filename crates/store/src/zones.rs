//! The zones as types: what may be done in each, and by whom.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::types::CompletedPart;
use bytes::Bytes;

use super::bucket::{Bucket, Created, Listed, Stored};
use super::checksum::PartBytes;
use super::client::{connect, signer_as};
use super::credentials::Identity;
use super::download::{Bytestream, download_stretch};
use super::error::StorageError;
use super::objects::{Records, Work};
use super::presign::{Life, Signer, presign_get};
use super::purge::Emptying;
use super::server_clock::ServerClock;
use super::staging::Staging;
use trevor_config as config;
use trevor_core::commit::{Attempt, PackageFact};
use trevor_core::ingress::ReleasedFile;
use trevor_core::keys::{RequestKey, is_quarantined};
use trevor_core::manifest::Frozen;
use trevor_core::quorum::Approved;
use trevor_core::url_issue::SecretUrl;

/// Files under review: write-once, random keys (docs/design.md#invariants). And working
/// objects.
#[derive(Clone, Debug)]
pub struct Quarantine {
    work: Work,
    /// Signs for the endpoint inside; none: there are no credentials.
    signer: Option<Signer>,
}

/// Approved packages. It can be read and emptied by anyone who holds it; written
/// only through [`Release::begin`], which takes an [`Approved`] manifest.
#[derive(Clone, Debug)]
pub struct Release(Bucket);

/// The buckets of a process.
#[derive(Clone, Debug)]
pub struct Zones {
    /// Files under review.
    pub quarantine: Quarantine,
    /// Facts.
    pub records: Records,
    /// Where outsiders write, if ingress is on.
    pub staging: Option<Staging>,
}

impl Zones {
    /// Connects to quarantine and records.
    pub async fn connect(storage: &config::Storage) -> Self {
        let quarantine = Bucket::new(
            connect(&storage.quarantine, None, Identity::Quarantine).await,
            &storage.quarantine,
        );
        let records = match &storage.records {
            Some(records) => Bucket::new(connect(records, None, Identity::Records).await, records),
            None => quarantine.clone(),
        };
        Self {
            quarantine: Quarantine {
                work: Work::of_bucket(quarantine),
                signer: signer_as(&storage.quarantine, None, Identity::Quarantine).await,
            },
            records: Records::of_bucket(records),
            staging: Staging::connect(storage).await,
        }
    }
}

impl Quarantine {
    /// The bucket, for the bytes of files.
    #[must_use]
    pub fn bucket(&self) -> &Bucket {
        self.work.bucket()
    }

    /// Working objects.
    #[must_use]
    pub fn work(&self) -> &Work {
        &self.work
    }

    /// The files of a request, for whoever empties them.
    #[must_use]
    pub fn emptying(&self, key: &RequestKey) -> Emptying {
        Emptying::new(self.bucket(), key.files())
    }

    /// Deletes a file.
    ///
    /// # Errors
    /// As the server says, or when the key is not that of a file.
    pub async fn delete_file(&self, key: &str) -> Result<(), StorageError> {
        self.check_file(key)?;
        self.bucket().delete(&[key.to_owned()]).await
    }

    /// Deletes a file with every version and delete marker that it ever had.
    ///
    /// # Errors
    /// As the server says, or when the key is not that of a file.
    pub async fn purge_file(&self, key: &str) -> Result<(), StorageError> {
        self.check_file(key)?;
        self.bucket().purge(key).await
    }

    /// Facts may lie in the same bucket.
    fn check_file(&self, key: &str) -> Result<(), StorageError> {
        if is_quarantined(key) {
            return Ok(());
        }
        Err(StorageError::Corrupt {
            bucket: self.bucket().name().to_owned(),
            key: key.to_owned(),
            problem: "is no file under review, and is not deleted".to_owned(),
        })
    }

    fn signer(&self) -> Result<&Signer, StorageError> {
        let none = || StorageError::Unavailable {
            operation: "presign",
            bucket: self.bucket().name().to_owned(),
            key: String::new(),
            message: "there are no credentials to sign with".to_owned(),
        };
        self.signer.as_ref().ok_or_else(none)
    }

    /// How long the credentials that sign live from now.
    ///
    /// # Errors
    /// When there are none.
    pub async fn signing_life(&self) -> Result<Life, StorageError> {
        self.signer()?.life().await
    }

    /// What signs URLs of files that crossed inwards, for the endpoint inside: for
    /// `wanted`, or for as long as the credentials live.
    ///
    /// # Errors
    /// When there are no credentials to sign with, or they end now.
    pub async fn hold(&self, wanted: Duration) -> Result<InsideSigner<'_>, StorageError> {
        let (with, life) = self.signer()?.hold(wanted).await?;
        let bucket = self.bucket();
        Ok(InsideSigner { bucket, with, life })
    }
}

/// Signs URLs of files that crossed inwards.
#[derive(Clone, Debug)]
pub struct InsideSigner<'a> {
    bucket: &'a Bucket,
    with: Client,
    life: Duration,
}

impl InsideSigner<'_> {
    /// How long they live.
    #[must_use]
    pub fn life(&self) -> Duration {
        self.life
    }

    /// Signs a GET of one.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub async fn sign(&self, file: ReleasedFile<'_>) -> Result<SecretUrl, StorageError> {
        let file = file.get();
        let bucket = self.bucket.name();
        presign_get(&self.with, bucket, &file.key, self.life, &file.path).await
    }
}

impl Release {
    /// Connects to the release bucket.
    pub async fn connect(storage: &config::Storage) -> Self {
        Self(Bucket::new(
            connect(&storage.release, None, Identity::Release).await,
            &storage.release,
        ))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Whether the server answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn reach(&self) -> Result<(), StorageError> {
        super::proof::reach(&self.0).await
    }

    /// Reads a stretch of a package back.
    ///
    /// # Errors
    /// As the server says, at once or in the stream.
    pub async fn read_back(
        &self,
        key: &str,
        stretch: Range<u64>,
    ) -> Result<Bytestream, StorageError> {
        download_stretch(&self.0, key, stretch).await
    }

    /// Size and encryption of a package.
    ///
    /// # Errors
    /// As the server says.
    pub async fn head(&self, key: &str) -> Result<Stored, StorageError> {
        self.0.head(key).await
    }

    /// What lies under a prefix.
    ///
    /// # Errors
    /// As the server says.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StorageError> {
        self.0.list(prefix).await
    }

    /// The first keys behind `after` under a prefix, and whether there are more, for
    /// whoever goes through all.
    ///
    /// # Errors
    /// As the server says.
    pub async fn page_of(
        &self,
        prefix: &str,
        after: &str,
        limit: i32,
    ) -> Result<(Vec<Listed>, bool), StorageError> {
        self.0.page_of(prefix, after, limit).await
    }

    /// Keys under a prefix of which bytes are kept: packages, and versions of them.
    ///
    /// # Errors
    /// As the server says.
    pub async fn ever_stored(&self, prefix: &str) -> Result<BTreeSet<String>, StorageError> {
        self.0.ever_stored(prefix).await
    }

    /// Deletes packages.
    ///
    /// # Errors
    /// As the server says.
    pub async fn delete(&self, keys: &[String]) -> Result<(), StorageError> {
        self.0.delete(keys).await
    }

    /// Open uploads under a prefix, as key and upload id.
    ///
    /// # Errors
    /// As the server says.
    pub async fn open_uploads(&self, prefix: &str) -> Result<Vec<(String, String)>, StorageError> {
        self.0.open_uploads(prefix).await
    }

    /// Aborts an upload.
    ///
    /// # Errors
    /// As the server says.
    pub async fn abort_upload(&self, key: &str, upload: &str) -> Result<(), StorageError> {
        self.0.abort_upload(key, upload).await
    }

    /// The only way in: an upload to the key of an attempt, for a manifest that
    /// the quorum approved (docs/design.md#invariants).
    #[must_use]
    pub fn begin<'a>(
        &'a self,
        _approved: &'a Approved<Frozen>,
        attempt: &'a Attempt,
    ) -> ReleaseUpload<'a> {
        ReleaseUpload {
            bucket: &self.0,
            key: &attempt.key,
        }
    }

    /// Copies an approved package within the bucket.
    ///
    /// # Errors
    /// As the server says.
    pub async fn copy(
        &self,
        _approved: &Approved<Frozen>,
        package: &PackageFact,
        to: &str,
    ) -> Result<(), StorageError> {
        self.0.copy(&package.key, to, ZIP).await
    }

    /// The packages of a request, for whoever empties them.
    #[must_use]
    pub fn emptying(&self, key: &RequestKey) -> Emptying {
        Emptying::new(&self.0, key.releases())
    }

    /// The server's clock.
    #[must_use]
    pub fn clock(&self) -> ServerClock<'_> {
        ServerClock::of(&self.0)
    }

    /// For the start-up proof only, which writes probes under `probe/`.
    pub(super) fn probe_bucket(&self) -> &Bucket {
        &self.0
    }
}

/// Writes one package.
#[derive(Debug)]
pub struct ReleaseUpload<'a> {
    bucket: &'a Bucket,
    key: &'a str,
}

const ZIP: &str = "application/zip";

impl ReleaseUpload<'_> {
    /// A package that fits one part.
    ///
    /// # Errors
    /// As the server says.
    pub async fn put_whole(&self, body: Bytes) -> Result<Created, StorageError> {
        self.bucket.create(self.key, body, ZIP).await
    }

    /// Starts the one multipart upload of the attempt.
    ///
    /// # Errors
    /// As the server says.
    pub async fn start(&self) -> Result<String, StorageError> {
        self.bucket.start_upload(self.key, ZIP).await
    }

    /// Sends a part.
    ///
    /// # Errors
    /// As the server says.
    pub async fn part(
        &self,
        upload: &str,
        number: i32,
        bytes: PartBytes,
    ) -> Result<CompletedPart, StorageError> {
        self.bucket.put_part(self.key, upload, number, bytes).await
    }

    /// Completes the upload. What is stored is looked at when it is read back: who makes
    /// packages need not be able to read them.
    ///
    /// # Errors
    /// As the server says.
    pub async fn complete(
        &self,
        upload: &str,
        parts: Vec<CompletedPart>,
    ) -> Result<(), StorageError> {
        self.bucket.finish_upload(self.key, upload, parts).await
    }

    /// Aborts the upload.
    ///
    /// # Errors
    /// As the server says.
    pub async fn abort(&self, upload: &str) -> Result<(), StorageError> {
        self.bucket.abort_upload(self.key, upload).await
    }
}
