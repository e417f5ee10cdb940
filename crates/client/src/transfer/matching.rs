//! Which local file is which of the plan's.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::shown;
use trevor_core::names::normalise;

/// Why files cannot be told; each with the names it is about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages explain each")]
pub enum Unmatched {
    #[error("'{}': the plan wants it, and no file given is it", shown(.0))]
    Missing(String),
    #[error("'{}': the plan has no such file; it has {}", shown(.given), list(.has))]
    Unknown { given: String, has: Vec<String> },
    #[error("'{}' may be each of {}; use --dir", shown(.given), list(.paths))]
    Ambiguous { given: String, paths: Vec<String> },
    #[error("'{}' may be each of {}; give one", shown(.path), list(.given))]
    Doubled { path: String, given: Vec<String> },
}

/// A few of them.
fn list(names: &[String]) -> String {
    let mut text = names
        .iter()
        .take(5)
        .map(|n| format!("'{}'", shown(n)))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > 5 {
        text.push_str(&format!(" and {} more", names.len() - 5));
    }
    text
}

/// Finds for each of `wanted` its file among `given`: the one whose path ends in
/// the plan's path. `also` are paths of the plan that need no file any more, so
/// that one given for them is no mistake.
///
/// # Errors
/// All that is unclear, missing or too much.
pub fn by_name<'a>(
    wanted: &[&'a str],
    also: &[&'a str],
    given: &[PathBuf],
) -> Result<BTreeMap<&'a str, PathBuf>, Vec<Unmatched>> {
    let mut errors = Vec::new();
    let mut found: BTreeMap<&str, Vec<&PathBuf>> = BTreeMap::new();
    for file in given {
        let segments = segments(file);
        let ends_in = |path: &&&str| {
            let path: Vec<&str> = path.split('/').collect();
            segments.ends_with(&path.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>())
        };
        let mut paths: Vec<&str> = wanted.iter().chain(also).filter(ends_in).copied().collect();
        // A file that is named exactly as in the plan is that one.
        let whole = segments.join("/");
        if paths.contains(&whole.as_str()) {
            paths.retain(|p| *p == whole);
        }
        match paths.as_slice() {
            [path] => found.entry(path).or_default().push(file),
            [] => errors.push(Unmatched::Unknown {
                given: file.display().to_string(),
                has: wanted.iter().map(|p| (*p).to_owned()).collect(),
            }),
            several => errors.push(Unmatched::Ambiguous {
                given: file.display().to_string(),
                paths: several.iter().map(|p| (*p).to_owned()).collect(),
            }),
        }
    }
    for path in wanted {
        if !found.contains_key(path) {
            errors.push(Unmatched::Missing((*path).to_owned()));
        }
    }
    let mut matched = BTreeMap::new();
    for (path, files) in found {
        match files.as_slice() {
            [file] => {
                matched.insert(path, (*file).clone());
            }
            several => errors.push(Unmatched::Doubled {
                path: path.to_owned(),
                given: several.iter().map(|f| f.display().to_string()).collect(),
            }),
        }
    }
    matched.retain(|path, _| wanted.contains(path));
    if errors.is_empty() {
        Ok(matched)
    } else {
        Err(errors)
    }
}

/// Each of `wanted` at its path beneath a folder. What is not there under the plan's
/// composed name is looked for by names that are decomposed there.
#[must_use]
pub fn beneath<'a>(wanted: &[&'a str], folder: &Path) -> BTreeMap<&'a str, PathBuf> {
    wanted
        .iter()
        .map(|path| (*path, find(folder, path)))
        .collect()
}

fn find(folder: &Path, path: &str) -> PathBuf {
    let plain = folder.join(path);
    if path.is_ascii() || plain.exists() {
        return plain;
    }
    let spelled = path.split('/').try_fold(folder.to_owned(), |at, segment| {
        let mut entries = std::fs::read_dir(&at).ok()?.filter_map(Result::ok);
        let entry = entries.find(|e| normalise(&e.file_name().to_string_lossy()) == segment)?;
        Some(at.join(entry.file_name()))
    });
    spelled.unwrap_or(plain)
}

