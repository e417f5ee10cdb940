//! Large packages, made by Jobs: the Job that the controller makes, its own command with
//! what its pod has, and what becomes of the request, whoever is killed on the way.

use bytes::Bytes;
use futures::stream;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};
use trevor_api::{Phase, ReviewDecision};
use trevor_core::commit::Decision;
use trevor_core::format::Fact as _;
use trevor_core::frozen::FrozenRound;
use trevor_core::keys::RequestKey;
use trevor_package::{Budget, CrateInputs, OpenError, Plan, pack};

use crate::faults::{Desk, crossed_once, desk};
use crate::harness::{
    Call, Controller, Env, Keep, PATIENCE, PROJECT, Packer, Proxy, Request, Spawned, Store,
    private, ready, variables,
};

/// Bytes from which a Job makes the package.
const THRESHOLD: usize = 1 << 20;
/// Files of a request that a Job packages, in more than one part of an upload.
const FILES: (usize, usize) = (3, 6 << 20);

/// How controllers are started here.
fn setup<'a>(env: &'a Env, name: &'a str) -> Controller<'a> {
    let template = env.folder().join("packaging-job.yaml");
    let packaging =
        json!({"mode": "Job", "job_threshold_bytes": THRESHOLD, "job_template": template});
    Controller {
        packaging: Some(packaging),
        ..Controller::new(env, name)
    }
}

/// A controller that makes Jobs, a gateway and a node.
struct Scene<'a> {
    env: &'a Env,
    desk: Desk,
    packer: Packer,
    controller: Spawned,
    name: &'a str,
}

impl<'a> Scene<'a> {
    async fn new(env: &'a Env, name: &'a str) -> Self {
        let controller = setup(env, name).start().await;
        let gateway = format!("{name}-gateway");
        Self {
            env,
            desk: desk(env, &gateway, &controller.url).await,
            packer: Packer::new(env.kube("admin").await),
            controller,
            name,
        }
    }

    /// The node reaches the release server through a proxy.
    async fn through_a_proxy(mut self) -> (Self, Proxy) {
        let endpoint = self.env.variable("TREVOR_RELEASE_ENDPOINT");
        let proxy = Proxy::before(&endpoint).await;
        self.packer = self.packer.detour(&endpoint, &proxy.url);
        (self, proxy)
    }

    async fn approved(&self, stem: &str) -> Request {
        let request = self.desk.approved_once(stem, FILES.0, FILES.1).await;
        self.desk.carol.approves(&request).await;
        request
    }

    async fn outside_is_empty(&self, request: &Request) {
        let (outside, prefix) = (self.env.release(), request.releases());
        ready("nothing is outside", PATIENCE, || async {
            let keys = outside.keys(&prefix).await;
            let open = outside.open_uploads(&prefix).await;
            (keys.is_empty() && open.is_empty()).then_some(())
        })
        .await;
    }
}

fn key(request: &Request) -> RequestKey {
    RequestKey {
        namespace: PROJECT.to_owned(),
        uid: request.uid.clone(),
    }
}

async fn fact<T: serde::de::DeserializeOwned>(store: &Store, at: &str) -> T {
    serde_json::from_slice(&store.get(at).await).unwrap()
}

/// The SHA-256 of the package that this process makes of the same round.
async fn packed_here(inside: &Store, request: &Request) -> String {
    let key = key(request);
    let bytes = Bytes::from(inside.get(&key.manifest(1)).await);
    let frozen = FrozenRound::parse(&bytes).unwrap().frozen().unwrap();
    let decision: Decision = fact(inside, &key.decision(1)).await;
    let inputs = CrateInputs::decided(&frozen, &decision);
    let plan = Plan::new(&inputs).unwrap();
    let spool = tempfile::tempdir().unwrap();
    let budget = Budget {
        memory: 64 << 20,
        spool_dir: spool.path().to_owned(),
    };
    let open = |file: &trevor_core::manifest::ManifestFile| {
        let (inside, key) = (inside.clone(), file.key.clone());
        async move {
            let bytes = Bytes::from(inside.get(&key).await);
            Ok::<_, OpenError<std::io::Error>>(stream::iter([Ok(bytes)]))
        }
    };
    let (parts, mut taken) = tokio::sync::mpsc::channel(1);
    let taking = async { while taken.recv().await.is_some() {} };
    let (packed, ()) = tokio::join!(pack(&plan, &budget, open, parts), taking);
    packed.unwrap().sha256.to_string()
}

