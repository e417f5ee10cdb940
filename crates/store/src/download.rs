//! Streams an object, or a stretch of it, going on where a broken connection
//! left off: an object of many gigabytes does not start anew.

use std::ops::Range;
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use futures::Stream;
use futures::stream::{self, BoxStream, StreamExt as _};

use super::bucket::Bucket;
use super::error::StorageError;

/// Times that one download goes on after a broken connection.
const RESUMPTIONS: u32 = 5;

struct Download {
    bucket: Bucket,
    key: String,
    /// Where the next byte is.
    offset: u64,
    /// Behind the last byte.
    end: u64,
    body: Option<ByteStream>,
    resumed: u32,
}

/// Bytes as they come.
pub type Bytestream = BoxStream<'static, Result<Bytes, StorageError>>;

/// Opens an object; its bytes follow as a stream.
///
/// # Errors
/// As the server says, at once or in the stream.
pub async fn download(bucket: &Bucket, key: &str) -> Result<Bytestream, StorageError> {
    let opened = bucket.open(key, None).await?;
    let end = opened.length;
    Ok(going_on(bucket, key, 0..end, opened.body))
}

/// Opens a stretch of an object; its bytes follow as a stream.
///
/// # Errors
/// As the server says, at once or in the stream.
pub async fn download_stretch(
    bucket: &Bucket,
    key: &str,
    stretch: Range<u64>,
) -> Result<Bytestream, StorageError> {
    let opened = bucket.open(key, Some(header(&stretch))).await?;
    Ok(going_on(bucket, key, stretch, opened.body))
}

/// The value of a `Range` header, which counts its end in.
fn header(stretch: &Range<u64>) -> String {
    format!("bytes={}-{}", stretch.start, stretch.end.saturating_sub(1))
}

fn going_on(bucket: &Bucket, key: &str, stretch: Range<u64>, body: ByteStream) -> Bytestream {
    let state = Download {
        bucket: bucket.clone(),
        key: key.to_owned(),
        offset: stretch.start,
        end: stretch.end,
        body: Some(body),
        resumed: 0,
    };
    bytes(state).boxed()
}

fn bytes(state: Download) -> impl Stream<Item = Result<Bytes, StorageError>> + Send {
    stream::unfold(Some(state), |state| async move {
        let mut state = state?;
        match state.next().await {
            Ok(Some(bytes)) => Some((Ok(bytes), Some(state))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
}

impl Download {
    async fn next(&mut self) -> Result<Option<Bytes>, StorageError> {
        loop {
            let broken = match &mut self.body {
                Some(body) => match body.next().await {
                    Some(Ok(bytes)) => {
                        self.offset += bytes.len() as u64;
                        return Ok(Some(bytes));
                    }
                    None if self.offset >= self.end => return Ok(None),
                    None => "the answer ended early".to_owned(),
                    Some(Err(error)) => error.to_string(),
                },
                None => "not open".to_owned(),
            };
            self.resume(broken).await?;
        }
    }

    async fn resume(&mut self, broken: String) -> Result<(), StorageError> {
        self.body = None;
        while self.resumed < RESUMPTIONS {
            self.resumed += 1;
            tokio::time::sleep(Duration::from_millis(100 << self.resumed)).await;
            let range = header(&(self.offset..self.end));
            match self.bucket.open(&self.key, Some(range)).await {
                Ok(opened) => {
                    self.body = Some(opened.body);
                    return Ok(());
                }
                Err(error @ StorageError::NotFound { .. }) => return Err(error),
                Err(_) => {}
            }
        }
        Err(StorageError::Unavailable {
            operation: "GetObject",
            bucket: self.bucket.name().to_owned(),
            key: self.key.clone(),
            message: broken,
        })
    }
}
