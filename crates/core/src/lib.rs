//! The pure core: what a request is, when a round may freeze, who has approved
//! what, and which phase that makes.
//!
//! Nothing here does IO, reads a clock or is async: time is a parameter, and
//! every rule is a function from facts to one decision, so that each can be
//! tested as a table.

#![cfg_attr(test, allow(clippy::too_many_lines, reason = "tables"))]

pub mod action;
pub mod attachment;
pub mod canonical;
pub mod certificates;
pub mod collection;
pub mod commit;
pub mod declared;
pub mod digest;
pub mod edits;
pub mod envelope;
pub mod epoch;
pub mod event;
#[cfg(any(test, feature = "testing"))]
pub mod examples;
pub mod format;
pub mod frozen;
pub mod hint;
pub mod ingress;
pub mod keys;
pub mod ledger;
pub mod leftovers;
pub mod manifest;
pub mod media_type;
pub mod names;
pub mod notice;
pub mod object_key;
pub mod origin;
pub mod packaging;
pub mod phase;
pub mod policy;
pub mod proxies;
pub mod quorum;
pub mod receipt;
pub mod retention;
pub mod retry;
pub mod rounds;
pub mod seen;
pub mod server_words;
pub mod session;
pub mod sniff;
pub mod texts;
pub mod url_ending;
pub mod url_issue;
pub mod view;
pub mod volume;
