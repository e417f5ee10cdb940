//! Jobs that collect from and deliver into workspace volumes. Here what a Job leaves in
//! the bucket is put there by hand, so that each thing that can go wrong can be had;
//! `volumes_whole` runs the Jobs' own command.

use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use trevor_api::{AirlockRequestStatus, Phase, ReleaseType, ReviewDecision};
use trevor_core::digest::{Crc32, Sha256Hex};
use trevor_core::keys::RequestKey;
use trevor_core::receipt::{Content, Receipt, version};
use trevor_core::volume::{Collection, Delivered, Errand, JobIntent, JobMade, JobPod, VolumeFile};

use crate::actions::acts;
use crate::harness::{
    Env, Kubelet, PATIENCE, PROJECT, Person, Project, Request, job_name, ready, unique,
};
use crate::ingress::send_all;

/// Files by path.
pub type Files<'a> = &'a [(&'a str, &'a [u8])];

/// A claim of this test, that alice may use; gives its name.
pub async fn claim(admin: &Client, project: &str, verb: &str) -> String {
    let name = unique("work");
    let group = "rbac.authorization.k8s.io";
    let role: k8s_openapi::api::rbac::v1::Role = serde_json::from_value(json!({
        "metadata": {"name": name},
        "rules": [{"apiGroups": [""], "resources": ["persistentvolumeclaims"], "resourceNames": [name], "verbs": [verb]}],
    }))
    .unwrap();
    let binding: k8s_openapi::api::rbac::v1::RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": name}, "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
        "subjects": [{"apiGroup": group, "kind": "User", "name": "alice"}],
    }))
    .unwrap();
    let made = PostParams::default();
    Api::namespaced(admin.clone(), project)
        .create(&made, &role)
        .await
        .unwrap();
    Api::namespaced(admin.clone(), project)
        .create(&made, &binding)
        .await
        .unwrap();
    let asked: SubjectAccessReview =
        serde_json::from_value(json!({"spec": {"user": "alice", "resourceAttributes": {
        "namespace": project, "resource": "persistentvolumeclaims", "name": name, "verb": verb}}}))
        .unwrap();
    let reviews: Api<SubjectAccessReview> = Api::all(admin.clone());
    ready("the right is known", PATIENCE, || async {
        let answer = reviews.create(&made, &asked).await.unwrap();
        answer.status.unwrap().allowed.then_some(())
    })
    .await;
    name
}

pub fn egress(claim: &str, submission: i64) -> Value {
    json!({"direction": "Egress", "title": "Tables", "submission": submission,
        "sources": [{"persistentVolumeClaim": {"claimName": claim, "path": "out"}, "include": ["**/*.csv"]}]})
}

pub fn ingress(claim: &str, files: Files<'_>) -> Value {
    let files: Vec<Value> = files
        .iter()
        .map(|(path, bytes)| json!({"path": path, "size": bytes.len()}))
        .collect();
    json!({"direction": "Ingress", "title": "Reference", "submission": 1, "files": files,
        "delivery": {"type": "PersistentVolumeClaim", "persistentVolumeClaim": {"claimName": claim, "path": "in"}}})
}

fn key(request: &Request, project: &str) -> RequestKey {
    RequestKey {
        namespace: project.to_owned(),
        uid: request.uid.clone(),
    }
}

fn listed(files: Files<'_>) -> Vec<VolumeFile> {
    let file = |(path, bytes): &(&str, &[u8])| VolumeFile {
        path: (*path).to_owned(),
        size: bytes.len() as u64,
        sha256: Sha256Hex::of(bytes),
    };
    files.iter().map(file).collect()
}

async fn put<T: serde::Serialize>(env: &Env, at: &str, what: &T) {
    let bytes = serde_json::to_vec(what).unwrap();
    env.quarantine().put(at, &bytes).await;
}

