//! Names of files: what is refused, and when two are the same.

/// The form in which two names that would meet on some file system are equal.
#[must_use]
pub fn folded(path: &str) -> String {
    path.to_lowercase()
}
