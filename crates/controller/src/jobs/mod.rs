//! Jobs: in projects those that move files between volumes and quarantine, in the
//! operator's namespace those that make packages. One way to make them, to see how they
//! stand, and to end them.
//!
//! A Job is ours by what the bucket says, never by its name: before it is made a nonce
//! is stored, which an annotation of it carries; once it is made its uid is. Killed
//! between the two, the next look finds the Job by its nonce. Whatever else has its
//! name is left alone, and nothing of it is believed. So it is with its pods ([`known`]).

mod known;
pub mod pods;
pub mod spec;
pub mod template;
mod watch;

use k8s_openapi::api::batch::v1::Job;
use kube::api::{DeleteParams, PostParams, Preconditions, PropagationPolicy};
use kube::{Api, ResourceExt as _};

use self::spec::{Common, NONCE, Whose, Work};
use super::context::Context;
use super::error::EffectError;
use super::reconcile::Subject;
use trevor_api::condition::reason;
use trevor_config::{Config, ConfigError};
use trevor_core::keys::RequestKey;
use trevor_core::object_key::WorkPrefix;
use trevor_core::phase::Facts;
use trevor_core::texts::harmless_line;
use trevor_core::volume::{Errand, JobIntent, JobMade};

pub use watch::{watch, watch_packaging};

/// Characters of what the API server says.
const SHOWN: usize = 600;

/// How a Job stands.
#[derive(Debug, PartialEq, Eq)]
pub enum Standing {
    /// It runs, or will: what it does.
    Runs(String),
    /// It is there, and something keeps it from running, or it could not be made: for
    /// whoever can mend that. Reason and message.
    Waits(&'static str, String),
    /// It ended well.
    Done,
    /// It ended badly, for good, or is gone: its last word.
    Failed(String),
}

impl Common {
    /// What all Jobs have in common; none where there are no Jobs.
    ///
    /// # Errors
    /// When the authority of the gateway's certificate cannot be read.
    pub fn of(config: &Config) -> Result<Option<Self>, ConfigError> {
        let Some(image) = config.jobs.image() else {
            return Ok(None);
        };
        Ok(Some(Self {
            image: image.to_owned(),
            gateway: config.gateway.url.clone(),
            audience: config.gateway.audience.clone(),
            ca: config.jobs.ca()?,
            jobs: config.jobs.clone(),
        }))
    }

    /// With the operator's own authority, where that signs the gateway's certificate;
    /// nothing while there is none yet.
    fn trusting(mut self, ctx: &Context) -> Option<Self> {
        if self.ca.is_none() && ctx.config.gateway.tls.authority.is_some() {
            self.ca = Some(ctx.certificates.published()?);
        }
        Some(self)
    }
}

/// A Job that is wanted, and what it is made of.
pub struct Order<'a> {
    /// What it is for.
    pub errand: Errand,
    /// The account that it runs as.
    pub service_account: &'a str,
    /// Makes it, from what is stored before.
    pub build: &'a (dyn Fn(&JobIntent) -> Job + Send + Sync),
}

/// Makes the Job unless it is made, and says how it stands.
pub async fn go_on(ctx: &Context, subject: &Subject, work: &Work) -> Result<Standing, EffectError> {
    let errand = work.errand();
    if let Some(standing) = look(ctx, subject, errand).await? {
        return Ok(standing);
    }
    let Some(common) = Common::of(&ctx.config)? else {
        let message =
            "the operator makes no Jobs; a cluster admin names their image in jobs.images";
        return Ok(Standing::Waits(reason::JOB_REFUSED, message.to_owned()));
    };
    let Some(common) = common.trusting(ctx) else {
        return Ok(Standing::Runs(
            "the gateway's certificate is being made".to_owned(),
        ));
    };
    let whose = Whose::of(subject);
    let order = Order {
        errand,
        service_account: &common.jobs.service_account,
        build: &|intent| spec::job(&common, &whose, work, intent),
    };
    make(ctx, subject, &order).await
}

/// How the Job of an errand stands; none: none was made.
pub async fn look(
    ctx: &Context,
    subject: &Subject,
    errand: Errand,
) -> Result<Option<Standing>, EffectError> {
    let work = ctx.zones.quarantine.work();
    match work.get(&subject.key.job_made(errand)).await? {
        Some(made) => standing(ctx, subject, errand, &made).await.map(Some),
        None => Ok(None),
    }
}

