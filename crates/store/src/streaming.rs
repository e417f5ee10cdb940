//! A part of a multipart upload whose bytes come from a client as they are
//! sent: it cannot be tried again, and it takes as long as the client does.

use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{Builder, StalledStreamProtectionConfig};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::CompletedPart;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

use super::bucket::Bucket;
use super::error::{StorageError, translate};

/// A body of a stated length, fed through a channel.
struct Fed {
    chunks: mpsc::Receiver<Bytes>,
    left: u64,
}

impl Body for Fed {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        match self.chunks.poll_recv(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(bytes)) => {
                self.left = self.left.saturating_sub(bytes.len() as u64);
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Poll::Ready(None) => {
                Poll::Ready(Some(Err(std::io::Error::other("the sender went away"))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

impl Bucket {
    /// Sends one part of `length` bytes as they come through `chunks`. Who
    /// feeds it watches the pace; here only the connection has a time limit.
    ///
    /// # Errors
    /// As the server says, or when the feeder goes away early.
    pub async fn stream_part(
        &self,
        key: &str,
        upload: &str,
        number: i32,
        length: u64,
        chunks: mpsc::Receiver<Bytes>,
    ) -> Result<CompletedPart, StorageError> {
        let patient = Builder::new()
            .timeout_config(TimeoutConfig::builder().disable_read_timeout().build())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        let put = self
            .client()
            .upload_part()
            .bucket(self.name())
            .key(key)
            .upload_id(upload)
            .part_number(number)
            .body(ByteStream::from_body_1_x(Fed {
                chunks,
                left: length,
            }))
            .customize()
            .disable_payload_signing()
            .config_override(patient)
            .send()
            .await
            .map_err(|e| translate("UploadPart", self.name(), key, &e))?;
        Ok(CompletedPart::builder()
            .part_number(number)
            .set_e_tag(put.e_tag)
            .build())
    }
}
