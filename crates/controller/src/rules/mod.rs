//! Whether the admission rules that trevor relies on are in force
//! (docs/design.md#who-is-who-and-whether-that-can-be-believed).
//!
//! Who submitted and who reviewed is said by admission policies. So before a review
//! counts it is proved that the policies, bindings and definitions that the API
//! server serves are those that the chart rendered a second time into a file of
//! ours, and that a dry-run probe in another's name is refused by them. A probe
//! cannot show the past: [`verifier::Verifier`] therefore keeps epochs
//! ([`trevor_core::epoch`]) in the ledger, told apart by uid and generation of
//! every such object.

pub mod live;
pub mod probe;
pub mod shipped;
mod store;
pub mod verifier;
pub mod watch;

pub use verifier::{Report, Verifier};

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// The API server did not answer.
    #[error("API server: {0}")]
    Kube(#[from] kube::Error),
    /// The records bucket did not.
    #[error(transparent)]
    Storage(#[from] trevor_store::StorageError),
    /// The file of rules cannot be used.
    #[error(transparent)]
    Shipped(#[from] shipped::ShippedError),
    /// The API server's answer is none that we understand.
    #[error("API server: {path}: {problem}")]
    Answer {
        /// What was asked for.
        path: String,
        /// What is wrong with the answer.
        problem: String,
    },
}
