//! `trevor retention`: holds, closings and deletions from the buckets alone, for when
//! request, namespace or cluster are gone.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use kube::{Api, ResourceExt as _};

use super::release::request;
use super::{cluster, orphans, release_finalizers};
use trevor_api::{AirlockRequest, condition};
use trevor_config::Config;
use trevor_core::commit::Owner;
use trevor_core::keys::RequestKey;
use trevor_core::retention::{Deletion, HoldState, TakenOver, What, plain};
use trevor_lifecycle::adopt::{Adopted, adopt};
use trevor_lifecycle::holds::{self, Asked};
use trevor_lifecycle::orphans::all_of;
use trevor_lifecycle::taken;
use trevor_lifecycle::{Numbers, Silent, Sweep, Sweeper};
use trevor_store::{Release, Zones};

/// Holds, adopts and deletes.
#[derive(Args)]
pub struct RetentionArgs {
    #[command(subcommand)]
    command: RetentionCommand,
}

#[derive(Subcommand)]
enum RetentionCommand {
    /// Stops the deletion of a request's files.
    Hold(HoldArgs),
    /// Ends a hold: what is due goes at the next sweep.
    Lift(HoldArgs),
    /// Withdraws a request that has no resource any more, so that its files are
    /// deleted after their time.
    Adopt(AdoptArgs),
    /// Lists requests that have files, no resource and no closing.
    Orphans(orphans::OrphansArgs),
    /// Takes over the requests of a cluster that is gone: closes those that are open, and
    /// lets this cluster's controller delete what is due of them.
    TakeOver(TakeOverArgs),
    /// Says what is stored of a request's retention.
    Status(Named),
    /// Deletes what is due now, where no controller does it.
    Sweep(SweepArgs),
    /// Before the operator is removed: promises the deletion of every request's
    /// files, and takes its finalizer off, so that no namespace waits for it.
    ReleaseFinalizers(ConfigArg),
}

#[derive(Args)]
pub(super) struct ConfigArg {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    pub(super) config: PathBuf,
}

#[derive(Args)]
struct Named {
    /// Namespace and uid of the request, as `project-a/<uid>`.
    #[arg(value_name = "NAMESPACE/UID", value_parser = request)]
    request: RequestKey,
    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Args)]
struct HoldArgs {
    #[command(flatten)]
    of: Named,
    /// Why; it is stored.
    #[arg(long)]
    reason: String,
    /// Who asks for it; it is stored.
    #[arg(
        long,
        value_name = "NAME",
        env = "USER",
        default_value = "administrator"
    )]
    by: String,
}

#[derive(Args)]
struct AdoptArgs {
    #[command(flatten)]
    of: Named,
    /// Does not ask the cluster whether the request is still there.
    #[arg(long)]
    cluster_gone: bool,
    /// Who adopts it; it is stored.
    #[arg(
        long,
        value_name = "NAME",
        env = "USER",
        default_value = "administrator"
    )]
    by: String,
}

#[derive(Args)]
struct TakeOverArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The cluster that is gone: uid of its namespace kube-system (trevor check names it).
    #[arg(long, value_name = "UID")]
    cluster: String,
    /// Says that it is gone: its open requests are withdrawn, and cannot go on there.
    #[arg(long)]
    cluster_gone: bool,
    /// Who takes over; it is stored.
    #[arg(
        long,
        value_name = "NAME",
        env = "USER",
        default_value = "administrator"
    )]
    by: String,
}

#[derive(Args)]
struct SweepArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Whose requests: uid of the cluster's namespace kube-system, as each
    /// requests/<namespace>/<uid>/owner.json has it under `cluster`.
    #[arg(long, value_name = "UID")]
    cluster: String,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error(
        "{0}/{1}: the records bucket has no such request; list requests/{0}/ there for its uids"
    )]
    Unknown(String, String),
    #[error(
        "{0}/{1}: the request is still there; delete it with kubectl, and it is closed by itself"
    )]
    StillThere(String, String),
    #[error(
        "the cluster cannot be asked whether the request is still there: {0}; with --cluster-gone it is not asked"
    )]
    NoCluster(String),
    #[error("{0} of the deletions that are due failed")]
    Failed(u64),
    #[error(
        "nothing is taken over: say with --cluster-gone that the cluster {0} is gone; its open requests are withdrawn then"
    )]
    NotGone(String),
    #[error("{0} is not the uid of a cluster")]
    BadCluster(String),
    #[error("{0} is this cluster itself; its requests are its own")]
    OwnCluster(String),
}

