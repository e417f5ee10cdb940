//! `trevor crd`: the custom resource definitions, for kubectl and the chart.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;

use trevor_api as api;

#[derive(Args)]
pub struct CrdArgs {
    /// Writes one file a resource into this folder, instead of printing.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

/// Why they could not be written.
#[derive(Debug, thiserror::Error)]
pub enum CrdError {
    /// A file.
    #[error("{path}: {source}")]
    Write {
        /// Which.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// YAML.
    #[error("a definition cannot be written as YAML: {0}")]
    Yaml(#[from] serde_yaml::Error),
}

/// Prints or writes them.
pub fn run(args: &CrdArgs) -> Result<(), CrdError> {
    let mut printed = String::new();
    for definition in api::definitions() {
        let text = serde_yaml::to_string(&definition)?;
        let Some(dir) = &args.dir else {
            let _ = write!(printed, "---\n{text}");
            continue;
        };
        let path = dir.join(format!("{}.yaml", definition.spec.names.plural));
        let written = std::fs::create_dir_all(dir).and_then(|()| std::fs::write(&path, text));
        written.map_err(|source| CrdError::Write {
            path: path.display().to_string(),
            source,
        })?;
    }
    print!("{printed}");
    Ok(())
}
