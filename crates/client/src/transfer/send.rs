//! Sending the parts of a plan.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use http::header::CONTENT_LENGTH;
use http::{Method, Request};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use jiff::Timestamp;
use tokio::io::AsyncSeekExt as _;
use tokio_util::io::ReaderStream;

use super::Patience;
use super::attempts::Attempts;
use super::local::{Local, LocalProblem};
use super::plan::{PlanFile, PlanPart};
use super::progress::Progress;
use super::shown;
use super::web::{Outgoing, Pulse, Trouble, Web};

/// Bytes read at once: few, since every part that is under way has some.
const READ: usize = 256 << 10;

/// How to send.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The client.
    pub web: Web,
    /// How often a part is tried.
    pub patience: Patience,
    /// Parts under way at the same time.
    pub parallel: usize,
    /// Is told of every byte.
    pub progress: Arc<Progress>,
}

/// A file of which not everything was sent.
#[derive(Debug, thiserror::Error)]
#[error("'{}', part {number}: {problem}{}", shown(path), advice(problem, *expires))]
pub struct Unsent {
    /// Its path in the request.
    pub path: String,
    number: u32,
    expires: Option<Timestamp>,
    problem: SendProblem,
}

/// Why a part was not sent.
#[derive(Debug, thiserror::Error)]
enum SendProblem {
    #[error(transparent)]
    Local(LocalProblem),
    #[error(transparent)]
    Server(Trouble),
}

/// What to do about it.
fn advice(problem: &SendProblem, expires: Option<Timestamp>) -> String {
    let SendProblem::Server(trouble) = problem else {
        return "; get a new plan when the file is as it shall be".to_owned();
    };
    let ended = expires
        .map(|t| format!(" (its URLs end {t})"))
        .unwrap_or_default();
    match trouble {
        t if t.refused() => {
            format!("; the plan has expired or was withdrawn{ended}: get a new plan")
        }
        Trouble::Status { status: 404, .. } => {
            "; its upload is complete or was ended: get a new plan".to_owned()
        }
        Trouble::Status {
            status: 400, code, ..
        } if code.as_deref() == Some("BadDigest") => {
            "; other bytes arrived than the plan has".to_owned()
        }
        t if t.passes() => {
            "; try again later with a new plan, which lists only what is missing".to_owned()
        }
        _ => String::new(),
    }
}

/// One part to send, and what it is part of.
struct Job<'a> {
    file: &'a PlanFile,
    part: &'a PlanPart,
    local: &'a Local,
    /// Set once a part of this file failed for good: its others are not worth sending.
    failed: &'a AtomicBool,
}

impl Sender {
    /// Sends everything; gives the files that were not sent whole.
    pub async fn send(&self, files: &[(&PlanFile, Local)]) -> Vec<Unsent> {
        let failed: Vec<AtomicBool> = files.iter().map(|_| AtomicBool::new(false)).collect();
        let jobs = files
            .iter()
            .zip(&failed)
            .flat_map(|((file, local), failed)| {
                file.parts.iter().map(move |part| Job {
                    file,
                    part,
                    local,
                    failed,
                })
            });
        let mut unsent = BTreeMap::new();
        let mut results = stream::iter(jobs)
            .map(|job| self.send_part(job))
            .buffer_unordered(self.parallel);
        while let Some(result) = results.next().await {
            if let Err(error) = result {
                // The first failure of a file is the one that stopped it.
                unsent.entry(error.path.clone()).or_insert(error);
            }
        }
        unsent.into_values().collect()
    }

    async fn send_part(&self, job: Job<'_>) -> Result<(), Unsent> {
        let mut attempts = Attempts::new(self.patience);
        loop {
            if job.failed.load(Ordering::Relaxed) {
                return Ok(());
            }
            let problem = match self.attempt(&job).await {
                Ok(()) => return Ok(()),
                Err(SendProblem::Server(trouble)) => match attempts.after(trouble).await {
                    Ok(()) => continue,
                    Err(trouble) => SendProblem::Server(trouble),
                },
                Err(local) => local,
            };
            job.failed.store(true, Ordering::Relaxed);
            return Err(Unsent {
                path: job.file.path.clone(),
                number: job.part.number,
                expires: job.file.expires,
                problem,
            });
        }
    }

