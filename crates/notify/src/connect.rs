//! A connection to a host that may be called: its name is resolved once, each address is
//! looked at, and the connection goes to the very address that was looked at. A name that
//! changes meanwhile changes nothing.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use tokio::net::TcpStream;
use tower_service::Service as _;

use super::delivery::{Failure, NotificationFailure};
use trevor_config::address::{Allowed, literal};
use trevor_core::proxies::Proxy;

const CONNECT: Duration = Duration::from_secs(5);

/// Asks the system for the addresses of a name.
///
/// # Errors
/// When there are none.
pub async fn system(host: String, port: u16) -> std::io::Result<Vec<IpAddr>> {
    let found = tokio::net::lookup_host((host, port)).await?;
    Ok(found.map(|address| address.ip()).collect())
}

/// Connects to the first address that may be connected to and answers.
///
/// # Errors
/// When there is none.
pub async fn connect<F>(
    (host, port): (&str, u16),
    allowed: &Allowed,
    resolve: impl FnOnce(String, u16) -> F,
) -> Result<TcpStream, Failure>
where
    F: Future<Output = std::io::Result<Vec<IpAddr>>>,
{
    let addresses = match literal(host) {
        Some(address) => vec![address],
        None => resolve(host.to_owned(), port)
            .await
            .map_err(|_| Failure::passing(NotificationFailure::NotResolved))?,
    };
    let mut failure = Failure::passing(NotificationFailure::NotResolved);
    for address in addresses {
        if !allowed.address(address) {
            failure = Failure::passing(NotificationFailure::AddressNotAllowed);
            continue;
        }
        let connecting = TcpStream::connect(SocketAddr::new(address, port));
        match tokio::time::timeout(CONNECT, connecting).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(_)) => failure = Failure::passing(NotificationFailure::Unreachable),
            Err(_) => failure = Failure::passing(NotificationFailure::TimedOut),
        }
    }
    Err(failure)
}

/// A tunnel to a host through a proxy that the configuration names. The proxy resolves the
/// name: whoever names one trusts it with where it leads.
///
/// # Errors
/// When the proxy is not reached, or does not let us through.
pub async fn through(proxy: &Proxy, (host, port): (&str, u16)) -> Result<TcpStream, Failure> {
    let unreachable = || Failure::passing(NotificationFailure::Unreachable);
    let uri = |text: String| text.parse::<http::Uri>().map_err(|_| unreachable());
    let (at, to) = (
        uri(proxy.address())?,
        uri(format!("https://{host}:{port}"))?,
    );
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(CONNECT));
    let tunnel = Tunnel::new(at, connector).call(to).await;
    Ok(tunnel.map_err(|_| unreachable())?.into_inner())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::net::TcpListener;

    use super::*;

    /// 127.0.0.2 is listed, 127.0.0.3 is an address inside that is not.
    fn allowed() -> Allowed {
        Allowed::parse(&["hooks.example".to_owned(), "127.0.0.2/32".to_owned()]).unwrap()
    }

    /// Takes one CONNECT, answers it, and gives what it was asked.
    async fn proxy_once(answer: &'static str) -> (Proxy, tokio::task::JoinHandle<String>) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4096];
            let read = stream.read(&mut head).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&head[..read]).into_owned()
        });
        (Proxy::parse(&url, "test").unwrap(), asked)
    }

    #[tokio::test]
    async fn a_proxy_that_is_named_is_asked_for_the_host_by_its_name() {
        let at = ("hooks.example", 443);
        let (proxy, asked) = proxy_once("HTTP/1.1 200 OK\r\n\r\n").await;
        through(&proxy, at).await.unwrap();
        let head = asked.await.unwrap();
        assert!(head.starts_with("CONNECT hooks.example:443 "), "{head}");
        let (proxy, _asked) = proxy_once("HTTP/1.1 403 Forbidden\r\n\r\n").await;
        let refused = through(&proxy, at).await.unwrap_err();
        assert_eq!(refused.reason, NotificationFailure::Unreachable);
    }

    #[tokio::test]
    async fn a_name_that_is_bound_anew_leads_nowhere_else() {
        let listed = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let port = listed.local_addr().unwrap().port();
        let inside = TcpListener::bind(("127.0.0.3", port)).await.unwrap();
        let (good, bad): (IpAddr, IpAddr) =
            ("127.0.0.2".parse().unwrap(), "127.0.0.3".parse().unwrap());
        let asked = AtomicUsize::new(0);
        let answers = |first: Vec<IpAddr>| {
            let asked = &asked;
            // Whoever asks again is led inside.
            move |_: String, _: u16| async move {
                let again = asked.fetch_add(1, Ordering::Relaxed) > 0;
                Ok(if again { vec![bad] } else { first })
            }
        };
        let at = ("hooks.example", port);
        for first in [vec![good], vec![bad, good]] {
            asked.store(0, Ordering::Relaxed);
            let stream = connect(at, &allowed(), answers(first)).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap().ip(), good);
            assert_eq!(asked.load(Ordering::Relaxed), 1, "it is resolved once");
        }
        asked.store(0, Ordering::Relaxed);
        let refused = connect(at, &allowed(), answers(vec![bad]))
            .await
            .unwrap_err();
        assert_eq!(refused.reason, NotificationFailure::AddressNotAllowed);
        let none = tokio::time::timeout(Duration::from_millis(200), inside.accept()).await;
        assert!(none.is_err(), "nobody came to the address inside");
        let nobody = |_: String, _: u16| async {
            Err::<Vec<IpAddr>, _>(std::io::Error::from(std::io::ErrorKind::NotFound))
        };
        let gone = connect(at, &allowed(), nobody).await.unwrap_err();
        assert_eq!(gone.reason, NotificationFailure::NotResolved);
    }
}
