//! The policy that applies now, listed at most every two seconds. The gateway checks it early, so
//! that uploads are refused before they are sent. The freeze in the controller decides.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Client;
use kube::api::{Api, ListParams};
use tokio::sync::Mutex;

use crate::cluster::api_server::with_timeout;
use crate::problem::Problem;
use trevor_api::{AirlockPolicy, Direction};
use trevor_core::policy::{ConfiguredPolicy, Rules, applied};

const CACHE_TTL: Duration = Duration::from_secs(2);

/// All policies, and when they were listed.
type Listed = Option<(Instant, Arc<Vec<AirlockPolicy>>)>;

/// Lists policies, with a short cache.
pub struct Policies {
    client: Client,
    configured: Option<ConfiguredPolicy>,
    listed: Mutex<Listed>,
}

impl Policies {
    /// Lists with `client`. Where no AirlockPolicy applies, `configured` does.
    #[must_use]
    pub fn new(client: Client, configured: Option<ConfiguredPolicy>) -> Self {
        Self {
            client,
            configured,
            listed: Mutex::default(),
        }
    }

    /// The rules for a namespace and direction. Where no policy or several policies apply, uploads
    /// are refused: nothing would bound them, and no review would follow.
    ///
    /// # Errors
    /// 409 when no rules apply, 503 when the API server does not answer.
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
            && at.elapsed() < CACHE_TTL
        {
            return Ok(Arc::clone(all));
        }
        let now = Instant::now();
        let policies: Api<AirlockPolicy> = Api::all(self.client.clone());
        let params = ListParams::default();
        let found = with_timeout("policies", policies.list(&params)).await?;
        let all = Arc::new(found.items);
        *listed = Some((now, Arc::clone(&all)));
        Ok(all)
    }
}
