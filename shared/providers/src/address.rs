//! Addresses of upstreams.

/// The part of a base URL that paths like `/v1/messages` are appended to. Operators can end a base
/// URL with a slash or with the version that the path begins with.
pub fn trim_base_url(base_url: &str) -> &str {
    let base = base_url.trim_end_matches('/');
    base.strip_suffix("/v1").unwrap_or(base)
}
