//! What a commit about a request rests on, as the API server has it now.
//!
//! A watch may lag, and may be cut for minutes. Before a decision, an outcome, a renewal and
//! a deletion, what it rests on is therefore read by a GET, or by a LIST without a
//! resourceVersion, which the API server answers with everything that it accepted before.
//! Whoever commits takes the value that such a read gave, so that none is left out.
//!
//! Where there is no resource, or no definition of it any more, nothing is the answer; where
//! there is no answer the commit waits.

use std::sync::Arc;

use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use super::actions::in_order;
use super::context::Context;
use super::error::EffectError;
use super::find::find;
use super::reconcile::Subject;
use super::reviews;
use trevor_api::{AirlockAction, AirlockPolicy, AirlockRequest};
use trevor_cluster::pages;
use trevor_core::policy::{self, Applied, PolicyProblem};
use trevor_core::quorum::ReviewFact;

/// What an outcome rests on: the request, and its reviews. Two reads.
#[must_use]
pub struct ForOutcome {
    /// The request; none: it is gone, or another one has its name.
    pub request: Option<AirlockRequest>,
    /// Its reviews, whatever they name.
    pub reviews: Vec<ReviewFact>,
    _read: Read,
}

/// What a decision rests on: the request, its reviews, the policy that applies to it, and
/// the actions on it. Four reads.
#[must_use]
pub struct ForDecision {
    /// The request; none: it is gone, or another one has its name.
    pub request: Option<AirlockRequest>,
    /// Its reviews, whatever they name.
    pub reviews: Vec<ReviewFact>,
    /// The policy, or why none applies.
    pub policy: Result<Applied, PolicyProblem>,
    /// Actions on the request that have no final word, oldest first.
    pub actions: Vec<Arc<AirlockAction>>,
    _read: Read,
}

/// What a renewal rests on: what may take the release back. The request, its reviews, and
/// the actions on it and on its ReleaseRecord. Four reads; two where the request is gone.
#[must_use]
pub struct ForRenewal {
    /// The request; none: it is gone, or another one has its name.
    pub request: Option<AirlockRequest>,
    /// Its reviews, whatever they name.
    pub reviews: Vec<ReviewFact>,
    /// Actions on both that have no final word, oldest first.
    pub actions: Vec<Arc<AirlockAction>>,
    _read: Read,
}

/// Nothing outside of this module makes one.
struct Read;

/// Reads what an outcome rests on.
pub async fn for_outcome(ctx: &Context, subject: &Subject) -> Result<ForOutcome, EffectError> {
    let (request, reviews) = tokio::try_join!(request(ctx, subject), reviews::list(ctx, subject))?;
    Ok(ForOutcome {
        request,
        reviews,
        _read: Read,
    })
}

/// Reads what a decision rests on.
pub async fn for_decision(ctx: &Context, subject: &Subject) -> Result<ForDecision, EffectError> {
    let (request, reviews, policies, actions) = tokio::try_join!(
        request(ctx, subject),
        reviews::list(ctx, subject),
        policies(ctx),
        actions_on(ctx, &subject.key.namespace, &subject.name)
    )?;
    let direction = subject.request.spec.direction;
    let policy = policy::applied(
        policies.iter(),
        ctx.config.configured_policy.as_ref(),
        &subject.key.namespace,
        direction,
    );
    Ok(ForDecision {
        request,
        reviews,
        policy,
        actions,
        _read: Read,
    })
}

/// Reads what a renewal rests on, with the request's ReleaseRecord.
pub async fn for_renewal(
    ctx: &Context,
    subject: &Subject,
    record: &str,
) -> Result<ForRenewal, EffectError> {
    let (request, reviews, actions) = tokio::try_join!(
        request(ctx, subject),
        reviews::list(ctx, subject),
        actions_on_both(ctx, &subject.key.namespace, Some(&subject.name), record)
    )?;
    Ok(ForRenewal {
        request,
        reviews,
        actions,
        _read: Read,
    })
}

/// The same where the request is gone.
pub async fn for_renewal_alone(
    ctx: &Context,
    namespace: &str,
    record: &str,
) -> Result<ForRenewal, EffectError> {
    Ok(ForRenewal {
        request: None,
        reviews: Vec::new(),
        actions: actions_on(ctx, namespace, record).await?,
        _read: Read,
    })
}

/// The request, if it is still the one that is looked at.
pub async fn request(
    ctx: &Context,
    subject: &Subject,
) -> Result<Option<AirlockRequest>, EffectError> {
    let api: Api<AirlockRequest> = Api::namespaced(ctx.client.clone(), &subject.key.namespace);
    let found = find(&api, &subject.name).await?;
    Ok(found.filter(|live| live.metadata.uid.as_deref() == Some(&subject.key.uid)))
}

async fn policies(ctx: &Context) -> Result<Vec<AirlockPolicy>, EffectError> {
    let api: Api<AirlockPolicy> = Api::all(ctx.client.clone());
    listed(&api, &ListParams::default()).await
}

/// Actions on whatever has this name, request or ReleaseRecord, that have no final word;
/// oldest first.
pub async fn actions_on(
    ctx: &Context,
    namespace: &str,
    name: &str,
) -> Result<Vec<Arc<AirlockAction>>, EffectError> {
    let api: Api<AirlockAction> = Api::namespaced(ctx.client.clone(), namespace);
    let params = ListParams::default().fields(&format!("spec.target.name={name}"));
    let found = listed(&api, &params).await?;
    Ok(in_order(found.into_iter().map(Arc::new).collect()))
}

/// The same on a request and its ReleaseRecord.
pub async fn actions_on_both(
    ctx: &Context,
    namespace: &str,
    request: Option<&str>,
    record: &str,
) -> Result<Vec<Arc<AirlockAction>>, EffectError> {
    let on_request = async {
        match request {
            Some(request) => actions_on(ctx, namespace, request).await,
            None => Ok(Vec::new()),
        }
    };
    let (mut found, on_record) = tokio::try_join!(on_request, actions_on(ctx, namespace, record))?;
    let known: std::collections::BTreeSet<_> = found.iter().map(|a| a.uid()).collect();
    found.extend(on_record.into_iter().filter(|a| !known.contains(&a.uid())));
    Ok(in_order(found))
}

/// A consistent read of a list, page by page; empty where its definition was deleted.
pub async fn listed<K>(api: &Api<K>, params: &ListParams) -> Result<Vec<K>, EffectError>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send,
{
    let mut found = Vec::new();
    match pages::visit(api, params.clone(), |page| found.extend(page)).await {
        Ok(()) => Ok(found),
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}
