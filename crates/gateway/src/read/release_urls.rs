//! `GET release` of an ingress request: URLs to the quarantined files, signed at
//! the moment of the call, for the endpoint inside.
//!
//! They are signed only for the files of an outcome that released them, and never
//! beyond the time at which they are deleted.

use std::time::Duration;

use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use kube::api::Api;
use serde::Serialize;
use serde_json::json;

use crate::cluster::api_server::in_time;
use crate::cluster::requests as request;
use crate::limits::response_body::json_held;
use crate::problem::Problem;
use crate::read::release::{expired, not_released, revoked, still_released_to};
use crate::records::ledger::Act;
use crate::state::{Call, Gateway};
use trevor_api::condition::second;
use trevor_api::{AirlockRequest, Phase, ReleasePhase, ReleaseRecord};
use trevor_core::commit::{Outcome, Seal};
use trevor_core::digest::Sha256Hex;
use trevor_core::ingress::{FilesFact, ReleasedFiles};
use trevor_core::keys::set_aside_key;
use trevor_store::StorageError;
use trevor_store::commit::read_known;

/// The life of a URL where the policy of the round says nothing
/// (docs/reference/resources.md#policy-fields).
pub(crate) const TTL: i64 = 3600;

/// Bytes of a signed URL in memory, with what belongs to it, about.
const ENTRY: u64 = 2048;

#[derive(Serialize)]
struct Released<'a> {
    r#type: &'static str,
    files: Vec<FileUrl<'a>>,
}

#[derive(Serialize)]
struct FileUrl<'a> {
    path: &'a str,
    url: String,
    sha256: &'a Sha256Hex,
    size: u64,
    expires: Timestamp,
}

/// Signs a URL to each file.
///
/// # Errors
/// Those of docs/reference/wire-formats.md#problems.
pub async fn release_urls(
    gateway: &Gateway,
    call: &Call,
    request: &AirlockRequest,
) -> Result<Response, Problem> {
    match request::phase(request) {
        Phase::Released => {}
        Phase::Revoked => return Err(revoked()),
        _ => return Err(not_released()),
    }
    let key = request::key(request);
    let round = request::round(request);
    let window = window(gateway, request).await?;
    let records = gateway.zones.records.bucket();
    let outcome: Option<Outcome> = read_known(records, &key.outcome(round)).await?;
    let seal: Option<Seal> = read_known(records, &key.seal(round)).await?;
    let frozen = gateway.freezes.get(&key, round).await?;
    let frozen = frozen.and_then(|f| f.frozen());
    let (Some(outcome), Some(frozen)) = (outcome, frozen) else {
        return Err(not_released());
    };
    if let Some(volume) = outcome.files.as_ref().and_then(FilesFact::volume) {
        return Err(Problem::conflict(
            "DeliveredToVolume",
            format!("there is no URL: the files are in {volume}"),
        ));
    }
    let files = ReleasedFiles::of(&outcome, &frozen).ok_or_else(not_released)?;
    still_there(gateway, files).await?;
    let now = Timestamp::now();
    let ttl = seal.and_then(|s| s.rules.url_ttl_seconds).unwrap_or(TTL);
    let ttl = ttl.min(window.as_second() - now.as_second());
    let Some(life) = u64::try_from(ttl).ok().filter(|ttl| *ttl > 0) else {
        return Err(expired());
    };
    let quarantine = &gateway.zones.quarantine;
    let signer = quarantine.hold(Duration::from_secs(life)).await?;
    let expires = ends(now, signer.life());
    let size = frozen.manifest.files.len() as u64 * ENTRY;
    let user = &call.caller.user;
    let share = gateway.shares.reserve_at_most(user, size).await?;
    still_released_to(gateway, call, &key.uid).await?;
    let detail = json!({"round": round, "files": frozen.manifest.files.len(), "expires": expires});
    let act = Act {
        kind: "UrlRead",
        actor: &call.caller.user,
        namespace: &key.namespace,
        uid: &key.uid,
        detail,
    };
    gateway.ledger.record(act).await?;
    let mut urls = Vec::new();
    for file in files.iter() {
        let url = signer.sign(file).await?;
        let file = file.get();
        urls.push(FileUrl {
            path: &file.path,
            url: url.expose().to_owned(),
            sha256: &file.sha256,
            size: file.size,
            expires,
        });
    }
    let released = Released {
        r#type: "Url",
        files: urls,
    };
    json_held(&released, share)
}

/// When what is signed from `now` on ends, to the second and never later.
pub(crate) fn ends(now: Timestamp, life: Duration) -> Timestamp {
    SignedDuration::try_from(life)
        .ok()
        .and_then(|life| second(now).checked_add(life).ok())
        .unwrap_or(Timestamp::MAX)
}

/// No URL is given to what is not there: a revocation moves the files before any
/// status says so, and without a cluster none ever does.
async fn still_there(gateway: &Gateway, files: ReleasedFiles<'_>) -> Result<(), Problem> {
    let Some(file) = files.iter().next() else {
        return Ok(());
    };
    let bucket = gateway.zones.quarantine.bucket();
    let key = &file.get().key;
    for (key, gone) in [(key.clone(), None), (set_aside_key(key), Some(revoked()))] {
        match (bucket.head(&key).await, gone) {
            (Ok(_), None) => return Ok(()),
            (Ok(_), Some(gone)) => return Err(gone),
            (Err(StorageError::NotFound { .. }), _) => {}
            (Err(error), _) => return Err(error.into()),
        }
    }
    Err(expired())
}

/// Until when the files are kept, if they are.
async fn window(gateway: &Gateway, request: &AirlockRequest) -> Result<Timestamp, Problem> {
    let status = request.status.as_ref().and_then(|s| s.release.as_ref());
    let name = status
        .map(|r| r.record_name.clone())
        .ok_or_else(not_released)?;
    let namespace = request.metadata.namespace.as_deref().unwrap_or_default();
    let records: Api<ReleaseRecord> = Api::namespaced(gateway.client.clone(), namespace);
    let record = in_time("release record", records.get_opt(&name))
        .await?
        .filter(|r| Some(&r.spec.request_ref.uid) == request.metadata.uid.as_ref())
        .ok_or_else(not_released)?;
    match record.status.and_then(|s| s.phase) {
        Some(ReleasePhase::Revoked) => Err(revoked()),
        Some(ReleasePhase::Deleted) => Err(expired()),
        Some(ReleasePhase::Available) | None => Ok(record.spec.delete_after_time.0),
    }
}
