//! `trevor package`: runs in a Job of the operator's namespace and makes the package of
//! one attempt, if the bucket says that it is approved.

use std::path::PathBuf;

use clap::Args;

use super::job::last_word;
use super::logging;
use trevor_config::Config;
use trevor_controller::packaging::{Errand, package as run};
use trevor_core::keys::RequestKey;

/// `trevor package`.
#[derive(Args)]
pub struct PackageArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Namespace of the request.
    #[arg(long)]
    namespace: String,
    /// uid of the request.
    #[arg(long)]
    uid: String,
    /// The round that was approved.
    #[arg(long, value_parser = clap::value_parser!(i64).range(1..))]
    round: i64,
    /// The attempt to make.
    #[arg(long, value_parser = clap::value_parser!(i64).range(1..))]
    attempt: i64,
    /// Where the last line goes besides standard output or error.
    #[arg(long, value_name = "FILE")]
    termination_log: Option<PathBuf>,
}

/// Makes the package.
///
/// # Errors
/// With one line, which is the pod's termination message too.
pub async fn package(args: PackageArgs) -> Result<(), Box<dyn std::error::Error>> {
    let done = make(&args).await;
    let log = args.termination_log.as_deref();
    match done {
        Ok(line) => {
            println!("{line}");
            last_word(log, &line);
            Ok(())
        }
        Err(error) => {
            last_word(log, &format!("trevor: {error}"));
            Err(error)
        }
    }
}

async fn make(args: &PackageArgs) -> Result<String, Box<dyn std::error::Error>> {
    let config = Config::load(&args.config)?;
    logging::start(&config.log)?;
    let errand = Errand {
        key: RequestKey {
            namespace: args.namespace.clone(),
            uid: args.uid.clone(),
        },
        round: args.round,
        attempt: args.attempt,
    };
    let sent = run(&config, errand).await?;
    Ok(sent.line()?)
}
