//! What all calls share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Client;
use tokio_util::task::TaskTracker;

use crate::cluster::policies::Policies;
use crate::cluster::requests::Requests;
use crate::identity::auth::{Authenticator, Caller};
use crate::identity::job_pods::Jobs;
use crate::identity::permission::{On, Permissions, Right};
use crate::identity::token::Token;
use crate::limits::memory::Shares;
use crate::limits::quota::Stored;
use crate::metrics::Metrics;
use crate::problem::Problem;
use crate::readiness::Health;
use crate::records::frozen_rounds::Freezes;
use crate::records::ledger::Ledger;
use crate::records::receipt_cache::Index;
use crate::records::reconcile_hints::Hints;
use trevor_config::Config;
use trevor_serve::Places;
use trevor_store::Zones;

/// The gateway.
pub struct Gateway {
    /// Configuration.
    pub config: Config,
    /// Buckets.
    pub zones: Zones,
    /// The API server, for what has no place of its own.
    pub client: Client,
    /// Who calls.
    pub auth: Authenticator,
    /// What they may.
    pub permissions: Permissions,
    /// The requests that calls are about.
    pub requests: Requests,
    /// The rules for uploads.
    pub policies: Policies,
    /// What namespaces have in quarantine.
    pub stored: Stored,
    /// Memory.
    pub shares: Arc<Shares>,
    /// Receipts.
    pub index: Index,
    /// Pods of our Jobs.
    pub jobs: Jobs,
    /// Frozen rounds.
    pub freezes: Arc<Freezes>,
    /// Our chain of the ledger.
    pub ledger: Ledger,
    /// Hints to the controller.
    pub hints: Hints,
    /// Places of connections.
    pub places: Arc<Places>,
    /// Numbers.
    pub metrics: Arc<Metrics>,
    /// Whether we are ready.
    pub health: Health,
    /// What must be finished before the process ends.
    pub tasks: TaskTracker,
}

/// What a call was let in with is asked for again before it has an effect, once this
/// much time has gone by.
const YOUNG: Duration = Duration::from_secs(1);

/// A call about a request, by somebody known.
#[derive(Clone)]
pub struct Call {
    /// Who.
    pub caller: Caller,
    /// The project.
    pub namespace: String,
    /// The request.
    pub name: String,
    /// What the caller showed, so that it can be looked up again.
    pub token: Token,
    /// When the caller was last looked up.
    pub asked: Instant,
    /// Whether permissions are asked for now, whatever is remembered.
    pub anew: bool,
}

impl Call {
    /// A call that begins now.
    #[must_use]
    pub fn new(caller: Caller, token: Token, namespace: &str, name: &str) -> Self {
        Self {
            caller,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            token,
            asked: Instant::now(),
            anew: false,
        }
    }

    /// For questions about rights.
    #[must_use]
    pub fn on(&self) -> On<'_> {
        On {
            caller: &self.caller,
            namespace: &self.namespace,
            name: &self.name,
            anew: self.anew,
        }
    }
}

impl Gateway {
    /// Puts it together.
    #[must_use]
    pub fn new(config: Config, client: Client, zones: Zones) -> Arc<Self> {
        let metrics = Arc::<Metrics>::default();
        let records = zones.records.bucket().clone();
        let freezes = Arc::new(Freezes::new(records.clone()));
        Arc::new(Self {
            auth: Authenticator::new(client.clone(), config.gateway.audience.clone()),
            permissions: Permissions::new(client.clone()),
            requests: Requests::new(client.clone()),
            policies: Policies::new(client.clone(), config.configured_policy.clone()),
            stored: Stored::new(zones.quarantine.bucket().clone()),
            shares: Shares::new(config.gateway.memory_budget_mib << 20),
            index: Index::new(records.clone(), Arc::clone(&freezes)),
            jobs: Jobs::default(),
            freezes,
            ledger: Ledger::start(records, Arc::clone(&metrics)),
            hints: Hints::new(&config.controller.url, zones.quarantine.bucket().clone()),
            places: crate::serve::server::places(),
            metrics,
            health: Health::default(),
            tasks: TaskTracker::new(),
            config,
            zones,
            client,
        })
    }

    /// Who calls, asked for again: a call that waited or was slow may have outlived its
    /// session, its permissions and the request that it found by name. None while the
    /// answers are young. The handler asks its first questions again with this call, and
    /// compares the uid of the request ([`crate::cluster::requests::same`]).
    ///
    /// # Errors
    /// 401 when the session has ended, or the token is good no more.
    pub async fn anew(&self, call: &Call) -> Result<Option<Call>, Problem> {
        if call.asked.elapsed() < YOUNG {
            return Ok(None);
        }
        let caller = self.auth.again(&call.token, &call.namespace).await?;
        Ok(Some(Call {
            caller,
            asked: Instant::now(),
            anew: true,
            ..call.clone()
        }))
    }

    /// Lets a call pass that needs a right, and records one that has it not.
    ///
    /// # Errors
    /// 403 without the right.
    pub async fn require(
        &self,
        call: &Call,
        right: Right,
        action: &'static str,
    ) -> Result<(), Problem> {
        if self.permissions.has(call.on(), right).await? {
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

    /// A refusal, recorded.
    pub fn refuse(&self, call: &Call, uid: &str, action: &'static str, detail: String) -> Problem {
        self.ledger
            .refused(&call.caller.user, &call.namespace, &call.name, uid, action);
        Problem::forbidden(detail)
    }
}
