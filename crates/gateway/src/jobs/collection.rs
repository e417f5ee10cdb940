//! `PUT collection`: the list of the files that a Job collected for a round. It is stored once,
//! when all of its files are in quarantine. Until then the response lists the missing files.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde_json::json;

use crate::cluster::requests;
use crate::identity::call::Call;
use crate::jobs::access::{self, CollectionJob};
use crate::jobs::list_body::read_list;
use crate::limits::admission;
use crate::limits::response_body::json_with_permit;
use crate::problem::Problem;
use crate::records::ledger::AuditAction;
use crate::state::Gateway;
use trevor_core::names;
use trevor_core::receipt::Receipt;
use trevor_core::texts::harmless_line;
use trevor_core::volume::MOST_FILES;
use trevor_core::volume::{Collection, Missing, VolumeFile};
use trevor_store::Committed;

/// Accepts the list of the sources of a round.
///
/// # Errors
/// 403 for any other caller than the Job, 409 when another list is stored or the round is sealed,
/// 422 for files that would be refused.
pub async fn put(
    gateway: &Arc<Gateway>,
    call: &Call,
    body: &mut Body,
) -> Result<Response, Problem> {
    let job = collection_job(gateway, call).await?;
    let _list_permit = gateway.job_list_permits.acquire().await;
    let (list, permit) = read_list::<Collection>(gateway, call, body).await?;
    if list.round != job.round {
        return Err(Problem::conflict(
            "AnotherRound",
            format!("this Job collects for round {}", job.round),
        ));
    }
    let work = gateway.zones.quarantine.work();
    let at = job.key.collection(job.round);
    if let Some(standing) = work.get(&at).await? {
        return created_or_conflict(standing == list);
    }
    // Waiting for the permit and reading the list may have taken long, so the checks are repeated.
    let job = match gateway.revalidate(call).await? {
        None => job,
        Some(call) => {
            let now = collection_job(gateway, &call).await?;
            requests::ensure_same_uid(&now.request, &job.key.uid)?;
            if now.round != job.round {
                return Err(requests::round_sealed());
            }
            now
        }
    };
    job.check_open(gateway).await?;
    check(gateway, &job, &list).await?;
    let entry = gateway.receipts.fresh(&job.key, job.round).await?;
    let missing = missing(&list, &entry.receipts().current_files());
    if !missing.is_empty() {
        return json_with_permit(&Missing { missing }, permit);
    }
    let bytes: u64 = list.files.iter().map(|f| f.size).sum();
    let action = AuditAction {
        kind: "Collected",
        actor: &call.caller.user,
        namespace: &job.key.namespace,
        uid: &job.key.uid,
        detail: json!({"round": job.round, "files": list.files.len(), "bytes": bytes, "pod": call.caller.pod.as_ref().map(|pod| &pod.name)}),
    };
    gateway.ledger.record(action).await?;
    let stored = work.create(&at, &list).await?;
    gateway.reconcile_hints.send(&call.namespace, &call.name);
    created_or_conflict(matches!(stored, Committed::Ours(_)))
}

async fn collection_job(gateway: &Gateway, call: &Call) -> Result<CollectionJob, Problem> {
    access::collector(gateway, call).await?.ok_or_else(|| {
        let detail = "the list of a request's sources is put by the Job that reads them";
        gateway.refuse(call, "", "collect", detail.to_owned())
    })
}

fn created_or_conflict(same: bool) -> Result<Response, Problem> {
    match same {
        true => Ok(StatusCode::CREATED.into_response()),
        false => Err(Problem::conflict(
            "AnotherCollection",
            "another list of this round's sources stands already; the volume changed since",
        )),
    }
}

/// Checks all files of the list as their uploads are checked, before any is sent.
async fn check(gateway: &Gateway, job: &CollectionJob, list: &Collection) -> Result<(), Problem> {
    if list.files.len() > MOST_FILES {
        let detail = format!("the list has more than {MOST_FILES} files; collect fewer");
        return Err(Problem::unprocessable("TooManyFiles", detail));
    }
    let rules = gateway
        .policies
        .rules(&job.key.namespace, job.request.spec.direction)
        .await?;
    for file in &list.files {
        let named = |problem: Problem| {
            let path = harmless_line(&file.path, 160);
            let detail = format!("'{path}': {}", problem.detail);
            Problem { detail, ..problem }
        };
        names::check_file(&file.path)
            .map_err(|error| named(Problem::unprocessable("InvalidName", error.to_string())))?;
        requests::check_declared(
            &job.request,
            &file.path,
            Some(file.size),
            Some(&file.sha256),
        )
        .map_err(named)?;
        admission::check_name_and_size(&file.path, Some(file.size), &rules).map_err(named)?;
    }
    if !list.files.is_sorted_by(|a, b| a.path < b.path) {
        return Err(Problem::unprocessable(
            "NotSorted",
            "the files of the list are not sorted by path, each once",
        ));
    }
    names::check_set(list.files.iter().map(|f| f.path.as_str()))
        .map_err(|error| Problem::unprocessable("InvalidName", error.to_string()))
}

/// Files of the list that are not in quarantine with this size and digest.
fn missing(list: &Collection, current: &[Receipt]) -> Vec<String> {
    let current: BTreeMap<&str, &Receipt> = current.iter().map(|r| (r.path.as_str(), r)).collect();
    let is_stored = |file: &&VolumeFile| {
        let content = current
            .get(file.path.as_str())
            .and_then(|r| r.content.as_ref());
        content.is_some_and(|c| c.size == file.size && c.sha256 == file.sha256)
    };
    let missing = list.files.iter().filter(|file| !is_stored(file));
    missing.map(|file| file.path.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use trevor_core::digest::Sha256Hex;
    use trevor_core::examples::receipt;

    #[test]
    fn a_file_is_missing_until_it_stands_with_its_size_and_digest() {
        let file = |path: &str, bytes: &str| VolumeFile {
            path: path.to_owned(),
            size: bytes.len() as u64,
            sha256: Sha256Hex::of(bytes.as_bytes()),
        };
        let list = Collection {
            round: 1,
            files: vec![
                file("a", "x"),
                file("b", "yy"),
                file("c", "z"),
                file("d", ""),
            ],
        };
        let standing = [
            receipt("a", Some("x")),
            receipt("b", Some("y!")),
            receipt("C", Some("z")),
            receipt("e", Some("besides")),
        ];
        assert_eq!(missing(&list, &standing), ["b", "c", "d"]);
    }
}
