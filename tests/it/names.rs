//! Names in every form, what an upload says of its bytes, and what these really are.

use http::Method;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use trevor_api::Phase;

use crate::harness::{Env, PATIENCE, Person, Project, Request, ready, sha256};

const PARQUET: &[u8] = b"PAR1\x15\x04\x15\x1a\x15\x1e\x4c\x15\x02\x15\0\x12\0\0";

async fn draft(alice: &Person, files: &[Value]) -> Request {
    let mut spec = json!({"direction": "Egress", "title": "می\u{200c}خواهم"});
    if !files.is_empty() {
        spec["files"] = json!(files);
    }
    let request = alice.creates("names", spec).await;
    request.reaches(Phase::Draft).await;
    request
}

#[tokio::test]
async fn names_in_every_form_are_one_file_or_two_or_none() {
    let env = Env::shared();
    let project = Project::new(&env, "names").await;
    let alice = project.person("alice").await;
    // Declared as a Mac writes it.
    let declared = [
        json!({"path": "e\u{301}te\u{301}.csv"}),
        json!({"path": "x/"}),
    ];
    let request = draft(&alice, &declared).await;
    for (path, stored) in [
        ("e\u{301}te\u{301}.csv", "été.csv"),
        ("x/sınır.csv", "x/sınır.csv"),
        ("x/sinir.csv", "x/sinir.csv"),
        ("x/می\u{200c}خواهم.csv", "x/می\u{200c}خواهم.csv"),
        ("x/क्\u{200d}षेत्र.csv", "x/क्\u{200d}षेत्र.csv"),
    ] {
        let taken = alice.uploads(&request, path, path.to_owned()).await;
        assert_eq!(taken["path"], stored);
        assert_eq!(taken["sha256"], sha256(path.as_bytes()));
        assert_eq!(taken.get("warnings"), None, "{taken}");
    }
    for (path, status, reason, says) in [
        (
            format!("x/{}.csv", "表".repeat(96)),
            422,
            "InvalidName",
            "255",
        ),
        ("x/．．/x.csv".into(), 422, "InvalidName", "NFKC"),
        ("x/a／b.csv".into(), 422, "InvalidName", "NFKC"),
        ("x/ｃｏｎ.csv".into(), 422, "InvalidName", "NFKC"),
        ("x/a\u{200d}b.csv".into(), 422, "InvalidName", "Persian"),
        ("x/SINIR.csv".into(), 409, "NameClash", "sinir"),
        ("x/میخواهم.csv".into(), 409, "NameClash", "same name"),
    ] {
        let refused = alice.puts(&request, &path, "a,b\n").await.expect(status);
        assert_eq!(refused.reason(), reason, "{path}");
        let detail = refused.json()["detail"].to_string();
        assert!(detail.contains(says), "{path}: {detail}");
    }
    let long = format!("x/{0}/{0}.csv", "a".repeat(150));
    let taken = alice.uploads(&request, &long, "a,b\n").await;
    let told = taken["warnings"].to_string();
    assert!(told.contains("Windows") && told.contains("260"), "{told}");
    // Each of two names that share the folder of their receipts is replaced by itself.
    let again = alice.uploads(&request, "x/sınır.csv", "again").await;
    assert_eq!(again["path"], "x/sınır.csv");
    alice.drops(&request, &long).await.expect(204);
    alice.submits(&request, 1).await;
    let reviewed = request.reaches(Phase::InReview).await;
    assert_eq!(reviewed.manifest.unwrap().files, 5);
    let manifest = alice.gets(&request, "manifest").await.expect(200).json();
    let digest = |path: &str| {
        let files = manifest["files"].as_array().unwrap();
        let file = files.iter().find(|f| f["path"] == path);
        file.unwrap()["sha256"].as_str().unwrap().to_owned()
    };
    assert_eq!(digest("x/sınır.csv"), sha256(b"again"));
    assert_eq!(digest("x/sinir.csv"), sha256("x/sinir.csv".as_bytes()));
}

