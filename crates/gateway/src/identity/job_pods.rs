//! Authentication of the pods of Jobs, which collect from volumes and deliver into them. Kubernetes
//! gives such a pod a token for this gateway only (docs/design.md#volumes).
//!
//! The pods need no permission in the namespace. A pod is recognised by the uid in its token, and
//! by what the controller stored: the Job before it created it, and each pod that runs what the Job
//! says. A user who may create tokens of the namespace's accounts can have a token for such a pod.
//! What a Job sends is therefore trusted as far as the namespace is, and is recorded as sent by its
//! service account. A caller whose pod cannot belong to a Job by its name causes no lookup.

use std::time::Duration;

use crate::identity::auth::{BoundPod, Caller};
use crate::identity::call::Call;
use crate::identity::token::SERVICE_ACCOUNT;
use crate::problem::Problem;
use trevor_core::keys::RequestKey;
use trevor_core::names;
use trevor_core::volume::Errand;
use trevor_net::cache::Cache;
use trevor_store::Work;

/// Records of a Job never change, so that a result holds for as long as a Job runs.
const CACHE_TTL: Duration = Duration::from_secs(600);
const CACHE_CAPACITY: usize = 1024;
/// Length and characters of the random suffix of a generated name in Kubernetes.
const SUFFIX_LENGTH: usize = 5;
const SUFFIX_CHARACTERS: &str = "bcdfghjklmnpqrstvwxz2456789";
/// The longest prefix of a generated name.
const MAX_PREFIX_LENGTH: usize = 58;

/// Recognises pods of Jobs. The cache has the service account, by uid of the request, errand and
/// uid of the pod.
pub struct JobPods {
    work: Work,
    cache: Cache<(String, Errand, String), String>,
}

impl JobPods {
    /// Reads what is recorded of Jobs among the working objects.
    #[must_use]
    pub fn new(work: Work) -> Self {
        Self {
            work,
            cache: Cache::new(CACHE_CAPACITY),
        }
    }

    /// Whether the caller is a pod of the Job that does an errand of a request.
    ///
    /// # Errors
    /// 503 while the controller has not recorded the pod, or when the storage does not answer.
    pub async fn verify(
        &self,
        call: &Call,
        key: &RequestKey,
        errand: Errand,
    ) -> Result<bool, Problem> {
        let job = errand.job_name(&call.name, &key.uid);
        let account = account(&call.caller, &call.namespace);
        let (Some(BoundPod { name, uid }), Some(account)) = (&call.caller.pod, account) else {
            return Ok(false);
        };
        if !is_pod_name_of(name, &job) || !is_uid(uid) {
            return Ok(false);
        }
        let at = (key.uid.clone(), errand, uid.clone());
        if let Some(cached) = self.cache.get(&at) {
            return Ok(cached == account);
        }
        let intent = self.work.get(&key.job(errand)).await?;
        let Some(intent) = intent.filter(|i| i.job == job && i.service_account == account) else {
            return Ok(false);
        };
        // The controller never records a pod that does not run what the Job says.
        let pod = key.job_pod(errand, uid);
        if self.work.get(&pod).await?.is_none() {
            return Err(Problem::unavailable(
                "JobNotRecorded",
                "the controller has not recorded this pod of the Job; try again",
                1,
            ));
        }
        let account = intent.service_account;
        self.cache.put(at, account, CACHE_TTL);
        Ok(true)
    }
}

/// Whether a pod's name is one that Kubernetes generates for a Job.
fn is_pod_name_of(pod: &str, job: &str) -> bool {
    let mut prefix = format!("{job}-");
    prefix.truncate(MAX_PREFIX_LENGTH);
    pod.strip_prefix(&prefix).is_some_and(|random| {
        random.len() == SUFFIX_LENGTH && random.chars().all(|c| SUFFIX_CHARACTERS.contains(c))
    })
}

/// Whether a uid is safe as a part of a key.
fn is_uid(uid: &str) -> bool {
    !uid.is_empty() && uid.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}

/// Whether the caller could be a pod of a Job for this request, by names only.
pub fn could_be_job_pod(call: &Call) -> bool {
    let Some(pod) = &call.caller.pod else {
        return false;
    };
    // What names of Jobs of the request begin with, without the hash of the uid.
    let named = names::derived(&call.name, "");
    let prefix = named.rsplit_once('-').map_or("", |(name, _)| name);
    pod.name.starts_with(prefix) && account(&call.caller, &call.namespace).is_some()
}

/// The service account of the caller, if it is one of the namespace.
fn account<'a>(caller: &'a Caller, namespace: &str) -> Option<&'a str> {
    let (of, account) = caller.user.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')?;
    (of == namespace).then_some(account)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::token::Token;

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
            // Kubernetes truncates a long prefix, here with the round.
            (&format!("{cut}x7k2z"), &long, true),
            (&format!("{long}-x7k2z"), &long, false),
        ] {
            assert_eq!(is_pod_name_of(pod, job), is, "{pod} {job}");
        }
    }

    fn call(user: &str, pod: Option<&str>) -> Call {
        let token = Token::of_session("a", "b", &[0; 32]);
        let caller = Caller {
            user: user.to_owned(),
            groups: Vec::new(),
            namespace: None,
            expires_at: None,
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
            assert_eq!(could_be_job_pod(&call(user, pod)), may, "{user} {pod:?}");
        }
    }
}
