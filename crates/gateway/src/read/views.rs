//! Records of who read what: a create-only object for each reader, file and step, which the
//! controller counts, and an event in the ledger.

use jiff::Timestamp;
use serde_json::json;
use tracing::warn;

use crate::identity::call::Call;
use crate::problem::Problem;
use crate::records::ledger::AuditAction;
use crate::state::Gateway;
use trevor_core::digest::Sha256Hex;
use trevor_core::keys::RequestKey;
use trevor_core::manifest::ManifestFile;
use trevor_core::view::ViewFact;

/// A read of a file by a caller.
#[derive(Clone, Debug)]
pub struct FileView {
    key: RequestKey,
    request: String,
    round: i64,
    fact: ViewFact,
}

impl FileView {
    /// A read by the caller of `call`.
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

    fn audit_action(&self, kind: &'static str) -> AuditAction<'_> {
        let detail = json!({"round": self.round, "path": self.fact.path, "version": self.fact.version, "sha256": self.fact.sha256});
        AuditAction {
            kind,
            actor: &self.fact.reader,
            namespace: &self.key.namespace,
            uid: &self.key.uid,
            detail,
        }
    }
}

async fn store(gateway: &Gateway, view: &FileView, what: &str) -> Result<(), Problem> {
    let fact = ViewFact {
        time: Timestamp::now(),
        ..view.fact.clone()
    };
    let at = view
        .key
        .view(view.round, &fact.reader, &fact.path, &fact.version, what);
    gateway.zones.records.create(&at, &fact).await?;
    Ok(())
}

/// Records that a file is opened, before its first byte is sent.
///
/// # Errors
/// 503 when it cannot be recorded. The file must not be sent then.
pub async fn record_opened(gateway: &Gateway, view: &FileView) -> Result<(), Problem> {
    futures::try_join!(
        store(gateway, view, "opened"),
        gateway.ledger.record(view.audit_action("ContentOpened"))
    )?;
    Ok(())
}

/// Records that a file was viewed, after its last byte was sent. A view that cannot be recorded
/// does not count. A decision may wait for it, so the controller gets a hint.
pub async fn record_viewed(gateway: &Gateway, view: &FileView) {
    let recorded = async {
        gateway
            .ledger
            .record(view.audit_action("ContentViewed"))
            .await?;
        store(gateway, view, "viewed").await
    };
    match recorded.await {
        Ok(()) => gateway
            .reconcile_hints
            .send(&view.key.namespace, &view.request),
        Err(_) => warn!("a view could not be recorded, and does not count"),
    }
}
