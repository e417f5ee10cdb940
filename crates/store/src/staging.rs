//! Staging: the one place where outsiders write. What lies there is never
//! reviewed and never delivered: confirmation copies it into quarantine.
//!
//! It has two faces. A gateway signs PUTs, starts multipart uploads and asks
//! which parts are there ([`Intake`]); the controller looks, completes, copies,
//! aborts and deletes ([`Custody`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use aws_sdk_s3::types::CompletedPart;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::bucket::{Bucket, Listed};
use super::client::{connect, signer_as};
use super::credentials::Identity;
use super::error::{StorageError, translate};
use super::presign::{Life, Signer};
use super::proof::ProofError;
use super::purge::Emptying;
use super::server_clock::ServerClock;
use super::staging_proof::prove_signing;
use super::zones::Quarantine;
use trevor_config as config;
use trevor_core::digest::Sha256Hex;
use trevor_core::keys::RequestKey;
use trevor_core::url_issue::SecretUrl;

/// The staging bucket.
#[derive(Clone, Debug)]
pub struct Staging {
    bucket: Bucket,
    /// Signs for the endpoint that outsiders use; none: there are no credentials.
    signer: Option<Signer>,
    /// Whether the quarantine server may read it itself; once refused, it is not
    /// asked again.
    beside: Arc<AtomicBool>,
    /// Whether it was shown that an upload URL does that upload and nothing else.
    proved: Arc<AtomicBool>,
    /// Buckets besides, which an upload URL must not reach.
    others: Vec<String>,
}

/// A signed call. Its URL is a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedPut {
    /// Where to.
    pub url: SecretUrl,
    /// Headers that are signed, and so must be sent, besides length and host.
    pub headers: BTreeMap<String, String>,
}

/// A part that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedPart {
    /// Its tag.
    pub etag: String,
    /// Its bytes.
    pub size: u64,
}

/// An object in staging, as it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    /// Its tag, which a copy asks for.
    pub etag: String,
    /// Its bytes.
    pub size: u64,
}

impl Staging {
    /// Connects, if ingress is configured.
    pub async fn connect(storage: &config::Storage) -> Option<Self> {
        let config = storage.staging.as_ref()?;
        let public = config.public_endpoint.as_deref();
        Some(Self {
            bucket: Bucket::new(connect(config, None, Identity::Staging).await, config),
            signer: signer_as(config, public, Identity::Staging).await,
            beside: Arc::new(AtomicBool::new(config.same_server(&storage.quarantine))),
            proved: Arc::default(),
            others: [
                Some(&storage.quarantine),
                Some(&storage.release),
                storage.records.as_ref(),
            ]
            .into_iter()
            .flatten()
            .map(|bucket| bucket.bucket.clone())
            .collect(),
        })
    }

