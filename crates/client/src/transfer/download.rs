//! Downloading an object by a pre-signed URL. Only GET: a URL signed for that
//! refuses HEAD.
//!
//! A first GET of one byte tells size, version (a strong ETag) and whether the
//! server serves ranges. If so, pieces are read in parallel, each with the
//! version it must be of, and what is there already is not read again. If not,
//! one GET reads all, and begins anew when it breaks.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::header::{
    CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderName, IF_RANGE, RANGE,
};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;

use super::attempts::Attempts;
use super::disposition::file_name;
use super::part_file::{PartFile, Version};
use super::progress::Progress;
use super::web::{Outgoing, Pulse, Trouble, Web};
use super::{Address, Patience};

/// What one GET reads.
const PIECE: u64 = 16 << 20;
/// What is written at once.
const WRITE: usize = 512 << 10;
/// How often an object may change under our hands.
const CHANGES: usize = 3;

/// How to download.
#[derive(Clone, Debug)]
pub struct Downloader {
    /// The client.
    pub web: Web,
    /// How often something is tried that does not get on.
    pub patience: Patience,
    /// Pieces under way at the same time.
    pub parallel: usize,
}

/// Why a piece was not read.
#[derive(Debug)]
enum Stop {
    /// The object is another one by now.
    Changed,
    Trouble(Trouble),
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// What the server says of an object.
#[derive(Clone, Debug)]
pub(super) struct Object {
    /// The name it suggests, made safe.
    pub(super) name: String,
    /// If it can be read in pieces.
    version: Option<Version>,
}

impl Downloader {
    /// Asks what there is.
    pub(super) async fn ask(&self, url: &Address) -> Result<Object, Trouble> {
        let mut attempts = Attempts::new(self.patience);
        loop {
            match self.get(url, &[(RANGE, "bytes=0-0".to_owned())]).await {
                Ok(answer) => {
                    let object = Object {
                        name: file_name(text(answer.headers(), &CONTENT_DISPOSITION)),
                        version: version(&answer),
                    };
                    let read = match answer.status() {
                        StatusCode::PARTIAL_CONTENT => self.web.finish(answer.into_body()).await,
                        // All of it would come: the connection is given up.
                        _ => Ok(()),
                    };
                    match read {
                        Ok(()) => return Ok(object),
                        Err(trouble) => attempts.after(trouble).await?,
                    }
                }
                // It has no first byte.
                Err(Trouble::Status { status: 416, .. }) => {
                    return Ok(Object {
                        name: file_name(None),
                        version: None,
                    });
                }
                Err(trouble) => attempts.after(trouble).await?,
            }
        }
    }

    /// Fills a file with an object.
    pub(super) async fn fill(
        &self,
        url: &Address,
        mut object: Object,
        part: &Arc<PartFile>,
    ) -> Result<(), Trouble> {
        for _ in 0..CHANGES {
            let there = part.begin(object.version.as_ref()).map_err(here)?;
            let read = match &object.version {
                Some(version) => self.pieces(url, version, there, part).await,
                None => self.whole(url, part).await,
            };
            // What is there stays there, however this ended.
            part.keep().map_err(here)?;
            match read {
                Ok(()) => return Ok(()),
                Err(Stop::Trouble(trouble)) => return Err(trouble),
                Err(Stop::Changed) => object = self.ask(url).await?,
            }
        }
        Err(Trouble::Here(
            "the object changes while it is read; try again later".to_owned(),
        ))
    }

    async fn pieces(
        &self,
        url: &Address,
        version: &Version,
        there: u64,
        part: &Arc<PartFile>,
    ) -> Result<(), Stop> {
        let progress = Progress::new("downloading", version.size);
        progress.already(there);
        let _shown = progress.show();
        stream::iter(part.missing(version.size, PIECE))
            .map(|range| self.piece(url, version, range, part, &progress))
            .buffer_unordered(self.parallel)
            .try_collect()
            .await
    }

    /// One piece; when it breaks, the rest of it.
    async fn piece(
        &self,
        url: &Address,
        version: &Version,
        range: Range<u64>,
        part: &Arc<PartFile>,
        progress: &Progress,
    ) -> Result<(), Stop> {
        let mut attempts = Attempts::new(self.patience);
        let mut at = range.start;
        loop {
            let before = at;
            let read = self
                .rest_of_piece(url, version, &mut at, range.end, part, progress)
                .await;
            match read {
                Ok(()) => return Ok(()),
                Err(Stop::Changed) => return Err(Stop::Changed),
                Err(Stop::Trouble(trouble)) => {
                    if at > before {
                        attempts.got_on();
                    }
                    attempts.after(trouble).await?;
                }
            }
        }
    }

