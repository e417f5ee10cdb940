//! `trevor deliver`: runs in a Job beside the volume that approved files go into.

use std::path::PathBuf;

use clap::Args;

use super::job::{JobArgs, JobError};
use trevor_client::volume::deliver::{Into, deliver as run};

/// `trevor deliver`.
#[derive(Args)]
pub struct DeliverArgs {
    #[command(flatten)]
    job: JobArgs,
    /// Where the volume is mounted.
    #[arg(long, value_name = "FOLDER")]
    root: PathBuf,
    /// Folder in it; made if missing.
    #[arg(long, value_name = "FOLDER", default_value = "")]
    path: String,
}

/// Delivers.
///
/// # Errors
/// With one line, which is the pod's termination message too.
pub async fn deliver(args: DeliverArgs) -> Result<(), JobError> {
    let job = args.job;
    let work = async {
        let into = Into {
            root: &args.root,
            path: &args.path,
            whose: (&job.namespace, &job.request),
        };
        let done = run(into, &job.gateway()?).await?;
        Ok(format!(
            "delivered: {} files written, {} were there already",
            done.written, done.kept
        ))
    };
    job.report(work).await
}