/// Makes a Job, or finds the one that was made and not recorded.
pub async fn make(
    ctx: &Context,
    subject: &Subject,
    order: &Order<'_>,
) -> Result<Standing, EffectError> {
    let claim = ctx.claim()?;
    let (key, errand) = (&subject.key, order.errand);
    let intent = JobIntent {
        job: errand.job_name(&subject.name, &key.uid),
        nonce: uuid::Uuid::new_v4().to_string(),
        service_account: order.service_account.to_owned(),
    };
    let work = ctx.zones.quarantine.work();
    let intent = work.create(&key.job(errand), &intent).await?.into_inner();
    let jobs = jobs(ctx, key, errand);
    let wanted = (order.build)(&intent);
    let job = match jobs.create(&PostParams::default(), &wanted).await {
        Ok(job) => job,
        Err(kube::Error::Api(answer)) if answer.reason == "AlreadyExists" => {
            match jobs.get_opt(&intent.job).await? {
                Some(job) => job,
                None => return Ok(Standing::Runs(format!("the Job {} is made", intent.job))),
            }
        }
        Err(kube::Error::Api(answer)) if matches!(answer.code, 400 | 403 | 422) => {
            let said = harmless_line(&answer.message, SHOWN);
            let message = format!(
                "the API server refuses the Job {}: {said}; it is tried again by itself",
                intent.job
            );
            return Ok(Standing::Waits(reason::JOB_REFUSED, message));
        }
        Err(error) => return Err(error.into()),
    };
    if job.annotations().get(NONCE) != Some(&intent.nonce) {
        return Ok(not_ours(&job, &intent.job));
    }
    tracing::info!(
        namespace = key.namespace,
        uid = key.uid,
        job = intent.job,
        term = claim.term,
        "a Job is made"
    );
    let made = JobMade {
        uid: job.uid().unwrap_or_default(),
    };
    let made = work
        .create(&key.job_made(errand), &made)
        .await?
        .into_inner();
    standing(ctx, subject, errand, &made).await
}

fn not_ours(job: &Job, name: &str) -> Standing {
    if job.metadata.deletion_timestamp.is_some() {
        return Standing::Runs(format!("a Job {name} of before is going, then it is made"));
    }
    Standing::Waits(
        reason::JOB_NAME_TAKEN,
        format!(
            "another Job has the name {name}, and nothing of it is believed or deleted; delete it, and it goes on by itself"
        ),
    )
}

async fn standing(
    ctx: &Context,
    subject: &Subject,
    errand: Errand,
    made: &JobMade,
) -> Result<Standing, EffectError> {
    let name = errand.job_name(&subject.name, &subject.key.uid);
    let found = jobs(ctx, &subject.key, errand).get_opt(&name).await?;
    let Some(job) = found.filter(|job| job.uid().as_deref() == Some(&made.uid)) else {
        return Ok(Standing::Failed(format!(
            "the Job {name} was deleted before it was done"
        )));
    };
    match end_of(&job) {
        Some(End::Complete) => Ok(Standing::Done),
        Some(End::Failed(why)) => {
            let place = place(ctx, &subject.key, errand);
            let word = pods::last_word(ctx, place, &made.uid).await?;
            Ok(Standing::Failed(word.unwrap_or(why)))
        }
        None => pods::look(ctx, &subject.key, errand, &job).await,
    }
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Complete,
    /// What Kubernetes says of it.
    Failed(String),
}

fn end_of(job: &Job) -> Option<End> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .filter(|condition| condition.status == "True")
        .find_map(|condition| match condition.type_.as_str() {
            "Complete" => Some(End::Complete),
            "Failed" => {
                let said = [&condition.reason, &condition.message];
                let said: Vec<&str> = said.into_iter().flatten().map(String::as_str).collect();
                Some(End::Failed(harmless_line(&said.join(": "), SHOWN)))
            }
            _ => None,
        })
}

