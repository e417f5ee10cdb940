//! `trevor check`: the preflight, as a table or as JSON. It ends with 1 when something
//! must be mended first; what somebody should know is a warning.

use std::collections::BTreeSet;

use clap::{Args, ValueEnum};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};

use crate::api::AirlockPolicy;
use crate::audit::SigningKey;
use crate::audit::key::VARIABLE;
use crate::config::Config;
use crate::notify::Channels;
use crate::rules::shipped::{Id, Rules};
use crate::rules::{live, probe};
use crate::storage::preflight::{self, Row, State};
use crate::storage::{self, Release, Zones};

/// Looks at storage, admission rules and policies.
#[derive(Args)]
pub struct CheckArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: std::path::PathBuf,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    /// Whose credentials the environment has. Of the gateway and of packaging Jobs only the
    /// permissions in storage are looked at.
    #[arg(long = "as", value_enum, default_value_t = Process::Controller)]
    process: Process,
    /// Namespace in which a request and a review in another's name are tried, as dry runs.
    #[arg(long, env = "POD_NAMESPACE", default_value = "trevor-system")]
    namespace: String,
}

/// A process of trevor.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Process {
    Controller,
    Gateway,
    Packaging,
}

/// Checks, prints, and says whether all is well.
pub async fn check(args: &CheckArgs) -> Result<bool, Box<dyn std::error::Error>> {
    let config = Config::load(&args.config)?;
    let rows = match args.process {
        Process::Controller => controller(&config, &args.namespace).await?,
        Process::Packaging => {
            let zones = Zones::connect(&config.storage).await;
            let release = Release::connect(&config.storage).await;
            preflight::look_as_packaging(&zones, &release).await
        }
        Process::Gateway => {
            preflight::look_as_gateway(&Zones::connect(&config.storage).await).await
        }
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        print(&rows);
    }
    Ok(rows.iter().all(|row| row.state != State::Failed))
}

async fn controller(
    config: &Config,
    namespace: &str,
) -> Result<Vec<Row>, Box<dyn std::error::Error>> {
    let zones = Zones::connect(&config.storage).await;
    let release = Release::connect(&config.storage).await;
    let signer = storage::signer(&config.storage.release).await;
    let mut rows = preflight::look(&config.storage, &zones, &release, signer.as_ref()).await;
    let client = Client::try_default().await?;
    rows.push(Row::of(
        "admission rules",
        "",
        rules(config, &client, namespace).await,
    ));
    rows.push(Row::of("policies", "", policies(&client).await));
    rows.push(audit(config));
    rows.extend(channels(config).await);
    Ok(rows)
}

fn print(rows: &[Row]) {
    for row in rows {
        println!(
            "{:<8} {:<10} {:<16} {}",
            format!("{:?}", row.state),
            row.at,
            row.check,
            row.detail
        );
    }
    let of = |state| rows.iter().filter(|row| row.state == state).count();
    println!(
        "{} ok, {} warnings, {} failed",
        of(State::Ok),
        of(State::Warning),
        of(State::Failed)
    );
}

/// Whether those who tell people are reached; nothing is sent.
async fn channels(config: &Config) -> Vec<Row> {
    let row = |state, detail: String| Row::new("notifications", "", state, detail);
    let channels = match Channels::new(&config.notifications, |name| std::env::var(name).ok()) {
        Ok(channels) => channels,
        Err(error) => return vec![row(State::Failed, error.to_string())],
    };
    if channels.is_empty() {
        let detail = "notifications.channels has no entry: nobody is told by message";
        return vec![row(State::Warning, detail.to_owned())];
    }
    let tried = channels.reach().await;
    let shown = tried.into_iter().map(|(name, reached)| match reached {
        Ok(()) => row(State::Ok, format!("channel {name} is reached")),
        Err(failure) => row(
            State::Failed,
            format!(
                "channel {name} is not reached: {:?}{}; look at its address, and at what lies between",
                failure.reason,
                failure.code.map(|code| format!(" {code}")).unwrap_or_default()
            ),
        ),
    });
    shown.collect()
}

/// Whether the ledger is signed. Only the controller has the key.
fn audit(config: &Config) -> Row {
    let row = |state, detail: String| Row::new("audit key", "", state, detail);
    match SigningKey::from_environment() {
        Err(error) => row(State::Failed, format!("{VARIABLE}: {error}")),
        Ok(Some(key)) => row(
            State::Ok,
            format!("checkpoints are signed by {}", key.public().vkey()),
        ),
        Ok(None) if config.audit.signing_key_secret.is_some() => row(
            State::Failed,
            format!("audit.signing_key_secret names a key, and {VARIABLE} is not in the environment"),
        ),
        Ok(None) => row(
            State::Warning,
            "audit.signing_key_secret names no key: neither checkpoints nor statements are made, and nobody outside can tell whether the ledger was rewritten".to_owned(),
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
