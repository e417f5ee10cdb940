//! `trevor collect`: runs in a Job beside the volumes of a request's sources.

use clap::Args;

use super::job::{JobArgs, JobError};
use trevor_client::volume::collect::{Errand, Source, collect as run};

/// `trevor collect`.
#[derive(Args)]
pub struct CollectArgs {
    #[command(flatten)]
    job: JobArgs,
    /// The round that it collects for.
    #[arg(long, value_parser = clap::value_parser!(i64).range(1..))]
    round: i64,
    /// A folder to collect from:
    /// {"root":"/sources/0","path":"out","include":["tables/**"],"exclude":["**/*.tmp"]}
    #[arg(long = "source", value_name = "JSON", required = true, value_parser = source)]
    sources: Vec<Source>,
    /// The most files that may match.
    #[arg(long, default_value_t = trevor_core::volume::MOST_FILES as u64)]
    most_files: u64,
    /// The most bytes that they may have.
    #[arg(long, default_value_t = 5 << 40)]
    most_bytes: u64,
}

fn source(text: &str) -> Result<Source, String> {
    serde_json::from_str(text).map_err(|e| e.to_string())
}

/// Collects.
///
/// # Errors
/// With one line, which is the pod's termination message too.
pub async fn collect(args: CollectArgs) -> Result<(), JobError> {
    let job = args.job;
    let most = trevor_core::volume::MOST_FILES;
    let errand = Errand {
        round: args.round,
        sources: args.sources,
        most_files: usize::try_from(args.most_files).unwrap_or(most).min(most),
        most_bytes: args.most_bytes,
    };
    let work = async {
        let collected = run(errand, &job.gateway()?).await?;
        Ok(format!(
            "collected {} files of {} bytes, {} sent now",
            collected.files, collected.bytes, collected.sent
        ))
    };
    job.report(work).await
}