/// What the gateway stores for a collector: its uploads, and its list.
async fn collects(env: &Env, request: &Request, round: i64, files: Files<'_>) {
    let key = key(request, PROJECT);
    let store = env.quarantine();
    for (path, bytes) in files {
        let before = store.keys(&key.receipts_of(path)).await;
        let last: Option<Receipt> = match before.iter().max() {
            Some(at) => serde_json::from_slice(&store.get(at).await).ok(),
            None => None,
        };
        let sha256 = Sha256Hex::of(bytes);
        let same = |r: &Receipt| r.content.as_ref().is_some_and(|c| c.sha256 == sha256);
        if last.as_ref().is_some_and(same) {
            continue;
        }
        let at = key.file(&unique("file"));
        store.put(&at, bytes).await;
        let receipt = Receipt {
            more: Default::default(),
            path: (*path).to_owned(),
            version: version(before.len() as u64 + 1),
            round,
            by: format!("system:serviceaccount:{PROJECT}:default"),
            time: jiff::Timestamp::now(),
            content: Some(Content {
                more: Default::default(),
                key: at,
                size: bytes.len() as u64,
                crc32: Crc32(crc32fast::hash(bytes)),
                media_type: "text/csv".into(),
                sniffed: None,
                remark: None,
                sha256,
            }),
        };
        put(env, &key.receipt(path, &receipt.version), &receipt).await;
    }
    let files = listed(files);
    put(env, &key.collection(round), &Collection { round, files }).await;
}

async fn delivers(env: &Env, request: &Request, files: Files<'_>) {
    let files = listed(files);
    put(
        env,
        &key(request, PROJECT).delivered(),
        &Delivered { files },
    )
    .await;
}

async fn made(env: &Env, request: &Request, errand: Errand) -> JobMade {
    let at = key(request, PROJECT).job_made(errand);
    ready("the Job's uid is stored", PATIENCE, || async {
        serde_json::from_slice(&env.quarantine().find(&at).await?).ok()
    })
    .await
}

fn said(status: &AirlockRequestStatus, kind: &str) -> String {
    let found = status.conditions.iter().find(|c| c.type_ == kind);
    found.map(|c| c.message.clone()).unwrap_or_default()
}

struct Scene {
    env: Env,
    alice: Person,
    admin: Client,
    kubelet: Kubelet,
}

impl Scene {
    async fn new() -> Self {
        let env = Env::shared();
        let (alice, admin) = (env.person("alice").await, env.kube("admin").await);
        let kubelet = Kubelet::new(admin.clone(), PROJECT);
        Self {
            env,
            alice,
            admin,
            kubelet,
        }
    }

    async fn claim(&self, verb: &str) -> String {
        claim(&self.admin, PROJECT, verb).await
    }

    /// An egress request that is being collected: its Job and pod are there.
    async fn collecting(&self, stem: &str) -> (Request, Job, Pod) {
        let claim = self.claim("airlock-read").await;
        let request = self.alice.creates(stem, egress(&claim, 1)).await;
        let name = job_name(&request, "collect-1");
        let pod = self.kubelet.pod_of(&name).await;
        made(&self.env, &request, Errand::Collect { round: 1 }).await;
        (request, self.kubelet.job(&name).await, pod)
    }

    /// An ingress request that is approved: the Job that delivers it and its pod are there.
    async fn delivering(&self, stem: &str, files: Files<'_>) -> (Request, Job, Pod) {
        let claim = self.claim("airlock-write").await;
        let request = self.alice.creates(stem, ingress(&claim, files)).await;
        send_all(&self.alice, &request, files).await;
        request.reaches(Phase::InReview).await;
        self.env.person("bob").await.approves(&request).await;
        let name = job_name(&request, "deliver");
        let pod = self.kubelet.pod_of(&name).await;
        made(&self.env, &request, Errand::Deliver).await;
        (request, self.kubelet.job(&name).await, pod)
    }
}

