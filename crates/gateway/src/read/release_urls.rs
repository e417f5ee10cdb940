//! `GET release` of an ingress request: URLs of the quarantined files, for the endpoint inside the
//! environment.
//!
//! They are signed at each call, only for files of an outcome that released them, and never beyond
//! the time at which the files are deleted.

use std::time::Duration;

use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::json;

use crate::cluster::requests;
use crate::identity::call::Call;
use crate::limits::response_body::json_with_permit;
use crate::problem::Problem;
use crate::read::release_access::{
    available_record, expired, not_released, recheck_releasable, revoked,
};
use crate::records::ledger::AuditAction;
use crate::state::Gateway;
use trevor_api::condition::second;
use trevor_api::{AirlockRequest, Phase};
use trevor_core::digest::Sha256Hex;
use trevor_core::ingress::{FilesFact, ReleasedFiles};
use trevor_core::keys::set_aside_key;
use trevor_store::StorageError;

/// The lifetime of a URL where the policy of the round sets none
/// (docs/reference/resources.md#policy-fields).
pub const DEFAULT_URL_TTL: i64 = 3600;

/// About the memory of a file with its signed URL.
const FILE_URL_BYTES: u64 = 2048;

#[derive(Serialize)]
struct FileUrls<'a> {
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

/// Signs a URL of each file.
///
/// # Errors
/// Those of docs/reference/wire-formats.md#problems.
pub async fn release_urls(
    gateway: &Gateway,
    call: &Call,
    request: &AirlockRequest,
) -> Result<Response, Problem> {
    match requests::phase(request) {
        Phase::Released => {}
        Phase::Revoked => return Err(revoked()),
        _ => return Err(not_released()),
    }
    let key = requests::key(request);
    let round = requests::round(request);
    let record = available_record(gateway, request).await?;
    let delete_after = record.spec.delete_after_time.0;
    let records = &gateway.zones.records;
    let outcome = records.get_known(&key.outcome(round)).await?;
    let seal = records.get_known(&key.seal(round)).await?;
    let frozen = gateway.frozen_rounds.get(&key, round).await?;
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
    check_files_exist(gateway, files).await?;
    let now = Timestamp::now();
    let ttl = seal
        .and_then(|s| s.rules.url_ttl_seconds)
        .unwrap_or(DEFAULT_URL_TTL);
    let ttl = ttl.min(delete_after.as_second() - now.as_second());
    let Some(life) = u64::try_from(ttl).ok().filter(|ttl| *ttl > 0) else {
        return Err(expired());
    };
    let quarantine = &gateway.zones.quarantine;
    let signer = quarantine.hold(Duration::from_secs(life)).await?;
    let expires = expiry(now, signer.life());
    let size = frozen.manifest.files.len() as u64 * FILE_URL_BYTES;
    let permit = gateway.reserve_estimate(call, size).await?;
    recheck_releasable(gateway, call, &key.uid).await?;
    let detail = json!({"round": round, "files": frozen.manifest.files.len(), "expires": expires});
    let action = AuditAction {
        kind: "UrlRead",
        actor: &call.caller.user,
        namespace: &key.namespace,
        uid: &key.uid,
        detail,
    };
    gateway.ledger.record(action).await?;
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
    let released = FileUrls {
        r#type: "Url",
        files: urls,
    };
    json_with_permit(&released, permit)
}

/// The end of a URL that is signed at `now`, rounded down to the second.
pub fn expiry(now: Timestamp, life: Duration) -> Timestamp {
    SignedDuration::try_from(life)
        .ok()
        .and_then(|life| second(now).checked_add(life).ok())
        .unwrap_or(Timestamp::MAX)
}

/// Checks that the files are still stored, by the first of them. A revocation moves the files
/// before the status says so; a revocation without the cluster never changes the status.
async fn check_files_exist(gateway: &Gateway, files: ReleasedFiles<'_>) -> Result<(), Problem> {
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
