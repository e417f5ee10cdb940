//! Whether our clock and the servers' mean the same time.

use jiff::Timestamp;

use super::error::RetentionError;
use trevor_core::retention::clocks_agree;
use trevor_store::ServerClock;

/// Compares our time with that of a bucket's server.
///
/// # Errors
/// When they differ by more than 5 minutes, or the server does not answer.
pub async fn agree(server: ServerClock<'_>, ours: Timestamp) -> Result<(), RetentionError> {
    let theirs = server.time().await?;
    if clocks_agree(ours, theirs) {
        return Ok(());
    }
    Err(RetentionError::Clocks {
        bucket: server.name().to_owned(),
        ours: trevor_api::condition::second(ours),
        theirs,
    })
}
