//! The policy that applies now, listed at most every two seconds. It is the early
//! gate; the freeze in the controller is the authority.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Client;
use kube::api::{Api, ListParams};
use tokio::sync::Mutex;

use crate::cluster::api_server::in_time;
use crate::problem::Problem;
use trevor_api::{AirlockPolicy, Direction};
use trevor_core::policy::{ConfiguredPolicy, Rules, applied};

const BELIEVED: Duration = Duration::from_secs(2);

/// All policies, as of a moment.
type Listed = Option<(Instant, Arc<Vec<AirlockPolicy>>)>;

/// Reads policies.
pub struct Policies {
    client: Client,
    configured: Option<ConfiguredPolicy>,
    listed: Mutex<Listed>,
}

impl Policies {
    /// Through `client`; where no AirlockPolicy applies, `configured` does.
    #[must_use]
    pub fn new(client: Client, configured: Option<ConfiguredPolicy>) -> Self {
        Self {
            client,
            configured,
            listed: Mutex::default(),
        }
    }

    /// The rules for a namespace and direction. Where none apply, or two do, no
    /// upload is taken: nothing would bound it, nothing is reviewed then, and what
    /// is in quarantine stays for its retention.
    ///
    /// # Errors
    /// 409 where no rules apply, 503 when the API server does not answer.
    pub async fn rules(&self, namespace: &str, direction: Direction) -> Result<Rules, Problem> {
        let all = self.all().await?;
        match applied(all.iter(), self.configured.as_ref(), namespace, direction) {
            Ok(applied) => Ok(applied.rules),
            Err(problem) => Err(Problem::conflict(problem.reason(), problem.to_string())),
        }
    }

    async fn all(&self) -> Result<Arc<Vec<AirlockPolicy>>, Problem> {
        let mut listed = self.listed.lock().await;
        if let Some((at, all)) = listed.as_ref()
            && at.elapsed() < BELIEVED
        {
            return Ok(Arc::clone(all));
        }
        let now = Instant::now();
        let policies: Api<AirlockPolicy> = Api::all(self.client.clone());
        let params = ListParams::default();
        let found = in_time("policies", policies.list(&params)).await?;
        let all = Arc::new(found.items);
        *listed = Some((now, Arc::clone(&all)));
        Ok(all)
    }
}
