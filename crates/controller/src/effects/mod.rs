//! The effects: one a file. Each writes create-only or with a precondition, and
//! finds its own work when it is repeated.

pub mod aside;
pub mod close;
pub mod collect;
pub mod confirm;
pub mod deliver;
pub mod deliver_volume;
pub mod establish;
pub mod freeze;
pub mod gather;
pub mod idle;
pub mod ingress_release;
pub mod look_back;
pub mod outbox;
pub mod package;
pub mod packaging_job;
pub mod progress;
pub mod record;
pub mod release;
pub mod renew;
pub mod review;
pub mod revoke;
pub mod room;
pub mod statement;
pub mod url;
pub mod url_ending;
