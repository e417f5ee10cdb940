//! The policy's bounds on one file, told before its bytes are taken. Only a
//! courtesy: the freeze applies the policy, and where the gateway may not read
//! policies nothing is said here.

use std::time::Duration;

use kube::Client;
use kube::api::{Api, ListParams};
use tracing::debug;

use super::cache::Cache;
use super::problem::Problem;
use super::reader::too_large;
use crate::api::{AirlockPolicy, Direction};
use crate::domain::policy::{MAX_BYTES, Rules, applied};

const BELIEVED: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(2);

/// Reads policies.
pub struct PolicyRules {
    client: Client,
    known: Cache<String, Option<Rules>>,
}

impl PolicyRules {
    /// Through `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            client,
            known: Cache::new(1024),
        }
    }

    /// The rules for files that leave a namespace, where they can be told.
    pub async fn of(&self, namespace: &str) -> Option<Rules> {
        if let Some(known) = self.known.get(&namespace.to_owned()) {
            return known;
        }
        let policies: Api<AirlockPolicy> = Api::all(self.client.clone());
        let rules =
            match tokio::time::timeout(PATIENCE, policies.list(&ListParams::default())).await {
                Ok(Ok(all)) => applied(&all.items, namespace, Direction::Egress)
                    .ok()
                    .map(|a| a.rules),
                other => {
                    debug!(
                        reached = other.is_ok(),
                        "policies cannot be read; the freeze applies them"
                    );
                    None
                }
            };
        self.known
            .put(namespace.to_owned(), rules.clone(), BELIEVED);
        rules
    }
}

/// The most bytes that a file may have.
///
/// # Errors
/// 413 or 422 when name or announced size break the rules.
pub fn most_bytes(
    rules: Option<&Rules>,
    path: &str,
    announced: Option<u64>,
) -> Result<u64, Problem> {
    let most = rules.map_or(MAX_BYTES, |r| r.max_file_bytes.min(MAX_BYTES));
    let most = u64::try_from(most).unwrap_or(0);
    if announced.is_some_and(|size| size > most) {
        return Err(too_large(most));
    }
    match rules.and_then(|rules| rules.breach_of(path, 0)) {
        Some(breach) => Err(Problem::unprocessable("RefusedByPolicy", breach)),
        None => Ok(most),
    }
}
