//! What every process needs of the Kubernetes API: leadership, and lists page by page.

pub mod lease;
pub mod pages;