impl CliError {
    fn unknown(key: &RequestKey) -> Self {
        Self::Unknown(key.namespace.clone(), key.uid.clone())
    }
}

/// Runs it.
pub async fn retention(args: &RetentionArgs) -> Result<(), Box<dyn std::error::Error>> {
    match &args.command {
        RetentionCommand::Hold(args) => hold(args, HoldState::Held).await,
        RetentionCommand::Lift(args) => hold(args, HoldState::Lifted).await,
        RetentionCommand::Adopt(args) => take_in(args).await,
        RetentionCommand::Orphans(args) => orphans::list(args).await,
        RetentionCommand::TakeOver(args) => take_over(args).await,
        RetentionCommand::Status(args) => status(args).await,
        RetentionCommand::Sweep(args) => sweep(args).await,
        RetentionCommand::ReleaseFinalizers(args) => release_finalizers::run(args).await,
    }
}

async fn hold(args: &HoldArgs, state: HoldState) -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::load(&args.of.config.config)?;
    let zones = Zones::connect(&config.storage).await;
    let key = &args.of.request;
    let owner = zones.records.get(&key.owner()).await?;
    owner.ok_or_else(|| CliError::unknown(key))?;
    let asked = Asked {
        state,
        by: args.by.clone(),
        reason: Some(args.reason.clone()),
        action: None,
        time: condition::second(Timestamp::now()),
        unconfirmed: false,
    };
    let said = holds::say_alone(&zones, key, &asked).await?;
    let what = match state {
        HoldState::Held => "held: nothing of it is deleted until the hold is lifted",
        HoldState::Lifted => "not held any more: what is due goes at the next sweep",
    };
    println!(
        "{}/{}: {what} (word {}, by {})",
        key.namespace, key.uid, said.sequence, said.by
    );
    let gone = deletions(&zones, key).await?;
    for deletion in gone.iter().filter(|_| state == HoldState::Held) {
        println!(
            "too late for {}: deleted at {}",
            deletion.what.word(),
            deletion.finished
        );
    }
    Ok(())
}

async fn take_in(args: &AdoptArgs) -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::load(&args.of.config.config)?;
    let key = &args.of.request;
    let zones = Zones::connect(&config.storage).await;
    let owner = zones.records.get(&key.owner()).await?;
    let owner = owner.ok_or_else(|| CliError::unknown(key))?;
    if !args.cluster_gone && is_there(key, &owner).await? {
        return Err(CliError::StillThere(key.namespace.clone(), key.uid.clone()).into());
    }
    let release = Release::connect(&config.storage).await;
    let now = Timestamp::now();
    let adopted = adopt(&zones, &release, &config, key, &args.by, (now, now)).await?;
    let (how, closed) = match adopted.ok_or_else(|| CliError::unknown(key))? {
        Adopted::AlreadyClosed(closed) => ("was closed before", closed),
        Adopted::Closed(closed) => ("is closed now", closed),
        Adopted::Released(closed) => ("was released, and is closed now", closed),
    };
    println!(
        "{}/{}: {how}, as {:?} at {}; its files are deleted after {}",
        key.namespace, key.uid, closed.closed_as, closed.time, closed.quarantine_due
    );
    Ok(())
}

