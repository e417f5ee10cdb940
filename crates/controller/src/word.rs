//! The one place that writes what became of a review or an action into its status.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::context::Context;
use super::error::EffectError;
use trevor_api::{AirlockAction, AirlockReview, AirlockReviewStatus, ReviewState};
use trevor_core::quorum::NotCounted;

/// A kind whose objects are somebody's word, with a status like a review's.
pub trait Word {
    /// Its status, if it has one.
    fn status(&self) -> Option<&AirlockReviewStatus>;
}

impl Word for AirlockReview {
    fn status(&self) -> Option<&AirlockReviewStatus> {
        self.status.as_ref()
    }
}

impl Word for AirlockAction {
    fn status(&self) -> Option<&AirlockReviewStatus> {
        self.status.as_ref()
    }
}

/// It counts, or was carried out.
pub fn counted() -> AirlockReviewStatus {
    AirlockReviewStatus {
        state: Some(ReviewState::Counted),
        ..AirlockReviewStatus::default()
    }
}

/// It is permitted, and not carried out yet.
pub fn pending(reason: &str, message: &str) -> AirlockReviewStatus {
    AirlockReviewStatus {
        state: Some(ReviewState::Pending),
        ..not_counted(reason, message)
    }
}

/// It does not, and why.
pub fn not_counted(reason: &str, message: &str) -> AirlockReviewStatus {
    AirlockReviewStatus {
        state: Some(ReviewState::NotCounted),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        observed_time: None,
    }
}

/// Writes the status of an object, unless it says that already.
pub async fn write<K>(
    ctx: &Context,
    namespace: &str,
    name: &str,
    uid: &str,
    status: &AirlockReviewStatus,
) -> Result<(), EffectError>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Word
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    write_unless::<K>(ctx, namespace, (name, uid), status, |_| false).await
}

/// The same, unless what it says now is to stay.
pub async fn write_unless<K>(
    ctx: &Context,
    namespace: &str,
    (name, uid): (&str, &str),
    status: &AirlockReviewStatus,
    stays: impl Fn(&AirlockReviewStatus) -> bool,
) -> Result<(), EffectError>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Word
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(ctx.client.clone(), namespace);
    let Some(live) = api.get_opt(name).await? else {
        return Ok(());
    };
    let now = live.status().cloned().unwrap_or_default();
    let same =
        now.state == status.state && now.reason == status.reason && now.message == status.message;
    // What became of a review in its own round stays, whatever is under review now.
    let of_earlier_round =
        now.state.is_some() && status.reason.as_deref() == Some(NotCounted::OtherDigest.reason());
    if same || of_earlier_round || stays(&now) || live.meta().uid.as_deref() != Some(uid) {
        return Ok(());
    }
    let status = AirlockReviewStatus {
        observed_time: Some(Time(trevor_api::condition::second(Timestamp::now()))),
        ..status.clone()
    };
    let mut patch = json!({
        "metadata": {"resourceVersion": live.meta().resource_version},
        "status": status,
    });
    if let Some(fields) = patch["status"].as_object_mut() {
        // A merge patch removes what is null.
        for field in ["reason", "message"] {
            fields.entry(field).or_insert(serde_json::Value::Null);
        }
    }
    match api
        .patch_status(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
    {
        Ok(written) => {
            ctx.echoes.wrote(&written);
            if status.state == Some(ReviewState::NotCounted) {
                tell(ctx, &live.object_ref(&()), &status).await;
            }
            Ok(())
        }
        Err(kube::Error::Api(answer)) if answer.code == 404 || answer.code == 409 => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// An Event on a word that was refused; its status has the same for ever.
async fn tell(ctx: &Context, reference: &ObjectReference, status: &AirlockReviewStatus) {
    let event = Event {
        type_: EventType::Warning,
        reason: status.reason.clone().unwrap_or_default(),
        note: status
            .message
            .as_ref()
            .map(|message| message.chars().take(900).collect()),
        action: "Refuse".to_owned(),
        secondary: None,
    };
    if let Err(error) = ctx.recorder.publish(&event, reference).await {
        tracing::debug!(%error, "the Event was not stored");
    }
}
