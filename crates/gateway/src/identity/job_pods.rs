//! Pods of our Jobs: they collect from volumes and deliver into them, by the token
//! that Kubernetes gives the pod for this gateway alone (docs/design.md#volumes).
//!
//! They need no permission in the project. A Job's pod is known by its token, which
//! states the pod's uid, and by what the controller stored: of the Job before it made
//! it, and of each pod of it that runs what the Job says. Whoever may make tokens of
//! the project's accounts can have one that is bound to such a pod, so that what a Job
//! brings is the namespace's word and is recorded as its service account's. Callers
//! whose pod has no such name cost nothing here.

use std::time::Duration;

use tokio::sync::Semaphore;

use crate::cluster::requests as request;
use crate::identity::auth::{BoundPod, Caller};
use crate::identity::token::SERVICE_ACCOUNT;
use crate::problem::Problem;
use crate::records::frozen_rounds::FrozenRound;
use crate::state::{Call, Gateway};
use trevor_api::{AirlockRequest, DeliveryType, Direction, Phase};
use trevor_core::keys::RequestKey;
use trevor_core::names;
use trevor_core::volume::{Errand, JobIntent, JobPod};
use trevor_net::cache::Cache;
use trevor_store::commit::read;

/// What is stored of a Job never changes, so it is believed until the Job is over.
const BELIEVED: Duration = Duration::from_secs(600);
const REMEMBERED: usize = 1024;
const LISTS: usize = 2;
/// Random characters at the end of a pod's name, and those that Kubernetes draws.
const RANDOM: usize = 5;
const DRAWN: &str = "bcdfghjklmnpqrstvwxz2456789";
/// What a generated name has before them.
const STEM: usize = 58;

/// Pods of Jobs: by uid of the request, errand and uid of the pod, the account it runs as.
pub struct Jobs {
    known: Cache<(String, Errand, String), String>,
    /// Lists that are read at the same time: one of 10,000 files is some megabytes.
    pub lists: Semaphore,
}

impl Default for Jobs {
    fn default() -> Self {
        Self {
            known: Cache::new(REMEMBERED),
            lists: Semaphore::new(LISTS),
        }
    }
}

/// Whether a pod's name is one that Kubernetes generates for a Job.
fn is_pod_of(pod: &str, job: &str) -> bool {
    let mut stem = format!("{job}-");
    stem.truncate(STEM);
    pod.strip_prefix(&stem)
        .is_some_and(|random| random.len() == RANDOM && random.chars().all(|c| DRAWN.contains(c)))
}

/// Whether it can stand in a key.
fn is_uid(uid: &str) -> bool {
    !uid.is_empty() && uid.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}

/// Whether a caller could be a pod of a Job for a request of this name: what is told
/// without asking anybody.
fn may_be(call: &Call) -> bool {
    let Some(pod) = &call.caller.pod else {
        return false;
    };
    // The name that Jobs of the request begin with, but for the hash of the uid.
    let named = names::derived(&call.name, "");
    let begins = named.rsplit_once('-').map_or("", |(name, _)| name);
    pod.name.starts_with(begins) && account(&call.caller, &call.namespace).is_some()
}

/// The service account of the project that calls.
fn account<'a>(caller: &'a Caller, namespace: &str) -> Option<&'a str> {
    let (of, account) = caller.user.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')?;
    (of == namespace).then_some(account)
}

