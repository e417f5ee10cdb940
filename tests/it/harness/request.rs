//! A request of a test, and waiting for what becomes of it.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use trevor_api::{
    AirlockRequest, AirlockRequestStatus, AirlockReview, AirlockReviewStatus, Phase, ReleaseRecord,
};

use super::{PATIENCE, PROJECT};

/// One request, seen as its submitter sees it.
#[derive(Clone)]
pub struct Request {
    pub name: String,
    pub uid: String,
    kube: Client,
    project: String,
}

impl Request {
    pub fn new(name: &str, uid: &str, kube: Client) -> Self {
        Self {
            name: name.to_owned(),
            uid: uid.to_owned(),
            kube,
            project: PROJECT.to_owned(),
        }
    }

    /// One of another project.
    pub fn of(mut self, project: &str) -> Self {
        project.clone_into(&mut self.project);
        self
    }

    pub fn api(&self) -> Api<AirlockRequest> {
        Api::namespaced(self.kube.clone(), &self.project)
    }

    /// Its prefix in the quarantine (and records) bucket.
    pub fn prefix(&self) -> String {
        format!("requests/{}/{}/", self.project, self.uid)
    }

    /// Its prefix in the release bucket.
    pub fn releases(&self) -> String {
        format!("releases/{}/{}/", self.project, self.uid)
    }

    pub async fn live(&self) -> AirlockRequest {
        self.api().get(&self.name).await.unwrap()
    }

    pub async fn status(&self) -> AirlockRequestStatus {
        self.live().await.status.unwrap_or_default()
    }

    /// The digest under review.
    pub async fn digest(&self) -> String {
        self.status()
            .await
            .manifest
            .expect("a manifest is frozen")
            .digest
    }

    /// Waits for a phase; a request that does not get there is shown as it stands.
    #[track_caller]
    pub fn reaches(&self, phase: Phase) -> impl Future<Output = AirlockRequestStatus> {
        self.until(phase_word(phase), PATIENCE, move |status| {
            status.phase == Some(phase)
        })
    }

    /// Waits for a round to get to a phase.
    #[track_caller]
    pub fn round_reaches(
        &self,
        round: i64,
        phase: Phase,
    ) -> impl Future<Output = AirlockRequestStatus> {
        self.until(phase_word(phase), PATIENCE, move |s| {
            s.round == Some(round) && s.phase == Some(phase)
        })
    }

    /// Waits for a condition to have a reason.
    #[track_caller]
    pub fn says(
        &self,
        kind: &'static str,
        reason: &'static str,
    ) -> impl Future<Output = AirlockRequestStatus> {
        self.until(reason, PATIENCE, move |s| {
            s.conditions
                .iter()
                .any(|c| c.type_ == kind && c.reason == reason)
        })
    }

    /// Waits until its status is as `wanted`.
    #[track_caller]
    pub fn until(
        &self,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&AirlockRequestStatus) -> bool + Send + 'static,
    ) -> impl Future<Output = AirlockRequestStatus> {
        let (what, caller) = (what.to_owned(), std::panic::Location::caller());
        async move {
            let there = move |object: Option<&AirlockRequest>| {
                object.and_then(|o| o.status.as_ref()).is_some_and(&wanted)
            };
            match tokio::time::timeout(patience, await_condition(self.api(), &self.name, there))
                .await
            {
                Ok(found) => found.unwrap().unwrap().status.unwrap(),
                Err(_) => {
                    let shown = self
                        .api()
                        .get_opt(&self.name)
                        .await
                        .unwrap()
                        .map(|o| serde_yaml::to_string(&o.status).unwrap());
                    panic!(
                        "{caller}: {} is not at {what} after {patience:?}:\n{}",
                        self.name,
                        shown.unwrap_or("gone".into())
                    );
                }
            }
        }
    }

    /// Waits until the resource is gone.
    pub async fn is_gone(&self) {
        let gone = kube::runtime::conditions::is_deleted(&self.uid);
        let waited =
            tokio::time::timeout(PATIENCE, await_condition(self.api(), &self.name, gone)).await;
        waited
            .unwrap_or_else(|_| panic!("{} is still there", self.name))
            .unwrap();
    }

    /// Waits until a review's status is written, and gives it.
    pub async fn word_on(
        &self,
        review: &AirlockReview,
        wanted: impl Fn(&AirlockReviewStatus) -> bool + Send,
    ) -> AirlockReviewStatus {
        let api: Api<AirlockReview> = Api::namespaced(self.kube.clone(), &self.project);
        let name = review.metadata.name.clone().unwrap();
        let there =
            |o: Option<&AirlockReview>| o.and_then(|o| o.status.as_ref()).is_some_and(&wanted);
        match tokio::time::timeout(PATIENCE, await_condition(api.clone(), &name, there)).await {
            Ok(found) => found.unwrap().unwrap().status.unwrap(),
            Err(_) => panic!(
                "the review stands at {:?}",
                api.get(&name).await.unwrap().status
            ),
        }
    }

    /// What crossed.
    pub async fn record(&self) -> ReleaseRecord {
        let name = self
            .status()
            .await
            .release
            .expect("it is released")
            .record_name;
        let api: Api<ReleaseRecord> = Api::namespaced(self.kube.clone(), &self.project);
        api.get(&name).await.unwrap()
    }

    /// Its ReleaseRecords, however many.
    pub async fn records(&self) -> Vec<ReleaseRecord> {
        let api: Api<ReleaseRecord> = Api::namespaced(self.kube.clone(), &self.project);
        let all = api.list(&kube::api::ListParams::default()).await.unwrap();
        all.items
            .into_iter()
            .filter(|r| r.spec.request_ref.uid == self.uid)
            .collect()
    }

    /// The Secret with the URL, read as an administrator.
    pub async fn secret(&self, admin: &Client) -> Secret {
        let name = self.status().await.release.unwrap().secret_name.unwrap();
        Api::<Secret>::namespaced(admin.clone(), &self.project)
            .get(&name)
            .await
            .unwrap()
    }
}

fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Draft => "Draft",
        Phase::Submitted => "Submitted",
        Phase::InReview => "InReview",
        Phase::ChangesRequested => "ChangesRequested",
        Phase::Approved => "Approved",
        Phase::Releasing => "Releasing",
        Phase::Released => "Released",
        Phase::Rejected => "Rejected",
        Phase::Withdrawn => "Withdrawn",
        Phase::Failed => "Failed",
        Phase::Revoked => "Revoked",
    }
}

/// Waits for something that has no watch, looking again and again until a deadline.
#[track_caller]
pub fn ready<T, F: Future<Output = Option<T>>>(
    what: impl Into<String>,
    patience: Duration,
    look: impl Fn() -> F,
) -> impl Future<Output = T> {
    let (what, caller) = (what.into(), std::panic::Location::caller());
    async move {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{caller}: {what}: not after {patience:?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
