//! What the subcommands that run in Jobs have in common: the gateway they speak
//! with, and the one line that they end with.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use trevor_client::transfer::{AddressError, Web, WebError};
use trevor_client::volume::collect::CollectError;
use trevor_client::volume::deliver::DeliverError;
use trevor_client::volume::wire::{Gateway, Target};

/// Where Kubernetes reads a container's last word from.
const TERMINATION_LOG: &str = "/dev/termination-log";
/// Characters of it: Kubernetes reads 4 KiB.
const LAST_WORD: usize = 1000;

/// The gateway, and what of it.
#[derive(Args)]
pub struct JobArgs {
    /// URL of the gateway.
    #[arg(long, value_name = "URL")]
    gateway: String,
    /// PEM certificates of its authorities (no secret); none: the system's.
    #[arg(
        long,
        env = "TREVOR_GATEWAY_CA",
        value_name = "PEM",
        default_value = "",
        hide_env_values = true
    )]
    gateway_ca: String,
    /// Takes an http:// URL of another machine.
    #[arg(long)]
    allow_http: bool,
    /// Namespace of the request.
    #[arg(long)]
    pub namespace: String,
    /// Name of the request.
    #[arg(long)]
    pub request: String,
    /// The file with the pod's token for the gateway.
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Where the last line goes besides standard error, if it fails.
    #[arg(long, value_name = "FILE")]
    termination_log: Option<PathBuf>,
}

/// Why a Job did not do its work: one line.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages explain each")]
pub enum JobError {
    #[error("TREVOR_GATEWAY_CA: {0}")]
    Web(#[from] WebError),
    #[error("--gateway: {0}")]
    Address(#[from] AddressError),
    #[error("{0}")]
    Collect(#[from] CollectError),
    #[error("{0}")]
    Deliver(#[from] DeliverError),
}

impl JobArgs {
    /// The gateway, for the request.
    ///
    /// # Errors
    /// When its URL or its authorities cannot be used.
    pub fn gateway(&self) -> Result<Gateway, JobError> {
        let web = match self.gateway_ca.trim() {
            "" => Web::new(None)?,
            pem => Web::of_authorities(pem)?,
        };
        let target = Target {
            gateway: &self.gateway,
            allow_http: self.allow_http,
            namespace: &self.namespace,
            request: &self.request,
            token: self.token_file.clone(),
        };
        Ok(Gateway::new(web, target)?)
    }

    /// Waits for the work and says what came of it.
    ///
    /// # Errors
    /// As the work, whose line is left as the container's last word.
    pub async fn report(
        &self,
        work: impl Future<Output = Result<String, JobError>>,
    ) -> Result<(), JobError> {
        match work.await {
            Ok(done) => {
                println!("{done}");
                Ok(())
            }
            Err(error) => {
                last_word(self.termination_log.as_deref(), &format!("trevor: {error}"));
                Err(error)
            }
        }
    }
}

/// Leaves a line where Kubernetes reads a container's last word, or in a file.
pub fn last_word(named: Option<&Path>, line: &str) {
    let open = std::fs::OpenOptions::new()
        .write(true)
        .create(named.is_some())
        .truncate(true)
        .open(named.unwrap_or(Path::new(TERMINATION_LOG)));
    // Standard output or error has it in any case.
    if let Ok(mut file) = open {
        let short: String = line.chars().take(LAST_WORD).collect();
        let _ = writeln!(file, "{short}");
    }
}
