//! Stores of typed objects: a key says what is stored there, and in which store.
//!
//! Facts are create-only: one key a step, the first writer wins, all others adopt. Only what
//! is meant to be deleted can be: the store of facts has no way to it.
//!
//! ```
//! use trevor_core::keys::RequestKey;
//! use trevor_store::{Records, StorageError, Work};
//!
//! async fn ends(records: &Records, work: &Work, key: &RequestKey) -> Result<(), StorageError> {
//!     if let Some(closed) = records.get(&key.closed()).await? {
//!         println!("closed at {}", closed.time);
//!     }
//!     work.delete(&[key.delivered()]).await
//! }
//! ```
//!
//! A fact is not deleted:
//!
//! ```compile_fail
//! # use trevor_core::keys::RequestKey;
//! # use trevor_store::{Records, StorageError};
//! async fn ends(records: &Records, key: &RequestKey) -> Result<(), StorageError> {
//!     records.delete(&[key.closed()]).await
//! }
//! ```
//!
//! nor by the store of what is deleted, nor is it looked for there:
//!
//! ```compile_fail
//! # use trevor_core::keys::RequestKey;
//! # use trevor_store::{StorageError, Work};
//! async fn ends(work: &Work, key: &RequestKey) -> Result<(), StorageError> {
//!     work.delete(&[key.closed()]).await
//! }
//! ```
//!
//! ```compile_fail
//! # use trevor_core::commit::Closed;
//! # use trevor_core::keys::RequestKey;
//! # use trevor_store::{StorageError, Work};
//! async fn closed(work: &Work, key: &RequestKey) -> Result<Option<Closed>, StorageError> {
//!     work.get(&key.closed()).await
//! }
//! ```
//!
//! What lies at a key is not read as another type:
//!
//! ```compile_fail
//! # use trevor_core::commit::Decision;
//! # use trevor_core::keys::RequestKey;
//! # use trevor_store::{Records, StorageError};
//! async fn decided(records: &Records, key: &RequestKey) -> Result<Option<Decision>, StorageError> {
//!     records.get(&key.closed()).await
//! }
//! ```

use std::collections::BTreeSet;
use std::marker::PhantomData;

use aws_sdk_s3::Client;
use bytes::Bytes;
use jiff::Timestamp;

use super::bucket::{Bucket, Created};
use super::error::StorageError;
use super::proof;
use super::server_clock::ServerClock;
use trevor_config as config;
use trevor_core::format::{Fact, Later};
use trevor_core::object_key::{Key, Permanent, Prefix, WorkKey, WorkPrefix, Working};

/// Objects of one kind in a bucket.
#[derive(Debug)]
pub struct Objects<K> {
    bucket: Bucket,
    of: PhantomData<fn() -> K>,
}

/// Facts that are never deleted.
pub type Records = Objects<Permanent>;

/// What is stored below `work/` of the quarantine bucket until it has served.
pub type Work = Objects<Working>;

/// What a create-only write found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Committed<T> {
    /// Ours is stored (now, or by an earlier try whose answer was lost).
    Ours(T),
    /// Somebody else's was first: adopt it.
    Theirs(T),
}

impl<T> Committed<T> {
    /// What stands, whoever wrote it.
    pub fn into_inner(self) -> T {
        match self {
            Self::Ours(fact) | Self::Theirs(fact) => fact,
        }
    }
}

impl<K> Clone for Objects<K> {
    fn clone(&self) -> Self {
        Self::of_bucket(self.bucket.clone())
    }
}

impl<K> Objects<K> {
    /// In a bucket as configured.
    #[must_use]
    pub fn new(client: Client, config: &config::Bucket) -> Self {
        Self::of_bucket(Bucket::new(client, config))
    }

    pub(super) fn of_bucket(bucket: Bucket) -> Self {
        Self {
            bucket,
            of: PhantomData,
        }
    }

