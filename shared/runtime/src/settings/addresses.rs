//! The addresses on which Baton listens, and those under which clients and browsers reach it.

use super::section::section;
use crate::client_address::AddressRanges;
use std::net::SocketAddr;

/// The origins whose pages can call the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// Every origin.
    Any,
    /// These origins, in lower case. Without any, no page of another origin can call the relay.
    Listed(Vec<String>),
}

section! {
    /// The addresses on which Baton listens, and those under which clients and browsers reach it.
    #[derive(Clone)]
    AddressSettings("Addresses") {
        /// The relay listens here.
        listen: SocketAddr = BATON_LISTEN("address and port").or("127.0.0.1:8080");
        /// The admin API and the console listen here.
        admin_listen: SocketAddr = BATON_ADMIN_LISTEN("address and port").or("127.0.0.1:8081");
        /// `baton up --only-stores` offers the local stores here.
        stores_listen: SocketAddr = BATON_STORES_LISTEN("address and port").or("127.0.0.1:8000");
        /// Baton reads the client's address from `x-forwarded-for` if the request comes from one of
        /// these proxies.
        trusted_proxies: AddressRanges =
            BATON_TRUSTED_PROXIES("addresses and ranges, such as `10.0.0.0/8, fd00::/8`")
                .unless_set("no proxy is trusted");
        /// The admin API and the console answer only these addresses; others get 403.
        admin_allowed: Option<AddressRanges> =
            BATON_ADMIN_ALLOWED_CIDRS("ranges, such as `203.0.113.0/24,2001:db8::/32`")
                .unless_set("every address")
                .set_by_template()
                by parse_allowed_ranges;
        /// The console shows this URL to people who connect a client.
        relay_url: Option<String> = BATON_RELAY_URL("`http` or `https` URL")
            .unless_set("the URL of `BATON_LISTEN`")
            .set_by_template()
            by parse_relay_url;
        /// Browsers reach the console at this origin; set it if a proxy passes on neither `host`
        /// nor `x-forwarded-proto`.
        console_origin: Option<String> =
            BATON_CONSOLE_ORIGIN("origin, such as `https://admin.example.com`")
                .unless_set("what the request's headers say")
                by parse_console_origin;
        /// Pages of these origins can call the relay from a browser (CORS); each call still needs a
        /// key.
        cors_origins: AllowedOrigins =
            BATON_CORS_ORIGINS("origins, such as `https://app.example.com,http://localhost:3000`, or `*`")
                .unless_set("none")
                by parse_cors_origins;
    }
}

/// The allowed address ranges. A list without any is an error, because it would lock everybody out.
fn parse_allowed_ranges(text: &str) -> Result<Option<AddressRanges>, String> {
    match text.parse::<AddressRanges>() {
        _ if text.is_empty() => Ok(None),
        Ok(ranges) if ranges != AddressRanges::default() => Ok(Some(ranges)),
        _ => Err("must be a list of ranges such as 203.0.113.0/24,2001:db8::/32".to_owned()),
    }
}

/// The address of the relay for clients, without a slash at the end.
fn parse_relay_url(text: &str) -> Result<Option<String>, String> {
    let fits = text.starts_with("https://") || text.starts_with("http://");
    match text {
        "" => Ok(None),
        url if fits && !url.contains(char::is_whitespace) => {
            Ok(Some(url.trim_end_matches('/').to_owned()))
        }
        _ => Err("must be a URL such as https://llm.example.com".to_owned()),
    }
}

/// The address of the console, like `https://admin.example.com`, without a path.
fn parse_console_origin(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let origin = parse_origin(text).ok_or("must be an origin such as https://admin.example.com")?;
    Ok(Some(origin))
}

/// The origins whose pages can call the relay.
fn parse_cors_origins(text: &str) -> Result<AllowedOrigins, String> {
    if text.trim() == "*" {
        return Ok(AllowedOrigins::Any);
    }
    let all = text.split(',').map(str::trim).filter(|one| !one.is_empty());
    let origins = all.map(parse_origin).collect::<Option<_>>();
    let complaint = "must be `*` or a list of origins such as https://app.example.com";
    Ok(AllowedOrigins::Listed(origins.ok_or(complaint)?))
}

/// An origin as browsers send it, without a path.
fn parse_origin(text: &str) -> Option<String> {
    let origin = text.trim_end_matches('/').to_ascii_lowercase();
    let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"))?;
    let is_host = !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ', '*']);
    is_host.then_some(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_listed() {
        let check = |text: &str, expect: Option<&[&str]>| {
            let listed = |origins: &[&str]| {
                AllowedOrigins::Listed(origins.iter().map(|&origin| origin.to_owned()).collect())
            };
            assert_eq!(parse_cors_origins(text).ok(), expect.map(listed), "{text}");
        };
        check("", Some(&[]));
        check(
            "https://App.example.com/, http://localhost:3000",
            Some(&["https://app.example.com", "http://localhost:3000"]),
        );
        for wrong in
            ["app.example.com", "null", "https://*.example.com", "https://a.example/x", "*,*"]
        {
            check(wrong, None);
        }
        assert_eq!(parse_cors_origins("*"), Ok(AllowedOrigins::Any));
    }
}
