use serde_json::{Value, json};

use super::*;
use trevor_api::Direction;

const UID: &str = "6d0b5c0e-0000-4000-8000-000000000001";

fn common() -> Common {
    Common {
        jobs: config::Jobs {
            images: vec!["trevor:1".into()],
            service_account: "collector".into(),
            ..config::Jobs::default()
        },
        image: "trevor:1".into(),
        gateway: "https://gateway.example".into(),
        audience: "trevor-gateway".into(),
        ca: None,
    }
}

fn whose() -> Whose<'static> {
    Whose {
        namespace: "project",
        name: "tables",
        uid: UID,
    }
}

fn collect() -> Work {
    let sources: Vec<Source> = serde_json::from_value(json!([
        {"persistentVolumeClaim": {"claimName": "work", "path": "out"}, "include": ["**/*.csv"], "exclude": ["$(HOME)"]},
        {"persistentVolumeClaim": {"claimName": "more"}},
    ]))
    .unwrap();
    Work::collect(3, &sources, &Rules::of(Direction::Egress, None))
}

fn deliver(path: Option<&str>) -> Work {
    Work::Deliver {
        volume: VolumePath {
            claim_name: "work".into(),
            path: path.map(str::to_owned),
        },
    }
}

fn made(common: &Common, work: &Work) -> Value {
    let intent = JobIntent {
        job: work.errand().job_name("tables", UID),
        nonce: "n-1".into(),
        service_account: common.jobs.service_account.clone(),
    };
    serde_json::to_value(job(common, &whose(), work, &intent)).unwrap()
}

fn pod_of(job: &Value) -> &Value {
    &job["spec"]["template"]["spec"]
}

#[test]
fn a_job_has_no_rights_no_token_of_its_account_and_an_end() {
    for work in [collect(), deliver(Some("in"))] {
        let job = made(&common(), &work);
        let label = work.errand().label();
        let spec = &job["spec"];
        for (of, field, wanted) in [
            (spec, "activeDeadlineSeconds", json!(21_600)),
            (spec, "ttlSecondsAfterFinished", json!(3_600)),
            (spec, "backoffLimit", json!(2)),
            (spec, "parallelism", json!(1)),
            (spec, "completions", json!(1)),
            (spec, "podReplacementPolicy", json!("Failed")),
        ] {
            assert_eq!(of[field], wanted, "{label} {field}");
        }
        let pod = pod_of(&job);
        for (field, wanted) in [
            ("restartPolicy", json!("Never")),
            ("serviceAccountName", json!("collector")),
            ("automountServiceAccountToken", json!(false)),
            ("enableServiceLinks", json!(false)),
            (
                "securityContext",
                json!({"runAsNonRoot": true, "runAsUser": 65_532, "runAsGroup": 65_532,
                    "seccompProfile": {"type": "RuntimeDefault"}}),
            ),
        ] {
            assert_eq!(pod[field], wanted, "{label} {field}");
        }
        for absent in [
            "hostNetwork",
            "hostPID",
            "hostIPC",
            "nodeName",
            "initContainers",
            "imagePullSecrets",
            "hostAliases",
        ] {
            assert!(pod.get(absent).is_none(), "{label} {absent}");
        }
        let containers = pod["containers"].as_array().unwrap();
        assert_eq!(containers.len(), 1);
        let container = &containers[0];
        for (field, wanted) in [
            ("image", json!("trevor:1")),
            ("imagePullPolicy", json!("IfNotPresent")),
            ("terminationMessagePolicy", json!("FallbackToLogsOnError")),
            (
                "resources",
                json!({"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}}),
            ),
            (
                "securityContext",
                json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]}}),
            ),
        ] {
            assert_eq!(container[field], wanted, "{label} {field}");
        }
        for absent in [
            "envFrom",
            "env",
            "command",
            "ports",
            "lifecycle",
            "volumeDevices",
        ] {
            assert!(container.get(absent).is_none(), "{label} {absent}");
        }
    }
}

#[test]
fn a_job_is_known_by_its_labels_and_nonce_and_has_no_owner() {
    for (work, name) in [(collect(), "-collect-3"), (deliver(None), "-deliver")] {
        let job = made(&common(), &work);
        let labels = json!({LABEL: work.errand().label(), REQUEST_UID: UID, "app.kubernetes.io/managed-by": "trevor"});
        assert_eq!(job["metadata"]["labels"], labels);
        assert_eq!(job["spec"]["template"]["metadata"]["labels"], labels);
        assert_eq!(
            job["metadata"]["annotations"],
            json!({NONCE: "n-1", REQUEST: "tables"})
        );
        assert_eq!(job["metadata"]["namespace"], "project");
        assert!(job["metadata"]["name"].as_str().unwrap().ends_with(name));
        assert!(job["metadata"].get("ownerReferences").is_none());
    }
}

