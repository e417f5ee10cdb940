//! Ingress: which declared files are still to come, and in which parts.
//!
//! Gateway and controller both use this, so that they never differ.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::commit::{Outcome, OutcomeKind};
use super::declared;
use super::digest::Sha256Hex;
use super::manifest::{Frozen, ManifestFile};
use super::names;
use super::quorum::Approved;
use super::receipt::Receipt;
use super::volume::{Delivered, VolumeFile};
use trevor_api::{DeclaredFile, VolumePath};

/// A file up to this goes in one PUT, whatever else is declared.
pub const SMALLEST_PART: u64 = 64 << 20;
/// The largest part of S3.
pub const LARGEST_PART: u64 = 5 << 30;
/// Parts of a whole plan, about: they grow with what is declared.
const PARTS: u64 = 1000;
/// Parts of a plan that is too large to be made: 50 TiB in the largest parts.
pub const MOST_PARTS: u64 = 10_000;

/// `work/plans/<uid>/<round>/<file>.json`: where a declared file is uploaded to.
/// Create-only, so that two gateways agree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Planned {
    /// The path as declared.
    pub path: String,
    /// Bytes as declared.
    pub size: u64,
    /// Bytes of a part.
    pub part_size: u64,
    /// Key in the staging bucket.
    pub key: String,
    /// The multipart upload; none: one PUT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<String>,
}

/// A stretch of a file that one PUT carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// From 1.
    pub number: i32,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

/// Bytes of a part, so that a plan of so many bytes stays small.
#[must_use]
pub fn part_size(total: u64) -> u64 {
    total
        .div_ceil(PARTS)
        .next_multiple_of(1 << 20)
        .clamp(SMALLEST_PART, LARGEST_PART)
}

/// The parts of a file; an empty one has one part.
pub fn parts(size: u64, part_size: u64) -> impl Iterator<Item = Part> {
    let part_size = part_size.max(1);
    let count = size.div_ceil(part_size).max(1);
    (0..count).filter_map(move |index| {
        let offset = index * part_size;
        Some(Part {
            number: i32::try_from(index + 1).ok()?,
            offset,
            size: (size - offset).min(part_size),
        })
    })
}

/// Bytes that a file declares.
#[must_use]
pub fn size(file: &DeclaredFile) -> u64 {
    file.size.and_then(|s| u64::try_from(s).ok()).unwrap_or(0)
}

/// Names the plan of one of the declared files: another size or digest is another
/// upload. Where two of them share the form that is hashed, their paths tell them apart.
#[must_use]
pub fn plan_name(declared: &[DeclaredFile], file: &DeclaredFile) -> Sha256Hex {
    let sha256 = file.sha256.as_deref().unwrap_or_default();
    let form = names::stored_form(&file.path);
    let shared = declared.iter().any(|other| {
        other.path != file.path
            && !(other.path.is_ascii() && file.path.is_ascii())
            && names::stored_form(&other.path) == form
    });
    let name = if shared { file.path.clone() } else { form };
    let text = format!("{name}\n{}\n{sha256}", size(file));
    Sha256Hex::of(text.as_bytes())
}

/// Declared files that do not stand as they are declared.
#[must_use]
pub fn outstanding<'a>(wanted: &'a [DeclaredFile], standing: &[Receipt]) -> Vec<&'a DeclaredFile> {
    let by_path: BTreeMap<&str, &Receipt> = standing.iter().map(|r| (r.path.as_str(), r)).collect();
    let stands = |file: &DeclaredFile| {
        let content = by_path
            .get(file.path.as_str())
            .and_then(|r| r.content.as_ref());
        content.is_some_and(|c| {
            declared::check(wanted, &file.path, Some(c.size), Some(c.sha256.as_str())).is_ok()
        })
    };
    wanted.iter().filter(|file| !stands(file)).collect()
}

/// Files that crossed inwards. Made of an approved manifest only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FilesFact {
    manifest_digest: Sha256Hex,
    files: u64,
    bytes: u64,
    /// Where a Job wrote them; none: URLs are signed to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    volume: Option<VolumePath>,
}

impl FilesFact {
    /// The files of a manifest that the quorum approved.
    #[must_use]
    pub fn of(approved: &Approved<Frozen>) -> Self {
        let frozen = approved.get();
        Self {
            manifest_digest: frozen.digest.clone(),
            files: frozen.manifest.files.len() as u64,
            bytes: frozen.manifest.total_bytes(),
            volume: None,
        }
    }

    /// The same files, written into a volume, if what was written is all of them and
    /// nothing else.
    #[must_use]
    pub fn in_volume(
        &self,
        frozen: &Frozen,
        volume: VolumePath,
        written: &Delivered,
    ) -> Option<Self> {
        let mut approved: Vec<VolumeFile> = frozen.manifest.files.iter().map(volume_file).collect();
        let mut found = written.files.clone();
        approved.sort_by(|a, b| a.path.cmp(&b.path));
        found.sort_by(|a, b| a.path.cmp(&b.path));
        (self.manifest_digest == frozen.digest && approved == found).then(|| Self {
            volume: Some(volume),
            ..self.clone()
        })
    }

