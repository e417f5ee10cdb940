//! `trevor check`: whether what trevor relies on is there, as a table or as JSON.

use std::collections::BTreeSet;

use clap::Args;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use serde::Serialize;

use crate::api::AirlockPolicy;
use crate::audit::SigningKey;
use crate::audit::key::VARIABLE;
use crate::config::Config;
use crate::rules::shipped::{Id, Rules};
use crate::rules::{live, probe};
use crate::storage::{Release, Zones, proof};

/// Looks at storage, admission rules and policies.
#[derive(Args)]
pub struct CheckArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: std::path::PathBuf,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    /// Namespace in which a request and a review in another's name are tried, as dry runs.
    #[arg(long, env = "POD_NAMESPACE", default_value = "trevor-system")]
    namespace: String,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum State {
    Ok,
    Failed,
}

#[derive(Debug, Serialize)]
struct Row {
    check: &'static str,
    state: State,
    detail: String,
}

fn row(check: &'static str, result: Result<String, String>) -> Row {
    match result {
        Ok(detail) => Row {
            check,
            state: State::Ok,
            detail,
        },
        Err(detail) => Row {
            check,
            state: State::Failed,
            detail,
        },
    }
}

/// Checks, prints, and says whether all is well.
pub async fn check(args: &CheckArgs) -> Result<bool, Box<dyn std::error::Error>> {
    let config = Config::load(&args.config)?;
    let client = Client::try_default().await?;
    let rows = [
        row("storage", storage(&config).await),
        row(
            "admission rules",
            rules(&config, &client, &args.namespace).await,
        ),
        row("policies", policies(&client).await),
        row("audit", audit(&config)),
    ];
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        for row in &rows {
            println!(
                "{:<16} {:<7} {}",
                row.check,
                format!("{:?}", row.state),
                row.detail
            );
        }
    }
    Ok(rows.iter().all(|row| row.state == State::Ok))
}

async fn storage(config: &Config) -> Result<String, String> {
    let zones = Zones::connect(&config.storage).await;
    let release = Release::connect(&config.storage).await;
    proof::prove(&zones, &release)
        .await
        .map_err(|e| e.to_string())?;
    Ok("both zones are reached, keep what is written once, and encrypt".to_owned())
}

/// Whether the ledger is signed. Only the controller has the key.
fn audit(config: &Config) -> Result<String, String> {
    let named = config.audit.signing_key_secret.is_some();
    match SigningKey::from_environment().map_err(|e| format!("{VARIABLE}: {e}"))? {
        Some(key) => Ok(format!("checkpoints are signed by {}", key.public().vkey())),
        None if named => Ok(format!(
            "a signing key is configured, and {VARIABLE} is not in this process's environment"
        )),
        None => Ok(
            "audit.signing_key_secret names no key: checkpoints and statements are not made"
                .to_owned(),
        ),
    }
}

async fn rules(config: &Config, client: &Client, namespace: &str) -> Result<String, String> {
    let Some(file) = &config.identity.rules else {
        return Err(
            "configuration key identity.rules names no file to compare them with".to_owned(),
        );
    };
    let shipped = Rules::load(file).map_err(|e| e.to_string())?;
    let ids: BTreeSet<Id> = shipped.0.keys().cloned().collect();
    let (live, _) = live::rules(client, &ids).await.map_err(|e| e.to_string())?;
    let mut problems = shipped.differences(&live);
    let tried = probe::probe(client, namespace, &shipped).await;
    problems.extend(tried.map_err(|e| e.to_string())?);
    if problems.is_empty() {
        Ok(format!(
            "{} objects are those of the chart, and a dry run in another's name was refused",
            ids.len()
        ))
    } else {
        Err(problems.join("; "))
    }
}

async fn policies(client: &Client) -> Result<String, String> {
    let api: Api<AirlockPolicy> = Api::all(client.clone());
    let all = api
        .list(&ListParams::default())
        .await
        .map_err(|e| e.to_string())?;
    if all.items.is_empty() {
        return Err(
            "there is no AirlockPolicy; reviews wait until a cluster admin makes one".to_owned(),
        );
    }
    let problems: Vec<String> = all
        .items
        .iter()
        .flat_map(|policy| {
            let conditions = policy.status.iter().flat_map(|s| &s.conditions);
            let bad = conditions.filter(|c| c.status != "True");
            bad.map(|c| format!("{}: {}: {}", policy.name_any(), c.reason, c.message))
        })
        .collect();
    if problems.is_empty() {
        Ok(format!("{} valid", all.items.len()))
    } else {
        Err(problems.join("; "))
    }
}
