//! `trevor check`: the preflight, as a table or as JSON. It ends with 1 when something
//! must be mended first; what somebody should know is a warning.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use clap::{Args, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};

use super::cluster;
use trevor_api::{AirlockPolicy, AirlockRequest};
use trevor_config::Config;
use trevor_controller::rules::shipped::{Id, Rules};
use trevor_controller::rules::{live, probe};
use trevor_core::commit::Owner;
use trevor_core::keys::{RequestKey, tickets};
use trevor_core::retention::named;
use trevor_lifecycle::orphans::{self, Orphans};
use trevor_lifecycle::taken::is_taken;
use trevor_notify::Channels;
use trevor_store::audit::SigningKey;
use trevor_store::audit::key::VARIABLE;
use trevor_store::preflight::{self, Row, State};
use trevor_store::{self as storage, Release, StorageError, Zones};

/// A controller that lives deletes what is due within so long.
const LIVING: SignedDuration = SignedDuration::from_mins(1);
/// How long orphans are looked for.
const ORPHANS: Duration = Duration::from_secs(30);

/// Looks at storage, admission rules and policies, orphans, overdue deletions, the
/// ledger's key and channels.
#[derive(Args)]
pub struct CheckArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: std::path::PathBuf,
    /// Prints JSON: a list of objects with check, at (where, if somewhere), state (Ok,
    /// Warning, Failed) and detail.
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
        Process::Controller => controller(&config, &args.namespace).await,
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

async fn controller(config: &Config, namespace: &str) -> Vec<Row> {
    let buckets = storage::of_process(&config.storage, true);
    if let Err(none) = storage::look_for_credentials(buckets).await {
        // Nothing else can be asked.
        return vec![Row::new("credentials", "", State::Failed, none.to_string())];
    }
    let zones = Zones::connect(&config.storage).await;
    let release = Release::connect(&config.storage).await;
    let signer = storage::signer(&config.storage.release).await;
    let mut rows = preflight::look(&config.storage, &zones, &release, signer.as_ref()).await;
    match cluster::client().await {
        Ok(client) => {
            let found = rules(config, &client, namespace).await;
            rows.push(Row::of("admission rules", "", found));
            rows.push(Row::of("policies", "", policies(config, &client).await));
            rows.extend(orphans(&client, &zones).await);
        }
        Err(error) => {
            let detail = format!(
                "there is no way to the API server, so that admission rules, policies and orphans are not looked at: {error}"
            );
            rows.push(Row::new("cluster", "", State::Failed, detail));
        }
    }
    rows.push(deletions(&zones).await);
    rows.push(packages(config));
    rows.push(audit(config));
    rows.extend(channels(config).await);
    rows
}

/// Files that nothing will ever delete: their request is gone and was never closed.
async fn orphans(client: &Client, zones: &Zones) -> Vec<Row> {
    let row = |state, detail: String| Row::new("orphans", "records", state, detail);
    let cluster = match super::orphans::cluster(client).await {
        Ok(cluster) => cluster,
        Err(error) => return vec![row(State::Warning, format!("unknown: {error}"))],
    };
    let looked = tokio::time::timeout(ORPHANS, async {
        let all: Api<AirlockRequest> = Api::all(client.clone());
        let all = all.list_metadata(&ListParams::default()).await;
        let all = all.map_err(|e| e.to_string())?.items;
        let uids: HashSet<String> = all.into_iter().filter_map(|r| r.metadata.uid).collect();
        let has = |key: &RequestKey, _: Option<&Owner>| uids.contains(&key.uid);
        let found = orphans::scan(&zones.records, &cluster, None, has).await;
        found.map_err(|e| e.to_string())
    });
    let looked = looked.await;
    let open = match &looked {
        Ok(Ok(found)) => found.elsewhere.clone(),
        _ => BTreeMap::new(),
    };
    let elsewhere = other_clusters(zones, &cluster, open).await;
    vec![of_orphans(looked), elsewhere]
}

fn of_orphans(looked: Result<Result<Orphans, String>, tokio::time::error::Elapsed>) -> Row {
    let row = |state, detail: String| Row::new("orphans", "records", state, detail);
    match looked {
        Err(_) => row(
            State::Warning,
            "unknown: there are too many requests to look at here; the metric trevor_retention_orphans says how many the controller found".to_owned(),
        ),
        Ok(Err(error)) => row(State::Warning, format!("unknown: {error}")),
        Ok(Ok(found)) if found.count == 0 => row(
            State::Ok,
            "no request has files and neither a resource nor a closing".to_owned(),
        ),
        Ok(Ok(found)) => {
            let named = found.named.iter().take(5);
            let named: Vec<String> = named.map(|k| format!("{}/{}", k.namespace, k.uid)).collect();
            row(
                State::Warning,
                format!(
                    "{} requests have files, no resource and no closing, so that nothing deletes them: {}; `trevor retention adopt NAMESPACE/UID` closes one",
                    found.count,
                    named.join(", ")
                ),
            )
        }
    }
}