async fn take_over(args: &TakeOverArgs) -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::load(&args.config.config)?;
    let gone = &args.cluster;
    if !plain(gone) {
        return Err(CliError::BadCluster(gone.clone()).into());
    }
    if !args.cluster_gone {
        return Err(CliError::NotGone(gone.clone()).into());
    }
    let zones = Zones::connect(&config.storage).await;
    let release = Release::connect(&config.storage).await;
    let to = orphans::cluster(&cluster::client().await?).await?;
    if to == *gone {
        return Err(CliError::OwnCluster(to).into());
    }
    let records = &zones.records;
    let now = Timestamp::now();
    let taken = TakenOver {
        cluster: gone.clone(),
        to,
        by: args.by.clone(),
        time: condition::second(now),
    };
    // First of all: whatever follows can be done again.
    let taken = taken::take(records, &taken).await?;
    let open = all_of(records, gone).await?;
    let mut closed = 0;
    for key in &open.named {
        let times = (now, now);
        if adopt(&zones, &release, &config, key, &args.by, times)
            .await?
            .is_some()
        {
            closed += 1;
        }
    }
    println!(
        "{gone}: taken over at {} by {}; {closed} of its requests were open and are closed now, {} cannot be read; what is due is deleted by this cluster's controller",
        taken.time, taken.by, open.unreadable
    );
    Ok(())
}

async fn is_there(key: &RequestKey, owner: &Owner) -> Result<bool, CliError> {
    let unreachable = |error: &dyn std::fmt::Display| CliError::NoCluster(error.to_string());
    let client = cluster::client().await.map_err(|e| unreachable(&e))?;
    let api: Api<AirlockRequest> = Api::namespaced(client, &key.namespace);
    match api.get_opt(&owner.name).await {
        Ok(found) => Ok(found.and_then(|r| r.uid()).as_deref() == Some(&key.uid)),
        Err(error) => Err(unreachable(&error)),
    }
}

async fn deletions(
    zones: &Zones,
    key: &RequestKey,
) -> Result<Vec<Deletion>, trevor_store::StorageError> {
    let mut found = Vec::new();
    for what in What::ALL {
        found.extend(zones.records.get(&key.deletion(what.word())).await?);
    }
    Ok(found)
}

async fn status(args: &Named) -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::load(&args.config.config)?;
    let zones = Zones::connect(&config.storage).await;
    let key = &args.request;
    let records = &zones.records;
    let facts = trevor_store::observe::facts(records, key).await?;
    let owner = facts.owner.as_ref().ok_or_else(|| CliError::unknown(key))?;
    println!(
        "request   {}/{} of {}",
        key.namespace, owner.name, owner.submitter
    );
    match &facts.closed {
        None => println!("closed    no; if its resource is gone: trevor retention adopt"),
        Some(closed) => {
            println!("closed    {:?} at {}", closed.closed_as, closed.time);
            println!("due       quarantine after {}", closed.quarantine_due);
            if let Some(due) = closed.release_due {
                println!("due       release after {due}");
            }
        }
    }
    match holds::standing(zones.quarantine.work(), key).await? {
        Some(hold) => println!(
            "hold      {:?} by {} at {}: {}",
            hold.state,
            hold.by,
            hold.time,
            hold.reason.as_deref().unwrap_or("no reason given")
        ),
        None => println!("hold      none"),
    }
    for deletion in deletions(&zones, key).await? {
        println!(
            "deleted   {} at {}: {} objects, {} bytes",
            deletion.what.word(),
            deletion.finished,
            deletion.totals.objects,
            deletion.totals.bytes
        );
    }
    Ok(())
}

async fn sweep(args: &SweepArgs) -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::load(&args.config.config)?;
    let zones = Zones::connect(&config.storage).await;
    let release = Release::connect(&config.storage).await;
    let limits = &config.controller.retention;
    let numbers = Arc::<Numbers>::default();
    let sweeper = Sweeper::new(
        zones,
        release,
        &args.cluster,
        &config.storage,
        limits,
        numbers,
    );
    loop {
        let found: Sweep = sweeper.sweep(Timestamp::now(), &Silent).await?;
        println!(
            "{} due: {} deleted, {} held, {} of open requests, {} of other clusters, {} put right, {} refused, {} failed",
            found.due,
            found.deleted,
            found.held,
            found.open,
            found.foreign,
            found.early,
            found.refusals,
            found.failures
        );
        for (key, why) in found.refused.iter().chain(&found.failed) {
            println!("{key}: {why}");
        }
        if !found.more {
            return match found.failures {
                0 => Ok(()),
                failed => Err(CliError::Failed(failed).into()),
            };
        }
    }
}
