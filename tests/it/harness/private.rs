//! A second environment, without trevor in it, for tests that start, kill and
//! starve processes of their own. One test at a time has it.

use std::ops::Deref;
use std::path::PathBuf;

use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt as _};
use tokio::process::Command;
use tokio::sync::{Mutex, MutexGuard};

use trevor::api::AirlockPolicy;

use super::Env;

static TURN: Mutex<()> = Mutex::const_new(());

/// The second environment, while it is ours.
pub struct Private {
    env: Env,
    _turn: MutexGuard<'static, ()>,
}

impl Deref for Private {
    type Target = Env;
    fn deref(&self) -> &Env {
        &self.env
    }
}

/// Waits for the turn, and starts the environment if it is not up.
pub async fn private() -> Private {
    let turn = TURN.lock().await;
    let checkout = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let shared = Env::shared();
    let folder = shared.folder().with_file_name("test-env-2");
    let up = Command::new("python3")
        .arg(checkout.join("tests/env/env.py"))
        .args(["up", "--no-operator", "--dir"])
        .arg(&folder)
        .output()
        .await
        .unwrap();
    assert!(
        up.status.success(),
        "{}",
        String::from_utf8_lossy(&up.stderr)
    );
    let env = Env::of(&folder);
    no_policy_is_left(&env).await;
    Private { env, _turn: turn }
}

/// A test that failed leaves its policies behind, and they would fail the next one.
async fn no_policy_is_left(env: &Env) {
    let policies: Api<AirlockPolicy> = Api::all(env.kube("admin").await);
    for policy in policies.list(&ListParams::default()).await.unwrap() {
        if policy.spec.namespaces.is_some() {
            let name = policy.name_any();
            let gone = policies.delete(&name, &DeleteParams::default()).await;
            gone.unwrap();
        }
    }
}
