//! The newest signed checkpoint of the audit ledger that covers a release, which
//! goes out with its notification, so that copies exist beyond our reach.

use jiff::Timestamp;

use crate::storage::keys::RequestKey;
use crate::storage::{Bucket, StorageError};

/// The signed note of the newest checkpoint that has the request's chain at `sequence`
/// or later; none while there is none. `since` is when the entry was written.
///
/// # Errors
/// As the server says.
pub async fn covering(
    _records: &Bucket,
    _key: &RequestKey,
    _sequence: i64,
    _since: Timestamp,
) -> Result<Option<String>, StorageError> {
    Ok(None)
}
