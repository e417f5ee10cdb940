//! A stream that reports when written bytes were handed to the network, because a file counts as
//! viewed only then. It also ends when the peer stalls.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

/// How long a peer may accept no bytes.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// The number of flushes of a connection. A flush hands all written bytes to the network.
#[derive(Clone, Debug)]
pub struct Flushes(watch::Receiver<u64>);

impl Flushes {
    /// Waits until all bytes that are written by now were handed to the network. False when the
    /// connection ends before.
    pub fn after(mut self) -> impl Future<Output = bool> + Send {
        let now = *self.0.borrow();
        async move { self.0.wait_for(|count| *count > now).await.is_ok() }
    }
}

/// A stream that counts its flushes and ends when the peer stalls.
pub struct MonitoredStream<S> {
    stream: S,
    flushes: watch::Sender<u64>,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> MonitoredStream<S> {
    /// Monitors a stream.
    pub fn new(stream: S) -> (Self, Flushes) {
        let (flushes, seen) = watch::channel(0);
        (
            Self {
                stream,
                flushes,
                stalled: None,
            },
            Flushes(seen),
        )
    }

    /// Ready when nothing could be written for too long.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let timer = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep(STALL_TIMEOUT)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(io::Error::new(
            io::ErrorKind::TimedOut,
            "the peer takes nothing",
        ))
    }

    fn progress(&mut self) {
        self.stalled = None;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MonitoredStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MonitoredStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, buf) {
            Poll::Ready(result) => {
                self.progress();
                Poll::Ready(result)
            }
            Poll::Pending => self.poll_stalled(cx).map(Err),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write_vectored(cx, bufs) {
            Poll::Ready(result) => {
                self.progress();
                Poll::Ready(result)
            }
            Poll::Pending => self.poll_stalled(cx).map(Err),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(Ok(())) => {
                self.progress();
                self.flushes.send_modify(|count| *count += 1);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(error) => Poll::Ready(error),
            Poll::Pending => self.poll_stalled(cx).map(Err),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn a_flush_after_the_write_tells_that_it_went_out() {
        let (near, mut far) = duplex(1024);
        let (mut near, flushes) = MonitoredStream::new(near);
        near.write_all(b"x").await.unwrap();
        let sent = flushes.after();
        near.flush().await.unwrap();
        assert!(sent.await);
        far.read_u8().await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_that_ends_before_tells_that_it_did_not() {
        let (near, _far) = duplex(1024);
        let (near, flushes) = MonitoredStream::new(near);
        let sent = flushes.after();
        drop(near);
        assert!(!sent.await);
    }
}