    /// Where a Job wrote them, if it did.
    #[must_use]
    pub fn volume(&self) -> Option<&VolumePath> {
        self.volume.as_ref()
    }

    /// How many.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.files
    }

    /// Their bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn volume_file(file: &ManifestFile) -> VolumeFile {
    VolumeFile {
        path: file.path.clone(),
        size: file.size,
        sha256: file.sha256.clone(),
    }
}

/// Quarantined files that an outcome released to be read by URL. There is no other
/// way to make one, and nothing else is signed for.
#[derive(Clone, Copy, Debug)]
pub struct ReleasedFiles<'a>(&'a Frozen);

impl<'a> ReleasedFiles<'a> {
    /// The files of a manifest, if the outcome released exactly these, and not into
    /// a volume.
    #[must_use]
    pub fn of(outcome: &Outcome, frozen: &'a Frozen) -> Option<Self> {
        let released = outcome.kind == OutcomeKind::Released
            && outcome.round == frozen.manifest.round
            && outcome
                .files
                .as_ref()
                .is_some_and(|f| f.manifest_digest == frozen.digest && f.volume.is_none());
        released.then_some(Self(frozen))
    }

    /// Each.
    pub fn iter(self) -> impl Iterator<Item = ReleasedFile<'a>> {
        self.0.manifest.files.iter().map(ReleasedFile)
    }
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct ReleasedFile<'a>(&'a ManifestFile);

impl<'a> ReleasedFile<'a> {
    /// As the manifest has it.
    #[must_use]
    pub fn get(self) -> &'a ManifestFile {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::digest::Crc32;
    use crate::receipt::{Content, version};

    fn file(path: &str, size: i64, sha256: Option<&str>) -> DeclaredFile {
        serde_json::from_value(
            serde_json::json!({"path": path, "size": size, "sha256": sha256.map(|s| Sha256Hex::of(s.as_bytes()))}),
        )
        .unwrap()
    }

    fn receipt(path: &str, bytes: &str) -> Receipt {
        Receipt {
            more: Default::default(),
            path: path.into(),
            version: version(1),
            round: 1,
            by: "alice".into(),
            time: Timestamp::UNIX_EPOCH,
            content: Some(Content {
                more: Default::default(),
                key: "k".into(),
                size: bytes.len() as u64,
                sha256: Sha256Hex::of(bytes.as_bytes()),
                crc32: Crc32(0),
                media_type: "text/plain".into(),
                sniffed: None,
                remark: None,
            }),
        }
    }

    #[test]
    fn only_what_does_not_stand_as_declared_is_still_to_come() {
        let wanted = [
            file("same.csv", 1, Some("x")),
            file("no-digest.csv", 1, None),
            file("other-digest.csv", 1, Some("y")),
            file("other-size.csv", 2, None),
            file("new.csv", 1, None),
            file("Spelled.csv", 1, None),
        ];
        let standing: Vec<Receipt> = [
            "same.csv",
            "no-digest.csv",
            "other-digest.csv",
            "other-size.csv",
            "spelled.csv",
        ]
        .into_iter()
        .map(|path| receipt(path, "x"))
        .collect();
        let left: Vec<&str> = outstanding(&wanted, &standing)
            .into_iter()
            .map(|f| f.path.as_str())
            .collect();
        assert_eq!(
            left,
            [
                "other-digest.csv",
                "other-size.csv",
                "new.csv",
                "Spelled.csv"
            ]
        );
    }

    #[test]
    fn another_size_or_digest_is_another_upload_and_another_spelling_is_not() {
        let plan_name = |file: &DeclaredFile| super::plan_name(&[], file);
        let plain = plan_name(&file("a.csv", 1, None));
        assert_eq!(plain, plan_name(&file("A.csv", 1, None)));
        assert_ne!(plain, plan_name(&file("a.csv", 2, None)));
        assert_ne!(plain, plan_name(&file("a.csv", 1, Some("x"))));
    }

    #[test]
    fn files_that_share_the_form_that_is_hashed_have_plans_of_their_own() {
        let both = [file("sınır.csv", 1, None), file("sinir.csv", 1, None)];
        let names = [&both[0], &both[1]].map(|f| plan_name(&both, f));
        assert_ne!(names[0], names[1]);
        // Alone, a file has the plan that earlier versions made for it.
        let alone = plan_name(&both[..1], &both[0]);
        assert_eq!(alone, Sha256Hex::of(b"sinir.csv\n1\n"));
    }

