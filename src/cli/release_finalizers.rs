//! `trevor retention release-finalizers`: before the operator is removed.
//!
//! The API server is asked first. Where no request bears a finalizer of ours nothing is
//! promised, and neither configuration nor bucket is needed: an installation that never
//! worked can be removed.

use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use futures::TryStreamExt as _;
use jiff::Timestamp;
use kube::{Api, Client, ResourceExt as _};

use super::cluster;
use super::retention::{CliError, ConfigArg};
use trevor_api::{AirlockRequest, FINALIZER};
use trevor_cluster::pages;
use trevor_config::Config;
use trevor_lifecycle::let_go;
use trevor_store::{Release, Zones};

/// Requests that are let go well within the time for which an announcement stands.
const FEW: usize = 50;
/// For how long the bucket is tried where nothing has to be stored there.
const PATIENCE: Duration = Duration::from_secs(15);

/// Runs it.
pub(super) async fn run(args: &ConfigArg) -> Result<(), Box<dyn std::error::Error>> {
    let client = cluster::client().await?;
    if !is_any_held(&client).await? {
        // A controller that still runs could set one now; one that reaches no bucket sets none.
        if let Err(problem) = announce_if_possible(&args.config).await {
            eprintln!("trevor: the bucket was not told, which does not matter here: {problem}");
        }
        if !is_any_held(&client).await? {
            println!("no request has a finalizer of trevor's: there is nothing to let go");
            return Ok(());
        }
    }
    let config = Config::load(&args.config)?;
    let zones = Zones::connect(&config.storage).await;
    let release = Release::connect(&config.storage).await;
    let_all_go(&client, &zones, &release, &config).await
}

/// Whether a request bears the finalizer. Where the definitions went before, every
/// request went with them.
async fn is_any_held(client: &Client) -> Result<bool, kube::Error> {
    let api: Api<AirlockRequest> = Api::all(client.clone());
    let mut listed = pin!(pages::metadata(&api));
    loop {
        match listed.try_next().await {
            Ok(Some(page)) => {
                let held = page
                    .iter()
                    .any(|request| finalizers(request).iter().any(|f| f == FINALIZER));
                if held {
                    return Ok(true);
                }
            }
            Ok(None) => return Ok(false),
            Err(kube::Error::Api(answer)) if answer.code == 404 => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

fn finalizers(request: &kube::api::PartialObjectMeta<AirlockRequest>) -> &[String] {
    request.metadata.finalizers.as_deref().unwrap_or_default()
}

async fn announce_if_possible(config: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::load(config)?;
    let announced = async {
        let zones = Zones::connect(&config.storage).await;
        let_go::announce(zones.quarantine.work(), Timestamp::now()).await
    };
    tokio::time::timeout(PATIENCE, announced).await??;
    Ok(())
}

async fn let_all_go(
    client: &Client,
    zones: &Zones,
    release: &Release,
    config: &Config,
) -> Result<(), Box<dyn std::error::Error>> {
    let now = Timestamp::now();
    let api: Api<AirlockRequest> = Api::all(client.clone());
    let mut listed = pin!(pages::objects(&api));
    let (mut done, mut failed) = (0, 0);
    // A controller that still runs sets no finalizer while this stands: also on what is
    // listed without one.
    let_go::announce(zones.quarantine.work(), Timestamp::now()).await?;
    while let Some(page) = listed.try_next().await? {
        for few in page.chunks(FEW) {
            let_go::announce(zones.quarantine.work(), Timestamp::now()).await?;
            for found in few {
                match let_go::let_go(client, zones, release, config, found, now).await {
                    Ok(true) => done += 1,
                    Ok(false) => {}
                    Err(error) => {
                        let namespace = found.namespace().unwrap_or_default();
                        eprintln!("trevor: {namespace}/{}: {error}", found.name_any());
                        failed += 1;
                    }
                }
            }
        }
    }
    let_go::announce(zones.quarantine.work(), Timestamp::now()).await?;
    println!(
        "{done} requests were let go; what they left is deleted on time once trevor runs again; without it, by trevor retention adopt and trevor retention sweep"
    );
    match failed {
        0 => Ok(()),
        failed => Err(CliError::Failed(failed).into()),
    }
}
