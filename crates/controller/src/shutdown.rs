//! When the process is told to stop.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the chart mounts the Secrets that it makes environment variables of, too.
const CREDENTIALS: &str = "TREVOR_CREDENTIALS_DIR";
/// Kubelet takes a minute or so to bring a change.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Waits for SIGTERM or SIGINT, or until a credential is another one: what is in the
/// environment stays as it is, so the process must be started again.
pub async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut term) = signal(SignalKind::terminate()) else {
        return drop(tokio::signal::ctrl_c().await);
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
        () = changed(std::env::var_os(CREDENTIALS).map(PathBuf::from)) => {}
    }
    tracing::info!("stopping");
}

/// Ends when a file of the folder says something else than at first. One that is gone
/// says nothing else: what was read is good for as long as the storage takes it.
async fn changed(folder: Option<PathBuf>) {
    let Some(folder) = folder else {
        return std::future::pending().await;
    };
    let first = read(&folder);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if let Some(name) = another(&first, &read(&folder)) {
            tracing::warn!(
                credential = name,
                "a credential was changed: ending, to be started with the new one"
            );
            return;
        }
    }
}

fn another<'a>(
    first: &BTreeMap<String, Vec<u8>>,
    now: &'a BTreeMap<String, Vec<u8>>,
) -> Option<&'a str> {
    let mut differing = now
        .iter()
        .filter(|(name, text)| first.get(*name) != Some(text));
    differing.next().map(|(name, _)| name.as_str())
}

/// The files, by name; kubelet's own links and folders begin with a dot.
fn read(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let text = std::fs::read(entry.path()).ok()?;
        (!name.starts_with('.')).then_some((name, text))
    });
    files.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_or_added_credential_ends_the_process_and_a_missing_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("A", "1");
        write("B", "2");
        std::fs::create_dir(folder.path().join("..2026")).unwrap();
        let first = read(folder.path());
        assert_eq!(first.len(), 2);
        assert_eq!(another(&first, &read(folder.path())), None);
        std::fs::remove_file(folder.path().join("A")).unwrap();
        assert_eq!(another(&first, &read(folder.path())), None);
        write("B", "3");
        assert_eq!(another(&first, &read(folder.path())), Some("B"));
        write("B", "2");
        write("C", "4");
        assert_eq!(another(&first, &read(folder.path())), Some("C"));
        assert!(read(Path::new("/nowhere")).is_empty());
    }
}
