//! Revoked, what crossed inwards is out of the reach of every URL that was ever
//! signed, and still there, whole, until its due time.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::types::{BucketVersioningStatus, ServerSideEncryption, VersioningConfiguration};
use serde_json::json;
use trevor_api::Phase;
use trevor_core::keys::{RequestKey, set_aside_key};
use trevor_core::manifest::ManifestFile;
use trevor_store::Bucket;
use trevor_store::set_aside::set_aside_in_parts;

use crate::actions::{acts, acts_on};
use crate::faults::desk;
use crate::harness::{
    Call, Controller, Env, Http, Keep, PATIENCE, PROJECT, Person, Proxy, Request, Store, command,
    noise, private, ready, sha256, unique,
};
use crate::ingress::{declared, send_all, spec};
use crate::revoke::{
    answers, counts, is_dead, is_refused, on_record, recorded, released, renews,
    the_ledger_says_who,
};

const TABLE: &[u8] = b"age,n\n1,20\n";

/// Alice's two files, inside on the word of bob.
async fn inside(alice: &Person, bob: &Person, stem: &str) -> Request {
    let files = [
        declared("ref/table.csv", TABLE),
        json!({"path": "empty.txt", "size": 0}),
    ];
    let request = alice.creates(stem, spec(1, &files)).await;
    let bytes: [(&str, &[u8]); 2] = [("ref/table.csv", TABLE), ("empty.txt", b"")];
    send_all(alice, &request, &bytes).await;
    request.reaches(Phase::InReview).await;
    bob.approves(&request).await;
    request.reaches(Phase::Released).await;
    request
}

/// URLs to both files, signed now; each works.
async fn signed(alice: &Person, request: &Request) -> Vec<String> {
    let told = alice.gets(request, "release").await.expect(200).json();
    let mut urls = Vec::new();
    for file in told["files"].as_array().unwrap() {
        let url = file["url"].as_str().unwrap().to_owned();
        let got = Http::default().get(&url).await.expect(200);
        assert_eq!(sha256(&got.body), file["sha256"].as_str().unwrap());
        urls.push(url);
    }
    assert_eq!(urls.len(), 2);
    urls
}

async fn files(env: &Env, request: &Request) -> Vec<String> {
    let folder = format!("{}files/", request.prefix());
    env.quarantine().keys(&folder).await
}

/// None of the URLs works, and the files are there, elsewhere.
async fn is_out_of_reach(env: &Env, request: &Request, urls: &[String], before: &[String]) {
    for url in urls {
        let status = answers(url).await;
        assert!(matches!(status, 403 | 404), "{status}");
    }
    let mut wanted: Vec<String> = before.iter().map(|key| set_aside_key(key)).collect();
    wanted.sort();
    assert_eq!(files(env, request).await, wanted);
    let mut sums = Vec::new();
    for key in &wanted {
        assert!(env.quarantine().encrypted(key).await, "{key}");
        sums.push(sha256(&env.quarantine().get(key).await));
    }
    sums.sort();
    let mut sent = [sha256(TABLE), sha256(b"")];
    sent.sort();
    assert_eq!(sums, sent);
    let folder = format!("{}files/", request.prefix());
    assert!(env.quarantine().open_uploads(&folder).await.is_empty());
}

