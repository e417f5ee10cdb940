//! What of a round's uploads counts where a Job reads sources: the uploads of the
//! submitter as ever, and of what Jobs brought only what this round's list has.

use std::collections::BTreeMap;

use super::receipt::Receipt;
use super::texts::is_refused;
use super::volume::{Collection, VolumeFile};

/// Bytes of a Job's last word.
const LAST_WORD: usize = 500;

/// Whether a Job brought it. No service account submits, so that nothing else of
/// theirs has a receipt.
#[must_use]
pub fn is_collected(receipt: &Receipt) -> bool {
    receipt.by.starts_with("system:serviceaccount:")
}

/// The uploads that count in a round. Without a collection nothing that a Job
/// brought counts: the request has no sources any more.
#[must_use]
pub fn counting(standing: &[Receipt], collection: Option<&Collection>) -> Vec<Receipt> {
    let listed = by_path(collection);
    let counts = |receipt: &&Receipt| {
        !is_collected(receipt)
            || listed
                .get(receipt.path.as_str())
                .is_some_and(|file| is(receipt, file))
    };
    standing.iter().filter(counts).cloned().collect()
}

/// Paths of the list that do not stand as it has them.
#[must_use]
pub fn outstanding(collection: &Collection, standing: &[Receipt]) -> Vec<String> {
    let stands: BTreeMap<&str, &Receipt> = standing.iter().map(|r| (r.path.as_str(), r)).collect();
    let absent = |file: &&VolumeFile| {
        !stands
            .get(file.path.as_str())
            .is_some_and(|receipt| is(receipt, file))
    };
    let files = collection.files.iter().filter(absent);
    files.map(|file| file.path.clone()).collect()
}

fn by_path(collection: Option<&Collection>) -> BTreeMap<&str, &VolumeFile> {
    let files = collection.into_iter().flat_map(|c| &c.files);
    files.map(|file| (file.path.as_str(), file)).collect()
}

fn is(receipt: &Receipt, file: &VolumeFile) -> bool {
    let content = receipt.content.as_ref();
    content.is_some_and(|c| c.size == file.size && c.sha256 == file.sha256)
}

/// The last line of what a Job said, fit for a condition: nothing invisible in it, and
/// short.
#[must_use]
pub fn last_word(said: &str) -> Option<String> {
    let clean = |line: &str| line.chars().filter(|c| !is_refused(*c)).collect::<String>();
    let line = said
        .lines()
        .rev()
        .map(clean)
        .find(|line| !line.trim().is_empty())?;
    let line = line.trim();
    let mut end = line.len().min(LAST_WORD);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    Some(line[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Sha256Hex;
    use crate::examples::receipt;

    const JOB: &str = "system:serviceaccount:a:default";

    fn brought(path: &str, bytes: &str) -> Receipt {
        Receipt {
            more: Default::default(),
            by: JOB.into(),
            ..receipt(path, Some(bytes))
        }
    }

    fn list(files: &[(&str, &str)]) -> Collection {
        let file = |(path, bytes): &(&str, &str)| VolumeFile {
            path: (*path).into(),
            size: bytes.len() as u64,
            sha256: Sha256Hex::of(bytes.as_bytes()),
        };
        Collection {
            round: 1,
            files: files.iter().map(file).collect(),
        }
    }

    #[test]
    fn of_what_jobs_brought_only_what_the_list_has_counts() {
        let standing = [
            brought("gone.csv", "x"),
            brought("kept.csv", "x"),
            brought("old.csv", "before"),
            receipt("mine.csv", Some("x")),
        ];
        let paths = |collection: Option<&Collection>| {
            let counted = counting(&standing, collection);
            counted.into_iter().map(|r| r.path).collect::<Vec<_>>()
        };
        let now = list(&[("kept.csv", "x"), ("old.csv", "after")]);
        assert_eq!(paths(Some(&now)), ["kept.csv", "mine.csv"]);
        assert_eq!(paths(Some(&list(&[]))), ["mine.csv"]);
        assert_eq!(paths(None), ["mine.csv"]);
    }

    #[test]
    fn the_list_is_outstanding_until_each_file_stands_with_its_bytes_whoever_brought_it() {
        let wanted = list(&[("a", "x"), ("b", "y"), ("c", "z")]);
        let standing = [
            brought("a", "x"),
            receipt("b", Some("y")),
            receipt("c", Some("another")),
            receipt("d", Some("besides")),
        ];
        assert_eq!(outstanding(&wanted, &standing), ["c"]);
        assert_eq!(outstanding(&wanted, &[]), ["a", "b", "c"]);
        assert!(outstanding(&list(&[]), &standing).is_empty());
    }

    #[test]
    fn a_last_word_is_one_short_line_with_nothing_invisible() {
        for (said, word) in [
            ("", None),
            (" \n\t\n", None),
            ("first\nlast\n\n", Some("last")),
            ("first\n\u{1b}[31mred\u{202e}\u{7}", Some("[31mred")),
            ("only\r\n", Some("only")),
        ] {
            assert_eq!(last_word(said).as_deref(), word, "{said:?}");
        }
        let long = last_word(&"ä".repeat(400)).unwrap();
        assert_eq!((long.len(), long.chars().count()), (500, 250));
    }
}
