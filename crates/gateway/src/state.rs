//! The state that all calls share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Client;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::cluster::policies::Policies;
use crate::cluster::requests::Requests;
use crate::identity::auth::Authenticator;
use crate::identity::call::Call;
use crate::identity::job_pods::JobPods;
use crate::identity::permission::{Permissions, Right};
use crate::limits::memory::{MemoryBudget, MemoryPermit};
use crate::limits::quota::QuarantineQuota;
use crate::metrics::Metrics;
use crate::problem::Problem;
use crate::readiness::Readiness;
use crate::records::frozen_rounds::FrozenRounds;
use crate::records::ledger::Ledger;
use crate::records::receipt_cache::ReceiptCache;
use crate::records::reconcile_hints::ReconcileHints;
use trevor_config::Config;
use trevor_serve::{ConnectionLimiter, ConnectionLimits};
use trevor_store::Zones;

/// Connections of the listener. Each takes at most about 60 KiB before its caller is authenticated.
const CONNECTION_LIMITS: ConnectionLimits = ConnectionLimits {
    total: 2048,
    per_peer: 1024,
};
/// Lists of Jobs that are read at the same time. A list of 10,000 files takes some megabytes.
const MAX_JOB_LISTS: usize = 2;
/// A call that is older than this is authenticated and authorized again before it takes effect.
const REVALIDATE_AFTER: Duration = Duration::from_secs(1);

/// The gateway: its configuration, its clients, and what calls share.
pub struct Gateway {
    pub config: Config,
    pub zones: Zones,
    /// For objects that have no reader of their own, such as release records.
    pub client: Client,
    pub auth: Authenticator,
    pub permissions: Permissions,
    pub requests: Requests,
    pub policies: Policies,
    pub quota: QuarantineQuota,
    pub memory: Arc<MemoryBudget>,
    pub receipts: ReceiptCache,
    pub job_pods: JobPods,
    pub job_list_permits: Semaphore,
    pub frozen_rounds: Arc<FrozenRounds>,
    pub ledger: Ledger,
    pub reconcile_hints: ReconcileHints,
    pub connections: Arc<ConnectionLimiter>,
    pub metrics: Arc<Metrics>,
    pub readiness: Readiness,
    /// Tasks that are finished before the process ends.
    pub tasks: TaskTracker,
}

impl Gateway {
    /// Builds the state. The ledger starts its task.
    #[must_use]
    pub fn new(config: Config, client: Client, zones: Zones) -> Arc<Self> {
        let metrics = Arc::<Metrics>::default();
        let records = zones.records.clone();
        let work = zones.quarantine.work().clone();
        let frozen_rounds = Arc::new(FrozenRounds::new(records.clone()));
        Arc::new(Self {
            auth: Authenticator::new(client.clone(), config.gateway.audience.clone()),
            permissions: Permissions::new(client.clone()),
            requests: Requests::new(client.clone()),
            policies: Policies::new(client.clone(), config.configured_policy.clone()),
            quota: QuarantineQuota::new(zones.quarantine.bucket().clone()),
            memory: MemoryBudget::new(config.gateway.memory_budget_mib << 20),
            receipts: ReceiptCache::new(records.clone(), Arc::clone(&frozen_rounds)),
            job_pods: JobPods::new(work.clone()),
            job_list_permits: Semaphore::new(MAX_JOB_LISTS),
            frozen_rounds,
            ledger: Ledger::start(records, Arc::clone(&metrics)),
            reconcile_hints: ReconcileHints::new(&config.controller.url, work),
            connections: ConnectionLimiter::new(CONNECTION_LIMITS),
            metrics,
            readiness: Readiness::default(),
            tasks: TaskTracker::new(),
            config,
            zones,
            client,
        })
    }

    /// Authenticates the caller again. A call that waited or was slow may have outlived its
    /// session, its permissions or the request of this name. Returns none for a recent call. With
    /// the call that is returned the handler repeats its checks, and compares the uid of the
    /// request ([`crate::cluster::requests::ensure_same_uid`]).
    ///
    /// # Errors
    /// 401 when the session has ended or the token is no longer valid.
    pub async fn revalidate(&self, call: &Call) -> Result<Option<Call>, Problem> {
        if call.authenticated_at.elapsed() < REVALIDATE_AFTER {
            return Ok(None);
        }
        let (token, namespace) = (&call.token, &call.namespace);
        let caller = self.auth.authenticate_uncached(token, namespace).await?;
        Ok(Some(Call {
            caller,
            authenticated_at: Instant::now(),
            skip_cache: true,
            ..call.clone()
        }))
    }

    /// Checks that the caller has a right. A refusal is recorded in the ledger.
    ///
    /// # Errors
    /// 403 without the right, 503 when the API server does not answer.
    pub async fn require(
        &self,
        call: &Call,
        right: Right,
        action: &'static str,
    ) -> Result<(), Problem> {
        if self.permissions.has(call.access_query(), right).await? {
            return Ok(());
        }
        Err(self.refuse(
            call,
            "",
            action,
            format!(
                "you have no permission to {} airlockrequests/{} here",
                right.verb, right.subresource
            ),
        ))
    }

    /// Reserves memory of the caller's share for an estimate ([`MemoryBudget::reserve_estimate`]).
    ///
    /// # Errors
    /// 429 or 503 when the memory is in use.
    pub async fn reserve_estimate(&self, call: &Call, bytes: u64) -> Result<MemoryPermit, Problem> {
        let user = &call.caller.user;
        self.memory.reserve_estimate(user, bytes).await
    }

    /// Records a refusal in the ledger, and returns it.
    pub fn refuse(&self, call: &Call, uid: &str, action: &'static str, detail: String) -> Problem {
        self.ledger
            .refused(&call.caller.user, &call.namespace, &call.name, uid, action);
        Problem::forbidden(detail)
    }
}
