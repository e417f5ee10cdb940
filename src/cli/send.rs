//! `trevor send`: an outside submitter's upload, by the plan that the gateway made.

use std::io::Read as _;
use std::path::PathBuf;

use clap::Args;

use trevor_client::transfer::local::LocalError;
use trevor_client::transfer::matching::{self, Unmatched};
use trevor_client::transfer::plan::{Plan, PlanError};
use trevor_client::transfer::send::{Sender, Unsent, check_all};
use trevor_client::transfer::{Patience, Progress, WebError};

/// More than a plan of ten thousand files needs.
const PLAN_MAX: u64 = 256 << 20;

/// `trevor send`.
#[derive(Args)]
#[command(
    after_help = "The plan holds pre-signed URLs: whoever has it can upload in your place. \
    An upload that broke off goes on with a new plan, which lists only what is missing."
)]
pub struct SendArgs {
    /// The upload plan, a file; `-`: standard input.
    #[arg(value_name = "PLAN")]
    plan: PathBuf,
    /// Files whose name or path is one of the plan's.
    #[arg(value_name = "FILE", conflicts_with = "dir")]
    files: Vec<PathBuf>,
    /// The folder in which the plan's paths lie, instead of files.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Parts that are sent at the same time.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=64))]
    parallel: u16,
    #[command(flatten)]
    web: super::fetch::WebArgs,
}

/// Why not everything was sent. The files are named one by one.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// There is no plan to read.
    #[error("the plan cannot be read: {0}")]
    Unreadable(std::io::Error),
    /// It is no plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Which file is which is not clear.
    #[error("nothing was sent:{}", lines(.0))]
    Unmatched(Vec<Unmatched>),
    /// Files are not as the plan wants them.
    #[error("nothing was sent:{}", lines(.0))]
    Local(Vec<LocalError>),
    /// Something broke.
    #[error("{} of {of} files were not sent:{}", unsent.len(), lines(unsent))]
    Unsent {
        /// Which, and why.
        unsent: Vec<Unsent>,
        /// Of how many.
        of: usize,
    },
    /// No HTTP client.
    #[error(transparent)]
    Web(#[from] WebError),
}

fn lines<T: std::fmt::Display>(all: &[T]) -> String {
    all.iter().map(|one| format!("\n  {one}")).collect()
}

/// Sends what the plan lists.
///
/// # Errors
/// When not all of it was sent.
pub async fn send(args: &SendArgs) -> Result<(), SendError> {
    let plan = read(args)?;
    let open: Vec<_> = plan.open().collect();
    let complete = plan.files.len() - open.len();
    if complete > 0 {
        println!(
            "{complete} of the plan's {} files are there already",
            plan.files.len()
        );
    }
    let wanted: Vec<&str> = open.iter().map(|f| f.path.as_str()).collect();
    let found = match &args.dir {
        Some(folder) => matching::beneath(&wanted, folder),
        None => {
            let there = plan.files.iter().filter(|f| f.parts.is_empty());
            let also: Vec<&str> = there.map(|f| f.path.as_str()).collect();
            matching::by_name(&wanted, &also, &args.files).map_err(SendError::Unmatched)?
        }
    };
    let files = check_all(open, &found).map_err(SendError::Local)?;
    let progress = Progress::new("sending", files.iter().map(|(f, _)| f.missing()).sum());
    let sender = Sender {
        web: args.web.client()?,
        patience: Patience::default(),
        parallel: args.parallel.into(),
        progress: progress.clone(),
    };
    let unsent = {
        let _shown = progress.show();
        sender.send(&files).await
    };
    if !unsent.is_empty() {
        return Err(SendError::Unsent {
            unsent,
            of: files.len(),
        });
    }
    println!("sent {} files: {}", files.len(), progress.summary());
    Ok(())
}

fn read(args: &SendArgs) -> Result<Plan, SendError> {
    let mut json = Vec::new();
    // The path is not repeated: somebody may have given a URL in its place.
    if args.plan.as_os_str() == "-" {
        std::io::stdin().take(PLAN_MAX).read_to_end(&mut json)
    } else {
        std::fs::File::open(&args.plan).and_then(|f| f.take(PLAN_MAX).read_to_end(&mut json))
    }
    .map_err(SendError::Unreadable)?;
    Ok(Plan::read(&json, args.web.allow_http)?)
}