async fn attempts(inside: &Store, request: &Request) -> Vec<Value> {
    let mut found = Vec::new();
    for at in inside.keys(&key(request).attempts(1)).await {
        if !at.ends_with(".failed.json") {
            found.push(inside.json(&at).await);
        }
    }
    found
}

#[tokio::test]
async fn a_job_makes_the_same_bytes_as_the_controller_and_only_of_what_is_large() {
    let env = private().await;
    let scene = Scene::new(&env, "packs").await;
    let request = scene.approved("packs").await;
    let pod = scene.packer.pod(&request, 1).await;
    let job = scene.packer.job(&request, 1).await;
    let text = serde_json::to_string(&(&job, &pod)).unwrap();
    let own = variables(&env, "packaging").into_values();
    for secret in env.secrets().into_iter().chain(own) {
        assert!(!text.contains(&secret), "a secret is in the Job");
    }
    let attempt = &attempts(&env.quarantine(), &request).await[0];
    assert_eq!(attempt["job"], true);
    assert!(!text.contains(attempt["key"].as_str().unwrap()));
    request
        .until("the Job is named", PATIENCE, |s| {
            s.phase == Some(Phase::Releasing)
                && s.conditions
                    .iter()
                    .any(|c| c.type_ == "Ready" && c.message.contains("package-1-1-"))
        })
        .await;

    let ended = scene.packer.runs(&pod).await;
    assert_eq!(ended.code, 0, "{}", ended.said);
    crossed_once(&env, &request).await;
    let package = request.record().await.spec.package.unwrap();
    let here = packed_here(&env.quarantine(), &request).await;
    assert_eq!(package.sha256, here, "the bytes are the same");
    scene.packer.kubelet.is_gone(&job).await;
    let left = env.quarantine().keys(&key(&request).jobs()).await;
    assert!(left.is_empty(), "{left:?}");

    // What is small needs no Job.
    let small = scene
        .desk
        .approved_once("packs-small", 1, THRESHOLD / 2)
        .await;
    scene.desk.carol.approves(&small).await;
    small.reaches(Phase::Released).await;
    assert!(attempts(&env.quarantine(), &small).await[0]["job"].is_null());
}

#[tokio::test]
async fn a_job_without_an_approval_writes_nothing() {
    let env = private().await;
    let mut scene = Scene::new(&env, "unapproved").await;
    let request = scene
        .desk
        .approved_once("unapproved", FILES.0, FILES.1)
        .await;
    // Nobody but the Jobs below looks at what is forged.
    scene.controller.kill().await;
    let (inside, key) = (env.quarantine(), key(&request));
    let time = "2026-01-01T00:00:00Z";
    let attempt = |key: &str, job: bool| json!({"attempt": 1, "key": key, "term": 1, "holder": "h", "packager": "p", "time": time, "job": job});
    let ours = attempt(&key.release("forged", "p.zip"), true);
    let digest = crate::harness::sha256(&inside.get(&key.manifest(1)).await);
    let seal = inside.json(&key.seal(1)).await;
    let review = |who: &str| {
        json!({"name": who, "uid": who, "reviewer": who, "decision": "Approve", "manifestDigest": digest,
            "time": time, "viewed": 0, "epoch": 1})
    };
    let decision = |required: i64, reviews: &[Value]| {
        json!({"round": 1, "verdict": "Approved", "manifestDigest": digest, "policy": seal["policy"],
            "quorum": {"required": required}, "reviews": reviews, "time": time,
            "terms": {"license": "", "publisher": {"name": "x"}, "namesReviewers": false, "urlTtlSeconds": 60,
                "quarantineRetentionSeconds": 60, "releaseRetentionSeconds": 60}})
    };
    let (bob, carol) = (review("bob"), review("carol"));
    let both = decision(2, &[bob.clone(), carol.clone()]);
    let mut loose = seal.clone();
    loose["rules"]["requiredApprovals"] = json!(1);
    let nothing = Value::Null;
    let rows: &[(&str, &Value, &Value, &Value, &str)] = &[
        ("no attempt", &nothing, &nothing, &seal, "no such attempt"),
        ("no decision", &ours, &nothing, &seal, "NotApproved"),
        (
            "one approval",
            &ours,
            &decision(2, std::slice::from_ref(&bob)),
            &seal,
            "NotApproved",
        ),
        (
            "a small quorum",
            &ours,
            &decision(1, std::slice::from_ref(&bob)),
            &seal,
            "less than the policy",
        ),
        (
            "a small policy",
            &ours,
            &decision(1, std::slice::from_ref(&bob)),
            &loose,
            "the seal's rules",
        ),
        (
            "one twice",
            &ours,
            &decision(2, &[bob.clone(), bob.clone()]),
            &seal,
            "NotApproved",
        ),
        (
            "the submitter",
            &ours,
            &decision(2, &[bob.clone(), review("alice")]),
            &seal,
            "NotApproved",
        ),
        (
            "not a Job's",
            &attempt(&key.release("forged", "p.zip"), false),
            &both,
            &seal,
            "no such attempt",
        ),
        (
            "another's key",
            &attempt("releases/project-b/u/n/p.zip", true),
            &both,
            &seal,
            "key is not among",
        ),
    ];
    for (what, attempt, decision, seal, word) in rows {
        for (at, fact) in [
            (&*key.attempt(1, 1), attempt),
            (&key.decision(1), decision),
            (&key.seal(1), seal),
        ] {
            match fact {
                Value::Null => inside.delete(at).await,
                fact => inside.put(at, fact.to_string().as_bytes()).await,
            }
        }
        let ended = packs_by_hand(&scene, &request).await;
        assert_ne!(ended.code, 0, "{what}: {}", ended.said);
        assert!(ended.said.contains(word), "{what}: {}", ended.said);
        scene.outside_is_empty(&request).await;
    }
    let elsewhere = env.release().keys("releases/project-b/").await;
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
    // The same facts with the quorum are an approval: it is they that were looked at.
    inside
        .put(&key.attempt(1, 1), ours.to_string().as_bytes())
        .await;
    inside
        .put(&key.decision(1), both.to_string().as_bytes())
        .await;
    inside.put(&key.seal(1), seal.to_string().as_bytes()).await;
    inside.put(&key.revoked(), b"{}").await;
    let ended = packs_by_hand(&scene, &request).await;
    assert!(ended.said.contains("was revoked"), "{}", ended.said);
    scene.outside_is_empty(&request).await;
    inside.delete(&key.revoked()).await;
    let ended = packs_by_hand(&scene, &request).await;
    assert_eq!(ended.code, 0, "{}", ended.said);
    let keys = env.release().keys(&request.releases()).await;
    assert_eq!(keys, [key.release("forged", "p.zip")]);
    env.release().delete(&keys[0]).await;
}

