//! Leadership by a Lease (coordination.k8s.io/v1): a claim as a value.
//!
//! The claim is tested at each use against our own clock, so that a paused
//! leader stops by itself; nothing that commits relies on it (docs/design.md#what-commits).

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Name of the Lease.
pub const NAME: &str = "trevor-controller";
/// How long a claim lives without renewal.
pub const DURATION: Duration = Duration::from_secs(12);
const RENEW: Duration = Duration::from_secs(4);
const RETRY: Duration = Duration::from_secs(1);

/// Who leads, as far as this process knows.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Grows with each change of leader.
    pub term: i64,
    /// Ours until then; none: for as long as the process lives.
    expires: Option<Instant>,
}

impl Claim {
    /// The claim of a process that was told to lead without a Lease.
    #[must_use]
    pub fn unconditional() -> Self {
        Self {
            term: 0,
            expires: None,
        }
    }

    /// Whether it still holds.
    #[must_use]
    pub fn holds(&self, now: Instant) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

/// Watches over the claim of this process.
#[derive(Clone, Debug)]
pub struct Leadership {
    claim: watch::Receiver<Option<Claim>>,
    end: CancellationToken,
    /// Identity of this process in the Lease.
    pub holder: Arc<str>,
}

impl Leadership {
    /// Leads always, without a Lease (one controller by construction, or tests).
    #[must_use]
    pub fn always(holder: &str) -> Self {
        let (sender, claim) = watch::channel(Some(Claim::unconditional()));
        // The value stays readable after the sender is gone.
        drop(sender);
        Self {
            claim,
            end: CancellationToken::new(),
            holder: holder.into(),
        }
    }

    /// Competes for the Lease in `namespace` until the process ends.
    #[must_use]
    pub fn compete(client: Client, namespace: &str, holder: &str) -> Self {
        let (sender, claim) = watch::channel(None);
        let leases: Api<Lease> = Api::namespaced(client, namespace);
        let (me, end): (Arc<str>, _) = (holder.into(), CancellationToken::new());
        tokio::spawn(hold(leases, Arc::clone(&me), sender, end.clone()));
        Self {
            claim,
            end,
            holder: me,
        }
    }

    /// Leads no more and competes no more: the Lease is given back, so that another
    /// process need not wait until it expires. Call it when all work has ended.
    pub async fn resign(&mut self) {
        self.end.cancel();
        let given_back = async { while self.claim.changed().await.is_ok() {} };
        if tokio::time::timeout(RENEW, given_back).await.is_err() {
            tracing::warn!("the Lease was not given back: it expires by itself");
        }
    }

    /// The claim, if it holds now.
    #[must_use]
    pub fn current(&self) -> Option<Claim> {
        self.claim
            .borrow()
            .clone()
            .filter(|claim| claim.holds(Instant::now()))
    }

