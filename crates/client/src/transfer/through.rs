//! Connections of the client: directly, or through the proxy that the environment names
//! for a URL.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use trevor_core::proxies::{Kind, Proxies, Proxy};

type Tcp = TokioIo<TcpStream>;
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Connects to a URL's host, or to its proxy.
#[derive(Clone)]
pub(crate) struct Through {
    /// Trusts whatever the client trusts, for proxies that speak TLS.
    pub(crate) to_proxy: HttpsConnector<HttpConnector>,
    pub(crate) direct: HttpConnector,
    pub(crate) proxies: Arc<Proxies>,
}

/// A connection, and whether the proxy at its other end is to be told whole URLs.
pub(crate) struct Passage {
    stream: MaybeHttpsStream<Tcp>,
    told: bool,
}

/// `Proxy-Authorization` of a proxy that has a user.
pub(crate) fn authorization(proxy: &Proxy) -> Option<HeaderValue> {
    let (user, password) = proxy.user.as_ref()?;
    let basic = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    let mut value = HeaderValue::from_str(&basic).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl Through {
    async fn connect(mut self, url: Uri) -> Result<Passage, Failure> {
        let Some(proxy) = self.proxies.of_url(&url).cloned() else {
            let stream = MaybeHttpsStream::Http(self.direct.call(url).await?);
            return Ok(Passage {
                stream,
                told: false,
            });
        };
        let at: Uri = proxy.address().parse()?;
        let failed = |error: Failure| -> Failure {
            format!("by the proxy {}: {error}", proxy.address()).into()
        };
        if proxy.kind == Kind::Socks5 {
            let socks = SocksV5::new(at, self.direct);
            let mut socks = match &proxy.user {
                Some((user, password)) => socks.with_auth(user.clone(), password.clone()),
                None => socks,
            };
            let stream = socks.call(url).await.map_err(|e| failed(e.into()))?;
            let stream = MaybeHttpsStream::Http(stream);
            return Ok(Passage {
                stream,
                told: false,
            });
        }
        if url.scheme_str() == Some("http") {
            let stream = self.to_proxy.call(at).await.map_err(failed)?;
            return Ok(Passage { stream, told: true });
        }
        let mut tunnel = Tunnel::new(at, self.to_proxy);
        if let Some(authorization) = authorization(&proxy) {
            tunnel = tunnel.with_auth(authorization);
        }
        let stream = tunnel.call(url).await.map_err(|e| failed(e.into()))?;
        Ok(Passage {
            stream,
            told: false,
        })
    }
}

impl Service<Uri> for Through {
    type Response = Passage;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Passage, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        Box::pin(self.clone().connect(url))
    }
}

impl Connection for Passage {
    fn connected(&self) -> Connected {
        self.stream.connected().proxy(self.told)
    }
}

impl Read for Passage {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Write for Passage {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}
