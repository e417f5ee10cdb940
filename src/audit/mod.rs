//! The ledger: hash chains of create-only JSON entries, append-only, outliving
//! the custom resource, the namespace and the cluster (DESIGN §7).
//!
//! Each entry carries the hash of the one before. An event's id is derived from
//! what happened, so that a retry after a crash finds itself and adds nothing.

mod chain;
mod event;

pub use chain::{Chain, Head, entry_name};
pub use event::{Entry, Event};