/// The command that a Job would run for the first attempt, with the identities of one.
async fn packs_by_hand(scene: &Scene<'_>, request: &Request) -> crate::harness::Ended {
    let args = [
        "package",
        "--config",
        "/etc/trevor/config/config.yaml",
        "--namespace",
        PROJECT,
        "--uid",
        &request.uid,
        "--round",
        "1",
        "--attempt",
        "1",
    ];
    let text = std::fs::read_to_string(scene.env.folder().join("packaging-job.yaml")).unwrap();
    let template: Value = serde_yaml::from_str(&text).unwrap();
    let env = &template["spec"]["template"]["spec"]["containers"][0]["env"];
    let env = scene.packer.variables(env).await;
    let args = args.iter().map(|a| (*a).to_owned()).collect();
    scene.packer.runs_with(args, env).await.ends().await
}

fn completes(call: &Call) -> bool {
    call.method == http::Method::POST && call.query.contains("uploadId=")
}

fn sends_a_part(call: &Call) -> bool {
    call.query.contains("partNumber=")
}

#[tokio::test]
async fn jobs_and_controllers_that_are_killed_release_once() {
    let env = private().await;
    let (mut scene, proxy) = Scene::new(&env, "killed-job").await.through_a_proxy().await;
    proxy.keeps(Keep::Instead, completes);
    let request = scene.approved("killed-job").await;
    // Killed just before its package is complete, which arrives late.
    let pod = scene.packer.pod(&request, 1).await;
    let packing = scene.packer.starts(&pod).await;
    ready("it would be complete", PATIENCE, || async {
        (proxy.kept() > 0).then_some(())
    })
    .await;
    let late = proxy.sent_later();
    let ended = packing.dies().await;
    scene.packer.says(&pod, &ended).await;
    request
        .until("the Job's end is told", PATIENCE, |s| {
            s.conditions.iter().any(|c| c.message.contains("OOMKilled"))
        })
        .await;
    // Evicted before it ran.
    let pod = scene.packer.pod(&request, 2).await;
    assert!(proxy.sends(late).await.iter().all(|s| !s.is_success()));
    scene.packer.evicts(&pod).await;
    // The controller goes, and the next one finds the Job that runs.
    let pod = scene.packer.pod(&request, 3).await;
    let job = scene.packer.job(&request, 3).await;
    let packing = scene.packer.starts(&pod).await;
    ready("it would be complete", PATIENCE, || async {
        (proxy.kept() > 0).then_some(())
    })
    .await;
    scene.controller.kill().await;
    scene.controller = setup(&env, scene.name).start().await;
    let answers = proxy.sends(proxy.sent_later()).await;
    assert!(answers.iter().all(|s| s.is_success()), "{answers:?}");
    drop(packing.dies().await);
    // Its end is written by whoever has the pod; the line is what it would have said.
    let stored = env.release().keys(&request.releases()).await;
    assert_eq!(stored.len(), 1, "{stored:?}");
    let zip = env.release().get(&stored[0]).await;
    let line = json!({"sha256": crate::harness::sha256(&zip), "size": zip.len(), "files": FILES.0});
    let ended = crate::harness::Ended {
        code: 0,
        said: line.to_string(),
    };
    let again = scene.packer.job(&request, 3).await;
    assert_eq!(again.uid(), job.uid(), "the next leader adopts the Job");
    scene.packer.says(&pod, &ended).await;
    crossed_once(&env, &request).await;
    let made = attempts(&env.quarantine(), &request).await;
    let keys: std::collections::BTreeSet<&str> =
        made.iter().map(|a| a["key"].as_str().unwrap()).collect();
    assert_eq!((made.len(), keys.len()), (3, 3));
    assert_eq!(
        request.record().await.spec.package.unwrap().sha256,
        packed_here(&env.quarantine(), &request).await
    );
}

