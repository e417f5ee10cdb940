//! The subcommands.

mod audit;
mod check;
mod cluster;
mod collect;
mod crd;
mod deliver;
mod fetch;
mod job;
mod logging;
mod login;
mod orphans;
mod otlp;
mod package;
mod panics;
mod release;
mod release_finalizers;
mod retention;
mod send;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tokio_util::sync::CancellationToken;

use trevor_config::Config;
use trevor_controller as controller;
use trevor_controller::shutdown;
use trevor_gateway as gateway;
use trevor_store::Zones;

/// Moves files across the boundary of a trusted research environment, after human review.
#[derive(Parser)]
#[command(name = "trevor", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Reconciles requests: freezes, decides, releases.
    Controller(ControllerArgs),
    /// Takes uploads, and shows files to reviewers.
    Gateway(ConfigArgs),
    /// Controller and gateway in one process, for one machine.
    Run(ControllerArgs),
    /// Says whether storage, admission rules and policies are as they must be.
    Check(check::CheckArgs),
    /// Makes a session with the gateway, with your own Kubernetes credentials.
    Login(login::LoginArgs),
    /// Ends a session.
    Logout(login::LogoutArgs),
    /// Uploads files by a plan of the gateway's, from outside.
    Send(send::SendArgs),
    /// Downloads a released package by its URL, checks it, and unpacks it.
    Fetch(fetch::FetchArgs),
    /// Revokes a release from the buckets alone, when the cluster is gone.
    Release(release::ReleaseArgs),
    /// Verifies and exports the audit ledger, and makes the keys that sign it.
    Audit(audit::AuditArgs),
    /// Holds, adopts and deletes, from the buckets alone.
    Retention(retention::RetentionArgs),
    /// Collects a request's files from volumes; runs in a Job of the operator's.
    Collect(collect::CollectArgs),
    /// Writes approved files into a volume; runs in a Job of the operator's.
    Deliver(deliver::DeliverArgs),
    /// Makes the package of an approved round; runs in a Job of the operator's.
    Package(package::PackageArgs),
    /// Prints the custom resource definitions.
    Crd(crd::CrdArgs),
}

#[derive(Args)]
struct ConfigArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Args)]
struct ControllerArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Identity in the Lease; the pod's name, unless given.
    #[arg(long, env = "POD_NAME")]
    identity: Option<String>,
    /// Namespace of the Lease.
    #[arg(long, env = "POD_NAMESPACE", default_value = "trevor-system")]
    namespace: String,
    /// Competes for leadership; with `false` this process leads always.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    leader_elect: bool,
}

/// Stack of a worker. A build without optimisation keeps every future of a call on it;
/// what is not used costs no memory.
const STACK: usize = 8 << 20;

/// Parses the arguments and runs; errors are one line on standard error.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .thread_stack_size(STACK)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let result = runtime.block_on(run(cli.command));
    otlp::finish();
    // Blocking work of a broken-off task must not hold the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error.as_ref()),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("trevor: {error}");
    ExitCode::FAILURE
}

async fn run(command: Command) -> Result<(), Box<dyn std::error::Error>> {
    match command {
        Command::Crd(args) => crd::run(&args)?,
        Command::Check(args) => {
            if !check::check(&args).await? {
                return Err("not everything is as it must be".into());
            }
        }
        Command::Release(args) => release::release(&args).await?,
        Command::Audit(args) => audit::audit(&args).await?,
        Command::Retention(args) => retention::retention(&args).await?,
        Command::Login(args) => login::login(&args).await?,
        Command::Logout(args) => login::logout(&args).await?,
        Command::Send(args) => send::send(&args).await?,
        Command::Fetch(args) => fetch::fetch(&args).await?,
        Command::Collect(args) => collect::collect(args).await?,
        Command::Deliver(args) => deliver::deliver(args).await?,
        Command::Package(args) => package::package(args).await?,
        Command::Controller(args) => {
            let (config, client) = start(&args.config).await?;
            controller::run(config, client, options(&args)).await?;
        }
        Command::Gateway(args) => {
            let (config, client) = start(&args).await?;
            let zones = Zones::connect(&config.storage).await;
            gateway::serve(config, client, zones, until_told()).await?;
        }
        Command::Run(args) => {
            let (config, client) = start(&args.config).await?;
            let zones = Zones::connect(&config.storage).await;
            let end = until_told();
            tokio::try_join!(
                async {
                    controller::run(config.clone(), client.clone(), options(&args))
                        .await
                        .map_err(boxed)
                },
                async {
                    gateway::serve(config.clone(), client.clone(), zones, end)
                        .await
                        .map_err(boxed)
                },
            )?;
        }
    }
    Ok(())
}

fn boxed(error: impl std::error::Error + 'static) -> Box<dyn std::error::Error> {
    Box::new(error)
}

/// Ends with SIGTERM or SIGINT.
fn until_told() -> CancellationToken {
    let end = CancellationToken::new();
    let told = end.clone();
    tokio::spawn(async move {
        shutdown::signalled().await;
        told.cancel();
    });
    end
}

async fn start(args: &ConfigArgs) -> Result<(Config, kube::Client), Box<dyn std::error::Error>> {
    let config = Config::load(&args.config)?;
    logging::start(&config.log)?;
    panics::end_the_process();
    let client = cluster::client().await?;
    Ok((config, client))
}

fn options(args: &ControllerArgs) -> controller::Options {
    let unique = || format!("trevor-{}", uuid::Uuid::new_v4().simple());
    controller::Options {
        holder: args
            .identity
            .clone()
            .filter(|i| !i.is_empty())
            .unwrap_or_else(unique),
        namespace: args.namespace.clone(),
        elect: args.leader_elect,
    }
}
