//! What is shown of AirlockPolicies: whether they can be fulfilled, where they
//! apply, and whether the admission rules are in force.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType};
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::json;

use super::context::Context;
use super::error::EffectError;
use crate::rules::Report;
use trevor_api::condition::{self, reason};
use trevor_api::{AirlockPolicy, Direction};
use trevor_core::policy::{self, Rules};

/// Namespaces that status shows.
const SHOWN: usize = 100;

/// Writes the status of every policy, where it is another.
pub async fn show_all(ctx: &Context, report: &Report) -> Result<(), EffectError> {
    let policies = ctx.policies.state();
    let namespaces: BTreeSet<String> = ctx
        .requests
        .state()
        .iter()
        .filter_map(|request| request.namespace())
        .collect();
    for policy in &policies {
        ctx.claim()?;
        show(ctx, policy, &policies, &namespaces, report).await?;
    }
    Ok(())
}

async fn show(
    ctx: &Context,
    policy: &AirlockPolicy,
    all: &[Arc<AirlockPolicy>],
    namespaces: &BTreeSet<String>,
    report: &Report,
) -> Result<(), EffectError> {
    let before = policy.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let generation = policy.metadata.generation;
    let now = Timestamp::now();
    let name = policy.name_any();
    status.observed_generation = generation;
    status.namespaces = namespaces
        .iter()
        .filter(|namespace| {
            let applied = policy::applied(
                all.iter().map(AsRef::as_ref),
                None,
                namespace,
                Direction::Egress,
            );
            applied.is_ok_and(|applied| applied.policy.name == name)
        })
        .take(SHOWN)
        .cloned()
        .collect();
    let problem = problem(policy, all);
    let (word, message) = problem
        .clone()
        .unwrap_or_else(|| (reason::VALID, overrides(ctx, policy)));
    let ready = problem.is_none();
    let kind = condition::READY;
    condition::set(
        &mut status.conditions,
        kind,
        ready,
        word,
        &message,
        generation,
        now,
    );
    let live = report.live();
    let word = if live {
        reason::RULES_LIVE
    } else {
        reason::RULES_NOT_LIVE
    };
    let kind = condition::RULES_LIVE;
    let message = report.message();
    condition::set(
        &mut status.conditions,
        kind,
        live,
        word,
        &message,
        generation,
        now,
    );
    if status == before {
        return Ok(());
    }
    let api: Api<AirlockPolicy> = Api::all(ctx.client.clone());
    let patch = json!({
        "metadata": {"resourceVersion": policy.resource_version()},
        "status": status,
    });
    match api
        .patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
    {
        Ok(_) => {}
        // Another version of it comes by the watch.
        Err(kube::Error::Api(answer)) if answer.code == 404 || answer.code == 409 => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    if !live && message_before(&before.conditions) != Some(&message) {
        warn(ctx, policy, message).await;
    }
    Ok(())
}

fn message_before(
    conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition],
) -> Option<&str> {
    conditions
        .iter()
        .find(|c| c.type_ == condition::RULES_LIVE && c.status == "False")
        .map(|c| c.message.as_str())
}

/// A default that stands before the configuration's: whoever changes that one in the
/// Helm values sees here why nothing follows.
fn overrides(ctx: &Context, policy: &AirlockPolicy) -> String {
    match &ctx.config.configured_policy {
        Some(configured) if policy.spec.default == Some(true) => format!(
            "applies in place of the policy {}, which is in force once this one is deleted",
            configured.shown()
        ),
        _ => String::new(),
    }
}

/// Why a policy cannot be fulfilled whatever the request, if so.
fn problem(policy: &AirlockPolicy, all: &[Arc<AirlockPolicy>]) -> Option<(&'static str, String)> {
    let name = policy.name_any();
    let conflict = |namespace: &str| {
        policy::applied(
            all.iter().map(AsRef::as_ref),
            None,
            namespace,
            Direction::Egress,
        )
        .err()
        .filter(|problem| matches!(problem, policy::PolicyProblem::Conflict(..)))
    };
    for namespace in policy.spec.namespaces.iter().flatten() {
        if let Some(problem) = conflict(namespace) {
            return Some((problem.reason(), problem.to_string()));
        }
    }
    let defaults: Vec<String> = all
        .iter()
        .filter(|p| p.spec.default == Some(true))
        .map(|p| p.name_any())
        .collect();
    if policy.spec.default == Some(true) && defaults.len() > 1 {
        let message = format!(
            "{} are all the default; a cluster admin keeps one",
            defaults.join(", ")
        );
        return Some((reason::CONFLICTING_POLICIES, message));
    }
    for (direction, rules) in [
        (Direction::Egress, policy.spec.egress.as_ref()),
        (Direction::Ingress, policy.spec.ingress.as_ref()),
    ] {
        let rules = Rules::of(direction, rules);
        let listed = rules.reviewers.as_ref().map(BTreeSet::len);
        let required = rules.required_approvals;
        if listed.is_some_and(|n| i64::try_from(n).unwrap_or(i64::MAX) < required) {
            let message = format!(
                "AirlockPolicy {name} asks for {required} approvals of {direction} and names {} reviewers; name more, or ask for fewer",
                listed.unwrap_or(0)
            );
            return Some((reason::IMPOSSIBLE_POLICY, message));
        }
    }
    None
}

async fn warn(ctx: &Context, policy: &AirlockPolicy, message: String) {
    let event = Event {
        type_: EventType::Warning,
        reason: reason::RULES_NOT_LIVE.to_owned(),
        note: Some(message.chars().take(900).collect()),
        action: "Verify".to_owned(),
        secondary: None,
    };
    if let Err(error) = ctx.recorder.publish(&event, &policy.object_ref(&())).await {
        tracing::debug!(%error, "the Event was not stored");
    }
}
