//! Warns, once, before a URL ends that the gateway never handed out: an entry of the
//! ledger, and an Event on the request and on its ReleaseRecord.
//!
//! Repeated: the fact is create-only and comes first, the entry's id and the Events'
//! names follow from it. Status says until when there is nothing to do, so that a
//! request at rest costs no call before, and none after.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Resource as _};

use super::super::context::Context;
use super::super::error::EffectError;
use super::super::ledger;
use super::super::reconcile::Subject;
use super::deliver;
use super::record::record_name;
use trevor_api::ReleaseRecord;
use trevor_api::condition::reason;
use trevor_core::phase::Facts;
use trevor_core::url_ending::{UrlStanding, UrlWarning, Warning, warning};
use trevor_core::url_issue::UrlIssue;
use trevor_store::StorageError;

/// Warns if it is time. Gives when it will be, if it will.
pub async fn warn(
    ctx: &Context,
    subject: &Subject,
    facts: &Facts,
) -> Result<Option<Timestamp>, EffectError> {
    // In a namespace that is going no Event can be made, and nobody reads it.
    let url = match subject.deleting() {
        true => None,
        false => deliver::url_in_force(ctx, subject).await?,
    };
    let Some(url) = url else {
        return Ok(None);
    };
    let (used, standing) = known(ctx, subject, facts, &url).await?;
    let of_url = UrlStanding {
        issued: url.issued,
        expires: url.expires,
        used,
        warned: standing.is_some(),
    };
    let now = trevor_api::condition::second(Timestamp::now());
    let fact = match (warning(of_url, now), standing) {
        (Warning::At(at), _) => return Ok(Some(at)),
        // Told whom it concerns; or perhaps not, if status still waits.
        (Warning::Never, Some(standing)) if waits(subject) => standing,
        (Warning::Never, _) => return Ok(None),
        (Warning::Now, _) => {
            ctx.claim()?;
            let fact = UrlWarning {
                issue: url.issue,
                expires: url.expires,
                time: now,
            };
            let records = &ctx.zones.records;
            let key = subject.key.url_warned(url.issue);
            records.create(&key, &fact).await?.into_inner()
        }
    };
    // Nobody is told what the ledger does not have.
    let mut events = ledger::events(&subject.key, facts);
    events.extend(ledger::of_warning(&subject.key, &fact));
    ledger::append(ctx, &subject.key, facts, events).await?;
    publish(ctx, subject, &fact, &url).await?;
    Ok(None)
}

/// Whether the gateway handed it out, and the warning that went out about it.
async fn known(
    ctx: &Context,
    subject: &Subject,
    facts: &Facts,
    url: &UrlIssue,
) -> Result<(bool, Option<UrlWarning>), StorageError> {
    let records = &ctx.zones.records;
    let round = facts.last.as_ref().map_or(0, |last| last.round);
    let (read_at, warned_at) = (
        subject.key.url_read(round, url.issue),
        subject.key.url_warned(url.issue),
    );
    tokio::try_join!(records.exists(&read_at), records.get(&warned_at))
}

fn waits(subject: &Subject) -> bool {
    let status = subject.request.status.as_ref();
    let release = status.and_then(|status| status.release.as_ref());
    release.is_some_and(|release| release.warning_time.is_some())
}

async fn publish(
    ctx: &Context,
    subject: &Subject,
    fact: &UrlWarning,
    url: &UrlIssue,
) -> Result<(), EffectError> {
    let namespace = &subject.key.namespace;
    let record = record_name(&subject.name, &subject.key.uid);
    let records: Api<ReleaseRecord> = Api::namespaced(ctx.client.clone(), namespace);
    let released = records.get_opt(&record).await?;
    let about = [
        Some(subject.request.object_ref(&())),
        released.map(|record| record.object_ref(&())),
    ];
    let note = format!(
        "the URL in the Secret {} ends at {}, and GET release of the gateway never handed it out (trevor does not see who reads the Secret, nor downloads); AirlockAction Renew makes a new one within the download window",
        url.secret_name, fact.expires
    );
    for regarding in about.into_iter().flatten() {
        create(ctx, &record, fact, regarding, &note).await?;
    }
    Ok(())
}

/// An Event whose name follows from what it says: a repetition finds it.
async fn create(
    ctx: &Context,
    record: &str,
    fact: &UrlWarning,
    regarding: ObjectReference,
    note: &str,
) -> Result<(), EffectError> {
    let kind = regarding.kind.as_deref().unwrap_or_default().to_lowercase();
    let namespace = regarding.namespace.clone().unwrap_or_default();
    let event = Event {
        metadata: ObjectMeta {
            name: Some(format!("{record}.url-{}-{kind}", fact.issue)),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        action: Some("Warn".to_owned()),
        event_time: Some(MicroTime(fact.time)),
        note: Some(note.to_owned()),
        reason: Some(reason::URL_ENDING.to_owned()),
        regarding: Some(regarding),
        reporting_controller: Some("trevor".to_owned()),
        reporting_instance: Some(ctx.claim()?.term.to_string()),
        type_: Some("Warning".to_owned()),
        ..Event::default()
    };
    let api: Api<Event> = Api::namespaced(ctx.client.clone(), &namespace);
    match api.create(&PostParams::default(), &event).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(answer)) if answer.reason == "AlreadyExists" => Ok(()),
        Err(error) => Err(error.into()),
    }
}
