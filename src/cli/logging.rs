//! Log lines: JSON, or text with escaped control characters; and spans, where a
//! collector is named.

use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt, registry};

use super::otlp;
use trevor_config::{ConfigError, Log, LogFormat};

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
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match log.format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Text => lines.with_ansi(false).boxed(),
    };
    let spans = log.otlp_endpoint.as_deref().map(otlp::layer).transpose()?;
    registry()
        .with(lines.with_filter(filter))
        .with(spans)
        .init();
    Ok(())
}