#[tokio::test]
async fn a_request_withdrawn_meanwhile_ends_its_job_and_nothing_is_outside() {
    let env = private().await;
    let (scene, proxy) = Scene::new(&env, "withdrawn-job")
        .await
        .through_a_proxy()
        .await;
    proxy.keeps(Keep::Instead, completes);
    let request = scene.approved("withdrawn-job").await;
    let pod = scene.packer.pod(&request, 1).await;
    let job = scene.packer.job(&request, 1).await;
    let packing = scene.packer.starts(&pod).await;
    ready("it would be complete", PATIENCE, || async {
        (proxy.kept() > 0).then_some(())
    })
    .await;
    let late = proxy.sent_later();
    scene.desk.alice.withdraws(&request).await;
    request.reaches(Phase::Withdrawn).await;
    scene.packer.kubelet.is_gone(&job).await;
    scene.outside_is_empty(&request).await;
    // What arrives afterwards changes nothing, and another pod of it would stop.
    let answers = proxy.sends(late).await;
    assert!(answers.iter().all(|s| !s.is_success()), "{answers:?}");
    drop(packing.dies().await);
    let ended = scene.packer.runs(&pod).await;
    assert!(ended.said.contains("decided"), "{}", ended.said);
    scene.outside_is_empty(&request).await;
    assert!(request.records().await.is_empty());
}

