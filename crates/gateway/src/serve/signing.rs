//! Checks at start that credentials live as long as the URLs that they sign
//! (docs/reference/configuration.md#storage). The controller checks those of the release bucket.

use std::time::Duration;

use crate::read::release_urls::DEFAULT_URL_TTL;
use crate::serve::server::GatewayError;
use trevor_config as config;
use trevor_store::{Links, Zones, check_life};

/// Checks the credentials that sign plans and URLs of ingress files.
///
/// # Errors
/// When the credentials cannot sign or do not live long enough. The error names the key of the
/// configuration.
pub async fn check(storage: &config::Storage, zones: &Zones) -> Result<(), GatewayError> {
    let Some(staging) = &zones.staging else {
        return Ok(());
    };
    let seconds = |seconds: i64| Duration::from_secs(seconds.unsigned_abs());
    let (plans, downloads) = (
        staging.intake().life().await,
        zones.quarantine.signing_life().await,
    );
    for (links, life, wanted) in [
        (Links::Plan, plans, seconds(storage.plan_ttl_seconds())),
        (Links::Ingress, downloads, seconds(DEFAULT_URL_TTL)),
    ] {
        let life = life.map_err(|source| GatewayError::Signing {
            key: links.key(),
            source,
        })?;
        check_life(links, life, wanted, storage.allow_shorter_ttl)?;
    }
    Ok(())
}
