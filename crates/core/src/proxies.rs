//! Which proxy a call goes through, by HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, as
//! curl and Go take them. One place decides for storage, `trevor send`, `fetch` and `login`.

use std::fmt;
use std::net::IpAddr;

use http::Uri;
use percent_encoding::percent_decode_str;

/// How one speaks with a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// HTTP, with CONNECT for what is encrypted.
    Http,
    /// The same over TLS.
    Https,
    /// SOCKS 5; the proxy resolves names.
    Socks5,
}

/// A proxy. It may hold a password, which it does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// How one speaks with it.
    pub kind: Kind,
    /// Its host, with brackets where it is an address of IPv6.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// User and password, decoded.
    pub user: Option<(String, String)>,
    /// User and password as they stood in the URL.
    written: Option<String>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}:{}", self.kind, self.host, self.port)
    }
}

/// A text that names no proxy. The text may hold a password, and is not shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} is not the URL of a proxy; give http://host:port, https://host:port or socks5://host:port"
)]
pub struct NoProxyUrl(pub String);

impl Proxy {
    /// Reads a URL; without a scheme it is `http://`. `origin` is named in the error.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str, origin: &str) -> Result<Self, NoProxyUrl> {
        let wrong = || NoProxyUrl(origin.to_owned());
        let text = text.trim();
        let with_scheme = match text.contains("://") {
            true => text.to_owned(),
            false => format!("http://{text}"),
        };
        let uri: Uri = with_scheme.parse().map_err(|_| wrong())?;
        let (kind, port) = match uri.scheme_str().map(str::to_ascii_lowercase).as_deref() {
            Some("http") => (Kind::Http, 80),
            Some("https") => (Kind::Https, 443),
            Some("socks5" | "socks5h") => (Kind::Socks5, 1080),
            _ => return Err(wrong()),
        };
        let authority = uri.authority().ok_or_else(wrong)?;
        if authority.host().is_empty() {
            return Err(wrong());
        }
        let written = authority.as_str().rsplit_once('@').map(|(user, _)| user);
        let decode = |part: &str| {
            let decoded = percent_decode_str(part).decode_utf8();
            decoded.map(|text| text.into_owned()).map_err(|_| wrong())
        };
        let user = match written {
            None => None,
            Some(written) => {
                let (user, password) = written.split_once(':').unwrap_or((written, ""));
                Some((decode(user)?, decode(password)?))
            }
        };
        Ok(Self {
            kind,
            host: authority.host().to_owned(),
            port: authority.port_u16().unwrap_or(port),
            user,
            written: written.map(str::to_owned),
        })
    }

    /// Where it is, without user and password.
    #[must_use]
    pub fn address(&self) -> String {
        let scheme = match self.kind {
            Kind::Http => "http",
            Kind::Https => "https",
            Kind::Socks5 => "socks5",
        };
        format!("{scheme}://{}:{}", self.host, self.port)
    }

    /// Its whole URL, with user and password: a secret.
    #[must_use]
    pub fn url(&self) -> String {
        let address = self.address();
        match (&self.written, address.split_once("://")) {
            (Some(user), Some((scheme, place))) => format!("{scheme}://{user}@{place}"),
            _ => address,
        }
    }
}

/// The proxies of an environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    direct: Direct,
}

impl Proxies {
    /// From variables of an environment. Upper case counts first, as in Go; an empty value
    /// is none.
    ///
    /// # Errors
    /// With the variable that names no proxy.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Self, NoProxyUrl> {
        let value = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let first = |name: &str| {
            let lower = name.to_ascii_lowercase();
            let upper = value(name).map(|value| (name.to_owned(), value));
            upper.or_else(|| value(&lower).map(|value| (lower.clone(), value)))
        };
        // In a CGI program HTTP_PROXY is a header of whoever calls.
        let http = match value("REQUEST_METHOD") {
            None => first("HTTP_PROXY"),
            Some(_) => value("http_proxy").map(|value| ("http_proxy".to_owned(), value)),
        };
        let all = first("ALL_PROXY");
        let parse = |named: Option<(String, String)>| {
            let named = named.or_else(|| all.clone());
            let proxy = named
                .map(|(name, value)| Proxy::parse(&value, &format!("environment variable {name}")));
            proxy.transpose()
        };
        Ok(Self {
            http: parse(http)?,
            https: parse(first("HTTPS_PROXY"))?,
            direct: Direct::parse(
                &first("NO_PROXY")
                    .map(|(_, value)| value)
                    .unwrap_or_default(),
            ),
        })
    }

    /// The proxy for a URL; none: it is called directly.
    #[must_use]
    pub fn of_url(&self, url: &Uri) -> Option<&Proxy> {
        let (proxy, port) = match url.scheme_str()? {
            "http" => (self.http.as_ref()?, 80),
            "https" => (self.https.as_ref()?, 443),
            _ => return None,
        };
        let port = url.port_u16().unwrap_or(port);
        (!self.direct.covers(url.host()?, port)).then_some(proxy)
    }

    /// The proxy of what is encrypted, whatever its host.
    #[must_use]
    pub fn of_https(&self) -> Option<&Proxy> {
        self.https.as_ref().filter(|_| !self.direct.all)
    }
}

