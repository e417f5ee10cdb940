//! Lets requests go before the operator is removed: a promise of deletion first, and
//! then the finalizer, so that no namespace waits for an operator that is gone.
//!
//! A request that is still there when the operator comes back goes on as before, with
//! its finalizer. One that went meanwhile is closed when the promise is due, as of
//! the time at which it was let go.

use jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use super::adopt::adopt;
use super::error::RetentionError;
use super::{clock, tickets};
use trevor_api::{AirlockRequest, FINALIZER};
use trevor_config::Config;
use trevor_core::keys::{RequestKey, letting_go, letting_go_at};
use trevor_core::policy::Rules;
use trevor_core::retention::{LetGo, What};
use trevor_store::observe;
use trevor_store::{Records, Release, StorageError, Work, Zones};

/// How long an announcement keeps a controller from setting finalizers: until Helm has
/// ended it, and no longer, since one that is installed again waits for it too.
const STANDS: SignedDuration = SignedDuration::from_mins(2);

/// Announces that finalizers go now.
///
/// # Errors
/// As the server says.
pub async fn announce(work: &Work, now: Timestamp) -> Result<(), StorageError> {
    let now = trevor_api::condition::second(now);
    let at = letting_go_at(now.as_second());
    work.create(&at, &now).await.map(drop)
}

/// Whether finalizers go at this time, and none is to be set.
///
/// # Errors
/// As the server says.
pub async fn is_announced(work: &Work, now: Timestamp) -> Result<bool, StorageError> {
    let since = now.checked_sub(STANDS).unwrap_or(Timestamp::MIN);
    let after = format!("{}{}", letting_go(), since.as_second());
    let (page, _) = work.page(&letting_go(), &after, 1).await?;
    Ok(!page.is_empty())
}

/// What was promised of a request, the last time that it was let go.
///
/// # Errors
/// As the server says.
pub async fn promised(records: &Records, key: &RequestKey) -> Result<Option<LetGo>, StorageError> {
    match records.list(&key.let_goes()).await?.pop() {
        Some(last) => records.get(&last).await,
        None => Ok(None),
    }
}

/// Why a request was not let go.
#[derive(Debug, thiserror::Error)]
pub enum LetGoError {
    /// The storage servers.
    #[error(transparent)]
    Retention(#[from] RetentionError),
    /// The API server.
    #[error("API server: {0}")]
    Kube(#[from] kube::Error),
}

impl From<StorageError> for LetGoError {
    fn from(error: StorageError) -> Self {
        Self::Retention(error.into())
    }
}

/// Stores the promise, and takes the finalizer off; false where there is none.
///
/// # Errors
/// As the servers say.
pub async fn let_go(
    client: &Client,
    zones: &Zones,
    release: &Release,
    config: &Config,
    request: &AirlockRequest,
    now: Timestamp,
) -> Result<bool, LetGoError> {
    if !request.finalizers().iter().any(|f| f == FINALIZER) {
        return Ok(false);
    }
    let namespace = request.namespace().unwrap_or_default();
    let key = RequestKey {
        namespace: namespace.clone(),
        uid: request.uid().unwrap_or_default(),
    };
    if request.metadata.deletion_timestamp.is_some() {
        adopt(zones, release, config, &key, "trevor", (now, now)).await?;
    } else {
        promise(zones, config, request, &key, now).await?;
    }
    let api: Api<AirlockRequest> = Api::namespaced(client.clone(), &namespace);
    let Some(live) = api.get_opt(&request.name_any()).await? else {
        return Ok(true);
    };
    let mut left = live.finalizers().to_vec();
    left.retain(|f| f != FINALIZER);
    let patch = json!({"metadata": {
        "uid": key.uid, "resourceVersion": live.metadata.resource_version, "finalizers": left,
    }});
    let patch = Patch::Merge(&patch);
    match api
        .patch(&request.name_any(), &PatchParams::default(), &patch)
        .await
    {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(true),
        Err(error) => Err(error.into()),
    }
}

async fn promise(
    zones: &Zones,
    config: &Config,
    request: &AirlockRequest,
    key: &RequestKey,
    now: Timestamp,
) -> Result<(), RetentionError> {
    let records = &zones.records;
    let facts = observe::facts(records, key).await?;
    if facts.owner.is_none() || facts.closed.is_some() {
        return Ok(());
    }
    clock::agree(zones.quarantine.work().clock(), now).await?;
    let now = trevor_api::condition::second(now);
    let sealed = facts.last.as_ref().and_then(|last| last.seal.as_ref());
    let direction = request.spec.direction;
    let rules = sealed.map_or_else(
        || Rules::of(direction, None),
        |seal| Rules::clone(&seal.rules),
    );
    let kept = config.terms(direction, &rules).quarantine_retention_seconds;
    let due = now.checked_add(SignedDuration::from_secs(kept));
    let promise = LetGo {
        time: now,
        quarantine_due: due.unwrap_or(Timestamp::MAX),
    };
    let at = key.let_go(now.as_second());
    let standing = records.create(&at, &promise).await?.into_inner();
    let work = zones.quarantine.work();
    Ok(tickets::write(work, key, What::Quarantine, standing.quarantine_due).await?)
}
