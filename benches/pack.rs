//! How fast a package is packed, the store and the network left out.
//!
//! `cargo bench --bench pack` packs from memory and throws the parts away:
//! what is left is hashing, deflate and framing. `-- --write FILE` keeps one
//! package with entries above 4 GiB, to try other people's tools on.

use std::convert::Infallible;
use std::io::Write as _;
use std::time::Instant;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use trevor_api::{Direction, Publisher};
use trevor_core::digest::{Crc32, Sha256Hex};
use trevor_core::manifest::{Manifest, ManifestFile, PolicyRef};
use trevor_core::media_type;
use trevor_package::{Budget, CrateInputs, OpenError, Part, PartBody, Plan, pack};

const MIB: u64 = 1 << 20;
/// About what an HTTP client hands out at a time.
const CHUNK: usize = 64 << 10;

type Failure = Box<dyn std::error::Error>;

/// A file that repeats some bytes.
struct Source {
    path: String,
    bytes: Bytes,
    size: u64,
}

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()?;
    let mut args = std::env::args().skip_while(|arg| arg != "--write").skip(1);
    if let Some(target) = args.next() {
        let sources = [
            source("stored.bin", noise(), 4200),
            source("table.csv", table(), 4200),
            source("zz-last.txt", table(), 0),
        ];
        return runtime.block_on(run("zip64", &sources, Some(&target)));
    }
    runtime.block_on(async {
        run("stored, 1 GiB", &[source("a.bin", noise(), 1024)], None).await?;
        run("stored, 4 GiB", &[source("a.bin", noise(), 4096)], None).await?;
        run(
            "deflated, 1 GiB of table",
            &[source("a.csv", table(), 1024)],
            None,
        )
        .await?;
        let bytes = noise().slice(..1024);
        let small: Vec<Source> = (0..10_000)
            .map(|n| Source {
                path: format!("d{}/f{n}.bin", n % 10),
                bytes: bytes.clone(),
                size: 1024,
            })
            .collect();
        run("10,000 files of 1 KiB", &small, None).await
    })
}

async fn run(name: &str, sources: &[Source], target: Option<&str>) -> Result<(), Failure> {
    let manifest = manifest(sources);
    let digest = Sha256Hex::of(b"manifest");
    let inputs = CrateInputs {
        manifest: &manifest,
        digest: &digest,
        decided: "2026-01-02T03:04:05Z".parse()?,
        approvals: 2,
        reviewers: None,
        license: Some("https://creativecommons.org/licenses/by/4.0/".to_owned()),
        publisher: Publisher {
            name: "Publisher".to_owned(),
            ..Publisher::default()
        },
    };
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let plan = Plan::new(&inputs)?;
    let planned = start.elapsed();
    let budget = Budget {
        memory: 64 * MIB,
        spool_dir: std::env::temp_dir(),
    };
    let open = |file: &ManifestFile| {
        let found = file.key.parse::<usize>().ok().and_then(|n| sources.get(n));
        let stream = found.map(|source| chunks(source.bytes.clone(), source.size));
        std::future::ready(stream.ok_or(OpenError::<Infallible>::Missing))
    };
    let (parts, received) = mpsc::channel(1);
    let (packed, kept) = tokio::join!(pack(&plan, &budget, open, parts), keep(received, target));
    kept?;
    let (packed, took) = (packed?, start.elapsed());
    let bytes = manifest.total_bytes();
    println!(
        "{name}: {:.0} MiB/s, {:.2} s (planning {:.3} s; processor {:.2} s), zip of {} bytes, peak RSS {}",
        bytes as f64 / MIB as f64 / took.as_secs_f64(),
        took.as_secs_f64(),
        planned.as_secs_f64(),
        cpu_seconds() - cpu,
        packed.size,
        peak_memory(),
    );
    Ok(())
}

/// Drops the parts, or writes them to a file.
async fn keep(mut parts: mpsc::Receiver<Part>, target: Option<&str>) -> std::io::Result<()> {
    let mut file = target.map(std::fs::File::create).transpose()?;
    while let Some(part) = parts.recv().await {
        if let (Some(file), PartBody::Memory(bytes)) = (&mut file, &part.body) {
            file.write_all(bytes)?;
        }
    }
    Ok(())
}

fn chunks(
    bytes: Bytes,
    size: u64,
) -> impl futures::Stream<Item = Result<Bytes, Infallible>> + Unpin {
    let mut at = 0;
    stream::iter(std::iter::from_fn(move || {
        let left = size - at;
        let from = usize::try_from(at).unwrap_or_default() % bytes.len();
        let len = CHUNK
            .min(bytes.len() - from)
            .min(usize::try_from(left).unwrap_or(CHUNK));
        at += len as u64;
        (len > 0).then(|| Ok(bytes.slice(from..from + len)))
    }))
    .boxed()
}

fn manifest(sources: &[Source]) -> Manifest {
    let file = |(index, source): (usize, &Source)| {
        let (mut sha256, mut crc32) = (Sha256::new(), crc32fast::Hasher::new());
        let mut left = source.size;
        while left > 0 {
            let now = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(source.bytes.len());
            let bytes = source.bytes.slice(..now);
            sha256.update(&bytes);
            crc32.update(&bytes);
            left -= now as u64;
        }
        ManifestFile {
            path: source.path.clone(),
            size: source.size,
            sha256: Sha256Hex::from_raw(&sha256.finalize().into()),
            crc32: Crc32(crc32.finalize()),
            media_type: media_type::of(&source.path).to_owned(),
            sniffed: None,
            remark: None,
            description: String::new(),
            justification: String::new(),
            suppression_notes: String::new(),
            output_type: None,
            statbarn: String::new(),
            collected_by: None,
            version: "00000001".to_owned(),
            key: index.to_string(),
            folder: None,
        }
    };
    let digest = Sha256Hex::of(b"policy");
    Manifest {
        uploads: None,
        changes: None,
        namespace: "project-a".to_owned(),
        name: "bench".to_owned(),
        uid: "0".to_owned(),
        round: 1,
        direction: Direction::Egress,
        submitter: "alice".to_owned(),
        created_by: None,
        policy: PolicyRef {
            name: "default".to_owned(),
            digest,
        },
        previous: None,
        title: "Bench".to_owned(),
        description: String::new(),
        authors: Vec::new(),
        recipients: Vec::new(),
        delivery: None,
        files: sources.iter().enumerate().map(file).collect(),
        folders: Vec::new(),
        format: 1,
    }
}

fn source(path: &str, bytes: Bytes, mib: u64) -> Source {
    Source {
        path: path.to_owned(),
        bytes,
        size: mib * MIB,
    }
}

/// A mebibyte that does not shrink.
fn noise() -> Bytes {
    use rand::{RngCore as _, SeedableRng as _};
    let mut bytes = vec![0; MIB as usize];
    rand::rngs::StdRng::seed_from_u64(1).fill_bytes(&mut bytes);
    bytes.into()
}

/// A mebibyte of a table.
fn table() -> Bytes {
    let row = |n: u64| {
        format!(
            "{n},{}-{},{}.{}\n",
            n % 90,
            n % 90 + 4,
            n * 7919 % 1000,
            n % 10
        )
    };
    let mut bytes: Vec<u8> = (0..100_000).flat_map(|n| row(n).into_bytes()).collect();
    bytes.truncate(MIB as usize);
    bytes.into()
}

/// Processor time of all threads so far: what counts where others use the machine.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.filter_map(|n| n.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.map_or_else(|| "unknown".to_owned(), |peak| peak.trim().to_owned())
}