/// Whether a caller is a pod of the Job that does an errand of a request.
///
/// # Errors
/// 503 while the controller has not seen the pod.
async fn does(
    gateway: &Gateway,
    call: &Call,
    key: &RequestKey,
    errand: Errand,
) -> Result<bool, Problem> {
    let job = errand.job_name(&call.name, &key.uid);
    let account = account(&call.caller, &call.namespace);
    let (Some(BoundPod { name, uid }), Some(account)) = (&call.caller.pod, account) else {
        return Ok(false);
    };
    if !is_pod_of(name, &job) || !is_uid(uid) {
        return Ok(false);
    }
    let at = (key.uid.clone(), errand, uid.clone());
    if let Some(known) = gateway.jobs.known.get(&at) {
        return Ok(known == account);
    }
    let work = gateway.zones.quarantine.bucket();
    let intent: Option<JobIntent> = read(work, &key.job(errand)).await?;
    let Some(intent) = intent.filter(|i| i.job == job && i.service_account == account) else {
        return Ok(false);
    };
    // Of another pod with such a name this is the answer for ever.
    if read::<JobPod>(work, &key.job_pod(errand, uid))
        .await?
        .is_none()
    {
        return Err(Problem::unavailable(
            "JobNotRecorded",
            "the controller has not recorded this pod of the Job; try again",
            1,
        ));
    }
    let account = intent.service_account;
    gateway.jobs.known.put(at, account, BELIEVED);
    Ok(true)
}

/// A request that a Job's pod collects for.
pub struct Collecting {
    /// The request.
    pub request: AirlockRequest,
    /// How the buckets know it.
    pub key: RequestKey,
    /// The round that the Job is of.
    pub round: i64,
}

/// The request that the caller collects for, if it is a pod of such a Job: of the
/// open round, or of the last one.
///
/// # Errors
/// When somebody does not answer.
pub async fn collector(gateway: &Gateway, call: &Call) -> Result<Option<Collecting>, Problem> {
    if !may_be(call) {
        return Ok(None);
    }
    let found = gateway.requests.find(&call.namespace, &call.name).await?;
    let Some(request) = found.filter(|r| r.spec.direction == Direction::Egress) else {
        return Ok(None);
    };
    let key = request::key(&request);
    let round = request::open(&request).unwrap_or_else(|| request::round(&request));
    let collects = does(gateway, call, &key, Errand::Collect { round }).await?;
    Ok(collects.then_some(Collecting {
        request,
        key,
        round,
    }))
}

impl Collecting {
    /// Whether the round still takes files: it is submitted, and not sealed.
    ///
    /// # Errors
    /// 409 with why it takes none.
    pub async fn is_open(&self, gateway: &Gateway) -> Result<(), Problem> {
        request::open_for_uploads(&self.request)?;
        let submitted = self.request.spec.submission == self.round;
        let seal = self.key.seal(self.round);
        if !submitted || gateway.zones.records.bucket().exists(&seal).await? {
            return Err(request::sealed());
        }
        Ok(())
    }

    /// As [`Self::is_open`], and its list is not there yet.
    ///
    /// # Errors
    /// 409 with why it takes no files.
    pub async fn takes_files(&self, gateway: &Gateway) -> Result<(), Problem> {
        self.is_open(gateway).await?;
        has_no_list(gateway, &self.key, self.round).await
    }
}

/// After the list nothing is collected.
///
/// # Errors
/// 409 when it is there.
pub async fn has_no_list(gateway: &Gateway, key: &RequestKey, round: i64) -> Result<(), Problem> {
    let work = gateway.zones.quarantine.bucket();
    match work.exists(&key.collection(round)).await? {
        true => Err(Problem::conflict(
            "Collected",
            "the sources of this round are collected; nothing is added",
        )),
        false => Ok(()),
    }
}

