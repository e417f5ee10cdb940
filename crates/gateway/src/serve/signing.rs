//! Whether what signs URLs lives as long as they are to live, at start
//! (docs/reference/configuration.md#storage). The controller looks at those of the release bucket.

use std::time::Duration;

use crate::read::release_urls::TTL;
use crate::serve::server::GatewayError;
use trevor_config as config;
use trevor_store::{Links, Zones, check_life};

/// Checks the credentials that sign plans and URLs to files that crossed inwards.
///
/// # Errors
/// With the key of the configuration.
pub async fn check(storage: &config::Storage, zones: &Zones) -> Result<(), GatewayError> {
    let Some(staging) = &zones.staging else {
        return Ok(());
    };
    let seconds = |seconds: i64| Duration::from_secs(seconds.unsigned_abs());
    let (plans, inside) = (
        staging.intake().life().await,
        zones.quarantine.signing_life().await,
    );
    for (links, life, wanted) in [
        (Links::Plan, plans, seconds(storage.plan_ttl_seconds())),
        (Links::Ingress, inside, seconds(TTL)),
    ] {
        let life = life.map_err(|source| GatewayError::Signing {
            key: links.key(),
            source,
        })?;
        check_life(links, life, wanted, storage.allow_shorter_ttl)?;
    }
    Ok(())
}