    async fn rest_of_piece(
        &self,
        url: &Address,
        version: &Version,
        at: &mut u64,
        end: u64,
        part: &Arc<PartFile>,
        progress: &Progress,
    ) -> Result<(), Stop> {
        let headers = [
            (RANGE, format!("bytes={at}-{}", end - 1)),
            (IF_RANGE, version.etag.clone()),
        ];
        let answer = self.get(url, &headers).await?;
        let same = text(answer.headers(), &ETAG) == Some(version.etag.as_str());
        let wanted = format!("bytes {at}-{}/{}", end - 1, version.size);
        let right = text(answer.headers(), &CONTENT_RANGE) == Some(wanted.as_str());
        if answer.status() != StatusCode::PARTIAL_CONTENT || !same || !right {
            return Err(Stop::Changed);
        }
        self.store(answer.into_body(), at, Some(end), part, progress)
            .await?;
        if *at < end {
            return Err(Trouble::Broken("it ended too early".to_owned()).into());
        }
        Ok(())
    }

    async fn whole(&self, url: &Address, part: &Arc<PartFile>) -> Result<(), Stop> {
        let mut attempts = Attempts::new(self.patience);
        loop {
            part.begin(None).map_err(here)?;
            match self.whole_at_once(url, part).await {
                Ok(()) => return Ok(()),
                Err(trouble) => attempts.after(trouble).await?,
            }
        }
    }

    async fn whole_at_once(&self, url: &Address, part: &Arc<PartFile>) -> Result<(), Trouble> {
        let answer = self.get(url, &[]).await?;
        let size = text(answer.headers(), &CONTENT_LENGTH).and_then(|l| l.parse().ok());
        let progress = Progress::new("downloading", size.unwrap_or_default());
        let _shown = progress.show();
        self.store(answer.into_body(), &mut 0, size, part, &progress)
            .await
    }

    /// Writes a body to its place. What came before it broke is written, too.
    async fn store(
        &self,
        mut body: Incoming,
        at: &mut u64,
        end: Option<u64>,
        part: &Arc<PartFile>,
        progress: &Progress,
    ) -> Result<(), Trouble> {
        let mut pieces: Vec<Bytes> = Vec::new();
        let mut held = 0;
        loop {
            let next = self.web.next(&mut body).await;
            let over = !matches!(next, Ok(Some(_)));
            if let Ok(Some(bytes)) = &next {
                held += bytes.len();
                if end.is_some_and(|end| *at + held as u64 > end) {
                    return Err(Trouble::Broken("more came than was asked for".to_owned()));
                }
                pieces.push(bytes.clone());
            }
            if held >= WRITE || (over && held > 0) {
                part.write(*at, std::mem::take(&mut pieces))
                    .await
                    .map_err(here)?;
                *at += held as u64;
                progress.add(held as u64);
                held = 0;
            }
            if over {
                return next.map(|_| ());
            }
        }
    }

    async fn get(
        &self,
        url: &Address,
        headers: &[(HeaderName, String)],
    ) -> Result<Response<Incoming>, Trouble> {
        let mut request = Request::get(url.uri().clone());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let nothing: Outgoing = Empty::new().map_err(|e| match e {}).boxed_unsync();
        let request = request
            .body(nothing)
            .map_err(|e| Trouble::Here(e.to_string()))?;
        self.web.exchange(request, &Pulse::default()).await
    }
}

fn here(error: std::io::Error) -> Trouble {
    Trouble::Here(error.to_string())
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|v| v.to_str().ok())
}

/// Size and ETag, where pieces of exactly this version can be asked for.
fn version(answer: &Response<Incoming>) -> Option<Version> {
    if answer.status() != StatusCode::PARTIAL_CONTENT {
        return None;
    }
    let etag = text(answer.headers(), &ETAG)?;
    let size = text(answer.headers(), &CONTENT_RANGE)?
        .strip_prefix("bytes 0-0/")?
        .parse()
        .ok()?;
    // A weak one does not promise equal bytes.
    etag.starts_with('"').then(|| Version {
        etag: etag.to_owned(),
        size,
    })
}