    /// What a gateway may do.
    #[must_use]
    pub fn intake(&self) -> Intake<'_> {
        Intake(self)
    }

    /// What the controller may do.
    #[must_use]
    pub fn custody(&self) -> Custody<'_> {
        Custody(self)
    }

    /// Of a bucket alone.
    #[cfg(test)]
    pub(super) fn of_bucket(bucket: Bucket) -> Self {
        Self {
            bucket,
            signer: None,
            beside: Arc::default(),
            proved: Arc::default(),
            others: Vec::new(),
        }
    }

    /// What a request has there, for whoever empties it.
    #[must_use]
    pub fn emptying(&self, key: &RequestKey) -> Emptying {
        Emptying::new(&self.bucket, key.staged())
    }

    /// The server's clock.
    #[must_use]
    pub fn clock(&self) -> ServerClock<'_> {
        ServerClock::of(&self.bucket)
    }

    /// For the start-up proof only.
    pub(super) fn probe_bucket(&self) -> &Bucket {
        &self.bucket
    }

    fn config(&self, ttl: Duration) -> Result<PresigningConfig, StorageError> {
        PresigningConfig::expires_in(ttl).map_err(|e| self.unavailable(&e.to_string()))
    }

    fn unavailable(&self, message: &str) -> StorageError {
        StorageError::Unavailable {
            operation: "presign",
            bucket: self.bucket.name().to_owned(),
            key: String::new(),
            message: message.to_owned(),
        }
    }

    pub(super) async fn sign_put(
        &self,
        with: &Client,
        key: &str,
        size: u64,
        sha256: Option<&Sha256Hex>,
        ttl: Duration,
    ) -> Result<SignedPut, StorageError> {
        let mut put = with
            .put_object()
            .bucket(self.bucket.name())
            .key(key)
            .content_length(length(size))
            .server_side_encryption(self.bucket.sse())
            .set_ssekms_key_id(self.bucket.kms_key_id());
        if let Some(sha256) = sha256 {
            put = put.checksum_sha256(STANDARD.encode(sha256.raw()));
        }
        let signed = put
            .presigned(self.config(ttl)?)
            .await
            .map_err(|e| translate("presign", self.bucket.name(), key, &e))?;
        Ok(signed_put(&signed))
    }

    pub(super) async fn sign_part(
        &self,
        with: &Client,
        (key, upload): (&str, &str),
        number: i32,
        size: u64,
        ttl: Duration,
    ) -> Result<SignedPut, StorageError> {
        let signed = with
            .upload_part()
            .bucket(self.bucket.name())
            .key(key)
            .upload_id(upload)
            .part_number(number)
            .content_length(length(size))
            .presigned(self.config(ttl)?)
            .await
            .map_err(|e| translate("presign", self.bucket.name(), key, &e))?;
        Ok(signed_put(&signed))
    }

    async fn parts(
        &self,
        key: &str,
        upload: &str,
    ) -> Result<Option<BTreeMap<i32, StagedPart>>, StorageError> {
        let mut found = BTreeMap::new();
        let mut pages = self
            .bucket
            .client()
            .list_parts()
            .bucket(self.bucket.name())
            .key(key)
            .upload_id(upload)
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = match page {
                Ok(page) => page,
                Err(error) => match translate("ListParts", self.bucket.name(), key, &error) {
                    StorageError::NotFound { .. } => return Ok(None),
                    other => return Err(other),
                },
            };
            // A part that was sent twice may be listed twice: the last one counts.
            found.extend(page.parts().iter().filter_map(|part| {
                let etag = part.e_tag()?.to_owned();
                let size = part.size().and_then(|n| u64::try_from(n).ok())?;
                Some((part.part_number()?, StagedPart { etag, size }))
            }));
        }
        Ok(Some(found))
    }
}

fn length(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn signed_put(signed: &PresignedRequest) -> SignedPut {
    // Every client states length and host by itself.
    let states = |name: &str| matches!(name, "content-length" | "host");
    SignedPut {
        url: SecretUrl::from_stored(signed.uri().to_owned()),
        headers: signed
            .headers()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .filter(|(name, _)| !states(name))
            .collect(),
    }
}

/// What a gateway does in staging.
#[derive(Clone, Copy, Debug)]
pub struct Intake<'a>(&'a Staging);

impl<'a> Intake<'a> {
    fn signer(&self) -> Result<&'a Signer, StorageError> {
        let signer = self.0.signer.as_ref();
        signer.ok_or_else(|| self.0.unavailable("there are no credentials to sign with"))
    }

    /// How long the credentials that sign live from now.
    ///
    /// # Errors
    /// When there are none.
    pub async fn life(&self) -> Result<Life, StorageError> {
        self.signer()?.life().await
    }

    /// Proves once that an upload URL does that upload and nothing else; until then none
    /// is signed.
    ///
    /// # Errors
    /// When it is not so, or cannot be tried now.
    pub async fn prove(&self) -> Result<(), ProofError> {
        if !self.0.proved.load(Relaxed) {
            prove_signing(self.0, &self.0.others).await?;
            self.0.proved.store(true, Relaxed);
        }
        Ok(())
    }

    /// What signs the URLs of one plan, for `wanted` or for as long as the credentials
    /// live.
    ///
    /// # Errors
    /// When there are no credentials to sign with, or they end now, or what the URLs can
    /// do was not proved yet.
    pub async fn hold(&self, wanted: Duration) -> Result<PlanSigner<'a>, StorageError> {
        if !self.0.proved.load(Relaxed) {
            return Err(self.0.unavailable(
                "it is not proved yet what an upload URL can do there; the gateway's log says why",
            ));
        }
        let (with, life) = self.signer()?.hold(wanted).await?;
        Ok(PlanSigner {
            staging: self.0,
            with,
            life,
        })
    }

    /// Starts a multipart upload.
    ///
    /// # Errors
    /// As the server says.
    pub async fn start_upload(&self, key: &str) -> Result<String, StorageError> {
        self.0
            .bucket
            .start_upload(key, "application/octet-stream")
            .await
    }

    /// The parts that are there, by number; none: there is no such upload (any
    /// more).
    ///
    /// # Errors
    /// As the server says.
    pub async fn parts(
        &self,
        key: &str,
        upload: &str,
    ) -> Result<Option<BTreeMap<i32, StagedPart>>, StorageError> {
        self.0.parts(key, upload).await
    }
}

