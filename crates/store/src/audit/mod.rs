//! The ledger: hash chains of create-only JSON entries, append-only, outliving
//! the custom resource, the namespace and the cluster (docs/design.md#the-audit-ledger).
//!
//! Each entry carries the hash of the one before. An event's id is derived from
//! what happened, so that a retry after a crash finds itself and adds nothing.
//! Signed checkpoints hold the heads of the chains; [`verify`] compares it all,
//! offline.

mod chain;
pub mod checkpoint;
pub mod dsse;
pub mod export;
mod heads;
mod keeper;
pub mod key;
pub mod note;
mod rotation;
pub mod statement;
pub mod verify;

pub use chain::{Chain, Head, entry_name, goes_on};
pub use heads::Heads;
pub use keeper::{Keeper, Kept};
pub use key::{KeyError, PublicKey, SigningKey};
pub use rotation::{KeyChange, Rotation};