    /// Waits until this process leads.
    pub async fn acquired(&mut self) -> Claim {
        loop {
            if let Some(claim) = self.current() {
                return claim;
            }
            if self.claim.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until this process leads no more, or in another term.
    pub async fn lost(&mut self, term: i64) {
        loop {
            let Some(claim) = self.current().filter(|claim| claim.term == term) else {
                return;
            };
            let Some(expires) = claim.expires else {
                return std::future::pending().await;
            };
            tokio::select! {
                () = tokio::time::sleep_until(expires) => {}
                _ = self.claim.changed() => {}
            }
        }
    }
}

async fn hold(
    leases: Api<Lease>,
    holder: Arc<str>,
    sender: watch::Sender<Option<Claim>>,
    end: CancellationToken,
) {
    let mut term = None;
    // When the holder that we see was last seen to renew, by our own clock.
    let mut seen: Option<(String, Instant)> = None;
    loop {
        let began = Instant::now();
        let tried = tokio::time::timeout(RENEW, claim(&leases, &holder, term, &mut seen)).await;
        let pause = match tried {
            Ok(Ok(Some(new_term))) => {
                if term != Some(new_term) {
                    tracing::info!(term = new_term, holder = %holder, "leading");
                }
                term = Some(new_term);
                sender.send_replace(Some(Claim {
                    term: new_term,
                    expires: Some(began + DURATION),
                }));
                RENEW
            }
            Ok(Ok(None)) => {
                if term.take().is_some() {
                    tracing::warn!("another controller leads now");
                }
                sender.send_replace(None);
                RETRY
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the Lease cannot be renewed");
                RETRY
            }
            Err(_) => RETRY,
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = end.cancelled() => break,
        }
    }
    sender.send_replace(None);
    if let Some(term) = term {
        match give_back(&leases, &holder, term).await {
            Ok(()) => tracing::info!(term, "the Lease is given back"),
            Err(error) => {
                tracing::warn!(%error, "the Lease was not given back: it expires by itself");
            }
        }
    }
}

/// Leaves the Lease without a holder, if it is still ours in this term.
async fn give_back(leases: &Api<Lease>, holder: &str, term: i64) -> Result<(), kube::Error> {
    let Some(mut lease) = leases.get_opt(NAME).await? else {
        return Ok(());
    };
    let Some(spec) = lease.spec.as_mut() else {
        return Ok(());
    };
    let ours = spec.holder_identity.as_deref() == Some(holder)
        && spec.lease_transitions.map(i64::from) == Some(term);
    if !ours {
        return Ok(());
    }
    spec.holder_identity = None;
    let given = leases.replace(NAME, &PostParams::default(), &lease).await;
    settle(given.map(|_| term)).map(drop)
}

/// One try to get or keep the Lease; `Some(term)` when it is ours.
async fn claim(
    leases: &Api<Lease>,
    holder: &str,
    term: Option<i64>,
    seen: &mut Option<(String, Instant)>,
) -> Result<Option<i64>, kube::Error> {
    let now = MicroTime(jiff::Timestamp::now());
    let Some(mut lease) = leases.get_opt(NAME).await? else {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(NAME.into()),
                ..ObjectMeta::default()
            },
            spec: Some(spec(holder, 1, now.clone(), now)),
        };
        return settle(
            leases
                .create(&PostParams::default(), &lease)
                .await
                .map(|_| 1),
        );
    };
    let old = lease.spec.clone().unwrap_or_default();
    let transitions = i64::from(old.lease_transitions.unwrap_or(0));
    let held_by = old.holder_identity.clone().unwrap_or_default();
    if held_by == holder && term == Some(transitions) {
        let acquired = old.acquire_time.unwrap_or_else(|| now.clone());
        lease.spec = Some(spec(holder, transitions, acquired, now));
        return settle(
            leases
                .replace(NAME, &PostParams::default(), &lease)
                .await
                .map(|_| transitions),
        );
    }
    // A restart in the same pod has the same identity: whoever had it is gone.
    if held_by != holder && !held_by.is_empty() && !expired(&lease, seen) {
        return Ok(None);
    }
    lease.spec = Some(spec(holder, transitions + 1, now.clone(), now));
    settle(
        leases
            .replace(NAME, &PostParams::default(), &lease)
            .await
            .map(|_| transitions + 1),
    )
}

/// A Lease is expired when we saw it unchanged for its whole duration; clocks of
/// other machines are not compared.
fn expired(lease: &Lease, seen: &mut Option<(String, Instant)>) -> bool {
    let version = lease.metadata.resource_version.clone().unwrap_or_default();
    match seen {
        Some((known, since)) if *known == version => since.elapsed() >= DURATION,
        _ => {
            *seen = Some((version, Instant::now()));
            false
        }
    }
}

fn spec(holder: &str, term: i64, acquired: MicroTime, renewed: MicroTime) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(holder.to_owned()),
        lease_transitions: i32::try_from(term).ok(),
        lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
        acquire_time: Some(acquired),
        renew_time: Some(renewed),
        ..LeaseSpec::default()
    }
}

/// A conflict means that somebody else was first.
fn settle(result: Result<i64, kube::Error>) -> Result<Option<i64>, kube::Error> {
    match result {
        Ok(term) => Ok(Some(term)),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
        Err(error) => Err(error),
    }
}
