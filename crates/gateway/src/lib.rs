//! The data plane inside the boundary: uploads into quarantine, content for reviewers, and URLs
//! for submitters (docs/reference/wire-formats.md#gateway).
//!
//! [`serve`](mod@serve) accepts a call and finds its route, [`identity`] authenticates and
//! authorizes the caller, and a handler of [`upload`], [`read`] or [`jobs`] answers it. The
//! handlers share the [`state`], which is built of [`cluster`] (objects of the Kubernetes API),
//! [`limits`] (memory, rate, policy and quota) and [`records`] (receipts, frozen rounds, ledger).
//! No folder depends on one that depends on it.
//!
//! The gateway keeps no state that it cannot read again, writes no custom resource and deletes no
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
pub use serve::server::GatewayError;

use serve::{server, signing, tls};
use state::Gateway;
use trevor_config::Config;
use trevor_store::{Zones, look_for_credentials, of_process};

/// Serves until `shutdown`, then lets calls in flight finish.
///
/// # Errors
/// When an address, the certificate or the credentials cannot be used. The message names the key of
/// the configuration.
pub async fn serve(
    config: Config,
    client: kube::Client,
    zones: Zones,
    shutdown: CancellationToken,
) -> Result<(), GatewayError> {
    look_for_credentials(of_process(&config.storage, false)).await?;
    signing::check(&config.storage, &zones).await?;
    if let Some(staging) = &zones.staging {
        match staging.intake().prove().await {
            // A proof that could not be made now is made again by `readiness::watch`.
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
    let watched = Arc::clone(&gateway);
    let readiness = tokio::spawn(async move {
        readiness::watch(&watched.readiness, &watched.client, &watched.zones).await;
    });
    if let Some(metrics) = metrics {
        tokio::spawn(server::run_metrics(
            Arc::clone(&gateway),
            tls.clone(),
            metrics,
            shutdown.clone(),
        ));
    }
    server::run(gateway, listener, tls, shutdown).await;
    readiness.abort();
    Ok(())
}
