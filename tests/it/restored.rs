//! An etcd that was restored from yesterday: what the bucket says is true.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use trevor_api::{Phase, ReleasePhase, ReleaseRecord};

use crate::actions::in_review;
use crate::faults::{desk, pid_of};
use crate::harness::{Controller, Env, Http, PATIENCE, PROJECT, Request, fresh, ready};

/// The etcd of an environment, by its JSON gateway.
pub struct Etcd {
    url: String,
    prefixes: Vec<String>,
}

/// What it had, by key; both in base64.
pub type Snapshot = Vec<(String, String)>;

impl Etcd {
    /// Our kinds and Secrets in the project.
    pub fn of(env: &Env) -> Self {
        let pid = pid_of(env, "etcd");
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        let line = String::from_utf8(line).unwrap();
        let url = line
            .split('\0')
            .find_map(|a| a.strip_prefix("--listen-client-urls="));
        let kinds = [
            "airlockrequests",
            "releaserecords",
            "airlockreviews",
            "airlockactions",
        ];
        let ours = kinds.map(|kind| format!("/registry/airlock.karectl.io/{kind}/{PROJECT}/"));
        Self {
            url: url.unwrap().to_owned(),
            prefixes: [&ours[..], &[format!("/registry/secrets/{PROJECT}/")]].concat(),
        }
    }

