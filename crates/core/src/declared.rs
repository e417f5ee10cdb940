//! What a request declares against what was uploaded.

use std::collections::BTreeSet;

use super::names;
use super::receipt::Receipt;
use trevor_api::DeclaredFile;

/// The declaration that covers a path: an exact one, or the longest folder.
#[must_use]
pub fn covering<'a>(declared: &'a [DeclaredFile], path: &str) -> Option<&'a DeclaredFile> {
    let exact = declared.iter().find(|d| d.path == path);
    exact.or_else(|| {
        declared
            .iter()
            .filter(|d| d.path.ends_with('/') && path.starts_with(&d.path))
            .max_by_key(|d| d.path.len())
    })
}

/// Whether an entry is about all files beneath a folder.
#[must_use]
pub fn is_folder(path: &str) -> bool {
    path.ends_with('/')
}

/// Why an upload is not what was declared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Its path is not declared.
    #[error(
        "the request declares its files, and this path is not one of them; add it to spec.files or leave it out"
    )]
    Undeclared,
    /// It has another size.
    #[error("{actual} bytes arrived, and {declared} are declared")]
    Size {
        /// Declared bytes.
        declared: u64,
        /// Bytes that arrived.
        actual: u64,
    },
    /// It has another digest.
    #[error("the SHA-256 of what arrived is not the declared one")]
    Digest,
}

/// Checks one upload. An empty declaration takes everything.
///
/// # Errors
/// When it differs from what is declared.
pub fn check(
    declared: &[DeclaredFile],
    path: &str,
    size: Option<u64>,
    sha256: Option<&str>,
) -> Result<(), Mismatch> {
    if declared.is_empty() {
        return Ok(());
    }
    let Some(entry) = covering(declared, path) else {
        return Err(Mismatch::Undeclared);
    };
    let wanted = entry.size.and_then(|s| u64::try_from(s).ok());
    if let (Some(declared), Some(actual)) = (wanted, size)
        && declared != actual
    {
        return Err(Mismatch::Size { declared, actual });
    }
    match (entry.sha256.as_deref(), sha256) {
        (Some(declared), Some(actual)) if declared != actual => Err(Mismatch::Digest),
        _ => Ok(()),
    }
}

/// Declared paths that nothing covers yet: a file that is not there, a folder
/// with nothing beneath.
#[must_use]
pub fn missing(declared: &[DeclaredFile], standing: &[Receipt]) -> Vec<String> {
    let paths: BTreeSet<&str> = standing.iter().map(|r| r.path.as_str()).collect();
    // What lies beneath a folder sorts right after its path.
    let there = |path: &str| {
        let next = paths.range(path..).next();
        next.is_some_and(|next| *next == path || (path.ends_with('/') && next.starts_with(path)))
    };
    let paths = declared.iter().map(|d| d.path.as_str());
    paths.filter(|p| !there(p)).map(str::to_owned).collect()
}

