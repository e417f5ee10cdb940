//! Whom to tell of what happened, and how.
//!
//! What is to be told follows from the ledger's events ([`trevor_core::notice`]).
//! The controller stores it in the outbox before it shows the state that it is
//! about ([`Outbox`]); the leader's dispatcher ([`dispatch`]) delivers it by the
//! channels of policy or configuration, each for itself: at least once, with an id
//! that stays the same. A channel that is dead delays nothing but what goes by it.

mod backoff;
mod channel;
mod checkpoint;

mod connect;
mod deliver;
mod delivery;
pub mod dispatch;
mod health;
mod mail;
mod message;
mod metrics;
mod outbox;
mod queue;
mod shown;
mod webhook;

pub use channel::{ChannelError, Channels};
pub use delivery::{Failure, Notification};
pub use metrics::Metrics;
pub use outbox::{Outbox, Route};
