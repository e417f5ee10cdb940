//! Objects that are read from the Kubernetes API: requests and policies.

pub mod api_server;
pub mod policies;
pub mod requests;
