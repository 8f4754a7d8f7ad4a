//! Rules for addresses: only `https` and public ones, unless the operator allows others.
//! Addresses at which a cloud serves credentials are never allowed.
//!
//! Host names are resolved here, and the resolved addresses are checked. So a public name that
//! points to a private address does not pass, even if it starts to do so between two lookups.

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A resolver that drops every address that must not be called.
pub(super) struct FilteringResolver {
    pub(super) allow_private: bool,
}

impl Resolve for FilteringResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let good: Vec<SocketAddr> =
                found.filter(|address| refusal(address.ip(), allow_private).is_none()).collect();
            if good.is_empty() {
                return Err(format!("{} has no public address", name.as_str()).into());
            }
            Ok(Box::new(good.into_iter()) as Addrs)
        })
    }
}

/// The reason why an address must not be called, if there is one.
fn refusal(ip: IpAddr, allow_private: bool) -> Option<&'static str> {
    if is_metadata(ip) {
        return Some("is where clouds give out credentials, and no upstream");
    }
    let is_refused = !allow_private && !is_public(ip);
    is_refused.then_some("is not a public address (BATON_ALLOW_PRIVATE_UPSTREAMS=1 permits it)")
}

/// Whether a cloud serves metadata or credentials at the address: link-local addresses, and those
/// of AWS (EC2 user guide, "Instance metadata service"; ECS and EKS task credentials), Alibaba,
/// Oracle and Azure. As of 2026-11.
fn is_metadata(ip: IpAddr) -> bool {
    let is_v4 = |ip: Ipv4Addr| {
        ip.is_link_local()
            || [[100, 100, 100, 200], [192, 0, 0, 192], [168, 63, 129, 16]].contains(&ip.octets())
    };
    match ip {
        IpAddr::V4(ip) => is_v4(ip),
        IpAddr::V6(ip) => {
            let [first, second, ..] = ip.segments();
            (first, second) == (0xfd00, 0x0ec2)
                || (first & 0xffc0) == 0xfe80
                || embedded_v4(ip).is_some_and(is_v4)
        }
    }
}

/// Checks whether a URL from an operator can be called. Unlike the address of a request, it must
/// consist of URL characters only.
pub(super) fn check_given(url: &str, allow_private: bool) -> Result<Url, String> {
    // A URL parser reads `\` as `/`, drops tabs, and maps letters that look like `.` or `/`. A
    // human reader would see another host than the one called.
    let is_url_character =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte);
    if !url.bytes().all(is_url_character) {
        return Err(
            "the URL has a character that no URL has (RFC 3986): write others as %XX, and a \
                    host of other letters in its form with xn--"
                .to_owned(),
        );
    }
    check(url, allow_private)
}

/// Parses `url` and refuses addresses that must not be called.
pub(super) fn check(url: &str, allow_private: bool) -> Result<Url, String> {
    // The URL can be a secret, so errors do not repeat it.
    let url = Url::parse(url).map_err(|error| {
        format!("expected a whole URL such as https://example.com/path ({error})")
    })?;
    let host = url.host_str().ok_or("the URL has no host")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the URL must not hold a user or password".to_owned());
    }
    match url.scheme() {
        "https" => {}
        "http" if allow_private => {}
        "http" => {
            return Err(
                "the URL must begin with https (BATON_ALLOW_PRIVATE_UPSTREAMS=1 permits http \
                        and private addresses)"
                    .to_owned(),
            );
        }
        other => return Err(format!("the URL must begin with https, not {other}")),
    }
    check_host(host, allow_private)?;
    Ok(url)
}

/// Refuses an IP address that is not public. Host names are checked when they are resolved.
pub(super) fn check_host(host: &str, allow_private: bool) -> Result<(), String> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    // URLs with other schemes than `http` keep hosts as they are written: `2130706433`, `0x7f.1`.
    let read = |url: Url| url.host_str().map(str::to_owned);
    let canonical = Url::parse(&format!("http://{host}/")).ok().and_then(read);
    let literals = [Some(bare), canonical.as_deref()];
    let mut addresses = literals.into_iter().flatten().filter_map(|text| text.parse().ok());
    match addresses.find_map(|ip: IpAddr| refusal(ip, allow_private)) {
        Some(reason) => Err(format!("{host} {reason}")),
        None => Ok(()),
    }
}

