//! Log lines: JSON, or text with escaped control characters.

use tracing_subscriber::EnvFilter;

use crate::config::{ConfigError, Log, LogFormat};

/// Starts logging to standard error.
pub fn start(log: &Log) -> Result<(), ConfigError> {
    let quiet = "aws_config=warn,aws_smithy_runtime=warn,aws_sdk_s3=warn,hyper=warn,hyper_util=warn,kube_client=warn,tower=warn";
    let filter =
        EnvFilter::try_new(format!("{},{quiet}", log.level)).map_err(|error| ConfigError::Key {
            key: "log.level".into(),
            problem: format!(
                "is {:?}: {error}; give error, warn, info, debug or trace",
                log.level
            ),
        })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match log.format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text => builder.with_ansi(false).init(),
    }
    Ok(())
}
