//! The manifests in `examples/` are ones that the API server takes as they are.

use std::path::Path;
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::harness::Env;

#[tokio::test]
async fn every_example_passes_a_server_side_dry_run() {
    let env = Env::shared();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // For the API server itself, and not for kubectl.
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let kind = text.lines().find_map(|l| l.strip_prefix("kind: ")).unwrap();
        let file = path.to_str().unwrap();
        let done = match kind {
            "AirlockRequest" => {
                let arguments = ["apply", "--dry-run=server", "-f", file];
                env.kubectl("alice", &arguments).await
            }
            "AirlockPolicy" => {
                let arguments = ["apply", "--dry-run=server", "-f", file];
                env.kubectl("admin", &arguments).await
            }
            "AirlockAction" => {
                let arguments = ["create", "--dry-run=server", "-f", file];
                let submitter = text.contains("as: Submitter");
                let who = if submitter { "alice" } else { "bob" };
                env.kubectl(who, &arguments).await
            }
            "AirlockReview" => review(&env, file).await,
            other => panic!("{file}: nobody tests a {other}"),
        };
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{file}: {said}");
        seen += 1;
    }
    assert!(seen >= 8, "{seen} examples");
}

/// With the digest put in as README.md does it.
async fn review(env: &Env, file: &str) -> Output {
    let patch = format!(r#"{{"spec": {{"manifestDigest": "{}"}}}}"#, "a".repeat(64));
    let arguments = [
        "patch", "--local", "-f", file, "--type", "merge", "-o", "yaml", "-p", &patch,
    ];
    let patched = env.kubectl("bob", &arguments).await;
    assert!(patched.status.success(), "{patched:?}");
    let mut create = Command::new(env.folder().join("bin/kubectl"))
        .env("KUBECONFIG", env.folder().join("kubeconfig"))
        .env("KUBECACHEDIR", env.folder().join("home/kube"))
        .args(["--context", "bob", "create", "--dry-run=server", "-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = create.stdin.take().unwrap();
    stdin.write_all(&patched.stdout).await.unwrap();
    drop(stdin);
    create.wait_with_output().await.unwrap()
}
