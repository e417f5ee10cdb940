//! Which files of a source are collected: include and exclude, in globset's
//! syntax, against the path relative to the source's folder. `*` stays within a
//! segment and `**` does not. What is excluded by its folder's name, or by
//! `folder/**`, is not even walked.

use std::ffi::OsStr;
use std::path::Path;

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

/// A glob that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the glob '{}' cannot be read: {}", crate::domain::texts::harmless_line(glob, 120), problem.kind())]
pub struct GlobError {
    glob: String,
    problem: globset::Error,
}

/// What is wanted of a source.
#[derive(Debug)]
pub(super) struct Wanted {
    /// None: everything.
    include: Option<GlobSet>,
    exclude: GlobSet,
    /// Folders of which nothing is wanted.
    pruned: GlobSet,
    /// Folders that the includes name, before their first wildcard.
    prefixes: Vec<Vec<String>>,
}

impl Wanted {
    /// # Errors
    /// When a glob cannot be read.
    pub(super) fn new(include: &[String], exclude: &[String]) -> Result<Self, GlobError> {
        let mut pruned = Vec::new();
        for glob in exclude {
            pruned.push(glob.trim_end_matches('/'));
            pruned.extend(glob.strip_suffix("/**"));
        }
        let all = [Vec::new()];
        let prefixes = include.iter().map(|glob| literal(glob));
        Ok(Self {
            include: match include {
                [] => None,
                some => Some(set(some.iter().map(String::as_str))?),
            },
            exclude: set(exclude.iter().map(String::as_str))?,
            pruned: set(pruned.into_iter())?,
            prefixes: match include {
                [] => all.to_vec(),
                _ => prefixes.collect(),
            },
        })
    }

    /// Whether a file is wanted.
    pub(super) fn takes(&self, path: &Path) -> bool {
        self.include.as_ref().is_none_or(|set| set.is_match(path)) && !self.exclude.is_match(path)
    }

    /// Whether something beneath a folder may be wanted.
    pub(super) fn enters(&self, folder: &Path) -> bool {
        let on_the_way = |prefix: &Vec<String>| {
            let segments = folder.iter().zip(prefix);
            segments
                .into_iter()
                .all(|(is, wanted)| is == OsStr::new(wanted))
        };
        !self.pruned.is_match(folder) && self.prefixes.iter().any(on_the_way)
    }

    /// Whether an include says in so many words that this is a folder.
    pub(super) fn names(&self, path: &Path) -> bool {
        let segments = path.iter().count();
        self.enters(path)
            && self.prefixes.iter().any(|prefix| {
                let begins = path
                    .iter()
                    .zip(prefix)
                    .all(|(is, wanted)| is == OsStr::new(wanted));
                begins && segments <= prefix.len()
            })
    }
}

/// The folders that a glob names before its first wildcard.
fn literal(glob: &str) -> Vec<String> {
    let mut segments: Vec<&str> = glob.split('/').collect();
    segments.pop();
    let plain = |segment: &&str| !segment.contains(['*', '?', '[', '{', '\\']);
    let segments = segments.into_iter().take_while(plain);
    segments.map(str::to_owned).collect()
}

fn set<'a>(globs: impl Iterator<Item = &'a str>) -> Result<GlobSet, GlobError> {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        set.add(read(glob).map_err(|problem| GlobError {
            glob: glob.to_owned(),
            problem,
        })?);
    }
    set.build().map_err(|problem| GlobError {
        glob: problem.glob().unwrap_or_default().to_owned(),
        problem,
    })
}

fn read(glob: &str) -> Result<Glob, globset::Error> {
    // A folder stands for what lies beneath, as in spec.files.
    let whole = match glob.strip_suffix('/') {
        Some(folder) => format!("{folder}/**"),
        None => glob.to_owned(),
    };
    GlobBuilder::new(&whole).literal_separator(true).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(include: &[&str], exclude: &[&str]) -> Wanted {
        let owned = |globs: &[&str]| globs.iter().map(|g| (*g).to_owned()).collect::<Vec<_>>();
        Wanted::new(&owned(include), &owned(exclude)).unwrap()
    }

    #[test]
    fn a_file_is_taken_when_it_is_included_and_not_excluded() {
        for (include, exclude, path, taken) in [
            (&[][..], &[][..], "a/b.csv", true),
            (&["tables/**"], &["**/*.tmp"], "tables/a.csv", true),
            (&["tables/**"], &["**/*.tmp"], "tables/x/a.csv", true),
            (&["tables/**"], &["**/*.tmp"], "tables/a.tmp", false),
            (&["tables/**"], &["**/*.tmp"], "other/a.csv", false),
            (&["tables/**"], &[], "tables", false),
            (&["tables/"], &[], "tables/a", true),
            (&["*.csv"], &[], "a.csv", true),
            (&["*.csv"], &[], "a/a.csv", false),
            (&["**/*.csv"], &[], "a.csv", true),
            (&["**/*.csv"], &[], "a/b/a.csv", true),
            (&["a/{b,c}/?.csv"], &[], "a/c/1.csv", true),
            (&[], &["a"], "a", false),
        ] {
            let wanted = wanted(include, exclude);
            assert_eq!(
                wanted.takes(Path::new(path)),
                taken,
                "{include:?} {exclude:?} {path}"
            );
        }
    }

    #[test]
    fn a_folder_is_walked_only_where_something_beneath_may_be_wanted() {
        for (include, exclude, folder, walked) in [
            (&[][..], &[][..], "any/where", true),
            (&[], &["lost+found/**"], "lost+found", false),
            (&[], &["**/cache"], "a/cache", false),
            (&[], &["**/*.tmp"], "a", true),
            (&["tables/**"], &[], "tables", true),
            (&["tables/**"], &[], "tables/x", true),
            (&["tables/**"], &[], "lost+found", false),
            (&["a/b/*.csv"], &[], "a", true),
            (&["a/b/*.csv"], &[], "a/c", false),
            (&["**/*.csv"], &[], "any", true),
            (&["a.csv"], &[], "b", true),
        ] {
            let wanted = wanted(include, exclude);
            assert_eq!(
                wanted.enters(Path::new(folder)),
                walked,
                "{include:?} {exclude:?} {folder}"
            );
        }
    }

    #[test]
    fn a_folder_is_named_when_an_include_has_it_before_its_wildcards() {
        let wanted = wanted(&["a/b/**", "**/*.csv"], &[]);
        for (path, named) in [("a", true), ("a/b", true), ("a/b/c", false), ("b", false)] {
            assert_eq!(wanted.names(Path::new(path)), named, "{path}");
        }
    }

    #[test]
    fn a_glob_that_cannot_be_read_is_named() {
        let error = Wanted::new(&["a[".to_owned()], &[])
            .unwrap_err()
            .to_string();
        assert!(error.contains("a["), "{error}");
    }
}
