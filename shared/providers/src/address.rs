//! Addresses of upstreams.

use url::Url;

/// Scheme, host and port of a URL; empty if the text is not a URL.
pub fn origin(url: &str) -> String {
    let Ok(url) = Url::parse(url.trim()) else { return String::new() };
    let (scheme, host) = (url.scheme(), url.host_str().unwrap_or_default());
    let port = url.port_or_known_default().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}://{host}{port}")
}

/// The part of a base URL that paths like `/v1/messages` are appended to. Operators can end a base
/// URL with a slash or with the version that the path begins with.
pub fn trim_base_url(base_url: &str) -> &str {
    let base = base_url.trim_end_matches('/');
    base.strip_suffix("/v1").unwrap_or(base)
}