#[tokio::test]
async fn a_round_is_what_its_own_list_has_and_what_was_uploaded_besides() {
    let scene = Scene::new().await;
    let (env, alice) = (&scene.env, &scene.alice);
    let (request, job, pod) = scene.collecting("collected").await;
    let waits = request.says("Ready", "Collecting").await;
    assert_eq!(waits.phase, Some(Phase::Submitted));
    assert_eq!(
        made(env, &request, Errand::Collect { round: 1 }).await.uid,
        job.uid().unwrap()
    );
    // What a list says counts when its files are there, and not before.
    alice.uploads(&request, "mine.txt", &b"besides"[..]).await;
    let first: Files<'_> = &[
        ("kept.csv", b"a"),
        ("changed.csv", b"b"),
        ("gone.csv", b"c"),
    ];
    collects(env, &request, 1, first).await;
    scene.kubelet.succeeds(&pod).await;
    let status = request.reaches(Phase::InReview).await;
    assert_eq!(status.manifest.unwrap().files, 4);
    scene.kubelet.is_gone(&job).await;
    let bob = env.person("bob").await;
    let by = |manifest: &Value| -> Vec<(String, bool)> {
        let files = manifest["files"].as_array().unwrap();
        let row = |f: &Value| {
            (
                f["path"].as_str().unwrap().to_owned(),
                f["collectedBy"].is_string(),
            )
        };
        files.iter().map(row).collect()
    };
    let manifest = bob.gets(&request, "manifest").await.expect(200).json();
    let row = |path: &str, job: bool| (path.to_owned(), job);
    assert_eq!(
        by(&manifest),
        [
            row("changed.csv", true),
            row("gone.csv", true),
            row("kept.csv", true),
            row("mine.txt", false)
        ]
    );

    bob.reviews_it(&request, ReviewDecision::RequestChanges)
        .await;
    request.reaches(Phase::ChangesRequested).await;
    alice.submits(&request, 2).await;
    let pod = scene.kubelet.pod_of(&job_name(&request, "collect-2")).await;
    made(env, &request, Errand::Collect { round: 2 }).await;
    let second: Files<'_> = &[("kept.csv", b"a"), ("changed.csv", b"bb")];
    collects(env, &request, 2, second).await;
    scene.kubelet.succeeds(&pod).await;
    request.round_reaches(2, Phase::InReview).await;
    let manifest = bob.gets(&request, "manifest").await.expect(200).json();
    assert_eq!(
        by(&manifest),
        [
            row("changed.csv", true),
            row("kept.csv", true),
            row("mine.txt", false)
        ]
    );
}

#[tokio::test]
async fn a_collector_that_fails_returns_the_round_with_its_last_line_and_the_next_has_its_own() {
    let scene = Scene::new().await;
    let (request, job, pod) = scene.collecting("failed").await;
    scene
        .kubelet
        .fails(&pod, "reading\nout/pipe is a FIFO\u{1b}[31m; remove it\n")
        .await;
    let status = request.reaches(Phase::ChangesRequested).await;
    let told = said(&status, "Stalled");
    assert!(
        told.starts_with("out/pipe is a FIFO[31m; remove it; mend that"),
        "{told}"
    );
    let condition = status.conditions.iter().find(|c| c.type_ == "Stalled");
    assert_eq!(condition.unwrap().reason, "CollectionFailed");
    scene.kubelet.is_gone(&job).await;
    scene.alice.submits(&request, 2).await;
    scene.kubelet.pod_of(&job_name(&request, "collect-2")).await;
    scene.alice.withdraws(&request).await;
    request.reaches(Phase::Withdrawn).await;
}

#[tokio::test]
async fn another_job_with_our_name_is_named_and_neither_believed_nor_deleted() {
    let scene = Scene::new().await;
    let claim = scene.claim("airlock-read").await;
    let request = scene.alice.creates("taken", egress(&claim, 0)).await;
    request.reaches(Phase::Draft).await;
    let name = job_name(&request, "collect-1");
    let foreign: Job = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"airlock.karectl.io/job": "collect"},
            "annotations": {"airlock.karectl.io/nonce": "guessed", "airlock.karectl.io/request": request.name}},
        "spec": {"suspend": true, "template": {"spec": {"restartPolicy": "Never",
            "containers": [{"name": "c", "image": "other:1"}]}}},
    }))
    .unwrap();
    let foreign = scene
        .kubelet
        .jobs()
        .create(&PostParams::default(), &foreign)
        .await
        .unwrap();
    collects(&scene.env, &request, 1, &[("forged.csv", b"x")]).await;
    scene.alice.submits(&request, 1).await;
    let status = request.says("Stalled", "JobNameTaken").await;
    assert_eq!(status.phase, Some(Phase::Submitted));
    assert!(said(&status, "Stalled").contains(&name));
    // Its end wakes us, and it goes on by itself.
    scene
        .env
        .quarantine()
        .delete(&key(&request, PROJECT).collection(1))
        .await;
    let there = scene.kubelet.job(&name).await;
    assert_eq!(there.uid(), foreign.uid());
    scene
        .kubelet
        .jobs()
        .delete(&name, &DeleteParams::background())
        .await
        .unwrap();
    let ours = made(&scene.env, &request, Errand::Collect { round: 1 }).await;
    assert_eq!(scene.kubelet.job(&name).await.uid().unwrap(), ours.uid);
    scene.alice.withdraws(&request).await;
    request.reaches(Phase::Withdrawn).await;
}