#[test]
fn sources_are_mounted_to_be_read_only_and_the_destination_alone_to_be_written() {
    let token = json!({"name": "token", "projected": {"sources": [{"serviceAccountToken":
        {"audience": "trevor-gateway", "expirationSeconds": 600, "path": "token"}}]}});
    let read = made(&common(), &collect());
    assert_eq!(
        pod_of(&read)["volumes"],
        json!([
            {"name": "source-0", "persistentVolumeClaim": {"claimName": "work", "readOnly": true}},
            {"name": "source-1", "persistentVolumeClaim": {"claimName": "more", "readOnly": true}},
            token,
        ])
    );
    assert_eq!(
        pod_of(&read)["containers"][0]["volumeMounts"],
        json!([
            {"name": "source-0", "mountPath": "/sources/0", "readOnly": true},
            {"name": "source-1", "mountPath": "/sources/1", "readOnly": true},
            {"name": "token", "mountPath": "/var/run/trevor", "readOnly": true},
        ])
    );
    let written = made(&common(), &deliver(Some("in")));
    assert_eq!(
        pod_of(&written)["volumes"],
        json!([
            {"name": "destination", "persistentVolumeClaim": {"claimName": "work", "readOnly": false}},
            token,
        ])
    );
    assert_eq!(
        pod_of(&written)["containers"][0]["volumeMounts"],
        json!([
            {"name": "destination", "mountPath": "/destination", "readOnly": false},
            {"name": "token", "mountPath": "/var/run/trevor", "readOnly": true},
        ])
    );
}

#[test]
fn arguments_say_what_is_to_be_done_and_are_taken_as_they_are() {
    let arguments = |common: &Common, work: &Work| -> Vec<String> {
        let job = made(common, work);
        serde_json::from_value(pod_of(&job)["containers"][0]["args"].clone()).unwrap()
    };
    let shared = |errand: &str, gateway: &str| -> Vec<String> {
        let words = [
            errand,
            "--gateway",
            gateway,
            "--namespace",
            "project",
            "--request",
            "tables",
            "--token-file",
            "/var/run/trevor/token",
        ];
        words.map(str::to_owned).to_vec()
    };
    let mut read = shared("collect", "https://gateway.example");
    let first =
        r#"{"exclude":["$$(HOME)"],"include":["**/*.csv"],"path":"out","root":"/sources/0"}"#;
    let second = r#"{"exclude":[],"include":[],"path":"","root":"/sources/1"}"#;
    let more = [
        "--round",
        "3",
        "--most-files",
        "10000",
        "--most-bytes",
        "5497558138880",
        "--source",
        first,
        "--source",
        second,
    ];
    read.extend(more.map(str::to_owned));
    assert_eq!(arguments(&common(), &collect()), read);

    let mut plain = common();
    plain.gateway = "http://127.0.0.1:1".into();
    let mut written = shared("deliver", "http://127.0.0.1:1");
    let more = ["--allow-http", "--root", "/destination", "--path", "in"];
    written.extend(more.map(str::to_owned));
    assert_eq!(arguments(&plain, &deliver(Some("in"))), written);
    written.truncate(written.len() - 2);
    assert_eq!(arguments(&plain, &deliver(None)), written);
}

#[test]
fn what_is_configured_is_what_they_run_with() {
    let mut common = common();
    common.ca = Some("-----BEGIN CERTIFICATE-----\n".into());
    common.jobs.fs_group = Some(100);
    common.jobs.run_as_user = 1000;
    common.jobs.deadline_seconds = 60;
    let job = made(&common, &collect());
    let pod = pod_of(&job);
    assert_eq!(job["spec"]["activeDeadlineSeconds"], 60);
    assert_eq!(pod["securityContext"]["runAsUser"], 1000);
    assert_eq!(pod["securityContext"]["fsGroup"], 100);
    assert_eq!(
        pod["securityContext"]["fsGroupChangePolicy"],
        "OnRootMismatch"
    );
    assert_eq!(
        pod["containers"][0]["env"],
        json!([{"name": "TREVOR_GATEWAY_CA", "value": "-----BEGIN CERTIFICATE-----\n"}])
    );
}
