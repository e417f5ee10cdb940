//! `trevor release`: acts on a release from the buckets alone, when the cluster is gone.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use trevor_api::condition;
use trevor_config::Config;
use trevor_core::commit::{Revoked, RevokedThrough};
use trevor_core::keys::RequestKey;
use trevor_core::ledger;
use trevor_store::audit::Chain;
use trevor_store::observe;
use trevor_store::{Release, Zones, revocation, set_aside};

/// Acts on a release from the buckets alone.
#[derive(Args)]
pub struct ReleaseArgs {
    #[command(subcommand)]
    command: ReleaseCommand,
}

#[derive(Subcommand)]
enum ReleaseCommand {
    /// Ends every URL of a release and deletes its package; files that crossed inwards
    /// are kept out of reach until their due time. It can be repeated.
    Revoke(RevokeArgs),
}

#[derive(Args)]
struct RevokeArgs {
    /// Namespace and uid of the request, as `project-a/<uid>`.
    #[arg(value_name = "NAMESPACE/UID", value_parser = request)]
    request: RequestKey,
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Why; it is stored.
    #[arg(long)]
    reason: Option<String>,
    /// Who revokes; it is stored.
    #[arg(
        long,
        value_name = "NAME",
        env = "USER",
        default_value = "administrator"
    )]
    by: String,
}

/// Namespace and uid of a request.
pub fn request(text: &str) -> Result<RequestKey, String> {
    let plain = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    match text.split_once('/') {
        Some((namespace, uid)) if plain(namespace) && plain(uid) => Ok(RequestKey {
            namespace: namespace.to_owned(),
            uid: uid.to_owned(),
        }),
        _ => {
            Err("give NAMESPACE/UID, as in a key of the release bucket after releases/".to_owned())
        }
    }
}

/// Why a release was not revoked.
#[derive(Debug, thiserror::Error)]
enum ReleaseError {
    #[error(
        "{0}/{1}: the records bucket has no such request; list requests/{0}/ there for its uids"
    )]
    Unknown(String, String),
    #[error("{0}/{1}: nothing of it is released, so there is nothing to revoke")]
    NotReleased(String, String),
}

/// Runs it.
pub async fn release(args: &ReleaseArgs) -> Result<(), Box<dyn std::error::Error>> {
    let ReleaseCommand::Revoke(args) = &args.command;
    let config = Config::load(&args.config)?;
    let zones = Zones::connect(&config.storage).await;
    let release = Release::connect(&config.storage).await;
    let (key, records) = (&args.request, &zones.records);
    let named = || (key.namespace.clone(), key.uid.clone());
    let mut facts = observe::facts(records, key).await?;
    if facts.owner.is_none() {
        let (namespace, uid) = named();
        return Err(ReleaseError::Unknown(namespace, uid).into());
    }
    if facts.released_time().is_none() {
        let (namespace, uid) = named();
        return Err(ReleaseError::NotReleased(namespace, uid).into());
    }
    let asked = Revoked {
        by: args.by.clone(),
        through: RevokedThrough::Administrator,
        reason: args.reason.clone(),
        time: condition::second(Timestamp::now()),
    };
    let revoked = records.create(&key.revoked(), &asked).await?.into_inner();
    if let Some(frozen) = facts.within_reach(Timestamp::now()) {
        let quarantine = zones.quarantine.bucket();
        set_aside::set_aside(quarantine, key, &frozen.manifest.files).await?;
    }
    let secrets = revocation::sweep(&zones, &release, key).await?;
    revocation::forget(&zones, key).await?;
    facts.revoked = Some(revoked.clone());
    let events = ledger::in_order(ledger::events(key, &facts));
    let head = Chain::new(key.ledger()).append(records, events).await?;
    println!(
        "{}/{}: revoked by {} at {}; no URL of it works, nothing of it is in the release bucket; ledger entry {}",
        key.namespace, key.uid, revoked.by, revoked.time, head.sequence
    );
    if !secrets.is_empty() {
        println!(
            "Secrets that hold dead links, where the cluster is still there: {}",
            secrets.join(", ")
        );
    }
    println!(
        "If a controller was at work within the last {} minutes, run this once more after as long: it sweeps what arrived late.",
        revocation::LATE.as_mins()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_named_by_namespace_and_uid_and_nothing_else() {
        let key = request("project-a/0b1c-2d").unwrap();
        assert_eq!(
            (key.namespace.as_str(), key.uid.as_str()),
            ("project-a", "0b1c-2d")
        );
        for wrong in ["", "a", "a/", "/b", "a/b/c", "a/..", "a/b "] {
            assert!(request(wrong).is_err(), "{wrong:?}");
        }
    }
}
