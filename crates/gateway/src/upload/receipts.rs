//! Writes receipts, and confirms that they count (docs/design.md#an-upload-against-the-freeze). The
//! receipt is written first, and the seal is read after it. If the round was sealed meanwhile, the
//! frozen round says whether the receipt was in time. No clock is involved.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tracing::{error, warn};

use crate::cluster::requests::{key, require_upload_round, round_sealed};
use crate::problem::Problem;
use crate::records::frozen_rounds::FrozenRound;
use crate::records::receipt_cache::CachedRequest;
use crate::state::Gateway;
use trevor_api::AirlockRequest;
use trevor_core::keys::RequestKey;
use trevor_core::names;
use trevor_core::policy::Rules;
use trevor_core::receipt::Receipt;
use trevor_store::Committed;

/// Attempts to write a receipt under a version that no other upload of the path has.
const MAX_ATTEMPTS: usize = 20;
/// Pauses between reads of the frozen round; 10 s in total.
const PAUSES_MS: [u64; 10] = [50, 100, 200, 400, 800, 1200, 1500, 1750, 2000, 2000];

/// The open round of a request, with its receipts.
pub struct OpenRound {
    pub key: RequestKey,
    pub round: i64,
    pub entry: Arc<CachedRequest>,
}

impl OpenRound {
    /// Loads the open round of a request.
    ///
    /// # Errors
    /// 409 when the request accepts no uploads, 503 when the storage does not answer.
    pub async fn load(gateway: &Gateway, request: &AirlockRequest) -> Result<Self, Problem> {
        let round = require_upload_round(request)?;
        let key = key(request);
        let entry = gateway.receipts.entry(&key, round).await?;
        Ok(Self { key, round, entry })
    }

    /// Whether the round is sealed.
    ///
    /// # Errors
    /// 503 when the storage does not answer.
    pub async fn is_sealed(&self, gateway: &Gateway) -> Result<bool, Problem> {
        Ok(gateway
            .zones
            .records
            .exists(&self.key.seal(self.round))
            .await?)
    }
}

/// Reserves the path and size of an upload in the round until its receipt is written.
pub struct PathReservation<'a> {
    entry: &'a CachedRequest,
    path: &'a str,
    size: u64,
}

impl<'a> PathReservation<'a> {
    /// Checks and reserves.
    ///
    /// # Errors
    /// 409 when the name conflicts with another, 422 when the round would exceed a limit.
    pub fn new(
        open: &'a OpenRound,
        path: &'a str,
        size: u64,
        rules: &Rules,
    ) -> Result<Self, Problem> {
        let entry = open.entry.as_ref();
        entry.receipts().reserve(path, size, rules)?;
        Ok(Self { entry, path, size })
    }
}

impl Drop for PathReservation<'_> {
    fn drop(&mut self) {
        self.entry.receipts().release(self.path, self.size);
    }
}

/// Writes a receipt under the next free version, and returns it. For an upload the caller holds a
/// [`PathReservation`].
///
/// # Errors
/// 409 when a conflicting name was uploaded first, 503 when the receipt cannot be written.
pub async fn write_receipt(
    gateway: &Gateway,
    open: &OpenRound,
    mut receipt: Receipt,
) -> Result<Receipt, Problem> {
    let path = receipt.path.clone();
    if let Some(content) = &receipt.content
        && !content.key.starts_with(&open.key.files())
    {
        // An internal error: a receipt must name a file of its own request.
        error!(
            key = content.key,
            uid = open.key.uid,
            "a file of another request was not receipted"
        );
        return Err(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Internal",
            "the file is not stored among those of the request; nothing was recorded",
        ));
    }
    for _ in 0..MAX_ATTEMPTS {
        receipt.version = open.entry.receipts().next_version(&open.key, &path);
        let at = open.key.receipt(&path, &receipt.version);
        match gateway.zones.records.create(&at, &receipt).await {
            Ok(Committed::Ours(ours)) => {
                open.entry.receipts().add(&at, ours.clone());
                return Ok(ours);
            }
            Ok(Committed::Theirs(_)) => {
                gateway.receipts.refresh_path(&open.entry, &path).await?;
                if receipt.content.is_some() {
                    // The reservation has the same spelling, and does not conflict.
                    open.entry.receipts().check_name(&path)?;
                }
            }
            Err(error) if error.is_transient() => {
                warn!(%error, "a receipt could not be written");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Problem::unavailable(
        "StorageUnavailable",
        "the receipt could not be written; try again",
        2,
    ))
}

/// Confirms that a receipt counts in its round.
///
/// # Errors
/// 409 when the round was sealed before, 503 when the round is being frozen and the result is not
/// known yet.
pub async fn confirm_receipt(
    gateway: &Gateway,
    open: &OpenRound,
    receipt: &Receipt,
) -> Result<(), Problem> {
    if !open.is_sealed(gateway).await? {
        return Ok(());
    }
    for pause in PAUSES_MS {
        if let Some(frozen) = gateway.frozen_rounds.get(&open.key, open.round).await? {
            return if counts(&frozen, receipt) {
                Ok(())
            } else {
                Err(round_sealed())
            };
        }
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    Err(Problem::unavailable(
        "Sealing",
        "the round is being sealed, and it is not yet known whether this came in time; look at GET files, or try again",
        5,
    ))
}

/// Whether the frozen round took a receipt into account. For an upload it lists exactly this
/// version, for a removal no earlier version.
fn counts(frozen: &FrozenRound, receipt: &Receipt) -> bool {
    let folded = names::folded(&receipt.path);
    match frozen.version_of(|path| names::folded(path) == folded) {
        Some(version) if receipt.content.is_some() => version == receipt.version,
        Some(version) => *version > *receipt.version,
        None => receipt.content.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use trevor_core::commit::{Freeze, Refusal};
    use trevor_core::digest::{Crc32, Sha256Hex};
    use trevor_core::receipt::{Content, version};

    fn receipt(path: &str, n: u64, there: bool) -> Receipt {
        let content = Content {
            more: Default::default(),
            key: "k".into(),
            size: 1,
            sha256: Sha256Hex::of(b"x"),
            crc32: Crc32(0),
            media_type: "text/plain".into(),
            sniffed: None,
            remark: None,
        };
        Receipt {
            more: Default::default(),
            path: path.into(),
            version: version(n),
            round: 1,
            by: "alice".into(),
            time: Timestamp::UNIX_EPOCH,
            content: there.then_some(content),
        }
    }

    #[test]
    fn a_receipt_counts_when_the_freeze_has_it() {
        let listing = vec![receipt("a", 2, true)];
        let refusal = Refusal {
            round: 1,
            reason: "SubmissionRefused".into(),
            message: String::new(),
            listing,
            recalled: None,
            previous: None,
        };
        let frozen = FrozenRound::of(Freeze::Refusal(refusal)).unwrap();
        for (path, n, there, expected) in [
            ("a", 2, true, true),
            ("a", 3, true, false),
            ("a", 1, true, false),
            ("b", 1, true, false),
            ("a", 3, false, false),
            ("a", 1, false, true),
            ("b", 1, false, true),
        ] {
            assert_eq!(
                counts(&frozen, &receipt(path, n, there)),
                expected,
                "{path} {n} {there}"
            );
        }
    }
}