/// `NO_PROXY`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Direct {
    all: bool,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    what: What,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Network(IpAddr, u8),
    /// A name and all below it.
    Name(String),
    /// All below a name.
    Below(String),
}

impl Direct {
    fn parse(text: &str) -> Self {
        let entries = text
            .split(|c: char| c == ',' || c.is_whitespace())
            .filter(|entry| !entry.is_empty());
        let mut direct = Self::default();
        for entry in entries {
            match entry {
                "*" => direct.all = true,
                entry => direct.entries.extend(Entry::parse(entry)),
            }
        }
        direct
    }

    fn covers(&self, host: &str, port: u16) -> bool {
        let host = bare(host).trim_end_matches('.').to_ascii_lowercase();
        let address = host.parse::<IpAddr>().ok().map(|a| a.to_canonical());
        self.all
            || self.entries.iter().any(|entry| {
                entry.port.is_none_or(|wanted| wanted == port)
                    && match (&entry.what, address) {
                        (What::Network(network, length), Some(address)) => {
                            within(*network, *length, address)
                        }
                        (What::Network(..), None) | (_, Some(_)) => false,
                        (What::Name(name), None) => host == *name || is_below(&host, name),
                        (What::Below(name), None) => is_below(&host, name),
                    }
            })
    }
}

impl Entry {
    fn parse(text: &str) -> Option<Self> {
        if let Some((address, length)) = text.split_once('/') {
            let address: IpAddr = bare(address).parse().ok()?;
            let length: u8 = length.parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            return (length <= most).then_some(Self {
                what: What::Network(address, length),
                port: None,
            });
        }
        // Before a port is looked for: an address of IPv6 has colons of its own.
        let (host, port) = match text.parse::<IpAddr>() {
            Ok(_) => (text, None),
            Err(_) => match text.rsplit_once(':') {
                Some((host, port)) if !host.ends_with(':') => (host, Some(port.parse().ok()?)),
                _ => (text, None),
            },
        };
        if let Ok(address) = bare(host).parse::<IpAddr>() {
            let address = address.to_canonical();
            let length = if address.is_ipv4() { 32 } else { 128 };
            let what = What::Network(address, length);
            return Some(Self { what, port });
        }
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let what = match name.strip_prefix("*.") {
            Some(below) => What::Below(below.to_owned()),
            None => What::Name(name.trim_start_matches('.').to_owned()),
        };
        let named = !matches!(&what, What::Name(name) | What::Below(name) if name.is_empty());
        named.then_some(Self { what, port })
    }
}

fn bare(host: &str) -> &str {
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    inner.unwrap_or(host)
}

fn is_below(host: &str, name: &str) -> bool {
    let before = host.strip_suffix(name);
    before.is_some_and(|before| before.len() > 1 && before.ends_with('.'))
}