/// The names in a path, composed as plans have them (some systems store others).
fn segments(path: &Path) -> Vec<String> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(normalise(&name.to_string_lossy()).into_owned()),
            Component::ParentDir => Some("..".to_owned()),
            Component::RootDir | Component::Prefix(_) => Some(String::new()),
            Component::CurDir => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(wanted: &[&str], given: &[&str]) -> Result<Vec<String>, Vec<Unmatched>> {
        let given: Vec<PathBuf> = given.iter().map(PathBuf::from).collect();
        let found = by_name(wanted, &["done.csv"], &given)?;
        Ok(found
            .iter()
            .map(|(path, file)| format!("{path}={}", file.display()))
            .collect())
    }

    #[test]
    fn a_file_is_found_by_its_name_or_path() {
        for (wanted, given, expected) in [
            (vec!["a.csv"], vec!["a.csv"], vec!["a.csv=a.csv"]),
            (vec!["a.csv"], vec!["./a.csv"], vec!["a.csv=./a.csv"]),
            (
                vec!["a.csv"],
                vec!["/home/me/a.csv"],
                vec!["a.csv=/home/me/a.csv"],
            ),
            (
                vec!["t/a.csv"],
                vec!["../x/t/a.csv"],
                vec!["t/a.csv=../x/t/a.csv"],
            ),
            // Named exactly, although its end is another's name.
            (
                vec!["a.csv", "t/a.csv"],
                vec!["t/a.csv", "a.csv"],
                vec!["a.csv=a.csv", "t/a.csv=t/a.csv"],
            ),
            // A decomposed name, as some file systems give it.
            (
                vec!["\u{e9}.csv"],
                vec!["e\u{301}.csv"],
                vec!["\u{e9}.csv=e\u{301}.csv"],
            ),
            // All of it is there already.
            (
                vec!["a.csv"],
                vec!["a.csv", "done.csv"],
                vec!["a.csv=a.csv"],
            ),
        ] {
            assert_eq!(matched(&wanted, &given).unwrap(), expected, "{given:?}");
        }
    }

    #[test]
    fn a_file_in_a_folder_is_found_under_its_decomposed_name() {
        let folder = tempfile::tempdir().unwrap();
        let decomposed = folder.path().join("e\u{301}te\u{301}");
        std::fs::create_dir(&decomposed).unwrap();
        std::fs::write(decomposed.join("u\u{308}.csv"), b"x").unwrap();
        let found = beneath(&["été/ü.csv", "été/none.csv"], folder.path());
        assert_eq!(found["été/ü.csv"], decomposed.join("u\u{308}.csv"));
        assert_eq!(found["été/none.csv"], folder.path().join("été/none.csv"));
    }

    #[test]
    fn what_is_unclear_missing_or_too_much_is_named() {
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        for (wanted, given, expected) in [
            (
                vec!["a.csv"],
                vec![],
                vec![Unmatched::Missing("a.csv".into())],
            ),
            (
                vec!["t/a.csv"],
                vec!["a.csv"],
                vec![
                    Unmatched::Unknown {
                        given: "a.csv".into(),
                        has: names(&["t/a.csv"]),
                    },
                    Unmatched::Missing("t/a.csv".into()),
                ],
            ),
            (
                vec!["a.csv"],
                vec!["xa.csv", "a.csv"],
                vec![Unmatched::Unknown {
                    given: "xa.csv".into(),
                    has: names(&["a.csv"]),
                }],
            ),
            (
                vec!["a.csv", "t/a.csv"],
                vec!["/x/t/a.csv", "a.csv"],
                vec![
                    Unmatched::Ambiguous {
                        given: "/x/t/a.csv".into(),
                        paths: names(&["a.csv", "t/a.csv"]),
                    },
                    Unmatched::Missing("t/a.csv".into()),
                ],
            ),
            (
                vec!["a.csv"],
                vec!["x/a.csv", "y/a.csv"],
                vec![Unmatched::Doubled {
                    path: "a.csv".into(),
                    given: names(&["x/a.csv", "y/a.csv"]),
                }],
            ),
        ] {
            assert_eq!(matched(&wanted, &given).unwrap_err(), expected, "{given:?}");
        }
    }
}
