//! Who calls, and what they are allowed to do.

pub mod auth;
pub mod call;
pub mod job_pods;
pub mod permission;
pub mod token;
