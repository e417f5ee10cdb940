//! The promises of the package, kept end to end in memory.

mod hostile;
mod layout;
mod packing;
mod planning;
mod readers;
mod samples;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::mpsc;

use super::*;
use trevor_api::{Affiliation, Author, Direction, OutputType, Publisher};
use trevor_core::digest::{Crc32, Sha256Hex};
use trevor_core::manifest::{Manifest, ManifestFile, PolicyRef};
use trevor_core::media_type;

/// Bytes by key, handed out in chunks of some size.
#[derive(Clone, Default)]
struct Store {
    objects: Arc<HashMap<String, Bytes>>,
    chunk: usize,
}

impl Store {
    fn of(files: &[(&str, Vec<u8>)], chunk: usize) -> Self {
        let objects = files
            .iter()
            .map(|(path, bytes)| (format!("key of {path}"), bytes.clone().into()));
        Self {
            objects: Arc::new(objects.collect()),
            chunk,
        }
    }

    async fn open(
        self,
        key: String,
    ) -> Result<BoxStream<'static, Result<Bytes, Infallible>>, OpenError<Infallible>> {
        // As a store does: not at once.
        tokio::task::yield_now().await;
        let bytes = self.objects.get(&key).cloned().ok_or(OpenError::Missing)?;
        let chunk = self.chunk.max(1);
        let cut = move |at: usize| {
            (at < bytes.len())
                .then(|| (Ok(bytes.slice(at..bytes.len().min(at + chunk))), at + chunk))
        };
        Ok(stream::unfold(0, move |at| std::future::ready(cut(at))).boxed())
    }
}

fn file(path: &str, bytes: &[u8]) -> ManifestFile {
    ManifestFile {
        path: path.into(),
        size: bytes.len() as u64,
        sha256: Sha256Hex::of(bytes),
        crc32: Crc32(crc32fast::hash(bytes)),
        media_type: media_type::of(path).into(),
        sniffed: None,
        remark: None,
        description: String::new(),
        justification: "JUSTIFICATION".into(),
        suppression_notes: "SUPPRESSION".into(),
        output_type: Some(OutputType::Table),
        statbarn: "STATBARN".into(),
        collected_by: None,
        folder: None,
        version: "00000001".into(),
        key: format!("key of {path}"),
    }
}

fn manifest(mut files: Vec<ManifestFile>) -> Manifest {
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Manifest {
        format: 1,
        folders: Vec::new(),
        uploads: None,
        namespace: "project-a".into(),
        name: "frailty-tables".into(),
        uid: "5f0c".into(),
        round: 1,
        direction: Direction::Egress,
        submitter: "SUBMITTER".into(),
        created_by: Some("DELEGATE".into()),
        policy: PolicyRef {
            name: "default".into(),
            digest: Sha256Hex::of(b"policy"),
        },
        previous: None,
        changes: None,
        title: "Frailty index by age band".into(),
        description: "Tables 1-3 of the paper".into(),
        authors: vec![],
        recipients: vec!["RECIPIENT@example.org".into()],
        delivery: None,
        files,
    }
}

fn inputs<'a>(manifest: &'a Manifest, digest: &'a Sha256Hex) -> CrateInputs<'a> {
    CrateInputs {
        manifest,
        digest,
        decided: "2026-11-24T10:20:31.5Z".parse().unwrap(),
        approvals: 2,
        reviewers: None,
        license: Some("https://creativecommons.org/licenses/by/4.0/".into()),
        publisher: Publisher {
            name: "University of Manchester".into(),
            ror: Some("027m9bs27".into()),
            url: Some("https://www.manchester.ac.uk/".into()),
            email: Some("outputs@manchester.example".into()),
        },
    }
}

fn budget() -> Budget {
    Budget {
        memory: 64 << 20,
        spool_dir: std::env::temp_dir(),
    }
}

struct Zip {
    packed: Packed,
    bytes: Vec<u8>,
}

/// Packs, and joins the parts; or the error, and whether a last part was sent.
async fn packed(
    plan: &Plan<'_>,
    budget: &Budget,
    store: &Store,
) -> Result<Zip, (PackError<Infallible>, bool)> {
    let (parts, mut sink) = mpsc::channel::<Part>(1);
    let collect = async {
        let (mut bytes, mut sizes, mut last) = (Vec::new(), Vec::new(), false);
        while let Some(part) = sink.recv().await {
            assert!(!last, "a part after the last");
            assert_eq!(part.number as usize, sizes.len() + 1);
            last = part.last;
            sizes.push(part.body.size());
            match part.body {
                PartBody::Memory(memory) => bytes.extend_from_slice(&memory),
                PartBody::File(spooled) => bytes.extend(std::fs::read(spooled.path()).unwrap()),
            }
        }
        (bytes, sizes, last)
    };
    let open = |file: &ManifestFile| store.clone().open(file.key.clone());
    let (result, (bytes, sizes, last)) = tokio::join!(pack(plan, budget, open, parts), collect);
    match result {
        Ok(packed) => {
            assert!(last);
            assert_eq!(packed.parts as usize, sizes.len());
            let (_, full) = sizes.split_last().unwrap();
            assert!(full.iter().all(|size| *size == plan.part_size()));
            assert_eq!(packed.size, bytes.len() as u64);
            assert!(packed.size <= plan.max_size());
            assert_eq!(packed.sha256, Sha256Hex::of(&bytes));
            Ok(Zip { packed, bytes })
        }
        Err(error) => Err((error, last)),
    }
}

/// Bytes that do not shrink, the same on each run.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    use rand::{RngCore as _, SeedableRng as _};
    let mut bytes = vec![0; len];
    rand::rngs::StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// A table that does.
fn table(rows: usize) -> Vec<u8> {
    let row = |n: usize| {
        format!(
            "{n},{}-{},{}.{}\n",
            n % 90,
            n % 90 + 4,
            n * 7919 % 1000,
            n % 10
        )
    };
    (0..rows).map(row).collect::<String>().into_bytes()
}

fn author(name: &str, orcid: Option<&str>, affiliation: Option<(&str, Option<&str>)>) -> Author {
    Author {
        name: name.into(),
        orcid: orcid.map(Into::into),
        affiliation: affiliation.map(|(name, ror)| Affiliation {
            name: name.into(),
            ror: ror.map(Into::into),
        }),
    }
}
