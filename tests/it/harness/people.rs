//! A person: their Kubernetes credentials, their session, and what they do.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Method;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use trevor_api::{AirlockRequest, AirlockReview, AirlockSession, ReviewDecision, SessionState};

use super::{Answer, Http, PATIENCE, PROJECT, Request, sha256, unique};

/// What stands unencoded in a segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Somebody.
#[derive(Clone)]
pub struct Person {
    pub name: String,
    pub kube: Client,
    pub http: Http,
    pub token: Option<String>,
    pub gateway: String,
    /// Where they work.
    pub project: String,
}

impl Person {
    pub fn new(name: &str, kube: Client, token: Option<String>, gateway: String) -> Self {
        Self {
            name: name.to_owned(),
            kube,
            http: Http::default(),
            token,
            gateway,
            project: PROJECT.to_owned(),
        }
    }

    /// The same person in another project, with a session there.
    pub async fn moves_to(&self, project: &str) -> Self {
        let mut moved = self.clone();
        moved.project = project.to_owned();
        moved.log_in(project, 3600).await;
        moved
    }

    /// As `trevor login` does it: a session that was made while the rules settled is made
    /// again. Where there is no gateway, nothing is waited for.
    pub async fn log_in(&mut self, namespace: &str, ttl: i64) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let token = self.new_session(namespace, ttl).await;
            self.token = Some(token.clone());
            let goes_on = tokio::time::Instant::now() < deadline;
            if self.gateway.contains("nowhere")
                || self.state_of(namespace, &token, deadline).await != Some(SessionState::Refused)
                || !goes_on
            {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Logs in where no controller runs: the session is accepted as the operator does it,
    /// with the operator's own account.
    pub async fn logs_in_without_controller(&mut self, operator: &Client, namespace: &str) {
        let token = self.new_session(namespace, 3600).await;
        let api: Api<AirlockSession> = Api::namespaced(operator.clone(), namespace);
        let name = format!("s-{}", &sha256(token.as_bytes())[..40]);
        let accepted =
            json!({"status": {"state": "Accepted", "epoch": 1, "observedGeneration": 1}});
        api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&accepted))
            .await
            .unwrap();
        self.token = Some(token);
    }

    /// What the operator made of a session, if it did until a deadline.
    async fn state_of(
        &self,
        namespace: &str,
        token: &str,
        deadline: tokio::time::Instant,
    ) -> Option<SessionState> {
        let api: Api<AirlockSession> = Api::namespaced(self.kube.clone(), namespace);
        let name = format!("s-{}", &sha256(token.as_bytes())[..40]);
        while tokio::time::Instant::now() < deadline {
            let session = api.get_opt(&name).await.unwrap()?;
            if let Some(state) = session.status.and_then(|status| status.state) {
                return Some(state);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        None
    }

    /// A session of this person; gives its token.
    pub async fn new_session(&self, namespace: &str, ttl: i64) -> String {
        let who = URL_SAFE_NO_PAD.encode(format!("{namespace}/{}", self.name));
        let token = format!(
            "trv1.{who}.{}",
            URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
        );
        let hash = sha256(token.as_bytes());
        let session: AirlockSession = serde_json::from_value(json!({
            "apiVersion": "airlock.karectl.io/v1alpha1", "kind": "AirlockSession",
            "metadata": {"name": format!("s-{}", &hash[..40])},
            "spec": {"tokenSHA256": hash, "ttlSeconds": ttl},
        }))
        .unwrap();
        let api: Api<AirlockSession> = Api::namespaced(self.kube.clone(), namespace);
        api.create(&PostParams::default(), &session).await.unwrap();
        token
    }

    /// A request with a name of its own, from its spec.
    pub async fn creates(&self, stem: &str, spec: Value) -> Request {
        let name = unique(stem);
        let request = self.tries_to_create(&name, spec).await.unwrap();
        Request::new(&name, &request.uid().unwrap(), self.kube.clone()).of(&self.project)
    }

    pub async fn tries_to_create(&self, name: &str, spec: Value) -> kube::Result<AirlockRequest> {
        let object: AirlockRequest = serde_json::from_value(json!({
            "apiVersion": "airlock.karectl.io/v1alpha1", "kind": "AirlockRequest", "metadata": {"name": name}, "spec": spec,
        }))
        .unwrap();
        self.requests()
            .create(&PostParams::default(), &object)
            .await
    }

    pub fn requests(&self) -> Api<AirlockRequest> {
        Api::namespaced(self.kube.clone(), &self.project)
    }

    pub fn reviews(&self) -> Api<AirlockReview> {
        Api::namespaced(self.kube.clone(), &self.project)
    }

    /// Changes the spec.
    pub async fn edits(&self, request: &Request, spec: Value) -> kube::Result<AirlockRequest> {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.requests()
            .patch(&request.name, &PatchParams::default(), &patch)
            .await
    }

    pub async fn submits(&self, request: &Request, submission: i64) {
        self.edits(request, json!({"submission": submission}))
            .await
            .unwrap();
    }

    pub async fn withdraws(&self, request: &Request) {
        self.edits(request, json!({"withdrawn": true}))
            .await
            .unwrap();
    }

    pub async fn deletes(&self, request: &Request) {
        self.requests()
            .delete(&request.name, &DeleteParams::default())
            .await
            .unwrap();
    }

    /// Reviews the manifest that stands now.
    pub async fn reviews_it(&self, request: &Request, decision: ReviewDecision) -> AirlockReview {
        let digest = request.digest().await;
        self.reviews_digest(&request.name, &digest, decision)
            .await
            .unwrap()
    }

    pub async fn reviews_digest(
        &self,
        request: &str,
        digest: &str,
        decision: ReviewDecision,
    ) -> kube::Result<AirlockReview> {
        let review: AirlockReview = serde_json::from_value(json!({
            "apiVersion": "airlock.karectl.io/v1alpha1", "kind": "AirlockReview",
            "metadata": {"generateName": "review-"},
            "spec": {"requestName": request, "manifestDigest": digest, "decision": decision},
        }))
        .unwrap();
        self.reviews().create(&PostParams::default(), &review).await
    }

    pub async fn approves(&self, request: &Request) -> AirlockReview {
        self.reviews_it(request, ReviewDecision::Approve).await
    }

    /// The gateway's URL for something of a request.
    pub fn url(&self, request: &str, rest: &str) -> String {
        format!(
            "{}/v1alpha1/namespaces/{}/airlockrequests/{request}/{rest}",
            self.gateway, self.project
        )
    }

    /// `files/…` or `content/…` with the path encoded by segment.
    pub fn file_url(&self, request: &str, what: &str, path: &str) -> String {
        let path: Vec<String> = path
            .split('/')
            .map(|s| utf8_percent_encode(s, SEGMENT).to_string())
            .collect();
        self.url(request, &format!("{what}/{}", path.join("/")))
    }

    /// A call with this person's token.
    pub async fn calls(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let bearer = self.token.as_ref().map(|t| format!("Bearer {t}"));
        let mut all = headers.to_vec();
        if let Some(bearer) = &bearer {
            all.push(("authorization", bearer));
        }
        let body = body.into();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let answer = self
                .http
                .call(method.clone(), url, &all, body.clone())
                .await;
            // The operator has not accepted the session yet.
            let pending = answer.status == 503
                && String::from_utf8_lossy(&answer.body).contains("SessionPending");
            if !pending || tokio::time::Instant::now() > deadline {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn gets(&self, request: &Request, rest: &str) -> Answer {
        self.calls(
            Method::GET,
            &self.url(&request.name, rest),
            &[],
            Bytes::new(),
        )
        .await
    }

    pub async fn reads(&self, request: &Request, path: &str) -> Answer {
        self.calls(
            Method::GET,
            &self.file_url(&request.name, "content", path),
            &[],
            Bytes::new(),
        )
        .await
    }

    pub async fn puts(&self, request: &Request, path: &str, bytes: impl Into<Bytes>) -> Answer {
        self.calls(
            Method::PUT,
            &self.file_url(&request.name, "files", path),
            &[],
            bytes,
        )
        .await
    }

    /// Uploads, and it works; gives the answer's JSON.
    #[track_caller]
    pub fn uploads(
        &self,
        request: &Request,
        path: &str,
        bytes: impl Into<Bytes>,
    ) -> impl Future<Output = Value> {
        let (bytes, caller) = (bytes.into(), std::panic::Location::caller());
        async move {
            let answer = self.puts(request, path, bytes).await;
            assert_eq!(
                answer.status,
                201,
                "{caller}: {path:?}: {}",
                String::from_utf8_lossy(&answer.body)
            );
            answer.json()
        }
    }

    pub async fn drops(&self, request: &Request, path: &str) -> Answer {
        self.calls(
            Method::DELETE,
            &self.file_url(&request.name, "files", path),
            &[],
            Bytes::new(),
        )
        .await
    }
}