/// Ends the Job of an errand, if there is one of ours.
pub async fn end(ctx: &Context, key: &RequestKey, errand: Errand) -> Result<(), EffectError> {
    let work = ctx.zones.quarantine.work();
    let Some(intent) = work.get(&key.job(errand)).await? else {
        return Ok(());
    };
    let uid = match work.get(&key.job_made(errand)).await? {
        Some(made) => made.uid,
        // Made, perhaps, and not recorded any more.
        None => match jobs(ctx, key, errand).get_opt(&intent.job).await? {
            Some(job) if job.annotations().get(NONCE) == Some(&intent.nonce) => {
                job.uid().unwrap_or_default()
            }
            _ => return Ok(()),
        },
    };
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        preconditions: Some(Preconditions {
            uid: Some(uid.clone()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    let api = jobs(ctx, key, errand);
    match api.delete(&intent.job, &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(()),
        // Another has its name, which is to be seen: a conflict may have other causes.
        Err(kube::Error::Api(answer)) if answer.code == 409 => {
            match api.get_opt(&intent.job).await? {
                Some(job) if job.uid().as_ref() == Some(&uid) => {
                    Err(kube::Error::Api(answer).into())
                }
                _ => Ok(()),
            }
        }
        Err(kube::Error::Api(answer)) if answer.code == 403 => {
            tracing::warn!(
                namespace = key.namespace,
                job = intent.job,
                message = answer.message,
                "a Job of ours was not deleted; its own deadline ends it"
            );
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Ends a delivery that failed and forgets it, so that the next attempt makes another.
pub async fn end_delivery(ctx: &Context, key: &RequestKey) -> Result<(), EffectError> {
    end(ctx, key, Errand::Deliver).await?;
    forget(ctx, &key.delivery_jobs()).await
}

/// The request closes: what is stored of its Jobs is not needed any more.
pub async fn retire(ctx: &Context, subject: &Subject, facts: &Facts) -> Result<(), EffectError> {
    if facts.closed.is_some() || !has_errands(subject) {
        return Ok(());
    }
    end(ctx, &subject.key, Errand::Deliver).await?;
    forget(ctx, &subject.key.jobs()).await
}

/// Whether the request has, or had, anything for Jobs of its project to do.
fn has_errands(subject: &Subject) -> bool {
    let spec = &subject.request.spec;
    let sources = spec.sources.as_ref().is_some_and(|s| !s.is_empty());
    sources || spec.delivery.is_some()
}

/// What is stored under a prefix of Jobs is not needed any more.
pub async fn forget(ctx: &Context, prefix: &WorkPrefix<()>) -> Result<(), EffectError> {
    let work = ctx.zones.quarantine.work();
    let keys = work.list(prefix).await?;
    Ok(work.delete(&keys).await?)
}

/// The namespace that the Job of an errand runs in.
pub fn place<'a>(ctx: &'a Context, key: &'a RequestKey, errand: Errand) -> &'a str {
    match errand {
        Errand::Package { .. } => &ctx.home,
        Errand::Collect { .. } | Errand::Deliver => &key.namespace,
    }
}

fn jobs(ctx: &Context, key: &RequestKey, errand: Errand) -> Api<Job> {
    Api::namespaced(ctx.client.clone(), place(ctx, key, errand))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(status: &serde_json::Value) -> Job {
        serde_json::from_value(json!({"metadata": {"name": "j"}, "status": status})).unwrap()
    }

    #[test]
    fn a_job_ended_when_a_condition_that_holds_says_so() {
        let condition = |kind: &str, status: &str| {
            json!({"conditions": [{"type": kind, "status": status, "reason": "BackoffLimitExceeded",
                "message": "Job has reached\nthe limit"}]})
        };
        let failed = "BackoffLimitExceeded: Job has reached\\nthe limit";
        for (status, end) in [
            (json!({}), None),
            (json!({"active": 1}), None),
            (condition("Complete", "True"), Some(End::Complete)),
            (condition("Complete", "False"), None),
            (condition("FailureTarget", "True"), None),
            (
                condition("Failed", "True"),
                Some(End::Failed(failed.into())),
            ),
        ] {
            assert_eq!(end_of(&job(&status)), end, "{status}");
        }
    }

    #[test]
    fn a_job_of_another_that_goes_is_waited_for_and_one_that_stays_is_named() {
        let mut other = job(&json!({}));
        assert!(matches!(
            not_ours(&other, "j"),
            Standing::Waits(reason::JOB_NAME_TAKEN, _)
        ));
        let now = jiff::Timestamp::UNIX_EPOCH;
        other.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
        assert!(matches!(not_ours(&other, "j"), Standing::Runs(_)));
    }
}
