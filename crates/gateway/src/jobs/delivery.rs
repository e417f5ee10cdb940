//! `GET` and `PUT delivery`: the files that a Job writes into a volume, and its confirmation that
//! all of them are written.

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde_json::json;

use crate::cluster::requests;
use crate::identity::call::Call;
use crate::jobs::access::{deliverer, releasing};
use crate::jobs::list_body::read_list;
use crate::limits::response_body::json_with_permit;
use crate::problem::Problem;
use crate::records::frozen_rounds::FrozenRound;
use crate::records::ledger::AuditAction;
use crate::state::Gateway;
use trevor_api::AirlockRequest;
use trevor_core::volume::{Delivered, VolumeFile};
use trevor_store::Committed;

/// Lists the files to be written.
///
/// # Errors
/// 403 for any other caller than the Job, 409 while the request is not being released.
pub async fn get(gateway: &Gateway, call: &Call) -> Result<Response, Problem> {
    let request = delivery_request(gateway, call).await?;
    let (_, _, frozen) = releasing(gateway, &request).await?;
    let size = 2 * frozen.bytes().len() as u64;
    let permit = gateway.reserve_estimate(call, size).await?;
    json_with_permit(&expected_files(&frozen), permit)
}

/// Accepts the confirmation of a delivery.
///
/// # Errors
/// As [`get`]. 422 when it lists other files than the manifest.
pub async fn put(gateway: &Gateway, call: &Call, body: &mut Body) -> Result<Response, Problem> {
    let request = delivery_request(gateway, call).await?;
    let _list_permit = gateway.job_list_permits.acquire().await;
    let (receipt, _permit) = read_list::<Delivered>(gateway, call, body).await?;
    let key = requests::key(&request);
    let work = gateway.zones.quarantine.work();
    let at = key.delivered();
    // A repeated confirmation is accepted at any time, because it changes nothing.
    if let Some(standing) = work.get(&at).await? {
        return created_or_conflict(standing == receipt);
    }
    // Waiting for the permit and reading the list may have taken long, so the checks are repeated.
    let request = match gateway.revalidate(call).await? {
        None => request,
        Some(call) => {
            let now = delivery_request(gateway, &call).await?;
            requests::ensure_same_uid(&now, &key.uid)?;
            now
        }
    };
    let (_, round, frozen) = releasing(gateway, &request).await?;
    if receipt != expected_files(&frozen) {
        return Err(Problem::unprocessable(
            "NotTheManifest",
            "what was written is not what was approved",
        ));
    }
    if gateway.zones.records.exists(&key.outcome(round)).await? {
        return Err(Problem::conflict(
            "NotReleasing",
            "the release of this request has ended",
        ));
    }
    let action = AuditAction {
        kind: "Delivered",
        actor: &call.caller.user,
        namespace: &key.namespace,
        uid: &key.uid,
        detail: json!({"round": round, "files": receipt.files.len(), "manifest": frozen.digest(), "pod": call.caller.pod.as_ref().map(|pod| &pod.name)}),
    };
    gateway.ledger.record(action).await?;
    let stored = work.create(&at, &receipt).await?;
    gateway.reconcile_hints.send(&call.namespace, &call.name);
    created_or_conflict(matches!(stored, Committed::Ours(_)))
}

async fn delivery_request(gateway: &Gateway, call: &Call) -> Result<AirlockRequest, Problem> {
    deliverer(gateway, call).await?.ok_or_else(|| {
        let detail = "what is delivered into a volume is for the Job that writes it";
        gateway.refuse(call, "", "deliver", detail.to_owned())
    })
}

fn created_or_conflict(same: bool) -> Result<Response, Problem> {
    match same {
        true => Ok(StatusCode::CREATED.into_response()),
        false => Err(Problem::conflict(
            "AnotherReceipt",
            "another receipt of this delivery stands already",
        )),
    }
}

/// The files of a manifest, sorted by path.
fn expected_files(frozen: &FrozenRound) -> Delivered {
    let files = frozen.manifest().into_iter().flat_map(|m| &m.files);
    let mut files: Vec<VolumeFile> = files
        .map(|file| VolumeFile {
            path: file.path.clone(),
            size: file.size,
            sha256: file.sha256.clone(),
        })
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Delivered { files }
}
