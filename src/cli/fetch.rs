//! `trevor fetch`: a recipient's download of a package.

use std::io::BufRead as _;
use std::io::Read as _;
use std::path::PathBuf;

use clap::Args;

use trevor_client::transfer::download::Downloader;
use trevor_client::transfer::fetch::{self, FetchError, Fetched, Wish};
use trevor_client::transfer::{Address, AddressError, Patience, Web, WebError, amount};
use trevor_core::digest::Sha256Hex;

/// No URL is longer.
const URL_MAX: u64 = 64 << 10;

/// How to reach storage servers.
#[derive(Args)]
pub struct WebArgs {
    /// A file of PEM certificates to trust besides the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Takes http:// URLs of other machines, which anybody on the way can read.
    #[arg(long)]
    pub allow_http: bool,
}

impl WebArgs {
    /// A client.
    ///
    /// # Errors
    /// When the certificates cannot be used.
    pub fn client(&self) -> Result<Web, WebError> {
        Web::new(self.ca.as_deref()).and_then(Web::through_proxies)
    }
}

/// `trevor fetch`.
#[derive(Args)]
#[command(
    after_help = "The URL is a secret: whoever has it can download the package. On the command \
    line other users of this machine can see it, in the list of processes; with - it is read from \
    standard input. A download that broke off goes on where it was, with the same or a new URL."
)]
pub struct FetchArgs {
    /// The pre-signed URL, in quotes; `-`: the first line of standard input.
    #[arg(value_name = "URL")]
    url: String,
    /// SHA-256 that the package must have.
    #[arg(long, value_name = "HEX", value_parser = digest)]
    sha256: Option<Sha256Hex>,
    /// Where to put it; by default the name that the server suggests, or package.zip.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Unpacks it into this folder. Other files that are there are never replaced.
    #[arg(long, value_name = "FOLDER")]
    extract: Option<PathBuf>,
    /// Pieces that are read at the same time.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    parallel: u16,
    #[command(flatten)]
    web: WebArgs,
}

/// Why there is no package.
#[derive(Debug, thiserror::Error)]
pub enum FetchCommandError {
    /// There is no URL to read.
    #[error("no URL on standard input: {0}")]
    NoUrl(std::io::Error),
    /// It is no URL.
    #[error(transparent)]
    Url(#[from] AddressError),
    /// No HTTP client.
    #[error(transparent)]
    Web(#[from] WebError),
    /// It cannot be had, or is not right.
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

/// Fetches a package.
///
/// # Errors
/// When it was not put in place, or not unpacked.
pub async fn fetch(args: &FetchArgs) -> Result<(), FetchCommandError> {
    let wish = Wish {
        url: url(args)?,
        sha256: args.sha256.clone(),
        out: args.out.clone(),
        extract: args.extract.clone(),
    };
    let downloader = Downloader {
        web: args.web.client()?,
        patience: Patience::default(),
        parallel: args.parallel.into(),
    };
    let fetched = fetch::fetch(wish, &downloader).await?;
    tell(args, &fetched);
    Ok(())
}

fn tell(args: &FetchArgs, fetched: &Fetched) {
    let there = if fetched.was_there {
        ", was there already"
    } else {
        ""
    };
    println!(
        "{} ({}{there})",
        fetched.file.display(),
        amount(fetched.size)
    );
    let known = if args.sha256.is_some() {
        "as wanted"
    } else {
        "compare it with the one you were told"
    };
    println!("SHA-256 {} ({known})", fetched.sha256);
    println!(
        "{} files, {} unpacked, each as ro-crate-metadata.json says",
        fetched.package.data_files(),
        amount(fetched.package.bytes())
    );
    if let (Some(folder), Some(unpacked)) = (&args.extract, fetched.unpacked) {
        println!(
            "unpacked into {}: {} files written, {} were there already",
            folder.display(),
            unpacked.written,
            unpacked.same
        );
    }
}

fn url(args: &FetchArgs) -> Result<Address, FetchCommandError> {
    let mut line = String::new();
    let text = if args.url == "-" {
        let mut input = std::io::stdin().lock().take(URL_MAX);
        input
            .read_line(&mut line)
            .map_err(FetchCommandError::NoUrl)?;
        &line
    } else {
        &args.url
    };
    Ok(Address::parse(text, args.web.allow_http)?)
}

fn digest(text: &str) -> Result<Sha256Hex, String> {
    text.trim()
        .to_ascii_lowercase()
        .parse()
        .map_err(|e: trevor_core::digest::NotADigest| e.to_string())
}