#[tokio::test]
async fn every_url_to_what_came_in_is_dead_at_once_and_the_files_are_kept() {
    let env = Env::shared();
    let (alice, bob) = (env.person("alice").await, env.person("bob").await);
    let request = inside(&alice, &bob, "in-revoked").await;
    let mut urls = signed(&alice, &request).await;
    urls.extend(signed(&alice, &request).await);
    let before = files(&env, &request).await;

    let renew = acts(&alice, &request, "Submitter", "Renew").await.unwrap();
    is_refused(&alice, &renew, "NothingToRenew").await;
    let record = request.record().await;
    let renew = renews(&bob, "Checker", on_record(&record), true).await;
    is_refused(&bob, &renew.unwrap(), "NothingToRenew").await;
    assert_eq!(request.status().await.phase, Some(Phase::Released));

    let revoke = acts(&bob, &request, "Checker", "Revoke").await.unwrap();
    request.reaches(Phase::Revoked).await;
    is_out_of_reach(&env, &request, &urls, &before).await;
    counts(&bob, &revoke).await;
    the_ledger_says_who(&env, &request, "bob").await;
    let answer = alice.gets(&request, "release").await.expect(410);
    assert_eq!(answer.reason(), "Revoked");
    // Whoever reviewed it can still look, and nobody else.
    let read = bob.reads(&request, "ref/table.csv").await.expect(200);
    assert_eq!(read.body, TABLE);
    let part = bob.file_url(&request.name, "content", "ref/table.csv");
    let range = [("range", "bytes=4-5")];
    let part = bob.calls(http::Method::GET, &part, &range, "").await;
    assert_eq!(part.expect(206).body, &TABLE[4..6]);
    alice.reads(&request, "ref/table.csv").await.expect(403);
    let renew = acts(&alice, &request, "Submitter", "Renew").await.unwrap();
    is_refused(&alice, &renew, "AlreadyRevoked").await;

    // What arrives late at the place that was signed is gone again.
    env.quarantine().put(&before[0], b"late").await;
    ready("what arrived late is gone", PATIENCE, || async {
        let found = env.quarantine().find(&before[0]).await;
        found.is_none().then_some(())
    })
    .await;
    is_out_of_reach(&env, &request, &urls, &before).await;
}

#[tokio::test]
async fn without_its_request_what_came_in_is_revoked_by_its_record() {
    let env = Env::shared();
    let (alice, bob) = (env.person("alice").await, env.person("bob").await);
    let request = inside(&alice, &bob, "in-record").await;
    let (urls, before) = (signed(&alice, &request).await, files(&env, &request).await);
    let record = request.record().await;
    alice.deletes(&request).await;
    request.is_gone().await;
    assert_eq!(answers(&urls[0]).await, 200);
    let revoke = acts_on(&bob, on_record(&record), "Checker", "Revoke").await;
    counts(&bob, &revoke.unwrap()).await;
    is_out_of_reach(&env, &request, &urls, &before).await;
    the_ledger_says_who(&env, &request, "bob").await;
}

#[tokio::test]
async fn without_a_cluster_what_came_in_is_revoked_from_the_buckets_alone() {
    let env = private().await;
    let setup = Controller::new(&env, "in-gone");
    let mut controller = setup.start().await;
    let desk = desk(&env, "in-gone-gateway", &controller.url).await;
    let request = inside(&desk.alice, &desk.bob, "in-gone").await;
    let urls = signed(&desk.alice, &request).await;
    let before = files(&env, &request).await;
    controller.kill().await;
    for _ in 0..2 {
        let done = command(&env, "controller")
            .env_remove("KUBECONFIG")
            .args(["release", "revoke", &format!("{PROJECT}/{}", request.uid)])
            .args(["--by", "olga", "--config"])
            .arg(env.folder().join("controller.yaml"))
            .output();
        let done = done.await.unwrap();
        let said = String::from_utf8(done.stdout).unwrap();
        assert!(done.status.success(), "{:?}", done.stderr);
        assert!(said.contains("revoked by olga"), "{said}");
        is_out_of_reach(&env, &request, &urls, &before).await;
    }
    // No status says so, and no dead URL is given.
    let answer = desk.alice.gets(&request, "release").await.expect(410);
    assert_eq!(answer.reason(), "Revoked");
    the_ledger_says_who(&env, &request, "olga").await;
}

