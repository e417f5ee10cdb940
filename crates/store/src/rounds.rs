//! Reading what an earlier round left.

use super::error::StorageError;
use super::objects::Records;
use trevor_core::keys::RequestKey;
use trevor_core::receipt::Receipt;

/// The listing of the last frozen round before `round`; empty before the first.
///
/// # Errors
/// As the server says.
pub async fn observe_previous(
    records: &Records,
    key: &RequestKey,
    round: i64,
) -> Result<Vec<Receipt>, StorageError> {
    let rounds = records.folders(&key.rounds()).await?;
    let mut numbers: Vec<i64> = rounds
        .iter()
        .filter_map(|n| n.parse().ok())
        .filter(|n| *n < round)
        .collect();
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    for number in numbers {
        if let Some(freeze) = records.get(&key.manifest(number)).await? {
            return Ok(freeze.listing());
        }
    }
    Ok(Vec::new())
}