/// Files of requests of other clusters: where those are gone, nothing deletes them.
async fn other_clusters(zones: &Zones, own: &str, open: BTreeMap<String, u64>) -> Row {
    let row = |state, detail: String| Row::new("other clusters", "records", state, detail);
    let due = match due_elsewhere(zones, own).await {
        Ok(due) => due,
        Err(error) => return row(State::Warning, format!("unknown: {error}")),
    };
    let mut told = Vec::new();
    for (cluster, (count, taken)) in &due {
        if !taken {
            told.push(format!(
                "{count} deletions of the cluster {cluster} are due, and nobody carries them out; if it is gone: trevor retention take-over --cluster {cluster} --cluster-gone"
            ));
        }
    }
    if !told.is_empty() {
        return row(State::Warning, told.join("; "));
    }
    let mut shown = Vec::new();
    for (cluster, count) in &open {
        shown.push(format!("{count} open requests of the cluster {cluster}"));
    }
    match shown.is_empty() {
        true => row(State::Ok, "no request is another cluster's".to_owned()),
        false => row(
            State::Ok,
            format!(
                "{}; were it gone: trevor retention take-over",
                shown.join(", ")
            ),
        ),
    }
}

/// Deletions of other clusters that are due for longer than a living controller takes, by
/// cluster, and whether this one took them over.
async fn due_elsewhere(
    zones: &Zones,
    own: &str,
) -> Result<BTreeMap<String, (u64, bool)>, StorageError> {
    let (work, records) = (zones.quarantine.work(), &zones.records);
    let now = Timestamp::now();
    let mut found: BTreeMap<String, (u64, bool)> = BTreeMap::new();
    let (page, _) = work.page(&tickets(), "", 1000).await?;
    for at in page {
        let named = at.strip_prefix(&*tickets()).and_then(named);
        if named.is_none_or(|named| now.duration_since(named.due) <= LIVING) {
            continue;
        }
        let Some(ticket) = work.get(&at).await.unwrap_or_default() else {
            continue;
        };
        let key = RequestKey {
            namespace: ticket.namespace,
            uid: ticket.uid,
        };
        let owner = records.get(&key.owner()).await;
        let Some(owner) = owner.unwrap_or_default().filter(|o| o.cluster != own) else {
            continue;
        };
        match found.get_mut(&owner.cluster) {
            Some((count, _)) => *count += 1,
            None => {
                let taken = is_taken(records, &owner.cluster, own).await?;
                found.insert(owner.cluster, (1, taken));
            }
        }
    }
    Ok(found)
}

/// Whether what was due is deleted.
async fn deletions(zones: &Zones) -> Row {
    let row = |state, detail: String| Row::new("deletions", "quarantine", state, detail);
    let now = Timestamp::now();
    let work = zones.quarantine.work();
    let page = match work.page(&tickets(), "", 1000).await {
        Ok((page, _)) => page,
        Err(error) => return row(State::Warning, format!("unknown: {error}")),
    };
    // They sort by due time; one that is late by an hour is overdue.
    let late = page.iter().filter(|at| {
        let named = at.strip_prefix(&*tickets()).and_then(named);
        named.is_some_and(|named| now.duration_since(named.due) > SignedDuration::from_hours(1))
    });
    match late.count() {
        0 => row(
            State::Ok,
            "nothing was due for more than an hour".to_owned(),
        ),
        count => row(
            State::Warning,
            format!(
                "{count}{} deletions were due for more than an hour, and are on hold or fail: look at the request's condition Held, at Events, and at the controller's log",
                if count == 1000 { " or more" } else { "" }
            ),
        ),
    }
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

/// What packages say of themselves.
fn packages(config: &Config) -> Row {
    let row = |state, detail: String| Row::new("packages", "", state, detail);
    let configured = &config.crate_;
    let license = configured.license.as_deref().unwrap_or(
        "they grant no licence and say so (all rights reserved), unless crate.license is set here or in a policy",
    );
    match configured.publisher.name.trim() {
        "" => row(
            State::Warning,
            format!(
                "crate.publisher.name is not set: requests wait after their last approval until it is, or their policy has a publisher; {license}"
            ),
        ),
        name => row(State::Ok, format!("published by {name}; {license}")),
    }
}

async fn policies(config: &Config, client: &Client) -> Result<String, String> {
    let configured = config.configured_policy.as_ref();
    let api: Api<AirlockPolicy> = Api::all(client.clone());
    let all = api
        .list(&ListParams::default())
        .await
        .map_err(|e| e.to_string())?;
    if all.items.is_empty() && configured.is_none() {
        return Err(
            "there is no AirlockPolicy, and default_policy is null; uploads and reviews wait until a cluster admin makes one".to_owned(),
        );
    }
    let default = all.items.iter().find(|p| p.spec.default == Some(true));
    let elsewhere = match (default, configured) {
        (Some(policy), _) => format!("{} elsewhere", policy.name_any()),
        (None, Some(configured)) => format!("{} elsewhere", configured.shown()),
        (None, None) => {
            "none elsewhere, so that uploads and reviews wait there (default_policy is null)"
                .to_owned()
        }
    };
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
        Ok(format!(
            "{} AirlockPolicies, valid; {elsewhere}",
            all.items.len()
        ))
    } else {
        Err(problems.join("; "))
    }
}
