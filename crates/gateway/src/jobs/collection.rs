//! `PUT collection`: what a round's sources hold, put by the Job that reads them. It
//! is stored once, when all of it stands in quarantine; until then the answer says
//! what is missing.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde_json::json;

use crate::cluster::requests as request;
use crate::identity::job_pods::{self as job_token, Collecting};
use crate::limits::admission as gate;
use crate::problem::Problem;
use crate::records::ledger::Act;
use crate::state::{Call, Gateway};
use crate::upload::files::check_declared;
use trevor_core::names;
use trevor_core::receipt::Receipt;
use trevor_core::texts::harmless_line;
use trevor_core::volume::MOST_FILES;
use trevor_core::volume::{Collection, Missing, VolumeFile};
use trevor_store::commit::{Committed, commit, read};

/// Takes the list of a round's sources.
///
/// # Errors
/// 403 for anybody but the Job, 409 for another list than the one that stands.
pub async fn put(
    gateway: &Arc<Gateway>,
    call: &Call,
    body: &mut Body,
) -> Result<Response, Problem> {
    let job = collects(gateway, call).await?;
    let _turn = gateway.jobs.lists.acquire().await;
    let (list, share) =
        crate::limits::response_body::json::<Collection>(gateway, call, body).await?;
    if list.round != job.round {
        return Err(Problem::conflict(
            "AnotherRound",
            format!("this Job collects for round {}", job.round),
        ));
    }
    let work = gateway.zones.quarantine.bucket();
    let at = job.key.collection(job.round);
    if let Some(standing) = read::<Collection>(work, &at).await? {
        return settled(standing == list);
    }
    // Its turn and the list itself may have taken long: the request as it is now.
    let job = match gateway.anew(call).await? {
        None => job,
        Some(call) => {
            let now = collects(gateway, &call).await?;
            request::same(&now.request, &job.key.uid)?;
            if now.round != job.round {
                return Err(request::sealed());
            }
            now
        }
    };
    job.is_open(gateway).await?;
    check(gateway, &job, &list).await?;
    let entry = gateway.index.fresh(&job.key, job.round).await?;
    let missing = missing(&list, &entry.known().standing());
    if !missing.is_empty() {
        return crate::limits::response_body::json_held(&Missing { missing }, share);
    }
    let bytes: u64 = list.files.iter().map(|f| f.size).sum();
    let act = Act {
        kind: "Collected",
        actor: &call.caller.user,
        namespace: &job.key.namespace,
        uid: &job.key.uid,
        detail: json!({"round": job.round, "files": list.files.len(), "bytes": bytes, "pod": call.caller.pod.as_ref().map(|pod| &pod.name)}),
    };
    gateway.ledger.record(act).await?;
    let stored = commit(work, &at, &list).await?;
    gateway.hints.send(&call.namespace, &call.name);
    settled(matches!(stored, Committed::Ours(_)))
}

async fn collects(gateway: &Gateway, call: &Call) -> Result<Collecting, Problem> {
    job_token::collector(gateway, call).await?.ok_or_else(|| {
        let detail = "the list of a request's sources is put by the Job that reads them";
        gateway.refuse(call, "", "collect", detail.to_owned())
    })
}

fn settled(same: bool) -> Result<Response, Problem> {
    match same {
        true => Ok(StatusCode::CREATED.into_response()),
        false => Err(Problem::conflict(
            "AnotherCollection",
            "another list of this round's sources stands already; the volume changed since",
        )),
    }
}

/// What the uploads of its files would be refused for is told before any is sent.
async fn check(gateway: &Gateway, job: &Collecting, list: &Collection) -> Result<(), Problem> {
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
        check_declared(
            &job.request,
            &file.path,
            Some(file.size),
            Some(&file.sha256),
        )
        .map_err(named)?;
        gate::check(&file.path, Some(file.size), &rules).map_err(named)?;
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

/// Files of the list that do not stand as it has them.
fn missing(list: &Collection, standing: &[Receipt]) -> Vec<String> {
    let standing: BTreeMap<&str, &Receipt> =
        standing.iter().map(|r| (r.path.as_str(), r)).collect();
    let stands = |file: &&VolumeFile| {
        let content = standing
            .get(file.path.as_str())
            .and_then(|r| r.content.as_ref());
        content.is_some_and(|c| c.size == file.size && c.sha256 == file.sha256)
    };
    let missing = list.files.iter().filter(|file| !stands(file));
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