#[tokio::test]
async fn a_quota_that_refuses_is_said_in_its_own_words_and_a_place_is_taken_when_there_is_one() {
    let env = Env::shared();
    let admin = env.kube("admin").await;
    for (what, says) in [
        ("count/jobs.batch", "the API server refuses the Job"),
        ("pods", "the pod of the Job"),
    ] {
        let project = Project::new(&env, "quota").await;
        let alice = project.person("alice").await;
        let quota: ResourceQuota = serde_json::from_value(
            json!({"metadata": {"name": "tight"}, "spec": {"hard": {what: "0"}}}),
        )
        .unwrap();
        let quotas: Api<ResourceQuota> = Api::namespaced(admin.clone(), &project.name);
        quotas.create(&PostParams::default(), &quota).await.unwrap();
        // It binds once the quota controller has counted.
        ready("the quota binds", PATIENCE, || async {
            quotas.get("tight").await.unwrap().status?.used
        })
        .await;
        let claim = claim(&admin, &project.name, "airlock-read").await;
        let request = alice.creates("quota", egress(&claim, 1)).await;
        let status = request.says("Stalled", "JobRefused").await;
        let told = said(&status, "Stalled");
        assert!(
            told.contains(says) && told.contains("exceeded quota: tight"),
            "{told}"
        );
        quotas
            .delete("tight", &DeleteParams::default())
            .await
            .unwrap();
        let kubelet = Kubelet::new(admin.clone(), &project.name);
        kubelet.pod_of(&job_name(&request, "collect-1")).await;
        alice.withdraws(&request).await;
        request.reaches(Phase::Withdrawn).await;
    }
}

#[tokio::test]
async fn what_keeps_a_pod_from_starting_is_said_and_it_goes_on_once_that_is_mended() {
    let scene = Scene::new().await;
    let (request, _, pod) = scene.collecting("no-claim").await;
    let why = "0/1 nodes are available: persistentvolumeclaim \"work\" not found.";
    scene.kubelet.cannot_schedule(&pod, why).await;
    let status = request.says("Stalled", "JobWaits").await;
    assert_eq!(status.phase, Some(Phase::Submitted));
    assert!(said(&status, "Stalled").contains(why));
    collects(&scene.env, &request, 1, &[("a.csv", b"x")]).await;
    scene.kubelet.succeeds(&pod).await;
    request.reaches(Phase::InReview).await;
}

/// Names, labels and owners of pods are anybody's to write who may make pods.
#[tokio::test]
async fn only_pods_that_run_what_the_job_says_are_known_to_the_gateway() {
    let scene = Scene::new().await;
    let (request, job, pod) = scene.collecting("pods").await;
    let (key, store) = (key(&request, PROJECT), scene.env.quarantine());
    let errand = Errand::Collect { round: 1 };
    let at = |pod: &Pod| key.job_pod(errand, &pod.uid().unwrap());
    let known: JobPod = ready("the pod is known", PATIENCE, || async {
        serde_json::from_slice(&store.find(&at(&pod)).await?).ok()
    })
    .await;
    assert_eq!(known.job, job.uid().unwrap());
    assert_eq!(known.pod, pod.name_any());

    let pods = format!("{}collect-1.pods/", key.jobs());
    assert_eq!(store.keys(&pods).await, [at(&pod).as_str()]);
    scene.alice.withdraws(&request).await;
    request.reaches(Phase::Withdrawn).await;
}

