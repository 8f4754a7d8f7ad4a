//! Decides which headers of an upstream's answer pass to the client.

use super::{filter_headers, names_owner};
use http::{HeaderMap, HeaderValue};

/// Headers about the upstream's connection and web site: cookies, alternative addresses, redirects,
/// ways to sign in, and rules and hints for browsers, which would apply to the relay's own origin
/// (MDN, "HTTP headers", and the WICG's drafts, 2026-11).
const NOT_CLIENT: [&str; 31] = [
    "accept-ch",
    "activate-storage-access",
    "alt-svc",
    "authentication-info",
    "clear-site-data",
    "content-location",
    "critical-ch",
    "expect-ct",
    "link",
    "location",
    "nel",
    "no-vary-search",
    "observe-browsing-topics",
    "origin-agent-cluster",
    "origin-trial",
    "refresh",
    "report-to",
    "reporting-endpoints",
    "service-worker-allowed",
    "set-cookie",
    "set-cookie2",
    "set-login",
    "sourcemap",
    "speculation-rules",
    "strict-transport-security",
    "supports-loading-mode",
    "timing-allow-origin",
    "use-as-dictionary",
    "www-authenticate",
    "x-frame-options",
    "x-sourcemap",
];

/// Prefixes of headers about the upstream's quota and its rules for browsers. The quota is shared,
/// and a client would take it for its own. The upstream does not decide which web pages can read an
/// answer.
const NOT_CLIENT_PREFIXES: [&str; 13] = [
    "access-control-",
    "anthropic-fast-",
    "anthropic-ratelimit-",
    "attribution-reporting-",
    "cross-origin-",
    "public-key-pins",
    "x-dns-prefetch-",
    "x-download-",
    "x-permitted-cross-domain-",
    "x-ratelimit-",
    "x-robots-",
    "x-ua-",
    "x-xss-",
];

/// Ends of the names of a web site's policies (`content-security-policy`, `permissions-policy`).
const POLICY_SUFFIXES: [&str; 2] = ["-policy", "-policy-report-only"];

/// The response headers that pass to the client. Nothing is added.
pub fn to_client(headers: &HeaderMap) -> HeaderMap {
    filter_headers(headers, |name: &str, _: &HeaderValue| {
        NOT_CLIENT.contains(&name)
            || names_owner(name)
            || NOT_CLIENT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            || POLICY_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{headers, names};
    use super::*;

    #[test]
    fn response_headers_are_filtered_for_the_client() {
        let all = headers(&[
            ("content-type", "text/event-stream"),
            ("request-id", "r"),
            ("retry-after", "7"),
            ("content-encoding", "gzip"),
            ("x-should-retry", "false"),
            ("cf-ray", "x"),
            ("anthropic-organization-id", "o"),
            ("set-cookie", "a=b"),
            ("alt-svc", "h3"),
            ("anthropic-ratelimit-requests-limit", "1"),
            ("x-ratelimit-reset", "1"),
            ("anthropic-ratelimit-unified-status", "allowed"),
            ("anthropic-fast-limit", "1"),
            ("openai-organization", "o"),
            ("openai-project", "p"),
            ("strict-transport-security", "max-age=1"),
            ("access-control-allow-origin", "*"),
            ("access-control-allow-credentials", "true"),
            ("location", "/x"),
            ("refresh", "0; url=/x"),
            ("www-authenticate", "Bearer"),
            ("clear-site-data", "*"),
            ("content-security-policy", "x"),
            ("content-security-policy-report-only", "x"),
            ("timing-allow-origin", "*"),
            ("service-worker-allowed", "/"),
            ("speculation-rules", "\"/rules.json\""),
            ("supports-loading-mode", "credentialed-prerender"),
            ("reporting-endpoints", "a=\"https://a.example\""),
            ("x-frame-options", "DENY"),
            ("origin-agent-cluster", "?1"),
            ("origin-trial", "x"),
            ("sourcemap", "/x.map"),
            ("x-sourcemap", "/x.map"),
            ("link", "</x>; rel=preload"),
            ("permissions-policy", "camera=()"),
            ("referrer-policy", "origin"),
            ("document-policy", "x"),
            ("integrity-policy-report-only", "x"),
            ("x-permitted-cross-domain-policies", "all"),
            ("accept-ch", "sec-ch-ua"),
            ("critical-ch", "sec-ch-ua"),
            ("set-login", "logged-in"),
            ("attribution-reporting-register-source", "{}"),
            ("use-as-dictionary", "match=\"/*\""),
            ("x-robots-tag", "all"),
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("trailer", "x"),
        ]);
        let expect = [
            "cf-ray",
            "content-encoding",
            "content-type",
            "request-id",
            "retry-after",
            "x-should-retry",
        ];
        assert_eq!(names(&to_client(&all)), expect);
    }
}
