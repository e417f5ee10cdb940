//! Upload against freeze (docs/design.md#an-upload-against-the-freeze): the receipt is written,
//! then the seal is read. Where the round was sealed meanwhile, the freeze says whether the
//! receipt came in time. No clock is involved.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tracing::{error, warn};

use crate::cluster::requests::{key, open_for_uploads, sealed};
use crate::problem::Problem;
use crate::records::frozen_rounds::FrozenRound;
use crate::records::receipt_cache::Entry;
use crate::state::Gateway;
use trevor_api::AirlockRequest;
use trevor_core::keys::RequestKey;
use trevor_core::names;
use trevor_core::policy::Rules;
use trevor_core::receipt::Receipt;
use trevor_store::commit::{Committed, commit};

/// Tries for a version that no other upload of the path took.
const TRIES: usize = 20;
/// Pauses until the freeze is there; 10 s in all.
const PAUSES_MS: [u64; 10] = [50, 100, 200, 400, 800, 1200, 1500, 1750, 2000, 2000];

/// A request's open round, and what is known of it.
pub struct Open {
    /// How the buckets know the request.
    pub key: RequestKey,
    /// The round.
    pub round: i64,
    /// Its receipts.
    pub entry: Arc<Entry>,
}

impl Open {
    /// Of a request that takes uploads.
    ///
    /// # Errors
    /// 409 when it takes none.
    pub async fn of(gateway: &Gateway, request: &AirlockRequest) -> Result<Self, Problem> {
        let round = open_for_uploads(request)?;
        let key = key(request);
        let entry = gateway.index.entry(&key, round).await?;
        Ok(Self { key, round, entry })
    }

    /// Whether the round is sealed.
    ///
    /// # Errors
    /// As the server says.
    pub async fn is_sealed(&self, gateway: &Gateway) -> Result<bool, Problem> {
        Ok(gateway
            .zones
            .records
            .bucket()
            .exists(&self.key.seal(self.round))
            .await?)
    }
}

/// Keeps the spelling and the room of an upload until its receipt is written.
pub struct Claim<'a> {
    entry: &'a Entry,
    path: &'a str,
    size: u64,
}

impl<'a> Claim<'a> {
    /// Of a path that is about to be stored.
    ///
    /// # Errors
    /// 409 when the name clashes, 422 when the round has no room for it.
    pub fn new(open: &'a Open, path: &'a str, size: u64, rules: &Rules) -> Result<Self, Problem> {
        let entry = open.entry.as_ref();
        entry.known().claim(path, size, rules)?;
        Ok(Self { entry, path, size })
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.entry.known().unclaim(self.path, self.size);
    }
}

/// Writes a receipt under the next version that is free, and returns it. For an
/// upload the caller holds its [`Claim`].
///
/// # Errors
/// 409 when another spelling came first, 503 as the server says.
pub async fn write_receipt(
    gateway: &Gateway,
    open: &Open,
    mut receipt: Receipt,
) -> Result<Receipt, Problem> {
    let path = receipt.path.clone();
    let bucket = gateway.zones.records.bucket();
    if let Some(content) = &receipt.content
        && !content.key.starts_with(&open.key.files())
    {
        // No caller can bring this about: a receipt names a file of its own request.
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
    for _ in 0..TRIES {
        receipt.version = open.entry.known().next_version(&open.key, &path);
        let at = open.key.receipt(&path, &receipt.version);
        match commit(bucket, &at, &receipt).await {
            Ok(Committed::Ours(ours)) => {
                open.entry.known().add(&at, ours.clone());
                return Ok(ours);
            }
            Ok(Committed::Theirs(_)) => {
                gateway.index.refresh_path(&open.entry, &path).await?;
                if receipt.content.is_some() {
                    other_spelling(open, &path)?;
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

fn other_spelling(open: &Open, path: &str) -> Result<(), Problem> {
    // Our own claim is of our own spelling, so it does not stand in the way.
    open.entry.known().check(path)
}

/// Whether the receipt counts in its round.
///
/// # Errors
/// 409 when the round was sealed before it, 503 when nobody can tell yet.
pub async fn settle(gateway: &Gateway, open: &Open, receipt: &Receipt) -> Result<(), Problem> {
    if !open.is_sealed(gateway).await? {
        return Ok(());
    }
    for pause in PAUSES_MS {
        if let Some(frozen) = gateway.freezes.get(&open.key, open.round).await? {
            return if counts(&frozen, receipt) {
                Ok(())
            } else {
                Err(sealed())
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

/// An upload counts when the freeze has just that version; a removal when the
/// freeze has no earlier one.
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
