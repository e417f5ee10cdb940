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
    up(turn).await
}

/// The same, started anew: for tests that look at everything there is, and for which
/// what others left would be too much or too strange.
pub async fn fresh() -> Private {
    let turn = TURN.lock().await;
    driver(&["down"]).await;
    up(turn).await
}

async fn up(turn: MutexGuard<'static, ()>) -> Private {
    let folder = driver(&["up", "--no-operator"]).await;
    let env = Env::of(&folder);
    no_policy_is_left(&env).await;
    Private { env, _turn: turn }
}

/// Has the driver do something with the second environment; gives its folder.
async fn driver(words: &[&str]) -> PathBuf {
    let checkout = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let folder = Env::shared().folder().with_file_name("test-env-2");
    let done = Command::new("python3")
        .arg(checkout.join("tests/env/env.py"))
        .args(words)
        .arg("--dir")
        .arg(&folder)
        .output()
        .await
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    folder
}

/// A test that failed leaves its policies behind, and they would fail the next one.
async fn no_policy_is_left(env: &Env) {
    let policies: Api<AirlockPolicy> = Api::all(env.kube("admin").await);
    for policy in policies.list(&ListParams::default()).await.unwrap() {
        let name = policy.name_any();
        let gone = policies.delete(&name, &DeleteParams::default()).await;
        gone.unwrap();
    }
}