fn within(network: IpAddr, length: u8, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let shift = 32 - u32::from(length);
            let cut = |a: u32| a.checked_shr(shift).unwrap_or(0);
            cut(network.into()) == cut(address.into())
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let shift = 128 - u32::from(length);
            let cut = |a: u128| a.checked_shr(shift).unwrap_or(0);
            cut(network.into()) == cut(address.into())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Proxies, NoProxyUrl> {
        Proxies::of(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn through(variables: &[(&str, &str)], url: &str) -> Option<String> {
        let proxies = of(variables).unwrap();
        proxies.of_url(&url.parse().unwrap()).map(Proxy::address)
    }

    #[test]
    fn the_scheme_of_the_url_picks_the_variable() {
        let both = [
            ("HTTP_PROXY", "http://plain:1"),
            ("HTTPS_PROXY", "http://tls:2"),
        ];
        assert_eq!(
            through(&both, "http://a.example").as_deref(),
            Some("http://plain:1")
        );
        assert_eq!(
            through(&both, "https://a.example").as_deref(),
            Some("http://tls:2")
        );
        for (name, url) in [
            ("https_proxy", "https://a.example"),
            ("http_proxy", "http://a.example"),
            ("all_proxy", "http://a.example"),
            ("ALL_PROXY", "https://a.example"),
        ] {
            let found = through(&[(name, "p:3")], url);
            assert_eq!(found.as_deref(), Some("http://p:3"), "{name}");
        }
        assert_eq!(through(&[("HTTPS_PROXY", "p:3")], "http://a.example"), None);
        assert_eq!(through(&[("HTTPS_PROXY", "")], "https://a.example"), None);
        let cgi = [("HTTP_PROXY", "p:3"), ("REQUEST_METHOD", "GET")];
        assert_eq!(through(&cgi, "http://a.example"), None);
        let lower = [("HTTPS_PROXY", " "), ("https_proxy", "p:3")];
        assert!(through(&lower, "https://a.example").is_some());
    }

    #[test]
    fn what_no_proxy_names_is_called_directly() {
        #[rustfmt::skip]
        let rows = [
            ("*", "https://a.example", true),
            ("a.example", "https://a.example", true),
            ("A.Example.", "https://a.example", true),
            ("a.example", "https://A.EXAMPLE.", true),
            ("a.example", "https://b.a.example", true),
            ("a.example", "https://ba.example", false),
            (".a.example", "https://b.a.example", true),
            (".a.example", "https://a.example", true),
            ("*.a.example", "https://b.a.example", true),
            ("*.a.example", "https://a.example", false),
            ("x.example, a.example", "https://a.example", true),
            ("x.example a.example", "https://a.example", true),
            ("a.example:443", "https://a.example", true),
            ("a.example:8443", "https://a.example", false),
            ("a.example:8443", "https://a.example:8443", true),
            ("10.0.0.0/8", "https://10.1.2.3", true),
            ("10.0.0.0/8", "https://11.1.2.3", false),
            ("0.0.0.0/0", "https://11.1.2.3", true),
            ("10.0.0.0/8", "https://10.example", false),
            ("10.1.2.3", "https://10.1.2.3:9000", true),
            ("10.1.2.3:9000", "https://10.1.2.3", false),
            ("10.1.2.3:9000", "https://10.1.2.3:9000", true),
            ("fd00::/8", "https://[fd00::1]", true),
            ("fd00::1", "https://[fd00::1]", true),
            ("[fd00::1]", "https://[fd00::1]", true),
            ("[fd00::1]:443", "https://[fd00::1]", true),
            ("[fd00::1]:444", "https://[fd00::1]", false),
            ("fe80::/10", "https://[fd00::1]", false),
            ("10.1.2.3", "https://[::ffff:10.1.2.3]", true),
            ("127.0.0.1", "https://localhost", false),
            ("localhost", "https://localhost:8443", true),
            ("10.0.0.0/99", "https://10.1.2.3", false),
            ("a.example:port", "https://a.example", false),
            (",, ,", "https://a.example", false),
            ("", "https://a.example", false),
        ];
        for (direct, url, expected) in rows {
            for name in ["NO_PROXY", "no_proxy"] {
                let found = through(&[("HTTPS_PROXY", "http://p:3"), (name, direct)], url);
                assert_eq!(found.is_none(), expected, "{direct:?} {url}");
            }
        }
    }

    #[test]
    fn a_proxy_has_a_kind_a_port_and_perhaps_a_user_that_is_not_shown() {
        for (text, address) in [
            ("p", "http://p:80"),
            ("p.example:3128", "http://p.example:3128"),
            ("http://p/", "http://p:80"),
            ("https://p", "https://p:443"),
            ("socks5://p", "socks5://p:1080"),
            ("socks5h://p:9", "socks5://p:9"),
            ("http://[::1]:3128", "http://[::1]:3128"),
            ("http://me:p%40ss@p:1", "http://p:1"),
        ] {
            assert_eq!(
                Proxy::parse(text, "v").unwrap().address(),
                address,
                "{text}"
            );
        }
        let with = Proxy::parse("http://me:p%40ss@p:1", "v").unwrap();
        assert_eq!(with.user, Some(("me".into(), "p@ss".into())));
        assert_eq!(with.url(), "http://me:p%40ss@p:1");
        assert!(!format!("{with:?}").contains("ss"));
        for text in ["ftp://p", "http://", "http://a b", "socks4://p", "://"] {
            let wrong = of(&[("HTTPS_PROXY", text)]).unwrap_err().to_string();
            assert!(wrong.contains("HTTPS_PROXY"), "{wrong}");
            assert!(!wrong.contains("a b"), "{wrong}");
        }
    }
}