/// Whether the address belongs to the public internet (IANA special-purpose registries).
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => match embedded_v4(ip) {
            Some(v4) => is_public_v4(v4),
            // Global unicast is 2000::/3; 2001:db8::/32 is for documentation.
            None => ip.segments()[0] & 0xe000 == 0x2000 && ip.segments()[..2] != [0x2001, 0x0db8],
        },
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    let special = ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_broadcast()
        || ip.is_documentation()
        || ip.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && b & 0xc0 == 64) // carrier-grade NAT
        || (a == 192 && b == 0 && ip.octets()[2] == 0)
        || (a == 198 && b & 0xfe == 18); // benchmarking
    !special
}

/// The IPv4 address inside a mapped, compatible, translated, NAT64 or 6to4 address.
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match ip.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, _, _, _, _, high, low]
        | [0x2002, high, low, ..] => Some(v4(high, low)),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(v4(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_addresses_are_not_public() {
        for ip in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2001:db8::1",
            "ff02::1",
        ] {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["1.1.1.1", "160.79.104.10", "2606:4700::1111", "::ffff:1.1.1.1"] {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn url_with_ambiguous_host_is_refused() {
        for url in [
            r"https://host.example:1\@other.example",
            r"https:\\host.example",
            r"https://host.example\.other.example",
            "https://host.example\t.other.example",
            "https://host.example\n",
            " https://host.example",
            "https://host.example ",
            "https://host.example\u{0}",
            "https://host.example\u{ff0f}other.example",
            "https://host.example\u{3002}other.example",
            "https://h\u{f6}st.example",
            "https://host.example/<path>",
            "https://host.example/{path}",
            "https://host.example/a|b",
            "https://host.example/\"",
            "https://host.example/^`",
        ] {
            assert!(check_given(url, true).is_err(), "{url:?}");
        }
        for url in [
            "https://host.example:8443/v1/a%20b",
            "https://[2606:4700::1111]/x",
            "https://xn--hst-sna.example",
            "https://host.example/v1;a=b/~c_(d)!$&'*+,=@:e",
        ] {
            assert!(check_given(url, true).is_ok(), "{url:?}: {:?}", check_given(url, true));
        }
    }

    #[test]
    fn metadata_addresses_are_never_called() {
        for host in [
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "169.254.0.1",
            "[fd00:ec2::254]",
            "[fd00:ec2::23]",
            "[fe80::a9fe:a9fe]",
            "[::ffff:169.254.169.254]",
            "[::ffff:a9fe:a9fe]",
            "[::a9fe:a9fe]",
            "[::ffff:0:a9fe:a9fe]",
            "[64:ff9b::a9fe:a9fe]",
            "[64:ff9b:1::a9fe:a9fe]",
            "[2002:a9fe:a9fe::]",
            "2852039166",
            "0xa9fea9fe",
            "0xa9.0xfe.0xa9.0xfe",
            "0251.0376.0251.0376",
            "169.254.43518",
            "169.16689662",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "169.254.169.254.",
            "%31%36%39.254.169.254",
            "１６９.254.169.254",
        ] {
            for allow_private in [true, false] {
                for url in [format!("http://{host}/latest"), format!("https://{host}:8443")] {
                    assert!(check(&url, allow_private).is_err(), "{url}");
                }
                for host in [host.to_owned(), host.replace("%31%36%39", "169")] {
                    assert!(check_host(&host, allow_private).is_err(), "{host}");
                }
            }
        }
        for url in ["http://127.0.0.1", "http://10.0.0.1", "http://[fd00::1]", "http://[::1]:1"] {
            assert!(check(url, true).is_ok(), "{url}");
        }
    }

    #[test]
    fn urls_are_https_and_public_unless_allowed() {
        let strict = |url| check(url, false).is_ok();
        assert!(strict("https://api.anthropic.com"));
        for bad in [
            "http://api.anthropic.com",
            "https://127.0.0.1",
            "https://[::1]:8443/x",
            "https://2130706433/",
            "https://user:pw@api.anthropic.com",
            "ftp://example.com",
            "https://",
            "nonsense",
        ] {
            assert!(!strict(bad), "{bad}");
        }
        assert!(check("http://127.0.0.1:9999", true).is_ok());
        assert!(check("file:///etc/passwd", true).is_err());
    }
}
