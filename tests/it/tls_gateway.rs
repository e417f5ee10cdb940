//! The gateway over TLS: who trusts its authority gets through, and a renewed
//! certificate is served while calls go on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::Method;
use serde_json::json;
use tokio::process::Command;
use trevor_api::Phase;
use trevor_net::tls::look;

use crate::harness::{
    Authority, Env, Gateway, Http, PATIENCE, PROJECT, Person, Spawned, command, mounts, noise,
    ready, trevor,
};

/// A gateway of the shared environment with what lies in a folder.
async fn gateway(env: &Env, name: &str, folder: &std::path::Path, trusted: &Http) -> Spawned {
    let setup = Gateway {
        env,
        name,
        controller: &env.address("controller"),
    };
    let tls = json!({"gateway": {"tls": {"secret": "mounted", "allow_plaintext": false}}});
    let variables = [(
        "TREVOR_GATEWAY_TLS_DIR".to_owned(),
        folder.display().to_string(),
    )];
    setup.start_with(&tls, &variables, trusted).await
}

async fn person(env: &Env, name: &str, gateway: &Spawned, http: &Http) -> Person {
    let mut person = env.person_at(name, &gateway.url).await;
    person.http = http.clone();
    person
}

async fn number(gateway: &Spawned, name: &str) -> u64 {
    let text = Http::default().get(&gateway.metrics).await.body;
    let text = String::from_utf8(text.to_vec()).unwrap();
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix(&format!("trevor_gateway_{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
        .parse()
        .unwrap()
}

#[tokio::test]
async fn who_trusts_the_authority_logs_in_uploads_and_reads_and_nobody_else_does() {
    let env = Env::shared();
    let (ours, other) = (Authority::default(), Authority::default());
    let folder = tempfile::tempdir().unwrap();
    mounts(folder.path(), &ours.signs("127.0.0.1", 3600));
    let http = Http::trusting(ours.pem());
    let gateway = gateway(&env, "secure-gateway", folder.path(), &http).await;

    // As people do it: the program logs in, curl uploads with TREVOR_GATEWAY_CA.
    let login = Command::new(trevor())
        .args(["login", "--context", "alice", "--namespace", PROJECT])
        .args(["--print-token", "--kubeconfig"])
        .arg(env.folder().join("kubeconfig"))
        .output()
        .await
        .unwrap();
    assert!(login.status.success(), "{login:?}");
    let token = String::from_utf8(login.stdout).unwrap().trim().to_owned();
    let alice = person(&env, "alice", &gateway, &http).await;
    let request = alice
        .creates("secure", json!({"direction": "Egress", "title": "Secure"}))
        .await;
    let file = folder.path().join("a.csv");
    std::fs::write(&file, "a,1\n").unwrap();
    let url = format!(
        "{}/v1alpha1/namespaces/{PROJECT}/airlockrequests/{}/files/a.csv",
        gateway.url, request.name
    );
    let curl = |ca: std::path::PathBuf, url: &str| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "--cacert"])
            .arg(ca)
            .args(["-H", &format!("Authorization: Bearer {token}"), "-T"])
            .arg(&file)
            .arg(url);
        curl
    };
    let put = curl(ours.file(), &url).output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&put.stdout), "201", "{put:?}");
    let put = curl(other.file(), &url).output().await.unwrap();
    assert_eq!(put.status.code(), Some(60), "{put:?}");
    let by_name = url.replace("127.0.0.1", "localhost");
    let put = curl(ours.file(), &by_name).output().await.unwrap();
    assert_eq!(put.status.code(), Some(60), "{put:?}");
    // Nothing is served without TLS.
    let plain = url.replace("https", "http");
    let put = curl(ours.file(), &plain).output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&put.stdout), "000", "{put:?}");

    alice.submits(&request, 1).await;
    request.reaches(Phase::InReview).await;
    let bob = person(&env, "bob", &gateway, &http).await;
    let url = url.replace("/files/", "/content/");
    let bearer = format!("Bearer {}", bob.token.as_deref().unwrap());
    let read = http
        .call(Method::GET, &url, &[("authorization", &bearer)], "")
        .await;
    assert_eq!(read.expect(200).body, "a,1\n");
}

