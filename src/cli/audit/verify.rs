//! `trevor audit verify|export`: offline, from a bucket or a copy of it.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use jiff::{SignedDuration, Timestamp};

use trevor_config::Config;
use trevor_store::audit::PublicKey;
use trevor_store::audit::export::{self, Format};
use trevor_store::audit::verify::{Finding, Packages, Question, Source, Summary, verify};
use trevor_store::{Release, Zones};

/// Where the ledger is.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Where {
    /// A folder that is a copy of the records bucket; packages may lie in it, too.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// The records bucket itself, as the configuration names it.
    #[arg(long, requires = "config")]
    bucket: bool,
}

#[derive(Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    from: Where,
    /// The configuration file, for --bucket. The environment has the credentials, as that
    /// of the controller; reading is enough.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A copy of the whole quarantine bucket, with --dir: it may be the same folder. Files
    /// that went early, or are still there, are found only where it is given.
    #[arg(
        long,
        value_name = "FOLDER",
        requires = "dir",
        conflicts_with = "bucket"
    )]
    quarantine: Option<PathBuf>,
    /// A copy of the whole release bucket, with --dir: it may be the same folder. Packages
    /// that went early, or that nobody approved, are found only where it is given.
    #[arg(
        long,
        value_name = "FOLDER",
        requires = "dir",
        conflicts_with = "bucket"
    )]
    release: Option<PathBuf>,
    /// With --bucket, reads the records bucket alone: for whoever has no credentials for the
    /// others. Whether files and packages are there is not looked at then.
    #[arg(long, requires = "bucket")]
    records_only: bool,
    /// A public key that is trusted: PEM or the line of `trevor audit keygen`. Keys that
    /// it signed, and those that signed it, follow.
    #[arg(long, value_name = "FILE", required = true)]
    public_key: Vec<PathBuf>,
    /// A signed checkpoint from elsewhere (a notification of a release, the ConfigMap):
    /// the ledger must go on from it.
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// One JSON object a line: each finding, and the summary last.
    #[arg(long)]
    json: bool,
    /// Seconds that a deletion may be late.
    #[arg(long, default_value_t = 86_400)]
    grace: i64,
    /// As of when it is verified: of a copy, when it was made. Now, unless given.
    #[arg(long, value_name = "TIME")]
    now: Option<Timestamp>,
}

#[derive(Args)]
pub struct ExportArgs {
    #[command(flatten)]
    source: Where,
    /// The configuration file, for --bucket.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// First moment, such as 2026-01-01T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    from: Timestamp,
    /// The moment after the last.
    #[arg(long, value_name = "TIME")]
    to: Timestamp,
    /// In which form.
    #[arg(long, value_enum, default_value_t = FormatArg::Csv)]
    format: FormatArg,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormatArg {
    /// With formulas defused.
    Csv,
    /// One JSON object a line.
    Jsonl,
}

/// Why it cannot begin.
#[derive(Debug, thiserror::Error)]
enum InputError {
    #[error("{0}: {1}")]
    File(String, std::io::Error),
    #[error("{0}: {1}")]
    Key(String, trevor_store::audit::KeyError),
    #[error("{0}: is no folder; give a copy of the bucket")]
    NoFolder(String),
}

impl Where {
    async fn source(&self, config: Option<&PathBuf>) -> Result<Source, Box<dyn std::error::Error>> {
        if let Some(folder) = &self.dir {
            if !folder.is_dir() {
                return Err(InputError::NoFolder(folder.display().to_string()).into());
            }
            return Ok(Source::Folder(folder.clone()));
        }
        let path = config.ok_or("--bucket needs --config")?;
        let zones = Zones::connect(&Config::load(path)?.storage).await;
        Ok(Source::from(&zones.records))
    }
}

/// Where the files and the packages are.
async fn stock(
    args: &VerifyArgs,
) -> Result<(Option<Source>, Option<Packages>), Box<dyn std::error::Error>> {
    if let (true, Some(path)) = (args.from.bucket && !args.records_only, &args.config) {
        let storage = Config::load(path)?.storage;
        let quarantine = Zones::connect(&storage).await.quarantine;
        let release = Release::connect(&storage).await;
        return Ok((
            Some(Source::from(&quarantine)),
            Some(Packages::Bucket(release)),
        ));
    }
    let folder = |given: &Option<PathBuf>| match given {
        Some(folder) if !folder.is_dir() => Err(InputError::NoFolder(folder.display().to_string())),
        given => Ok(given.clone()),
    };
    let (quarantine, release) = (folder(&args.quarantine)?, folder(&args.release)?);
    Ok((
        quarantine.map(Source::Folder),
        release.map(Packages::Folder),
    ))
}

/// Verifies, prints each finding, and says whether all is well.
pub async fn run(args: &VerifyArgs) -> Result<bool, Box<dyn std::error::Error>> {
    let source = args.from.source(args.config.as_ref()).await?;
    let (quarantine, release) = stock(args).await?;
    let mut question = Question {
        keys: Vec::new(),
        checkpoints: Vec::new(),
        now: args.now.unwrap_or_else(Timestamp::now),
        grace: SignedDuration::from_secs(args.grace),
        quarantine,
        release,
    };
    for path in &args.public_key {
        let key = PublicKey::parse(&read(path)?);
        question
            .keys
            .push(key.map_err(|e| InputError::Key(path.display().to_string(), e))?);
    }
    for path in &args.checkpoint {
        let text = read(path)?;
        question
            .checkpoints
            .push((path.display().to_string(), text));
    }
    let json = args.json;
    let mut sink = move |finding: Finding| {
        if json {
            println!("{}", serde_json::json!({"finding": finding}));
        } else {
            println!("{finding}");
        }
    };
    let mut progress = |text: &str| eprintln!("trevor audit verify: {text}");
    let summary = verify(&source, &question, &mut sink, &mut progress).await?;
    if json {
        println!("{}", serde_json::json!({"summary": summary}));
    } else {
        print(&summary);
    }
    Ok(summary.findings == 0)
}

fn print(summary: &Summary) {
    println!(
        "{} findings; {} entries in {} chains, {} of them behind the last checkpoint ({}{}); {} requests, {} records, {} files, {} packages",
        summary.findings,
        summary.entries,
        summary.chains,
        summary.not_yet_covered,
        summary.checkpoint,
        if summary.last_not_signed {
            ", not signed yet"
        } else {
            ""
        },
        summary.requests,
        summary.records,
        summary.files,
        summary.packages
    );
    if summary.not_yet_recorded > 0 {
        println!(
            "{} facts are so new that the ledger need not have them yet: verify again later",
            summary.not_yet_recorded
        );
    }
    for part in &summary.not_looked_at {
        println!("not looked at: {part}");
    }
}

/// Writes the events of a period to standard output.
pub async fn export(args: &ExportArgs) -> Result<(), Box<dyn std::error::Error>> {
    let source = args.source.source(args.config.as_ref()).await?;
    let format = match args.format {
        FormatArg::Csv => Format::Csv,
        FormatArg::Jsonl => Format::JsonLines,
    };
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let (written, unreadable) =
        export::export(&source, (args.from, args.to), format, &mut out).await?;
    out.flush()?;
    eprintln!("trevor audit export: {written} events");
    if !unreadable.is_empty() {
        let keys = unreadable.join(", ");
        return Err(format!("these are no entries and were left out: {keys}").into());
    }
    Ok(())
}

fn read(path: &PathBuf) -> Result<String, InputError> {
    std::fs::read_to_string(path).map_err(|e| InputError::File(path.display().to_string(), e))
}
