//! Which addresses may be called: `https` and public ones, unless the operator allows others.
//!
//! Names are resolved here and the resolved addresses are checked, so a public name that points
//! to a private address (or comes to, between two look-ups) does not get through.

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A resolver that drops every address that is not public.
pub(super) struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|at| is_public(at.ip())).collect();
            if public.is_empty() {
                return Err(format!("{} has no public address", name.as_str()).into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Parses `url`, refusing what may not be called.
pub(super) fn check(url: &str, allow_private: bool) -> Result<Url, String> {
    // It may be a secret, so it is not repeated.
    let url = Url::parse(url).map_err(|error| format!("it is not a URL: {error}"))?;
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

/// Refuses an address that is not public; names are checked when they are resolved.
pub(super) fn check_host(host: &str, allow_private: bool) -> Result<(), String> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    // Of other schemes than `http` a URL keeps hosts as they are written: `2130706433`, `0x7f.1`.
    let read = |url: Url| url.host_str().map(str::to_owned);
    let canonical = Url::parse(&format!("http://{host}/")).ok().and_then(read);
    let literals = [Some(bare), canonical.as_deref()];
    let mut addresses = literals.into_iter().flatten().filter_map(|text| text.parse().ok());
    if !allow_private && addresses.any(|ip: IpAddr| !is_public(ip)) {
        return Err(format!(
            "{host} is not a public address (BATON_ALLOW_PRIVATE_UPSTREAMS=1 permits it)"
        ));
    }
    Ok(())
}

/// Whether the address is one of the public internet (IANA special-purpose registries).
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => match embedded_v4(ip) {
            Some(v4) => is_public_v4(v4),
            // Global unicast is 2000::/3; 2001:db8::/32 is documentation.
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

/// The IPv4 address inside a mapped, NAT64 or 6to4 one.
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match ip.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, _, _, _, _, high, low] => {
            Some(v4(high, low))
        }
        [0x2002, high, low, ..] => Some(v4(high, low)),
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