/// What in a set of uploads is not as declared (the declaration may have changed
/// since they arrived), for people; the first few.
#[must_use]
pub fn breaches(declared: &[DeclaredFile], standing: &[Receipt]) -> Vec<String> {
    let mut found = Vec::new();
    for receipt in standing {
        let Some(content) = &receipt.content else {
            continue;
        };
        if let Err(error) = check(
            declared,
            &receipt.path,
            Some(content.size),
            Some(content.sha256.as_str()),
        ) {
            found.push(format!("{}: {error}", receipt.path));
        }
        if let Err(error) = names::check_file(&receipt.path) {
            found.push(error.to_string());
        }
    }
    if let Err(error) = names::check_set(standing.iter().map(|r| r.path.as_str())) {
        found.push(error.to_string());
    }
    found.truncate(5);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::receipt;

    fn file(path: &str) -> DeclaredFile {
        DeclaredFile {
            path: path.into(),
            description: None,
            justification: None,
            suppression_notes: None,
            output_type: None,
            statbarn: None,
            sha256: None,
            size: None,
        }
    }

    #[test]
    fn an_exact_path_goes_before_a_folder_and_the_longer_folder_before_the_shorter() {
        let declared = [file("a/"), file("a/b/"), file("a/b/c.csv")];
        let of = |p| covering(&declared, p).map(|d| d.path.as_str());
        assert_eq!(of("a/b/c.csv"), Some("a/b/c.csv"));
        assert_eq!(of("a/b/d.csv"), Some("a/b/"));
        assert_eq!(of("a/x"), Some("a/"));
        assert_eq!(of("ab"), None);
    }

    #[test]
    fn what_differs_from_the_declaration_is_refused_by_name() {
        let mut declared = file("t.csv");
        declared.size = Some(3);
        declared.sha256 = Some("0".repeat(64));
        let declared = [declared];
        assert_eq!(check(&[], "any", Some(1), None), Ok(()));
        assert_eq!(
            check(&declared, "u.csv", None, None),
            Err(Mismatch::Undeclared)
        );
        assert_eq!(
            check(&declared, "t.csv", Some(4), None),
            Err(Mismatch::Size {
                declared: 3,
                actual: 4
            })
        );
        assert_eq!(
            check(&declared, "t.csv", Some(3), Some("1")),
            Err(Mismatch::Digest)
        );
        assert_eq!(
            check(&declared, "t.csv", Some(3), Some(&"0".repeat(64))),
            Ok(())
        );
    }

    #[test]
    fn a_decomposed_path_declares_the_composed_one() {
        let declared: DeclaredFile =
            serde_json::from_value(serde_json::json!({"path": "e\u{301}te\u{301}.csv"})).unwrap();
        let declared = [declared];
        assert_eq!(check(&declared, "été.csv", None, None), Ok(()));
        assert!(missing(&declared, &[receipt("été.csv", Some("x"))]).is_empty());
    }

    #[test]
    fn a_declared_file_is_missing_until_it_is_there_and_a_folder_until_something_is_beneath() {
        for (declared, there, absent) in [
            (&["a.csv"][..], &[][..], &["a.csv"][..]),
            (&["a.csv"], &["a.csv"], &[]),
            (&["a.csv"], &["a.csv.gz"], &["a.csv"]),
            (&["a.csv"], &["Z", "b.csv"], &["a.csv"]),
            (&["a"], &["a/x"], &["a"]),
            (&["a/"], &["a"], &["a/"]),
            (&["a/"], &["a/b/c"], &[]),
            (&["a/"], &["ab"], &["a/"]),
            (&["b", "a/", "c"], &["c", "a/x"], &["b"]),
            (&["b", "a/"], &[], &["b", "a/"]),
            (&[], &["a"], &[]),
        ] {
            let declared: Vec<_> = declared.iter().copied().map(file).collect();
            let standing: Vec<_> = there.iter().map(|p| receipt(p, Some("x"))).collect();
            assert_eq!(
                missing(&declared, &standing),
                absent,
                "{declared:?} {there:?}"
            );
        }
    }

    #[test]
    fn what_stands_and_is_not_as_declared_is_told_by_path_and_of_many_the_first_five() {
        let mut declared = file("t.csv");
        declared.size = Some(3);
        let declared = [declared, file("t/")];
        let told = |standing: &[Receipt]| breaches(&declared, standing);
        assert!(told(&[receipt("t.csv", Some("a,b")), receipt("t/x", Some("x"))]).is_empty());
        assert!(told(&[receipt("u.csv", None)]).is_empty(), "a tombstone");
        assert_eq!(
            told(&[receipt("t.csv", Some("a"))]),
            ["t.csv: 1 bytes arrived, and 3 are declared"]
        );
        assert_eq!(told(&[receipt("t/con", Some("a"))]).len(), 1, "its name");
        let twins = [receipt("t/A", Some("a")), receipt("t/a", Some("a"))];
        assert_eq!(told(&twins).len(), 1, "two that meet");
        let many: Vec<_> = (0..9)
            .map(|n| receipt(&format!("{n}.csv"), Some("x")))
            .collect();
        assert_eq!(told(&many).len(), 5);
    }
}
