//! The address of a client: the peer of its connection, or what a configured proxy reports.

use http::{Extensions, HeaderMap, HeaderName};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address of the connection's other end. The code that accepts a connection puts it into the
/// request's extensions; on Lambda it is the source address in the request's context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress(pub IpAddr);

/// Stands for clients whose address cannot be read; no client has it.
pub const UNKNOWN: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// A list of addresses and ranges, such as those of trusted proxies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressRanges(Vec<AddressRange>);

/// Addresses that begin with the same bits. IPv4 addresses are held as mapped IPv6 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct AddressRange {
    network: u128,
    prefix: u32,
}

impl AddressRanges {
    /// Whether the address is in one of the ranges.
    pub fn contains(&self, address: IpAddr) -> bool {
        let bits = bits(address);
        self.0.iter().any(|range| (bits ^ range.network).leading_zeros() >= range.prefix)
    }

    /// The client's address, if these ranges are the trusted proxies. In `x-forwarded-for` only the
    /// addresses that trusted proxies have added count, from the right; the client can have written
    /// the rest. `None` if a trusted proxy has added a text that is not an address, because the
    /// request can then come from anybody.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        let mut hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        let mut client = peer.to_canonical();
        while self.contains(client) {
            let Some(hop) = hops.next() else { break };
            client = parse_hop(hop)?.to_canonical();
        }
        Some(client)
    }

    /// The same for the parts of a request. Also `None` if the connection's other end was not
    /// recorded.
    pub fn client_of(&self, extensions: &Extensions, headers: &HeaderMap) -> Option<IpAddr> {
        extensions.get::<PeerAddress>().and_then(|PeerAddress(peer)| self.client(*peer, headers))
    }

    /// The address under which a client's actions are counted. Clients whose address cannot be read
    /// are counted together as [`UNKNOWN`]. `None` if the connection's other end was not recorded.
    pub fn counted_client_of(
        &self,
        extensions: &Extensions,
        headers: &HeaderMap,
    ) -> Option<IpAddr> {
        let PeerAddress(peer) = extensions.get::<PeerAddress>()?;
        Some(self.client(*peer, headers).unwrap_or(UNKNOWN))
    }
}

/// The address range of one holder, as its first address: IPv6 providers give at least 64 bits to
/// each customer.
pub fn holder(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Parses an address with or without a port, in brackets or not.
fn parse_hop(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim_matches([' ', '\t']);
    let with_port =
        || text.parse().ok().map(|socket_address: std::net::SocketAddr| socket_address.ip());
    let in_brackets = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let bare = in_brackets.unwrap_or(text);
    bare.parse().ok().or_else(with_port)
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

impl FromStr for AddressRanges {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = text.split(',').map(str::trim).filter(|one| !one.is_empty());
        all.map(AddressRange::from_str).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for AddressRange {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str =
            "must be a list of addresses and ranges, such as 10.0.0.0/8,fd00::/8,192.0.2.7";
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u32>().map_err(|_| WRONG)?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| WRONG)?;
        let width = if address.is_ipv4() { Ipv4Addr::BITS } else { Ipv6Addr::BITS };
        let prefix = prefix.unwrap_or(width);
        if prefix > width {
            return Err(WRONG);
        }
        Ok(Self { network: bits(address), prefix: Ipv6Addr::BITS - width + prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(trusted: &str, peer: &str, lines: &[&str]) -> String {
        let trusted: AddressRanges = trusted.parse().unwrap();
        let mut headers = HeaderMap::new();
        for line in lines {
            // Each character is one byte.
            let bytes: Vec<u8> =
                line.chars().map(|it| u8::try_from(u32::from(it)).unwrap()).collect();
            headers.append(FORWARDED_FOR, http::HeaderValue::from_bytes(&bytes).unwrap());
        }
        let client = trusted.client(peer.parse().unwrap(), &headers);
        let mut extensions = Extensions::new();
        extensions.insert(PeerAddress(peer.parse().unwrap()));
        let counters = trusted.counted_client_of(&extensions, &headers);
        assert_eq!(counters, Some(client.unwrap_or(UNKNOWN)));
        client.map_or("unknown".to_owned(), |client| client.to_string())
    }

    #[test]
    fn only_addresses_from_trusted_proxies_are_used() {
        for (trusted, peer, lines, expected) in [
            ("", "192.0.2.1", &["203.0.113.9"][..], "192.0.2.1"),
            ("10.0.0.0/8", "192.0.2.1", &["203.0.113.9"], "192.0.2.1"),
            ("10.0.0.0/8", "10.1.2.3", &["203.0.113.9"], "203.0.113.9"),
            ("10.0.0.0/8", "10.1.2.3", &["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.0/8", "10.1.2.3", &["1.1.1.1, 203.0.113.9, 10.9.9.9"], "203.0.113.9"),
            ("10.0.0.0/8", "10.1.2.3", &["203.0.113.9", "10.9.9.9"], "203.0.113.9"),
            ("10.0.0.0/8", "10.1.2.3", &["10.4.4.4"], "10.4.4.4"),
            ("10.0.0.0/8", "10.1.2.3", &[], "10.1.2.3"),
            ("10.0.0.0/8", "10.1.2.3", &["1.1.1.1, nonsense"], "unknown"),
            ("10.0.0.0/8", "10.1.2.3", &["nonsense, 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.0/8", "10.1.2.3", &["\u{ff}, 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.0/8", "10.1.2.3", &["\u{ff}", "203.0.113.9"], "203.0.113.9"),
            ("10.0.0.0/8", "10.1.2.3", &["203.0.113.9, \u{ff}"], "unknown"),
            ("10.0.0.0/8", "10.1.2.3", &["203.0.113.9", "\u{ff}"], "unknown"),
            ("10.0.0.0/8", "10.1.2.3", &["203.0.113.9\u{ff}"], "unknown"),
            ("10.0.0.0/8", "10.1.2.3", &["203.0.113.9, "], "unknown"),
            ("10.0.0.0/8", "10.1.2.3", &[""], "unknown"),
            ("10.0.0.0/8", "10.1.2.3", &["203.0.113.9, unknown, 10.9.9.9"], "unknown"),
            ("10.0.0.0/8", "192.0.2.1", &["\u{ff}"], "192.0.2.1"),
            ("10.0.0.0/8", "10.1.2.3", &["[[2001:db8::1]]"], "unknown"),
            ("10.0.0.0/8", "10.1.2.3", &["[2001:db8::1]:99999"], "unknown"),
            ("10.0.0.0/8", "10.1.2.3", &["\t203.0.113.9:80 "], "203.0.113.9"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", &["203.0.113.9:4711"], "203.0.113.9"),
            ("fd00::/8, 192.0.2.7", "fd00::1", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("fd00::/8, 192.0.2.7", "192.0.2.7", &["[2001:db8::1]"], "2001:db8::1"),
            ("0.0.0.0/0", "192.0.2.7", &["2001:db8::1"], "2001:db8::1"),
        ] {
            assert_eq!(client(trusted, peer, lines), expected, "{trusted} {peer} {lines:?}");
        }
    }

    #[test]
    fn invalid_range_is_refused() {
        for text in ["10.0.0.0/33", "fd00::/129", "proxy.example", "10.0.0.0/", "10.0.0/8", "/8"] {
            assert!(text.parse::<AddressRanges>().is_err(), "{text}");
        }
    }

    #[test]
    fn ipv6_clients_are_counted_by_prefix() {
        let of = |text: &str| holder(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(of("192.0.2.1"), "192.0.2.1");
    }
}
