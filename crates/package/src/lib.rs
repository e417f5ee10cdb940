//! The package: what a recipient downloads, an RO-Crate in a zip.
//!
//! Everything of it follows from two stored facts, the manifest and the
//! decision ([`CrateInputs`]): no clock, no machine, no random number. So two
//! packages of one request are the same bytes where the packager is of the same
//! [`VERSION`], and what reviewers approved is all that can be in it.
//!
//! [`Plan`] lays the zip out before a byte is read: the metadata, the preview
//! ([`metadata`], [`preview`]), then the files in order, each stored or deflated
//! by what the manifest says of it, and the parts of the upload. [`pack`] then
//! streams it, in four stages that run at the same time:
//!
//! ```text
//!   read ahead  ──▶  check and frame  ──▶  hash and cut  ──▶  upload
//!   (read.rs)        (frame.rs)            (assemble.rs)      (the caller)
//! ```
//!
//! - *Read ahead* opens the next small files while one is read, so that ten
//!   thousand of them do not wait for each other's first byte.
//! - *Check and frame* hashes every file anew and compares it with the manifest,
//!   deflates where planned, and writes the records of the zip around it.
//! - *Hash and cut* takes the SHA-256 of the whole zip and fills the parts,
//!   in memory or, where they are larger than the budget, on disk ([`spool`]).
//!
//! The central directory, without which a zip is none, is written last: after a
//! mismatch no last part exists. Memory is bounded by [`Budget`]; whoever drops
//! the future or the receiver of the parts ends it.

#![cfg_attr(test, allow(clippy::too_many_lines, reason = "tables"))]

mod assemble;
mod frame;
mod inputs;
pub mod metadata;
mod plan;
pub mod preview;
mod read;
pub mod spool;
mod stream;
mod zip_format;

pub use inputs::CrateInputs;
pub use plan::{Method, Plan, PlanError};
pub use read::OpenError;
pub use spool::{Part, PartBody, Spool};
pub use stream::{Budget, Mismatch, PackError, Packed, pack};

/// What is recorded with each attempt to release. Packages of one approval are the same
/// bytes where this is the same: the layout's number is raised when the layout changes.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "+layout.3");

#[cfg(test)]
mod tests;