/// Signs the URLs of one plan.
#[derive(Clone, Debug)]
pub struct PlanSigner<'a> {
    staging: &'a Staging,
    with: Client,
    life: Duration,
}

impl PlanSigner<'_> {
    /// How long they live.
    #[must_use]
    pub fn life(&self) -> Duration {
        self.life
    }

    /// Signs one PUT of a whole file: exactly so many bytes, and these, where the
    /// digest is known.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub async fn sign_put(
        &self,
        key: &str,
        size: u64,
        sha256: Option<&Sha256Hex>,
    ) -> Result<SignedPut, StorageError> {
        let with = &self.with;
        self.staging
            .sign_put(with, key, size, sha256, self.life)
            .await
    }

    /// Signs the PUT of one part of exactly so many bytes.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub async fn sign_part(
        &self,
        upload: (&str, &str),
        number: i32,
        size: u64,
    ) -> Result<SignedPut, StorageError> {
        let with = &self.with;
        self.staging
            .sign_part(with, upload, number, size, self.life)
            .await
    }
}

/// What the controller does in staging.
#[derive(Clone, Copy, Debug)]
pub struct Custody<'a>(&'a Staging);

impl Custody<'_> {
    /// What lies under a prefix.
    ///
    /// # Errors
    /// As the server says.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StorageError> {
        self.0.bucket.list(prefix).await
    }

    /// One object.
    ///
    /// # Errors
    /// As the server says.
    pub async fn head(&self, key: &str) -> Result<Staged, StorageError> {
        let stored = self.0.bucket.head(key).await?;
        let etag = stored.etag.ok_or_else(|| StorageError::Corrupt {
            bucket: self.0.bucket.name().to_owned(),
            key: key.to_owned(),
            problem: "the server gives it no tag".to_owned(),
        })?;
        Ok(Staged {
            etag,
            size: stored.size,
        })
    }

    /// The parts of an upload, as [`Intake::parts`].
    ///
    /// # Errors
    /// As the server says.
    pub async fn parts(
        &self,
        key: &str,
        upload: &str,
    ) -> Result<Option<BTreeMap<i32, StagedPart>>, StorageError> {
        self.0.parts(key, upload).await
    }

    /// Completes an upload of these parts.
    ///
    /// # Errors
    /// As the server says, a part that was sent again meanwhile included.
    pub async fn complete(
        &self,
        key: &str,
        upload: &str,
        parts: &BTreeMap<i32, StagedPart>,
    ) -> Result<(), StorageError> {
        let parts = parts
            .iter()
            .map(|(number, part)| {
                CompletedPart::builder()
                    .part_number(*number)
                    .e_tag(&part.etag)
                    .build()
            })
            .collect();
        self.0
            .bucket
            .complete_upload(key, upload, parts)
            .await
            .map(drop)
    }

    /// Empties a prefix: objects and open uploads.
    ///
    /// # Errors
    /// As the server says.
    pub async fn empty(&self, prefix: &str) -> Result<(), StorageError> {
        let bucket = &self.0.bucket;
        for (key, upload) in bucket.open_uploads(prefix).await? {
            bucket.abort_upload(&key, &upload).await?;
        }
        let left: Vec<String> = bucket
            .list(prefix)
            .await?
            .into_iter()
            .map(|l| l.key)
            .collect();
        bucket.delete(&left).await
    }

    /// Deletes objects.
    ///
    /// # Errors
    /// As the server says.
    pub async fn delete(&self, keys: &[String]) -> Result<(), StorageError> {
        self.0.bucket.delete(keys).await
    }

    /// Copies an object as it was when it was looked at to a new key in quarantine:
    /// by the server itself where it can, else as a stream.
    ///
    /// # Errors
    /// [`StorageError::Precondition`] or [`StorageError::NotFound`] when it is
    /// another by now; else as the servers say.
    pub async fn copy(
        &self,
        key: &str,
        staged: &Staged,
        quarantine: &Quarantine,
        to: &str,
    ) -> Result<(), StorageError> {
        let source = super::transfer::Source {
            bucket: &self.0.bucket,
            key,
            etag: &staged.etag,
            size: staged.size,
            content_type: super::transfer::OCTETS,
            whole: super::transfer::COPIED,
        };
        if self.0.beside.load(Relaxed) {
            match source.copy(quarantine.bucket(), to).await {
                Err(StorageError::Refused { code, .. }) if &*code == "AccessDenied" => {
                    tracing::info!(
                        "the quarantine identity may not read staging; files are streamed"
                    );
                    self.0.beside.store(false, Relaxed);
                }
                done => return done,
            }
        }
        source.stream(quarantine.bucket(), to).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use aws_credential_types::provider::SharedCredentialsProvider;

    use super::*;

    async fn staging(end: Option<SystemTime>) -> Staging {
        let text = "{quarantine: {bucket: qqq, endpoint: 'https://q.example'}, release: {bucket: rrr}, \
                    staging: {bucket: sss, endpoint: 'https://q.example', public_endpoint: 'https://s.example'}}";
        let storage: config::Storage = serde_yaml::from_str(text).unwrap();
        let staging = Staging::connect(&storage).await.unwrap();
        let keys = aws_credential_types::Credentials::new("id", "key", None, end, "test");
        let public = config::Bucket {
            endpoint: Some("https://s.example".to_owned()),
            ..storage.staging.clone().unwrap()
        };
        let with = connect(&public, None, Identity::Staging).await;
        let with = with
            .config()
            .to_builder()
            .credentials_provider(keys.clone());
        let signer = Signer::new(
            Client::from_conf(with.build()),
            SharedCredentialsProvider::new(keys),
        );
        Staging {
            signer: Some(signer),
            proved: Arc::new(AtomicBool::new(true)),
            ..staging
        }
    }

    fn signed_headers(put: &SignedPut) -> &str {
        let url = put.url.expose();
        let rest = url.split("X-Amz-SignedHeaders=").nth(1).unwrap();
        rest.split('&').next().unwrap()
    }

    const DAY: Duration = Duration::from_secs(86_400);

    #[tokio::test]
    async fn a_signed_put_binds_length_digest_and_encryption_and_nothing_that_a_plain_client_lacks()
    {
        let staging = staging(None).await;
        let sha256 = Sha256Hex::of(b"hello");
        let signer = staging.intake().hold(DAY).await.unwrap();
        let put = signer.sign_put("u/1/k", 5, Some(&sha256)).await.unwrap();
        assert!(put.url.expose().starts_with("https://s.example/sss/u/1/k?"));
        assert_eq!(
            signed_headers(&put),
            "content-length%3Bhost%3Bx-amz-checksum-sha256%3Bx-amz-server-side-encryption"
        );
        let names: Vec<&str> = put.headers.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["x-amz-checksum-sha256", "x-amz-server-side-encryption"]
        );
        assert!(!put.url.expose().contains("crc"), "the SDK's own checksum");
        let plain = signer.sign_put("u/1/k", 0, None).await.unwrap();
        assert_eq!(
            signed_headers(&plain),
            "content-length%3Bhost%3Bx-amz-server-side-encryption"
        );
    }

    #[tokio::test]
    async fn a_signed_part_binds_its_length() {
        let staging = staging(None).await;
        let signer = staging.intake().hold(DAY).await.unwrap();
        let put = signer.sign_part(("u/1/k", "upload"), 7, 64).await.unwrap();
        assert_eq!(signed_headers(&put), "content-length%3Bhost");
        assert!(put.headers.is_empty(), "{:?}", put.headers);
        assert!(put.url.expose().contains("partNumber=7"));
    }

    #[tokio::test]
    async fn a_plan_ends_with_the_credentials_that_sign_it_and_says_so() {
        let soon = SystemTime::now() + Duration::from_secs(1000);
        let short = staging(Some(soon)).await;
        let signer = short.intake().hold(DAY).await.unwrap();
        let life = signer.life().as_secs();
        assert!((995..=1000).contains(&life), "{life}");
        let put = signer.sign_put("u/1/k", 5, None).await.unwrap();
        let part = signer.sign_part(("u/1/k", "upload"), 1, 5).await.unwrap();
        for url in [put.url.expose(), part.url.expose()] {
            let expires = format!("X-Amz-Expires={life}");
            assert!(url.split(['?', '&']).any(|field| field == expires));
        }
        let over = staging(Some(SystemTime::UNIX_EPOCH)).await;
        assert!(over.intake().hold(DAY).await.is_err());
        assert_eq!(
            over.intake().life().await.unwrap(),
            Life::Ends(Duration::ZERO)
        );
    }
}