    /// For what proves servers, keeps the ledger and verifies it.
    pub(crate) fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// The bucket's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.bucket.name()
    }

    /// The server's clock.
    #[must_use]
    pub fn clock(&self) -> ServerClock<'_> {
        ServerClock::of(&self.bucket)
    }

    /// Whether the server answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn reach(&self) -> Result<(), StorageError> {
        proof::reach(&self.bucket).await
    }

    /// Writes an object as canonical JSON where none is; otherwise reads the one that
    /// stands. A lost answer is settled by reading back.
    ///
    /// # Errors
    /// As the server says, or when what stands cannot be parsed or a later version wrote it.
    pub async fn create<T>(&self, key: &Key<K, T>, fact: &T) -> Result<Committed<T>, StorageError>
    where
        T: Fact + Clone + PartialEq,
    {
        let created = self.put(key, fact).await?;
        if matches!(created, Ok(Created::New)) {
            return Ok(Committed::Ours(fact.clone()));
        }
        match self.get_known(key).await? {
            Some(standing) if standing == *fact => Ok(Committed::Ours(standing)),
            Some(standing) => Ok(Committed::Theirs(standing)),
            None => match created {
                Err(error) => Err(error),
                // 409 of a concurrent conditional write (AWS), and nobody won: try again.
                Ok(_) => Err(StorageError::Unavailable {
                    operation: "PutObject",
                    bucket: self.name().to_owned(),
                    key: key.to_string(),
                    message: "a concurrent create-only write was refused".to_owned(),
                }),
            },
        }
    }

    /// The same, without a look at what stands where one is there.
    ///
    /// # Errors
    /// As the server says.
    pub async fn create_unread<T: Fact>(
        &self,
        key: &Key<K, T>,
        fact: &T,
    ) -> Result<(), StorageError> {
        self.put(key, fact).await?.map(drop)
    }

    /// The outer error: it cannot be written.
    async fn put<T: Fact>(
        &self,
        key: &Key<K, T>,
        fact: &T,
    ) -> Result<Result<Created, StorageError>, StorageError> {
        let bytes = fact
            .to_bytes()
            .map_err(|e| self.corrupt(key, &e.to_string()))?;
        Ok(self.bucket.create(key, bytes, "application/json").await)
    }

    /// Reads an object whatever its format; with it, that it is of a later one.
    ///
    /// # Errors
    /// As the server says, or when it cannot be parsed.
    pub(super) async fn get_any<T: Fact>(
        &self,
        key: &Key<K, T>,
    ) -> Result<Option<(T, Option<Later>)>, StorageError> {
        let Some(bytes) = self.bucket.get(key).await? else {
            return Ok(None);
        };
        match T::parse(&bytes) {
            Ok(fact) => {
                let later = Later::is(&fact, key, &bytes);
                Ok(Some((fact, later)))
            }
            Err(error) => Err(match Later::unread::<T>(key, &bytes) {
                Some(later) => self.too_late(&later),
                None => self.corrupt(key, &error.to_string()),
            }),
        }
    }

    /// Reads an object for what loosens, so that it must be of a format that this version
    /// knows.
    ///
    /// # Errors
    /// As [`Self::get`], and when a later version wrote it.
    pub async fn get_known<T: Fact>(&self, key: &Key<K, T>) -> Result<Option<T>, StorageError> {
        match self.get_any(key).await? {
            Some((_, Some(later))) => Err(self.too_late(&later)),
            found => Ok(found.map(|(fact, _)| fact)),
        }
    }

    /// Reads an object, or `None`; of whatever format: for what stops, closes, deletes or
    /// shows.
    ///
    /// # Errors
    /// As the server says, or when it cannot be parsed.
    pub async fn get<T: Fact>(&self, key: &Key<K, T>) -> Result<Option<T>, StorageError> {
        let found = self.get_any(key).await?;
        Ok(found.map(|(fact, _)| fact))
    }

    /// An object as it is stored, or `None`.
    ///
    /// # Errors
    /// As the server says.
    pub async fn get_bytes<T>(&self, key: &Key<K, T>) -> Result<Option<Bytes>, StorageError> {
        self.bucket.get(key).await
    }

    /// Whether an object is there.
    ///
    /// # Errors
    /// As the server says.
    pub async fn exists<T>(&self, key: &Key<K, T>) -> Result<bool, StorageError> {
        self.bucket.exists(key).await
    }

    /// All keys under a prefix, in order.
    ///
    /// # Errors
    /// As the server says.
    pub async fn list<T>(&self, prefix: &Prefix<K, T>) -> Result<Vec<Key<K, T>>, StorageError> {
        let mut found = Vec::new();
        self.visit(prefix, |key, _| found.push(key)).await?;
        Ok(found)
    }

    /// Every key under a prefix, in order, with the second in which it was stored by the
    /// server's clock, a page in memory at a time.
    ///
    /// # Errors
    /// As the server says.
    pub async fn visit<T>(
        &self,
        prefix: &Prefix<K, T>,
        mut each: impl FnMut(Key<K, T>, Option<i64>) + Send,
    ) -> Result<(), StorageError> {
        let each = |listed: &str, time| {
            if let Some(key) = prefix.key_of(listed) {
                each(key, time);
            }
        };
        self.bucket.visit_times(prefix, each).await
    }

    /// The first keys behind `after` (or all, where it is empty) under a prefix, in order, at
    /// most `limit` (1,000), and whether there are more: a server may give fewer than it is
    /// asked for.
    ///
    /// # Errors
    /// As the server says.
    pub async fn page<T>(
        &self,
        prefix: &Prefix<K, T>,
        after: &str,
        limit: i32,
    ) -> Result<(Vec<Key<K, T>>, bool), StorageError> {
        let (page, more) = self.bucket.page_of(prefix, after, limit).await?;
        let keys = page.iter().filter_map(|listed| prefix.key_of(&listed.key));
        Ok((keys.collect(), more))
    }

    /// The folders directly under a prefix that ends in `/`, without it.
    ///
    /// # Errors
    /// As the server says.
    pub async fn folders(&self, prefix: &str) -> Result<BTreeSet<String>, StorageError> {
        self.bucket.folders(prefix).await
    }

    /// When something under a prefix was last written; none: nothing is there.
    ///
    /// # Errors
    /// As the server says.
    pub async fn last_written<T>(
        &self,
        prefix: &Prefix<K, T>,
    ) -> Result<Option<Timestamp>, StorageError> {
        self.bucket.last_written(prefix).await
    }

    /// An error for whoever must know a fact that a later version wrote.
    #[must_use]
    pub fn too_late(&self, later: &Later) -> StorageError {
        StorageError::Corrupt {
            bucket: self.name().to_owned(),
            key: later.key.clone(),
            problem: later.to_string(),
        }
    }

    fn corrupt(&self, key: &str, problem: &str) -> StorageError {
        StorageError::Corrupt {
            bucket: self.name().to_owned(),
            key: key.to_owned(),
            problem: format!("is not the object that belongs here: {problem}"),
        }
    }
}

impl Work {
    /// Deletes objects. One that is not there is no error.
    ///
    /// # Errors
    /// As the server says.
    pub async fn delete<T>(&self, keys: &[WorkKey<T>]) -> Result<(), StorageError> {
        let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
        self.bucket.delete(&keys).await
    }

    /// Deletes an object with every version of it.
    ///
    /// # Errors
    /// As the server says.
    pub async fn delete_versions<T>(&self, key: &WorkKey<T>) -> Result<(), StorageError> {
        self.bucket.delete_versions(key).await
    }

    /// Deletes all objects under a prefix with every version of them.
    ///
    /// # Errors
    /// As the server says.
    pub async fn delete_all_versions<T>(&self, prefix: &WorkPrefix<T>) -> Result<(), StorageError> {
        self.bucket.delete_versions(prefix).await
    }
}
