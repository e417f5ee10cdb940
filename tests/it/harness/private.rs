//! Environments without trevor in them, for tests that start, kill and starve
//! processes of their own. One test at a time has one.

use std::ops::Deref;
use std::path::PathBuf;

use futures::future::select_all;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt as _};
use tokio::process::Command;
use tokio::sync::{Mutex, MutexGuard};

use trevor_api::AirlockPolicy;

use super::Env;

/// More than two would wait for the processor in place of one another.
static TURNS: [Mutex<()>; 2] = [const { Mutex::const_new(()) }; 2];

/// Such an environment, while it is ours.
pub struct Private {
    env: Env,
    _turn: Turn,
}

struct Turn {
    /// Of the environment: 2 and so on, since the first is everybody's.
    number: usize,
    _guard: MutexGuard<'static, ()>,
}

impl Deref for Private {
    type Target = Env;
    fn deref(&self) -> &Env {
        &self.env
    }
}

/// Waits for a turn, and starts the environment if it is not up.
pub async fn private() -> Private {
    up(turn().await).await
}

/// The same, started anew: for tests that look at everything there is, and for which
/// what others left would be too much or too strange.
pub async fn fresh() -> Private {
    let turn = turn().await;
    driver(turn.number, &["down"]).await;
    up(turn).await
}

async fn turn() -> Turn {
    let waiting = TURNS.iter().map(|turn| Box::pin(turn.lock()));
    let (guard, index, _) = select_all(waiting).await;
    Turn {
        number: index + 2,
        _guard: guard,
    }
}

async fn up(turn: Turn) -> Private {
    let folder = driver(turn.number, &["up", "--no-operator"]).await;
    let env = Env::of(&folder);
    no_policy_is_left(&env).await;
    Private { env, _turn: turn }
}

/// Has the driver do something with an environment; gives its folder.
async fn driver(number: usize, words: &[&str]) -> PathBuf {
    let checkout = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let folder = Env::shared()
        .folder()
        .with_file_name(format!("test-env-{number}"));
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
