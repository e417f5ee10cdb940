//! The data plane inside the boundary: files stream into quarantine, reviewers
//! read them, submitters get their URL (docs/reference/wire-formats.md#gateway).
//!
//! A call goes through [`edge`] (an id, headers, the log) and [`routes`] (which
//! call it is), [`auth`] (who) and [`permission`] (may they) to its handler:
//! [`upload`], [`lists`], [`content`], [`crate_view`], [`plan`], [`release`], and for pods of our Jobs ([`job_token`]) [`collection`]
//! and [`delivery`]. An
//! upload is read by [`reader`], hashed by [`hashing`], stored by [`intake`] and
//! [`multipart`] in buffers that [`shares`] allows, and settled against a freeze
//! by [`settle`]. The gateway keeps nothing that it cannot read again, writes no
//! custom resource and deletes no object.

mod announced;
mod auth;
mod body;
mod buffers;
mod collection;
mod content;
mod crate_view;
mod delivery;
mod digest_field;
mod edge;
mod freezes;
mod gate;
mod hashing;
mod health;
mod hint;
mod index;
mod intake;
mod job_token;
mod known;
mod kubernetes;
mod ledger;
mod lists;
mod metrics;
mod multipart;
mod overlay;
mod pace;
mod parts;
mod path;
mod permission;
mod plan;
mod policies;
mod problem;
mod range;
mod reader;
mod release;
mod release_urls;
mod request;
mod routes;
mod sending;
mod server;
mod settle;
mod shares;
mod signing;
mod state;
mod stored;
mod tls;
pub mod token;
mod upload;
mod views;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::info;

pub use server::GatewayError;
pub use views::ViewFact;

use state::Gateway;
use trevor_config::Config;
use trevor_store::{Zones, look_for_credentials, of_process};

/// Serves until `end`, then lets calls under way finish.
///
/// # Errors
/// When an address or the certificate cannot be used; one line that names the key.
pub async fn serve(
    config: Config,
    client: kube::Client,
    zones: Zones,
    end: CancellationToken,
) -> Result<(), GatewayError> {
    look_for_credentials(of_process(&config.storage, false)).await?;
    signing::check(&config.storage, &zones).await?;
    if let Some(staging) = &zones.staging {
        match staging.intake().prove().await {
            // A server that does not answer now, or has nothing to try it with, is asked again.
            Err(error) if error.passes() => tracing::warn!(%error, "no upload plans are made yet"),
            proved => proved?,
        }
    }
    let tls = match &config.gateway.tls.secret {
        Some(_) => Some(tls::Tls::watch()?),
        None => None,
    };
    let listener = server::listen("gateway.listen", &config.gateway.listen).await?;
    let metrics = match &config.gateway.metrics_listen {
        Some(address) => Some(server::listen("gateway.metrics_listen", address).await?),
        None => None,
    };
    info!(
        listen = config.gateway.listen,
        tls = tls.is_some(),
        "the gateway serves"
    );
    let gateway = Gateway::new(config, client, zones);
    let health = tokio::spawn(health::watch(Arc::clone(&gateway)));
    if let Some(metrics) = metrics {
        tokio::spawn(server::run_metrics(
            Arc::clone(&gateway),
            tls.clone(),
            metrics,
            end.clone(),
        ));
    }
    server::run(gateway, listener, tls, end).await;
    health.abort();
    Ok(())
}
