//! The data plane inside the boundary: files stream into quarantine, reviewers
//! read them, submitters get their URL (docs/reference/wire-formats.md#gateway).
//!
//! The gateway keeps nothing that it cannot read again, writes no custom resource and deletes no
//! object.

mod cluster;
mod identity;
mod jobs;
mod limits;
mod metrics;
mod problem;
mod read;
mod readiness;
mod records;
mod serve;
mod state;
mod upload;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::info;

pub use identity::token;
pub use read::views::ViewFact;
pub use serve::server::GatewayError;

use serve::{server, signing, tls};
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
    let health = tokio::spawn(readiness::watch(Arc::clone(&gateway)));
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
