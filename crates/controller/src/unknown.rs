//! Deletes reviews of requests that are not there, a day after they were made: nothing was
//! ever decided on them, no ledger has them, and whoever may review could make them without
//! end. All other reviews stay for as long as their namespace.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::{Api, ResourceExt as _};

use super::context::Context;
use super::error::EffectError;
use super::removal;
use super::reviews::UNKNOWN_REQUEST;
use trevor_api::{AirlockRequest, AirlockReview, ReviewState};

/// The longest pause between two looks.
const PAUSE: Duration = Duration::from_secs(3600);

/// Looks now and then. It never ends.
pub async fn serve(ctx: Arc<Context>) {
    let age = ctx.config.controller.retention.unknown_reviews_seconds;
    let pause = Duration::from_secs(age.max(1)).min(PAUSE);
    let age = SignedDuration::from_secs(i64::try_from(age).unwrap_or(i64::MAX));
    loop {
        if let Err(error) = look(&ctx, age).await {
            tracing::warn!(%error, "reviews of requests that are not there were not deleted; it is tried again");
        }
        tokio::time::sleep(pause).await;
    }
}

async fn look(ctx: &Context, age: SignedDuration) -> Result<(), EffectError> {
    for review in ctx.reviews.state() {
        if !is_over(&review, Timestamp::now(), age) {
            continue;
        }
        let namespace = review.namespace().unwrap_or_default();
        let requests: Api<AirlockRequest> = Api::namespaced(ctx.client.clone(), &namespace);
        // Made meanwhile: what stands of it says so to nobody, and so it stays.
        if requests.get_opt(&review.spec.request_name).await?.is_some() {
            continue;
        }
        let reviews: Api<AirlockReview> = Api::namespaced(ctx.client.clone(), &namespace);
        // By resourceVersion: one whose status changed since stays.
        removal::remove(ctx, &reviews, review.as_ref()).await?;
    }
    Ok(())
}

/// Whether its author was told for so long that there is no such request.
fn is_over(review: &AirlockReview, now: Timestamp, age: SignedDuration) -> bool {
    let Some(status) = &review.status else {
        return false;
    };
    let unknown = status.state == Some(ReviewState::NotCounted)
        && status.reason.as_deref() == Some(UNKNOWN_REQUEST.0);
    let made = review.metadata.creation_timestamp.as_ref().map(|t| t.0);
    let told = status.observed_time.as_ref().map(|t| t.0);
    let since = made.max(told);
    unknown && since.is_some_and(|since| now.duration_since(since) > age)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_was_told_for_a_day_that_its_request_is_not_there_goes() {
        let (day, at) = (SignedDuration::from_hours(24), |s: i64| {
            Timestamp::from_second(s).unwrap()
        });
        let review = |status: serde_json::Value| -> AirlockReview {
            serde_json::from_value(json!({
                "apiVersion": "airlock.karectl.io/v1alpha1", "kind": "AirlockReview",
                "metadata": {"name": "v", "creationTimestamp": at(0)},
                "spec": {"requestName": "r", "manifestDigest": "d", "decision": "Approve"},
                "status": status,
            }))
            .unwrap()
        };
        let told = |state: &str, reason: &str, seconds: i64| json!({"state": state, "reason": reason, "observedTime": at(seconds)});
        for (status, now, goes) in [
            (told("NotCounted", "UnknownRequest", 5), 86_405, false),
            (told("NotCounted", "UnknownRequest", 5), 86_406, true),
            (told("NotCounted", "OtherDigest", 5), 1_000_000, false),
            (told("Counted", "UnknownRequest", 5), 1_000_000, false),
            (json!({"state": "NotCounted"}), 1_000_000, false),
            (json!({}), 1_000_000, false),
            (serde_json::Value::Null, 1_000_000, false),
        ] {
            assert_eq!(
                is_over(&review(status.clone()), at(now), day),
                goes,
                "{status} {now}"
            );
        }
    }
}
