//! `trevor retention orphans`: requests of a cluster that have files, no resource and no
//! closing, so that nothing ever deletes what they left.

use std::collections::HashSet;
use std::pin::pin;

use clap::Args;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt as _};

use super::cluster as reach;
use super::retention::ConfigArg;
use trevor_api::AirlockRequest;
use trevor_cluster::pages;
use trevor_config::Config;
use trevor_core::commit::Owner;
use trevor_core::keys::RequestKey;
use trevor_lifecycle::orphans::scan;
use trevor_store::Zones;

#[derive(Args)]
pub struct OrphansArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Whose requests: uid of the cluster's namespace kube-system. With it the cluster is
    /// not asked: it is gone, and so are all resources.
    #[arg(long, value_name = "UID")]
    cluster: Option<String>,
}

/// Lists them.
pub async fn list(args: &OrphansArgs) -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::load(&args.config.config)?;
    let zones = Zones::connect(&config.storage).await;
    // What comes while the cluster is asked is no orphan.
    let asked = Timestamp::now();
    let (cluster, there) = match &args.cluster {
        Some(cluster) => (cluster.clone(), HashSet::new()),
        None => ask().await?,
    };
    let has_resource = |key: &RequestKey, owner: Option<&Owner>| {
        there.contains(&key.uid) || owner.is_some_and(|owner| owner.created >= asked)
    };
    let found = scan(&zones.records, &cluster, None, has_resource).await?;
    for key in &found.named {
        println!("{}/{}", key.namespace, key.uid);
    }
    // Beside a cluster that is named, any other may be the one that goes on.
    for (other, count) in found.elsewhere.iter().filter(|_| args.cluster.is_none()) {
        println!(
            "{count} open requests are of the cluster {other}; if it is gone: trevor retention take-over --cluster {other}"
        );
    }
    println!(
        "{} requests have files and nobody to close them (trevor retention adopt NAMESPACE/UID); {} cannot be read",
        found.count, found.unreadable
    );
    Ok(())
}

/// Which cluster this is: the uid of its namespace `kube-system`.
pub(super) async fn cluster(client: &Client) -> Result<String, kube::Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let cluster = namespaces.get("kube-system").await?.uid();
    Ok(cluster.unwrap_or_default())
}

/// Which cluster this is, and the uids of its requests.
async fn ask() -> Result<(String, HashSet<String>), Box<dyn std::error::Error>> {
    let client = reach::client().await?;
    let cluster = cluster(&client).await?;
    let requests: Api<AirlockRequest> = Api::all(client);
    let mut there = HashSet::new();
    let mut listed = pin!(pages::metadata(&requests));
    while let Some(page) = listed.try_next().await? {
        there.extend(page.iter().filter_map(|request| request.uid()));
    }
    Ok((cluster, there))
}
