//! `GET` and `PUT delivery`: what a Job writes into a volume, and its receipt when
//! all of it stands there.

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde_json::json;

use crate::cluster::requests as request;
use crate::identity::job_pods::{deliverer, releasing};
use crate::limits::response_body::json_held;
use crate::problem::Problem;
use crate::records::frozen_rounds::FrozenRound;
use crate::records::ledger::Act;
use crate::state::{Call, Gateway};
use trevor_api::AirlockRequest;
use trevor_core::volume::{Delivered, VolumeFile};
use trevor_store::commit::{Committed, commit, read};

/// What is to be written.
///
/// # Errors
/// 403 for anybody but the Job, 409 while the request is not being released.
pub async fn get(gateway: &Gateway, call: &Call) -> Result<Response, Problem> {
    let request = job(gateway, call).await?;
    let (_, _, frozen) = releasing(gateway, &request).await?;
    let size = 2 * frozen.bytes().len() as u64;
    let user = &call.caller.user;
    let share = gateway.shares.reserve_at_most(user, size).await?;
    json_held(&wanted(&frozen), share)
}

/// Takes the receipt.
///
/// # Errors
/// As [`get`]; 422 when it is not of what was to be written.
pub async fn put(gateway: &Gateway, call: &Call, body: &mut Body) -> Result<Response, Problem> {
    let request = job(gateway, call).await?;
    let _turn = gateway.jobs.lists.acquire().await;
    let (receipt, _share) =
        crate::limits::response_body::json::<Delivered>(gateway, call, body).await?;
    let key = request::key(&request);
    let work = gateway.zones.quarantine.bucket();
    let at = key.delivered();
    // A repeat changes nothing, so that it may come late.
    if let Some(standing) = read::<Delivered>(work, &at).await? {
        return settled(standing == receipt);
    }
    // Its turn and the receipt itself may have taken long: the request as it is now.
    let request = match gateway.anew(call).await? {
        None => request,
        Some(call) => {
            let now = job(gateway, &call).await?;
            request::same(&now, &key.uid)?;
            now
        }
    };
    let (_, round, frozen) = releasing(gateway, &request).await?;
    if receipt != wanted(&frozen) {
        return Err(Problem::unprocessable(
            "NotTheManifest",
            "what was written is not what was approved",
        ));
    }
    let records = gateway.zones.records.bucket();
    if records.exists(&key.outcome(round)).await? {
        return Err(Problem::conflict(
            "NotReleasing",
            "the release of this request has ended",
        ));
    }
    let act = Act {
        kind: "Delivered",
        actor: &call.caller.user,
        namespace: &key.namespace,
        uid: &key.uid,
        detail: json!({"round": round, "files": receipt.files.len(), "manifest": frozen.digest(), "pod": call.caller.pod.as_ref().map(|pod| &pod.name)}),
    };
    gateway.ledger.record(act).await?;
    let stored = commit(work, &at, &receipt).await?;
    gateway.hints.send(&call.namespace, &call.name);
    settled(matches!(stored, Committed::Ours(_)))
}

async fn job(gateway: &Gateway, call: &Call) -> Result<AirlockRequest, Problem> {
    deliverer(gateway, call).await?.ok_or_else(|| {
        let detail = "what is delivered into a volume is for the Job that writes it";
        gateway.refuse(call, "", "deliver", detail.to_owned())
    })
}

fn settled(same: bool) -> Result<Response, Problem> {
    match same {
        true => Ok(StatusCode::CREATED.into_response()),
        false => Err(Problem::conflict(
            "AnotherReceipt",
            "another receipt of this delivery stands already",
        )),
    }
}

/// The files of a manifest, by path.
fn wanted(frozen: &FrozenRound) -> Delivered {
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
