//! Integration tests: a real kube-apiserver, real S3 servers, real `trevor`
//! processes. `tests/run.sh test` runs them; each is named by the promise that
//! it keeps.

#![allow(clippy::too_many_lines, reason = "a story is told in one piece")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[allow(
    dead_code,
    unused_imports,
    reason = "the rest of it is for cases that are still to come"
)]
mod folder_texts;
mod harness;

mod access;
mod actions;
mod api_server;
mod audit;
mod audit_keys;
mod audit_life;
mod bound;
mod bounds;
mod check;
mod closed;
mod confirmation;
mod epochs;
mod examples;
mod faults;
mod history;
mod holds;
mod hostile;
mod idle;
mod ingress;
mod installed;
mod integrity;
mod kept_bucket;
mod lagging;
mod later_format;
mod leaders;
mod leftovers;
mod look_back;
mod looks;
mod main_job;
mod names;
mod namespaces;
mod notify;
mod notify_crowd;
mod notify_ends;
mod otlp;
mod packaging_jobs;
mod policies;
mod proxies;
mod purging;
mod races;
mod recorded_first;
mod refusals;
mod restarts;
mod restored;
mod retention;
mod reviews;
mod revoke;
mod revoke_inwards;
mod room;
mod rounds;
mod rules;
mod schema;
mod sending;
mod sessions;
mod signing;
mod slow;
mod startup;
mod sweeping;
mod tls_gateway;
mod tls_made;
mod tls_notify;
mod tls_storage;
mod told;
mod transfer;
mod uploads;
mod url_ending;
mod views;
mod volumes;
mod volumes_gateway;
mod volumes_whole;