    #[test]
    fn a_plan_of_the_largest_request_has_about_a_thousand_parts() {
        const TIB: u64 = 1 << 40;
        for (total, most) in [
            (1, 1),
            (SMALLEST_PART, 1),
            (100 << 30, 1000),
            (5 * TIB, 1024),
        ] {
            let count = parts(total, part_size(total)).count();
            assert!(count <= most, "{total}: {count}");
        }
        assert_eq!(part_size(u64::MAX / 2), LARGEST_PART);
        assert_eq!(parts(0, SMALLEST_PART).count(), 1);
    }

    proptest! {
        #[test]
        fn parts_cover_a_file_once_and_in_order(size in 0u64..10_000, part in 1u64..3_000) {
            let mut at = 0;
            for (index, piece) in parts(size, part).enumerate() {
                prop_assert_eq!(piece.number as usize, index + 1);
                prop_assert_eq!(piece.offset, at);
                prop_assert!(piece.size <= part && (piece.size > 0 || size == 0));
                at += piece.size;
            }
            prop_assert_eq!(at, size);
        }
    }

    #[test]
    fn parts_are_64_mib_at_least_and_5_gib_at_most_in_whole_mib() {
        const MIB: u64 = 1_048_576;
        assert_eq!((SMALLEST_PART, LARGEST_PART), (64 * MIB, 5120 * MIB));
        for (total, part) in [
            (0, 64),
            (64_000 * MIB, 64),
            (64_000 * MIB + 1, 65),
            (100_000 * MIB, 100),
            (100_000 * MIB + 1, 101),
            (u64::MAX / 2, 5120),
        ] {
            assert_eq!(part_size(total), part * MIB, "{total}");
        }
    }

    #[test]
    fn a_declared_size_is_taken_and_none_is_nothing() {
        assert_eq!(size(&file("a", 7, None)), 7);
        assert_eq!(size(&file("a", -7, None)), 0);
        let unsized_file: DeclaredFile =
            serde_json::from_value(serde_json::json!({"path": "a"})).unwrap();
        assert_eq!(size(&unsized_file), 0);
    }

    #[test]
    fn files_are_signed_for_when_this_round_and_this_manifest_were_released_and_only_then() {
        use crate::examples;
        use crate::quorum::approve;

        let frozen = examples::frozen(1);
        let yes = [examples::review("bob", "Approve", &frozen)];
        let decision = examples::decision("Approved", &frozen, &yes);
        let fact = FilesFact::of(&approve(frozen.clone(), &decision).unwrap());
        assert_eq!((fact.files(), fact.bytes()), (2, 3));
        let released = Outcome {
            files: Some(fact.clone()),
            ..examples::outcome("Released", 1, &[])
        };
        let paths = |outcome: &Outcome, frozen| {
            let files = ReleasedFiles::of(outcome, frozen)?;
            Some(
                files
                    .iter()
                    .map(|f| f.get().path.clone())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(
            paths(&released, &frozen),
            Some(vec!["a.csv".into(), "b.csv".into()])
        );
        for (why, outcome) in [
            ("nothing crossed", examples::outcome("Released", 1, &[])),
            (
                "another round",
                Outcome {
                    round: 2,
                    ..released.clone()
                },
            ),
            (
                "returned",
                Outcome {
                    kind: OutcomeKind::Returned,
                    ..released.clone()
                },
            ),
        ] {
            assert_eq!(paths(&outcome, &frozen), None, "{why}");
        }
        let mut other = frozen.clone();
        other.digest = Sha256Hex::of(b"another manifest");
        assert_eq!(paths(&released, &other), None);

        let volume = VolumePath {
            claim_name: "work".into(),
            path: Some("in".into()),
        };
        let whole = Delivered {
            files: frozen
                .manifest
                .files
                .iter()
                .map(volume_file)
                .rev()
                .collect(),
        };
        let written = |of: &Frozen, files: &Delivered| fact.in_volume(of, volume.clone(), files);
        let in_volume = written(&frozen, &whole).unwrap();
        assert_eq!(in_volume.volume(), Some(&volume));
        assert_eq!((in_volume.files(), in_volume.bytes()), (2, 3));
        let outcome = Outcome {
            files: Some(in_volume),
            ..released.clone()
        };
        assert_eq!(paths(&outcome, &frozen), None, "no URL to it");
        for (why, change) in [
            (
                "one is missing",
                Box::new(|d: &mut Delivered| drop(d.files.pop())) as Box<dyn Fn(&mut Delivered)>,
            ),
            (
                "one is another",
                Box::new(|d| d.files[0].sha256 = Sha256Hex::of(b"z")),
            ),
            ("one is longer", Box::new(|d| d.files[0].size += 1)),
            (
                "one is too many",
                Box::new(|d| d.files.push(d.files[0].clone())),
            ),
        ] {
            let mut files = whole.clone();
            change(&mut files);
            assert_eq!(written(&frozen, &files), None, "{why}");
        }
        assert_eq!(written(&other, &whole), None, "another manifest");
    }
}
