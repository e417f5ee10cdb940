//! Calls that read: lists, manifests, content, the crate, URLs of a release, and plans.

pub mod access;
pub mod content;
pub mod crate_view;
pub mod lists;
pub mod plan;
pub mod range;
pub mod release;
pub mod release_access;
pub mod release_urls;
pub mod streaming;
pub mod views;
