//! The rules as the API server serves them, and its clock.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join_all;
use http::header::{ACCEPT, DATE};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use serde_json::Value;

use super::RulesError;
use super::shipped::{Id, Kind, Rules, said};

/// Only names, uids and generations of a list.
const METADATA_LIST: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
/// Only those of an object.
const METADATA: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

/// uid and generation of each object: as long as they are the same, so is what the
/// objects say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// By kind and name.
    pub objects: BTreeMap<Id, String>,
    /// When it was taken, by the API server's clock, to the second below.
    pub time: Timestamp,
}

impl Fingerprint {
    /// As it is stored.
    #[must_use]
    pub fn named(&self) -> BTreeMap<String, String> {
        let name =
            |((kind, name), mark): (&Id, &String)| (format!("{kind:?}/{name}"), mark.clone());
        self.objects.iter().map(name).collect()
    }
}

/// Takes the fingerprint of some objects; one that is not there is left out.
///
/// # Errors
/// When the API server does not answer.
pub async fn fingerprint(
    client: &Client,
    wanted: &BTreeSet<Id>,
) -> Result<Fingerprint, RulesError> {
    Ok(mark(
        &objects(client, wanted, (METADATA_LIST, METADATA)).await?,
    ))
}

/// What the objects say, and the fingerprint of just these.
///
/// # Errors
/// When the API server does not answer.
pub async fn rules(
    client: &Client,
    wanted: &BTreeSet<Id>,
) -> Result<(Rules, Fingerprint), RulesError> {
    let json = "application/json";
    let answers = objects(client, wanted, (json, json)).await?;
    let marked = mark(&answers);
    let all = answers.into_iter().flat_map(|answer| answer.objects);
    let rules = all.map(|((kind, name), object)| {
        let said = said(kind, &object);
        ((kind, name), said)
    });
    Ok((Rules(rules.collect()), marked))
}

fn mark(answers: &[Answer]) -> Fingerprint {
    let mark = |(id, object): &(Id, Value)| {
        let word = |pointer: &str| object.pointer(pointer).cloned().unwrap_or_default();
        let (uid, generation) = (word("/metadata/uid"), word("/metadata/generation"));
        let mark = format!("{}@{generation}", uid.as_str().unwrap_or_default());
        (id.clone(), mark)
    };
    Fingerprint {
        objects: answers
            .iter()
            .flat_map(|a| a.objects.iter().map(mark))
            .collect(),
        time: answers.iter().map(|a| a.time).min().unwrap_or_default(),
    }
}

struct Answer {
    objects: Vec<(Id, Value)>,
    time: Timestamp,
}

async fn objects(
    client: &Client,
    wanted: &BTreeSet<Id>,
    (list, single): (&str, &str),
) -> Result<Vec<Answer>, RulesError> {
    let kinds: BTreeSet<Kind> = wanted.iter().map(|(kind, _)| *kind).collect();
    // A cluster has few policies, and many definitions of others.
    let lists = kinds
        .into_iter()
        .filter(|kind| *kind != Kind::CustomResourceDefinition)
        .map(|kind| async move {
            let Some((body, time)) = get(client, kind.path(), list).await? else {
                return Ok(None);
            };
            let items = body["items"].as_array().cloned().unwrap_or_default();
            let named = items.into_iter().filter_map(|object| {
                let name = object.pointer("/metadata/name")?.as_str()?.to_owned();
                wanted
                    .contains(&(kind, name.clone()))
                    .then_some(((kind, name), object))
            });
            Ok::<_, RulesError>(Some(Answer {
                objects: named.collect(),
                time,
            }))
        });
    let singles = wanted
        .iter()
        .filter(|(kind, _)| *kind == Kind::CustomResourceDefinition)
        .map(|(kind, name)| async move {
            let path = format!("{}/{name}", kind.path());
            let found = get(client, &path, single).await?;
            Ok::<_, RulesError>(found.map(|(object, time)| Answer {
                objects: vec![((*kind, name.clone()), object)],
                time,
            }))
        });
    let (lists, singles) = tokio::try_join!(try_join_all(lists), try_join_all(singles))?;
    Ok(lists.into_iter().chain(singles).flatten().collect())
}

/// What lies at a path, and the server's clock; none: there is nothing.
async fn get(
    client: &Client,
    path: &str,
    accept: &str,
) -> Result<Option<(Value, Timestamp)>, RulesError> {
    let bad = |problem: String| RulesError::Answer {
        path: path.to_owned(),
        problem,
    };
    let request = http::Request::get(path)
        .header(ACCEPT, accept)
        .body(Body::empty())
        .map_err(|e| bad(e.to_string()))?;
    let response = client.send(request).await?;
    let status = response.status();
    if status == http::StatusCode::NOT_FOUND {
        return Ok(None);
    }
    let date = response
        .headers()
        .get(DATE)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| jiff::fmt::rfc2822::parse(text).ok())
        .map(|zoned| zoned.timestamp())
        .ok_or_else(|| bad("it bears no Date".to_owned()))?;
    let body = response
        .into_body()
        .collect()
        .await
        .map_err(|e| bad(e.to_string()))?
        .to_bytes();
    if !status.is_success() {
        let said = String::from_utf8_lossy(&body)
            .chars()
            .take(300)
            .collect::<String>();
        return Err(bad(format!("{status}: {said}")));
    }
    let value = serde_json::from_slice(&body).map_err(|e| bad(e.to_string()))?;
    Ok(Some((value, date)))
}
