//! The state machine at work: observe → decide → one effect → status.
//!
//! [`reconcile`] reads as the table of contents. What is stored is loaded by
//! [`observe`], what to do next is decided by [`trevor_core::phase`], each
//! effect is a file under `effects/`, and [`status`] is the one place that
//! writes a request's status, on failure too.

mod actions;
mod ages;
mod cached;
mod catch_up;
mod certificate;
mod checkpoints;
mod context;
mod current;
mod definitions;
mod echo;
mod effects;
mod error;
mod evidence;
mod find;
mod health;
mod hints;
mod history;
mod jobs;
mod kept;
mod leader;
mod ledger;
mod leftovers;
mod links;
pub mod packaging;
mod past;
mod policies;
mod queue;
mod reconcile;
mod removal;
mod retries;
mod reviews;
pub mod rules;
mod rules_watch;
mod run;
mod sessions;
pub mod shutdown;
pub mod spans;
mod status;
mod steps;
mod strays;
mod sweeper;
mod tasks;
mod throughput;
mod unknown;
mod watches;
mod word;

pub use run::{Options, run};
