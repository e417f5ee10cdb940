//! The buckets, one type a zone, and what commits in them.
//!
//! Bytes under review live in [`Quarantine`], facts that are never deleted in
//! [`Records`], packages in [`Release`]: three types, so that code which mixes
//! them up does not compile. Facts are create-only objects
//! ([`Objects::create`]): all that compete for one step compete for one key, the first
//! wins, and a loser reads and adopts it (docs/design.md#what-commits). What is stored under
//! a key is in its type ([`trevor_core::object_key`]).

#![cfg_attr(test, allow(clippy::too_many_lines, reason = "tables"))]

pub mod audit;
mod bucket;
mod checksum;
mod client;
mod credentials;
mod deleting;
mod download;
mod error;
mod failures;
mod hashed;
mod leftovers;
mod listing;
mod objects;
pub mod observe;
mod plain;
pub mod preflight;
mod presign;
pub mod proof;
pub mod purge;
mod read_back;
pub mod revocation;
mod rounds;
mod server_clock;
pub mod set_aside;
pub mod staging;
mod staging_proof;
mod streaming;
mod transfer;
mod unreached;
pub mod urls;
pub mod versions;
mod zones;

pub use bucket::{Bucket, Created, Listed, ObjectBody, Stored};
pub use checksum::PartBytes;
pub use client::{connect, signer};
pub use credentials::{Identity, NoCredentials, look as look_for_credentials, of_process};
pub use download::{Bytestream, download};
pub use error::StorageError;
pub use failures::render as failures;
pub use hashed::{Hashed, hash_object};
pub use objects::{Committed, Objects, Records, Work};
pub use presign::{Life, Links, ShortLived, Signer, check_life};
pub use read_back::read_back;
pub use rounds::observe_previous;
pub use server_clock::ServerClock;
pub use staging::Staging;
pub use zones::{Quarantine, Release, ReleaseUpload, Zones};