    async fn asks(&self, call: &str, body: Value) -> Value {
        let url = format!("{}/v3/kv/{call}", self.url);
        let answer = Http::default()
            .call(Method::POST, &url, &[], body.to_string())
            .await;
        assert_eq!(
            answer.status,
            200,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
        answer.json()
    }

    pub async fn snapshot(&self) -> Snapshot {
        let mut found = Vec::new();
        for prefix in &self.prefixes {
            let end = format!("{}0", prefix.trim_end_matches('/'));
            let range = json!({"key": STANDARD.encode(prefix), "range_end": STANDARD.encode(end)});
            let answer = self.asks("range", range).await;
            let text = |v: &Value| v.as_str().unwrap().to_owned();
            let all = answer["kvs"].as_array().cloned().unwrap_or_default();
            found.extend(all.iter().map(|kv| (text(&kv["key"]), text(&kv["value"]))));
        }
        found
    }

    /// Stores objects as they are.
    pub async fn puts(&self, objects: &Snapshot) {
        for (key, value) in objects {
            self.asks("put", json!({"key": key, "value": value})).await;
        }
    }

    /// Everything as it was; what came since is not there.
    pub async fn restore(&self, then: &Snapshot) {
        for (key, _) in self.snapshot().await {
            if !then.iter().any(|(old, _)| *old == key) {
                self.asks("deleterange", json!({"key": key})).await;
            }
        }
        self.puts(then).await;
    }
}

async fn record_phase(api: &Api<ReleaseRecord>, request: &Request) -> Option<ReleasePhase> {
    let all = api.list(&kube::api::ListParams::default()).await.unwrap();
    let mut ours = all
        .items
        .into_iter()
        .filter(|r| r.spec.request_ref.uid == request.uid);
    let found = ours.next()?.status?.phase;
    assert!(ours.next().is_none(), "one record");
    found
}

#[tokio::test]
async fn an_etcd_of_yesterday_catches_up_and_nothing_is_done_twice() {
    let env = fresh().await;
    let setup = Controller {
        window_seconds: Some(25),
        elect: false,
        ..Controller::new(&env, "restored")
    };
    let mut controller = setup.start().await;
    let desk = desk(&env, "restored-desk", &controller.url).await;
    let (alice, bob, carol) = (&desk.alice, &desk.bob, &desk.carol);
    let spec = json!({"direction": "Egress", "title": "Yesterday"});
    let draft = alice.creates("was-draft", spec.clone()).await;
    alice.uploads(&draft, "a.csv", "1").await;
    draft.says("Ready", "Draft").await;
    let reviewed = in_review(alice, "was-reviewed").await;
    bob.approves(&reviewed).await;
    let revoked = crate::revoke::released(alice, bob, carol, "was-released").await;
    let ended = crate::revoke::released(alice, bob, carol, "was-in-time").await;
    let etcd = Etcd::of(&env);
    let yesterday = etcd.snapshot().await;

    // The world goes on.
    let admin = env.kube("admin").await;
    let records: Api<ReleaseRecord> = Api::namespaced(admin.clone(), PROJECT);
    let secrets: Api<Secret> = Api::namespaced(admin.clone(), PROJECT);
    let old_secret = ended.status().await.release.unwrap().secret_name.unwrap();
    let revoked_secret = revoked.status().await.release.unwrap().secret_name.unwrap();
    alice.withdraws(&draft).await;
    draft.reaches(Phase::Withdrawn).await;
    alice.withdraws(&revoked).await;
    revoked.reaches(Phase::Revoked).await;
    ready("the window ended", PATIENCE, || async {
        (record_phase(&records, &ended).await == Some(ReleasePhase::Deleted)).then_some(())
    })
    .await;
    let lost = alice.creates("lost", spec).await;
    alice.uploads(&lost, "a.csv", "1").await;
    lost.reaches(Phase::Draft).await;
    carol.approves(&reviewed).await;
    reviewed.reaches(Phase::Released).await;
    controller.kill().await;
    let inside = env.quarantine();
    let all = [&draft, &reviewed, &revoked, &ended];
    let stored = |request: &Request| {
        let (inside, prefix) = (inside.clone(), request.prefix());
        async move {
            let mut found = Vec::new();
            for key in inside.keys(&prefix).await {
                if !key.contains("/files/") {
                    found.push((key.clone(), inside.get(&key).await));
                }
            }
            found
        }
    };
    let mut facts = Vec::new();
    for request in all {
        facts.push(stored(request).await);
    }
    let packages = env.release().keys(&reviewed.releases()).await;

    etcd.restore(&yesterday).await;
    assert_eq!(draft.status().await.phase, Some(Phase::Draft));
    assert_eq!(reviewed.status().await.phase, Some(Phase::InReview));
    assert_eq!(revoked.status().await.phase, Some(Phase::Released));
    assert_eq!(
        record_phase(&records, &ended).await,
        Some(ReleasePhase::Available)
    );
    assert_eq!(record_phase(&records, &reviewed).await, None);
    let controller = setup.start().await;
    draft.reaches(Phase::Withdrawn).await;
    reviewed.reaches(Phase::Released).await;
    revoked.reaches(Phase::Revoked).await;
    for (request, phases) in [
        (&ended, &[ReleasePhase::Deleted][..]),
        (&revoked, &[ReleasePhase::Revoked]),
        (&reviewed, &[ReleasePhase::Available, ReleasePhase::Deleted]),
    ] {
        ready(
            format!("the record of {} says so", request.name),
            PATIENCE,
            || async {
                let phase = record_phase(&records, request).await?;
                phases.contains(&phase).then_some(())
            },
        )
        .await;
    }
    for secret in [old_secret, revoked_secret] {
        ready("the Secret of a dead URL is gone", PATIENCE, || async {
            secrets
                .get_opt(&secret)
                .await
                .unwrap()
                .is_none()
                .then_some(())
        })
        .await;
    }
    // What was made since and is lost is told of, and nothing deletes it.
    ready("an orphan", PATIENCE, || async {
        (controller.metric("trevor_retention_orphans").await? >= 1.0).then_some(())
    })
    .await;
    assert_eq!(
        inside.keys(&format!("{}files/", lost.prefix())).await.len(),
        1
    );
    assert!(
        inside
            .find(&format!("{}closed.json", lost.prefix()))
            .await
            .is_none()
    );

    // Nothing is released twice, deleted early, or done again.
    for (request, before) in all.into_iter().zip(facts) {
        let now = stored(request).await;
        for (key, bytes) in &before {
            assert!(
                now.contains(&(key.clone(), bytes.clone())),
                "{key} is as it was"
            );
        }
        let new: Vec<&String> = now
            .iter()
            .map(|(key, _)| key)
            .filter(|k| !before.iter().any(|(b, _)| b == *k))
            .collect();
        // The window of the one that was released last may have ended meanwhile, and be
        // warned of before.
        let ended = |key: &str| {
            let of_end = ["/deleted/", "/warnings/"].iter().any(|w| key.contains(w));
            key.contains(&reviewed.uid) && of_end
        };
        assert!(new.iter().all(|key| ended(key)), "{new:?}");
        assert_eq!(
            inside
                .keys(&format!("{}files/", request.prefix()))
                .await
                .len(),
            1
        );
    }
    let left = env.release().keys(&reviewed.releases()).await;
    assert!(left.is_empty() || left == packages, "{left:?}");
    assert!(env.release().keys(&ended.releases()).await.is_empty());
    assert!(env.release().keys(&revoked.releases()).await.is_empty());
    // What is closed does not reopen.
    let reopened = alice.edits(&draft, json!({"submission": 1})).await;
    if reopened.is_ok() {
        draft
            .until("looked at", PATIENCE, |s| s.phase == Some(Phase::Withdrawn))
            .await;
        assert!(
            inside
                .find(&format!("{}rounds/2/seal.json", draft.prefix()))
                .await
                .is_none()
        );
    }
    assert!(!draft.live().await.finalizers().is_empty());
}
