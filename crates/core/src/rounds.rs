//! What moved between two rounds, so that a reviewer sees it.

use std::collections::BTreeMap;

use super::manifest::{Frozen, Manifest, ManifestFile, Texts};
use trevor_api::{Changes, ReplacedFile};

/// Entries of each list in status.
const SHOWN: usize = 50;

/// The difference from an earlier manifest to this one.
#[must_use]
pub fn changes(before: &Frozen, now: &Manifest) -> Changes {
    let (old, new) = (index(&before.manifest), index(now));
    let mut changes = Changes {
        since: before.digest.to_string(),
        ..Changes::default()
    };
    for (path, file) in &new {
        match old.get(path) {
            None => changes.added.push((*path).to_owned()),
            Some(was) => {
                if was.sha256 != file.sha256 {
                    changes.replaced.push(ReplacedFile {
                        path: (*path).to_owned(),
                        from: was.sha256.to_string(),
                        to: file.sha256.to_string(),
                    });
                }
                changes.texts.extend(
                    file_texts(&before.manifest.texts(was), &now.texts(file))
                        .into_iter()
                        .map(|t| format!("files[{path}].{t}")),
                );
            }
        }
    }
    changes.removed = old
        .keys()
        .filter(|path| !new.contains_key(*path))
        .map(|path| (*path).to_owned())
        .collect();
    changes
        .texts
        .extend(request_texts(before, now).into_iter().map(str::to_owned));
    changes.texts.sort();
    let Changes {
        added,
        removed,
        replaced,
        texts,
        ..
    } = &mut changes;
    let mut cut = replaced.len() > SHOWN;
    replaced.truncate(SHOWN);
    for list in [added, removed, texts] {
        cut |= list.len() > SHOWN;
        list.truncate(SHOWN);
    }
    changes.truncated = cut;
    changes
}

fn index(manifest: &Manifest) -> BTreeMap<&str, &ManifestFile> {
    manifest
        .files
        .iter()
        .map(|f| (f.path.as_str(), f))
        .collect()
}

fn file_texts(was: &Texts<'_>, is: &Texts<'_>) -> Vec<&'static str> {
    let rows = [
        ("description", was.description != is.description),
        ("justification", was.justification != is.justification),
        (
            "suppressionNotes",
            was.suppression_notes != is.suppression_notes,
        ),
        ("outputType", was.output_type != is.output_type),
        ("statbarn", was.statbarn != is.statbarn),
    ];
    rows.into_iter()
        .filter(|row| row.1)
        .map(|row| row.0)
        .collect()
}

fn request_texts(before: &Frozen, is: &Manifest) -> Vec<&'static str> {
    let was = &before.manifest;
    let rows = [
        ("title", was.title != is.title),
        ("description", was.description != is.description),
        ("authors", was.authors != is.authors),
        ("recipients", was.recipients != is.recipients),
        ("delivery", was.delivery != is.delivery),
    ];
    rows.into_iter()
        .filter(|row| row.1)
        .map(|row| row.0)
        .collect()
}

#[cfg(test)]
#[path = "rounds_tests.rs"]
mod tests;