#[tokio::test]
async fn a_renewed_certificate_is_served_while_calls_go_on_and_a_bad_one_is_not() {
    let env = Env::shared();
    let (old, new) = (Authority::default(), Authority::default());
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (old.signs("127.0.0.1", 3600), new.signs("127.0.0.1", 7200));
    mounts(folder.path(), &first);
    let both = format!("{}{}", old.pem(), new.pem());
    let everyone = Http::trusting(&both);
    let gateway = gateway(&env, "renewing-gateway", folder.path(), &everyone).await;
    let expiry = "certificate_expiry_timestamp_seconds";
    let until = |pair: &trevor_net::tls::issue::Pair| {
        look::of_pem(pair.certificate.as_bytes())
            .unwrap()
            .until
            .unsigned_abs()
    };
    assert_eq!(number(&gateway, expiry).await, until(&first));

    // One upload that lasts through it all, and calls on new connections.
    let alice = person(&env, "alice", &gateway, &everyone).await;
    let request = alice
        .creates("renewing", json!({"direction": "Egress", "title": "Long"}))
        .await;
    let bytes = noise(1 << 20, 3);
    let (open, end) = (
        Arc::new(AtomicBool::new(true)),
        Arc::new(AtomicBool::new(false)),
    );
    let pieces = {
        let (open, pieces) = (Arc::clone(&open), bytes.clone());
        futures::stream::iter(0..64).then(move |n| {
            let (open, piece) = (
                Arc::clone(&open),
                Bytes::copy_from_slice(&pieces[n << 14..(n + 1) << 14]),
            );
            async move {
                while n == 40 && open.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Ok(piece)
            }
        })
    };
    let url = format!(
        "{}/v1alpha1/namespaces/{PROJECT}/airlockrequests/{}/files/long.bin",
        gateway.url, request.name
    );
    let bearer = format!("Bearer {}", alice.token.as_deref().unwrap());
    let upload = {
        let (http, url, bearer) = (everyone.clone(), url.clone(), bearer.clone());
        tokio::spawn(async move {
            let headers = [("authorization", bearer.as_str())];
            http.stream(Method::PUT, &url, &headers, pieces).await
        })
    };
    let (calls, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let traffic: Vec<_> = (0..4)
        .map(|_| {
            let (calls, failed, end) = (Arc::clone(&calls), Arc::clone(&failed), Arc::clone(&end));
            let (pem, url) = (both.clone(), format!("{}/readyz", gateway.url));
            tokio::spawn(async move {
                while !end.load(Ordering::Relaxed) {
                    // A new connection each time.
                    let answer = Http::trusting(&pem).tries(&url).await;
                    calls.fetch_add(1, Ordering::Relaxed);
                    if !answer.is_ok_and(|a| a.status == 200) {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
        })
        .collect();

    mounts(folder.path(), &second);
    ready("the new certificate is served", PATIENCE, || async {
        (number(&gateway, expiry).await == until(&second)).then_some(())
    })
    .await;
    let url_ready = format!("{}/readyz", gateway.url);
    let served: BTreeSet<bool> = [
        Http::trusting(new.pem()).tries(&url_ready).await.is_ok(),
        Http::trusting(old.pem()).tries(&url_ready).await.is_err(),
    ]
    .into();
    assert_eq!(served, [true].into(), "the new one alone");

    // A key of another certificate.
    let mut bad = first.clone();
    bad.key.clone_from(&second.key);
    mounts(folder.path(), &bad);
    ready("the bad one is counted", PATIENCE, || async {
        let failures = number(&gateway, "certificate_reload_failures_total").await;
        (failures == 1).then_some(())
    })
    .await;
    assert_eq!(number(&gateway, expiry).await, until(&second));
    assert_eq!(number(&gateway, "certificate_reloads_total").await, 1);
    let still = Http::trusting(new.pem()).tries(&url_ready).await.unwrap();
    still.expect(200);

    open.store(false, Ordering::Relaxed);
    let uploaded = upload.await.unwrap().unwrap().expect(201).json();
    assert_eq!(uploaded["sha256"], crate::harness::sha256(&bytes));
    end.store(true, Ordering::Relaxed);
    for one in traffic {
        one.await.unwrap();
    }
    let (calls, failed) = (
        calls.load(Ordering::Relaxed),
        failed.load(Ordering::Relaxed),
    );
    assert!(
        calls > 50 && failed == 0,
        "{failed} of {calls} calls failed"
    );
    let log = std::fs::read_to_string(env.folder().join("log/renewing-gateway.log")).unwrap();
    assert!(log.contains("the new certificate cannot be used"), "{log}");
    assert!(!log.contains("PRIVATE KEY"), "{log}");
}

#[tokio::test]
async fn without_its_certificate_a_gateway_does_not_start_and_says_where_it_looked() {
    let env = Env::shared();
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::default();
    let pair = ours.signs("127.0.0.1", 3600);
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let mut config = crate::harness::read_config(&env, "gateway");
    config["gateway"]["tls"] = json!({"secret": "mounted"});
    config["gateway"]["listen"] = json!("127.0.0.1:0");
    config["gateway"]["metrics_listen"] = json!(null);
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, config.to_string()).unwrap();
    for (certificate, key, word) in [
        (None, None, "tls.crt: No such file"),
        (
            Some("none"),
            Some(pair.key.as_str()),
            "tls.crt: no certificate in it",
        ),
        (Some(pair.certificate.as_str()), None, "tls.key"),
        (Some(pair.certificate.as_str()), Some("none"), "tls.key"),
    ] {
        for (name, text) in [("tls.crt", certificate), ("tls.key", key)] {
            let _ = std::fs::remove_file(folder.path().join(name));
            text.into_iter().for_each(|text| write(name, text));
        }
        let ended = command(&env, "gateway")
            .args(["gateway", "--config"])
            .arg(&file)
            .env("TREVOR_GATEWAY_TLS_DIR", folder.path())
            .output();
        let ended = tokio::time::timeout(PATIENCE, ended)
            .await
            .unwrap()
            .unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(
            (ended.status.code(), said.lines().count()),
            (Some(1), 1),
            "{said}"
        );
        assert!(
            said.contains("gateway.tls.secret") && said.contains(word),
            "{said}"
        );
    }
}
