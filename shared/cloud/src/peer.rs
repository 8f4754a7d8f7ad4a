//! Who is at the other end: the connection that a request came by, and the client's address.

use http::{Extensions, HeaderMap};
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The connection that a request came by. Whoever accepts connections puts it into the extensions
/// of each request; cloning shares it.
#[derive(Debug, Clone)]
pub struct Peer(Arc<State>);

#[derive(Debug)]
struct State {
    address: IpAddr,
    is_authenticated: AtomicBool,
}

impl Peer {
    /// A connection from `address` that has shown no credential yet.
    pub fn new(address: IpAddr) -> Self {
        Self(Arc::new(State {
            address: address.to_canonical(),
            is_authenticated: AtomicBool::new(false),
        }))
    }

    /// The address at the other end, which may be a proxy's.
    pub fn address(&self) -> IpAddr {
        self.0.address
    }

    /// Notes that a request of this connection had a valid credential. Such a connection is kept
    /// where others have to go.
    pub fn authenticate(&self) {
        self.0.is_authenticated.store(true, Ordering::Relaxed);
    }

    /// Whether a request of this connection had a valid credential.
    pub fn is_authenticated(&self) -> bool {
        self.0.is_authenticated.load(Ordering::Relaxed)
    }
}

/// Ranges of addresses, such as those of trusted proxies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressRanges(Vec<Range>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    base: IpAddr,
    bits: u8,
}

impl AddressRanges {
    /// Whether `address` lies in one of them.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|range| range.contains(address))
    }

    /// The client's address of a request with these extensions; `None` where nobody noted the
    /// connection's other end.
    pub fn client(&self, extensions: &Extensions, headers: &HeaderMap) -> Option<IpAddr> {
        extensions.get::<Peer>().map(|peer| self.client_of(peer.address(), headers))
    }

    /// The client's address: the peer's, or where that is a trusted proxy the last address in
    /// `x-forwarded-for` that is none. Every other entry of that header is the client's own word.
    pub fn client_of(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.contain(peer) {
            return peer;
        }
        let values: Vec<&str> = headers
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        let mut client = peer;
        for entry in values.iter().rev().flat_map(|value| value.rsplit(',')) {
            let Some(address) = address_of(entry) else { break };
            client = address;
            if !self.contain(address) {
                break;
            }
        }
        client
    }
}

/// What one holder has of an address: of IPv6 providers hand out at least 64 bits to each.
pub fn holder(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// An entry of `x-forwarded-for`: some proxies add the port.
fn address_of(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let address = entry.parse().ok().or_else(|| {
        let with_port: Option<std::net::SocketAddr> = entry.parse().ok();
        with_port.map(|address| address.ip())
    });
    let bare = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    address.or_else(bare).map(|address: IpAddr| address.to_canonical())
}

impl Range {
    fn contains(self, address: IpAddr) -> bool {
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let shift = 32_u32.saturating_sub(self.bits.into());
                (base.to_bits() ^ address.to_bits()).checked_shr(shift).unwrap_or_default() == 0
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let shift = 128_u32.saturating_sub(self.bits.into());
                (base.to_bits() ^ address.to_bits()).checked_shr(shift).unwrap_or_default() == 0
            }
            _ => false,
        }
    }
}

/// A text that is no list of address ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write addresses or ranges such as 10.0.0.0/8, separated by commas")]
pub struct BadRanges;

impl FromStr for AddressRanges {
    type Err = BadRanges;

    fn from_str(text: &str) -> Result<Self, BadRanges> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(range).collect::<Result<_, _>>().map(Self)
    }
}

fn range(text: &str) -> Result<Range, BadRanges> {
    let (base, bits) = match text.split_once('/') {
        Some((base, bits)) => (base, Some(bits.parse::<u8>().map_err(|_| BadRanges)?)),
        None => (text, None),
    };
    let base: IpAddr = base.parse().map_err(|_| BadRanges)?;
    let all = if base.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(all);
    if bits > all { Err(BadRanges) } else { Ok(Range { base, bits }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_holder_of_ipv6_has_many_addresses() {
        let of = |text: &str| holder(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(of("192.0.2.1"), "192.0.2.1");
    }

    #[test]
    fn ranges_contain_what_they_say() {
        let ranges: AddressRanges = "10.0.0.0/8, 192.168.1.7,fd00::/8, ::1/128".parse().unwrap();
        for inside in
            ["10.0.0.0", "10.255.255.255", "192.168.1.7", "fdff::1", "::1", "::ffff:10.1.2.3"]
        {
            assert!(ranges.contain(inside.parse().unwrap()), "{inside}");
        }
        for outside in
            ["11.0.0.0", "9.255.255.255", "192.168.1.8", "fe00::", "::2", "::ffff:11.0.0.1"]
        {
            assert!(!ranges.contain(outside.parse().unwrap()), "{outside}");
        }
        let all: AddressRanges = "0.0.0.0/0".parse().unwrap();
        assert!(all.contain("203.0.113.9".parse().unwrap()));
        assert!(!all.contain("2001:db8::1".parse().unwrap()));
        assert!(!AddressRanges::default().contain("127.0.0.1".parse().unwrap()));
        for bad in ["10.0.0.0/33", "here", "10.0.0.0/x", "fd00::/129", "10.0.0/8"] {
            assert_eq!(bad.parse::<AddressRanges>(), Err(BadRanges), "{bad}");
        }
    }

    #[test]
    fn a_client_is_who_a_trusted_proxy_says_and_never_who_it_says_itself() {
        let ranges: AddressRanges = "10.0.0.0/8".parse().unwrap();
        let client = |peer: &str, forwarded: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append("x-forwarded-for", HeaderValue::from_str(value).unwrap());
            }
            ranges.client_of(peer.parse().unwrap(), &headers).to_string()
        };
        assert_eq!(client("203.0.113.1", &["198.51.100.1"]), "203.0.113.1", "no proxy of ours");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &["1.2.3.4, 198.51.100.1"]), "198.51.100.1", "forged");
        assert_eq!(client("10.0.0.1", &["1.2.3.4", "198.51.100.1, 10.9.9.9"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &["198.51.100.1:4711"]), "198.51.100.1", "with a port");
        assert_eq!(client("10.0.0.1", &["[2001:db8::1]:80"]), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &["unknown"]), "10.0.0.1");
    }
}