#[tokio::test]
async fn an_upload_is_the_bytes_of_the_file_or_is_refused_with_what_to_do() {
    let env = Env::shared();
    let project = Project::new(&env, "announced").await;
    let alice = project.person("alice").await;
    let request = draft(&alice, &[]).await;
    let url = alice.file_url(&request.name, "files", "t.csv");
    let empty = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    let wrong = format!("SHA-256={empty}");
    for (name, value, status, reason, says) in [
        (
            "content-type",
            "multipart/form-data; boundary=x",
            415,
            "FormUpload",
            "curl -T",
        ),
        (
            "content-md5",
            "1B2M2Y8AsgTpgAmY7PhCfg==",
            400,
            "DigestNotCompared",
            "Content-Digest",
        ),
        (
            "content-digest",
            "sha-512=:AAAA:",
            400,
            "DigestNotCompared",
            "sha-256",
        ),
        (
            "repr-digest",
            "sha-512=:AAAA:",
            400,
            "DigestNotCompared",
            "sha-256",
        ),
        (
            "x-amz-checksum-crc32",
            "AAAAAA==",
            400,
            "DigestNotCompared",
            "sha-256",
        ),
        ("digest", wrong.as_str(), 422, "DigestMismatch", "SHA-256"),
        (
            "x-amz-checksum-sha256",
            empty,
            422,
            "DigestMismatch",
            "SHA-256",
        ),
    ] {
        let answer = alice
            .calls(Method::PUT, &url, &[(name, value)], "a,b\n")
            .await;
        let refused = answer.expect(status);
        assert_eq!(refused.reason(), reason, "{name}");
        let detail = refused.json()["detail"].to_string();
        assert!(detail.contains(says), "{name}: {detail}");
    }
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let taken = alice
        .calls(Method::PUT, &url, &form, "a,b\n")
        .await
        .expect(201);
    assert_eq!(taken.json()["size"], 4);
    // HTTP/1.0, without a length: nobody knows whether there is a body.
    let (host, path) = url
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let bearer = alice.token.as_deref().unwrap();
    for version in ["1.0", "1.1"] {
        let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
        let call = format!(
            "PUT /{path} HTTP/{version}\r\nHost: {host}\r\nConnection: close\r\nAuthorization: Bearer {bearer}\r\n\r\n"
        );
        stream.write_all(call.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains(" 411 "), "{version}: {answer}");
        assert!(answer.contains("LengthRequired"), "{version}: {answer}");
    }
    let listed = alice.gets(&request, "files").await.expect(200).json();
    assert_eq!(listed["files"][0]["size"], 4, "{listed}");
}

#[tokio::test]
async fn those_who_decide_are_told_what_the_content_is_under_every_policy() {
    let env = Env::shared();
    let project = Project::new(&env, "kinds").await;
    let alice = project.person("alice").await;
    let request = draft(&alice, &[]).await;
    let taken = alice.uploads(&request, "t.csv", PARQUET).await;
    assert_eq!(taken["sniffed"], "parquet");
    let told = "t.csv looks like parquet, and a file named .csv is text";
    assert_eq!(taken["warnings"], json!([told]));
    let later = [b"a,b\n".repeat(5000), vec![0; 100]].concat();
    let taken = alice.uploads(&request, "later.csv", later).await;
    assert!(taken["warnings"][0].as_str().unwrap().contains("binary"));
    let plain = alice.uploads(&request, "plain.csv", "a,b\n1,2\n").await;
    assert_eq!(
        (plain["sniffed"].as_str(), plain.get("warnings")),
        (Some("text"), None)
    );
    // A program is named by its whole signature.
    alice.uploads(&request, "dex.csv", "dex\n0\n1\n0\n").await;
    alice.uploads(&request, "a.txt", "!<arch>\nnotes").await;
    let listed = alice.gets(&request, "files").await.expect(200).json();
    let file = |list: &Value, path: &str| {
        let files = list["files"].as_array().unwrap().clone();
        files.into_iter().find(|f| f["path"] == path).unwrap()
    };
    assert_eq!(file(&listed, "t.csv")["sniffed"], "parquet");
    assert_eq!(file(&listed, "t.csv")["warnings"], json!([told]));
    alice.submits(&request, 1).await;
    let reviewed = request.reaches(Phase::InReview).await;
    assert_eq!(reviewed.manifest.unwrap().warnings, Some(2));
    let shown = reviewed.files.iter().find(|f| f.path == "t.csv").unwrap();
    assert_eq!(shown.sniffed.as_deref(), Some("parquet"));
    assert_eq!(shown.warnings, [told]);
    let ready_says = reviewed
        .conditions
        .iter()
        .find(|c| c.type_ == "Ready")
        .unwrap();
    assert!(
        ready_says.message.contains("more files have warnings"),
        "{}",
        ready_says.message
    );
    let manifest = alice.gets(&request, "manifest").await.expect(200).json();
    assert_eq!(file(&manifest, "t.csv")["sniffed"], "parquet");
    assert_eq!(file(&manifest, "later.csv")["remark"], "binary-after-text");
    let events: Api<Event> = Api::namespaced(env.kube("admin").await, &alice.project);
    ready("an Event tells it", PATIENCE, || async {
        let all = events.list(&ListParams::default()).await.unwrap();
        let of = |e: &Event| {
            let about = e.regarding.as_ref().and_then(|r| r.name.as_deref());
            about == Some(&request.name) && e.reason.as_deref() == Some("ContentWarning")
        };
        all.items.iter().any(of).then_some(())
    })
    .await;
}