    async fn attempt(&self, job: &Job<'_>) -> Result<(), SendProblem> {
        let part = job.part;
        let local = |e: std::io::Error| SendProblem::Local(e.into());
        let mut file = tokio::fs::File::open(&job.local.file)
            .await
            .map_err(local)?;
        if !job.local.same(&file.metadata().await.map_err(local)?) {
            return Err(SendProblem::Local(LocalProblem::Changed));
        }
        file.seek(std::io::SeekFrom::Start(part.offset))
            .await
            .map_err(local)?;
        file.set_max_buf_size(READ);

        let sent = Arc::new(AtomicU64::new(0));
        let pulse = Pulse::default();
        let counted = Counted {
            sent: Arc::clone(&sent),
            pulse: pulse.clone(),
            progress: Arc::clone(&self.progress),
        };
        let mut request = Request::builder()
            .method(Method::PUT)
            .uri(part.url.uri().clone())
            .body(body(file, part.size, counted))
            .map_err(|e| SendProblem::Server(Trouble::Here(e.to_string())))?;
        *request.headers_mut() = part.headers.clone();
        request
            .headers_mut()
            .insert(CONTENT_LENGTH, part.size.into());

        let result = self.answered(request, &pulse, part.size, &sent).await;
        if result.is_err() {
            self.progress.take_back(sent.load(Ordering::Relaxed));
        }
        // A file that is cut short breaks the connection from our side, and one
        // that was written to meanwhile went out as neither version.
        match tokio::fs::metadata(&job.local.file).await {
            Ok(now) if job.local.same(&now) => result.map_err(SendProblem::Server),
            _ => Err(SendProblem::Local(LocalProblem::Changed)),
        }
    }

    async fn answered(
        &self,
        request: Request<Outgoing>,
        pulse: &Pulse,
        size: u64,
        sent: &AtomicU64,
    ) -> Result<(), Trouble> {
        let answer = self.web.exchange(request, pulse).await?;
        self.web.finish(answer.into_body()).await?;
        if sent.load(Ordering::Relaxed) < size {
            return Err(Trouble::Broken(
                "the server answered before it had everything".to_owned(),
            ));
        }
        Ok(())
    }
}

struct Counted {
    sent: Arc<AtomicU64>,
    pulse: Pulse,
    progress: Arc<Progress>,
}

/// The next `size` bytes of a file, read as they are sent.
fn body(file: tokio::fs::File, size: u64, counted: Counted) -> Outgoing {
    use tokio::io::AsyncReadExt as _;
    let pieces = ReaderStream::with_capacity(file.take(size), READ);
    let frames = told(pieces, counted).map(|piece| piece.map(Frame::data));
    StreamBody::new(frames).boxed_unsync()
}

fn told(
    pieces: impl Stream<Item = std::io::Result<Bytes>>,
    counted: Counted,
) -> impl Stream<Item = std::io::Result<Bytes>> {
    pieces.inspect(move |piece| {
        if let Ok(piece) = piece {
            let length = piece.len() as u64;
            counted.sent.fetch_add(length, Ordering::Relaxed);
            counted.progress.add(length);
            counted.pulse.beat();
        }
    })
}

/// A plan's files with the local ones that were found for them, checked.
///
/// # Errors
/// All files that are not as the plan wants them.
pub fn check_all<'a>(
    files: impl IntoIterator<Item = &'a PlanFile>,
    found: &BTreeMap<&str, PathBuf>,
) -> Result<Vec<(&'a PlanFile, Local)>, Vec<super::local::LocalError>> {
    let mut checked = Vec::new();
    let mut errors = Vec::new();
    for file in files {
        let Some(path) = found.get(file.path.as_str()) else {
            continue;
        };
        match Local::check(file, path) {
            Ok(local) => checked.push((file, local)),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        Ok(checked)
    } else {
        Err(errors)
    }
}