/// Clusters change pods as they are made: here, that a debugger sees their processes.
#[tokio::test]
async fn a_pod_that_the_cluster_changed_is_named_and_its_successor_is_known() {
    let env = Env::shared();
    let admin = env.kube("admin").await;
    let project = Project::new(&env, "mutated").await;
    let alice = project.person("alice").await;
    let name = &project.name;
    let group = "admissionregistration.k8s.io/v1";
    let policy = json!({"apiVersion": group, "kind": "MutatingAdmissionPolicy", "metadata": {"name": name}, "spec": {
        "reinvocationPolicy": "Never", "failurePolicy": "Fail",
        "matchConstraints": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}},
            "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}]},
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {
            "expression": "Object{spec: Object.spec{shareProcessNamespace: true}}"}}]}});
    let binding = json!({"apiVersion": group, "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": name},
        "spec": {"policyName": name}});
    let rules = [
        ("MutatingAdmissionPolicy", policy),
        ("MutatingAdmissionPolicyBinding", binding),
    ];
    let api = |kind: &str| -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
        Api::all_with(admin.clone(), &ApiResource::from_gvk(&kind))
    };
    for (kind, rule) in &rules {
        let rule = serde_json::from_value(rule.clone()).unwrap();
        api(kind)
            .create(&PostParams::default(), &rule)
            .await
            .unwrap();
    }
    let kubelet = Kubelet::new(admin.clone(), name);
    let changes = || async {
        let probe = json!({"metadata": {"name": "probe"}, "spec": {"containers": [{"name": "c", "image": "trevor:light"}]}});
        let dry = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let pod = kubelet
            .pods()
            .create(&dry, &serde_json::from_value(probe).unwrap())
            .await
            .unwrap();
        pod.spec.unwrap().share_process_namespace == Some(true)
    };
    ready("pods are changed", PATIENCE, || async {
        changes().await.then_some(())
    })
    .await;
    let claim = claim(&admin, name, "airlock-read").await;
    let request = alice.creates("mutated", egress(&claim, 1)).await;
    let pod = kubelet.pod_of(&job_name(&request, "collect-1")).await;
    let status = request.says("Stalled", "JobPodChanged").await;
    let told = said(&status, "Stalled");
    assert!(
        told.contains(&pod.name_any()) && told.contains("(that others see its processes)"),
        "{told}"
    );
    let pods = format!("{}collect-1.pods/", key(&request, name).jobs());
    assert!(env.quarantine().keys(&pods).await.is_empty());

    for (kind, _) in &rules {
        api(kind)
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }
    ready("pods are not changed", PATIENCE, || async {
        (!changes().await).then_some(())
    })
    .await;
    kubelet
        .pods()
        .delete(&pod.name_any(), &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    // Here a Job has one pod; the round is returned, and the next has another Job.
    request.reaches(Phase::ChangesRequested).await;
    alice.submits(&request, 2).await;
    let pod = kubelet.pod_of(&job_name(&request, "collect-2")).await;
    let at = key(&request, name).job_pod(Errand::Collect { round: 2 }, &pod.uid().unwrap());
    ready("the next pod is known", PATIENCE, || async {
        env.quarantine().find(&at).await.map(drop)
    })
    .await;
    alice.withdraws(&request).await;
    request.reaches(Phase::Withdrawn).await;
}

#[tokio::test]
async fn a_recall_while_a_job_collects_ends_the_job() {
    let scene = Scene::new().await;
    let (request, job, _) = scene.collecting("recalled").await;
    acts(&scene.alice, &request, "Submitter", "Recall")
        .await
        .unwrap();
    let status = request.reaches(Phase::ChangesRequested).await;
    assert!(status.conditions.iter().any(|c| c.reason == "Recalled"));
    scene.kubelet.is_gone(&job).await;
    let left = format!("work/jobs/{}/", request.uid);
    assert!(!scene.env.quarantine().keys(&left).await.is_empty());
    scene.alice.withdraws(&request).await;
    request.reaches(Phase::Withdrawn).await;
    request
        .until("closed", PATIENCE, |s| s.closed_time.is_some())
        .await;
    assert!(scene.env.quarantine().keys(&left).await.is_empty());
}

#[tokio::test]
async fn whoever_may_not_read_a_claim_collects_nothing_from_it() {
    let scene = Scene::new().await;
    let claim = scene.claim("airlock-write").await;
    let refused = scene
        .alice
        .tries_to_create(&unique("none"), egress(&claim, 1))
        .await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("airlock-read"), "{refused}");
}

