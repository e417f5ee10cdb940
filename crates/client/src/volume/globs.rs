//! Which files of a source are collected: include and exclude, in globset's
//! syntax, against the path relative to the source's folder. `*` stays within a
//! segment and `**` does not. Globs and paths are compared composed (NFC), however the
//! volume spells them. A folder is not opened, and may be one that nobody can
//! read, if it is excluded by its name or by `folder/**`, or if no include can match
//! anything beneath it.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::Path;

use globset::{Glob, GlobBuilder, GlobMatcher, GlobSet, GlobSetBuilder};

use trevor_core::names::normalise;

/// What ext4 has at the root of each volume, for root alone.
const LOST_AND_FOUND: &str = "lost+found";

/// A glob that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the glob '{}' cannot be read: {}", trevor_core::texts::harmless_line(glob, 120), problem.kind())]
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
    /// Folders that lie on the way to what the includes match.
    ways: Vec<Way>,
    /// Folders that the includes name, before their first wildcard.
    prefixes: Vec<Vec<String>>,
    /// The source is a whole volume.
    whole_volume: bool,
}

/// The folders on the way to what one include matches.
#[derive(Debug)]
struct Way {
    /// What each folder must match, from the top.
    segments: Vec<GlobMatcher>,
    /// Whether any folder beneath these is on the way, too.
    on: bool,
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
        let all = Way {
            segments: Vec::new(),
            on: true,
        };
        Ok(Self {
            include: match include {
                [] => None,
                some => Some(set(some.iter().map(String::as_str))?),
            },
            exclude: set(exclude.iter().map(String::as_str))?,
            pruned: set(pruned.into_iter())?,
            ways: match include {
                [] => vec![all],
                some => some.iter().map(|glob| way(glob)).collect(),
            },
            prefixes: match include {
                [] => vec![Vec::new()],
                some => some.iter().map(|glob| literal(glob)).collect(),
            },
            whole_volume: false,
        })
    }

    /// The source is a whole volume: its `lost+found` is left out, unless an include
    /// names it.
    pub(super) fn of_a_whole_volume(mut self) -> Self {
        self.whole_volume = true;
        self
    }

    /// Whether a file is wanted.
    pub(super) fn takes(&self, path: &Path) -> bool {
        let path = composed(path);
        let path = path.as_ref();
        self.include.as_ref().is_none_or(|set| set.is_match(path)) && !self.exclude.is_match(path)
    }

    /// Whether something beneath a folder may be wanted.
    pub(super) fn enters(&self, folder: &Path) -> bool {
        let folder = composed(folder);
        let folder = folder.as_ref();
        if self.whole_volume && folder == Path::new(LOST_AND_FOUND) && !self.begins(folder) {
            return false;
        }
        let depth = folder.iter().count();
        let on_the_way = |way: &Way| {
            let mut segments = folder.iter().zip(&way.segments);
            (way.on || depth <= way.segments.len())
                && segments.all(|(is, wanted)| wanted.is_match(Path::new(is)))
        };
        !self.pruned.is_match(folder) && self.ways.iter().any(on_the_way)
    }

    /// Whether an include says in so many words that this is a folder.
    pub(super) fn names(&self, path: &Path) -> bool {
        let path = composed(path);
        self.enters(&path) && self.begins(&path)
    }

    /// Whether an include begins with these folders, before its first wildcard.
    fn begins(&self, path: &Path) -> bool {
        let segments = path.iter().count();
        self.prefixes.iter().any(|prefix| {
            let mut both = path.iter().zip(prefix);
            segments <= prefix.len() && both.all(|(is, wanted)| is == OsStr::new(wanted))
        })
    }
}

/// What the folders on the way to a glob's matches look like. Where a part of it is not
/// the matter of one segment, any folder from there on may be.
fn way(glob: &str) -> Way {
    let mut segments: Vec<&str> = glob.split('/').collect();
    // The last one is the file's, or stands for all that lies beneath.
    let beneath = matches!(segments.pop(), Some("" | "**"));
    let mut way = Way {
        segments: Vec::new(),
        on: beneath,
    };
    for segment in segments {
        let spans = |open: char, close: char| {
            segment.matches(open).count() != segment.matches(close).count()
        };
        let of_one = !segment.contains("**")
            && !segment.contains('\\')
            && !spans('{', '}')
            && !spans('[', ']');
        match read(segment) {
            Ok(read) if of_one => way.segments.push(read.compile_matcher()),
            _ => {
                way.on = true;
                break;
            }
        }
    }
    way
}

fn composed(path: &Path) -> Cow<'_, Path> {
    match path.to_str().map(normalise) {
        Some(Cow::Owned(composed)) => Cow::Owned(composed.into()),
        _ => Cow::Borrowed(path),
    }
}

/// The folders that a glob names before its first wildcard.
fn literal(glob: &str) -> Vec<String> {
    let glob = normalise(glob);
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
    let whole = normalise(&whole);
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
            (&["é/*.csv"], &[], "e\u{301}/a.csv", true),
            (&["e\u{301}/*.csv"], &["**/ü.csv"], "é/u\u{308}.csv", false),
            (&["e\u{301}/*.csv"], &[], "é/a.csv", true),
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
            (&["a.csv"], &[], "b", false),
            (&["*.csv"], &[], "lost+found", false),
            (&["*/a.csv"], &[], "any", true),
            (&["*/a.csv"], &[], "any/where", false),
            (&["run-*/out/**"], &[], "run-1", true),
            (&["run-*/out/**"], &[], "run-1/out/x", true),
            (&["run-*/out/**"], &[], "run-1/in", false),
            (&["run-*/out/**"], &[], "lost+found", false),
            (&["run-[0-9]/"], &[], "run-1/x", true),
            (&["run-[0-9]/"], &[], "run-x", false),
            (&["{a,b}/*.csv"], &[], "b", true),
            (&["{a,b}/*.csv"], &[], "c", false),
            (&["{a/b,c}/*.csv"], &[], "a/b", true),
            (&["{a/b,c}/*.csv"], &[], "c", true),
            (&["a[/]b/c.csv"], &[], "a", true),
            (&["x/**/y/*.csv"], &[], "x/any/where/y", true),
            (&["x/**/y/*.csv"], &[], "z", false),
            (&["a\\*b/c.csv"], &[], "a*b", true),
            (&["é/*.csv"], &[], "e\u{301}", true),
        ] {
            let wanted = wanted(include, exclude);
            assert_eq!(
                wanted.enters(Path::new(folder)),
                walked,
                "{include:?} {exclude:?} {folder}"
            );
        }
    }

    /// Whoever is not root cannot open it, and every collection of a whole ext4 volume
    /// would fail.
    #[test]
    fn lost_and_found_is_left_out_at_the_root_of_a_volume_unless_an_include_names_it() {
        for (include, folder, at_root, beneath) in [
            (&[][..], "lost+found", false, true),
            (&["**/*.csv"], "lost+found", false, true),
            (&["**/*.csv"], "a/lost+found", true, true),
            (&["lost+found/**"], "lost+found", true, true),
            (&["lost+found/*.csv", "**/*.txt"], "lost+found", true, true),
            (&["*/a.csv"], "lost+found", false, true),
        ] {
            let enters = |wanted: Wanted| wanted.enters(Path::new(folder));
            let of_volume = wanted(include, &[]).of_a_whole_volume();
            assert_eq!(enters(of_volume), at_root, "{include:?} {folder}");
            assert_eq!(
                enters(wanted(include, &[])),
                beneath,
                "{include:?} {folder}"
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
