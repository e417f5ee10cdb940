//! For people outside the environment: sending files by an upload plan, and
//! fetching, checking and unpacking a package. Needs no Kubernetes, no
//! configuration and no credentials but the pre-signed URLs, which are secrets:
//! nothing here prints one ([`Address`]).
//!
//! Sending: [`plan`] reads what the gateway gave out, [`matching`] finds the
//! local files, [`local`] checks them, [`send`] sends the parts.
//!
//! Fetching: [`download`] fills a file beside its final place ([`part_file`]),
//! [`archive`] checks the zip, [`unpack`] writes its files beneath one folder
//! ([`crate::volume`]).

mod address;
pub mod archive;
mod attempts;
mod disposition;
pub mod download;
pub mod fetch;
pub mod local;
pub mod matching;
mod part_file;
pub mod plan;
mod progress;
mod ranges;
pub mod send;
mod through;
pub mod unpack;
mod web;

pub use address::{Address, AddressError};
pub(crate) use attempts::Attempts;
pub use attempts::Patience;
pub(crate) use local::digest;
pub use progress::{Progress, amount};
pub(crate) use web::asked;
pub use web::{Outgoing, Pulse};
pub use web::{Trouble, Web, WebError};

/// A name that somebody else chose, safe to print.
fn shown(name: &str) -> String {
    trevor_core::texts::harmless_line(name, 160)
}

#[cfg(test)]
mod tests;
