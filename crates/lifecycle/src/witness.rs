//! Who is told of a sweep, and says whether it goes on.

use std::sync::Arc;

use super::error::RetentionError;
use trevor_core::commit::Owner;
use trevor_core::event::Event;
use trevor_core::keys::RequestKey;
use trevor_core::retention::{Deletion, Named};
use trevor_store::audit::{Head, Heads};

/// A request that files are of.
#[derive(Clone, Debug)]
pub struct Whose {
    /// Where its facts and files are.
    pub key: RequestKey,
    /// As it was known.
    pub owner: Owner,
}

/// A deletion that is recorded.
#[derive(Debug)]
pub struct Done {
    /// Whose files.
    pub key: RequestKey,
    /// The request, as it was known.
    pub owner: Owner,
    /// The receipt.
    pub receipt: Deletion,
    /// What the ledger says of it.
    pub event: Event,
    /// Where the ledger has it, or something later.
    pub head: Head,
    /// Secrets that hold URLs to what is gone.
    pub secrets: Vec<String>,
    /// Whether it was a release that had been revoked.
    pub revoked: bool,
}

/// Who shows what is done, and says whether to go on.
pub trait Witness: Send + Sync {
    /// Whether this process may still act.
    fn leads(&self) -> bool;
    /// Every word on a hold of this request that was asked for until now stands in the bucket;
    /// read from where it is asked for, and not from what was seen of it. An error: it cannot
    /// be told, and nothing is deleted.
    fn asked(
        &self,
        key: &RequestKey,
        owner: &Owner,
    ) -> impl Future<Output = Result<(), RetentionError>> + Send;
    /// Who is told of what the ledger gets, for the next checkpoint.
    fn heads(&self) -> Arc<Heads> {
        Arc::default()
    }
    /// Something is deleted, and recorded; it is shown before its ticket goes.
    fn deleted(&self, done: &Done) -> impl Future<Output = Result<(), String>> + Send;
    /// Something is due and a hold stops it.
    fn held(&self, key: &RequestKey, owner: &Owner) -> impl Future<Output = ()> + Send;
    /// Something is due and cannot be deleted, of a request that may be unknown.
    fn failed(
        &self,
        named: &Named,
        of: Option<&Whose>,
        error: &RetentionError,
    ) -> impl Future<Output = ()> + Send;
    /// What failed before did not fail now.
    fn passed(&self, named: &Named);
    /// A ticket that nothing bears out; told once.
    fn refused(&self, named: &Named, why: &str) -> impl Future<Output = ()> + Send;
    /// The request of a due ticket was never closed; gives whether it is closed now.
    fn open(&self, key: &RequestKey, owner: &Owner) -> impl Future<Output = bool> + Send;
}

/// Shows nothing: the cluster is gone.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Witness for Silent {
    fn leads(&self) -> bool {
        true
    }
    async fn asked(&self, _: &RequestKey, _: &Owner) -> Result<(), RetentionError> {
        Ok(())
    }
    async fn deleted(&self, _: &Done) -> Result<(), String> {
        Ok(())
    }
    async fn held(&self, _: &RequestKey, _: &Owner) {}
    async fn failed(&self, _: &Named, _: Option<&Whose>, _: &RetentionError) {}
    fn passed(&self, _: &Named) {}
    async fn refused(&self, _: &Named, _: &str) {}
    async fn open(&self, _: &RequestKey, _: &Owner) -> bool {
        false
    }
}
