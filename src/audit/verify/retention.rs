//! Files deleted on time: not before their due time, and not long after it unless a
//! hold says so.

use futures::TryStreamExt as _;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::source::{Source, SourceError};
use super::{Findings, Kind, Question};
use crate::audit::Event;
use crate::domain::commit::{Closed, ClosedAs, Revoked};
use crate::domain::retention::{Standing, What, due};
use crate::storage::keys::RequestKey;

/// A deletion's receipt, as far as it is looked at.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Deletion {
    due: Timestamp,
    started: Timestamp,
    #[serde(default)]
    finished: Option<Timestamp>,
    #[serde(default)]
    remaining: u64,
}

/// Compares due times and receipts of one request.
pub async fn verify(
    source: &Source,
    question: &Question,
    key: &RequestKey,
    closed: Option<&Closed>,
    events: &[Event],
    findings: &mut Findings<'_>,
) -> Result<(), SourceError> {
    let folder = format!("{}deleted/", key.prefix());
    let held = held(source, key, events).await?;
    let revoked: Option<Revoked> = super::requests::read(source, &key.revoked(), findings).await?;
    let standing = Standing {
        owner: None,
        closed,
        revoked: revoked.as_ref(),
    };
    // As the sweeper reckons it; a plan's life is about staging only.
    let due = |what: &str| What::of(what).and_then(|w| due(w, standing, SignedDuration::ZERO));
    // What is left of a release that came to nothing, or was taken back, goes at once;
    // the receipt is of the look when it would have been due.
    let wakes = |what: &str| match (what, closed) {
        ("release", Some(closed)) => closed.release_due,
        _ => due(what),
    };
    let mut seen = Vec::new();
    let mut keys = source.keys(&folder);
    while let Some(at) = keys.try_next().await? {
        let what = at[folder.len()..].trim_end_matches(".json").to_owned();
        // Receipts of URLs have another form, and no due time.
        if what != "quarantine" && what != "release" {
            continue;
        }
        let found: Option<Deletion> = super::requests::read(source, &at, findings).await?;
        seen.push(what.clone());
        let Some(deletion) = found else { continue };
        let Some(due) = due(&what) else {
            findings.add(
                Kind::DeletedEarly,
                &at,
                "is of a request that has no due time for it",
            );
            continue;
        };
        if deletion.due != due {
            let detail = format!("names the due time {}, and the closing {due}", deletion.due);
            findings.add(Kind::LedgerDiffers, &at, &detail);
        }
        if deletion.started < due {
            let detail = format!("began at {}, before its due time {due}", deletion.started);
            findings.add(Kind::DeletedEarly, &at, &detail);
        }
        if deletion.remaining > 0 {
            let detail = format!("left {} objects", deletion.remaining);
            findings.add(Kind::DeletionIncomplete, &at, &detail);
        }
        let ended = deletion.finished.unwrap_or(question.now);
        let late = wakes(&what).is_some_and(|at| ended.duration_since(at) > question.grace);
        if !held && late {
            let detail = format!("ended at {ended}, long after its due time {due}, without a hold");
            findings.add(Kind::KeptTooLong, &at, &detail);
        }
    }
    let Some(closed) = closed else { return Ok(()) };
    for what in ["quarantine", "release"] {
        let Some(due) = due(what) else { continue };
        let revoked = what == "release" && revoked.is_some();
        let nothing = what == "release" && closed.closed_as != ClosedAs::Released;
        let late = question.now.duration_since(due) > question.grace;
        if late && !held && !revoked && !nothing && !seen.iter().any(|s| s == what) {
            let detail =
                format!("{what} was due at {due}, and there is no receipt of its deletion");
            findings.add(Kind::KeptTooLong, &key.closed(), &detail);
        }
    }
    Ok(())
}

/// Whether a hold explains that something is late, lifted or not.
async fn held(source: &Source, key: &RequestKey, events: &[Event]) -> Result<bool, SourceError> {
    let said = events.iter().any(|event| {
        let action = event.detail.get("action").and_then(|a| a.as_str());
        event.kind.starts_with("Hold") || event.kind == "Held" || action == Some("Hold")
    });
    if said {
        return Ok(true);
    }
    let folder = format!("work/holds/{}/", key.uid);
    let mut holds = source.keys(&folder);
    Ok(holds.try_next().await?.is_some())
}