#[tokio::test]
async fn changes_asked_for_meanwhile_end_a_job_that_aborts_its_upload_when_told() {
    let env = private().await;
    let (scene, proxy) = Scene::new(&env, "told").await.through_a_proxy().await;
    proxy.keeps(Keep::Instead, sends_a_part);
    let request = scene.approved("told").await;
    let pod = scene.packer.pod(&request, 1).await;
    let packing = scene.packer.starts(&pod).await;
    ready("parts are on their way", PATIENCE, || async {
        (proxy.kept() > 0).then_some(())
    })
    .await;
    let outside = env.release();
    assert_eq!(outside.open_uploads(&request.releases()).await.len(), 1);
    packing.is_told().await;
    let ended = packing.ends().await;
    assert_ne!(ended.code, 0);
    assert!(ended.said.contains("interrupted"), "{}", ended.said);
    scene.outside_is_empty(&request).await;
    let word = ReviewDecision::RequestChanges;
    scene.desk.carol.reviews_it(&request, word).await;
    request.reaches(Phase::ChangesRequested).await;
    let job = Packer::job_name(&request, 1);
    ready("the Job is gone", PATIENCE, || async {
        scene
            .packer
            .kubelet
            .jobs()
            .get_opt(&job)
            .await
            .unwrap()
            .is_none()
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_job_of_its_name_that_is_not_its_own_is_not_believed() {
    let env = private().await;
    let scene = Scene::new(&env, "impostor").await;
    let request = scene.desk.approved_once("impostor", FILES.0, FILES.1).await;
    let (jobs, name) = (scene.packer.kubelet.jobs(), Packer::job_name(&request, 1));
    let impostor = |nonce: &str| -> k8s_openapi::api::batch::v1::Job {
        serde_json::from_value(json!({
            "metadata": {"name": name, "annotations": {"airlock.karectl.io/nonce": nonce}, "labels": {"airlock.karectl.io/job": "package"}},
            "spec": {"suspend": true, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "evil:1"}]}}},
        }))
        .unwrap()
    };
    let made = PostParams::default();
    jobs.create(&made, &impostor("forged")).await.unwrap();
    scene.desk.carol.approves(&request).await;
    request.says("Stalled", "JobNameTaken").await;
    assert!(
        jobs.get_opt(&name).await.unwrap().is_some(),
        "it is left alone"
    );
    jobs.delete(&name, &DeleteParams::background())
        .await
        .unwrap();
    let first = ready("its own is made", PATIENCE * 3, || async {
        let job = jobs.get_opt(&name).await.unwrap()?;
        (job.annotations().get("airlock.karectl.io/nonce")? != "forged").then_some(job)
    })
    .await;
    // Even one that knows the nonce: what counts is the uid that was stored.
    let at = format!("{}package-1-1.uid.json", key(&request).jobs());
    ready("its uid is stored", PATIENCE, || async {
        env.quarantine().find(&at).await
    })
    .await;
    jobs.delete(&name, &DeleteParams::background())
        .await
        .unwrap();
    let nonce = first.annotations()["airlock.karectl.io/nonce"].clone();
    ready("it is replaced", PATIENCE, || async {
        jobs.create(&made, &impostor(&nonce)).await.ok()
    })
    .await;
    let pod = scene.packer.pod(&request, 2).await;
    let ended = scene.packer.runs(&pod).await;
    assert_eq!(ended.code, 0, "{}", ended.said);
    crossed_once(&env, &request).await;
    assert!(
        jobs.get_opt(&name).await.unwrap().is_some(),
        "it is left alone"
    );
    jobs.delete(&name, &DeleteParams::background())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_file_that_changed_fails_the_request_with_its_name() {
    let env = private().await;
    let scene = Scene::new(&env, "tampered").await;
    let request = scene.desk.approved_once("tampered", FILES.0, FILES.1).await;
    let manifest = env.quarantine().json(&key(&request).manifest(1)).await;
    let file = manifest["files"][1].clone();
    let bytes = vec![7; usize::try_from(file["size"].as_u64().unwrap()).unwrap()];
    env.quarantine()
        .put(file["key"].as_str().unwrap(), &bytes)
        .await;
    scene.desk.carol.approves(&request).await;
    let pod = scene.packer.pod(&request, 1).await;
    let ended = scene.packer.runs(&pod).await;
    assert_ne!(ended.code, 0, "{}", ended.said);
    let failed = request.says("Stalled", "IntegrityMismatch").await;
    assert_eq!(failed.phase, Some(Phase::Failed));
    let told = failed
        .conditions
        .iter()
        .find(|c| c.type_ == "Stalled")
        .unwrap();
    assert!(
        told.message.contains(file["path"].as_str().unwrap()),
        "{}",
        told.message
    );
    scene.outside_is_empty(&request).await;
    scene.desk.alice.withdraws(&request).await;
    request.reaches(Phase::Withdrawn).await;
}

#[tokio::test]
async fn a_template_that_cannot_work_stops_the_controller_at_start() {
    let env = private().await;
    let folder = tempfile::tempdir().unwrap();
    let good = std::fs::read_to_string(env.folder().join("packaging-job.yaml")).unwrap();
    let path = folder.path().join("job.yaml");
    for (text, word) in [
        (None, "job.yaml"),
        (
            Some(good.replace("namespace: trevor-system", "namespace: elsewhere")),
            "namespace trevor-system",
        ),
        (
            Some(good.replace("serviceAccountName: trevor-packaging", "hostname: x")),
            "service account",
        ),
    ] {
        if let Some(text) = &text {
            assert_ne!(*text, good);
            std::fs::write(&path, text).unwrap();
        }
        let setup = Controller {
            packaging: Some(json!({"mode": "Job", "job_template": path})),
            elect: false,
            ..Controller::new(&env, "no-template")
        };
        let mut stopped = setup.launch();
        assert_eq!(stopped.ends().await, Some(1));
        let log = std::fs::read_to_string(env.folder().join("log/no-template.log")).unwrap();
        let last = log.lines().rfind(|l| l.starts_with("trevor:")).unwrap();
        assert!(
            last.contains("controller.packaging.job_template") && last.contains(word),
            "{last}"
        );
    }
}
