//! Who read what: one create-only object a reader, file and step, which the
//! controller counts, and an event in our ledger.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::warn;

use crate::problem::Problem;
use crate::records::ledger::Act;
use crate::state::{Call, Gateway};
use trevor_core::digest::Sha256Hex;
use trevor_core::keys::RequestKey;
use trevor_core::manifest::ManifestFile;
use trevor_store::commit::commit;

/// `rounds/<n>/views/…`: who saw which bytes of which manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ViewFact {
    /// Who.
    pub reader: String,
    /// The file.
    pub path: String,
    /// Which upload of it.
    pub version: String,
    /// Its SHA-256.
    pub sha256: Sha256Hex,
    /// The manifest that it is of.
    pub manifest_digest: Sha256Hex,
    /// When, for the first time.
    pub time: Timestamp,
}

trevor_core::stored_fact!(ViewFact);

/// One reading.
#[derive(Clone, Debug)]
pub struct View {
    key: RequestKey,
    request: String,
    round: i64,
    fact: ViewFact,
}

impl View {
    /// Of a file by a caller.
    #[must_use]
    pub fn new(
        call: &Call,
        key: &RequestKey,
        round: i64,
        digest: &Sha256Hex,
        file: &ManifestFile,
    ) -> Self {
        let fact = ViewFact {
            reader: call.caller.user.clone(),
            path: file.path.clone(),
            version: file.version.clone(),
            sha256: file.sha256.clone(),
            manifest_digest: digest.clone(),
            time: Timestamp::now(),
        };
        Self {
            key: key.clone(),
            request: call.name.clone(),
            round,
            fact,
        }
    }

    fn act(&self, kind: &'static str) -> Act<'_> {
        let detail = json!({"round": self.round, "path": self.fact.path, "version": self.fact.version, "sha256": self.fact.sha256});
        Act {
            kind,
            actor: &self.fact.reader,
            namespace: &self.key.namespace,
            uid: &self.key.uid,
            detail,
        }
    }
}

async fn store(gateway: &Gateway, view: &View, what: &str) -> Result<(), Problem> {
    let fact = ViewFact {
        time: Timestamp::now(),
        ..view.fact.clone()
    };
    let at = view
        .key
        .view(view.round, &fact.reader, &fact.path, &fact.version, what);
    commit(gateway.zones.records.bucket(), &at, &fact).await?;
    Ok(())
}

/// Before the first byte.
///
/// # Errors
/// 503 when it cannot be recorded: nothing is shown then.
pub async fn record_opened(gateway: &Gateway, view: &View) -> Result<(), Problem> {
    futures::try_join!(
        store(gateway, view, "opened"),
        gateway.ledger.record(view.act("ContentOpened"))
    )?;
    Ok(())
}

/// After the last byte. One that cannot be recorded does not count. It may be what
/// an approval waits for, so that the controller is told.
pub async fn record_viewed(gateway: &Gateway, view: &View) {
    let recorded = async {
        gateway.ledger.record(view.act("ContentViewed")).await?;
        store(gateway, view, "viewed").await
    };
    match recorded.await {
        Ok(()) => gateway.hints.send(&view.key.namespace, &view.request),
        Err(_) => warn!("a view could not be recorded, and does not count"),
    }
}
