//! Names of files: what is refused, and when two are the same.

/// The form in which two names that would meet on some file system are equal.
#[must_use]
pub fn folded(path: &str) -> String {
    path.to_lowercase()
}

/// TODO
pub fn check_file(_path: &str) -> Result<(), std::fmt::Error> {
    Ok(())
}
/// TODO
pub fn check_set<'a>(_paths: impl IntoIterator<Item = &'a str>) -> Result<(), std::fmt::Error> {
    Ok(())
}
/// TODO
pub fn safe_zip_name(name: &str) -> String {
    name.to_owned()
}