/// A controller that was killed after the intent, and one killed after the Job was made.
#[tokio::test]
async fn a_controller_that_was_killed_knows_its_job_again_by_the_nonce() {
    let scene = Scene::new().await;
    for with_job in [false, true] {
        let claim = scene.claim("airlock-read").await;
        let request = scene.alice.creates("killed", egress(&claim, 0)).await;
        request.reaches(Phase::Draft).await;
        let (errand, key) = (Errand::Collect { round: 1 }, key(&request, PROJECT));
        let intent = JobIntent {
            job: job_name(&request, "collect-1"),
            nonce: unique("nonce"),
            service_account: "default".into(),
        };
        put(&scene.env, &key.job(errand), &intent).await;
        let mut before = None;
        if with_job {
            let job: Job = serde_json::from_value(json!({
                "metadata": {"name": intent.job, "labels": {"airlock.karectl.io/job": "collect"},
                    "annotations": {"airlock.karectl.io/nonce": intent.nonce, "airlock.karectl.io/request": request.name}},
                "spec": {"suspend": true, "template": {"spec": {"restartPolicy": "Never",
                    "containers": [{"name": "trevor", "image": "trevor:light"}]}}},
            }))
            .unwrap();
            let jobs = scene.kubelet.jobs();
            before = jobs
                .create(&PostParams::default(), &job)
                .await
                .unwrap()
                .uid();
        }
        scene.alice.submits(&request, 1).await;
        let made = made(&scene.env, &request, errand).await;
        let job = scene.kubelet.job(&intent.job).await;
        assert_eq!(job.uid().as_ref(), Some(&made.uid));
        assert_eq!(job.annotations()["airlock.karectl.io/nonce"], intent.nonce);
        if with_job {
            assert_eq!(before, Some(made.uid));
        }
        scene.alice.withdraws(&request).await;
        request.reaches(Phase::Withdrawn).await;
        scene.kubelet.is_gone(&job).await;
    }
}

#[tokio::test]
async fn a_job_that_somebody_deleted_returns_the_round_and_says_so() {
    let scene = Scene::new().await;
    let (request, job, _) = scene.collecting("deleted").await;
    let gone = DeleteParams::background();
    scene
        .kubelet
        .jobs()
        .delete(&job.name_any(), &gone)
        .await
        .unwrap();
    let status = request.reaches(Phase::ChangesRequested).await;
    assert!(said(&status, "Stalled").contains("was deleted before it was done"));
}

