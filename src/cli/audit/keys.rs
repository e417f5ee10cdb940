//! `trevor audit keygen|rotate`: keys as files.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;

use trevor_store::audit::{KeyError, SigningKey};

#[derive(Args)]
pub struct KeygenArgs {
    /// Where the private key goes: PEM, for its owner alone. It is not overwritten.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Where the public key goes (PEM, for `trevor audit verify` and cosign); the
    /// private one's name with `.pub`, unless given.
    #[arg(long, value_name = "FILE")]
    public: Option<PathBuf>,
}

#[derive(Args)]
pub struct RotateArgs {
    /// The present private key.
    #[arg(long, value_name = "FILE")]
    old: PathBuf,
    #[command(flatten)]
    new: KeygenArgs,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
enum KeyFileError {
    #[error("key file {0}: {1}")]
    File(String, std::io::Error),
    #[error("key file {0}: {1}")]
    Key(String, KeyError),
}

/// Makes a key.
pub fn keygen(args: &KeygenArgs) -> Result<(), Box<dyn std::error::Error>> {
    let key = SigningKey::generate()?;
    write(args, &key)?;
    println!("{}", key.public().vkey());
    Ok(())
}

/// Makes the key that follows on another.
pub fn rotate(args: &RotateArgs) -> Result<(), Box<dyn std::error::Error>> {
    let named = args.old.display().to_string();
    let text =
        std::fs::read_to_string(&args.old).map_err(|e| KeyFileError::File(named.clone(), e))?;
    let old = SigningKey::parse(&text).map_err(|e| KeyFileError::Key(named, e))?;
    let key = SigningKey::generate()?.after(&old);
    write(&args.new, &key)?;
    println!("{}", key.public().vkey());
    Ok(())
}

fn write(args: &KeygenArgs, key: &SigningKey) -> Result<(), Box<dyn std::error::Error>> {
    create(&args.out, 0o600, &key.file()?)?;
    let beside = || {
        let mut name = args.out.clone().into_os_string();
        name.push(".pub");
        PathBuf::from(name)
    };
    let public = args.public.clone().unwrap_or_else(beside);
    create(&public, 0o644, &key.public().pem())?;
    Ok(())
}

/// A new file; one that is there is somebody's key.
fn create(path: &Path, mode: u32, text: &str) -> Result<(), KeyFileError> {
    let named = |e| KeyFileError::File(path.display().to_string(), e);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(named)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(named)
}