#[tokio::test]
async fn moving_out_of_reach_goes_on_after_a_kill_anywhere() {
    let env = private().await;
    let between = Proxy::before(&env.variable("TREVOR_QUARANTINE_ENDPOINT")).await;
    let cut = Controller {
        elect: false,
        quarantine: Some(&between.url),
        ..Controller::new(&env, "in-cut")
    };
    let straight = Controller {
        elect: false,
        ..Controller::new(&env, "in-straight")
    };
    let mut controller = straight.start().await;
    let desk = desk(&env, "in-cut-gateway", &controller.url).await;
    type Stage = (&'static str, fn(&Call) -> bool);
    let stages: [Stage; 4] = [
        ("the copy", |c| {
            c.method == http::Method::PUT && c.path.contains("/files/aside-")
        }),
        ("the read back", |c| {
            // The first look finds no copy.
            c.method == http::Method::HEAD && c.path.contains("/files/aside-")
        }),
        ("the deletion", |c| c.query.starts_with("delete")),
        ("the versions", |c| {
            c.query.contains("versions") && c.query.contains("files%2F")
        }),
    ];
    for (what, pick) in stages {
        let request = inside(&desk.alice, &desk.bob, "in-cut").await;
        let urls = signed(&desk.alice, &request).await;
        let before = files(&env, &request).await;
        controller.kill().await;
        let mut broken = cut.start().await;
        let kept = between.kept();
        between.keeps(Keep::Instead, pick);
        let revoke = acts(&desk.bob, &request, "Checker", "Revoke").await;
        ready(format!("stopped at {what}"), PATIENCE, || async {
            (between.kept() > kept).then_some(())
        })
        .await;
        broken.kill().await;
        between.keeps(Keep::Instead, |_| false);
        controller = straight.start().await;
        request.reaches(Phase::Revoked).await;
        counts(&desk.bob, &revoke.unwrap()).await;
        is_out_of_reach(&env, &request, &urls, &before).await;
        the_ledger_says_who(&env, &request, "bob").await;
    }
    assert!(controller.runs());
}

async fn keeps_versions(store: &Store, status: BucketVersioningStatus) {
    let versioning = VersioningConfiguration::builder().status(status).build();
    let put = store.client.put_bucket_versioning().bucket(&store.bucket);
    let put = put.versioning_configuration(versioning).send().await;
    put.unwrap();
}

/// Versions and delete markers that are kept under a prefix.
async fn versions(store: &Store, prefix: &str) -> Vec<String> {
    let list = store.client.list_object_versions().bucket(&store.bucket);
    let page = list.prefix(prefix).send().await.unwrap();
    let versions = page.versions().iter().filter_map(|v| v.key());
    let markers = page.delete_markers().iter().filter_map(|m| m.key());
    versions.chain(markers).map(str::to_owned).collect()
}

#[tokio::test]
async fn on_buckets_that_keep_versions_a_revocation_leaves_none_within_reach() {
    let env = private().await;
    for store in [env.quarantine(), env.release()] {
        keeps_versions(&store, BucketVersioningStatus::Enabled).await;
    }
    let setup = Controller::new(&env, "versions");
    let mut controller = setup.start().await;
    let desk = desk(&env, "versions-gateway", &controller.url).await;
    let request = inside(&desk.alice, &desk.bob, "in-versions").await;
    let urls = signed(&desk.alice, &request).await;
    let before = files(&env, &request).await;
    let out = released(&desk.alice, &desk.bob, &desk.carol, "out-versions").await;
    let renewed = acts(&desk.alice, &out, "Submitter", "Renew").await.unwrap();
    counts(&desk.alice, &renewed).await;
    let issued = recorded(&env, &out).await;
    for one in [&request, &out] {
        let revoke = acts(&desk.bob, one, "Checker", "Revoke").await.unwrap();
        one.reaches(Phase::Revoked).await;
        counts(&desk.bob, &revoke).await;
    }
    is_out_of_reach(&env, &request, &urls, &before).await;
    for key in &before {
        let kept = versions(&env.quarantine(), key).await;
        assert!(kept.is_empty(), "{kept:?}");
    }
    is_dead(&env, &out, &issued).await;
    let kept = versions(&env.quarantine(), &format!("work/urls/{}/", out.uid)).await;
    assert!(kept.is_empty(), "the URLs are secrets: {kept:?}");
    assert!(controller.runs());
    for store in [env.quarantine(), env.release()] {
        keeps_versions(&store, BucketVersioningStatus::Suspended).await;
    }
}

/// A bucket of the storage server that is only ours.
async fn bucket(env: &Env, versions: bool) -> Store {
    let mut store = env.quarantine();
    store.bucket = unique("aside");
    let made = store.client.create_bucket().bucket(&store.bucket).send();
    made.await.unwrap();
    if versions {
        keeps_versions(&store, BucketVersioningStatus::Enabled).await;
    }
    store
}

async fn url_of(client: &Client, bucket: &str, key: &str) -> String {
    let hour = PresigningConfig::expires_in(Duration::from_secs(3600)).unwrap();
    let get = client.get_object().bucket(bucket).key(key);
    get.presigned(hour).await.unwrap().uri().to_owned()
}

fn manifest_file(path: &str, key: &str, bytes: &[u8]) -> ManifestFile {
    serde_json::from_value(json!({
        "path": path, "key": key, "size": bytes.len(), "sha256": sha256(bytes),
        "crc32": "00000000", "mediaType": "text/csv", "version": "00000001",
    }))
    .unwrap()
}

/// What takes one call up to 512 MiB is copied in parts here above 5 MiB.
#[tokio::test]
async fn a_large_file_is_set_aside_in_parts_whole_whatever_a_kill_left_and_a_bucket_keeps() {
    const WHOLE: u64 = 5 << 20;
    let env = Env::shared();
    for keeps in [false, true] {
        let store = bucket(&env, keeps).await;
        let named = serde_json::from_value(json!({"bucket": store.bucket})).unwrap();
        let quarantine = Bucket::new(store.client.clone(), &named);
        let key = RequestKey {
            namespace: PROJECT.into(),
            uid: "u".into(),
        };
        let (large, exact, changed) = (
            noise(3 * 5 * (1 << 20) + 17, 31),
            noise(5 << 20, 32),
            noise(1000, 33),
        );
        let of = |name: &str, bytes: &[u8]| manifest_file(name, &key.file(name), bytes);
        let mut all = vec![of("large", &large), of("exact", &exact), of("was", &large)];
        // Equal content has one object, under two paths.
        all.push(manifest_file("twice", &key.file("exact"), &exact));
        store.put(&all[0].key, b"an older version").await;
        store.put(&all[0].key, &large).await;
        store.put(&all[1].key, &exact).await;
        // Not what the manifest says: it is kept as it is, and no URL reaches it.
        store.put(&all[2].key, &changed).await;
        let bystander = format!("{}-longer", all[0].key);
        store.put(&bystander, b"of another").await;
        // A copy that was killed on its way, and one that is not whole.
        let aside = set_aside_key(&all[0].key);
        let begun = store.client.create_multipart_upload();
        let begun = begun.bucket(&store.bucket).key(&aside);
        begun
            .server_side_encryption(ServerSideEncryption::Aes256)
            .send()
            .await
            .unwrap();
        store.put(&set_aside_key(&all[1].key), &exact[1..]).await;
        let mut urls = Vec::new();
        for file in &all {
            let url = url_of(&store.client, &store.bucket, &file.key).await;
            assert_eq!(answers(&url).await, 200);
            urls.push(url);
        }
        let first = set_aside_in_parts(&quarantine, &key, &all, WHOLE).await;
        let said = first.unwrap_err().to_string();
        assert!(said.contains("is not a copy"), "{said}");
        for _ in 0..2 {
            // The server may still be at a copy that broke off: that is noticed, and mended.
            ready("all is set aside", PATIENCE, || async {
                let done = set_aside_in_parts(&quarantine, &key, &all, WHOLE).await;
                done.ok()
            })
            .await;
            for url in &urls {
                assert_eq!(answers(url).await, 404);
            }
            for (file, bytes) in [(&all[0], &large), (&all[1], &exact), (&all[2], &changed)] {
                let aside = set_aside_key(&file.key);
                assert!(store.get(&aside).await == *bytes, "{}", file.path);
                assert!(store.encrypted(&aside).await);
                // Some servers list what is gone for a moment.
                ready("only the bystander is listed", PATIENCE, || async {
                    let kept = versions(&store, &file.key).await;
                    kept.iter().all(|k| *k == bystander).then_some(())
                })
                .await;
            }
            ready("no upload is open", PATIENCE, || async {
                let open = store.open_uploads("").await;
                open.is_empty().then_some(())
            })
            .await;
            // What is listed, and cannot be read: its copy is the only one there is.
            store.put(&all[2].key, b"late").await;
            store.delete(&all[2].key).await;
        }
        assert_eq!(store.get(&bystander).await, b"of another");
    }
}
