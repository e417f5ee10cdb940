//! Where it is seen what became of a notification: the ReleaseRecord's status, an
//! Event, the ledger.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use super::delivery::{Notification, NotificationState};
use trevor_api::{GROUP, ReleaseRecord};

use trevor_core::keys::RequestKey;
use trevor_core::notice::OutboxEntry;

/// Deliveries that status shows.
const SHOWN: usize = 50;

/// Shows deliveries on the ReleaseRecord, where there is one. A release that is still
/// being recorded shows them when it is looked at again.
pub async fn on_record(
    client: &Client,
    entry: &OutboxEntry,
    deliveries: &[Notification],
) -> Result<(), kube::Error> {
    if !entry.notice.is_of_release() {
        return Ok(());
    }
    let api: Api<ReleaseRecord> = Api::namespaced(client.clone(), &entry.notice.namespace);
    for _ in 0..5 {
        let Some(live) = api.get_opt(&entry.record).await? else {
            return Ok(());
        };
        if live.spec.request_ref.uid != entry.notice.uid {
            return Ok(());
        }
        let before = live.status.clone().unwrap_or_default().deliveries;
        let after = merged(before.clone(), deliveries);
        if after == before {
            return Ok(());
        }
        let patch = json!({
            "metadata": {"resourceVersion": live.resource_version()},
            "status": {"deliveries": after},
        });
        let params = PatchParams::default();
        match api
            .patch_status(&entry.record, &params, &Patch::Merge(&patch))
            .await
        {
            Err(kube::Error::Api(answer)) if answer.code == 409 => {}
            Err(kube::Error::Api(answer)) if answer.code == 404 => return Ok(()),
            Err(error) => return Err(error),
            Ok(_) => return Ok(()),
        }
    }
    Ok(())
}

/// What is new takes the place of what was said of the same before; the oldest go.
fn merged(mut all: Vec<Notification>, new: &[Notification]) -> Vec<Notification> {
    for one in new {
        let same = |d: &&mut Notification| {
            (&d.channel, &d.target, &d.id) == (&one.channel, &one.target, &one.id)
        };
        match all.iter_mut().find(same) {
            Some(known) => *known = one.clone(),
            None => all.push(one.clone()),
        }
    }
    let over = all.len().saturating_sub(SHOWN);
    all.drain(..over);
    all
}

/// An Event on the request: a channel did not take a notification, and it was given up.
pub async fn by_event(recorder: &Recorder, entry: &OutboxEntry, delivery: &Notification) {
    let why = delivery.last_error.map_or_else(String::new, |error| {
        let code = error.code.map_or_else(String::new, |c| format!(" {c}"));
        format!(" ({:?}{code})", error.reason)
    });
    let event = Event {
        type_: EventType::Warning,
        reason: "NotificationFailed".to_owned(),
        note: Some(format!(
            "the {} notification was given up on channel {} after {} tries{why}; look at the channel",
            entry.notice.kind.slug(),
            delivery.channel,
            delivery.attempts
        )),
        action: "Notify".to_owned(),
        secondary: None,
    };
    let reference = ObjectReference {
        api_version: Some(format!("{GROUP}/v1alpha1")),
        kind: Some("AirlockRequest".to_owned()),
        name: Some(entry.request.clone()),
        namespace: Some(entry.notice.namespace.clone()),
        uid: Some(entry.notice.uid.clone()),
        ..ObjectReference::default()
    };
    if let Err(error) = recorder.publish(&event, &reference).await {
        tracing::debug!(uid = entry.notice.uid, %error, "the Event was not stored");
    }
}

/// The ledger's event of one delivery that ended. No address is in it.
pub fn in_ledger(
    key: &RequestKey,
    entry: &OutboxEntry,
    slot: &str,
    delivery: &Notification,
) -> trevor_core::event::Event {
    let detail = json!({
        "notification": entry.notice.what, "kind": entry.notice.kind, "channel": delivery.channel,
        "state": delivery.state, "attempts": delivery.attempts, "lastError": delivery.last_error,
    });
    trevor_core::event::Event {
        id: format!("notified-{}-{slot}", entry.notice.what),
        kind: "Notified".to_owned(),
        actor: None,
        namespace: key.namespace.clone(),
        uid: key.uid.clone(),
        before: None,
        after: None,
        detail: detail.as_object().cloned().unwrap_or_default(),
        time: delivery.time.0,
    }
}

/// Whether a delivery is over.
pub fn is_over(delivery: &Notification) -> bool {
    delivery.state != NotificationState::Pending
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn delivery(channel: &str, id: &str, state: NotificationState) -> Notification {
        Notification {
            channel: channel.into(),
            target: None,
            id: id.into(),
            state,
            attempts: 1,
            last_error: None,
            time: Time(Timestamp::UNIX_EPOCH),
        }
    }

    #[test]
    fn what_is_new_takes_its_place_and_the_oldest_go() {
        use NotificationState::{Delivered, Pending};
        let before = vec![delivery("a", "1", Pending), delivery("b", "1", Pending)];
        let after = merged(
            before,
            &[delivery("a", "1", Delivered), delivery("a", "2", Pending)],
        );
        let rows: Vec<_> = after
            .iter()
            .map(|d| (d.channel.as_str(), d.id.as_str(), d.state))
            .collect();
        assert_eq!(
            rows,
            [
                ("a", "1", Delivered),
                ("b", "1", Pending),
                ("a", "2", Pending)
            ]
        );
        let many: Vec<_> = (0..60)
            .map(|n| delivery("a", &n.to_string(), Delivered))
            .collect();
        let kept = merged(Vec::new(), &many);
        assert_eq!((kept.len(), kept[0].id.as_str()), (SHOWN, "10"));
    }
}
