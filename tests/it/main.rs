//! Integration tests: a real kube-apiserver, real S3 servers, real `trevor`
//! processes. `tests/run.sh test` runs them; each is named by the promise that
//! it keeps.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod harness;

mod main_job;
mod reviews;
mod rounds;
mod schema;
mod startup;
