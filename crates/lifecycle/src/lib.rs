//! Files go on time, and not before: the sweeper, holds, and what an administrator
//! does when a request has nobody left.
//!
//! All of it works on the buckets alone, so that a deleted request, namespace or
//! cluster still ends in deletion on time. Whoever runs it shows what was done
//! through a [`Witness`]: the controller on its resources, the command line not at
//! all. A ticket under `work/retention/` only wakes; what is deleted, and when,
//! follows from the closing facts ([`trevor_core::retention`]).
//!
//! Killed at any point, the next sweep finds the ticket and goes on: the plan with
//! its totals was stored before the first object went, the receipt is create-only,
//! the ledger knows the event by its id, and the ticket goes last.

pub mod adopt;
mod case;
mod clock;
mod empty;
mod error;
pub mod holds;
pub mod let_go;
mod memory;
mod numbers;
pub mod orphans;
mod pace;
mod sweep;
pub mod taken;
pub mod tickets;
mod troubles;
mod witness;

pub use clock::agree;
pub use error::RetentionError;
pub use numbers::Numbers;
pub use pace::Pace;
pub use sweep::{SLACK_SECONDS, Sweep, Sweeper};
pub use troubles::{Trouble, Troubles};
pub use witness::{Done, Silent, Whose, Witness};
