//! The newest signed checkpoint of the audit ledger that covers a release, which
//! goes out with its notification, so that copies exist beyond our reach.

use jiff::Timestamp;

use trevor_core::keys::RequestKey;
use trevor_store::audit;
use trevor_store::{Records, StorageError};

/// The signed note of the newest checkpoint that has the request's chain at `sequence`
/// or later; none while there is none. `since` is when the entry was written.
///
/// # Errors
/// As the server says.
pub async fn covering(
    records: &Records,
    key: &RequestKey,
    sequence: i64,
    since: Timestamp,
) -> Result<Option<String>, StorageError> {
    let found = audit::checkpoint::covering(records, &key.ledger(), sequence, since).await?;
    Ok(found.map(|signed| signed.note))
}
