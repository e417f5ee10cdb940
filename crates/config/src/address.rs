//! Where webhooks may lead.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `notifications.allowed_hosts`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    names: Vec<String>,
    networks: Vec<(IpAddr, u8)>,
}

impl Allowed {
    /// From its entries: names of hosts, addresses, networks.
    ///
    /// # Errors
    /// With the entry that is none of them.
    pub fn parse(entries: &[String]) -> Result<Self, String> {
        let mut allowed = Self::default();
        for entry in entries {
            if let Some(network) = network(entry) {
                allowed.networks.push(network);
            } else if is_host(entry) {
                allowed.names.push(entry.to_lowercase());
            } else {
                return Err(entry.clone());
            }
        }
        Ok(allowed)
    }

    /// Whether a URL may name this host.
    #[must_use]
    pub fn host(&self, host: &str) -> bool {
        match literal(host) {
            Some(address) => self.lists(address),
            None => self.names.contains(&host.to_lowercase()),
        }
    }

    /// Whether a connection may go to this address, which a name that may be named
    /// resolved to.
    #[must_use]
    pub fn address(&self, address: IpAddr) -> bool {
        !is_inside(address) || self.lists(address)
    }

    fn lists(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks
            .iter()
            .any(|(network, length)| covers(*network, *length, address))
    }
}

/// The address that a URL's host is, if it is one.
#[must_use]
pub fn literal(host: &str) -> Option<IpAddr> {
    let bare = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    bare.parse().ok()
}

fn network(entry: &str) -> Option<(IpAddr, u8)> {
    let Some((address, length)) = entry.split_once('/') else {
        let address = literal(entry)?.to_canonical();
        return Some((address, if address.is_ipv4() { 32 } else { 128 }));
    };
    let (address, length): (IpAddr, u8) = (literal(address)?, length.parse().ok()?);
    (length <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, length))
}

fn is_host(entry: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    // What ends in a number is meant to be an address.
    let numeric = entry
        .rsplit('.')
        .next()
        .is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()));
    entry.len() <= 253 && !numeric && entry.split('.').all(label)
}

fn covers(network: IpAddr, length: u8, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let shift = 32 - u32::from(length);
            let cut = |a: Ipv4Addr| u32::from(a).checked_shr(shift).unwrap_or(0);
            cut(network) == cut(address)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let shift = 128 - u32::from(length);
            let cut = |a: Ipv6Addr| u128::from(a).checked_shr(shift).unwrap_or(0);
            cut(network) == cut(address)
        }
        _ => false,
    }
}

/// Whether an address is not one of the public internet: private, loopback,
/// link-local, shared, documentation, multicast, and v6 forms that carry a v4 one.
fn is_inside(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_inside_v4(v4),
        IpAddr::V6(v6) => {
            let s = v6.segments();
            let carried = match s {
                // NAT64, and 6to4.
                [0x64, 0xff9b, 0, 0, 0, 0, a, b] | [0x2002, a, b, ..] => Some((a, b)),
                // v4-compatible.
                [0, 0, 0, 0, 0, 0, a, b] => Some((a, b)),
                _ => None,
            };
            let carried = carried.map(|(a, b)| Ipv4Addr::from(u32::from(a) << 16 | u32::from(b)));
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || s[0] & 0xfe00 == 0xfc00
                || s[0] & 0xffc0 == 0xfe80
                || s[0] & 0xffc0 == 0xfec0
                || (s[0] == 0x2001 && s[1] == 0xdb8)
                || (s[0] == 0x64 && s[1] == 0xff9b && s[2] == 1)
                || carried.is_some_and(is_inside_v4)
        }
    }
}

fn is_inside_v4(v4: Ipv4Addr) -> bool {
    let o = v4.octets();
    v4.is_private()
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_multicast()
        || v4.is_broadcast()
        || v4.is_documentation()
        || o[0] == 0
        || o[0] >= 240
        || (o[0] == 100 && o[1] & 0xc0 == 64)
        || (o[0] == 192 && o[1] == 0 && o[2] == 0)
        || (o[0] == 198 && o[1] & 0xfe == 18)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(entries: &[&str]) -> Allowed {
        let entries: Vec<String> = entries.iter().map(|e| (*e).to_owned()).collect();
        Allowed::parse(&entries).unwrap()
    }

    #[test]
    fn a_host_is_allowed_by_its_name_and_an_address_by_itself_or_its_network() {
        let list = allowed(&["Hooks.example", "127.0.0.1", "10.1.0.0/16", "fd00::/8"]);
        for (host, may) in [
            ("hooks.example", true),
            ("HOOKS.example", true),
            ("a.hooks.example", false),
            ("hooks.example.evil", false),
            ("127.0.0.1", true),
            ("127.0.0.2", false),
            ("10.1.255.255", true),
            ("10.2.0.0", false),
            ("[fd12::1]", true),
            ("[::ffff:127.0.0.1]", true),
            ("8.8.8.8", false),
        ] {
            assert_eq!(list.host(host), may, "{host}");
        }
    }

    #[test]
    fn an_address_inside_is_connected_to_only_when_it_is_listed() {
        let none = allowed(&["hooks.example"]);
        for inside in [
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "127.0.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "192.0.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
            "::10.0.0.1",
            "2001:db8::1",
        ] {
            let address: IpAddr = inside.parse().unwrap();
            assert!(!none.address(address), "{inside}");
            assert!(allowed(&[inside]).address(address), "{inside} is listed");
        }
        for outside in [
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "64:ff9b::808:808",
        ] {
            assert!(none.address(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn what_is_neither_a_name_nor_an_address_is_refused() {
        for entry in [
            "",
            "a b",
            "10.0.0.0/33",
            "10.0.0",
            "https://a.example",
            "*.example",
            "a..b",
            "::1/129",
        ] {
            assert_eq!(Allowed::parse(&[entry.to_owned()]), Err(entry.to_owned()));
        }
    }

    #[test]
    fn the_whole_internet_can_be_listed() {
        let all = allowed(&["0.0.0.0/0", "::/0"]);
        assert!(all.host("127.0.0.1") && all.host("[::1]"));
    }
}