/// The request whose files the caller delivers, if it is a pod of such a Job.
///
/// # Errors
/// When somebody does not answer.
pub async fn deliverer(gateway: &Gateway, call: &Call) -> Result<Option<AirlockRequest>, Problem> {
    if !may_be(call) {
        return Ok(None);
    }
    let into_volume = |r: &AirlockRequest| {
        let delivery = r.spec.delivery.as_ref();
        r.spec.direction == Direction::Ingress
            && delivery.is_some_and(|d| d.r#type == DeliveryType::PersistentVolumeClaim)
    };
    let found = gateway.requests.find(&call.namespace, &call.name).await?;
    let Some(request) = found.filter(into_volume) else {
        return Ok(None);
    };
    let key = request::key(&request);
    let delivers = does(gateway, call, &key, Errand::Deliver).await?;
    Ok(delivers.then_some(request))
}

/// What a deliverer may have: the approved round of a request, while it is released.
///
/// # Errors
/// 409 at any other time, 503 shortly before.
pub async fn releasing(
    gateway: &Gateway,
    request: &AirlockRequest,
) -> Result<(RequestKey, i64, FrozenRound), Problem> {
    let stopped = request.spec.withdrawn || request.metadata.deletion_timestamp.is_some();
    match request::phase(request) {
        Phase::Releasing if !stopped => {}
        // The Job is made after the decision; where the ledger did not take that at once, the
        // status still shows the review.
        Phase::InReview | Phase::Approved if !stopped => {
            return Err(Problem::unavailable(
                "NotReleasingYet",
                "the release of this request begins soon; try again",
                1,
            ));
        }
        _ => {
            return Err(Problem::conflict(
                "NotReleasing",
                "files are delivered only while their request is being released",
            ));
        }
    }
    let (key, round) = (request::key(request), request::round(request));
    let frozen = gateway.freezes.get(&key, round).await?;
    let frozen = frozen
        .filter(|f| f.manifest().is_some())
        .ok_or_else(|| crate::read::lists::not_frozen(round))?;
    Ok((key, round, frozen))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_of_a_job_when_kubernetes_could_have_named_it_so() {
        let long = format!("{}-1a2b3c4d-collect-1", "a".repeat(40));
        assert_eq!(long.len(), 59);
        let cut = format!("{}-1a2b3c4d-collect-", "a".repeat(40));
        for (pod, job, is) in [
            ("r-1a2b3c4d-deliver-x7k2z", "r-1a2b3c4d-deliver", true),
            ("r-1a2b3c4d-deliver-x7k2", "r-1a2b3c4d-deliver", false),
            ("r-1a2b3c4d-deliver-x7k2zz", "r-1a2b3c4d-deliver", false),
            ("r-1a2b3c4d-deliver-x7k2a", "r-1a2b3c4d-deliver", false),
            ("r-1a2b3c4d-deliver-X7K2Z", "r-1a2b3c4d-deliver", false),
            ("r-1a2b3c4d-deliver-0-x7k2z", "r-1a2b3c4d-deliver", false),
            ("r-1a2b3c4d-collect-12-x7k2z", "r-1a2b3c4d-collect-1", false),
            ("r-1a2b3c4d-deliver", "r-1a2b3c4d-deliver", false),
            ("x-r-1a2b3c4d-deliver-x7k2z", "r-1a2b3c4d-deliver", false),
            ("", "", false),
            // Kubernetes cuts what is too long, and the round with it.
            (&format!("{cut}x7k2z"), &long, true),
            (&format!("{long}-x7k2z"), &long, false),
        ] {
            assert_eq!(is_pod_of(pod, job), is, "{pod} {job}");
        }
    }

    fn call(user: &str, pod: Option<&str>) -> Call {
        let token = crate::identity::token::Token::of_session("a", "b", &[0; 32]);
        let caller = Caller {
            user: user.to_owned(),
            groups: Vec::new(),
            namespace: None,
            until: None,
            pod: pod.map(|name| BoundPod {
                name: name.to_owned(),
                uid: "1a2b".to_owned(),
            }),
        };
        Call::new(caller, token, "project-a", "tables")
    }

    #[test]
    fn whoever_cannot_be_a_jobs_pod_costs_no_look() {
        let account = "system:serviceaccount:project-a:default";
        for (user, pod, may) in [
            (account, Some("tables-1a2b3c4d-deliver-x7k2z"), true),
            (account, Some("pipeline-0"), false),
            (account, None, false),
            ("alice", None, false),
            (
                "system:serviceaccount:project-b:default",
                Some("tables-1a2b3c4d-deliver-x7k2z"),
                false,
            ),
        ] {
            assert_eq!(may_be(&call(user, pod)), may, "{user} {pod:?}");
        }
    }
}
