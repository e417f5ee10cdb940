//! `trevor audit`: the ledger, looked at with the bucket alone or a copy of it.

mod keys;
mod verify;

use clap::{Args, Subcommand};

/// Verifies and exports the audit ledger, and makes the keys that sign it.
#[derive(Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Makes the key that signs checkpoints and statements.
    Keygen(keys::KeygenArgs),
    /// Makes the next key, which the present one signs.
    Rotate(keys::RotateArgs),
    /// Verifies the ledger, offline; exit code 1 where something is wrong.
    Verify(verify::VerifyArgs),
    /// Prints the events of a period as CSV or JSON lines.
    Export(verify::ExportArgs),
}

/// Runs it.
pub async fn audit(args: &AuditArgs) -> Result<(), Box<dyn std::error::Error>> {
    match &args.command {
        AuditCommand::Keygen(args) => keys::keygen(args)?,
        AuditCommand::Rotate(args) => keys::rotate(args)?,
        AuditCommand::Export(args) => verify::export(args).await?,
        AuditCommand::Verify(args) => {
            if !verify::run(args).await? {
                return Err("the ledger is not as it must be".into());
            }
        }
    }
    Ok(())
}
