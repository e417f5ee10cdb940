//! The preflight of storage: whether what trevor relies on holds, tried with the
//! identities of this process (`trevor check`).
//!
//! What is tried writes only under `work/probe/`, and takes it away again where it may.
//! Permissions that must be absent are tried on keys that are never there.

mod identities;
mod lifecycle;
mod servers;
mod urls;

use serde::Serialize;

use super::presign::Signer;
use super::proof::prove_apart;
use super::staging::Staging;
use super::zones::{Release, Zones};
use trevor_config::Storage;

/// How one look ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum State {
    /// As it should be.
    Ok,
    /// Works, and somebody should know.
    Warning,
    /// Must be mended first.
    Failed,
}

/// What was looked at, and what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What.
    pub check: &'static str,
    /// Where: a zone, or nothing.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub at: &'static str,
    /// How it ended.
    pub state: State,
    /// For people: what was found, and what to do.
    pub detail: String,
}

impl Row {
    /// A row.
    #[must_use]
    pub fn new(
        check: &'static str,
        at: &'static str,
        state: State,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            check,
            at,
            state,
            detail: detail.into(),
        }
    }

    /// From a look that finds or fails.
    #[must_use]
    pub fn of<E: std::fmt::Display>(
        check: &'static str,
        at: &'static str,
        found: Result<String, E>,
    ) -> Self {
        match found {
            Ok(detail) => Self::new(check, at, State::Ok, detail),
            Err(error) => Self::new(check, at, State::Failed, error.to_string()),
        }
    }
}

/// Looks at what the gateway's identities can do, and must not.
pub async fn look_as_gateway(zones: &Zones) -> Vec<Row> {
    let staging = zones.staging.as_ref().map(Staging::probe_bucket);
    let mut rows = identities::look_at_gateway(zones.quarantine.bucket(), staging).await;
    if let Some(staging) = &zones.staging {
        rows.push(Row::of(
            "unsigned headers",
            "staging",
            staging
                .intake()
                .prove()
                .await
                .map(|()| "a signed PUT does nothing that was not signed".to_owned()),
        ));
    }
    rows
}

/// Looks at what the identities of packaging Jobs can do, and must not.
pub async fn look_as_packaging(zones: &Zones, release: &Release) -> Vec<Row> {
    identities::look_at_packaging(zones, release).await
}

/// Looks at everything in storage, with the controller's identities.
pub async fn look(
    config: &Storage,
    zones: &Zones,
    release: &Release,
    signer: Option<&Signer>,
) -> Vec<Row> {
    let (mut rows, urls, identities) = tokio::join!(
        servers::look(config, zones, release),
        urls::look(config, zones, release, signer),
        identities::look(zones, release, config.records.is_some()),
    );
    rows.extend(urls);
    rows.extend(identities);
    rows.push(Row::of(
        "one place",
        "release",
        prove_apart(config, zones, release)
            .await
            .map(|()| "what is stored there turns up in no other bucket".to_owned()),
    ));
    rows
}
