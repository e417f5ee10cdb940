//! The request that the pod of a Job calls for, and whether that request still accepts or delivers
//! files.

use crate::cluster::requests;
use crate::identity::call::Call;
use crate::identity::job_pods::could_be_job_pod;
use crate::problem::Problem;
use crate::records::frozen_rounds::{FrozenRound, not_frozen};
use crate::state::Gateway;
use trevor_api::{AirlockRequest, DeliveryType, Direction, Phase};
use trevor_core::keys::RequestKey;
use trevor_core::volume::Errand;

/// A Job that collects files for a round of a request.
pub struct CollectionJob {
    pub request: AirlockRequest,
    pub key: RequestKey,
    pub round: i64,
}

/// The collection that the caller works for, if it is a pod of such a Job: of the open round, or of
/// the last one.
///
/// # Errors
/// 503 when the API server or the storage does not answer, or the pod is not recorded yet.
pub async fn collector(gateway: &Gateway, call: &Call) -> Result<Option<CollectionJob>, Problem> {
    if !could_be_job_pod(call) {
        return Ok(None);
    }
    let found = gateway.requests.get(&call.namespace, &call.name).await?;
    let Some(request) = found.filter(|r| r.spec.direction == Direction::Egress) else {
        return Ok(None);
    };
    let key = requests::key(&request);
    let round = requests::open_round(&request).unwrap_or_else(|| requests::round(&request));
    let collects = gateway
        .job_pods
        .verify(call, &key, Errand::Collect { round })
        .await?;
    Ok(collects.then_some(CollectionJob {
        request,
        key,
        round,
    }))
}

impl CollectionJob {
    /// Checks that the round still accepts files: it is submitted, and not sealed.
    ///
    /// # Errors
    /// 409 with the reason when it does not.
    pub async fn check_open(&self, gateway: &Gateway) -> Result<(), Problem> {
        requests::require_upload_round(&self.request)?;
        let submitted = self.request.spec.submission == self.round;
        let seal = self.key.seal(self.round);
        if !submitted || gateway.zones.records.exists(&seal).await? {
            return Err(requests::round_sealed());
        }
        Ok(())
    }

    /// Checks as [`Self::check_open`], and that the list of the collection is not stored yet.
    ///
    /// # Errors
    /// 409 with the reason when the round accepts no files.
    pub async fn check_accepts_files(&self, gateway: &Gateway) -> Result<(), Problem> {
        self.check_open(gateway).await?;
        let work = gateway.zones.quarantine.work();
        match work.exists(&self.key.collection(self.round)).await? {
            true => Err(Problem::conflict(
                "Collected",
                "the sources of this round are collected; nothing is added",
            )),
            false => Ok(()),
        }
    }
}

/// The request whose files the caller delivers, if it is a pod of such a Job.
///
/// # Errors
/// As [`collector`].
pub async fn deliverer(gateway: &Gateway, call: &Call) -> Result<Option<AirlockRequest>, Problem> {
    if !could_be_job_pod(call) {
        return Ok(None);
    }
    let into_volume = |r: &AirlockRequest| {
        let delivery = r.spec.delivery.as_ref();
        r.spec.direction == Direction::Ingress
            && delivery.is_some_and(|d| d.r#type == DeliveryType::PersistentVolumeClaim)
    };
    let found = gateway.requests.get(&call.namespace, &call.name).await?;
    let Some(request) = found.filter(into_volume) else {
        return Ok(None);
    };
    let key = requests::key(&request);
    let delivers = gateway.job_pods.verify(call, &key, Errand::Deliver).await?;
    Ok(delivers.then_some(request))
}

/// The approved round whose files may be delivered: that of a request while it is being released.
///
/// # Errors
/// 409 in another phase, 503 shortly before the release.
pub async fn releasing(
    gateway: &Gateway,
    request: &AirlockRequest,
) -> Result<(RequestKey, i64, FrozenRound), Problem> {
    let stopped = request.spec.withdrawn || request.metadata.deletion_timestamp.is_some();
    match requests::phase(request) {
        Phase::Releasing if !stopped => {}
        // The Job is created after the decision. The status may still show the review, where the
        // ledger could not be written at once.
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
    let (key, round) = (requests::key(request), requests::round(request));
    let frozen = gateway.frozen_rounds.get(&key, round).await?;
    let frozen = frozen
        .filter(|f| f.manifest().is_some())
        .ok_or_else(|| not_frozen(round))?;
    Ok((key, round, frozen))
}