#[tokio::test]
async fn files_go_into_a_volume_and_the_record_says_which_and_that_nothing_comes_back() {
    let scene = Scene::new().await;
    let files: Files<'_> = &[("ref/a.csv", b"one"), ("b.csv", b"three")];
    let (request, job, pod) = scene.delivering("volume", files).await;
    assert_eq!(request.status().await.phase, Some(Phase::Releasing));
    delivers(&scene.env, &request, files).await;
    scene.kubelet.succeeds(&pod).await;
    let status = request.reaches(Phase::Released).await;
    assert!(said(&status, "Ready").contains("the files are in the volume work-"));
    let record = request.record().await;
    assert_eq!(record.spec.r#type, ReleaseType::PersistentVolumeClaim);
    let volume = record.spec.persistent_volume_claim.clone().unwrap();
    assert_eq!(volume.path.as_deref(), Some("in"));
    let contents = record.spec.contents.clone().unwrap();
    assert_eq!((contents.files, contents.size), (2, 8));
    assert_eq!(record.spec.manifest_digest, request.digest().await);
    scene.kubelet.is_gone(&job).await;
    let answer = scene.alice.gets(&request, "release").await.expect(409);
    assert_eq!(answer.reason(), "DeliveredToVolume");

    acts(&scene.alice, &request, "Submitter", "Revoke")
        .await
        .unwrap();
    let status = request.reaches(Phase::Revoked).await;
    assert!(
        said(&status, "Ready").contains("stay there"),
        "{}",
        said(&status, "Ready")
    );
    let told = ready("the record says so", PATIENCE, || async {
        let status = request.record().await.status?;
        let ready = status.conditions.into_iter().find(|c| c.type_ == "Ready")?;
        (ready.reason != "Released").then_some(ready.message)
    })
    .await;
    assert!(told.contains("takes nothing back from a volume"), "{told}");
}

#[tokio::test]
async fn a_delivery_that_fails_says_why_and_the_request_can_be_withdrawn() {
    let scene = Scene::new().await;
    let (request, job, pod) = scene.delivering("differs", &[("a.csv", b"one")]).await;
    let why = "in/a.csv is there and is another file; nothing was changed";
    scene.kubelet.fails(&pod, why).await;
    let status = request.reaches(Phase::Failed).await;
    let condition = status
        .conditions
        .iter()
        .find(|c| c.type_ == "Stalled")
        .unwrap();
    assert_eq!(condition.reason, "DeliveryFailed");
    assert!(condition.message.starts_with(why), "{}", condition.message);
    scene.kubelet.is_gone(&job).await;
    scene.alice.withdraws(&request).await;
    request.reaches(Phase::Withdrawn).await;
    assert!(request.records().await.is_empty());
}

#[tokio::test]
async fn a_receipt_that_is_not_the_manifest_releases_nothing() {
    let scene = Scene::new().await;
    let (request, _, pod) = scene.delivering("other", &[("a.csv", b"one")]).await;
    delivers(&scene.env, &request, &[("a.csv", b"two")]).await;
    scene.kubelet.succeeds(&pod).await;
    let status = request.reaches(Phase::Failed).await;
    assert!(said(&status, "Stalled").contains("not what was approved"));
    assert!(request.records().await.is_empty());
    // A new submission leaves it, too.
    scene.alice.submits(&request, 2).await;
    request.round_reaches(2, Phase::InReview).await;
    scene.alice.withdraws(&request).await;
    request.reaches(Phase::Withdrawn).await;
}

/// The Job as it is made passed the fence; each change of it does not.
#[tokio::test]
async fn the_fence_takes_our_jobs_as_they_are_and_no_variant() {
    let scene = Scene::new().await;
    let (collected, read, _) = scene.collecting("fence").await;
    let (delivered, written, _) = scene.delivering("fence", &[("a.csv", b"one")]).await;
    let controller = scene.env.kube_of("controller.kubeconfig").await;
    let jobs: Api<Job> = Api::namespaced(controller, PROJECT);
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    for job in [read, written] {
        let mut plain = serde_json::to_value(&job).unwrap();
        plain["metadata"] =
            json!({"name": unique("variant"), "labels": plain["metadata"]["labels"]});
        plain["metadata"]["labels"] = json!({"airlock.karectl.io/job": plain["metadata"]["labels"]["airlock.karectl.io/job"]});
        plain["spec"]["template"]["metadata"] = json!({});
        plain["spec"].as_object_mut().unwrap().remove("selector");
        plain.as_object_mut().unwrap().remove("status");
        let made = |value: &Value| serde_json::from_value::<Job>(value.clone()).unwrap();
        jobs.create(&dry, &made(&plain)).await.unwrap();
        let pod = "/spec/template/spec";
        for (at, value) in [
            ("/metadata/labels", json!({})),
            ("/spec/template/spec/containers/0/image", json!("other:1")),
            (
                "/spec/template/spec/automountServiceAccountToken",
                json!(true),
            ),
            ("/spec/template/spec/serviceAccountName", json!("admin")),
            (
                "/spec/template/spec/securityContext/runAsNonRoot",
                json!(false),
            ),
            ("/spec/template/spec/securityContext/runAsUser", json!(0)),
            (
                "/spec/template/spec/securityContext/seccompProfile/type",
                json!("Unconfined"),
            ),
            (
                "/spec/template/spec/containers/0/securityContext/allowPrivilegeEscalation",
                json!(true),
            ),
            (
                "/spec/template/spec/containers/0/securityContext/capabilities/drop",
                json!([]),
            ),
            (
                "/spec/template/spec/volumes/0",
                json!({"name": "v", "hostPath": {"path": "/"}}),
            ),
            (
                "/spec/template/spec/volumes/1/projected/sources/0/serviceAccountToken/audience",
                json!("other"),
            ),
        ] {
            let mut changed = plain.clone();
            let name = changed.pointer(&format!("{pod}/volumes/0/name")).cloned();
            *changed.pointer_mut(at).unwrap_or_else(|| panic!("{at}")) = value;
            if at.ends_with("volumes/0") {
                *changed
                    .pointer_mut(&format!("{pod}/volumes/0/name"))
                    .unwrap() = name.unwrap();
            }
            let refused = jobs.create(&dry, &made(&changed)).await;
            match refused {
                Err(kube::Error::Api(answer)) => assert!(
                    answer.code == 403 && answer.message.contains("operator-jobs"),
                    "{at}: {}",
                    answer.message
                ),
                other => panic!("{at}: {other:?}"),
            }
        }
    }
    for request in [collected, delivered] {
        scene.alice.withdraws(&request).await;
        request.reaches(Phase::Withdrawn).await;
    }
}
